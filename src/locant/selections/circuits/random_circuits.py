"""Random circuits in the place of chosen ones: the control of every circuit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from locant.models.graph import Graph
from locant.selections.circuits.choose import mask_of
from locant.selections.circuits.circuit import Circuit
from locant.selections.circuits.dead_ends import without_dead_ends
from locant.types import Provenance

MOVES = 10
"""How often each edge is asked to move, on average."""


def random_circuit(circuit: Circuit, seed: int) -> Circuit:
    """A random circuit like this one, without dead ends.

    It has exactly as many edges into each layer's queries, keys, values and MLP and into the output, the same MLPs
    and, of each layer, as many heads (and key/value heads); all of this at every span, if there are any. Which heads
    these are, the same ones at all spans, and which senders are read is drawn anew; edges of the circuit may be drawn
    again, as of large ones they must. A circuit with dead ends is matched as it is without them.

    The heads of every layer change places at random; then one edge after another moves to a random free place into
    the same part of the same layer, unless that made a dead end. A move and its opposite are as likely, so that
    all circuits that can be come to are in the end as likely (MOVES says how far that is followed). Where few edges
    are kept, few of them can move.

    Source: the chain is that of degree-preserving rewiring (Maslov and Sneppen 2002, doi:10.1126/science.1065103)
    with other moves; ours for circuits. The random circuits of Yao et al. 2024, arXiv:2405.17969, have as many edges
    and are connected.
    """
    numbers = np.random.default_rng(seed)
    alive = without_dead_ends(circuit)
    keep = _elsewhere(alive.graph, alive.keep, numbers)
    chain = _Chain.of(alive.graph, keep)
    for move in _moves(chain, MOVES * len(alive), numbers):
        chain.try_to(*move)
    keep = mask_of(alive.graph, torch.tensor(chain.edges, dtype=torch.int64).reshape(-1, 2))
    made_by = Provenance("random_circuit", seed=seed, parents=(circuit.made_by.digest(),))
    return Circuit(alive.graph, keep, alive.graph.edges.to(circuit.scores.dtype), made_by)


def _elsewhere(graph: Graph, keep: Tensor, numbers: np.random.Generator) -> Bool[Tensor, "sender receiver"]:
    """The same circuit with every layer's heads in other places; heads that share a key go on sharing one."""
    plain = graph.plain
    senders, receivers = torch.arange(len(plain.senders)), torch.arange(plain.output)
    for layer in range(graph.layers):
        each = graph.heads // graph.groups
        groups = numbers.permutation(graph.groups)
        heads = np.concatenate([group * each + numbers.permutation(each) for group in groups])
        first = graph.head_sender(layer, 0)
        senders[first : first + graph.heads] = first + torch.from_numpy(heads)
        for part in graph.parts:
            span = graph.part_receivers(layer, part)
            order = heads if graph.readers(part) == graph.heads else groups
            receivers[span] = span.start + torch.from_numpy(order)
    # A head is the same head at every span
    senders = torch.cat([copy * len(senders) + senders for copy in range(graph.copies)])
    receivers = torch.cat([copy * len(receivers) + receivers for copy in range(graph.copies)])
    return keep[senders][:, [*receivers.tolist(), graph.output]]


@dataclass
class _Chain:
    """A circuit whose edges move, one at a time.

    It has no dead end as long as every sender but the input has an edge out of it and one into its node: edges
    followed back end at the input then, and forth at the output.

    Attributes:
        edges: those kept now; `kept` is the same, to look them up.
        places: of each part of each layer, where its edges may be: between nodes of the circuit.
        part: of each receiver.
        feeds: of each receiver, the senders of the circuit that it is part of.
        out: how many edges leave each sender; `into`: how many lead to what it is made of.
    """

    edges: list[tuple[int, int]]
    kept: set[tuple[int, int]]
    places: list[list[tuple[int, int]]]
    part: list[int]
    feeds: list[list[int]]
    out: list[int]
    into: list[int]

    @classmethod
    def of(cls, graph: Graph, keep: Bool[Tensor, "sender receiver"]) -> _Chain:
        """Of a circuit without dead ends."""
        sends = keep.any(dim=1)
        feeds = graph.feeds & sends
        hears = feeds.any(dim=1)
        hears[graph.output] = True
        free = graph.edges & sends[:, None] & hears
        part = _part_of_each(graph)
        places: list[list[tuple[int, int]]] = [[] for _ in range(max(part) + 1)]
        for sender, receiver in free.nonzero().tolist():
            places[part[receiver]].append((sender, receiver))
        edges = [(sender, receiver) for sender, receiver in keep.nonzero().tolist()]
        return cls(
            edges,
            set(edges),
            places,
            part,
            [one.nonzero()[:, 0].tolist() for one in feeds],
            keep.sum(dim=1).tolist(),
            (keep.sum(dim=0)[:, None] * feeds).sum(dim=0).tolist(),
        )

    def try_to(self, index: int, share: float) -> None:
        """Move an edge to a place of its part (how far down the list of them), if that is free and leaves no end."""
        old = self.edges[index]
        places = self.places[self.part[old[1]]]
        new = places[int(share * len(places))]
        if new in self.kept:
            return
        self._count(new, 1)
        self._count(old, -1)
        if self.out[old[0]] and all(self.into[sender] for sender in self.feeds[old[1]]):
            self.edges[index] = new
            self.kept.remove(old)
            self.kept.add(new)
        else:
            self._count(new, -1)
            self._count(old, 1)

    def _count(self, edge: tuple[int, int], by: int) -> None:
        self.out[edge[0]] += by
        for sender in self.feeds[edge[1]]:
            self.into[sender] += by


def _part_of_each(graph: Graph) -> list[int]:
    """The number of the part of a layer that each receiver belongs to."""
    names = [
        (one.partition("@")[2], graph.receiver_layers[at], graph.read_as(at))
        for at, one in enumerate(graph.receivers)
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]


def _moves(chain: _Chain, count: int, numbers: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Random edges, each with a random place."""
    if chain.edges:
        yield from zip(
            numbers.integers(len(chain.edges), size=count).tolist(), numbers.random(count).tolist(), strict=True
        )
