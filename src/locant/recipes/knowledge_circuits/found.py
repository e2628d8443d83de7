"""Scores of a relation's edges, found on its validation half, and how well approximate ones agree with exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import torch
from scipy.stats import spearmanr

from locant.attributions.edges import METHODS, EdgeScores, Pair, exact
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.recipes.knowledge_circuits.drawn import RelationPairs
from locant.recipes.knowledge_circuits.plan import COMPARED, Plan
from locant.recipes.rows import Row


def graph_for(lm: LanguageModel, plan: Plan) -> Graph:
    """The graph whose circuits a run is about."""
    return graph_of(lm, split=plan.split)


def edge_scores(lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], plan: Plan) -> EdgeScores:
    """Scores of edges on some pairs by the plan's method."""
    return METHODS[plan.method](
        lm,
        graph,
        pairs,
        metric=plan.metric,
        ablation=plan.ablation,
        **plan.settings,  # type: ignore[arg-type]
    )


def score_edges(lm: LanguageModel, graph: Graph, relation: RelationPairs, plan: Plan) -> pl.DataFrame:
    """Score every edge on a relation's validation half.

    Columns: relation, sender, receiver (names), score in units of the plan's metric.
    """
    return _as_table(relation.name, edge_scores(lm, graph, relation.validation, plan))


def scores_of(
    lm: LanguageModel, graph: Graph, relation: RelationPairs, edges: pl.DataFrame, plan: Plan
) -> EdgeScores:
    """A relation's scores again, from the rows of `score_edges`."""
    own = edges.filter(pl.col("relation") == relation.name)
    values = torch.zeros(graph.edges.shape, dtype=torch.float64)
    # Rows are the graph's edges in its own order
    values[graph.edges] = torch.from_numpy(own["score"].to_numpy().copy())
    made_by = lm.provenance(
        plan.method, {"metric": plan.metric, "ablation": plan.ablation, "split": plan.split, **plan.settings}
    )
    return EdgeScores(graph, values, relation.validation, made_by)


def _as_table(name: str, scores: EdgeScores) -> pl.DataFrame:
    graph = scores.graph
    senders, receivers = graph.edges.nonzero().T.tolist()
    return pl.DataFrame(
        {
            "relation": [name] * len(senders),
            "sender": [graph.senders[one] for one in senders],
            "receiver": [graph.receivers[one] for one in receivers],
            "score": scores.values[graph.edges].numpy(),
        },
        schema_overrides={"relation": pl.Categorical, "sender": pl.Categorical, "receiver": pl.Categorical},
    )


def compare_with_exact(lm: LanguageModel, graph: Graph, relation: RelationPairs, plan: Plan) -> pl.DataFrame:
    """How well each approximate score agrees with cutting every edge, on as many pairs as the plan says.

    The plan's method has the plan's settings, the others have their own.

    Columns: relation, method, metric, pairs, edges, spearman and pearson over all edges, and shared, the part of the
    exact top share of edges (by |score|) that is in the approximate one.
    """
    pairs, there = relation.validation[: plan.exact], graph.edges
    measured = exact(lm, graph, pairs, metric=plan.metric, ablation=plan.ablation).values[there]
    top = max(1, round(plan.share * len(measured)))
    best = set(measured.abs().topk(top).indices.tolist())
    rows: list[Row] = []
    for name in COMPARED:
        settings = plan.settings if name == plan.method else {}
        own = edge_scores(lm, graph, pairs, replace(plan, method=name, settings=settings)).values[there]
        both = torch.stack([measured, own])
        rows.append(
            {
                "relation": relation.name,
                "method": name,
                "metric": plan.metric,
                "pairs": len(pairs),
                "edges": len(own),
                "spearman": float(spearmanr(measured, own).statistic),
                "pearson": float(torch.corrcoef(both)[0, 1]),
                "shared": len(best & set(own.abs().topk(top).indices.tolist())) / top,
            }
        )
    return pl.DataFrame(rows)
