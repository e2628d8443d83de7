"""A fact's neurons fine-tuned: theirs alone, together for several facts, and as `tuned` does it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import locant
from families import tiny
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.selections import select
from locant.types import EditRequest, Provenance, Selection


def request(new: str = "w11", subject: str = "w5 w6") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old="w9")


def by_hand(lm: LanguageModel, units: list[list[int]]) -> Selection:
    return Selection((), torch.tensor(units), torch.ones(len(units)), (lm.layers, lm.neurons), Provenance("by hand"))


def weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in lm.model.named_parameters()}


def moved(lm: LanguageModel, before: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    """Of each projection of a Llama that changed, the neurons whose rows (of down: columns) did."""
    found = {}
    for name, old in before.items():
        where = lm.model.get_parameter(name).detach() != old
        if where.any():
            # Biases do not exist here, and down is the only one whose inputs are neurons
            found[name] = where.any(dim=0 if "down" in name else 1).nonzero()[:, 0].tolist()
    return found


@pytest.mark.parametrize("vectors", ["up, gate, down", "down", "up,gate"])
def test_only_vectors_of_the_neurons_are_changed(vectors: str) -> None:
    lm = tiny("llama")
    before, chosen = weights(lm), by_hand(lm, [[0, 3], [0, 17], [2, 5]])
    with edit(lm, [request()], "neuron_tuning", target=chosen, vectors=vectors, steps=3):
        found = moved(lm, before)
    names = [one.strip() for one in vectors.split(",")]
    expected = {
        f"model.layers.{layer}.mlp.{name}_proj.weight": own
        for layer, own in ((0, [3, 17]), (2, [5]))
        for name in names
    }
    assert found == expected
    assert moved(lm, before) == {}


def test_the_weights_are_those_of_tuning(family: str, lm: LanguageModel) -> None:
    asked, chosen = [request(), request("w12 w13", "w20")], by_hand(lm, [[0, 3], [0, 17], [2, 5]])
    with edit(lm, asked, "neuron_tuning", target=chosen, steps=4) as edited:
        found = weights(lm)
    queries = [one.asked for one in asked]
    with tuned(lm, queries, chosen, steps=4, rate=1e-2, vectors=["down"]):
        expected, losses = weights(lm), -locant.answer_log_probability(lm, queries)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [note["loss"] for note in edited.notes] == pytest.approx(losses.tolist(), rel=1e-4)
    assert [note["steps"] for note in edited.notes] == [4, 4]


def test_several_facts_train_the_neurons_of_all() -> None:
    lm, asked = tiny("llama"), [request(), request("w12", "w20")]
    before = weights(lm)
    own = [select(one, "share", share=0.2) for one in locant.attribute(lm, [one.query for one in asked], "dai")]
    with edit(lm, asked, "neuron_tuning", steps=2) as edited:
        found = moved(lm, before)
    assert [note["neurons"] for note in edited.notes] == [len(one) for one in own]
    every = sorted({(layer, neuron) for one in own for layer, neuron in one.units.tolist()})
    downs = {layer: [n for at, n in every if at == layer] for layer, _ in every}
    assert {name: units for name, units in found.items() if "down" in name} == {
        f"model.layers.{layer}.mlp.down_proj.weight": units for layer, units in downs.items()
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_trained_and_given_back(dtype: torch.dtype) -> None:
    lm = tiny("gpt2", dtype)
    before = weights(lm)
    losses = []
    for steps in (0, 10):
        with edit(lm, [request()], "neuron_tuning", steps=steps) as edited:
            losses.append(float(edited.notes[0]["loss"]))  # type: ignore[arg-type]
    assert losses[1] < losses[0] - 0.5
    assert all(torch.equal(before[name], one) for name, one in weights(lm).items())


def test_what_makes_no_sense_is_refused() -> None:
    lm = tiny("llama")
    with pytest.raises(UnknownName, match="a learning rate is more than 0"):
        prepare(lm, "neuron_tuning", {"rate": 0.0})
    with pytest.raises(UnknownName, match="no vectors side"), edit(lm, [request()], "neuron_tuning", vectors="side"):
        pytest.fail("nothing may run under it")
    shared = locant.load(type(lm.model)(lm.model.config).eval(), tokenizer=lm.tokenizer)
    weight = shared.downs[0].weight
    assert isinstance(weight, nn.Parameter)
    shared.downs[1].weight = weight
    both = by_hand(shared, [[0, 1], [1, 1]])
    with pytest.raises(LocantError, match="share a weight"), edit(shared, [request()], "neuron_tuning", target=both):
        pytest.fail("nothing may run under it")


def test_a_new_object_is_said(almanac_lm: LanguageModel) -> None:
    asked = [
        locant.edit_request("The capital of France is", "France", "Rome", old="Paris"),
        locant.edit_request("The author of Moby-Dick is", "Moby-Dick", "Homer", old="Herman Melville"),
    ]
    for one in asked:
        with edit(almanac_lm, [one], "neuron_tuning") as edited:
            assert almanac_lm.generate(one.query.prompt, 8).strip().startswith(one.new)
            assert 0 < int(edited.notes[0]["neurons"]) < 200  # type: ignore[arg-type]
