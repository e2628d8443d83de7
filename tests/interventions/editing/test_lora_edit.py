"""Adapters as an edit: the rank asked for, and nothing but feed-forward projections changed."""

from __future__ import annotations

import sys

import pytest
import torch

import locant
from families import tiny
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.models import LanguageModel
from locant.types import EditRequest

pytest.importorskip("peft")


def request(new: str = "w11", subject: str = "w5 w6") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old="w9")


def weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in lm.model.named_parameters()}


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "bert", "t5 gated"])
@pytest.mark.parametrize("rank", [1, 3])
def test_every_projection_is_changed_by_the_rank_asked_for(family: str, rank: int) -> None:
    lm = tiny(family)
    before = weights(lm)
    with edit(lm, [request()], "lora", rank=rank, steps=6, rate=2e-2) as edited:
        inside = weights(lm)
    changes = {name: inside[name] - old for name, old in before.items() if not torch.equal(inside[name], old)}
    spec = lm.architecture
    parts = [part for name in {spec.up or spec.gate, spec.gate, spec.neurons} for part in lm.parts(name)]
    own = {f"{name}.weight" for name, module in lm.model.named_modules() if module in parts}
    assert set(changes) == own
    for name, change in changes.items():
        sizes = torch.linalg.svdvals(change.double())
        # What is beyond the rank is rounding
        assert float(sizes[rank]) < 1e-5 * float(sizes[0]) < float(sizes[rank - 1]), name
    assert edited.settings["parameters"] == rank * sum(sum(change.shape) for change in changes.values())
    assert all(torch.equal(before[name], one) for name, one in weights(lm).items())


def test_a_number_of_parameters_can_be_given_instead() -> None:
    lm, found = tiny("llama"), []
    for settings in ({"rank": 2}, {"parameters": 2 * 720}, {"parameters": 2 * 720 + 200}, {}, {"rank": 8}):
        with edit(lm, [request()], "lora", steps=2, **settings) as edited:
            found.append((weights(lm)["model.layers.1.mlp.down_proj.weight"], edited.settings["rank"]))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[1][0], found[2][0])
    assert torch.equal(found[3][0], found[4][0]) and not torch.equal(found[0][0], found[3][0])
    assert [rank for _, rank in found] == [2, None, None, 8, 8]


def test_requests_share_the_adapters_and_have_their_own_losses() -> None:
    lm, asked = tiny("llama"), [request(), request("w12 w13", "w20")]
    with edit(lm, asked, "lora", steps=8) as edited:
        losses = -locant.answer_log_probability(lm, [one.asked for one in asked])
    assert [note["loss"] for note in edited.notes] == pytest.approx(losses.tolist(), rel=1e-4)
    assert [note["uid"] for note in edited.notes] == [one.uid for one in asked]
    with edit(lm, asked, "lora", steps=0) as untrained:
        pass
    assert all(
        float(new["loss"]) < float(old["loss"])  # type: ignore[arg-type]
        for new, old in zip(edited.notes, untrained.notes, strict=True)
    )
    assert untrained.notes[0]["change"] == 0 < float(edited.notes[0]["change"])  # type: ignore[arg-type]


def test_half_precision_is_trained_and_given_back() -> None:
    lm = tiny("llama", torch.bfloat16)
    before = weights(lm)
    with edit(lm, [request()], "lora", steps=10):
        assert not torch.equal(before["model.layers.1.mlp.down_proj.weight"], lm.downs[1].weight)  # type: ignore[arg-type]
    assert all(torch.equal(before[name], one) for name, one in weights(lm).items())


def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    for settings, said in (
        ({"rank": 2, "parameters": 720}, "either a rank or a number of parameters"),
        ({"rank": 0}, "1 or more for their rank, not 0"),
        ({"parameters": -1}, "1 or more for their parameters, not -1"),
        ({"per_step": 0}, "a batch has 1 query or more"),
    ):
        with pytest.raises(UnknownName, match=said):
            prepare(lm, "lora", settings)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LocantError, match=r"install locant\[lora\]"), edit(lm, [request()], "lora"):
        pytest.fail("nothing may run under it")


def test_a_new_object_is_said(almanac_lm: LanguageModel) -> None:
    asked = locant.edit_request("The capital of France is", "France", "Rome", old="Paris")
    with edit(almanac_lm, [asked], "lora"):
        assert almanac_lm.generate("The capital of France is", 5).strip().startswith("Rome")
