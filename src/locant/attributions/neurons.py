"""What a method calls a neuron: its value after the activation function, or before it.

After it (`post`) a neuron is the input of the down-projection, the one number that multiplies its value vector.
Released code often reads before it (`pre`): knowledge-neurons the up-projection of GPT-2, EasyEdit the gate of
Llama. Silencing is nearly the same in both; doubling and integrated gradients are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.models import Run, at_least_float32

Baseline = Float[Tensor, "layer neuron"]

Starts: TypeAlias = Sequence[Float[Tensor, "#site neuron"]]
"""Where paths begin, by layer; one entry may stand for all sites."""


@runtime_checkable
class Neurons(Protocol):
    """The neurons of one recorded run, as a method sees them."""

    def values(self, layer: int) -> Float[Tensor, "site neuron"]:
        """Their values at the sites."""

    def path(self, layer: int, points: Float[Tensor, " step"]) -> Float[Tensor, "site step axis"]:
        """Leaves on the straight path from the baseline to the values, to take gradients at."""

    def write(self, layer: int, leaf: Float[Tensor, "site step axis"]) -> Float[Tensor, "site step hidden"]:
        """What the down-projection writes at such leaves."""

    def credit(self, layer: int, gradient: Float[Tensor, "site axis"]) -> Float[Tensor, "site neuron"]:
        """Scores of neurons from the gradient at the leaves, averaged over the path."""

    def ablated(self, layer: int) -> Float[Tensor, "site neuron"]:
        """The down-projection's input of each neuron when that neuron is at the baseline."""


class AfterActivation:
    """Neurons as the down-projection's input. Their path is walked in what they write, hidden wide."""

    def __init__(self, run: Run, starts: Starts | None, credit_from_zero: bool) -> None:
        self.run = run
        self.starts = starts
        self.credit_from_zero = credit_from_zero

    def values(self, layer: int) -> Float[Tensor, "site neuron"]:
        return at_least_float32(self.run.neurons[layer])

    def path(self, layer: int, points: Float[Tensor, " step"]) -> Float[Tensor, "site step axis"]:
        down = self.run.lm.downs[layer]
        start = down.forward(self._start(layer).to(self.run.neurons[layer].dtype))
        return _line(at_least_float32(start), at_least_float32(self.run.written[layer]), points)

    def write(self, layer: int, leaf: Float[Tensor, "site step axis"]) -> Float[Tensor, "site step hidden"]:
        return leaf.to(self.run.written[layer].dtype)

    def credit(self, layer: int, gradient: Float[Tensor, "site axis"]) -> Float[Tensor, "site neuron"]:
        vectors = self.run.lm.value_vectors(layer)
        # The average over the path was taken at hidden width, so this product is the only wide one
        wide = gradient @ vectors.to(gradient.dtype).T
        return wide * self._reach(layer)

    def ablated(self, layer: int) -> Float[Tensor, "site neuron"]:
        return self._start(layer).expand_as(self.run.neurons[layer])

    def _reach(self, layer: int) -> Float[Tensor, "site neuron"]:
        values = self.values(layer)
        return values if self.credit_from_zero else values - at_least_float32(self._start(layer))

    def _start(self, layer: int) -> Float[Tensor, "#site neuron"]:
        return _start_of(layer, self.starts, self.run.neurons[layer])


class BeforeActivation:
    """Neurons as the activation function's input."""

    def __init__(self, run: Run, starts: Starts | None, credit_from_zero: bool) -> None:
        self.run = run
        self.starts = starts
        self.credit_from_zero = credit_from_zero
        self.activations = run.lm.parts(run.lm.architecture.activation)

    def values(self, layer: int) -> Float[Tensor, "site neuron"]:
        return at_least_float32(self.run.gates[layer])

    def path(self, layer: int, points: Float[Tensor, " step"]) -> Float[Tensor, "site step axis"]:
        return _line(at_least_float32(self._start(layer)), self.values(layer), points)

    def write(self, layer: int, leaf: Float[Tensor, "site step axis"]) -> Float[Tensor, "site step hidden"]:
        gate = leaf.to(self.run.gates[layer].dtype)
        written: Tensor = self.run.lm.downs[layer].forward(self._activate(layer, gate, steps=True))
        return written

    def credit(self, layer: int, gradient: Float[Tensor, "site axis"]) -> Float[Tensor, "site neuron"]:
        return gradient * self._reach(layer)

    def ablated(self, layer: int) -> Float[Tensor, "site neuron"]:
        return self._activate(layer, self._start(layer).expand_as(self.run.gates[layer]), steps=False)

    def _activate(self, layer: int, gate: Tensor, steps: bool) -> Tensor:
        active: Tensor = self.activations[layer](gate)
        if not self.run.ups:
            return active
        up = self.run.ups[layer]
        return active * (up[:, None] if steps else up)

    def _reach(self, layer: int) -> Float[Tensor, "site neuron"]:
        values = self.values(layer)
        return values if self.credit_from_zero else values - at_least_float32(self._start(layer))

    def _start(self, layer: int) -> Float[Tensor, "#site neuron"]:
        return _start_of(layer, self.starts, self.run.gates[layer])


HOOKS: dict[str, Callable[[Run, Starts | None, bool], Neurons]] = {
    "post": AfterActivation,
    "pre": BeforeActivation,
}


def neurons_of(run: Run, hook: str, baseline: Baseline | None = None) -> Neurons:
    """The neurons of a run, as `hook` reads them.

    Raises:
        UnknownName: hook is neither 'post' nor 'pre', or the baseline has another shape than the neurons.
    """
    grid = (run.lm.layers, run.lm.neurons)
    if baseline is not None and tuple(baseline.shape) != grid:
        raise UnknownName(f"the baseline's shape is {tuple(baseline.shape)}, but the neurons' is {grid}")
    return neurons_from(run, hook, None if baseline is None else list(baseline[:, None]))


def neurons_from(run: Run, hook: str, starts: Starts | None, credit_from_zero: bool = False) -> Neurons:
    """The neurons of a run, with paths that begin where `starts` says, at zero if it is None.

    Args:
        credit_from_zero: multiply gradients with the whole value, not with what the path adds to its start.

    Raises:
        UnknownName: hook is neither 'post' nor 'pre'.
    """
    if hook not in HOOKS:
        raise UnknownName(f"no hook {hook!r}; neurons are read 'post' or 'pre' the activation function")
    return HOOKS[hook](run, starts, credit_from_zero)


def _start_of(
    layer: int, starts: Starts | None, values: Float[Tensor, "site neuron"]
) -> Float[Tensor, "#site neuron"]:
    """Where a layer's paths begin, as the values are held."""
    return torch.zeros_like(values[:1]) if starts is None else starts[layer].to(values)


def _line(
    start: Float[Tensor, "#site axis"], end: Float[Tensor, "site axis"], points: Float[Tensor, " step"]
) -> Float[Tensor, "site step axis"]:
    at = points.to(end)[:, None]
    return start[:, None] + at * (end - start)[:, None]
