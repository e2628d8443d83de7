"""What means and their differences allow to be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from locant.reports.answers import verdict
from locant.reports.means import LEAST, doubt, side, too_few
from locant.reports.numbers import count, points, portion
from locant.types import Interval

INTERVALS = (
    "95% intervals: a bootstrap over facts; of six relations or more over relations with their facts; "
    "of random circuits of fewer relations over draws; Wilson’s of a share where all agree"
)


def shown(found: Interval | None, said: Callable[[Interval], str] = portion) -> str:
    """A cell of a table; a dash where nothing was measured."""
    return said(found) if found is not None else "–"


def gap_of(found: Interval | None, unit: str = "fact") -> str:
    """A paired difference in words: with its interval, and why it shows nothing if it does not."""
    if found is None:
        return "not measured"
    why = f", of {_some(found.n, unit)} only" if found.n < LEAST else doubt(found)
    return f"{points(found)}{why}"


def n_of(found: Interval, unit: str = "fact") -> str:
    """How many a mean is over: `n = 100 facts`, or `n = 100 facts of 4 relations`."""
    return f"n = {_some(found.n, unit)}" + (f" of {_some(found.groups, 'relation')}" if found.groups > 1 else "")


def how_many(found: Interval | None) -> str:
    """The same as a cell of a table: `100`, or `100 in 4 relations`."""
    if found is None:
        return "0"
    return count(found.n) + (f" in {_some(found.groups, 'relation')}" if found.groups > 1 else "")


def less(found: Interval | None, bar: float) -> Interval | None:
    """A mean above a bar, with its interval."""
    if found is None:
        return None
    return Interval(found.mean - bar, found.low - bar, found.high - bar, found.n)


def sure(found: Interval | None, unit: str = "fact") -> str:
    """What a heading says behind a difference that shows nothing."""
    if side(found):
        return ""
    if found is not None and found.n < LEAST:
        return f" ({_some(found.n, unit)} only)"
    return ": a difference that may be chance"


def judged(*found: Interval | None) -> str:
    """One word for a claim that holds where each of these is surely above zero."""
    return verdict([side(one) for one in found], too_few(found))


def everywhere(found: Sequence[Interval | None]) -> bool:
    """Whether a claim surely holds in each relation that has facts enough to show it."""
    known = _enough(found)
    return bool(known) and all(side(one) > 0 for one in known)


def tally(found: Sequence[Interval | None], claim: str, unit: str = "relation") -> str:
    """Of how many relations a claim surely holds: `surely more in 3 of 5 relations`."""
    known = _enough(found)
    if not known:
        return f"No {unit} by itself has facts enough to show anything"
    few = sum(one is not None for one in found) - len(known)
    rest = f" ({_some(few, unit)} more with too few facts)" if few else ""
    return f"{claim} in {sum(side(one) > 0 for one in known)} of {_some(len(known), unit)}{rest}"


def _enough(found: Sequence[Interval | None]) -> list[Interval]:
    return [one for one in found if one is not None and one.n >= LEAST]


def _some(number: int, unit: str) -> str:
    plural = "queries" if unit == "query" else f"{unit}s"
    return f"{count(number)} {unit if number == 1 else plural}"
