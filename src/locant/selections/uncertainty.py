"""Scores of one fact in several languages, less what its wordings and its languages disagree about.

    found = over_queries({"en": english.scores, "fr": french.scores})
    scores = over_languages(found)

A neuron that is high for one wording, or in one language, may belong to the wording or to the language; one that
holds the fact is high for all. So the mean over the queries of a language is lowered by their deviation, and the mean
over languages by theirs. What is chosen by these scores is the matter of across_languages.py.

Source: MATRICE (arXiv:2411.17401) says that it measures uncertainty across queries and across languages. Its formulas
were not at hand: all of this is inferred, from the consistency-aware score of arXiv:2405.14117 (mean less deviation),
and each choice is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.errors import UnknownName, nearest

FLOOR = 0.1
"""What the rule 'inverse-variance' adds to each language's variance, in means of the languages' variances."""


@dataclass(frozen=True)
class LanguageScores:
    """What a fact's queries say of each neuron in each language, in float64.

    Attributes:
        mean: of the normalised scores over the language's queries: of no unit, and at most 1.
        spread: their standard deviation: the population's (the sum of squares is divided by the queries' number).
    """

    languages: tuple[str, ...]
    mean: Float[Tensor, "language layer neuron"]
    spread: Float[Tensor, "language layer neuron"]

    def __len__(self) -> int:
        return len(self.languages)


def normalised(scores: Float[Tensor, "query layer neuron"]) -> Float[Tensor, "query layer neuron"]:
    """Each query's scores over its highest, so that queries can be compared; inferred, as all of this file.

    A query whose highest score is not above zero credits no neuron: its scores become zeros. Only the highest is
    bounded: where blame is much larger than credit, scores are far below -1.
    """
    highest = scores.amax(dim=(1, 2), keepdim=True)
    return torch.where(highest > 0, scores / highest, 0)


def over_queries(
    scores: Mapping[str, Float[Tensor, "_query layer neuron"]],
    weights: Mapping[str, Float[Tensor, " _query"]] | None = None,
) -> LanguageScores:
    """Mean and deviation of a fact's normalised scores over the queries of each language.

    Args:
        scores: by language, of one fact's queries; languages may have different numbers of them.
        weights: by language, what each of its queries counts, to be divided by their sum; equal if not given
            (inferred), and where all of a language's are zero: it then counts as if nothing were known of its
            answers. `probability_weights` and `top1_weights` make some.

    Raises:
        UnknownName: there are no languages, one has no queries, a score is not finite, models are of several sizes,
            or weights do not fit the queries.
    """
    grid = _grid(scores)
    mean = torch.zeros(len(scores), *grid, dtype=torch.float64)
    spread = torch.zeros_like(mean)
    for place, (language, own) in enumerate(scores.items()):
        each = _weights_of(language, len(own), weights)
        _refuse_infinite(language, own)
        # One query at a time: of a large model, a copy of all is hundreds of megabytes
        for weight, one in zip(each, own.split(1), strict=True):
            mean[place].add_(normalised(_double(one))[0], alpha=weight)
        for weight, one in zip(each, own.split(1), strict=True):
            deviation = normalised(_double(one))[0].sub_(mean[place])
            spread[place].addcmul_(deviation, deviation, value=weight)
    return LanguageScores(tuple(scores), mean, spread.sqrt_())


def probability_weights(answer_prob: Float[Tensor, " query"]) -> Float[Tensor, " query"]:
    """Weights that sum to 1, a query's in proportion to P(answer): what is answered well is located well.

    Equal where all are zero.

    Raises:
        UnknownName: there are none, or one is no probability.
    """
    found = _double(answer_prob)
    if not ((found >= 0) & (found <= 1)).all():
        raise UnknownName("weights are made of probabilities of answers, from 0 to 1")
    return _to_one(found)


def top1_weights(ranks: Int[Tensor, " query"] | Bool[Tensor, " query"]) -> Float[Tensor, " query"]:
    """Weights that sum to 1: equal for the queries whose answer is the model's own first choice, 0 for others.

    Equal for all where none is.

    Args:
        ranks: of the answers, 1 being the model's own choice; or whether each is.

    Raises:
        UnknownName: there are none, or a rank is below 1.
    """
    if ranks.dtype != torch.bool and (ranks < 1).any():
        raise UnknownName(f"a rank is 1 or more, not {int(ranks.min())}")
    return _to_one(_double(ranks if ranks.dtype == torch.bool else ranks == 1))


def by_language(found: LanguageScores, lambda_q: float = 1.0) -> Float[Tensor, "language layer neuron"]:
    """S_k, each language's own score: the mean over its queries, less lambda_q times their deviation.

    Args:
        lambda_q: the price of disagreement between queries; 1 is inferred, 0 ignores it.

    Raises:
        UnknownName: lambda_q is negative or not finite.
    """
    _refuse_price("lambda_q", lambda_q)
    return found.mean - lambda_q * found.spread


def over_languages(
    found: LanguageScores, *, lambda_q: float = 1.0, lambda_l: float = 1.0, rule: str = "deviation"
) -> Float[Tensor, "layer neuron"]:
    """S, one score for each neuron: high where every language has it high. Of no unit, and at most 1.

    Of one language, S is its S_k under every rule: there is nothing to disagree with.

    Args:
        lambda_q: the price of disagreement between the queries of a language, see `by_language`.
        lambda_l: the price of disagreement between languages; 0 ignores it. Both are 1 by inference.
        rule: all three are inferred. 'deviation' is the mean of S_k less lambda_l times their deviation (of the
            population). 'inverse-variance' is the same with languages weighed by 1 / (their queries' variance,
            the mean over neurons, + FLOOR of all languages' mean variance). 'entropy' is the mean of S_k times
            H ** lambda_l, H being the entropy of the positive parts of S_k over that of equal ones; the exponent is
            ours. It brings scores below zero nearer to zero, and says nothing of their order.

    Raises:
        UnknownName: no such rule, or a lambda is negative or not finite.
    """
    if rule not in RULES:
        raise UnknownName(f"no rule {rule!r}{nearest(rule, RULES)}; there are {', '.join(RULES)}")
    _refuse_price("lambda_l", lambda_l)
    return RULES[rule](found, lambda_q, lambda_l)


def variance_parts(found: LanguageScores) -> tuple[Float[Tensor, "layer neuron"], Float[Tensor, "layer neuron"]]:
    """How far a neuron's normalised scores differ within languages, and between them.

    `within` is the mean over languages of their queries' variance, `between` the variance (of the population) of the
    languages' means. Their sum is the variance over all queries, a query counting its weight in its language over
    the number of languages. So it is the plain variance of all queries pooled exactly where every query counts
    the same: every language has equally many, and equal weights.
    """
    return found.spread.square().mean(dim=0), found.mean.var(dim=0, correction=0)


# Rules


def _deviation(found: LanguageScores, lambda_q: float, lambda_l: float) -> Float[Tensor, "layer neuron"]:
    own = by_language(found, lambda_q)
    return own.mean(dim=0) - lambda_l * own.std(dim=0, correction=0)


def _inverse_variance(found: LanguageScores, lambda_q: float, lambda_l: float) -> Float[Tensor, "layer neuron"]:
    own = by_language(found, lambda_q)
    variance = torch.stack([one.square().mean() for one in found.spread])
    # The floor grows with the variances: a language with one query has none, and with a constant next to nothing
    # would decide alone; with this one it counts at most 1 + 1 / FLOOR times as much as an average language.
    floor = FLOOR * variance.mean()
    share = _to_one(1 / (floor + variance) if floor > 0 else torch.ones_like(variance))[:, None, None]
    mean = (share * own).sum(dim=0)
    return mean - lambda_l * (share * (own - mean).square()).sum(dim=0).sqrt()


def _entropy(found: LanguageScores, lambda_q: float, lambda_l: float) -> Float[Tensor, "layer neuron"]:
    own = by_language(found, lambda_q)
    if len(own) == 1:
        return own[0]
    mean = own.mean(dim=0)
    positive = own.clamp_(min=0)
    total = positive.sum(dim=0)
    # Where no language credits the neuron, no language stands out: H is 1, and S the mean, which is not above 0
    part = torch.where(total > 0, positive / total, 1 / len(own))
    evenness = torch.special.entr(part).sum(dim=0) / math.log(len(own))
    return mean * evenness**lambda_l


Rule: TypeAlias = Callable[[LanguageScores, float, float], Float[Tensor, "layer neuron"]]

RULES: dict[str, Rule] = {
    "deviation": _deviation,
    "inverse-variance": _inverse_variance,
    "entropy": _entropy,
}


# What is asked for


def _double(values: Tensor) -> Tensor:
    return values.detach().cpu().double()


def _grid(scores: Mapping[str, Tensor]) -> tuple[int, int]:
    grids = sorted({(own.shape[1], own.shape[2]) for own in scores.values()})
    if len(grids) != 1 or not all(grids[0]):
        found = " and ".join(map(str, grids)) or "none"
        raise UnknownName(f"languages to compare have scores of one model's (layers, neurons); these are {found}")
    return grids[0]


def _refuse_infinite(language: str, scores: Float[Tensor, "query layer neuron"]) -> None:
    lowest, highest = torch.aminmax(scores)
    if not (lowest.isfinite() and highest.isfinite()):
        raise UnknownName(f"the scores of {language!r} are not all finite: from {float(lowest)} to {float(highest)}")


def _refuse_price(name: str, price: float) -> None:
    if not 0 <= price < math.inf:
        raise UnknownName(f"{name} is 0 or more, not {price}")


def _weights_of(language: str, queries: int, weights: Mapping[str, Tensor] | None) -> list[float]:
    if not queries:
        raise UnknownName(f"there are no queries in {language!r}")
    if weights is None:
        return [1 / queries] * queries
    if language not in weights:
        raise UnknownName(f"there are no weights for {language!r}, only for {', '.join(weights) or 'none'}")
    own = _double(weights[language])
    if len(own) != queries:
        raise UnknownName(f"there are {len(own)} weights for the {queries} queries in {language!r}")
    if not ((own >= 0) & own.isfinite()).all():
        raise UnknownName(f"the weights for {language!r} are 0 or more each, not {own.tolist()}")
    return _to_one(own).tolist()


def _to_one(weights: Float[Tensor, " any"]) -> Float[Tensor, " any"]:
    """Over their sum; equal if that is zero."""
    if not len(weights):
        raise UnknownName("there is nothing to weigh")
    highest = weights.max()
    # Over the highest first: tiny weights have no sum to divide by
    scaled = weights / highest if highest > 0 else torch.ones_like(weights)
    return scaled / scaled.sum()
