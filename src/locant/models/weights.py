"""Reading a model's weights in locant's orientation, and changing them for a while."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from locant.errors import LocantError

Rewrite: TypeAlias = Callable[[Tensor], Tensor]
"""From the value vectors of some neurons [unit hidden], in the weights' dtype, to new ones."""

EDITABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    rows = _neurons_first(down)
    if rows is not None and rows.dtype == dtype:
        return rows
    probe = torch.eye(width + 1, width, device=device_of(down), dtype=dtype)
    with torch.no_grad():
        # `forward` itself, so that no hook on the module changes the probe
        written: Tensor = down.forward(probe)
    return written[:-1] - written[-1]


@contextmanager
def changing_value_vectors(changes: Mapping[nn.Module, tuple[Int[Tensor, " unit"], Rewrite]]) -> Iterator[None]:
    """Rewrite what some neurons of each down-projection write, in place; on exit every byte is as before.

    with changing_value_vectors({lm.downs[3]: (torch.tensor([17]), torch.zeros_like)}):
        lm.generate("The capital of France is")

    Changes nest; the inner one must end first. Every new vector is computed before the first is written, so that
    a weight that two layers share is changed once.

    Raises:
        LocantError: a weight is quantised, offloaded or split over devices; nothing has been changed then.
    """
    places = [(_editable(down), units, rewrite) for down, (units, rewrite) in changes.items()]
    with torch.no_grad():
        old = [rows[units.to(rows.device)] for rows, units, _ in places]
        new = [rewrite(vectors).to(vectors) for vectors, (_, _, rewrite) in zip(old, places, strict=True)]
    try:
        _write(places, new)
        yield
    finally:
        _write(places, old)


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes; the CPU if its weights are offloaded."""
    held = itertools.chain(module.parameters(), module.buffers())
    return next((one.device for one in held if not one.is_meta), torch.device("cpu"))


def _neurons_first(down: nn.Module) -> Tensor | None:
    """The weight with a row per neuron, a view of it and of whatever dtype; None where it is not at hand as such."""
    weight = getattr(down, "weight", None)
    if weight is None or weight.is_meta:
        return None
    if type(down) is Conv1D:
        return weight.detach()
    return weight.detach().T if type(down) is nn.Linear else None


def _editable(down: nn.Module) -> Float[Tensor, "neuron hidden"]:
    """The weight with a row per neuron, to be written to."""
    weight = getattr(down, "weight", None)
    if weight is not None and weight.is_meta:
        raise LocantError("the weights of an offloaded layer cannot be edited: load the model where it fits whole")
    rows = _neurons_first(down)
    # Quantisation libraries keep the class of the layer and change that of its tensor, or the other way round
    if rows is None or type(rows) is not Tensor or rows.dtype not in EDITABLE:
        held = f"{type(down).__name__} with a {type(getattr(weight, 'data', None)).__name__}"
        dtype = f" of {weight.dtype}" if weight is not None else ""
        raise LocantError(
            f"the weights of a layer that is a {held}{dtype} cannot be edited: "
            "load the model unquantised and unwrapped, in float32, float16 or bfloat16"
        )
    return rows


@torch.no_grad()
def _write(places: list[tuple[Tensor, Tensor, Rewrite]], vectors: list[Tensor]) -> None:
    for (rows, units, _), each in zip(places, vectors, strict=True):
        rows[units.to(rows.device)] = each


def fingerprint(model: nn.Module) -> str:
    """What tells two models of one name apart: a digest of some values of every parameter."""
    found = hashlib.sha256()
    for name, values in model.named_parameters():
        found.update(name.encode())
        if not values.is_meta:
            some = values.detach().flatten()[:: max(1, values.numel() // 16)]
            found.update(some.to("cpu", torch.float64 if some.is_floating_point() else some.dtype).numpy().tobytes())
    return found.hexdigest()[:16]
