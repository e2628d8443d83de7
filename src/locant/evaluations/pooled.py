"""Intervals where a bootstrap over facts says too much: facts of several relations, and shares that all agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, t
from torch import Tensor

from locant.evaluations.outcomes import interval
from locant.types import Interval

LEVEL = 0.95
RESAMPLES = 2000
FEW = 6
"""Groups below which an interval is over the facts of these groups alone: of fewer, others cannot be told."""


def pooled_interval(
    values: Float[Tensor, " query"], facts: Sequence[str], groups: Sequence[str], *, seed: int = 0, few: int = FEW
) -> Interval:
    """The mean over facts, with a 95% percentile bootstrap interval over groups, each with its facts.

    A relation's facts share its wording, its circuit and how well the model knows it: as many of other relations are
    more. Groups are drawn anew, with the facts they have: drawing these anew as well would count what facts differ by
    twice. Percentiles are further out, the fewer groups there are, as bootstraps of few are too narrow. Of fewer than
    six groups, the interval is over their facts, and speaks of facts of these groups alone.

    Args:
        facts: the fact each value belongs to, whose values are averaged first.
        groups: the group, such as the relation, each fact belongs to.
        few: groups below which the interval is over facts.

    Raises:
        UnknownName: there are no values.

    Source: expanded percentiles, Hesterberg 2015, doi:10.1080/00031305.2015.1089789.
    """
    names = [f"{group}\n{fact}" for group, fact in zip(groups, facts, strict=True)]
    alone = interval(values, names, level=LEVEL, seed=seed)
    if len(set(groups)) < few:
        return alone
    alone = replace(alone, groups=len(set(groups)))
    by_fact: dict[str, dict[str, list[float]]] = {}
    for group, name, value in zip(groups, names, values.tolist(), strict=True):
        by_fact.setdefault(group, {}).setdefault(name, []).append(value)
    means = [np.array([np.mean(own) for own in facts_of.values()]) for facts_of in by_fact.values()]
    if np.ptp(np.concatenate(means)) == 0:
        return alone
    tail = norm.cdf(-np.sqrt(len(means) / (len(means) - 1)) * t.ppf((1 + LEVEL) / 2, len(means) - 1))
    low, high = np.quantile(_drawn(means, np.random.default_rng(seed)), [tail, 1 - tail])
    return replace(alone, low=float(low), high=float(high))


def as_share(found: Interval) -> Interval:
    """An interval of a share; Wilson's where all agree, of whom resamples would agree as well.

    Facts of several groups count as fewer, by how much less sure so many groups are of a spread than so many facts.

    Source: Korn and Graubard 1998, Survey Methodology 24, for the correction by degrees of freedom; that it is put
    into Wilson's interval is ours.
    """
    if found.mean not in (0.0, 1.0):
        return found
    n, square = float(found.n), float(norm.ppf((1 + LEVEL) / 2)) ** 2
    if 1 < found.groups < found.n:
        facts, groups = (t.ppf((1 + LEVEL) / 2, many - 1) for many in (found.n, found.groups))
        n *= float(facts / groups) ** 2
    margin = square / (n + square)
    return replace(found, low=found.mean * (1 - margin), high=found.mean + (1 - found.mean) * margin)


def _drawn(means: Sequence[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Means over the facts of as many groups drawn anew."""
    total, count = (np.array([size(own) for own in means]) for size in (np.sum, len))
    some = random.integers(len(means), size=(RESAMPLES, len(means)))
    return np.asarray(total[some].sum(axis=1) / count[some].sum(axis=1))
