"""Means out of a run's tables, and what their intervals allow to be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import polars as pl
import torch

from locant.evaluations import interval, pooled_interval
from locant.types import Interval

LEAST = 6
"""Facts or questions below which nothing is shown: five may all differ to one side with a chance of 1 in 16."""


def mean_over(rows: pl.DataFrame, column: str, unit: str) -> Interval | None:
    """A column's mean, with its 95% bootstrap interval over the units that another column names.

    None if no row has a finite value.
    """
    known = rows.filter(pl.col(column).is_finite())
    if known.is_empty():
        return None
    return interval(torch.tensor(known[column].to_list(), dtype=torch.float64), known[unit].to_list())


def mean(rows: pl.DataFrame, column: str) -> Interval | None:
    """A column's mean over facts with its 95% bootstrap interval; None if no row has a finite value."""
    return mean_over(rows, column, "fact")


def pooled_mean(rows: pl.DataFrame, column: str, groups: str) -> Interval | None:
    """As `mean`, with an interval over the groups that a third column names, each with its facts."""
    known = rows.filter(pl.col(column).is_finite())
    if known.is_empty():
        return None
    values = torch.tensor(known[column].to_list(), dtype=torch.float64)
    return pooled_interval(values, known["fact"].to_list(), known[groups].to_list())


def average(rows: pl.DataFrame, column: str) -> float:
    """A plain mean over facts, of numbers that describe and need no interval; NaN if there is none."""
    known = rows.filter(pl.col(column).is_finite()).group_by("fact", maintain_order=True).agg(pl.col(column).mean())
    value = known[column].mean()
    return float(value) if isinstance(value, float) else float("nan")


def difference(
    rows: pl.DataFrame, column: str, by: str, first: str, second: str, pairs: Sequence[str] = ("fact", "query")
) -> Interval | None:
    """The mean of first - second over facts, each value of one held against the other's of the same pair.

    Args:
        by: the column that holds `first` and `second`.
        pairs: the columns, `fact` among them, that two values have in common.
    """
    return mean(_differences(rows, column, by, (first, second), pairs), column)


def pooled_difference(
    rows: pl.DataFrame, column: str, by: str, first: str, second: str, groups: str
) -> Interval | None:
    """As `difference` over pairs of one fact, with an interval over groups, each with its facts."""
    return pooled_mean(_differences(rows, column, by, (first, second), (groups, "fact")), column, groups)


def _differences(
    rows: pl.DataFrame, column: str, by: str, sides_of: tuple[str, str], pairs: Sequence[str]
) -> pl.DataFrame:
    known = rows.filter(pl.col(column).is_finite())
    sides = [
        known.filter(pl.col(by) == side).group_by(pairs, maintain_order=True).agg(pl.col(column).mean())
        for side in sides_of
    ]
    joined = sides[0].join(sides[1], on=list(pairs), maintain_order="left")
    return joined.with_columns(pl.col(column) - pl.col(f"{column}_right"))


def side(found: Interval | None, least: int = LEAST) -> int:
    """1 if a mean is surely above zero, -1 if below; 0 if its interval includes zero or is of too few facts."""
    if found is None or found.n < least:
        return 0
    return int(found.low > 0) - int(found.high < 0)


def apart(one: Interval | None, other: Interval | None, least: int = LEAST) -> bool:
    """Whether two intervals, each of enough facts, have nothing in common."""
    if one is None or other is None or min(one.n, other.n) < least:
        return False
    return one.high < other.low or other.high < one.low


def too_few(found: Iterable[Interval | None], least: int = LEAST) -> bool:
    """Whether no mean is over enough facts to show anything."""
    return all(one is None or one.n < least for one in found)


def doubt(found: Interval, least: int = LEAST) -> str:
    """Why a difference shows nothing, to be put behind it; empty if it shows something."""
    if side(found, least):
        return ""
    if found.n >= least:
        return ", which includes zero"
    return f", of {found.n} {'fact' if found.n == 1 else 'facts'} only"


def values(rows: pl.DataFrame, column: str) -> list[str]:
    """What a column holds, in the order of its rows."""
    return [str(one) for one in rows[column].unique(maintain_order=True)]


def in_order(found: Sequence[str], known: Sequence[str]) -> list[str]:
    """What was found, in the order of what is known; the unknown after it."""
    return [name for name in known if name in found] + [name for name in found if name not in known]


def spread(row: Mapping[str, object], name: str, ends: tuple[str, str] = ("low", "high")) -> Interval:
    """A mean and its interval out of a table's row; NaN where a value is missing."""
    mean, low, high = (number(row[column]) for column in (name, *ends))
    count = row["n"]
    return Interval(mean, low, high, count if isinstance(count, int) else 0)


def number(value: object) -> float:
    """A cell as a number; NaN if it has none."""
    return float(value) if isinstance(value, int | float) else math.nan
