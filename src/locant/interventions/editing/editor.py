"""What every editing method gives: its settings, resolved for a model, and a function from requests to weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import nn

from locant.errors import LocantError, UnknownName
from locant.models import LanguageModel
from locant.models.rewriting import Weights, held, names_of
from locant.types import EditRequest, Setting

Note: TypeAlias = Mapping[str, Setting]
"""What a method measured while it rewrote a fact, by name."""


@dataclass(frozen=True)
class Rewrite:
    """What a method would do to a model for some requests; the model is still as it was.

    Attributes:
        weights: new values of whole parameters, by name.
        notes: one or more for each request, with its `uid`: losses, norms, steps.
        then: rewrites what comes after these requests, where the method remembers them; None for the same editor.
    """

    weights: Weights
    notes: Sequence[Note] = ()
    then: Editor | None = None


@dataclass(frozen=True)
class Editor:
    """A method with its settings resolved for one model, ready to rewrite facts of that model.

    An editor never changes: one that remembers requests (by keys that earlier edits used) gives another with them.

    Attributes:
        settings: every one of them, with the value it has for this model.
        rewrite: from requests to weights, of the model as it is when called; it leaves the model as it was.
        at_once: how many requests one call takes; None for any number.
        method: its name.
    """

    settings: Mapping[str, Setting]
    rewrite: Callable[[Sequence[EditRequest]], Rewrite] = field(repr=False)
    at_once: int | None = None
    method: str = ""


def taken(lm: LanguageModel, changed: AbstractContextManager[object], projections: Sequence[nn.Module]) -> Weights:
    """What a change that lasts for a context makes of some projections: their weights, and biases if there are any.

    Args:
        changed: not yet entered.
    """
    names = names_of(lm.model, projections)
    with changed:
        return held(lm.model, names)


def refuse_other_kinds(lm: LanguageModel, method: str) -> None:
    """Refuse models that do not read a subject from left to right.

    Raises:
        LocantError: the model is not causal.
    """
    if lm.architecture.kind != "causal":
        raise LocantError(
            f"{method} rewrites what a causal model reads at a subject's last token; {lm.name} is a "
            f"{lm.architecture.kind} model: use kn, ft_m, lora or neuron_tuning"
        )


def refuse_layer(lm: LanguageModel, layer: int) -> None:
    """Refuse a layer that the model has not.

    Raises:
        UnknownName: there is no such layer.
    """
    if not 0 <= layer < lm.layers:
        raise UnknownName(f"no layer {layer}; {lm.name} has 0 to {lm.layers - 1}")
