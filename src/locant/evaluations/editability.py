"""Does the place that localization names predict where editing works best?

An edit of every fact at every layer has a score; localization gives every fact's layers an effect. How much of the
scores do the effects explain, beyond what the layer alone does, and what would an editor win by following them?

Source: Hase et al. 2023, arXiv:2301.04213, section 5: R2 of rewrite scores on the layer, on the tracing effect, on
both. Following localization, its nulls and intervals are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from locant.errors import UnknownName
from locant.types import Interval

DRAWS = 999


@dataclass(frozen=True)
class Explained:
    """Shares of the variance of edit scores, over facts and layers alike.

    Attributes:
        layer: explained by which layer was edited.
        effect: by the localization effect, linearly.
        both: by both; at least as much as by either.
        added: both - layer. Never below zero, whatever the effects: an interval around it would say nothing of zero.
        chance: mean of `added` where facts have the effects of others.
        p: the share of such shuffles that add as much.
        facts: how many there are.
    """

    layer: float
    effect: float
    both: float
    added: float
    chance: float
    p: float
    facts: int


@dataclass(frozen=True)
class Followed:
    """Mean edit scores, each fact edited at a layer that is chosen for it; bootstrap intervals over facts.

    Attributes:
        localized: at the layer with the fact's highest effect.
        fixed: at the layer that is best for all other facts.
        best: at the layer that is best for the fact itself, which nobody knows beforehand.
        anywhere: mean over all layers.
        gain: localized - fixed, of the same facts.
    """

    localized: Interval
    fixed: Interval
    best: Interval
    anywhere: Interval
    gain: Interval


def explained(
    score: Float[np.ndarray, "fact layer"], effect: Float[np.ndarray, "fact layer"], seed: int = 0
) -> Explained:
    """How much of the scores of edits the layer explains, the effect of localization, and both.

    In a shuffle facts exchange their effects as wholes, layers together: the effects of one fact resemble each other,
    and so do its scores, so that layers shuffled each by itself would call any two such tables related.

    Raises:
        UnknownName: there are fewer than three facts.
    """
    _refuse(score, effect)
    rng = np.random.default_rng(seed)
    facts = len(score)
    layer, alone, both = _shares(score, effect)
    shuffled = np.array([_added(score, effect[rng.permutation(facts)]) for _ in range(DRAWS)])
    p = (1 + int((shuffled >= both - layer).sum())) / (1 + DRAWS)
    return Explained(layer, alone, both, both - layer, float(shuffled.mean()), p, facts)


def followed(
    score: Float[np.ndarray, "fact layer"], effect: Float[np.ndarray, "fact layer"], seed: int = 0
) -> Followed:
    """What edits score where localization says, and where other facts say.

    Raises:
        UnknownName: as for `explained`.
    """
    _refuse(score, effect)
    facts = np.arange(len(score))
    of_others = score.sum(axis=0) - score
    each = {
        "localized": score[facts, effect.argmax(axis=1)],
        "fixed": score[facts, of_others.argmax(axis=1)],
        "best": score.max(axis=1),
        "anywhere": score.mean(axis=1),
    }
    each["gain"] = each["localized"] - each["fixed"]
    draws = np.random.default_rng(seed).integers(0, len(facts), (DRAWS, len(facts)))
    return Followed(**{name: _interval(values, draws) for name, values in each.items()})


def rank_correlations(
    score: Float[np.ndarray, "fact layer"], effect: Float[np.ndarray, "fact layer"]
) -> Float[np.ndarray, " layer"]:
    """Of each layer, Spearman's correlation of effect and score over facts; NaN where either is constant.

    Raises:
        UnknownName: as for `explained`.
    """
    _refuse(score, effect)
    ranks = [rankdata(values, axis=0) for values in (score, effect)]
    one, other = (each - each.mean(axis=0) for each in ranks)
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (one * other).sum(axis=0) / np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    return found


def _shares(score: np.ndarray, effect: np.ndarray) -> tuple[float, float, float]:
    """R2 of the scores on the layer, on the effect, and on both, each with a constant."""
    total = ((score - score.mean()) ** 2).sum()
    if total == 0:
        return 0.0, 0.0, 0.0
    # Means of layers are what a column for each layer fits; what is left is fitted by the effect within layers
    rest, within = score - score.mean(axis=0), effect - effect.mean(axis=0)
    layer = 1 - (rest**2).sum() / total
    return (
        float(layer),
        _fit(score - score.mean(), effect - effect.mean()) / float(total),
        float(layer) + _fit(rest, within) / float(total),
    )


def _fit(score: np.ndarray, effect: np.ndarray) -> float:
    """The sum of squares that a line through the origin explains."""
    square = float((effect**2).sum())
    return float((score * effect).sum()) ** 2 / square if square > 0 else 0.0


def _added(score: np.ndarray, effect: np.ndarray) -> float:
    layer, _, both = _shares(score, effect)
    return both - layer


def _interval(values: np.ndarray, draws: np.ndarray) -> Interval:
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def _refuse(score: np.ndarray, effect: np.ndarray) -> None:
    if score.shape != effect.shape or len(score) < 3:
        raise UnknownName(
            "scores and effects are compared over the same layers of three facts or more; "
            f"these are {score.shape} and {effect.shape}"
        )
