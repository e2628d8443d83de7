"""Means out of a run's tables, and what their intervals allow to be said."""

from __future__ import annotations

import polars as pl
import torch

from locant.evaluations import interval
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


def side(found: Interval | None) -> int:
    """1 if a mean is surely above zero, -1 if below; 0 if its interval includes zero or is of too few facts."""
    if found is None or found.n < LEAST:
        return 0
    return int(found.low > 0) - int(found.high < 0)


def apart(one: Interval | None, other: Interval | None) -> bool:
    """Whether two intervals, each of enough facts, have nothing in common."""
    if one is None or other is None or min(one.n, other.n) < LEAST:
        return False
    return one.high < other.low or other.high < one.low


def values(rows: pl.DataFrame, column: str) -> list[str]:
    """What a column holds, in the order of its rows."""
    return [str(one) for one in rows[column].unique(maintain_order=True)]
