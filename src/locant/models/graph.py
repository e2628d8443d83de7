"""A model as a graph: what writes to the residual stream, what reads from it, and which edges there are.

    graph = Graph.of_sizes(layers=12, heads=12)      # GPT-2 small
    graph.senders[14], graph.receivers[37]           # 'a1.h0', 'a1.h0.q'
    graph.edges.sum()                                # 32,491

An edge is what one sender adds to what one receiver reads. Senders are the input (what the first block reads), every
head and every MLP. Receivers are the query of every head, the key and the value of every key/value head, every MLP,
and the output (what the readout reads).

With spans of positions (`locant.models.spans`), every sender and receiver is there once for each span, as
`a3.h5@subject` and `a3.h5.k@subject`, and an edge counts at the positions of its span alone. The residual stream
moves nothing between positions, so that no edge leads from one span to another; attention does, so that a key or a
value feeds its head at its own span and at those after it. The output is there once, read at the last span.

Source of the nodes and edges: Conmy et al. 2023, arXiv:2304.14997; keys and values by key/value head are ours. Spans:
Haklay et al. 2025, arXiv:2502.04577; there edges lead from span to span through attention, here they end at keys and
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from locant.errors import LocantError, UnknownName

PARTS = ("q", "k", "v")


class Node(NamedTuple):
    """What a sender's name says, or `output`.

    Attributes:
        kind: `input`, `head`, `mlp` or `output`.
        layer: -1 of the input; of the output, the number of layers.
        head: of its layer; none of anything else.
        span: where positions are told apart.
    """

    kind: str
    layer: int
    head: int | None
    span: str


@dataclass(frozen=True)
class Graph:
    """Senders, receivers and the edges between them. Made by `Graph.of_sizes`, or by `graph_of` for a model.

    Order is the order of computing: by layer its heads, then its MLP. A layer's receivers are its queries, keys,
    values and MLP; where the three are merged, its heads and its MLP. Of several spans the first is whole before the
    second begins: the graph is so many copies of the one without spans, beside each other. Sizes, and where a layer's
    heads and MLPs stand, are those of one copy; names, edges, `feeds`, `steps` and the output are the whole graph's.

    Attributes:
        groups: key/value heads of a layer; equal to `heads` where every head has its own, or is given its own.
        split: queries, keys and values are receivers of their own; otherwise a head reads once for all three.
        parallel: an MLP does not read its own layer's heads.
        spans: of positions, from the first to the last; none where positions are not told apart.
    """

    layers: int
    heads: int
    groups: int
    split: bool = True
    parallel: bool = False
    spans: tuple[str, ...] = ()

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
        spans: Sequence[str] = (),
    ) -> Graph:
        """The graph of a model of these sizes.

        Args:
            groups: key/value heads; as many as heads, if not given.
            expanded: give every head a key and a value of its own, whatever it shares; merged graphs always do.
            spans: of positions, in order.

        Raises:
            UnknownName: heads cannot be shared out evenly among the key/value heads.
        """
        own = groups or heads
        if layers < 1 or heads < 1 or own < 1 or heads % own:
            raise UnknownName(f"no graph of {layers} layers with {heads} heads and {own} key/value heads")
        return cls(layers, heads, heads if expanded or not split else own, split, parallel, tuple(spans))

    def __repr__(self) -> str:
        kind = "split" if self.split else "merged"
        return (
            f"Graph({len(self.senders)} senders, {len(self.receivers)} receivers, {int(self.edges.sum()):,} edges; "
            f"{kind}, {self.layers} layers x {self.heads} heads, {self.groups} key/value heads"
            f"{', spans ' + ', '.join(self.spans) if self.spans else ''})"
        )

    @cached_property
    def senders(self) -> tuple[str, ...]:
        """Names, as `input`, `a3.h5`, `m3`."""
        layers = ((*(f"a{layer}.h{head}" for head in range(self.heads)), f"m{layer}") for layer in range(self.layers))
        return self._in_each_span(["input", *(name for layer in layers for name in layer)])

    @cached_property
    def receivers(self) -> tuple[str, ...]:
        """Names, as `a3.h5.q`, `a3.h1.k` (of key/value head 1), `m3`, `output`; merged: `a3.h5`."""
        names = []
        for layer in range(self.layers):
            for part in self.parts:
                ending = f".{part}" if self.split else ""
                names += [f"a{layer}.h{head}{ending}" for head in range(self.readers(part))]
            names.append(f"m{layer}")
        return (*self._in_each_span(names), "output")

    def _in_each_span(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}@{span}" for span in self.spans for name in names) if self.spans else tuple(names)

    @cached_property
    def plain(self) -> Graph:
        """The graph without spans."""
        return replace(self, spans=()) if self.spans else self

    @property
    def copies(self) -> int:
        """How often the plain graph is in it."""
        return len(self.spans) or 1

    def of_span(
        self, values: Shaped[Tensor, "*row sender receiver"], span: int
    ) -> Shaped[Tensor, "*row own_sender own_receiver"]:
        """What edges of one span have, as the plain graph has them; nothing to the output but at the last."""
        if not self.spans:
            return values
        senders, receivers = len(self.plain.senders), len(self.plain.receivers) - 1
        own = values[..., span * senders : (span + 1) * senders, :]
        return torch.cat([own[..., span * receivers : (span + 1) * receivers], own[..., -1:]], dim=-1)

    def joined(self, each: Sequence[Shaped[Tensor, "own_sender own_receiver"]]) -> Shaped[Tensor, "sender receiver"]:
        """What edges have, given what those of each span have, as the plain graph has them."""
        if not self.spans:
            (whole,) = each
            return whole
        inner = torch.block_diag(*(one[:, :-1] for one in each))
        output = torch.cat([*(torch.zeros_like(one[:, -1]) for one in each[:-1]), each[-1][:, -1]])
        return torch.cat([inner, output[:, None]], dim=1)

    def refuse_spans(self, what: str) -> None:
        """Stop what does not tell positions apart.

        Raises:
            LocantError: this graph has spans.
        """
        if self.spans:
            raise LocantError(f"{what} where positions are told apart by spans: take the graph without them")

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
        return self.copies * self.layers * self.width

    def head_sender(self, layer: int, head: int) -> int:
        return self.attention_senders(layer) + head

    @cached_property
    def head_layers(self) -> dict[int, int]:
        """Of every sender that is a head, by where it stands, its layer; in order."""
        size = 1 + self.layers * (self.heads + 1)
        heads = [(self.head_sender(layer, head), layer) for layer in range(self.layers) for head in range(self.heads)]
        return {copy * size + at: layer for copy in range(self.copies) for at, layer in heads}

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

    def node(self, name: str) -> Node:
        """What the name of a sender, or `output`, says."""
        own, _, span = name.partition("@")
        if own in ("input", "output"):
            return Node(own, -1 if own == "input" else self.layers, None, span)
        layer, _, head = own[1:].partition(".h")
        return Node("head" if head else "mlp", int(layer), int(head) if head else None, span)

    def read_as(self, receiver: int) -> str:
        """What a receiver reads for: `q`, `k`, `v`, or `h` for all three, `m` of an MLP, or `output`."""
        own = self.receivers[receiver].partition("@")[0]
        if own == "output" or own.startswith("m"):
            return own.rstrip("0123456789")
        return own.rpartition(".")[2] if self.split else "h"

    @cached_property
    def edges(self) -> Bool[Tensor, "sender receiver"]:
        """Which edges there are."""
        if self.spans:
            return self.joined([self.plain.edges] * self.copies)
        there = torch.zeros(len(self.senders), len(self.receivers), dtype=torch.bool)
        for layer in range(self.layers):
            there[: self.attention_senders(layer), self.attention_receivers(layer)] = True
            there[: self.mlp_senders(layer), self.mlp_receiver(layer)] = True
        there[:, self.output] = True
        return there

    @cached_property
    def feeds(self) -> Bool[Tensor, "receiver sender"]:
        """Which senders a receiver is part of: a key of a group feeds all heads of it; the output feeds none.

        A key or a value, or what a merged head reads, feeds heads at its own span and at later ones.
        """
        if self.spans:
            return self._feeds_across()
        fed = torch.zeros(len(self.receivers), len(self.senders), dtype=torch.bool)
        for layer in range(self.layers):
            fed[self.mlp_receiver(layer), self.mlp_sender(layer)] = True
            for part in self.parts:
                first, count = self.part_receivers(layer, part).start, self.readers(part)
                for head in range(self.heads):
                    fed[first + head * count // self.heads, self.head_sender(layer, head)] = True
        return fed

    def _feeds_across(self) -> Bool[Tensor, "receiver sender"]:
        own, receivers = self.plain.feeds[:-1], range(self.plain.output)
        later = own & torch.tensor([self.plain.read_as(one) in ("k", "v", "h") for one in receivers])[:, None]
        rows = [
            torch.cat([later & False] * span + [own] + [later] * (self.copies - span - 1), dim=1)
            for span in range(self.copies)
        ]
        return torch.cat([*rows, torch.zeros(1, len(self.senders), dtype=torch.bool)])

    @cached_property
    def steps(self) -> tuple[tuple[Int[Tensor, " receiver"], Int[Tensor, " sender"]], ...]:
        """Receivers with the senders that they feed, in order of computing: of each layer its heads, then its MLP."""
        senders = torch.arange(len(self.senders)).view(self.copies, -1)
        receivers = torch.arange(self.output).view(self.copies, -1)
        steps = []
        for layer in range(self.layers):
            heads, mlp, read = self.head_sender(layer, 0), self.mlp_sender(layer), self.mlp_receiver(layer)
            steps.append((receivers[:, self.attention_receivers(layer)].flatten(), senders[:, heads:mlp].flatten()))
            steps.append((receivers[:, read], senders[:, mlp]))
        return tuple(steps)

    @cached_property
    def receiver_layers(self) -> tuple[int, ...]:
        """Of every receiver the layer it reads in; of the output, the number of layers."""
        own = [receiver // self.width for receiver in range(self.plain.output)]
        return (*(own * self.copies), self.layers)

    @property
    def settings(self) -> dict[str, bool | str]:
        """What of it is chosen, for provenance."""
        return {"split": self.split} | ({"spans": ", ".join(self.spans)} if self.spans else {})

    @property
    def nodes(self) -> int:
        """Senders, and the output."""
        return len(self.senders) + 1

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
