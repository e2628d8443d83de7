"""Relations' circuits out of a run's scores of edges, without the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl
import torch

from locant.attributions.edges import EdgeScores
from locant.errors import BadFile
from locant.models.graph import Graph
from locant.reports.means import number
from locant.selections.circuits import Circuit, choose
from locant.types import Provenance

DRAWN = 400
"""The most edges of a circuit that are drawn: the strongest."""


def circuits_of(edges: pl.DataFrame, settings: Mapping[str, object]) -> dict[str, Circuit]:
    """By relation, the circuit of the run's share; none where no edges were scored.

    Args:
        settings: of the run.

    Raises:
        BadFile: the edges are not those of a graph.
    """
    graph = None
    found = {}
    for (relation,), own in edges.partition_by("relation", as_dict=True, maintain_order=True).items():
        graph = graph or graph_of_edges(own["sender"].to_list(), own["receiver"].to_list())
        found[str(relation)] = _circuit(settings, graph, own)
    return found


def graph_of_edges(senders: Sequence[str], receivers: Sequence[str]) -> Graph:
    """The graph that has just these edges, in this order.

    Raises:
        BadFile: no graph has.
    """
    heads = [tuple(map(int, re.findall(r"\d+", name))) for name in {*senders} if name.startswith("a")]
    split = any(name.endswith(".q") for name in receivers)
    keys = {int(name.split(".")[1][1:]) for name in {*receivers} if name.endswith(".k")}
    there = set(zip(senders, receivers, strict=True))
    try:
        graph = Graph.of_sizes(
            1 + max(layer for layer, _ in heads),
            1 + max(head for _, head in heads),
            len(keys) or None,
            split=split,
            parallel=("a0.h0", "m0") not in there,
        )
        names = [(graph.senders[at], graph.receivers[to]) for at, to in graph.edges.nonzero().tolist()]
    except ValueError:
        names = []
    if names != list(zip(senders, receivers, strict=True)):
        raise BadFile("the table of edges does not hold a model's edges in their order")
    return graph


def _circuit(settings: Mapping[str, object], graph: Graph, own: pl.DataFrame) -> Circuit:
    if len(own) != int(graph.edges.sum()):
        raise BadFile("the table of edges has not the same edges for every relation")
    values = torch.zeros(graph.edges.shape, dtype=torch.float64)
    values[graph.edges] = torch.from_numpy(own["score"].to_numpy().copy())
    made_by = Provenance(str(settings.get("method", "scores")), {"metric": str(settings.get("metric", ""))})
    return choose(
        EdgeScores(graph, values, (), made_by),
        round(number(settings.get("share")) * len(own)),
        rule=str(settings.get("rule", "greedy")),
        by=str(settings.get("by", "absolute")),
    )


def strongest(circuit: Circuit, most: int = DRAWN) -> Circuit:
    """The circuit's strongest edges, as many as can be drawn."""
    if len(circuit) <= most:
        return circuit
    kept = circuit.keep.nonzero()
    order = circuit.scores[circuit.keep].abs().argsort(descending=True, stable=True)[:most]
    keep = torch.zeros_like(circuit.keep)
    keep[kept[order][:, 0], kept[order][:, 1]] = True
    return Circuit(circuit.graph, keep, circuit.scores, circuit.made_by)


def layer_shares(circuit: Circuit) -> list[dict[str, float]]:
    """Of each layer: the share of its heads that are in the circuit, and 1 if its MLP is; `nodes`, of both."""
    there = set(circuit.nodes)
    graph = circuit.graph
    found = []
    for layer in range(graph.layers):
        heads = sum(f"a{layer}.h{head}" in there for head in range(graph.heads))
        mlp = float(f"m{layer}" in there)
        found.append({"heads": heads / graph.heads, "mlp": mlp, "nodes": (heads + mlp) / (graph.heads + 1)})
    return found
