"""Silencing, scaling and setting the activations of selected neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.models.hooks import changing_inputs
from locant.types import Intervention, Selection


def suppress(lm: LanguageModel, selection: Selection, positions: str = "answer") -> AbstractContextManager[None]:
    """Silence neurons: their activations are zero while the context lasts.

    with locant.suppress(lm, selection):
        locant.answer_probability(lm, queries)

    Args:
        positions: 'answer', where answer tokens are predicted (in generated text: every new token), or 'all'.
    """
    return scale(lm, selection, 0.0, positions)


def enhance(
    lm: LanguageModel, selection: Selection, by: float = 2.0, positions: str = "answer"
) -> AbstractContextManager[None]:
    """Amplify neurons: double them, or multiply by another factor."""
    return scale(lm, selection, by, positions)


def scale(
    lm: LanguageModel, selection: Selection, by: float, positions: str = "answer"
) -> AbstractContextManager[None]:
    """Multiply the activations of neurons by a factor."""
    return intervene(lm, Intervention(selection, "scale", by, positions))  # type: ignore[arg-type]


def set_to(
    lm: LanguageModel, selection: Selection, value: float, positions: str = "answer"
) -> AbstractContextManager[None]:
    """Set the activations of neurons to a value."""
    return intervene(lm, Intervention(selection, "set", value, positions))  # type: ignore[arg-type]


@contextmanager
def intervene(lm: LanguageModel, intervention: Intervention) -> Iterator[None]:
    """Carry an intervention out while the context lasts; it works inside `generate`, and nests.

    Raises:
        UnknownName: operation or positions do not exist, or the selection is of a model of another size.
    """
    if intervention.operation not in ("scale", "set"):
        raise UnknownName(f"no operation {intervention.operation!r}; there are scale, set")
    if intervention.positions not in ("answer", "all"):
        raise UnknownName(f"no positions {intervention.positions!r}; there are answer, all")
    grid = (lm.layers, lm.neurons)
    if intervention.target.grid != grid:
        raise UnknownName(
            f"the selection is of a model with (layers, neurons) {intervention.target.grid}, this one has {grid}"
        )
    changes = {
        lm.downs[layer]: _change(lm, intervention, neurons)
        for layer, neurons in intervention.target.by_layer().items()
    }
    with changing_inputs(changes):
        yield


def _change(
    lm: LanguageModel, intervention: Intervention, neurons: Int[Tensor, " unit"]
) -> Callable[[Tensor], Tensor]:
    def change(values: Tensor) -> Tensor:
        units = neurons.to(values.device)
        chosen = values[..., units]
        new = (
            chosen * intervention.amount
            if intervention.operation == "scale"
            else torch.full_like(chosen, intervention.amount)
        )
        if intervention.positions == "answer":
            new = torch.where(_answers(lm, values)[..., None], new, chosen)
        return values.index_copy(values.ndim - 1, units, new)

    return change


def _answers(lm: LanguageModel, values: Float[Tensor, "... neuron"]) -> Tensor:
    """Where answers are read, in the shape a layer's neurons have without their last axis."""
    length = values.shape[-2]
    where = lm.answer_positions(length).to(values.device)
    if values.ndim == 2:  # OPT flattens sequences before its feed-forward layers
        return where.flatten() if where.numel() == length else where.expand(length, 1)[:, 0]
    return where.expand(values.shape[:-1])
