"""The fan-out engine: one recorded pass, then every variant of the answer position's neurons as one row.

    run = record(lm, sites)
    log_probs = run.log_probabilities({3: written})      # what if layer 3 had written this?

A row starts where it differs: at the output of the block it changes. From there it shares one staircase of
batched block calls with the rows of all other layers, forwards and, when a gradient is asked for, backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx
from transformers import DynamicCache, EncoderDecoderCache

from locant.models import hooks
from locant.models.architectures import Architecture
from locant.models.attention import has_changed_attention, maskable_attention
from locant.models.hooks import Arguments
from locant.models.language_model import LanguageModel, at_least_float32
from locant.models.replay import Replay, SharedPrefix, WholeSequence, by_name
from locant.models.sites import Sites

Kept = TypeVar("Kept")

ROWS_AT_MOST = 1024
"""Rows of one call: they share a square mask, so more would cost more than they save."""


@dataclass(frozen=True)
class Run:
    """A pass of the untouched model (or of one under interventions), recorded at its sites.

    Attributes:
        neurons: of each layer, the down-projection's input.
        written: of each layer, the down-projection's output.
        joined: of each layer, what `written` was summed into: the block's output, or for post-norm models the
            sum before the norm.
        log_prob: of each site's token.
        gates: of each layer, what went into the activation function (recorded on request).
        ups: of each layer, what a gated activation is multiplied with (recorded on request).
    """

    lm: LanguageModel
    sites: Sites
    replay: Replay
    neurons: list[Float[Tensor, "site neuron"]]
    written: list[Float[Tensor, "site hidden"]]
    joined: list[Float[Tensor, "site hidden"]]
    log_prob: Float[Tensor, " site"]
    gates: list[Float[Tensor, "site neuron"]]
    ups: list[Float[Tensor, "site neuron"]]

    def log_probabilities(self, writes: Mapping[int, Float[Tensor, "site row hidden"]]) -> Float[Tensor, "site rows"]:
        """Log-probability of each site's token, had its layers' down-projections written this instead.

        Args:
            writes: by layer, one candidate per row; each row changes one layer.

        Returns:
            The rows of all layers, in ascending order of layer; at least float32.
        """
        with hooks.at_rest(self.lm.model), maskable_attention(self.lm.model):
            state = self._climb(writes)
            logits = at_least_float32(self.lm.readout(self.replay.lower(state)))
        return _log_prob(logits, self.sites.target.to(logits.device))

    def _climb(self, writes: Mapping[int, Float[Tensor, "site row hidden"]]) -> Tensor:
        """The state of all rows after the last block."""
        start = min(writes)
        state = self.replay.lift(start, self.join(start, writes[start]))
        for layer in range(start + 1, self.lm.layers):
            # Interventions at the answer position act on rows as they did on the recorded pass
            with self.lm.answering(self.replay.answers(state)):
                state = self.replay.block(layer, state)
            if layer in writes:
                rows = self.replay.lift(layer, self.join(layer, writes[layer]))
                state = torch.cat([state.to(rows.device), rows], dim=1)
        return state

    def join(self, layer: int, written: Float[Tensor, "site row hidden"]) -> Float[Tensor, "site row hidden"]:
        """The block's output, had its down-projection written this."""
        spec, block = self.lm.architecture, self.lm.blocks[layer]
        before, joined = self.written[layer][:, None], self.joined[layer][:, None]
        if spec.sum_norm is not None:
            return block.get_submodule(spec.sum_norm)(joined + (written - before))  # type: ignore[no-any-return]
        if spec.branch_norm is not None:
            norm = block.get_submodule(spec.branch_norm)
            return joined + (norm(written) - norm(before))
        return joined + (written - before) * spec.branch_scale(self.lm.config)


@torch.no_grad()
def record(lm: LanguageModel, sites: Sites, gates: bool = False) -> Run:
    """Run the model once and keep what rows need.

    Args:
        gates: keep the values before the activation function too.
    """
    spec = lm.architecture
    whole = _runs_whole(lm)
    neurons: dict[int, Tensor] = {}
    joined: dict[int, Tensor] = {}
    gated: dict[int, Tensor] = {}
    upped: dict[int, Tensor] = {}
    residuals: dict[int, Tensor] = {}
    arguments: dict[int, Arguments] = {}

    def keep_at_sites(kept: dict[int, Tensor]) -> hooks.See:
        return lambda layer, value: kept.__setitem__(layer, _at(value, sites))

    def keep_arguments(layer: int, args: tuple[object, ...], kwargs: Arguments) -> None:
        arguments[layer] = by_name(lm.blocks[layer], args, kwargs)

    def keep_residual(layer: int, value: Tensor) -> None:
        residuals[layer] = value if whole else _at(value, sites)

    cache = None if whole else _empty_cache(spec.kind)
    with ExitStack() as stack:
        stack.enter_context(hooks.at_rest(lm.model))
        stack.enter_context(hooks.watching_calls(lm.blocks, keep_arguments))
        stack.enter_context(hooks.watching_inputs(lm.downs, keep_at_sites(neurons)))
        stack.enter_context(hooks.watching_outputs(lm.blocks, keep_residual))
        if spec.sum_norm:
            stack.enter_context(hooks.watching_inputs(lm.parts(spec.sum_norm), keep_at_sites(joined)))
        if gates:
            stack.enter_context(hooks.watching_outputs(lm.parts(spec.gate), keep_at_sites(gated)))
        if gates and spec.up:
            stack.enter_context(hooks.watching_outputs(lm.parts(spec.up), keep_at_sites(upped)))
        lm.run(sites, **({} if cache is None else {"past_key_values": cache, "use_cache": True}))
        ends = {layer: _at(value, sites) if whole else value for layer, value in residuals.items()}
        logits = at_least_float32(lm.readout(ends[lm.layers - 1]))
        calls = _in_order(arguments)
        return Run(
            lm=lm,
            sites=sites,
            replay=WholeSequence(lm.blocks, sites, calls, _in_order(residuals))
            if cache is None
            else SharedPrefix(lm.blocks, sites, calls, cache),
            neurons=_in_order(neurons),
            # `forward` itself, so that no hook changes the neurons a second time
            written=[down.forward(neurons[layer]) for layer, down in enumerate(lm.downs)],
            joined=_in_order(joined or ends),
            log_prob=_log_prob(logits[:, None], sites.target.to(logits.device))[:, 0],
            gates=[_half(value, 0, spec) for value in _in_order(gated)],
            ups=[_half(value, 1, spec) for value in _in_order(upped)],
        )


@torch.no_grad()
def read_neurons(lm: LanguageModel, sites: Sites, gates: bool = False) -> list[Float[Tensor, "site neuron"]]:
    """Run the model once for its neurons alone: of each layer, the down-projection's input at the sites.

    Args:
        gates: the values before the activation function instead.
    """
    spec = lm.architecture
    kept: dict[int, Tensor] = {}

    def keep(layer: int, value: Tensor) -> None:
        kept[layer] = _half(_at(value, sites), 0, spec) if gates else _at(value, sites)

    parts = lm.parts(spec.gate) if gates else lm.downs
    watching = hooks.watching_outputs if gates else hooks.watching_inputs
    with hooks.at_rest(lm.model), watching(parts, keep):
        lm.run(sites)
    return _in_order(kept)


def _runs_whole(lm: LanguageModel) -> bool:
    """Whether rows are copies of their whole sequence."""
    spec = lm.architecture
    # Where attention is changed by column, rows beside a prefix would not be in their answer position's column
    return spec.kind == "masked" or not spec.shares_prefix or has_changed_attention(lm.model)


def _empty_cache(kind: str) -> DynamicCache | EncoderDecoderCache:
    # Made without the configuration, so that layers with a sliding window keep every key: masks hide them
    return EncoderDecoderCache(DynamicCache(), DynamicCache()) if kind == "seq2seq" else DynamicCache()


def _at(value: Tensor, sites: Sites) -> Float[Tensor, "site axis"]:
    """A module's values at the sites; OPT flattens sequences before its feed-forward layers."""
    whole = value.reshape(len(sites.mask), -1, value.shape[-1])
    return whole[sites.sequence.to(value.device), sites.position.to(value.device)]


def _half(value: Float[Tensor, "site axis"], which: int, spec: Architecture) -> Float[Tensor, "site neuron"]:
    """One matrix may hold gate and up side by side (Phi-3)."""
    return value.chunk(2, dim=-1)[which] if spec.up == spec.gate else value


def _in_order(kept: dict[int, Kept]) -> list[Kept]:
    return [kept[layer] for layer in sorted(kept)]


class _LogProb(torch.autograd.Function):
    """Log-softmax read at one token per site; backwards it makes one tensor as wide as the vocabulary, not four."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, target: Tensor) -> Tensor:
        log_probs = logits.log_softmax(dim=-1)
        ctx.save_for_backward(log_probs, target)
        return log_probs.gather(2, target)[..., 0]

    @staticmethod
    def backward(ctx: FunctionCtx, slope: Tensor) -> tuple[Tensor, None]:
        log_probs, target = ctx.saved_tensors  # type: ignore[attr-defined]
        # In place: nothing asks for them twice, and logits are the widest tensor there is
        logits = log_probs.exp_().mul_(-slope[..., None])
        return logits.scatter_add_(2, target, slope[..., None]), None


def _log_prob(logits: Float[Tensor, "site row vocab"], target: Int[Tensor, " site"]) -> Float[Tensor, "site row"]:
    return _LogProb.apply(logits, target[:, None, None].expand(-1, logits.shape[1], 1))


def rows_within(lm: LanguageModel, memory: int, gradient: bool, length: int) -> int:
    """How many rows fit a memory budget.

    Args:
        memory: bytes.
        gradient: whether they run backwards too, which keeps every block's intermediate values.
        length: positions of the longest prompt.
    """
    size = lm.model.dtype.itemsize
    heads = lm.config.num_attention_heads
    width = length if _runs_whole(lm) else 1
    block = (14 * lm.hidden + 5 * lm.neurons) * size * width
    attention = heads * (length + ROWS_AT_MOST) * size * width
    logits = 3 * lm.config.vocab_size * 4
    kept = lm.layers if gradient else 1
    return max(1, min(ROWS_AT_MOST, memory // (logits + kept * (block + attention))))
