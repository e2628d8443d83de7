"""Layers and bounds of fine-tuning one layer: those known for some models, and rules for all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from locant.errors import UnknownName
from locant.interventions.editing.editor import refuse_layer
from locant.models import LanguageModel
from locant.models.weights import editable_rows

Bound: TypeAlias = float | str | None
"""In the unit of a weight; 'preset' is what this file has for the model, and None none."""

DEPTH = 0.7
"""Of the layers below the last: Llama-2-7B's 21 of 31, which most published configurations have."""

WRITTEN = 1.5
"""How many times over a layer may write anew what it writes, within the bound of models for which none is published.

Weights have the root mean square s; a layer of n neurons that are active by k writes |k| s into a dimension. Moved by
no more than c s / sqrt(n) each, they write at most c |k| s more, whatever k is. The rule, and c, are ours.
"""


@dataclass(frozen=True)
class Preset:
    """What is known to do for a model.

    Attributes:
        free: the layer that is trained without a bound; None for that of the rule.
        bounded: the layer that is trained within a bound; every one with a published bound is the first.
        bound: None for none.
    """

    free: int | None
    bounded: int
    bound: float | None


KNOWN = {
    ("gpt2", 24, 1024): Preset(None, 0, 2e-3),
    ("gpt2", 36, 1280): Preset(None, 0, 1e-3),
    ("gpt2", 48, 1600): Preset(1, 0, 5e-4),
    ("gptj", 28, 4096): Preset(21, 0, 5e-5),
    ("llama", 32, 4096): Preset(21, 21, None),
    ("mistral", 32, 4096): Preset(21, 21, None),
    ("llama", 6, 192): Preset(0, 0, 6e-3),
}
"""By model type, layers and width, so that a model is known wherever it was loaded from. GPT-2 and GPT-J: ROME's
code (kmeng01/rome, hparams/FT). Llama-2-7B, Llama-3-8B and Mistral-7B: zjunlp/EasyEdit, hparams/FT. The last is the
almanac, by trial."""


def free_layer(lm: LanguageModel) -> int:
    """The layer to train without a bound; if none is known, the one at the published depth."""
    known = _known(lm)
    return round(DEPTH * (lm.layers - 1)) if known is None or known.free is None else known.free


def bounded_layer(lm: LanguageModel) -> int:
    """The layer to train within a bound; if none is known, the first."""
    known = _known(lm)
    return 0 if known is None else known.bounded


def bound_of(lm: LanguageModel, layer: int, bound: Bound) -> float | None:
    """How far a weight may move: as given, as known or, for all other models, as far as the rule has it.

    Raises:
        UnknownName: there is no such layer, or the bound makes no sense.
    """
    refuse_layer(lm, layer)
    if bound is None or isinstance(bound, int | float):
        if bound is not None and not 0 < bound < math.inf:
            raise UnknownName(f"a bound is more than 0, or None for none; not {bound}")
        return bound
    if bound != "preset":
        raise UnknownName(f"no bound {bound!r}; give a number, None for none, or 'preset'")
    known = _known(lm)
    if known is not None:
        return known.bound
    rms = float(editable_rows(lm.downs[layer]).double().square().mean().sqrt())
    return WRITTEN * rms / math.sqrt(lm.neurons)


def _known(lm: LanguageModel) -> Preset | None:
    return KNOWN.get((lm.config.model_type, lm.layers, lm.hidden))
