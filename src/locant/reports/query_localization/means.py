"""Means over facts, and paired differences of them, out of a run's tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from locant.reports.means import LEAST, mean_over, side
from locant.types import Interval


def mean(rows: pl.DataFrame, column: str) -> Interval | None:
    """A column's mean over facts with its 95% bootstrap interval; None if no row has a finite value."""
    return mean_over(rows, column, "fact")


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


def doubt(found: Interval) -> str:
    """Why a difference shows nothing, to be put behind it; empty if it shows something."""
    if side(found):
        return ""
    if found.n >= LEAST:
        return ", which includes zero"
    return f", of {found.n} {'fact' if found.n == 1 else 'facts'} only"


def average(rows: pl.DataFrame, column: str) -> float:
    """A plain mean over facts, of numbers that describe and need no interval; NaN if there is none."""
    known = rows.filter(pl.col(column).is_finite()).group_by("fact", maintain_order=True).agg(pl.col(column).mean())
    value = known[column].mean()
    return float(value) if isinstance(value, float) else float("nan")
