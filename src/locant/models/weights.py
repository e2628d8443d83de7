"""Reading a model's weights in locant's orientation, and changing them for a while."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    places = [(editable_rows(down), units, rewrite) for down, (units, rewrite) in changes.items()]
    with torch.no_grad():
        old = [rows[units.to(rows.device)] for rows, units, _ in places]
        new = [rewrite(vectors).to(vectors) for vectors, (_, _, rewrite) in zip(old, places, strict=True)]
    try:
        _write(places, new)
        yield
    finally:
        _write(places, old)


@dataclass(frozen=True)
class Vectors:
    """Where the vectors of some neurons lie: in one projection of a feed-forward layer.

    Attributes:
        units: the neurons, by their place in the projection: one that holds gate and up side by side has two for
            each neuron.
        written: the neurons are the projection's inputs, and the vectors what they write (down-projections);
            otherwise they are its outputs, and the vectors what they read, with their biases (gate and up).
    """

    projection: nn.Module
    units: Int[Tensor, " unit"]
    written: bool


class TrainableVectors:
    """Vectors of some neurons, as leaves that an optimiser can move and the weights can be given.

    Attributes:
        leaves: of each projection its vectors [unit hidden], and after them its biases where it has some; at
            least float32.
    """

    def __init__(self, vectors: Sequence[Vectors]) -> None:
        self._vectors = list(vectors)
        self._held = [_held(one) for one in vectors]
        places = [(held, one.units.to(held[0].device)) for one, held in zip(vectors, self._held, strict=True)]
        self._places = [(tensor, units) for held, units in places for tensor in held]
        self._old = [tensor[units].cpu() for tensor, units in self._places]
        self.leaves = [
            tensor[units].to(torch.promote_types(tensor.dtype, torch.float32), copy=True).requires_grad_()
            for tensor, units in self._places
        ]

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Passes of the model give the leaves their gradients; what a pass computes stays what it is."""
        leaves = iter(self.leaves)
        with ExitStack() as stack:
            for vectors, held in zip(self._vectors, self._held, strict=True):
                own = [next(leaves) for _ in held]
                stack.callback(vectors.projection.register_forward_hook(_reaching(vectors, own)).remove)
            yield

    @torch.no_grad()
    def write(self) -> None:
        """Put the leaves into the weights, in the weights' dtype."""
        for (tensor, units), leaf in zip(self._places, self.leaves, strict=True):
            tensor[units] = leaf.to(tensor.dtype)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was there."""
        for (tensor, units), old in zip(self._places, self._old, strict=True):
            tensor[units] = old.to(tensor.device)


@contextmanager
def changing_vectors(vectors: Sequence[Vectors]) -> Iterator[TrainableVectors]:
    """Train the vectors of some neurons of each projection, in place; on exit every byte is as before.

    with changing_vectors([Vectors(lm.downs[3], torch.tensor([17]), written=True)]) as trained:
        with trained.reached():
            loss().backward()
        ...
        trained.write()

    Only these vectors have gradients, never a whole weight. Changes nest; the inner one must end first.

    Raises:
        LocantError: as for `check_editable`; nothing has been changed then.
    """
    check_editable([one.projection for one in vectors])
    trained = TrainableVectors(vectors)
    try:
        yield trained
    finally:
        trained.restore()


def check_editable(projections: Sequence[nn.Module]) -> None:
    """Refuse projections whose weights cannot be changed each on its own.

    Raises:
        LocantError: a weight is quantised, offloaded or split over devices, or shared by two projections.
    """
    starts = [editable_rows(projection).data_ptr() for projection in projections]
    if len(set(starts)) < len(starts):
        raise LocantError("two feed-forward layers of this model share a weight, so neither can be trained alone")


@contextmanager
def keeping_modules(model: nn.Module, kept: Sequence[nn.Module]) -> Iterator[list[str]]:
    """Whatever is put in the place of these modules, they are back in it on exit, and so are the model's attributes.

    Returns:
        The modules' names.
    """
    name_of = {module: name for name, module in model.named_modules()}
    names = [name_of[module] for module in kept]
    places = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    attributes = set(vars(model))
    try:
        yield names
    finally:
        for (parent, name), module in zip(places, kept, strict=True):
            setattr(parent, name, module)
        for added in set(vars(model)) - attributes:
            delattr(model, added)


def _held(vectors: Vectors) -> list[Tensor]:
    """The weight with a row per neuron, and the neurons' biases if there are any: views, to be written to."""
    inputs_first = editable_rows(vectors.projection)
    if vectors.written:
        return [inputs_first]
    bias = vectors.projection.bias
    return [inputs_first.T] if bias is None else [inputs_first.T, bias.detach()]  # type: ignore[operator]


def _reaching(
    vectors: Vectors, leaves: Sequence[Tensor]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A hook that adds to a projection's output what is always zero, and has the slope of its vectors."""
    units = vectors.units.to(leaves[0].device)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        value = inputs[0]
        zero, *bias = ((leaf - leaf.detach()).to(value.dtype) for leaf in leaves)
        if vectors.written:
            return output + value[..., units] @ zero
        return output.index_add(-1, units, sum(bias, value @ zero.T))

    return hook


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


def editable_rows(down: nn.Module) -> Float[Tensor, "neuron hidden"]:
    """The weight of a projection with a row per input, to be written to: of a down-projection, a row per neuron.

    Raises:
        LocantError: it is quantised, offloaded or split over devices.
    """
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
