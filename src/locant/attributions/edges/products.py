"""Scores of edges as products: what senders write, times the gradients by what receivers read.

The gradient by what a head reads is as wide as the stream, and there are three times as many as heads. It is the
projection's weight times a narrow gradient, taken through the norm; and the norm's slope is

    (gain * u - mean(gain * u) - unit * <unit, gain * u> / hidden) / size

with `unit` the stream as normed. Gain and mean are folded into the weights, and the size into the narrow gradients,
which are added up over rows before anything is as wide as the stream. Only the last term differs by row: it is a
product of two numbers for each position, <sender, unit> and <unit, gain * u>.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.attributions.edges.gradients import Gradients
from locant.models import at_least_float32
from locant.models.branches import Branches, columns
from locant.models.graph import PARTS, Graph
from locant.models.norms import norm_of
from locant.models.sent import Sent
from locant.models.sites import Sites

BySpan: TypeAlias = dict[int, slice | Int[Tensor, " place"]]
"""Of each span the places in it, -1 being the last; of what has no spans all of them, as one."""


@dataclass(frozen=True)
class _Slopes:
    """Gradients by what some receivers read; places are positions of sequences.

    Attributes:
        wide: what is the same for all senders, summed over rows.
        unit: the stream as normed; `along`: what is taken off per unit of <sender, unit>. None after no norm.
    """

    wide: Float[Tensor, "receiver place hidden"]
    unit: Float[Tensor, "place row hidden"] | None = None
    along: Float[Tensor, "receiver place row"] | None = None

    def at(self, some: slice | Int[Tensor, " place"]) -> _Slopes:
        """The same at some places."""
        if self.unit is None or self.along is None:
            return _Slopes(self.wide[:, some])
        return _Slopes(self.wide[:, some], self.unit[some], self.along[:, some])

    def times(self, written: Float[Tensor, "sender place hidden"]) -> Float[Tensor, "sender receiver"]:
        """Products with what some senders write, summed over places."""
        product = written.flatten(1) @ self.wide.flatten(1).T.to(written.device)
        if self.unit is not None and self.along is not None:
            size = torch.einsum("sxd,xnd->sxn", written, self.unit.to(written.device))
            product -= size.flatten(1) @ self.along.flatten(1).T.to(written.device)
        return product


class Products:
    """Scores of edges, added up over batches, in float64.

    With spans, each one's places have products of their own.

    Attributes:
        memory: bytes that vectors as wide as the stream may take at once, of senders and of receivers each.
        parts: which of `q`, `k` and `v` the gradients by what heads read are taken through.
        fixed_size: norms divide by what they divided by, whatever is sent.
    """

    def __init__(
        self,
        graph: Graph,
        branches: Sequence[Branches],
        memory: int,
        parts: Sequence[str] = PARTS,
        fixed_size: bool = False,
    ) -> None:
        self.graph, self.branches, self.memory = graph, branches, memory
        self.parts, self.fixed_size = parts, fixed_size
        self.sums = torch.zeros(graph.copies, *graph.plain.edges.shape, dtype=torch.float64)

    @property
    def values(self) -> Float[Tensor, "sender receiver"]:
        """What was added up."""
        return self.graph.joined(list(self.sums))

    @torch.no_grad()
    def add(
        self,
        sent: Sent,
        found: Gradients,
        weights: Float[Tensor, " row"],
        sites: Sites,
        only: range | None = None,
    ) -> None:
        """Add a batch.

        Args:
            sent: what senders write, minus what they write ablated.
            weights: of each row's gradient.
            only: senders, all of one layer, whose edges alone have these gradients.
        """
        graph = self.graph.plain
        asked = range(len(graph.senders)) if only is None else only
        sequences = len(sent.input)
        at_once = max(1, self.memory * sequences // (len(asked) * sent.input.numel() * 4))
        for first in range(0, sequences, at_once):
            # As many sequences as let senders be written once, and not anew for every receiver
            some = slice(first, first + at_once)
            senders = _Senders(sent.of(some), graph, self.branches, self.memory, asked)
            self._inside(senders, found.of(some), weights, self._places_of(sites, some))
        output = at_least_float32(found.output)
        wide = torch.einsum("snd,n->sd", output, weights.to(output))[None]
        at_end = _Senders(sent.at(sites), graph, self.branches, self.memory, asked)
        self._add(at_end, len(graph.senders), torch.tensor([graph.output]), _Slopes(wide), {-1: slice(None)})

    def _places_of(self, sites: Sites, sequences: slice) -> BySpan:
        """The places of some sequences, by span."""
        if not self.graph.spans:
            return {0: slice(None)}
        own = sites.told_spans[sequences].flatten().cpu()
        return {span: (own == span).nonzero()[:, 0] for span in range(self.graph.copies)}

    def _inside(self, senders: _Senders, found: Gradients, weights: Float[Tensor, " row"], places: BySpan) -> None:
        """Add edges into heads and MLPs."""
        graph = self.graph
        for layer in range(found.since, graph.layers):
            for receivers, slopes in self._attention(layer, found, weights):
                self._add(senders, graph.attention_senders(layer), receivers, slopes, places)
            mlp = torch.tensor([graph.mlp_receiver(layer)])
            self._add(senders, graph.mlp_senders(layer), mlp, self._mlp(layer, found, weights), places)

    def _attention(
        self, layer: int, found: Gradients, weights: Tensor
    ) -> Iterator[tuple[Int[Tensor, " receiver"], _Slopes]]:
        """Gradients by what a layer's heads read, as many of them at a time as fit."""
        branch, rows = self.branches[layer], len(weights)
        stream, projected = found.streams[layer - found.since], found.projected[layer - found.since]
        norm = norm_of(branch.norm, stream)
        unit, size = norm.measure(_places(stream, rows))
        scale = weights.to(unit)[:, None] / size
        nothing = norm.shift.to(stream.dtype)[None]
        idle_of = {module: module.forward(nothing)[0] for module in projected}
        start, count = self.graph.attention_receivers(layer).start, self.graph.width - 1
        for chunk in torch.arange(count).split(max(1, self.memory // (unit[:, 0].numel() * 4))):
            new = unit.new_empty if tuple(self.parts) == PARTS else unit.new_zeros
            wide = new(len(chunk), len(unit), unit.shape[2])
            along = unit.new_zeros(len(chunk), *unit.shape[:2])
            for part in self.parts:
                span = self.graph.part_receivers(0, part if self.graph.split else "h")
                heads = [one - span.start for one in chunk.tolist() if span.start <= one < span.stop]
                if not heads:
                    continue
                weight = at_least_float32(branch.reads(part, heads)) * norm.gain[:, None]
                folded = norm.centre(weight.transpose(1, 2))
                projection = branch.projections[part]
                made, slopes = projected[projection.module]
                slope = _heads(slopes, projection.places[heads], rows) * scale[..., None]
                first = heads[0] + span.start - int(chunk[0])
                some = slice(first, first + len(heads))
                add = 0 if self.graph.split or part == self.parts[0] else 1
                wide[some].baddbmm_(slope.sum(dim=1).transpose(0, 1), folded, beta=add)
                # What a projection makes of the unit, for all heads: what it gave, less what it gives of nothing
                idle = at_least_float32(columns(idle_of[projection.module], projection.channels[heads]))
                linear = _heads(made, projection.places[heads], rows) - idle
                along[some] += ((linear * slope).sum(dim=-1) / unit.shape[2]).permute(2, 0, 1)
            yield start + chunk, self._through_norm(wide, unit, along)

    def _mlp(self, layer: int, found: Gradients, weights: Tensor) -> _Slopes:
        """The gradient by what a layer's MLP reads."""
        stream, rows = found.mlp_streams[layer - found.since], len(weights)
        norm = norm_of(self.branches[layer].mlp_norm, stream)
        unit, size = norm.measure(_places(stream, rows))
        slope = at_least_float32(_places(found.read[layer - found.since], rows)) * norm.gain
        slope *= weights.to(unit)[:, None] / size
        along = (slope * unit).sum(dim=-1) / unit.shape[2]
        return self._through_norm(norm.centre(slope.sum(dim=1))[None], unit, along[None])

    def _through_norm(self, wide: Tensor, unit: Tensor, along: Tensor) -> _Slopes:
        return _Slopes(wide) if self.fixed_size else _Slopes(wide, unit, along)

    def _add(
        self, senders: _Senders, count: int, receivers: Int[Tensor, " receiver"], slopes: _Slopes, places: BySpan
    ) -> None:
        """Add the products of the first senders with some receivers, of each span its own places'."""
        for first, whole in senders.first(count):
            for span, some in places.items():
                product = slopes.at(some).times(whole[:, some])
                self.sums[span][first : first + len(whole), receivers] += product.double().cpu()


class _Senders:
    """What some senders write, as wide as the stream: all at once where that fits, or else a layer at a time."""

    def __init__(self, sent: Sent, graph: Graph, branches: Sequence[Branches], memory: int, asked: range) -> None:
        self.sent, self.graph, self.branches, self.asked = sent, graph, branches, asked
        self.like = at_least_float32(sent.input[:1, :1, :1])
        self.places = sent.input.numel() // sent.input.shape[-1]
        self.whole: Tensor | None = None
        if len(asked) * sent.input.numel() * 4 <= memory:
            self.whole = self._empty(len(asked))
            for some in self._by_layer(asked.stop):
                self._write(some, self.whole[some.start - asked.start : some.stop - asked.start])

    def first(self, count: int) -> Iterator[tuple[int, Float[Tensor, "sender place hidden"]]]:
        """Those that are among the graph's first senders, with the index of each part's first."""
        if self.whole is not None:
            yield self.asked.start, self.whole[: max(0, count - self.asked.start)]
            return
        for some in self._by_layer(count):
            written = self._empty(len(some))
            self._write(some, written)
            yield some.start, written

    def _by_layer(self, count: int) -> Iterator[range]:
        """The senders asked for that are among the first, by what writes them."""
        layers = [self.graph.head_sender(layer, 0) for layer in range(self.graph.layers)]
        for start, stop in pairwise([0, *layers, len(self.graph.senders)]):
            some = range(max(start, self.asked.start), min(stop, self.asked.stop, count))
            if some:
                yield some

    def _empty(self, senders: int) -> Tensor:
        return self.like.new_empty(senders, self.places, self.like.shape[-1])

    def _write(self, some: range, out: Float[Tensor, "sender place hidden"]) -> None:
        """Put what the input writes, or some heads and the MLP of a layer."""
        if some.start == 0:
            out[0] = self.sent.input.flatten(0, 2)
            return
        heads = self.graph.heads
        layer, first = divmod(some.start - 1, heads + 1)
        own = range(first, min(heads, first + len(some)))
        if own:
            results = self.sent.heads[layer].flatten(0, 2).unflatten(-1, (heads, -1))[:, own.start : own.stop]
            weights = self.branches[layer].writes()[own.start : own.stop]
            out[: len(own)].baddbmm_(results.transpose(0, 1).to(out), weights.to(out), beta=0)
        if len(own) < len(some):
            out[len(own)] = self.sent.mlps[layer].flatten(0, 2)


def _places(value: Float[Tensor, "pass position *axis"], rows: int) -> Float[Tensor, "place row *axis"]:
    """By position of a sequence, then by row."""
    return value.unflatten(0, (-1, rows)).transpose(1, 2).flatten(0, 1)


def _heads(
    projected: Float[Tensor, "pass position axis"], places: Int[Tensor, "head channel"], rows: int
) -> Float[Tensor, "place row head channel"]:
    """What a projection gives some heads; at least float32."""
    return at_least_float32(_places(columns(projected, places), rows))
