"""What of a circuit lies on a way from the input to the output."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from locant.models.graph import Graph
from locant.selections.circuits.circuit import Circuit

Edges = Bool[Tensor, "sender receiver"]


def without_dead_ends(circuit: Circuit) -> Circuit:
    """Keep an edge only where its sender is reached from the input and its receiver reaches the output.

    A head is reached where its query, key or value is, and the output is reached from each of them where the head
    reaches it. A query alone is enough: looking elsewhere, a head brings another of its ablated values. Only where
    these are the same at every position (zeros, or means over positions) would it bring what it brings ablated;
    which edges are in a circuit is not to depend on that.
    """
    return replace(circuit, keep=living(circuit.graph, circuit.keep))


def living(graph: Graph, keep: Edges) -> Edges:
    """The edges on a way from the input to the output."""
    return keep & _reached(graph, keep)[:, None] & _reaching(graph, keep)[None, :]


def _reached(graph: Graph, keep: Edges) -> Bool[Tensor, " sender"]:
    """Senders that the input reaches."""
    reached = torch.zeros(len(graph.senders), dtype=torch.bool)
    # The input, at every span
    reached[:: len(graph.plain.senders)] = True
    for receivers, senders in graph.steps:
        read = (keep[:, receivers] & reached[:, None]).any(dim=0)
        reached[senders] = (graph.feeds[receivers][:, senders] & read[:, None]).any(dim=0)
    return reached


def _reaching(graph: Graph, keep: Edges) -> Bool[Tensor, " receiver"]:
    """Receivers that reach the output."""
    reaching = torch.zeros(len(graph.receivers), dtype=torch.bool)
    reaching[graph.output] = True
    for receivers, senders in reversed(graph.steps):
        sent = (keep[senders] & reaching).any(dim=1)
        reaching[receivers] = (graph.feeds[receivers][:, senders] & sent).any(dim=1)
    return reaching
