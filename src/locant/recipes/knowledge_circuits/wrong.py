"""Facts that a model gets wrong: where what it says overtakes the answer, and whether a head is to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import polars as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from locant.attributions.edges import Pair, ablation_of, lay_out_pairs
from locant.evaluations.answers import first_logits
from locant.evaluations.circuits import first_sites, read_nodes, read_stream, written
from locant.models import LanguageModel
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.drawn import in_turn, paired
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.rows import Row
from locant.types import Query

WRONG, RIGHT = "wrong", "right"
"""Queries whose answer the model does not say, and as many of the same relations whose answer it says."""
BLAMED, RANDOM = "the head that says it most", "another head of its layer"


def wrong_and_right(lm: LanguageModel, queries: Sequence[Query], plan: Plan) -> dict[str, list[Pair]]:
    """Queries that the model gets wrong, as many as the plan says, and as many that it gets right, in pairs.

    Both are of the same relations in the same numbers, evenly from all that have both, and of a kind each is of
    another fact. All have a counterfactual of their relation.
    """
    pairs = paired(lm, queries)
    Random(f"{plan.seed}/wrong").shuffle(pairs)
    said = [
        token for logits in first_logits(lm, [pair.query for pair in pairs]) for token in logits.argmax(1).tolist()
    ]
    by: dict[str, dict[str, dict[str, Pair]]] = {}
    for pair, token in zip(pairs, said, strict=True):
        kind = RIGHT if token in _right(lm, pair.query) else WRONG
        own = by.setdefault(pair.query.relation, {WRONG: {}, RIGHT: {}})
        own[kind].setdefault(pair.query.fact.uid, pair)
    both = in_turn([list(zip(own[WRONG].values(), own[RIGHT].values(), strict=False)) for own in by.values()])
    kept = both[: plan.hallucinations]
    return {WRONG: [wrong for wrong, _ in kept], RIGHT: [right for _, right in kept]}


def asked_rows(found: Mapping[str, Sequence[Pair]], queries: Sequence[Query]) -> pl.DataFrame:
    """What `wrong_and_right` found, as a table: kind, relation, query; at and other, places among the queries."""
    place = {query: at for at, query in enumerate(queries)}
    return pl.DataFrame(
        [
            {
                "kind": kind,
                "relation": pair.query.relation,
                "query": pair.query.uid,
                "at": place[pair.query],
                "other": place[pair.other],
            }
            for kind, pairs in found.items()
            for pair in pairs
        ]
    )


def asked_pairs(rows: pl.DataFrame, queries: Sequence[Query]) -> list[tuple[str, Pair]]:
    """From the rows of `asked_rows` again: each pair with its kind."""
    return [(row["kind"], Pair(queries[row["at"]], queries[row["other"]])) for row in rows.iter_rows(named=True)]


def _right(lm: LanguageModel, query: Query) -> set[int]:
    """What a query's answers begin with."""
    return {answer[0] for answer in lm.tokens(query).answers}


def follow(lm: LanguageModel, graph: Graph, kind: str, pair: Pair, plan: Plan) -> pl.DataFrame:
    """One query: where its answer and what is said in its stead stand after each layer, and what one head does.

    What is said in the answer's stead is the first choice that begins none of its answers: where the model is right,
    its second, as a rule. The head that says it most has the highest share of (its logit - the answer's) by the lens,
    and is cut from all it feeds; so are the other heads of its layer, one by one.

    Columns: kind, relation, query, of (`answer`, `instead`, BLAMED, RANDOM), what (`rank` and `probability` at a step
    of the stream; `mended`: whether the answer is above what is said in its stead; `margin`: by how much, in logits),
    place, before, after.
    """
    query = pair.query
    sites = first_sites(lm, [query])
    answer = lm.tokens(query).answers[0][0]
    logits = lm.site_logits(sites)[0]
    order = logits.argsort(descending=True).tolist()
    instead = next(token for token in order if token not in _right(lm, query))
    tokens = torch.tensor([[answer, instead]])
    about: Row = {"kind": kind, "relation": query.relation, "query": query.uid}
    wrote = written(lm, graph, sites)
    stream, nodes = read_stream(lm, wrote, tokens), read_nodes(lm, wrote, tokens)
    rows: list[Row] = []
    for place, of in enumerate(("answer", "instead")):
        for what, values in (("rank", stream.rank), ("probability", stream.probability)):
            rows += [
                about | {"of": of, "what": what, "place": step, "before": None, "after": float(value)}
                for step, value in enumerate(values[0, :, place].tolist())
            ]
    layers = graph.head_layers
    toward = nodes.logits[0, :, 1] - nodes.logits[0, :, 0]
    blamed = max(layers, key=lambda at: float(toward[at]))
    layer = layers[blamed]
    peers = [at for at, its in layers.items() if at != blamed and its == layer]
    keeps = torch.stack([graph.edges, *(cut(graph, [at]) for at in (blamed, *peers))])
    margins = _margins(lm, graph, pair, instead, keeps, plan)
    for of, own in ((BLAMED, margins[1:2]), (RANDOM, margins[2:])):
        if len(own):
            now = {"mended": float((own > 0).double().mean()), "margin": float(own.mean())}
            before = {"mended": float(margins[0] > 0), "margin": float(margins[0])}
            rows += [
                about | {"of": of, "what": what, "place": layer, "before": before[what], "after": now[what]}
                for what in now
            ]
    return pl.DataFrame(rows, infer_schema_length=None)


def cut(graph: Graph, senders: Sequence[int]) -> Bool[Tensor, "sender receiver"]:
    """All edges but those out of some senders."""
    keep = graph.edges.clone()
    keep[list(senders)] = False
    return keep


def _margins(
    lm: LanguageModel, graph: Graph, pair: Pair, instead: int, keeps: Bool[Tensor, "row sender receiver"], plan: Plan
) -> Float[Tensor, " row"]:
    """By how much the answer's logit is above the other's, in each circuit."""
    sites = lay_out_pairs(lm, [pair])
    run = CircuitRun(lm, graph, sites.clean, ablation_of(plan.alone.ablation, lm, graph, [pair])(sites))
    first = run.logits(keeps)[sites.first.to(lm.device)][0]
    return (first[:, lm.tokens(pair.query).answers[0][0]] - first[:, instead]).double().cpu()
