"""Every edge cut by itself: the reference that approximate methods are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.edges.ablations import ablation_of
from locant.attributions.edges.metrics import metric_of
from locant.attributions.edges.pairs import Pair, batches, lay_out_pairs
from locant.attributions.edges.scores import EdgeScores
from locant.models import LanguageModel
from locant.models.circuit_run import MEMORY, CircuitRun, Metric
from locant.models.graph import Graph


@torch.no_grad()
def exact(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    memory: int = MEMORY,
) -> EdgeScores:
    """What the metric loses where one edge is cut and nothing else, measured for every edge.

    Args:
        metric: a name in `METRICS`.
        ablation: a name in `ABLATIONS`.
        memory: bytes that rows may take at once.

    Returns:
        metric(untouched) - metric(edge cut).
    """
    make, ablate = metric_of(metric), ablation_of(ablation, lm, graph, pairs)
    values = torch.zeros(graph.edges.shape, dtype=torch.float64)
    for batch in batches(lm, pairs, memory, lambda lm: 64 * lm.hidden * lm.layers):
        sites = lay_out_pairs(lm, batch, graph.spans)
        run = CircuitRun(lm, graph, sites.clean, ablate(sites), memory)
        values += _lost(run, make(lm, sites))
    made_by = lm.provenance("exact_edges", {"metric": metric, "ablation": ablation, **graph.settings})
    return EdgeScores(graph, values / len(pairs), tuple(pairs), made_by)


def _lost(run: CircuitRun, metric: Metric) -> Float[Tensor, "sender receiver"]:
    """What cutting each edge loses, summed over queries."""
    graph, base = run.graph, run.passed(run.graph.edges)
    whole = run.measure(graph.edges[None], metric, base)
    lost = torch.zeros(graph.edges.shape, dtype=torch.float64)
    # A layer's edges together: rows start at the first layer where one of them differs
    layers = torch.tensor(graph.receiver_layers)
    for layer in range(graph.layers + 1):
        cut = (graph.edges & (layers == layer)).nonzero()
        for some in cut.split(run.rows):
            senders, receivers = some.unbind(dim=1)
            keep = graph.edges.repeat(len(some), 1, 1)
            keep[torch.arange(len(some)), senders, receivers] = False
            lost[senders, receivers] = (whole - run.measure(keep, metric, base)).double().sum(dim=0).cpu()
    return lost
