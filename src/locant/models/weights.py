"""Reading a model's weights in locant's orientation."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def value_vectors(down: nn.Module, width: int, dtype: torch.dtype) -> Float[Tensor, "neuron hidden"]:
    """What each neuron writes to the residual stream, per unit of activation.

    Args:
        down: a down-projection; its class tells the orientation, never its shape.
        width: its neurons, i.e. the size of its input.
        dtype: of the model's activations.

    Returns:
        One row per neuron: a view of the weight where it is at hand. Quantised and offloaded modules are
        asked instead, with the identity matrix.
    """
    weight = getattr(down, "weight", None)
    if weight is not None and weight.dtype == dtype and not weight.is_meta:
        if type(down) is Conv1D:
            return weight.detach()
        if type(down) is nn.Linear:
            return weight.detach().T
    probe = torch.eye(width + 1, width, device=device_of(down), dtype=dtype)
    with torch.no_grad():
        # `forward` itself, so that no hook on the module changes the probe
        written: Tensor = down.forward(probe)
    return written[:-1] - written[-1]


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes; the CPU if its weights are offloaded."""
    held = itertools.chain(module.parameters(), module.buffers())
    return next((one.device for one in held if not one.is_meta), torch.device("cpu"))
