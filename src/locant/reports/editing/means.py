"""What shares of edits and their differences allow to be said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from locant.reports.editing.names import name_of
from locant.reports.means import doubt, side, too_few
from locant.reports.numbers import count, points, portion
from locant.types import Interval

LEAST = 10
"""Cases below which this page calls nothing shown."""
HALF = 0.5


def over(found: Interval | None, bar: float) -> int:
    """1 if a share is surely above a bar, or all there is; -1 if below; 0 if neither, or of too few cases."""
    if found is None:
        return 0
    return side(scaled(found, lambda end: end - bar), LEAST)


def scaled(found: Interval, how: Callable[[float], float]) -> Interval:
    """A mean and its interval on another scale, which a rising function takes them to."""
    return Interval(how(found.mean), how(found.low), how(found.high), found.n)


def gap_of(found: Interval) -> str:
    """A paired difference in words: with its interval, and why it shows nothing if it does not."""
    return f"{points(found)}{doubt(found, LEAST)}".replace(" fact", " case")


def shown(found: Interval | None, said: Callable[[Interval], str] = portion) -> str:
    """A cell of a table; a dash where nothing was measured."""
    return said(found) if found is not None else "–"


def cases_of(found: Interval) -> str:
    """How many cases a mean is over: `n = 100 cases`."""
    return f"n = {count(found.n)} {'case' if found.n == 1 else 'cases'}"


def best_of(found: Mapping[str, Interval]) -> str:
    """The method with the highest mean; the first of several."""
    return max(found, key=lambda name: found[name].mean)


def alike(found: Mapping[str, Interval], best: str) -> list[str]:
    """The other methods whose mean is as high as the best's."""
    return [name for name, one in found.items() if name != best and one.mean == found[best].mean]


def lead_of(found: Mapping[str, Interval], best: str) -> str:
    """The best method before what it does: `with ROME, the best here,` or `with ROME, as with FT,`."""
    same = alike(found, best)
    why = f", as with {one_of(list(map(name_of, same)))}," if same else ", the best here," if len(found) > 1 else ""
    return f"with {name_of(best)}{why}"


def one_of(names: Sequence[str]) -> str:
    """Names as an enumeration: `ROME, FT and KN`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def range_of(found: Mapping[str, Interval], leave: str, said: Callable[[Interval], str] = portion) -> str:
    """Lowest and highest mean of the other methods: `4% [1, 8] (FT-L) to 91% [85, 96] (MEMIT)`; '' without others."""
    others = {name: one for name, one in found.items() if name != leave and math.isfinite(one.mean)}
    ends = dict.fromkeys(pick(others, key=lambda name: others[name].mean) for pick in (min, max) if others)
    return " to ".join(f"{said(others[name])} ({name_of(name)})" for name in ends)


def few(found: Iterable[Interval | None]) -> bool:
    """Whether no mean is over enough cases to show anything."""
    return too_few(found, LEAST)


def others_of(found: Mapping[str, Interval], leave: str) -> str:
    """What the other methods have, in a sentence; empty without others."""
    others = range_of(found, leave)
    many = len(found) > 2
    return f" The other {'methods have' if many else 'method has'} {others}." if others else ""


def tally(signs: Sequence[int], claim: str) -> str:
    """With how many methods a claim surely holds: `surely in more than half with 3 of 5 methods`."""
    return (
        f"{claim} with {sum(sign > 0 for sign in signs)} of {len(signs)} {'method' if len(signs) == 1 else 'methods'}"
    )
