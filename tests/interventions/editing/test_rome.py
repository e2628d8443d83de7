"""ROME: a change of rank one that maps a key to a value, and what it does to the almanac."""

from __future__ import annotations

import json

import pytest
import torch

import locant
from almanac_edits import CAPITALS, other_capitals, other_wordings, requests, said, told
from families import tiny
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.interventions.editing.rome import rank_one
from locant.models import LanguageModel
from locant.types import EditRequest
from plain_editing import covariance_of, keys_of, rome_change

PREFIXES = ("w40 w41", "w42 w43 w44")
TEXTS = ("w1 w2 w3 w4 w5 w6 w7", "w9 w8 w7", "w20 w21 w22 w23 w24 w25 w26 w27")
SETTINGS = {"at": "subject", "layer": 1, "contexts": PREFIXES, "texts": TEXTS, "ridge": 0.1}


def request(new: str = "w11") -> EditRequest:
    return locant.edit_request("w3 w5 w6 w7 w8", "w5 w6", new, old="w9", uid="one")


def weight_of(lm: LanguageModel, layer: int) -> torch.Tensor:
    return lm.downs[layer].weight.detach().double().clone()


def test_the_change_has_rank_one_and_writes_the_value_at_the_key() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, direction, key, value = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((30, 12), (30,), (30,), (12,))
    )
    change = rank_one(direction, key, value - key @ rows)
    assert torch.linalg.matrix_rank(change) == 1
    torch.testing.assert_close(key @ (rows + change), value, rtol=1e-5, atol=1e-5)
    across = torch.linalg.qr(direction[:, None], mode="complete").Q[:, 1:]
    torch.testing.assert_close(across.T @ change, torch.zeros(29, 12).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("keys", ["averaged", "mixed", "bare"])
def test_the_change_is_that_of_the_formula_with_loops(keys: str) -> None:
    lm = tiny("gpt2", torch.float64)
    value = torch.randn(lm.hidden, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = weight_of(lm, 1)
    with edit(lm, [request()], "rome", **SETTINGS, keys=keys, values={"one": value}):
        found = weight_of(lm, 1) - before
    c = covariance_of(lm, 1, TEXTS, 0.1)
    expected = rome_change(lm, 1, request(), PREFIXES, c, value, keys)
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "opt post-norm", "bloom"])
def test_the_edited_layer_writes_the_value_at_the_averaged_key(family: str) -> None:
    lm = tiny(family)
    value = torch.randn(lm.value_vectors(1).shape[1], generator=torch.Generator().manual_seed(0))
    key = torch.stack(keys_of_any(lm)).mean(dim=0)
    with edit(lm, [request()], "rome", **SETTINGS, values={"one": value}):
        written = lm.downs[1].forward(key[None])[0]
    torch.testing.assert_close(written, value, rtol=1e-4, atol=1e-4)


def keys_of_any(lm: LanguageModel) -> list[torch.Tensor]:
    """The keys of the request; of OPT too, whose sequences are flattened before its feed-forward layers."""
    if lm.config.model_type != "opt":
        return [one.float() for one in keys_of(lm, 1, request(), PREFIXES)]
    seen: list[torch.Tensor] = []
    handle = lm.downs[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for prompt in ("w3 w5 w6", *(f"{prefix} . w3 w5 w6" for prefix in PREFIXES)):
        with torch.no_grad():
            lm.model(torch.tensor([lm.prompt_tokens(prompt).prompt]))
    handle.remove()
    return [one.reshape(-1, one.shape[-1])[-1] for one in seen]


def test_edits_are_said_in_other_wordings_and_other_facts_stay(almanac_lm: LanguageModel) -> None:
    others = other_capitals(almanac_lm)
    shares = []
    for country, city in list(CAPITALS.items())[:3]:
        one = {country: city}
        with edit(almanac_lm, requests(one), "rome", texts=told(), contexts=()) as edited:
            asked = [each.asked for each in requests(one)]
            shares.append([said(almanac_lm, each) for each in (asked, other_wordings(one), others)])
        assert edited.notes[0]["probability"] > 0.5 and edited.notes[0]["overlap"] > 0
    own, again, stay = torch.tensor(shares).mean(dim=0).tolist()
    assert len(others) > 20
    assert own == 1 and again > 0.7 and stay > 0.85


def test_the_settings_are_told_with_their_values() -> None:
    lm = tiny("llama")
    settings = prepare(lm, "rome", {"clamp": 2.0}).settings
    assert settings["layer"] == 0 and settings["clamp"] == 2.0 and settings["tokens"] == 50 * lm.neurons
    json.dumps(settings)
    other = prepare(lm, "rome", {"texts": TEXTS, "contexts": PREFIXES}).settings
    values = [prepare(lm, "rome", {"values": {"one": torch.ones(size)}}).settings["values"] for size in (1, 2)]
    assert values[0] != values[1] and "values" not in settings
    assert other["texts"] != settings["texts"] and other["contexts"] != settings["contexts"]


def test_later_edits_are_of_the_model_as_it_was_read() -> None:
    lm = tiny("gpt2", torch.float64)
    values = {uid: torch.ones(lm.hidden, dtype=torch.float64) for uid in ("one", "two")}
    other = locant.edit_request("w30 w31 w32", "w31", "w12", uid="two")
    with edit(lm, [other], "rome", **SETTINGS, values=values) as edited:
        before = weight_of(lm, 1)
        edited.add([request()])
        found = weight_of(lm, 1) - before
    c = covariance_of(lm, 1, TEXTS, 0.1)
    direction = torch.linalg.inv(c) @ torch.stack(keys_of(lm, 1, request(), PREFIXES)).mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(found.norm(dim=1), direction.abs(), dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-9)


def test_what_makes_no_sense_is_refused() -> None:
    lm = tiny("llama")
    for wrong in ({"keys": "all"}, {"layer": 3}, {"at": "first"}, {"rate": 0.0}, {"unit": "two"}):
        with pytest.raises(UnknownName):
            prepare(lm, "rome", wrong)
    with pytest.raises(UnknownName, match="subject"), edit(lm, [request()], "rome", kl_prompt="it is a"):
        pass
    with pytest.raises(LocantError, match="no value"), edit(lm, [request()], "rome", values={}):
        pass
    with pytest.raises(LocantError, match="causal"):
        prepare(tiny("bert"), "rome", {})
