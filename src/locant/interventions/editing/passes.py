"""Passes of a model with something added to what a layer writes at one position; what stands before is computed once.

passes = ShiftedPasses(lm, 2, asked, of_block=False)
said = passes.run(shift)
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from locant.interventions.editing.contexts import Asked
from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.attention import has_changed_attention
from locant.models.sites import Sites


@dataclass(frozen=True)
class Said:
    """What a pass says, a row per request.

    Attributes:
        surprise: the mean over contexts of -ln P(a token of the new object), a mean over its tokens.
        probability: of the new object after the bare prompt.
        essence: log-probabilities at the position of the essence.
    """

    surprise: Float[Tensor, " request"]
    probability: Float[Tensor, " request"]
    essence: Float[Tensor, "request vocab"]


@dataclass(frozen=True)
class _Rows:
    """Requests as sequences: of each its contexts, then its essence.

    Attributes:
        sites: where the new object's tokens are read, in all contexts; a site's query is its request.
        weight: of each site in its request's mean.
        bare: whether a site is in the bare prompt.
        position, request: of each sequence, the position of the edit and the request it belongs to.
        alone, essence: of each request, the sequence with the bare prompt, and that with the essence.
    """

    sites: Sites
    weight: Float[Tensor, " site"]
    bare: Bool[Tensor, " site"]
    position: Int[Tensor, " sequence"]
    request: Int[Tensor, " sequence"]
    alone: Int[Tensor, " request"]
    essence: Int[Tensor, " request"]


class ShiftedPasses:
    """Passes of some requests in all their contexts.

    A causal model reads what stands before the position alike whatever is added at it, so that keys and values of
    it are taken from one pass without a shift.

    Args:
        of_block: the shift is added to the residual that the block leaves, not to what its down-projection writes.

    Attributes:
        written: of each request, what is shifted, in the bare prompt; at least float32.
        residual: what the block leaves there.
        unshifted: what is said without a shift.
    """

    def __init__(self, lm: LanguageModel, layer: int, asked: Sequence[Asked], of_block: bool) -> None:
        self.lm = lm
        self.module = lm.blocks[layer] if of_block else lm.downs[layer]
        self._rows = rows = _lay_out(lm, asked)
        self._prefix: list[tuple[Tensor, Tensor]] = []
        self._arguments = {"attention_mask": rows.sites.mask.long()}
        outputs: dict[int, Tensor] = {}
        cache = DynamicCache()
        with torch.no_grad(), hooks.watching_outputs([self.module, lm.blocks[layer]], outputs.__setitem__):
            self.unshifted = self._pass(None, cache)
        self.written, self.residual = (at_least_float32(_alone(outputs[index], rows)) for index in range(2))
        # Where attention is changed by column, columns must be positions
        if int(rows.position.max()) > 0 and not has_changed_attention(lm.model):
            self._begin_at_positions(cache)

    def run(self, shift: Float[Tensor, "request hidden"]) -> Said:
        """What is said with each request's shift; gradients reach the shift."""
        # A pass adds its own keys and values to those it is given
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._prefix):
            cache.update(keys, values, layer)
        return self._pass(shift, cache)

    def _begin_at_positions(self, cache: DynamicCache) -> None:
        """Leave of each sequence what begins at its position; keys and values before it end in one column.

        Distances between columns stay those between tokens, which windows of attention count in.
        """
        rows, sites = self._rows, self._rows.sites
        longest = int(rows.position.max())
        before = torch.arange(longest, device=self.lm.device) - (longest - rows.position[:, None])
        ends = sites.mask.sum(dim=1)
        after = rows.position[:, None] + torch.arange(int((ends - rows.position).max()), device=self.lm.device)
        mask = after < ends[:, None]
        for layer in cache.layers:
            index = before.clamp_min(0).to(layer.keys.device)[:, None, :, None]
            keys, values = (
                one.gather(2, index.expand(-1, one.shape[1], -1, one.shape[3])) for one in (layer.keys, layer.values)
            )
            self._prefix.append((keys, values))
        tokens = sites.tokens.gather(1, after.clamp_max(sites.tokens.shape[1] - 1))
        moved = replace(sites, tokens=tokens, mask=mask, position=sites.position - rows.position[sites.sequence])
        self._rows = replace(rows, sites=moved, position=torch.zeros_like(rows.position))
        self._arguments = {"attention_mask": torch.cat([before >= 0, mask], dim=1).long()}
        if "position_ids" in inspect.signature(self.lm.model.base_model.forward).parameters:
            self._arguments["position_ids"] = after.clamp_max(int(ends.max()) - 1)

    def _pass(self, shift: Float[Tensor, "request hidden"] | None, cache: DynamicCache) -> Said:
        lm, rows, sites = self.lm, self._rows, self._rows.sites
        residual: dict[int, Tensor] = {}
        with (
            hooks.at_rest(lm.model),
            hooks.changing_outputs({} if shift is None else {self.module: lambda output: _add(output, shift, rows)}),
            hooks.watching_outputs(lm.blocks[-1:], residual.__setitem__),
            lm.answering(sites.answer_positions),
        ):
            lm.model.base_model(input_ids=sites.tokens, past_key_values=cache, use_cache=True, **self._arguments)
        device = residual[0].device
        sequence = torch.cat([sites.sequence, rows.essence]).to(device)
        position = torch.cat([sites.position, rows.position[rows.essence]]).to(device)
        log_probs = at_least_float32(lm.readout(residual[0][sequence, position])).log_softmax(dim=-1)
        return _said(log_probs, rows)


def _add(output: Tensor, shift: Float[Tensor, "request hidden"], rows: _Rows) -> Tensor:
    """A module's output with each request's shift at its position, in all its sequences."""
    values = _reshaped(output, rows)
    places = (torch.arange(len(values), device=values.device), rows.position.to(values.device))
    added = shift.to(values)[rows.request.to(values.device)]
    return values.index_put(places, added, accumulate=True).reshape(output.shape)


def _reshaped(output: Tensor, rows: _Rows) -> Float[Tensor, "sequence position hidden"]:
    """OPT flattens sequences before its feed-forward layers."""
    return output.reshape(*rows.sites.tokens.shape, -1)


def _alone(output: Tensor, rows: _Rows) -> Float[Tensor, "request hidden"]:
    """A module's output at the position of each bare prompt."""
    sequence, position = (one.to(output.device) for one in (rows.alone, rows.position[rows.alone]))
    return _reshaped(output, rows)[sequence, position]


def _said(log_probs: Float[Tensor, "read vocab"], rows: _Rows) -> Said:
    """What is read at the sites, and after them at the essences."""
    target, owner, weight, bare = (
        one.to(log_probs.device) for one in (rows.sites.target, rows.sites.query, rows.weight, rows.bare)
    )
    each = log_probs[: len(target)].gather(1, target[:, None])[:, 0]
    essence = log_probs[len(target) :]
    none = torch.zeros_like(essence[:, 0])
    return Said(
        surprise=-none.index_add(0, owner, each * weight.to(each)),
        probability=none.index_add(0, owner, each.detach() * bare).exp(),
        essence=essence,
    )


def _lay_out(lm: LanguageModel, asked: Sequence[Asked]) -> _Rows:
    """One sequence for each context, even where two are the same: their shifts are not."""
    sequences: list[tuple[int, ...]] = []
    sites: list[tuple[int, int, int, int]] = []
    weight, bare, position, request, alone, essence = [], [], [], [], [], []
    for index, one in enumerate(asked):
        alone.append(len(sequences))
        for place, context in enumerate(one.contexts):
            prompt, answer = context.tokens.prompt, context.tokens.answers[0]
            sites += [(len(sequences), len(prompt) - 1 + k, target, index) for k, target in enumerate(answer)]
            # Tokens of one context share what it counts for
            weight += [1 / len(answer) / len(one.contexts)] * len(answer)
            bare += [place == 0] * len(answer)
            sequences.append(prompt + answer[:-1])
        essence.append(len(sequences))
        sequences.append(one.essence.tokens.prompt)
        position += [each.position for each in (*one.contexts, one.essence)]
        request += [index] * (len(one.contexts) + 1)
    tokens = pad_sequence([torch.tensor(one) for one in sequences], batch_first=True)
    mask = torch.arange(tokens.shape[1]) < torch.tensor([len(one) for one in sequences])[:, None]
    return _Rows(
        Sites(tokens, mask, *torch.tensor(sites).T).to(lm.device),
        *(torch.tensor(each, device=lm.device) for each in (weight, bare, position, request, alone, essence)),
    )
