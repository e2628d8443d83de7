"""Small graphs with random scores, and circuits of them as sets of names."""

from __future__ import annotations

import networkx as nx
import torch

from locant.attributions.edges import EdgeScores
from locant.models.graph import Graph
from locant.selections.circuits import Circuit
from locant.types import Provenance

GRAPHS = {
    "split": Graph.of_sizes(2, 2),
    "shared keys": Graph.of_sizes(2, 4, 2),
    "merged": Graph.of_sizes(3, 2, split=False),
    "parallel": Graph.of_sizes(2, 3, 1, parallel=True),
    "spans": Graph.of_sizes(2, 2, 1, spans=("before", "last")),
    "merged spans": Graph.of_sizes(2, 2, split=False, spans=("before", "subject", "last")),
}
BY_HAND = Provenance("by hand")


def scored(graph: Graph, seed: int = 0, rounded: bool = False) -> EdgeScores:
    """Random scores; rounded ones have many ties."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(graph.edges.shape, generator=generator, dtype=torch.float64) * graph.edges
    return EdgeScores(graph, values.round() if rounded else values, (), BY_HAND)


def keeping(graph: Graph, *names: str) -> Circuit:
    return Circuit(graph, graph.keeping(names), graph.edges.double(), BY_HAND)


def thinned(graph: Graph, share: float, seed: int = 0) -> Circuit:
    """A circuit of random edges, dead ends and all."""
    generator = torch.Generator().manual_seed(seed)
    keep = (torch.rand(graph.edges.shape, generator=generator) < share) & graph.edges
    return Circuit(graph, keep, graph.edges.double(), BY_HAND)


def ways(circuit: Circuit) -> nx.DiGraph:
    """Senders and receivers as nodes: kept edges lead on, and so do receivers to the senders they are part of."""
    graph, made = circuit.graph, nx.DiGraph()
    made.add_nodes_from([*(("sender", name) for name in graph.senders), ("receiver", "output")])
    for sender, receiver in circuit.keep.nonzero().tolist():
        made.add_edge(("sender", graph.senders[sender]), ("receiver", graph.receivers[receiver]))
    for receiver, sender in graph.feeds.nonzero().tolist():
        made.add_edge(("receiver", graph.receivers[receiver]), ("sender", graph.senders[sender]))
    return made


def plainly_alive(circuit: Circuit) -> set[str]:
    """Names of the edges on a way from the input to the output."""
    network = ways(circuit)
    inputs = [("sender", name) for name in circuit.graph.senders if name.startswith("input")]
    reached = set(inputs).union(*(nx.descendants(network, one) for one in inputs))
    reaching = nx.ancestors(network, ("receiver", "output")) | {("receiver", "output")}
    pairs = (name.split("->") for name in circuit.edges)
    return {
        f"{sender}->{receiver}"
        for sender, receiver in pairs
        if ("sender", sender) in reached and ("receiver", receiver) in reaching
    }
