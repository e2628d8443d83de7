"""Whole weights rewritten, again and again, and given back as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from locant.errors import LocantError
from locant.models.weights import EDITABLE, editable_rows

Weights: TypeAlias = Mapping[str, Tensor]
"""Values of whole parameters by their names in the model, as the model holds them."""


@dataclass(frozen=True)
class Rewriting:
    """A model's parameters, to be written to while the context of `rewriting` lasts.

    Attributes:
        before: what each parameter that was written to held at first, by its name.
    """

    model: nn.Module = field(repr=False)
    before: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def write(self, new: Weights) -> None:
        """Put new values into parameters.

        Raises:
            LocantError: a parameter is quantised, offloaded, of another shape or unknown; nothing is written then.
        """
        places = {name: _place(self.model, name, values) for name, values in new.items()}
        with torch.no_grad():
            for name, place in places.items():
                if name not in self.before:
                    self.before[name] = place.detach().clone()
                place.copy_(new[name])


@contextmanager
def rewriting(model: nn.Module) -> Iterator[Rewriting]:
    """Put new values into parameters, as often as one likes; on exit every byte is as before.

        with rewriting(lm.model) as weights:
            weights.write({"model.layers.3.mlp.down_proj.weight": new})

    What a parameter held is kept once, when it is first written to. Contexts nest; the inner one must end first.
    """
    weights = Rewriting(model)
    try:
        yield weights
    finally:
        with torch.no_grad():
            for name, values in weights.before.items():
                model.get_parameter(name).copy_(values)


def held(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """A copy of what some parameters hold."""
    return {name: model.get_parameter(name).detach().clone() for name in names}


def rewritten(model: nn.Module, projection: nn.Module, rows: Float[Tensor, "neuron hidden"]) -> dict[str, Tensor]:
    """A projection's weight as the model would hold these rows, one per input: its name, and its values.

    Raises:
        LocantError: as for `editable_rows`.
    """
    own, weight = editable_rows(projection), projection.weight
    values = rows.to(own)
    # `own` is the weight itself or its transpose, whatever the shape
    stored = values if own.stride() == weight.stride() else values.T  # type: ignore[operator]
    return {name_of(model, weight): stored.contiguous()}  # type: ignore[arg-type]


def name_of(model: nn.Module, parameter: nn.Parameter) -> str:
    """A parameter's name in the model; of a shared one, the first."""
    return next(name for name, one in model.named_parameters(remove_duplicate=False) if one is parameter)


def names_of(model: nn.Module, modules: Iterable[nn.Module]) -> list[str]:
    """The names of the parameters of some modules: of projections the weights, and the biases if there are any."""
    return [name_of(model, one) for module in modules for one in module.parameters()]


def _place(model: nn.Module, name: str, values: Tensor) -> Tensor:
    try:
        place = model.get_parameter(name)
    except AttributeError as error:
        raise LocantError(f"the model has no parameter {name!r}") from error
    if place.is_meta or type(place.data) is not Tensor or place.dtype not in EDITABLE:
        raise LocantError(
            f"{name} is a {type(place.data).__name__} of {place.dtype} and cannot be rewritten: "
            "load the model whole and unquantised, in float32, float16 or bfloat16"
        )
    if place.shape != values.shape:
        raise LocantError(f"{name} has the shape {tuple(place.shape)}, not {tuple(values.shape)}")
    return place
