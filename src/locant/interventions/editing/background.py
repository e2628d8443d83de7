"""What an editor reads of a model before the first edit: beginnings of texts, and the covariance of its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from locant.interventions.editing.covariance import Covariance, keep_covariances, key_covariances
from locant.interventions.editing.texts import Texts, name_of_texts, read_running_text
from locant.models import LanguageModel
from locant.types import Setting

TOKENS = 100_000
TOKENS_OF_NEURON = 50
"""Read where no number is given: so many of each neuron, up to so many in all."""


@dataclass(frozen=True)
class Background:
    """Of a model as it was when the editor was made, whatever edits have come since.

    Attributes:
        prefixes: beginnings of texts, to stand before a prompt.
        covariances: of the keys of each layer that will be edited.
        settings: where they are from.
    """

    prefixes: tuple[str, ...]
    covariances: Mapping[int, Covariance]
    settings: Mapping[str, Setting]


def read_background(
    lm: LanguageModel,
    layers: Sequence[int],
    make_up: Callable[[LanguageModel, int], tuple[str, ...]],
    contexts: Sequence[str] | None,
    texts: Texts,
    tokens: int | None,
    seed: int,
) -> Background:
    """Read all of it; covariances are kept on disk.

    Args:
        make_up: the prefixes, where no contexts are given, from a seed.
    """
    prefixes = make_up(lm, seed) if contexts is None else tuple(contexts)
    tokens = _budget(lm, tokens)
    text = None if texts is None else read_running_text(lm, texts, tokens)
    covariances = key_covariances(lm, layers, text, tokens, seed)
    settings: dict[str, Setting] = {
        "contexts": name_of_texts(contexts),
        "texts": name_of_texts(text),
        "tokens": tokens,
        "seed": seed,
    }
    return Background(prefixes, covariances, settings)


def read_ahead(lm: LanguageModel, layers: Sequence[int], texts: Texts, tokens: int | None, seed: int) -> None:
    """Put the covariances of many layers on disk, all read at once, for editors that are made one after another."""
    tokens = _budget(lm, tokens)
    text = None if texts is None else read_running_text(lm, texts, tokens)
    keep_covariances(lm, layers, text, tokens, seed)


def _budget(lm: LanguageModel, tokens: int | None) -> int:
    return min(TOKENS, TOKENS_OF_NEURON * lm.neurons) if tokens is None else tokens
