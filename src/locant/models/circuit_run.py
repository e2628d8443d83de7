"""Running circuits: passes in which every receiver reads only what its kept edges bring.

    run = CircuitRun(lm, graph, sites, ablated)
    run.logits(kept)                                    # one circuit
    whole = run.passed(graph.edges)
    run.logits(all_but_one_edge, whole)                 # many: only what reads something else is run again

A receiver reads the ablated residual plus, over its kept edges, what the sender writes now minus what it writes
ablated. It is the model's own blocks that run: a block is given what most of its receivers read, and where a head
reads something else, its slice of a projection's output is replaced by its slice of the weights applied to the norm
of what it reads. Rotary embeddings, query and key norms, grouped attention and the attention kernel stay native.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from locant.errors import LocantError
from locant.models import hooks
from locant.models.attention import maskable_attention
from locant.models.branches import branches_of
from locant.models.graph import PARTS, Graph
from locant.models.hooks import Arguments
from locant.models.language_model import LanguageModel, at_least_float32
from locant.models.reached import reached
from locant.models.replay import WholeSequence, by_name
from locant.models.sent import Residuals, Sent, at_sites, bring, bring_by_span, record_sent, residuals
from locant.models.sites import Sites

Metric: TypeAlias = Callable[[Float[Tensor, "site row vocab"]], Float[Tensor, "query row"]]
"""What is measured of logits at the sites: of each query one number, the higher the better."""

MEMORY = 1 << 30
"""Bytes that rows may take at once, by default."""


@dataclass(frozen=True)
class Passed:
    """A pass of one circuit, from which passes of others start.

    Attributes:
        keep: the edges kept.
        sent: what every sender writes now, minus what it writes ablated.
        streams: the sums of what all senders write now, as each layer is given them, and the output.
    """

    keep: Bool[Tensor, "sender receiver"]
    sent: Sent
    streams: list[Float[Tensor, "sequence row position hidden"]]


@dataclass(frozen=True)
class _Known:
    """Of a layer, what is not run again: what its heads give the output projection, and what its MLP adds."""

    heads: Float[Tensor, "#sequence one #position wide"] | None = None
    mlp: Float[Tensor, "#sequence one #position hidden"] | None = None


class CircuitRun:
    """A batch of prompts with what senders write when ablated, on which any circuit of a graph is run.

    Interventions in force act in these passes as in the model's own.

    Attributes:
        clean: what every sender writes in the untouched pass.

    Args:
        sites: one sequence per query; made by `lay_out_each`. Where a graph has spans, they say where these are.
        ablated: zeros, means, or what senders write in the counterfactual prompts.
        memory: bytes that rows may take at once.
    """

    def __init__(self, lm: LanguageModel, graph: Graph, sites: Sites, ablated: Sent, memory: int = MEMORY) -> None:
        self.lm, self.graph, self.sites, self.memory = lm, graph, sites, memory
        self.branches = branches_of(lm, graph)
        self.places = [sites.of_span(span) for span in range(len(graph.spans))]
        self.length = sites.tokens.shape[1]
        self.ablated = ablated.to_length(self.length)
        if len(self.ablated.input) not in (1, len(sites.mask)):
            raise LocantError(
                f"{len(sites.mask)} prompts are ablated by what {len(self.ablated.input)} others write; "
                "pair each with one of its own length"
            )
        self.clean, calls = self._record()
        self.base: Residuals = residuals(self.ablated, self.branches, graph)
        # Rows are variants of sequences here, not of sites
        each = torch.arange(len(sites.mask), device=sites.sequence.device)
        sequences = replace(sites, sequence=each, position=each, target=each, query=each)
        self.replay = WholeSequence(lm.blocks, sequences, calls, [])

    @torch.no_grad()
    def passed(self, keep: Bool[Tensor, "sender receiver"], base: Passed | None = None) -> Passed:
        """Run one circuit, for others to start from; as `logits`."""
        streams: list[Tensor] = []
        # Others may read what this one does not
        every = torch.ones(len(self.graph.senders), dtype=torch.bool)
        with self._ready():
            sent = self._climb(self._by_span(keep[None]), base, self._plan(keep[None], base, every), streams)
        return Passed(keep, sent, streams)

    @torch.no_grad()
    def logits(
        self, keep: Bool[Tensor, "*row sender receiver"], base: Passed | None = None
    ) -> Float[Tensor, "site row vocab"]:
        """Logits at the sites, of each row's circuit; at least float32.

        Args:
            keep: one circuit, or one per row.
            base: a pass to start from: nodes run again that in one of the rows read something else, and are read.
        """
        rows = keep if keep.ndim == 3 else keep[None]
        found = [self._logits(rows[start : start + self.rows], base) for start in range(0, len(rows), self.rows)]
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def measure(
        self, keep: Bool[Tensor, "row sender receiver"], metric: Metric, base: Passed | None = None
    ) -> Float[Tensor, "query row"]:
        """What a metric says of each row's circuit; as `logits`, which are never held for all rows at once."""
        found = [
            metric(self._logits(keep[start : start + self.rows], base)) for start in range(0, len(keep), self.rows)
        ]
        return torch.cat(found, dim=1)

    @property
    def rows(self) -> int:
        """How many rows fit the memory budget."""
        lm, size = self.lm, self.lm.model.dtype.itemsize
        wide = self.branches[0].heads * self.branches[0].writes().shape[1]
        position = (16 * lm.hidden + 5 * lm.neurons) * size + lm.layers * (wide + lm.hidden) * 4
        logits = 3 * lm.config.vocab_size * 4 * len(self.sites)
        return max(1, self.memory // (position * self.sites.tokens.numel() + logits))

    def _record(self) -> tuple[Sent, list[Arguments]]:
        """What senders write in the model's own pass, and what its blocks are called with."""
        arguments: dict[int, Arguments] = {}

        def keep_arguments(layer: int, args: tuple[object, ...], kwargs: Arguments) -> None:
            arguments[layer] = by_name(self.lm.blocks[layer], args, kwargs)

        with maskable_attention(self.lm.model), hooks.watching_calls(self.lm.blocks, keep_arguments):
            clean = record_sent(self.lm, self.branches, self.sites)
        return clean, [arguments[layer] for layer in range(self.lm.layers)]

    def _ready(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(hooks.at_rest(self.lm.model))
        stack.enter_context(maskable_attention(self.lm.model))
        if any(branch.expanded for branch in self.branches):
            stack.enter_context(hooks.a_key_for_every_head(self.lm.blocks, self.graph.heads))
        return stack

    def _logits(self, keep: Bool[Tensor, "row sender receiver"], base: Passed | None) -> Tensor:
        plan = self._plan(keep, base, (keep & self.graph.edges).any(dim=2).any(dim=0))
        with self._ready():
            streams: list[Tensor] = []
            sent = self._climb(self._by_span(keep), base, plan, streams)
            into_output = self.graph.of_span(keep, self.graph.copies - 1)[..., -1:]
            at_end = _Point(into_output, streams[-1], self.base.output).at(self.sites)
            ((_, read),) = at_end.own_reads(self, sent.at(self.sites), torch.zeros(1, dtype=torch.int64))
            read = read[0, :, :, 0].expand(-1, len(keep), -1)
            return at_least_float32(self.lm.readout(read.to(self.lm.model.dtype)))

    def _by_span(
        self, keep: Bool[Tensor, "row sender receiver"]
    ) -> Bool[Tensor, "*span row own_sender own_receiver"]:
        """Where there are spans, the edges of each, as the plain graph has them."""
        if not self.graph.spans:
            return keep
        return torch.stack([self.graph.of_span(keep, span) for span in range(self.graph.copies)])

    def bring(
        self, sent: Sent, weights: Float[Tensor, "*span row sender receiver"], memory: int
    ) -> Float[Tensor, "receiver sequence rows position hidden"]:
        """What edges bring to receivers; of all positions alike, where weights are not by span."""
        if weights.ndim == 3:
            return bring(sent, self.branches, self.graph, weights, memory)
        return bring_by_span(sent, self.branches, self.graph, weights, self.places, memory)

    def _plan(
        self, keep: Bool[Tensor, "row sender receiver"], base: Passed | None, read: Bool[Tensor, " sender"]
    ) -> list[tuple[bool, bool]]:
        """Of each layer whether its heads, and whether its MLP, must run, if senders matter that are read."""
        if base is None:
            return [(True, True)] * self.graph.layers
        otherwise = (keep != base.keep).any(dim=0)
        return reached(self.graph, otherwise, keep.any(dim=0), read)

    def _climb(
        self,
        keep: Bool[Tensor, "*span row sender receiver"],
        base: Passed | None,
        plan: Sequence[tuple[bool, bool]],
        streams: list[Tensor],
    ) -> Sent:
        """What senders write now minus what they write ablated: run, or as in the base."""
        start = next((layer for layer, runs in enumerate(plan) if any(runs)), len(plan))
        if base is None:
            sent = Sent(self.clean.input - self.ablated.input, [], [])
            streams.append(at_least_float32(self.clean.input))
        else:
            sent = Sent(base.sent.input, base.sent.heads[:start], base.sent.mlps[:start])
            streams += base.streams[: start + 1]
        for layer in range(start, self.graph.layers):
            if base is not None and not any(plan[layer]):
                sent.heads.append(base.sent.heads[layer])
                sent.mlps.append(base.sent.mlps[layer])
                streams.append(streams[-1] + (base.streams[layer + 1] - base.streams[layer]))
            else:
                streams.append(self._layer(layer, keep, sent, streams[-1], self._known(layer, base, plan[layer])))
            if keep.shape[-3] > 1:
                # Of many rows the last alone is read
                del streams[:-1]
        return sent

    def _known(self, layer: int, base: Passed | None, runs: tuple[bool, bool]) -> _Known:
        """What needs not run of a layer of which something must."""
        if base is None:
            return _Known()
        heads = None if runs[0] else base.sent.heads[layer] + self.ablated.heads[layer]
        return _Known(heads, None if runs[1] else base.sent.mlps[layer] + self.ablated.mlps[layer])

    def _layer(
        self, layer: int, keep: Bool[Tensor, "*span row sender receiver"], sent: Sent, stream: Tensor, known: _Known
    ) -> Float[Tensor, "sequence row position hidden"]:
        """Run a block; add to `sent` what its heads and its MLP write, and return the stream after it."""
        graph, branch, rows = self.graph, self.branches[layer], keep.shape[-3]
        readers = keep[..., : graph.attention_senders(layer), graph.attention_receivers(layer)]
        attention = _Point(readers, stream, self.base.attention[layer])
        shape = (len(self.sites.mask), rows, self.length, -1)
        seen: dict[str, Tensor] = {}
        reference, others = attention.reference, torch.zeros(0, dtype=torch.int64)
        if known.heads is None:
            reference, others = attention.settle(self, sent)

        def hear(index: int, heads: Tensor) -> None:
            now = heads.reshape(shape) if known.heads is None else known.heads
            sent.heads.append(now - self.ablated.heads[layer])
            # `forward` itself: nobody's bias is in it, and no hook on the module acts twice
            seen["after"] = stream + at_least_float32(branch.written(now))

        def read(values: Tensor) -> Tensor:
            if "read" not in seen:
                seen["read"] = self._mlp_read(layer, keep, sent, stream if graph.parallel else seen["after"])
            return seen["read"].reshape(values.shape)

        with ExitStack() as stack:
            if known.mlp is not None:
                stack.enter_context(hooks.stopping_after(branch.output))
            stack.enter_context(hooks.changing_outputs(self._changes(layer, attention, sent, others)))
            stack.enter_context(hooks.watching_inputs([branch.output], hear))
            stack.enter_context(hooks.changing_inputs(dict.fromkeys(branch.readers, read)))
            stack.enter_context(hooks.watching_outputs([branch.down], lambda _, value: seen.update(mlp=value)))
            stack.enter_context(self.lm.answering(self.sites.answer_positions.repeat_interleave(rows, dim=0)))
            self.replay.block(layer, reference.expand(shape).to(self.lm.model.dtype).contiguous())
        mlp = seen["mlp"].reshape(shape) * branch.scale if known.mlp is None else known.mlp
        sent.mlps.append(mlp - self.ablated.mlps[layer])
        return seen["after"] + mlp

    def _mlp_read(
        self, layer: int, keep: Bool[Tensor, "*span row sender receiver"], sent: Sent, stream: Tensor
    ) -> Float[Tensor, "sequence row position hidden"]:
        """What a layer's MLP reads, normed."""
        at = self.graph.mlp_receiver(layer)
        point = _Point(keep[..., : self.graph.mlp_senders(layer), at : at + 1], stream, self.base.mlp[layer])
        read, _ = point.settle(self, sent)
        normed = self.branches[layer].mlp_norm.forward(read.to(self.lm.model.dtype))
        # Some modules view what they read, which what stands for all sequences would not let them
        return normed.expand(len(self.sites.mask), keep.shape[-3], self.length, -1).contiguous()

    def _changes(
        self, layer: int, attention: _Point, sent: Sent, others: Int[Tensor, " receiver"]
    ) -> dict[nn.Module, hooks.ChangeOutput]:
        """Of each projection, what to do with its output: put in the slices of heads that read something else."""
        branch, graph = self.branches[layer], self.graph
        put: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        for receivers, read in attention.own_reads(self, sent, others):
            normed = branch.norm.forward(read.to(self.lm.model.dtype))
            for part in PARTS:
                span = graph.part_receivers(0, part if graph.split else "h")
                which = (receivers >= span.start) & (receivers < span.stop)
                if not which.any():
                    continue
                heads = (receivers[which] - span.start).tolist()
                values = torch.einsum("rbnpd,rdk->bnprk", normed[which], branch.reads(part, heads))
                values = values + branch.biases(part, heads)
                projection = branch.projections[part]
                put.setdefault(projection.module, []).append((projection.places[heads], values))
        touched = dict.fromkeys([*put, *branch.expanded])
        return {module: _putting(branch.expanded.get(module), put.get(module, [])) for module in touched}


@dataclass(frozen=True)
class _Point:
    """A place in the stream that receivers read, each its own kept edges.

    Attributes:
        keep: of the senders before it, and the receivers that read there; by span, if a graph has them.
        stream: what all senders write now; `base`: what they write ablated.
    """

    keep: Bool[Tensor, "*span row sender receiver"]
    stream: Float[Tensor, "sequence rows position hidden"]
    base: Float[Tensor, "#sequence one #position hidden"]

    def at(self, sites: Sites) -> _Point:
        return _Point(self.keep, at_sites(self.stream, sites), at_sites(self.base, sites))

    @cached_property
    def reference(self) -> Tensor:
        """Whichever of the two most edges agree with: what most receivers read."""
        return self.stream if self._mostly_kept else self.base

    @cached_property
    def weights(self) -> Float[Tensor, "*span row sender receiver"]:
        """What edges add to the reference: -1 where it has what is cut, 1 where it lacks what is kept."""
        return -(~self.keep).float() if self._mostly_kept else self.keep.float()

    @cached_property
    def _mostly_kept(self) -> bool:
        return bool(self.keep.float().mean() > 0.5)

    def settle(self, run: CircuitRun, sent: Sent) -> tuple[Tensor, Int[Tensor, " receiver"]]:
        """What to give the block, and the receivers that read something else."""
        differing = self.weights.flatten(0, -2).any(dim=0).nonzero()[:, 0]
        if len(differing) and bool((self.weights == self.weights[..., :1]).all()):
            ((_, read),) = self.own_reads(run, sent, differing[:1])
            return read[0], differing[:0]
        return self.reference, differing

    def own_reads(
        self, run: CircuitRun, sent: Sent, receivers: Int[Tensor, " receiver"]
    ) -> Iterator[tuple[Tensor, Float[Tensor, "receiver sequence row position hidden"]]]:
        """What receivers read, some of them at a time."""
        one = max(self.keep.shape[-3], self.stream.shape[1]) * self.stream[:, :1].numel() * 4
        for some in receivers.split(max(1, run.memory // (4 * one))):
            brought = run.bring(sent, self.weights[..., some], run.memory // 4)
            yield some, brought.add_(self.reference)


def _putting(expanded: Tensor | None, slices: Sequence[tuple[Tensor, Tensor]]) -> hooks.ChangeOutput:
    """Put the slices of some heads into a projection's output, after it is given a place for every head."""

    def change(projected: Tensor) -> Tensor:
        changed = projected.clone() if expanded is None else projected[..., expanded.to(projected.device)]
        for places, values in slices:
            rows = len(changed) // len(values)
            whole = values.expand(-1, rows, -1, -1, -1).flatten(0, 1).flatten(-2)
            changed[..., places.flatten().to(changed.device)] = whole.to(changed.dtype)
        return changed

    return change
