"""How numbers read on the page: the same everywhere, with a true minus sign."""

from __future__ import annotations

import math
from collections.abc import Callable

from locant.types import Interval

_MINUS = "\u2212"
_NBSP = "\u00a0"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RATIO_FROM = 10.0
"""Relative changes of at least this size read better as ratios: ×25, not +2,400%."""


def count(number: int) -> str:
    return f"{number:,}"


def ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def probability(p: float) -> str:
    """A probability in percent; never 0% or 100% unless it is."""
    if not math.isfinite(p):
        return "undefined"
    if p in (0.0, 1.0):
        return f"{p:.0%}"
    if p > 0.9995:
        return ">99.9%"
    if p >= 1e-3:
        return f"{p:.1%}"
    return f"{100 * p:.2g}%" if p >= 1e-6 else f"{_powers(p)}"


def score(value: float) -> str:
    """A score or an activation, in three significant digits and with its sign."""
    if not math.isfinite(value):
        return "undefined"
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return ("+" if value > 0 else "") + _powers(value)
    return f"{value:+#.3g}".rstrip(".").replace("-", _MINUS) if value else "0"


def seconds(value: float) -> str:
    """A time by the clock."""
    return f"{value:.2g} s" if value < 100 else f"{value:,.0f} s"


def share(part: float) -> str:
    """A part of a whole in percent."""
    return f"{part:.0%}" if part >= 0.1 or part == 0 else f"{part:.1%}"


def change(interval: Interval) -> str:
    """A relative change, with its interval if it has been resampled: `−4% [−7, −2]`, unbroken."""
    mean, low, high = interval.mean, interval.low, interval.high
    if not math.isfinite(mean):
        return "undefined"
    if interval.n == 1 or not (math.isfinite(low) and math.isfinite(high)):
        return relative(mean)
    if max(abs(mean), abs(low), abs(high)) >= RATIO_FROM:
        return f"{ratio(mean)}{_NBSP}[{ratio(low)},{_NBSP}{ratio(high)}]"
    largest = max(abs(mean), abs(low), abs(high))
    digits = 0 if largest >= 0.01 else 1 if largest >= 0.001 else 2
    ends = f"[{_percent(low, digits)},{_NBSP}{_percent(high, digits)}]"
    return f"{_percent(mean, digits)}%{_NBSP}{ends}"


def portion(interval: Interval) -> str:
    """A share of things, with its interval: `63% [52, 74]`."""
    digits = 1 if 0 < max(interval.mean, interval.low, interval.high) < 0.1 else 0
    return _with_ends(interval, lambda value: f"{100 * value:.{digits}f}", "%")


def points(interval: Interval) -> str:
    """A difference of two shares or relative changes, in percentage points: `+8 points [3, 13]`."""
    digits = 0 if max(map(abs, (interval.mean, interval.low, interval.high))) >= 0.02 else 1
    return _with_ends(interval, lambda value: _percent(value, digits), f"{_NBSP}points")


def decimal(interval: Interval) -> str:
    """A score between 0 and 1, with its interval: `0.35 [0.33, 0.37]`."""
    return _with_ends(interval, lambda value: f"{value:.2f}".replace("-", _MINUS))


def p_value(p: float) -> str:
    """A test's p: `p = 0.03`, `p < 10⁻⁶`."""
    if not math.isfinite(p):
        return "p undefined"
    if p < 1e-6:
        return "p < 10⁻⁶"
    return f"p = {p:.2g}" if p >= 1e-3 else f"p = {_powers(p)}"


def relative(value: float) -> str:
    """One relative change: percent, or a ratio if it is more than elevenfold."""
    if abs(value) >= RATIO_FROM:
        return ratio(value)
    for digits in range(6):
        if abs(value) >= 10.0 ** -(2 + digits) and (value == -1 or round(100 * value, digits) != -100):
            return f"{_percent(value, digits)}%"
    return f"{_percent(value, 2)}%"


def ratio(relative_change: float) -> str:
    """After as a multiple of before."""
    times = 1 + relative_change
    return f"×{times:,.0f}" if 10 <= times < 1e5 else f"×{times:.2g}" if times < 10 else f"×{_powers(times)}"


def _with_ends(interval: Interval, shown: Callable[[float], str], unit: str = "") -> str:
    mean, low, high = interval.mean, interval.low, interval.high
    if not math.isfinite(mean):
        return "undefined"
    if interval.n == 1 or not (math.isfinite(low) and math.isfinite(high)):
        return f"{shown(mean)}{unit}"
    return f"{shown(mean)}{unit}{_NBSP}[{shown(low)},{_NBSP}{shown(high)}]"


def _percent(value: float, digits: int) -> str:
    text = f"{100 * value:+,.{digits}f}"
    return "0" if float(text.replace(",", "")) == 0 else text.replace("-", _MINUS)


def _powers(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', _MINUS)}·10{str(int(exponent)).translate(_SUPERSCRIPT)}"
