"""Sets touched in one batch have the effect that each has alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

import locant
from families import WORDS, tiny
from locant.errors import UnknownName
from locant.evaluations import sets
from locant.evaluations.letters import letter_probabilities
from locant.evaluations.sets import Touched, letters_by_set, probability_by_set
from locant.interventions import scale, set_to
from locant.models import LanguageModel
from locant.selections import select
from locant.selections.random_sets import random_set
from locant.types import Query, Selection


def some_sets(lm: LanguageModel, query: Query) -> list[Selection]:
    """Of several sizes, in several layers, and none."""
    best = [select(locant.attribute(lm, [query], "activation"), k=k) for k in (1, 9, 20)]
    return [*best, random_set(best[1], 0), locant.Selection((), torch.zeros(0, 2).long(), torch.zeros(0),
            best[0].grid, best[0].made_by)]  # fmt: skip


@pytest.mark.parametrize("by", [0.0, 2.0])
def test_each_row_of_a_batch_is_touched_as_it_would_be_alone(
    family: str, lm: LanguageModel, by: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "AT_ONCE", 3)  # more sets than fit in a batch
    for query in (WORDS.short, WORDS.double):
        chosen = some_sets(lm, query)
        expected = []
        for one in chosen:
            with scale(lm, one, by):
                expected.append(float(locant.answer_probability(lm, [query])))
        found = probability_by_set(lm, query, chosen, by).tolist()
        assert found == pytest.approx(expected, rel=1e-4)
        assert max(found) > min(found)


def test_of_alternatives_the_most_probable_is_read_in_every_row() -> None:
    lm = tiny("llama")
    asked = locant.query("w1 w2 w3", "w4", alternatives=("w5", "w6 w7"))
    chosen = some_sets(lm, asked)
    expected = []
    for one in chosen:
        with scale(lm, one, 0.0):
            expected.append(float(locant.answer_probability(lm, [asked])))
    assert probability_by_set(lm, asked, chosen, 0.0).tolist() == pytest.approx(expected, rel=1e-5)


def test_sets_of_another_model_are_refused() -> None:
    chosen = some_sets(tiny("llama"), WORDS.short)
    with pytest.raises(UnknownName, match="layers, neurons"):
        probability_by_set(tiny("t5"), WORDS.short, [Selection((), chosen[0].units, chosen[0].weight, (9, 9),
                           chosen[0].made_by)], 0.0)  # fmt: skip


@pytest.mark.parametrize("others", [False, True])
def test_letters_of_many_prompts_with_sets_of_their_own_are_those_read_one_by_one(
    family: str, lm: LanguageModel, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "AT_ONCE", 3)
    letters = ("w4", "w14", "w33")
    rows = [Touched(query, one, others) for query in (WORDS.short, WORDS.long) for one in some_sets(lm, query)]
    found = letters_by_set(lm, rows, 0.0, letters)
    for row, own in zip(rows, found, strict=True):
        neurons = complement(row.neurons) if others else row.neurons
        with scale(lm, neurons, 0.0):
            (expected,) = letter_probabilities(lm, [row.query], letters)
        assert own.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_neurons_can_be_brought_to_rest_at_values_of_their_own(family: str, lm: LanguageModel) -> None:
    letters, query = ("w4", "w14"), WORDS.short
    chosen = some_sets(lm, query)[1]
    rest = torch.randn(chosen.grid, generator=torch.Generator().manual_seed(0))
    found = letters_by_set(lm, [Touched(query, chosen)], 0.0, letters, rest=rest)
    with ExitStack() as stack:
        for layer, neuron in chosen.units.tolist():
            alone = replace(chosen, units=torch.tensor([[layer, neuron]]), weight=torch.ones(1))
            stack.enter_context(set_to(lm, alone, float(rest[layer, neuron])))
        expected = letter_probabilities(lm, [query], letters)
    assert found[0].tolist() == pytest.approx(expected[0].tolist(), rel=1e-4)
    silenced = letters_by_set(lm, [Touched(query, chosen)], 0.0, letters)
    assert found[0].tolist() != pytest.approx(silenced[0].tolist(), rel=1e-4)


def complement(chosen: Selection) -> Selection:
    free = torch.ones(chosen.grid, dtype=torch.bool)
    free[chosen.units[:, 0], chosen.units[:, 1]] = False
    units = free.nonzero()
    return Selection((), units, torch.ones(len(units)), chosen.grid, chosen.made_by)
