"""In-context learning: heads that a demonstration brings into the circuit, and what the answer is without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import polars as pl
import torch

from locant.attributions.edges import Pair
from locant.evaluations.circuits import read_circuits
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.data import can_be_asked, names_of
from locant.recipes.knowledge_circuits.drawn import LEAST, RelationPairs
from locant.recipes.knowledge_circuits.found import edge_scores
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.wrong import cut
from locant.recipes.rows import Row
from locant.selections.circuits import choose
from locant.types import Query

METRIC = "log_probability"
"""What circuits are of: against another demonstration there is no other answer to compare with."""
ZERO_SHOT, SHOWN, NEW, RANDOM = "without", "with", "new heads cut", "random heads cut"


@dataclass(frozen=True)
class Demonstration:
    """How facts are shown and asked: in their own wording, or in a frame with {subject} for the subject."""

    frame: str | None

    def asked(self, query: Query, shown: Query | None) -> Query:
        """The query after a solved one, or alone."""
        before = "" if shown is None else f"{self._prompt(shown)} {shown.answer}\n"
        return replace(query, prompt=before + self._prompt(query))

    def _prompt(self, query: Query) -> str:
        return query.prompt if self.frame is None else self.frame.format(subject=query.fact.subject)


@dataclass(frozen=True)
class Shown:
    """A half of a relation's facts, asked alone and after a demonstration.

    Attributes:
        alone: each against another subject.
        after: each against the same after a demonstration of another relation, in as many tokens.
    """

    alone: tuple[Pair, ...]
    after: tuple[Pair, ...]


def show_facts(
    lm: LanguageModel, relation: RelationPairs, others: Sequence[RelationPairs], way: Demonstration, plan: Plan
) -> dict[str, Shown]:
    """Facts of both halves; each is shown a fact of the other half, so that none is shown and asked.

    What is shown names neither the subject nor the object that is asked for: an answer that can be copied is no
    answer by example.
    """
    random = Random(f"{plan.seed}/{relation.name}/shown")
    foreign = [pair.query for one in others for pair in (*one.validation, *one.test) if one.name != relation.name]
    found = {}
    for half, pairs, shown in (
        ("validation", relation.validation, relation.test),
        ("test", relation.test, relation.validation),
    ):
        own, its = [pair.query for pair in pairs], [pair.query for pair in shown]
        both = [
            (_alone(lm, query, own, way), _after(lm, query, its, foreign, way, random))
            for query in own[: plan.demonstrations]
        ]
        there = [(alone, after) for alone, after in both if alone is not None and after is not None]
        found[half] = Shown(tuple(alone for alone, _ in there), tuple(after for _, after in there))
    return found


def _alone(lm: LanguageModel, query: Query, half: Sequence[Query], way: Demonstration) -> Pair | None:
    """A fact alone beside the next of its half in as many tokens: in a frame, these are others than in a sentence."""
    mine, at = way.asked(query, None), half.index(query)
    length, said = _length(lm, mine), lm.tokens(query).answers[0][0]
    for its in (way.asked(one, None) for one in (*half[at + 1 :], *half[:at])):
        if length is not None and _length(lm, its) == length and lm.tokens(its).answers[0][0] != said:
            return Pair(mine, its)
    return None


def _after(
    lm: LanguageModel,
    query: Query,
    shown: Sequence[Query],
    foreign: Sequence[Query],
    way: Demonstration,
    random: Random,
) -> Pair | None:
    """A fact after another of its relation, and after one of another relation in as many tokens; None if none is."""
    names = names_of(query.fact)
    own, others = (
        [way.asked(query, one) for one in random.sample(some, len(some)) if names.isdisjoint(names_of(one.fact))]
        for some in (shown, foreign)
    )
    by_length: dict[int | None, Query] = {}
    for its in others:
        by_length.setdefault(_length(lm, its), its)
    by_length.pop(None, None)
    pairs = (Pair(mine, by_length[length]) for mine in own if (length := _length(lm, mine)) in by_length)
    return next(pairs, None)


def _length(lm: LanguageModel, query: Query) -> int | None:
    """In tokens; None if it cannot be asked of the model."""
    return len(lm.tokens(query).prompt) if can_be_asked(lm, query) else None


def cut_new_heads(
    lm: LanguageModel, graph: Graph, relation: RelationPairs, halves: dict[str, Shown], plan: Plan
) -> pl.DataFrame:
    """Find the heads that a demonstration brings, on validation facts; cut them, and as many others, on test facts.

    New heads are in the circuit of facts after a demonstration, against another relation's demonstration, and not in
    that of the same facts alone, against another subject's. Random ones are of the same layers, and not new. No rows
    where a half has fewer than LEAST facts.

    Columns: relation, set (ZERO_SHOT, SHOWN, NEW, RANDOM), draw, heads (their names), query, probability, rank.
    """
    size = round(plan.share * int(graph.edges.sum()))
    validation, test = halves["validation"], halves["test"]
    if min(len(validation.after), len(test.after)) < LEAST:
        return pl.DataFrame()

    def heads_in(pairs: Sequence[Pair]) -> set[int]:
        scores = edge_scores(lm, graph, pairs, replace(plan, metric=METRIC))
        return {graph.sender(name) for name in choose(scores, size, rule=plan.rule, by=plan.by).heads}

    new = sorted(heads_in(validation.after) - heads_in(validation.alone))
    draws = [
        _others(graph, new, Random(f"{plan.seed}/{relation.name}/{draw}")) for draw in range(plan.random_circuits)
    ]
    sets = [(SHOWN, 0, []), (NEW, 0, new), *((RANDOM, draw, some) for draw, some in enumerate(draws))]
    rows = list(_rows(lm, graph, test.alone, [(ZERO_SHOT, 0, [])], plan))
    rows += _rows(lm, graph, test.after, sets, plan)
    return pl.DataFrame([{"relation": relation.name} | row for row in rows], infer_schema_length=None)


def _rows(
    lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], sets: Sequence[tuple[str, int, list[int]]], plan: Plan
) -> Iterator[Row]:
    keeps = torch.stack([cut(graph, heads) for _, _, heads in sets])
    readings = read_circuits(lm, graph, pairs, keeps, ablation=plan.ablation, metrics=(METRIC,))
    for row, (name, draw, heads) in enumerate(sets):
        for place, query in enumerate(readings.queries):
            yield {
                "set": name,
                "draw": draw,
                "heads": ", ".join(graph.senders[head] for head in heads),
                "query": query.uid,
                "probability": float(readings.metrics[METRIC][place, row].exp()),
                "rank": int(readings.rank[place, row]),
            }


def _others(graph: Graph, heads: Sequence[int], random: Random) -> list[int]:
    """As many heads of each layer that are not among these, or all others where there are fewer."""
    layer_of = graph.head_layers
    chosen: list[int] = []
    for layer in dict.fromkeys(layer_of[head] for head in heads):
        own = [head for head in heads if layer_of[head] == layer]
        free = [head for head in layer_of if layer_of[head] == layer and head not in own]
        chosen += random.sample(free, min(len(own), len(free)))
    return sorted(chosen)
