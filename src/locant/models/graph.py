"""A model as a graph: what writes to the residual stream, what reads from it, and which edges there are.

    graph = Graph.of_sizes(layers=12, heads=12)      # GPT-2 small
    graph.senders[14], graph.receivers[37]           # 'a1.h0', 'a1.h0.q'
    graph.edges.sum()                                # 32,491

An edge is what one sender adds to what one receiver reads. Senders are the input (what the first block reads), every
head and every MLP. Receivers are the query of every head, the key and the value of every key/value head, every MLP,
and the output (what the readout reads).

Source of the nodes and edges: Conmy et al. 2023, arXiv:2304.14997; keys and values by key/value head are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from locant.errors import UnknownName

PARTS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """Senders, receivers and the edges between them. Made by `Graph.of_sizes`, or by `graph_of` for a model.

    Order is the order of computing: by layer its heads, then its MLP. A layer's receivers are its queries, keys,
    values and MLP; where the three are merged, its heads and its MLP.

    Attributes:
        groups: key/value heads of a layer; equal to `heads` where every head has its own, or is given its own.
        split: queries, keys and values are receivers of their own; otherwise a head reads once for all three.
        parallel: an MLP does not read its own layer's heads.
    """

    layers: int
    heads: int
    groups: int
    split: bool = True
    parallel: bool = False

    @classmethod
    def of_sizes(
        cls,
        layers: int,
        heads: int,
        groups: int | None = None,
        *,
        split: bool = True,
        parallel: bool = False,
        expanded: bool = False,
    ) -> Graph:
        """The graph of a model of these sizes.

        Args:
            groups: key/value heads; as many as heads, if not given.
            expanded: give every head a key and a value of its own, whatever it shares; merged graphs always do.

        Raises:
            UnknownName: heads cannot be shared out evenly among the key/value heads.
        """
        own = groups or heads
        if layers < 1 or heads < 1 or own < 1 or heads % own:
            raise UnknownName(f"no graph of {layers} layers with {heads} heads and {own} key/value heads")
        return cls(layers, heads, heads if expanded or not split else own, split, parallel)

    def __repr__(self) -> str:
        kind = "split" if self.split else "merged"
        return (
            f"Graph({len(self.senders)} senders, {len(self.receivers)} receivers, {int(self.edges.sum()):,} edges; "
            f"{kind}, {self.layers} layers x {self.heads} heads, {self.groups} key/value heads)"
        )

    @cached_property
    def senders(self) -> tuple[str, ...]:
        """Names, as `input`, `a3.h5`, `m3`."""
        layers = ((*(f"a{layer}.h{head}" for head in range(self.heads)), f"m{layer}") for layer in range(self.layers))
        return ("input", *(name for layer in layers for name in layer))

    @cached_property
    def receivers(self) -> tuple[str, ...]:
        """Names, as `a3.h5.q`, `a3.h1.k` (of key/value head 1), `m3`, `output`; merged: `a3.h5`."""
        names = []
        for layer in range(self.layers):
            for part in self.parts:
                ending = f".{part}" if self.split else ""
                names += [f"a{layer}.h{head}{ending}" for head in range(self.readers(part))]
            names.append(f"m{layer}")
        return (*names, "output")

    @property
    def parts(self) -> tuple[str, ...]:
        """What a layer's attention reads for: `q`, `k` and `v`, or one `h` for all three."""
        return PARTS if self.split else ("h",)

    def readers(self, part: str) -> int:
        """How many receivers a layer has of a part."""
        return self.groups if part in ("k", "v") else self.heads

    @property
    def width(self) -> int:
        """Receivers of a layer, with its MLP."""
        return sum(map(self.readers, self.parts)) + 1

    def attention_senders(self, layer: int) -> int:
        """How many senders a layer's heads may read: those before it."""
        return 1 + layer * (self.heads + 1)

    def mlp_senders(self, layer: int) -> int:
        """How many senders a layer's MLP may read."""
        return self.attention_senders(layer) + (0 if self.parallel else self.heads)

    def attention_receivers(self, layer: int) -> slice:
        """Where a layer's queries, keys and values stand among the receivers."""
        return slice(layer * self.width, (layer + 1) * self.width - 1)

    def part_receivers(self, layer: int, part: str) -> slice:
        """Where a layer's queries, its keys or its values stand among the receivers."""
        before = sum(map(self.readers, self.parts[: self.parts.index(part)]))
        start = layer * self.width + before
        return slice(start, start + self.readers(part))

    def mlp_receiver(self, layer: int) -> int:
        return (layer + 1) * self.width - 1

    @property
    def output(self) -> int:
        """Where the output stands among the receivers."""
        return self.layers * self.width

    def head_sender(self, layer: int, head: int) -> int:
        return self.attention_senders(layer) + head

    @cached_property
    def head_layers(self) -> dict[int, int]:
        """Of every sender that is a head, by where it stands, its layer; in order."""
        return {self.head_sender(layer, head): layer for layer in range(self.layers) for head in range(self.heads)}

    def mlp_sender(self, layer: int) -> int:
        return self.attention_senders(layer) + self.heads

    def sender(self, name: str) -> int:
        """Where a sender stands.

        Raises:
            UnknownName: there is none of this name.
        """
        return _find(name, self.senders, "sender")

    def receiver(self, name: str) -> int:
        """Where a receiver stands.

        Raises:
            UnknownName: there is none of this name.
        """
        return _find(name, self.receivers, "receiver")

    @cached_property
    def edges(self) -> Bool[Tensor, "sender receiver"]:
        """Which edges there are."""
        there = torch.zeros(len(self.senders), len(self.receivers), dtype=torch.bool)
        for layer in range(self.layers):
            there[: self.attention_senders(layer), self.attention_receivers(layer)] = True
            there[: self.mlp_senders(layer), self.mlp_receiver(layer)] = True
        there[:, self.output] = True
        return there

    @cached_property
    def feeds(self) -> Bool[Tensor, "receiver sender"]:
        """Which senders a receiver is part of: a key of a group feeds all heads of it; the output feeds none."""
        fed = torch.zeros(len(self.receivers), len(self.senders), dtype=torch.bool)
        for layer in range(self.layers):
            fed[self.mlp_receiver(layer), self.mlp_sender(layer)] = True
            for part in self.parts:
                first, count = self.part_receivers(layer, part).start, self.readers(part)
                for head in range(self.heads):
                    fed[first + head * count // self.heads, self.head_sender(layer, head)] = True
        return fed

    @cached_property
    def receiver_layers(self) -> tuple[int, ...]:
        """Of every receiver the layer it reads in; of the output, the number of layers."""
        return (*(receiver // self.width for receiver in range(self.output)), self.layers)

    @property
    def nodes(self) -> int:
        """Senders, and the output."""
        return len(self.senders) + 1

    def reached(
        self,
        edges: Bool[Tensor, "sender receiver"],
        kept: Bool[Tensor, "sender receiver"],
        read: Bool[Tensor, " sender"],
    ) -> list[tuple[bool, bool]]:
        """Of each layer whether a head of it, and whether its MLP, is where a change of some edges comes to.

        Args:
            kept: edges along which changes go on.
            read: senders that count; others are taken not to change.
        """
        touched = (edges & self.edges).any(dim=0)
        changed = torch.zeros_like(read)
        found = []
        for layer in range(self.layers):
            heads, mlp = self.attention_receivers(layer), self.mlp_receiver(layer)
            both = []
            for span in (heads, slice(mlp, mlp + 1)):
                now = touched[span] | (kept[:, span] & changed[:, None]).any(dim=0)
                fed = (self.feeds[span] & now[:, None]).any(dim=0) & read
                changed = changed | fed
                both.append(bool(fed.any()))
            found.append((both[0], both[1]))
        return found

    def edge_name(self, sender: int, receiver: int) -> str:
        return f"{self.senders[sender]}->{self.receivers[receiver]}"

    def keeping(self, names: Sequence[str]) -> Bool[Tensor, "sender receiver"]:
        """The mask of some edges, given as `m0->a3.h5.q`.

        Raises:
            UnknownName: there is no such edge.
        """
        kept = torch.zeros_like(self.edges)
        for name in names:
            sender, arrow, receiver = name.partition("->")
            at = (self.sender(sender), self.receiver(receiver))
            if not arrow or not self.edges[at]:
                raise UnknownName(f"no edge {name!r}: {receiver} is computed before {sender}")
            kept[at] = True
        return kept


def _find(name: str, names: tuple[str, ...], kind: str) -> int:
    if name not in names:
        raise UnknownName(f"no {kind} {name!r}; there are {names[0]}, {names[1]}, ..., {names[-1]}")
    return names.index(name)
