"""Reading a model's weights in locant's orientation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def value_vectors(down: nn.Module, width: int) -> Float[Tensor, "neuron hidden"]:
    """What each neuron writes to the residual stream, per unit of activation.

    Args:
        down: a down-projection; its class tells the orientation, never its shape.
        width: its neurons, i.e. the size of its input.

    Returns:
        One row per neuron: a view of the weight where it is at hand. Quantised and offloaded modules are
        asked instead, with the identity matrix.
    """
    weight = getattr(down, "weight", None)
    if weight is not None and weight.is_floating_point() and not weight.is_meta:
        if type(down) is Conv1D:
            return weight.detach()
        if type(down) is nn.Linear:
            return weight.detach().T
    probe = torch.eye(width + 1, width, device=_device(down), dtype=_dtype(down))
    with torch.no_grad():
        # `forward` itself, so that no hook on the module changes the probe
        written: Tensor = down.forward(probe)
    return written[:-1] - written[-1]


def _device(down: nn.Module) -> torch.device:
    return next((one.device for one in down.parameters() if not one.is_meta), torch.device("cpu"))


def _dtype(down: nn.Module) -> torch.dtype:
    return next((one.dtype for one in down.parameters() if one.is_floating_point()), torch.get_default_dtype())
