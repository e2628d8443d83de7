"""A relation's circuits run on both halves of its facts, beside the model, nothing, the complement and chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import polars as pl
import torch

from locant.attributions.edges import EdgeScores, Pair
from locant.evaluations.circuits import READ, CircuitReadings, read_circuits
from locant.models import LanguageModel
from locant.recipes.knowledge_circuits.drawn import RelationPairs
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.rows import Row
from locant.selections.circuits import Circuit, choose_each, random_circuit

WHOLE, NOTHING, CIRCUIT, COMPLEMENT, RANDOM, OTHER = (
    "model",
    "nothing",
    "circuit",
    "complement",
    "random",
    "another relation's",
)
HALVES = ("validation", "test")


@dataclass(frozen=True)
class Kept:
    """Some edges to be kept.

    Attributes:
        what: WHOLE, NOTHING, ...; `draw` tells random ones apart.
        share: of the edges that the circuit may have at most, or that the circuit beside which it stands may have.
    """

    what: str
    share: float
    draw: int
    circuit: Circuit


def circuits_of(scores: EdgeScores, plan: Plan) -> dict[float, Circuit]:
    """A relation's circuits by their share of the edges."""
    sizes = plan.sizes(int(scores.graph.edges.sum()))
    return dict(zip(sizes, choose_each(scores, list(sizes.values()), rule=plan.rule, by=plan.by), strict=True))


def judge_relation(
    lm: LanguageModel,
    relation: RelationPairs,
    own: Mapping[float, Circuit],
    other: Mapping[float, Circuit],
    plan: Plan,
) -> pl.DataFrame:
    """Run a relation's circuits and their controls.

    Args:
        own: its circuits by share, as `circuits_of` makes them.
        other: another relation's circuits by share; none where there is no other.

    Columns: relation, half, circuit, share, draw, edges, query; rank of the answer's first token, candidate_rank
    among those of the relation's answers, label_rank of the answer that the released code takes for right (null where
    it has none), from 0; logit_difference, log_probability.
    """
    kept = list(_kept(own, other, plan))
    keeps = torch.stack([one.circuit.keep for one in kept])
    graph = kept[0].circuit.graph
    asked = [pair.query for pair in (*relation.validation, *relation.test)]
    rows: list[Row] = []
    for half in HALVES:
        pairs: Sequence[Pair] = getattr(relation, half)
        # Past the last validation fact there is no label; reading some there keeps means over the whole half
        labels = [pair.query for pair, _ in zip(cycle(relation.validation), pairs, strict=False)]
        readings = read_circuits(
            lm,
            graph,
            pairs,
            keeps,
            ablation=plan.ablation,
            metrics=tuple(dict.fromkeys([plan.metric, *READ])),
            candidates=asked,
            labels=labels,
        )
        rows += _rows(relation.name, half, kept, readings, len(relation.validation))
    return pl.DataFrame(rows, infer_schema_length=None)


def _kept(circuits: Mapping[float, Circuit], other: Mapping[float, Circuit], plan: Plan) -> Iterator[Kept]:
    own = circuits[plan.share]
    graph, made_by = own.graph, own.made_by
    yield Kept(NOTHING, 0.0, 0, Circuit(graph, torch.zeros_like(graph.edges), own.scores, made_by))
    yield Kept(WHOLE, 1.0, 0, Circuit(graph, graph.edges, own.scores, made_by))
    yield Kept(COMPLEMENT, plan.share, 0, own.complement())
    for share, circuit in circuits.items():
        yield Kept(CIRCUIT, share, 0, circuit)
        if share in other:
            yield Kept(OTHER, share, 0, other[share])
        for draw in range(plan.random_circuits):
            yield Kept(RANDOM, share, draw, random_circuit(circuit, plan.seed * plan.random_circuits + draw))


def _rows(relation: str, half: str, kept: Sequence[Kept], readings: CircuitReadings, labelled: int) -> Iterator[Row]:
    for row, one in enumerate(kept):
        for place, query in enumerate(readings.queries):
            labels, candidates = readings.label_rank, readings.candidate_rank
            yield {
                "relation": relation,
                "half": half,
                "circuit": one.what,
                "share": one.share,
                "draw": one.draw,
                "edges": len(one.circuit),
                "query": query.uid,
                "rank": int(readings.rank[place, row]),
                "candidate_rank": None if candidates is None else int(candidates[place, row]),
                "label_rank": None if labels is None or place >= labelled else int(labels[place, row]),
                **{name: float(values[place, row]) for name, values in readings.metrics.items()},
            }
