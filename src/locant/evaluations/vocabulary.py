"""What neurons say: their value vectors, read through the unembedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from locant.models import LanguageModel, at_least_float32
from locant.models.weights import device_of
from locant.types import Selection


@dataclass(frozen=True)
class Words:
    """The tokens a neuron's value vector raises most, and those it lowers most, strongest first."""

    promoted: tuple[str, ...]
    demoted: tuple[str, ...]


@torch.no_grad()
def value_words(lm: LanguageModel, selection: Selection, k: int = 6) -> tuple[Words, ...]:
    """Read each selected neuron's value vector through the unembedding, without the norm before it.

    Source: Geva et al. 2022, arXiv:2203.14680, section 3.
    """
    unembed = lm.model.get_output_embeddings()
    narrow = _narrowing(lm)
    words: dict[tuple[int, int], Words] = {}
    for layer, neurons in selection.by_layer().items():
        vectors = lm.value_vectors(layer)
        for neuron in neurons.tolist():
            vector = narrow(vectors[neuron])
            # the second row takes the bias away, which says nothing about the neuron
            rows = torch.stack([vector, torch.zeros_like(vector)]).to(device_of(unembed))
            scores = at_least_float32(unembed.forward(rows))
            scores = (scores[0] - scores[1])[: len(lm.tokenizer)]
            words[layer, neuron] = Words(_named(lm, scores.topk(k).indices), _named(lm, (-scores).topk(k).indices))
    return tuple(words[layer, neuron] for layer, neuron in selection.units.tolist())


def _narrowing(lm: LanguageModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """The projection before an unembedding narrower than the residual stream (opt-350m); none elsewhere."""
    parts = [lm.model.get_submodule(name) for name in lm.architecture.readout[:-1]]
    return next((part for part in parts if isinstance(part, torch.nn.Linear)), lambda vector: vector)


def _named(lm: LanguageModel, ids: torch.Tensor) -> tuple[str, ...]:
    return tuple(lm.text_of([token]) for token in ids.tolist())
