"""Gradients of a metric by what every receiver reads, and their products with what senders write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.branches import Branches
from locant.models.circuit_run import Metric
from locant.models.graph import PARTS, Graph
from locant.models.sent import Sent, vectors
from locant.models.sites import Sites


@dataclass
class _Layer:
    """What a layer's heads and MLP read in a pass, and what they made of it."""

    streams: list[Tensor] = field(default_factory=list)
    projected: dict[nn.Module, Tensor] = field(default_factory=dict)
    read: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Gradients:
    """A metric's gradients in some passes of a batch.

    Attributes:
        streams: of each layer, what its heads read; `mlp_streams`: what its MLP reads.
        projected: of each layer, the gradients by what its projections give.
        read: of each layer, the gradient by the norm that its MLP reads.
        output: the gradient by the residual stream that is read out at the sites.
    """

    streams: list[Float[Tensor, "pass position hidden"]]
    mlp_streams: list[Float[Tensor, "pass position hidden"]]
    projected: list[dict[nn.Module, Tensor]]
    read: list[Float[Tensor, "pass position hidden"]]
    output: Float[Tensor, "site row hidden"]


def gradients(
    lm: LanguageModel,
    graph: Graph,
    branches: Sequence[Branches],
    sites: Sites,
    inputs: Float[Tensor, "sequence row position hidden"],
    metric: Metric,
) -> Gradients:
    """Run a batch forwards and backwards, its first block given these inputs, in as many rows.

    Weights have no gradients; the metric is added up over queries and rows.
    """
    rows = inputs.shape[1]
    layers = [_Layer() for _ in branches]
    last: dict[int, Tensor] = {}
    with ExitStack() as stack, torch.enable_grad():
        stack.enter_context(hooks.at_rest(lm.model))
        if any(branch.expanded for branch in branches):
            stack.enter_context(hooks.a_key_for_every_head(lm.blocks, graph.heads))
        first = inputs.flatten(0, 1).detach().requires_grad_()
        stack.enter_context(hooks.changing_inputs({lm.blocks[0]: lambda own: first}))
        _watch(stack, branches, layers, first.shape)
        stack.enter_context(hooks.watching_outputs(lm.blocks[-1:], last.__setitem__))
        lm.run(_repeated(sites, rows))
        at = (sites.sequence.to(last[0].device), slice(None), sites.position.to(last[0].device))
        stream = last[0].unflatten(0, (-1, rows))[at]
        value = metric(at_least_float32(lm.readout(stream))).sum()
        wanted = [node for layer in layers for node in (*layer.projected.values(), *layer.read)]
        found = iter(torch.autograd.grad(value, [*wanted, stream]))
    projected, read = [], []
    for layer in layers:
        projected.append({module: next(found) for module in layer.projected})
        # Gate and up projections read the same
        read.append(torch.stack([next(found).reshape(first.shape) for _ in layer.read]).sum(dim=0))
    return Gradients(
        [layer.streams[0] for layer in layers],
        [layer.streams[-1] for layer in layers],
        projected,
        read,
        next(found),
    )


def _watch(stack: ExitStack, branches: Sequence[Branches], layers: Sequence[_Layer], shape: torch.Size) -> None:
    """Keep what is read, and nodes of its own for what is made of it."""
    for branch, layer in zip(branches, layers, strict=True):
        own = [projection.module for projection in branch.projections.values()]
        stack.enter_context(
            hooks.changing_outputs({module: _noting(module, layer, branch.expanded.get(module)) for module in own})
        )
        stack.enter_context(hooks.changing_inputs(dict.fromkeys(branch.readers, _reading(layer))))
        norms = list(dict.fromkeys([branch.norm, branch.mlp_norm]))
        stack.enter_context(hooks.watching_inputs(norms, _hearing(layer, shape)))


def _noting(module: nn.Module, layer: _Layer, expanded: Tensor | None) -> hooks.ChangeOutput:
    def note(projected: Tensor) -> Tensor:
        own = projected.view_as(projected) if expanded is None else projected[..., expanded.to(projected.device)]
        layer.projected[module] = own
        return own

    return note


def _reading(layer: _Layer) -> hooks.ChangeInput:
    def read(normed: Tensor) -> Tensor:
        own = normed.view_as(normed)
        layer.read.append(own)
        return own

    return read


def _hearing(layer: _Layer, shape: torch.Size) -> hooks.See:
    # Heads read before the MLP does, or at once; OPT flattens sequences before its feed-forward layers
    return lambda index, stream: layer.streams.append(stream.detach().reshape(shape))


def _repeated(sites: Sites, rows: int) -> Sites:
    """Each sequence in so many rows, with a site in each."""
    return Sites(
        tokens=sites.tokens.repeat_interleave(rows, dim=0),
        mask=sites.mask.repeat_interleave(rows, dim=0),
        sequence=(sites.sequence[:, None] * rows + torch.arange(rows, device=sites.sequence.device)).flatten(),
        position=sites.position.repeat_interleave(rows),
        target=sites.target.repeat_interleave(rows),
        query=sites.query.repeat_interleave(rows),
    )


class Products:
    """Scores of edges, added up: what senders write, times what receivers' gradients say of it.

    Heads' vectors are as wide as the stream for one layer at a time, or kept where memory allows.
    """

    def __init__(self, graph: Graph, branches: Sequence[Branches], memory: int) -> None:
        self.graph, self.branches, self.memory = graph, branches, memory
        self.values = torch.zeros(len(graph.senders), len(graph.receivers), dtype=torch.float64)

    def add(self, sent: Sent, found: Gradients, weights: Float[Tensor, " row"], sites: Sites) -> None:
        """Add a batch.

        Args:
            sent: what senders write, minus what they write ablated.
            weights: of each row's gradient.
        """
        graph = self.graph
        kept: dict[int, Tensor] = {}
        for layer, branch in enumerate(self.branches):
            for at, slopes in self._attention(layer, branch, found, weights):
                self._add(sent, kept, graph.attention_senders(layer), at, slopes)
            slopes = _through(branch.mlp_norm, found.mlp_streams[layer], found.read[layer][None], weights)
            at = torch.tensor([graph.mlp_receiver(layer)])
            self._add(sent, kept, graph.mlp_senders(layer), at, slopes)
        slopes = torch.einsum("snd,n->sd", at_least_float32(found.output), weights.to(found.output.device).float())
        self._add(sent.at(sites), {}, len(graph.senders), torch.tensor([graph.output]), slopes[None, :, None])

    def _attention(
        self, layer: int, branch: Branches, found: Gradients, weights: Tensor
    ) -> Iterator[tuple[Tensor, Float[Tensor, "receiver sequence position hidden"]]]:
        """Gradients by what a layer's heads read, some of them at a time."""
        stream = found.streams[layer]
        some = max(1, self.memory // (stream.numel() * 4 * 6))
        for part in PARTS if self.graph.split else ("h",):
            span = self.graph.part_receivers(layer, part)
            for heads in torch.arange(span.stop - span.start).split(some):
                read_for = (part,) if self.graph.split else PARTS
                each = [_by_normed(branch, found.projected[layer], one, heads.tolist()) for one in read_for]
                slopes = each[0] if self.graph.split else torch.stack(each).sum(dim=0)
                yield span.start + heads, _through(branch.norm, stream, slopes, weights)

    def _add(self, sent: Sent, kept: dict[int, Tensor], senders: int, receivers: Tensor, slopes: Tensor) -> None:
        """Add the products of the first senders with some receivers."""
        flat = slopes.flatten(1).T
        self._put(at_least_float32(sent.input)[None], 0, receivers, flat)
        for layer in range(self.graph.layers):
            first = self.graph.head_sender(layer, 0)
            if first < senders:
                self._put(self._vectors(sent, kept, layer), first, receivers, flat)
            if first + self.graph.heads < senders:
                self._put(at_least_float32(sent.mlps[layer])[None], first + self.graph.heads, receivers, flat)

    def _put(self, written: Tensor, first: int, receivers: Tensor, flat: Tensor) -> None:
        product = written.flatten(1) @ flat.to(written)
        self.values[first : first + len(written), receivers] += product.double().cpu()

    def _vectors(self, sent: Sent, kept: dict[int, Tensor], layer: int) -> Tensor:
        if layer in kept:
            return kept[layer]
        made = vectors(sent, self.branches, layer, range(self.graph.heads))
        if made.numel() * 4 * self.graph.layers <= self.memory:
            kept[layer] = made
        return made


def _by_normed(
    branch: Branches, projected: dict[nn.Module, Tensor], part: str, heads: Sequence[int]
) -> Float[Tensor, "head pass position hidden"]:
    """Gradients by the normed stream, of what some heads make of it."""
    projection = branch.projections[part]
    weight, _ = branch.reads(part, heads)
    slopes = projected[projection.module][..., projection.places[list(heads)]]
    return torch.einsum("xphk,hdk->hxpd", slopes, weight)


def _through(
    norm: nn.Module,
    stream: Float[Tensor, "pass position hidden"],
    slopes: Float[Tensor, "receiver pass position hidden"],
    weights: Float[Tensor, " row"],
) -> Float[Tensor, "receiver sequence position hidden"]:
    """Gradients by the stream of gradients by its norm, averaged over rows; at least float32."""
    with torch.enable_grad():
        # The norm is of each receiver's own copy, so that each has a gradient of its own
        leaf = stream.expand(slopes.shape).detach().requires_grad_()
        (found,) = torch.autograd.grad(norm.forward(leaf), leaf, slopes)
    by_row = at_least_float32(found).unflatten(1, (-1, len(weights)))
    return torch.einsum("rbnpd,n->rbpd", by_row, weights.to(by_row))
