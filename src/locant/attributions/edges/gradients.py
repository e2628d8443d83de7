"""Gradients of a metric by what heads and MLPs make of what they read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.branches import Branches
from locant.models.circuit_run import Metric
from locant.models.graph import Graph
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
        since: the first layer they are known of; lists begin with it.
        streams: of each layer, what its heads read; `mlp_streams`: what its MLP reads.
        projected: of each layer, what its projections give, and the gradients by it.
        read: of each layer, the gradient by the norm that its MLP reads.
        output: the gradient by the residual stream that is read out at the sites.
    """

    since: int
    streams: list[Float[Tensor, "pass position hidden"]]
    mlp_streams: list[Float[Tensor, "pass position hidden"]]
    projected: list[dict[nn.Module, tuple[Tensor, Tensor]]]
    read: list[Float[Tensor, "pass position hidden"]]
    output: Float[Tensor, "site row hidden"]

    def of(self, sequences: slice) -> Gradients:
        """Those inside of some of a batch's sequences; with the output of all."""
        rows = self.output.shape[1]
        some = slice(sequences.start * rows, sequences.stop * rows)
        return Gradients(
            self.since,
            [stream[some] for stream in self.streams],
            [stream[some] for stream in self.mlp_streams],
            [{module: (made[some], by[some]) for module, (made, by) in layer.items()} for layer in self.projected],
            [read[some] for read in self.read],
            self.output,
        )


def gradients(
    lm: LanguageModel,
    graph: Graph,
    branches: Sequence[Branches],
    sites: Sites,
    inputs: Float[Tensor, "sequence row position hidden"],
    metric: Metric,
    since: int = 0,
) -> Gradients:
    """Run a batch forwards and backwards, its first block given these inputs, in as many rows.

    Weights have no gradients; the metric is added up over queries and rows. What interventions in force put into a
    pass must want gradients itself, if layers before it are not asked for.

    Args:
        since: the first layer whose gradients are wanted.
    """
    rows = inputs.shape[1]
    layers = [_Layer() for _ in branches[since:]]
    last: dict[int, Tensor] = {}
    with ExitStack() as stack, torch.enable_grad():
        stack.enter_context(hooks.at_rest(lm.model))
        if any(branch.expanded for branch in branches):
            stack.enter_context(hooks.a_key_for_every_head(lm.blocks[since:], graph.heads))
        first = inputs.flatten(0, 1).detach().requires_grad_(since == 0)
        stack.enter_context(hooks.changing_inputs({lm.blocks[0]: lambda own: first}))
        _watch(stack, branches[since:], layers, first.shape)
        stack.enter_context(hooks.watching_outputs(lm.blocks[-1:], last.__setitem__))
        lm.run(_repeated(sites, rows))
        at = (sites.sequence.to(last[0].device), slice(None), sites.position.to(last[0].device))
        stream = last[0].unflatten(0, (-1, rows))[at]
        value = metric(at_least_float32(lm.readout(stream))).sum()
        wanted = [node for layer in layers for node in (*layer.projected.values(), *layer.read)]
        found = iter(_slopes(value, [*wanted, stream]))
    projected, read = [], []
    for layer in layers:
        projected.append({module: (made.detach(), next(found)) for module, made in layer.projected.items()})
        # Gate and up projections read the same
        read.append(torch.stack([next(found).reshape(first.shape) for _ in layer.read]).sum(dim=0))
    return Gradients(
        since,
        [layer.streams[0] for layer in layers],
        [layer.streams[-1] for layer in layers],
        projected,
        read,
        next(found),
    )


def _slopes(value: Float[Tensor, ""], nodes: Sequence[Tensor]) -> list[Tensor]:
    """Gradients by nodes; zero by those that what was put into the pass cut off."""
    reached = [node for node in nodes if node.requires_grad]
    found = iter(torch.autograd.grad(value, reached, materialize_grads=True))
    return [next(found) if node.requires_grad else torch.zeros_like(node) for node in nodes]


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
