"""The model's language neurons, by the texts of a run's own queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from locant.models import LanguageModel
from locant.queries.parallel import ParallelFact
from locant.selections.lape import activation_rates, lape, text_of
from locant.selections.share import union
from locant.types import Selection


def language_neurons(lm: LanguageModel, facts: Sequence[ParallelFact], size: int) -> Selection:
    """Those of all languages together, at least as many as a set has, each weighed as its language has it.

    Raises:
        LocantError: of a model with an encoder there are none.
    """
    texts = text_of([query for one in facts for queries in one.queries.values() for query in queries[:1]])
    rates = activation_rates(lm, texts)
    least = size / (lm.layers * lm.neurons)
    by_language = lape(rates, share=min(1.0, max(0.01, 2 * least)))
    weight = {unit: value for one in by_language.values() for unit, value in _weights(one)}
    pooled = union(list(by_language.values()))
    own = [weight[layer, neuron] for layer, neuron in pooled.units.tolist()]
    return replace(pooled, weight=pooled.weight.new_tensor(own))


def _weights(one: Selection) -> list[tuple[tuple[int, int], float]]:
    units = [(int(layer), int(neuron)) for layer, neuron in one.units.tolist()]
    return list(zip(units, one.weight.tolist(), strict=True))
