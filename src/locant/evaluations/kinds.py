"""Two kinds of facts, consistent and inconsistent: where to part them, and how to test that they are two.

A split at a threshold makes two groups whose scores differ, whatever is split, so that a test of that difference
says nothing (`welch` on the very scores that were split). `split_half` sorts facts by one half of their queries and
compares them by the other, where noise has no difference left.

Source: Chen et al. 2024, arXiv:2405.14117, section 2, which tests what it split.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammaln
from scipy.stats import bootstrap, permutation_test, spearmanr, ttest_ind
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.consistency import SetsByFact, codes_of, measure_named, members_of
from locant.types import Interval


@dataclass(frozen=True)
class Welch:
    """Welch's t-test of two groups, and how far they are apart.

    Attributes:
        effect: Hedges' g, in pooled standard deviations, with a bootstrap interval over facts.
    """

    t: float
    freedom: float
    p: float
    effect: Interval


@dataclass(frozen=True)
class SplitHalf:
    """Facts sorted by one half of their queries and compared by the other.

    Attributes:
        threshold: on the first half; facts at or above it are consistent.
        consistent, inconsistent: scores by the second half, of the facts that the first half calls so.
        difference: of their means.
        p: of a difference as large, if what the first half says were nothing to the second; one-sided.
        reliability: Spearman's rank correlation of the halves over all facts, which needs no threshold; NaN
            where a half does not vary.
    """

    threshold: float
    consistent: Float[Tensor, " fact"]
    inconsistent: Float[Tensor, " other"]
    difference: float
    p: float
    reliability: float


def otsu(scores: Float[Tensor, " fact"]) -> float:
    """The threshold that parts scores into two groups with the largest variance between them.

    Scores of a few queries take few values, so no histogram is needed: every gap between two of them is tried,
    and the threshold is its middle. Facts at or above it are consistent. (On a histogram, values of the border's
    bin fall to either side of its centre.)

    Raises:
        UnknownName: a score is NaN, or all are equal.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    values, counts = np.unique(_numbers(scores), return_counts=True)
    if len(values) < 2:
        raise UnknownName("Otsu's threshold lies between two different scores, and there are none")
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sums = np.cumsum(values * counts)
    gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / (total - below)
    best = int(np.argmax(below * (total - below) * gap**2))
    return float((values[best] + values[best + 1]) / 2)


def welch(
    consistent: Float[Tensor, " fact"],
    inconsistent: Float[Tensor, " other"],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Welch:
    """Welch's t-test of two groups of scores, with Hedges' g.

    The paper's p < 1e-6 is of the very scores that its threshold parted into the two groups. That any scores
    would give: parting 100 uniform random numbers at their middle gives p < 1e-25. Give it scores which had no
    part in the parting: those of `split_half`, another localizer's, another model's.

    Args:
        level: of confidence, of the interval of g: a percentile bootstrap over facts.

    Raises:
        UnknownName: a group has fewer than two scores, a score is NaN, or nothing varies within the groups.

    Source: Welch 1947; Hedges 1981, doi:10.3102/10769986006002107, with the exact correction for few facts.
    """
    first, second = _numbers(consistent), _numbers(inconsistent)
    if min(len(first), len(second)) < 2:
        raise UnknownName(f"a t-test takes two scores of each group or more, not {len(first)} and {len(second)}")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        raise UnknownName("a t-test has nothing to measure by where the scores of each group are all equal")
    # Groups, or resamples of them, that hardly vary: the effect is as good as infinite, and is given as that
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        warnings.catch_warnings(category=RuntimeWarning, action="ignore"),
    ):
        test = ttest_ind(first, second, equal_var=False)
        found = bootstrap(
            (first, second),
            _hedges_g,
            confidence_level=level,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    effect = Interval(float(_hedges_g(first, second)), float(found.low), float(found.high), len(first) + len(second))
    return Welch(float(test.statistic), float(test.df), float(test.pvalue), effect)


def split_half(
    sets_by_fact: SetsByFact,
    *,
    measure: str = "cs2",
    threshold: float | None = None,
    within_relations: bool = False,
    resamples: int = 9999,
    seed: int = 0,
) -> SplitHalf:
    """Are there consistent and inconsistent facts? Sort them by half of their queries, compare by the other half.

    Each fact's queries are parted at random into two halves of equal size (of an odd number, one is left out).
    No query is in both, so that chance in the first half, which decides on which side of the threshold a fact
    falls, tells nothing about the second. A difference there means that consistency belongs to the fact; it may
    still be its relation's, or its sets' size: match sizes, and look within relations. Facts with a half without
    neurons are left out.

    Args:
        sets_by_fact: of facts with as many queries each, four or more (see `matched`).
        measure: 'cs1', 'cs2' or 'jaccard'.
        threshold: on the scores of the first half; Otsu's if not given.
        within_relations: take each relation's mean off its facts' scores, in either half.
        resamples: of the permutation test.

    Raises:
        UnknownName: facts have different numbers of queries or fewer than four, or the threshold leaves one
            side fewer than two. With unequal numbers, facts with more queries would score higher by both halves.
    """
    score = measure_named(measure)
    counts = {len(sets) for sets in sets_by_fact.values()}
    if len(counts) != 1 or min(counts) < 4:
        found = f"{min(counts)} to {max(counts)}" if counts else "none"
        raise UnknownName(f"halves are of facts with equally many queries, four or more; these have {found}")
    numbers = np.random.default_rng(seed)
    halves = [_halves(codes_of(sets), numbers) for sets in sets_by_fact.values()]
    first, second = (np.array([score(members_of(pair[side])) for pair in halves]) for side in (0, 1))
    defined = np.isfinite(first) & np.isfinite(second)
    first, second = first[defined], second[defined]
    if within_relations:
        relations = np.array([sets[0].queries[0].relation for sets in sets_by_fact.values()])[defined]
        first, second = (_centred(scores, relations) for scores in (first, second))
    border = otsu(torch.from_numpy(first)) if threshold is None else threshold
    high, low = second[first >= border], second[first < border]
    if min(len(high), len(low)) < 2:
        found = f"{len(high)} consistent and {len(low)} inconsistent facts"
        raise UnknownName(f"the threshold {border:g} leaves {found}: a test takes two of each or more")
    test = permutation_test(
        (high, low), _difference, vectorized=True, n_resamples=resamples, alternative="greater", rng=numbers
    )
    varies = np.ptp(first) > 0 and np.ptp(second) > 0
    return SplitHalf(
        threshold=border,
        consistent=torch.from_numpy(high),
        inconsistent=torch.from_numpy(low),
        difference=float(test.statistic),
        p=float(test.pvalue),
        reliability=float(spearmanr(first, second).statistic) if varies else float("nan"),
    )


def _centred(scores: np.ndarray, relations: np.ndarray) -> np.ndarray:
    """Scores less the mean of their relation."""
    _, place = np.unique(relations, return_inverse=True)
    return np.asarray(scores - (np.bincount(place, scores) / np.bincount(place))[place])


def _halves(codes: list[np.ndarray], numbers: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    order, half = numbers.permutation(len(codes)), len(codes) // 2
    return [codes[index] for index in order[:half]], [codes[index] for index in order[half : 2 * half]]


def _difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.asarray(first.mean(axis=axis) - second.mean(axis=axis))


def _hedges_g(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    free = [group.shape[axis] - 1 for group in (first, second)]
    squares = sum(n * group.var(axis=axis, ddof=1) for n, group in zip(free, (first, second), strict=True))
    degrees = sum(free)
    correction = np.exp(gammaln(degrees / 2) - gammaln((degrees - 1) / 2)) / np.sqrt(degrees / 2)
    return np.asarray(correction * _difference(first, second, axis) / np.sqrt(squares / degrees))


def _numbers(scores: Tensor) -> np.ndarray:
    """Scores as float64.

    Raises:
        UnknownName: one is NaN.
    """
    if scores.isnan().any():
        raise UnknownName("a score is NaN, of a fact without any neurons: leave such facts out, and say so")
    return scores.double().numpy()
