"""Where and how hard to edit which model: the papers' settings for their models, and rules for all others."""

from __future__ import annotations

from dataclasses import dataclass

from locant.interventions.editing.target import Descent
from locant.models import LanguageModel

SHALLOW = 12
"""Models of fewer layers are edited at the prompt's end."""


@dataclass(frozen=True)
class Preset:
    """Settings for one model.

    Attributes:
        at: the position of the keys, as in `contexts`.
        layer, rome: of ROME.
        layers, weight, memit: of MEMIT, and but for the weight of AlphaEdit.
        free, threshold, l2: of AlphaEdit; one of the first two, and None for the l2 that goes with the keys.
    """

    at: str
    layer: int
    rome: Descent
    layers: tuple[int, ...]
    weight: float
    memit: Descent
    free: float | None = 0.1
    threshold: float | None = None
    l2: float | None = None


def preset_of(lm: LanguageModel) -> Preset:
    """The settings for a model."""
    return preset(lm.config.model_type, lm.layers, lm.neurons)


def preset(model_type: str, layers: int, neurons: int) -> Preset:
    """The papers' settings for models of the shapes they had, and otherwise a rule's.

    Of unknown models from twelve layers on the rule is between the papers': keys at the subject; a quarter of the way
    up (they have 0.16 to 0.35 for ROME; MEMIT's ranges end at 0.25 to 0.35); five layers for MEMIT; and a weight of
    1.5 for each neuron (theirs are 0.9 to 3.1), since (C^-1 k)T k grows with them. Steps are in units of the
    residual, which with 0.2 takes GPT-2's about as far as 0.5 does in the papers.

    Of shallower models the rule is from the almanac and its GPT-2 (six layers each), given another object of the
    same relation in forty facts of ten relations. Written at the subject, at any length and in any layer, it is said
    in few (20 facts: 5% and 65%): these models look facts up at the prompt's end. Keys read there, low in the model,
    carry over to other wordings and leave most other facts alone. Said in the wording edited, in others, and kept of
    the relation's other facts and of other relations': ROME, one by one, 90%, 82%, 95%, 100% (almanac) and 93%, 86%,
    90%, 100%; MEMIT, all at once, 88%, 80%, 85%, 84% and 95%, 78%, 91%, 87%. Larger clamps gain wordings and lose
    other facts.
    """
    if (model_type, layers, neurons) in _PUBLISHED:
        return _PUBLISHED[model_type, layers, neurons]
    return _shallow(layers, neurons) if layers < SHALLOW else _by_depth(layers, neurons)


def _by_depth(layers: int, neurons: int) -> Preset:
    top = round(layers / 4)
    return Preset(
        at="subject",
        layer=top,
        rome=Descent(steps=20, rate=0.2, unit="residual", clamp=4.0),
        layers=tuple(range(max(0, top - 4), top + 1)),
        weight=1.5 * neurons,
        memit=Descent(steps=25, rate=0.2, unit="residual", clamp=0.75),
    )


def _shallow(layers: int, neurons: int) -> Preset:
    return Preset(
        at="last",
        layer=layers // 6,
        rome=Descent(steps=20, rate=0.2, unit="residual", clamp=8.0),
        layers=tuple(range(layers // 3 + 1)),
        weight=0.3 * neurons,
        memit=Descent(steps=40, rate=0.2, unit="residual", clamp=1.1),
    )


def _as_published(
    layer: int,
    layers: range,
    weight: float,
    *,
    clamp: float,
    memit_clamp: float = 0.75,
    steps: tuple[int, int] = (20, 25),
    decay: float = 0.5,
) -> Preset:
    return Preset(
        at="subject",
        layer=layer,
        rome=Descent(steps[0], 0.5, "one", clamp, decay),
        layers=tuple(layers),
        weight=weight,
        memit=Descent(steps[1], 0.5, "one", memit_clamp, decay),
        free=None,
        threshold=2e-2,
        l2=10.0,
    )


_PUBLISHED = {
    # GPT-2 medium: ROME's code; MEMIT has no settings for it, and the range ends where ROME edits
    ("gpt2", 24, 4096): _as_published(8, range(4, 9), 1.5 * 4096, clamp=3.0),
    # GPT-2 XL and GPT-J: the code of ROME, MEMIT and AlphaEdit
    ("gpt2", 48, 6400): _as_published(17, range(13, 18), 20_000.0, clamp=4.0, steps=(20, 20)),
    ("gptj", 28, 16384): _as_published(5, range(3, 9), 15_000.0, clamp=4.0),
    # Llama 2 7B: EasyEdit; its ROME leaves C out, ours does not
    ("llama", 32, 11008): _as_published(
        5, range(4, 9), 15_000.0, clamp=4.0, memit_clamp=4.0, steps=(25, 25), decay=1e-3
    ),
}
"""By model type, layers and neurons per layer."""
