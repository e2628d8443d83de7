"""What is found, as rows of a table."""

from __future__ import annotations

from typing import TypeAlias

from locant.types import Interval

Row: TypeAlias = dict[str, object]


def as_row(found: Interval, name: str = "mean") -> Row:
    """An interval as columns: low, high and n beside the mean, which has this name."""
    return {name: found.mean, "low": found.low, "high": found.high, "n": found.n}
