"""What a model computes where requests are edited: the keys of a feed-forward layer, and what its block leaves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.interventions.editing.contexts import Asked, Placed
from locant.models import LanguageModel, hooks
from locant.models.weights import device_of

AT_ONCE = 128
"""Prompts in one pass."""


def read_keys(
    lm: LanguageModel, layer: int, asked: Sequence[Asked], bare: float | None
) -> Float[Tensor, "request neuron"]:
    """Of each request the input of a layer's down-projection at its position, a mean over its contexts; in float64.

    Args:
        bare: the weight of the prompt without a prefix; the other contexts share the rest. None weighs all alike.
    """
    prompts = [one for request in asked for one in request.contexts]
    parts = range(0, len(prompts), AT_ONCE)
    found = [_read(lm, layer, prompts[first : first + AT_ONCE], of_block=False) for first in parts]
    each = torch.cat(found).split([len(one.contexts) for one in asked])
    return torch.stack([weights_of(len(keys), bare).to(keys) @ keys for keys in each])


def read_residuals(lm: LanguageModel, layer: int, asked: Sequence[Asked]) -> Float[Tensor, "request hidden"]:
    """Of each request the residual that a layer leaves at its position, in the prompt as it is; in float64."""
    prompts = [one.contexts[0] for one in asked]
    parts = range(0, len(prompts), AT_ONCE)
    return torch.cat([_read(lm, layer, prompts[first : first + AT_ONCE], of_block=True) for first in parts])


@torch.no_grad()
def bias_of(lm: LanguageModel, layer: int) -> Float[Tensor, " hidden"]:
    """What a layer's down-projection writes of no neurons at all; in float64."""
    none = torch.zeros(1, lm.neurons, dtype=lm.model.dtype, device=device_of(lm.downs[layer]))
    # `forward` itself, so that no hook changes what is written
    return lm.downs[layer].forward(none)[0].double()


def weights_of(contexts: int, bare: float | None) -> Float[Tensor, " context"]:
    """What each context counts for, the bare prompt being the first."""
    if bare is None or contexts == 1:
        return torch.full((contexts,), 1 / contexts, dtype=torch.float64)
    rest = torch.full((contexts - 1,), (1 - bare) / (contexts - 1), dtype=torch.float64)
    return torch.cat([torch.tensor([bare], dtype=torch.float64), rest])


@torch.no_grad()
def _read(lm: LanguageModel, layer: int, prompts: Sequence[Placed], of_block: bool) -> Float[Tensor, "prompt axis"]:
    sites = lm.sites([(one.tokens, one.tokens.answers[0][:1]) for one in prompts])
    seen: dict[int, Tensor] = {}
    watching = (
        hooks.watching_outputs([lm.blocks[layer]], seen.__setitem__)
        if of_block
        else hooks.watching_inputs([lm.downs[layer]], seen.__setitem__)
    )
    with hooks.at_rest(lm.model), watching, hooks.stopping_after(lm.blocks[layer]):
        lm.run(sites)
    # OPT flattens sequences before its feed-forward layers
    values = seen[0].reshape(*sites.tokens.shape, -1)
    positions = torch.tensor([one.position for one in prompts], device=values.device)
    return values[sites.sequence.to(values.device), positions].double()
