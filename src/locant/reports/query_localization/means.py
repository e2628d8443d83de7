"""Means over facts, and paired differences of them, out of a run's tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import torch

from locant.evaluations import interval
from locant.types import Interval

LEAST = 6
"""Facts below which nothing is called shown: five may all differ to one side with a chance of 1 in 16."""


def mean(rows: pl.DataFrame, column: str) -> Interval | None:
    """A column's mean over facts with its 95% bootstrap interval; None if no row has a finite value."""
    known = rows.filter(pl.col(column).is_finite())
    if known.is_empty():
        return None
    return interval(torch.tensor(known[column].to_list(), dtype=torch.float64), known["fact"].to_list())


def difference(
    rows: pl.DataFrame, column: str, by: str, first: str, second: str, pairs: Sequence[str] = ("fact", "query")
) -> Interval | None:
    """The mean of first - second over facts, each value of one held against the other's of the same pair.

    Args:
        by: the column that holds `first` and `second`.
        pairs: the columns, `fact` among them, that two values have in common.
    """
    known = rows.filter(pl.col(column).is_finite())
    sides = [
        known.filter(pl.col(by) == side).group_by(pairs, maintain_order=True).agg(pl.col(column).mean())
        for side in (first, second)
    ]
    joined = sides[0].join(sides[1], on=list(pairs), maintain_order="left")
    return mean(joined.with_columns(pl.col(column) - pl.col(f"{column}_right")), column)


def inconsistent(rows: pl.DataFrame, rule: str = "static") -> Interval | None:
    """The share of facts that a rule, 'static' or 'otsu', calls inconsistent."""
    known = rows.filter(pl.col(f"kind_{rule}").is_not_null())
    kinds = (pl.col(f"kind_{rule}") == "inconsistent").cast(pl.Float64)
    return mean(known.with_columns(kinds.alias("inconsistent")), "inconsistent")


def side(found: Interval | None) -> int:
    """1 if a mean is surely above zero, -1 if below; 0 if its interval includes zero or is of too few facts."""
    if found is None or found.n < LEAST:
        return 0
    return int(found.low > 0) - int(found.high < 0)


def doubt(found: Interval) -> str:
    """Why a difference shows nothing, to be put behind it; empty if it shows something."""
    if side(found):
        return ""
    if found.n >= LEAST:
        return ", which includes zero"
    return f", of {found.n} {'fact' if found.n == 1 else 'facts'} only"


def apart(one: Interval | None, other: Interval | None) -> bool:
    """Whether two intervals, each of enough facts, have nothing in common."""
    if one is None or other is None or min(one.n, other.n) < LEAST:
        return False
    return one.high < other.low or other.high < one.low


def average(rows: pl.DataFrame, column: str) -> float:
    """A plain mean over facts, of numbers that describe and need no interval; NaN if there is none."""
    known = rows.filter(pl.col(column).is_finite()).group_by("fact", maintain_order=True).agg(pl.col(column).mean())
    value = known[column].mean()
    return float(value) if isinstance(value, float) else float("nan")


def values(rows: pl.DataFrame, column: str) -> list[str]:
    """What a column holds, in the order of its rows."""
    return [str(one) for one in rows[column].unique(maintain_order=True)]
