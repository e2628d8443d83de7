"""What the numbers say, in plain sentences; none of them says more than the controls allow."""

from __future__ import annotations

import math

from locant.recipes.ask import Asked
from locant.reports.numbers import change, count, probability, relative
from locant.types import Effect

SMALL = 0.05
"""A relative change that is called small, however sure it is."""
DEVIATIONS = 2.0
"""How far beyond the random sets' mean an effect must lie, in their standard deviations."""


def effect_of(asked: Asked, operation: str, touched: str, judged: str = "own") -> Effect | None:
    """One line of the table of effects, if it was measured."""
    wanted = (operation, touched, judged)
    return next((one for one in asked.effects if (one.operation, one.touched, one.asked) == wanted), None)


def finding(asked: Asked) -> str:
    """One sentence: what silencing does to the answer, and what the controls do."""
    own = effect_of(asked, "suppress", "located")
    layers, neurons = asked.selection.grid
    chosen = len(asked.selection)
    some = f"{count(chosen)} of {count(layers * neurons)} neurons"
    if own is None:
        return f"{some} were located; nothing was done to them."
    parts = [f"Silencing {some} {_takes(asked.query.answer, own)}"]
    matched = effect_of(asked, "suppress", "random, layer-matched")
    if matched is not None:
        them = "neuron of the same layer changes" if chosen == 1 else "neurons of the same layers change"
        parts.append(f"{count(chosen)} random {them} it by {change(matched.change)}")
    unrelated = effect_of(asked, "suppress", "located", "unrelated")
    if unrelated is not None:
        facts = "fact changes" if unrelated.change.n == 1 else "facts change"
        parts.append(f"{count(unrelated.change.n)} unrelated {facts} by {change(unrelated.change)}")
    return "; ".join(parts) + "."


def verdict(asked: Asked) -> str:
    """One sentence: whether that is an effect at all, and whether it is this fact's own."""
    own = effect_of(asked, "suppress", "located")
    if own is None or not math.isfinite(own.change.mean):
        return "Whether they carry the answer was not measured."
    matched = effect_of(asked, "suppress", "random, layer-matched")
    if matched is None:
        return "There is no control to compare this with."
    size = abs(own.change.mean)
    if size <= reach_of_chance(matched):
        return "Random neurons do as much: this run does not show that the located neurons carry the answer."
    if size < SMALL:
        return "The effect is small, though larger than that of random neurons."
    if own.change.mean > 0:
        return "The answer gains when they are silenced: these neurons work against it."
    return f"Random neurons do not do this, {_spared(asked, size)}."


def reach_of_chance(control: Effect) -> float:
    """The largest relative change, in size, that one more random set might well show.

    The interval is of the sets' mean; what one set does spreads wider, by the square root of their number.
    """
    interval = control.change
    deviation = (interval.high - interval.low) / (2 * 1.96) * math.sqrt(interval.n)
    return abs(interval.mean) + DEVIATIONS * deviation


def effects_in_brief(asked: Asked) -> str:
    """A heading: what each operation does to the answer."""
    words = {"suppress": "silenced", "enhance": "doubled"}
    parts = [
        f"{relative(one.change.mean)} when {words.get(one.operation, one.operation)}"
        for one in asked.effects
        if (one.touched, one.asked) == ("located", "own") and math.isfinite(one.change.mean)
    ]
    return f"The answer: {', '.join(parts)}" if parts else "Nothing was done to the neurons"


def _takes(answer: str, own: Effect) -> str:
    before, after = probability(own.before), probability(own.after)
    change_of_it = change(own.change)
    if before == after:
        return f"leaves P({answer}) at {before} ({change_of_it})"
    return f"takes P({answer}) from {before} to {after} ({change_of_it})"


def _spared(asked: Asked, size: float) -> str:
    unrelated = effect_of(asked, "suppress", "located", "unrelated")
    if unrelated is None or not math.isfinite(unrelated.change.mean):
        return "and unrelated facts were not measured"
    harm = abs(unrelated.change.mean)
    if harm >= size / 2:
        return "but unrelated facts change at least half as much: the neurons are not this fact's own"
    if unrelated.change.low <= 0 <= unrelated.change.high:
        return "and unrelated facts show no change"
    return f"and unrelated facts change {'less than a tenth' if harm < size / 10 else 'less than half'} as much"
