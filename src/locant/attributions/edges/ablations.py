"""What a sender writes where it is ablated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from locant.attributions.edges.pairs import Pair, PairSites, lay_out_pairs
from locant.errors import UnknownName, nearest
from locant.models import LanguageModel
from locant.models.branches import branches_of
from locant.models.graph import Graph
from locant.models.sent import Sent, mean_sent, record_sent, zero_sent

Ablation: TypeAlias = Callable[[PairSites], Sent]
"""From a batch of pairs to what senders write ablated."""

AT_ONCE = 64
"""Prompts in one batch of a mean."""


def counterfactual(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair]) -> Ablation:
    """What it writes in the counterfactual query."""
    branches = branches_of(lm, graph)
    return lambda batch: record_sent(lm, branches, batch.other)


def zero(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair]) -> Ablation:
    """Nothing; the bias of the heads' output projection, which is no head's, stays."""
    nothing = zero_sent(lm, branches_of(lm, graph))
    return lambda batch: nothing


def mean(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair]) -> Ablation:
    """What it writes on average over the queries given, by position."""
    return _mean(lm, graph, pairs, by_position=True)


def overall_mean(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair]) -> Ablation:
    """What it writes on average over the queries given and their positions."""
    return _mean(lm, graph, pairs, by_position=False)


def _mean(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], by_position: bool) -> Ablation:
    batches = [lay_out_pairs(lm, pairs[start : start + AT_ONCE]).clean for start in range(0, len(pairs), AT_ONCE)]
    found = mean_sent(lm, branches_of(lm, graph), batches, by_position=by_position)
    return lambda batch: found


ABLATIONS: dict[str, Callable[[LanguageModel, Graph, Sequence[Pair]], Ablation]] = {
    "counterfactual": counterfactual,
    "zero": zero,
    "mean": mean,
    "overall_mean": overall_mean,
}


def ablation_of(name: str, lm: LanguageModel, graph: Graph, pairs: Sequence[Pair]) -> Ablation:
    """An ablation by name; means are over the pairs' clean queries.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in ABLATIONS:
        raise UnknownName(f"no ablation {name!r}{nearest(name, ABLATIONS)}; there are {', '.join(ABLATIONS)}")
    return ABLATIONS[name](lm, graph, pairs)
