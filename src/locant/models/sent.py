"""What the senders of a graph write to the residual stream, kept small: heads by their results before the output
projection, which are as wide as a head and not as wide as the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from locant.models import hooks
from locant.models.branches import Branches
from locant.models.graph import Graph
from locant.models.language_model import LanguageModel, at_least_float32
from locant.models.sites import Places, Sites


@dataclass(frozen=True)
class Sent:
    """What every sender writes, or differences of it. Axes of size 1 stand for all sequences, rows or positions.

    Attributes:
        input: what the first block reads.
        heads: of each layer, what goes into the heads' output projection.
        mlps: of each layer, what its MLP adds to the residual stream.
    """

    input: Float[Tensor, "#sequence #row #position hidden"]
    heads: list[Float[Tensor, "#sequence #row #position wide"]]
    mlps: list[Float[Tensor, "#sequence #row #position hidden"]]

    def minus(self, other: Sent) -> Sent:
        return Sent(
            self.input - other.input,
            [mine - its for mine, its in zip(self.heads, other.heads, strict=True)],
            [mine - its for mine, its in zip(self.mlps, other.mlps, strict=True)],
        )

    def of(self, sequences: slice) -> Sent:
        """Some of the sequences."""
        return _each(self, lambda value: value[sequences])

    def at(self, sites: Sites | Places) -> Sent:
        """The same at the sites alone, or at some places: each is a sequence of one position."""
        return _each(self, lambda value: at_sites(value, sites))

    def to_length(self, length: int) -> Sent:
        """For prompts of so many positions; those beyond the ones known are like the mean of these."""

        def fitted(value: Tensor) -> Tensor:
            known = value.shape[2]
            if known in (1, length):
                return value
            if known > length:
                return value[:, :, :length]
            beyond = value.mean(dim=2, keepdim=True).expand(-1, -1, length - known, -1)
            return torch.cat([value, beyond], dim=2)

        return _each(self, fitted)


def at_sites(
    value: Float[Tensor, "sequence row position axis"], sites: Sites | Places
) -> Float[Tensor, "site row 1 axis"]:
    """Values at the sites, or at some places; an axis of size 1 stands for all."""
    sequence, position = sites.sequence.to(value.device), sites.position.to(value.device)
    sequence = sequence if value.shape[0] > 1 else torch.zeros_like(sequence)
    position = position if value.shape[2] > 1 else torch.zeros_like(position)
    return value[sequence, :, position][:, :, None]


def vectors(
    sent: Sent, branches: Sequence[Branches], layer: int, heads: Sequence[int]
) -> Float[Tensor, "sender sequence row position hidden"]:
    """What some heads of a layer write, as wide as the residual stream; at least float32."""
    value = sent.heads[layer]
    results = value.unflatten(-1, (branches[layer].heads, -1))[..., list(heads), :]
    written = torch.einsum("bnphk,hkd->hbnpd", results, branches[layer].writes()[list(heads)])
    return at_least_float32(written)


def bring(
    sent: Sent,
    branches: Sequence[Branches],
    graph: Graph,
    weights: Float[Tensor, "row sender receiver"],
    memory: int,
) -> Float[Tensor, "receiver sequence rows position hidden"]:
    """What edges bring to receivers: the sum of what senders write, each times its edge's weight.

    Args:
        weights: of the first senders of a graph; one row may stand for all.
        memory: bytes that heads' vectors may take at once: they are as wide as the stream only here.
    """
    first = at_least_float32(sent.input)[None]
    rows = max(len(weights), *(value.shape[1] for value in (sent.input, *sent.heads, *sent.mlps)))
    brought = first.new_zeros(weights.shape[2], first.shape[1], rows, *first.shape[3:])
    for written, edges in _active(sent, branches, graph, weights, memory):
        brought += _weighted(written, edges)
    return brought


def bring_by_span(
    sent: Sent,
    branches: Sequence[Branches],
    graph: Graph,
    weights: Float[Tensor, "span row sender receiver"],
    places: Sequence[Places],
    memory: int,
) -> Float[Tensor, "receiver sequence rows position hidden"]:
    """What edges bring to receivers, each at the places of its span; as `bring`."""
    first = at_least_float32(sent.input)
    rows = max(weights.shape[1], *(value.shape[1] for value in (sent.input, *sent.heads, *sent.mlps)))
    brought = first.new_zeros(weights.shape[3], len(first), rows, *first.shape[2:])
    for own, there in zip(weights, places, strict=True):
        if len(there.sequence) and own.any():
            found = bring(sent.at(there), branches, graph, own, memory)
            sequence, position = there.sequence.to(brought.device), there.position.to(brought.device)
            brought[:, sequence, :, position] = found[:, :, :, 0].transpose(0, 1)
    return brought


def _active(
    sent: Sent, branches: Sequence[Branches], graph: Graph, weights: Float[Tensor, "row sender receiver"], memory: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """What senders with any edge write, some at a time, and the weights of their edges."""
    if weights[:, :1].any():
        yield at_least_float32(sent.input)[None], weights[:, :1]
    for layer, heads in enumerate(sent.heads):
        first = graph.head_sender(layer, 0)
        there = weights[:, first : first + graph.heads]
        active = there.any(dim=2).any(dim=0).nonzero()[:, 0]
        one = heads[..., 0].numel() * sent.input.shape[-1] * 4
        for some in active.split(max(1, memory // one)):
            if len(some):
                yield vectors(sent, branches, layer, some.tolist()), there[:, some]
        mlp = weights[:, first + graph.heads : first + graph.heads + 1]
        if mlp.any():
            yield at_least_float32(sent.mlps[layer])[None], mlp


def _weighted(
    written: Float[Tensor, "sender sequence row position hidden"], weights: Float[Tensor, "rows sender receiver"]
) -> Float[Tensor, "receiver sequence some position hidden"]:
    return torch.einsum("sbnpd,nsr->rbnpd", written, weights.to(written))


@torch.no_grad()
def record_sent(lm: LanguageModel, branches: Sequence[Branches], sites: Sites) -> Sent:
    """Run the model once, under whatever interventions are in force, and keep what every sender writes."""
    first: dict[int, Tensor] = {}
    heads: dict[int, Tensor] = {}
    mlps: dict[int, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(hooks.at_rest(lm.model))
        stack.enter_context(hooks.watching_inputs(lm.blocks[:1], first.__setitem__))
        stack.enter_context(hooks.watching_inputs([branch.output for branch in branches], heads.__setitem__))
        stack.enter_context(hooks.watching_outputs([branch.down for branch in branches], mlps.__setitem__))
        lm.run(sites)
    shape = (len(sites.mask), 1, -1)
    return Sent(
        first[0][:, None],
        [heads[layer][:, None] for layer in range(lm.layers)],
        # OPT flattens sequences before its feed-forward layers
        [mlps[layer].reshape(*shape, lm.hidden) * branches[layer].scale for layer in range(lm.layers)],
    )


def zero_sent(lm: LanguageModel, branches: Sequence[Branches]) -> Sent:
    """Every sender silent.

    Heads are silent before the output projection: its bias is nobody's, and stays. An MLP's bias is its own.
    """

    def silent(width: int, like: Tensor) -> Tensor:
        return torch.zeros(1, 1, 1, width, dtype=lm.model.dtype, device=like.device)

    outputs = [next(branch.output.parameters()) for branch in branches]
    wide = [branch.heads * branch.writes().shape[1] for branch in branches]
    return Sent(
        silent(lm.hidden, outputs[0]),
        [silent(width, like) for width, like in zip(wide, outputs, strict=True)],
        [silent(lm.hidden, like) for like in outputs],
    )


def mean_sent(
    lm: LanguageModel, branches: Sequence[Branches], batches: Sequence[Sites], *, by_position: bool = True
) -> Sent:
    """What every sender writes on average over sequences.

    Args:
        by_position: a mean for every position, over the sequences that reach it; otherwise one mean over all.
    """
    longest = max(batch.mask.shape[1] for batch in batches)
    total, count = None, torch.zeros(1, 1, longest, 1)
    for batch in batches:
        sent = record_sent(lm, branches, batch)
        missing = longest - batch.mask.shape[1]
        count += _padded(batch.mask.sum(dim=0)[None, None, :, None].cpu(), missing)
        sums = _each(sent, partial(_sum, batch, missing))
        total = sums if total is None else total.minus(_each(sums, torch.neg))
    assert total is not None
    if not by_position:
        total, count = _each(total, lambda value: value.sum(dim=2, keepdim=True)), count.sum(dim=2, keepdim=True)
    return _each(total, lambda value: (value / count.to(value)).to(lm.model.dtype))


def _sum(batch: Sites, missing: int, value: Tensor) -> Tensor:
    """Over sequences, where they are real."""
    real = batch.mask[:, None, :, None].to(value.device)
    return _padded((at_least_float32(value) * real).sum(dim=0, keepdim=True), missing)


def _padded(value: Tensor, missing: int) -> Tensor:
    return pad(value, (0, 0, 0, missing))


def _each(sent: Sent, change: Callable[[Tensor], Tensor]) -> Sent:
    return Sent(change(sent.input), list(map(change, sent.heads)), list(map(change, sent.mlps)))


@dataclass(frozen=True)
class Residuals:
    """The residual stream as attention and MLPs read it, and at the output; at least float32."""

    attention: list[Float[Tensor, "#sequence #row #position hidden"]]
    mlp: list[Float[Tensor, "#sequence #row #position hidden"]]
    output: Float[Tensor, "#sequence #row #position hidden"]


def residuals(sent: Sent, branches: Sequence[Branches], graph: Graph) -> Residuals:
    """The sums of what senders write: what everything reads where they write this."""
    attention, mlp = [], []
    stream = at_least_float32(sent.input)
    for branch, heads, written in zip(branches, sent.heads, sent.mlps, strict=True):
        attention.append(stream)
        after = stream.to(heads.device) + branch.written(heads)
        mlp.append(stream if graph.parallel else after)
        stream = after + written
    return Residuals(attention, mlp, stream)
