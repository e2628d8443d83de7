"""Pairs of neurons that stand in for each other: without either the answer stays, without both it is lost.

    pairs = degenerate_pairs(lm, wordings_of_one_fact, select(attribution, "share"))
    degenerate_set(pairs)

The printed rule calls a pair degenerate if either alone drops P(answer) by at most `low`, both by more than `high`.
Two neurons that have nothing to do with each other pass it as well: 15% and 15% are 30%. So a pair is called
synergistic if, besides, what both drop is more than the sum of what either drops, by three tests:

- size: by more than high - low. The rule asks a pair to be worth more than one neuron by that much; here it has
  to be worth more than its two neurons by as much;
- random pairs: random neurons of the same layers seldom have such a synergy;
- wordings: the mean synergy's bootstrap interval over the fact's wordings lies above 0 (of three wordings or more).

What none of them can tell is where the synergy arises. A softmax bends: two neurons that add up in the logits, each
of which suffices, are a synergistic pair of probabilities. `log_odds` says what is left where such sums stay sums.

Source: Chen et al. 2024, arXiv:2308.13198, degenerate knowledge neurons (equations 9 and 10, for pairs); thresholds
and the cut at 20 neurons as in its released code. The synergy and its tests are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import bootstrap
from torch import Tensor

from locant.errors import BadQuery, UnknownName
from locant.evaluations.sets import probability_by_set
from locant.models import LanguageModel
from locant.selections.share import strongest
from locant.types import Provenance, Query, Selection, Setting

CERTAIN = 1e-5
"""Distance from 1 below which a probability computed in float32 says nothing of its odds."""

LEVEL, RESAMPLES = 0.95, 2000
"""Confidence of the interval over wordings, and its bootstrap resamples."""


@dataclass(frozen=True)
class PairDrops:
    """What an answer loses without each of two neurons, and without both; means over a fact's wordings.

    Attributes:
        units: (layer, neuron) of both.
        alone: the drop without each: (P - P_without) / P, or P - P_without.
        joint: the drop without both.
        log_odds: what both take from the log-odds of the answer beyond the sum of what each takes (natural); NaN
            where a probability is too near 1 for its odds to be known.
        degenerate: by the printed rule: each alone at most `low`, both more than `high`.
        by_query: the synergy for each wording.
    """

    units: Int[Tensor, "pair 2 2"]
    alone: Float[Tensor, "pair 2"]
    joint: Float[Tensor, " pair"]
    log_odds: Float[Tensor, " pair"]
    degenerate: Bool[Tensor, " pair"]
    by_query: Float[Tensor, "pair query"]

    def __len__(self) -> int:
        return len(self.units)

    @property
    def expected(self) -> Float[Tensor, " pair"]:
        """The joint drop of two neurons whose drops add up."""
        return self.alone.sum(dim=1)

    @property
    def synergy(self) -> Float[Tensor, " pair"]:
        """joint - expected: above 0 more than additive, below 0 less."""
        return self.joint - self.expected


@dataclass(frozen=True)
class DegeneratePairs(PairDrops):
    """Every pair of a fact's neurons that either alone is not missed much.

    Attributes:
        queries: the fact's wordings.
        grid: (layers, neurons per layer) of the model.
        low, high: the rule's thresholds, in the units of the drops.
        interval: of the mean synergy, its 95% percentile bootstrap interval over wordings; NaN of fewer than
            three.
        p: share of random pairs (the pair itself among them) whose synergy is at least the pair's; never 0. Each
            is the pair's own: of n pairs without any synergy, n/20 are below 0.05.
        random: the random pairs: of layers as the candidates', of neurons that were not chosen.
    """

    queries: tuple[Query, ...]
    grid: tuple[int, int]
    low: float
    high: float
    interval: Float[Tensor, "pair 2"]
    p: Float[Tensor, " pair"]
    random: PairDrops
    made_by: Provenance

    @property
    def random_share(self) -> float:
        """The share of random pairs that the printed rule calls degenerate; NaN if there are none."""
        return float(self.random.degenerate.double().mean())

    def synergistic(self, level: float = 0.05) -> Bool[Tensor, " pair"]:
        """The pairs that drop more than the sum of their neurons' drops, by all three tests.

        Args:
            level: the highest p that passes.
        """
        large = self.synergy > self.high - self.low
        steady = (self.interval[:, 0] > 0) | self.interval[:, 0].isnan()
        return large & steady & (self.p <= level)

    def accepted(self, level: float = 0.05) -> Bool[Tensor, " pair"]:
        """Degenerate by the printed rule, and synergistic."""
        return self.degenerate & self.synergistic(level)


def degenerate_pairs(
    lm: LanguageModel,
    queries: Sequence[Query],
    chosen: Selection,
    *,
    low: float = 0.20,
    high: float = 0.25,
    relative: bool = True,
    most: int = 20,
    null: int = 200,
    seed: int = 0,
) -> DegeneratePairs:
    """Suppress a fact's neurons one by one, then in pairs, and compare.

    Candidates are all pairs of those neurons without which the answer drops by at most `low`. Random pairs are
    compared with them in synergy if they could be candidates themselves: each neuron's drop is at most `low`.
    n neurons take n(n+1)/2 sets for each wording, and the null about three times as many as it has pairs.

    Args:
        queries: wordings of one fact.
        chosen: the fact's neurons.
        low, high: drops, in shares of P(answer) if relative, in probability otherwise.
        relative: measure a drop by each wording's own P(answer) before it is averaged over wordings.
        most: of the chosen neurons, consider those with the highest weights.
        null: random pairs to draw.

    Raises:
        BadQuery: a query cannot be asked of this model, or its answer's probability is 0.
        UnknownName: the queries are not of one fact, a setting makes no sense, or too few neurons are not chosen
            to draw random pairs from.
    """
    _refuse_nonsense(queries, low, high, most, null)
    own = strongest(chosen, min(most, len(chosen)))
    reader = _Reader(lm, tuple(queries), own, low, high, relative)
    alone = reader.drops(reader.without(own.units[:, None]))
    kept = own.units[alone.mean(dim=1) <= low]
    first, second = torch.triu_indices(len(kept), len(kept), 1)
    units = torch.stack([kept[first], kept[second]], dim=1)
    found = reader.pairs(units)
    random = reader.pairs(_random_pairs(units, chosen, null, torch.Generator().manual_seed(seed)))
    settings: dict[str, Setting] = {"low": low, "high": high, "relative": relative, "most": most, "null": null}
    return DegeneratePairs(
        **vars(found),
        queries=tuple(queries),
        grid=chosen.grid,
        low=low,
        high=high,
        interval=_interval(found.by_query, seed),
        p=_p_values(found.synergy, random.synergy[(random.alone <= low).all(dim=1)]),
        random=random,
        made_by=lm.provenance("degenerate_pairs", settings, seed, parents=(chosen.made_by.digest(),)),
    )


def degenerate_set(pairs: DegeneratePairs, *, printed: bool = False, level: float = 0.05) -> Selection:
    """The neurons of a fact's degenerate pairs; each weighs the number of such pairs it is in.

    Args:
        printed: of the pairs that the printed rule calls degenerate; otherwise of those that are synergistic, too.
        level: as for `synergistic`.
    """
    passed = pairs.degenerate if printed else pairs.accepted(level)
    units, times = pairs.units[passed].reshape(-1, 2).unique(dim=0, return_counts=True)
    settings: dict[str, Setting] = {"printed": printed, "level": level}
    made_by = Provenance("degenerate_set", settings, parents=(pairs.made_by.digest(),))
    return Selection(pairs.queries, units, times.float(), pairs.grid, made_by)


@dataclass(frozen=True)
class _Reader:
    """Reads a fact's answer without sets of neurons."""

    lm: LanguageModel
    queries: tuple[Query, ...]
    like: Selection
    low: float
    high: float
    relative: bool

    def without(self, sets: Int[Tensor, "set unit 2"]) -> Float[Tensor, "read query"]:
        """P(answer) as it is, then without each of the sets."""
        chosen = [self._selection(units) for units in (self.like.units[:0], *sets)]
        found = torch.stack([probability_by_set(self.lm, query, chosen, 0.0) for query in self.queries], dim=1)
        for query, before in zip(self.queries, found[0].tolist(), strict=True):
            if before == 0:
                raise BadQuery(f"query {query.uid!r}: the answer {query.answer!r} has probability 0, and cannot drop")
        return found

    def drops(self, read: Float[Tensor, "read query"]) -> Float[Tensor, "set query"]:
        """What each set takes away from P(answer)."""
        lost = read[0] - read[1:]
        return lost / read[0] if self.relative else lost

    def pairs(self, units: Int[Tensor, "pair 2 2"]) -> PairDrops:
        """The drops of pairs; a neuron of several is read once."""
        single, place = units.reshape(-1, 2).unique(dim=0, return_inverse=True)
        place = place.reshape(-1, 2)
        one, both = self.without(single[:, None]), self.without(units)
        alone, joint = self.drops(one)[place], self.drops(both)
        odds_of_one, odds_of_both = _log_odds(one), _log_odds(both)
        each = (odds_of_one[0] - odds_of_one[1:])[place].sum(dim=1)
        means, mean = alone.mean(dim=2), joint.mean(dim=1)
        return PairDrops(
            units=units,
            alone=means,
            joint=mean,
            log_odds=(odds_of_both[0] - odds_of_both[1:] - each).mean(dim=1),
            degenerate=(means <= self.low).all(dim=1) & (mean > self.high),
            by_query=joint - alone.sum(dim=1),
        )

    def _selection(self, units: Int[Tensor, "unit 2"]) -> Selection:
        return Selection(self.queries, units, torch.ones(len(units)), self.like.grid, self.like.made_by)


def _log_odds(probability: Float[Tensor, "set query"]) -> Float[Tensor, "set query"]:
    known = (probability > 0) & (probability < 1 - CERTAIN)
    return torch.where(known, probability, torch.nan).logit()


def _random_pairs(
    units: Int[Tensor, "pair 2 2"], chosen: Selection, count: int, generator: torch.Generator
) -> Int[Tensor, "draw 2 2"]:
    """Two different neurons that were not chosen, of the layers of a pair drawn at random; none without pairs."""
    if not len(units):
        return units
    free = torch.ones(chosen.grid, dtype=torch.bool)
    free[chosen.units[:, 0], chosen.units[:, 1]] = False
    few = [layer for layer in units[:, :, 0].unique().tolist() if int(free[layer].sum()) < 2]
    if few:
        raise UnknownName(f"cannot draw random pairs: fewer than two neurons of layer {few[0]} are not chosen")
    drawn = []
    for pair in torch.randint(len(units), (count,), generator=generator).tolist():
        one, other = units[pair, :, 0].tolist()
        first = _draw(free[one], generator)
        rest = free[other].clone()
        if one == other:
            rest[first] = False
        drawn.append([[one, first], [other, _draw(rest, generator)]])
    return torch.tensor(drawn)


def _draw(free: Bool[Tensor, " neuron"], generator: torch.Generator) -> int:
    left = free.nonzero()[:, 0]
    return int(left[torch.randint(len(left), (1,), generator=generator)])


def _interval(values: Float[Tensor, "pair query"], seed: int) -> Float[Tensor, "pair 2"]:
    """Ends of the bootstrap interval of each pair's mean over wordings; wordings are drawn whole, for all pairs."""
    pairs, wordings = values.shape
    if wordings < 3 or not pairs:
        return torch.full((pairs, 2), torch.nan, dtype=torch.float64)
    found = bootstrap(
        (values.numpy(),),
        np.mean,
        axis=-1,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        batch=200,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return torch.from_numpy(np.stack([found.low, found.high], axis=1))


def _p_values(values: Float[Tensor, " pair"], null: Float[Tensor, " draw"]) -> Float[Tensor, " pair"]:
    reached = (null[None] >= values[:, None]).sum(dim=1)
    return (1 + reached).double() / (1 + len(null))


def _refuse_nonsense(queries: Sequence[Query], low: float, high: float, most: int, null: int) -> None:
    facts = {query.fact.uid for query in queries}
    if len(facts) != 1:
        raise UnknownName(f"degenerate pairs are of one fact's wordings; these are of {len(facts)} facts")
    if not 0 <= low <= high:
        raise UnknownName(f"low is at least 0 and at most high, not {low} and {high}")
    if most < 2 or null < 1:
        raise UnknownName(f"pairs take 2 neurons or more and 1 random pair or more, not {most} and {null}")
