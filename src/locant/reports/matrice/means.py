"""Comparisons of sets of neurons in the same facts and languages, and one word for what they allow to be said."""

from __future__ import annotations

import polars as pl

from locant.reports import means
from locant.reports.answers import NO, PARTLY, UNSHOWN, YES
from locant.reports.means import difference, mean
from locant.reports.numbers import count, points
from locant.types import Interval

LEAST = 10
"""Facts below which this page calls nothing shown."""


def too_few(found: Interval | None) -> bool:
    """Whether a mean is over too few facts to show anything."""
    return means.too_few([found], LEAST)


def side(found: Interval | None) -> int:
    """1 if a mean is surely above zero, -1 if below; 0 if its interval includes zero or is of too few facts."""
    return means.side(found, LEAST)


def apart(one: Interval | None, other: Interval | None) -> bool:
    """Whether two intervals, each of enough facts, have nothing in common."""
    return means.apart(one, other, LEAST)


def doubt(found: Interval) -> str:
    """Why a difference shows nothing, to be put behind it; empty if it shows something."""
    return means.doubt(found, LEAST)


def of_set(rows: pl.DataFrame, which: str, column: str = "change") -> Interval | None:
    """A set's mean over facts."""
    return mean(rows.filter(pl.col("set") == which), column)


def beyond(rows: pl.DataFrame, first: str, second: str, column: str = "change") -> Interval | None:
    """The mean of first - second over facts, of one language at a time."""
    return difference(rows, column, "set", first, second, pairs=("fact", "language"))


def gap_of(found: Interval) -> str:
    """A paired difference in words: with its interval, n, and why it shows nothing if it does not."""
    n = f"; n = {count(found.n)} facts" if found.n >= LEAST else ""
    return f"difference {points(found)}{doubt(found)}{n}"


def reaches(elsewhere: int, here: int) -> str:
    """One word for whether something made in one language is felt in others.

    Args:
        elsewhere: 1 if it is surely felt in other languages, more than chance is.
        here: 1 if it is surely felt more in its own language than in others.
    """
    if elsewhere > 0:
        return PARTLY if here > 0 else YES
    return NO if here > 0 else UNSHOWN


def signs(*found: Interval | None) -> list[int]:
    """The side of zero on which each of several differences surely lies."""
    return [side(one) for one in found]
