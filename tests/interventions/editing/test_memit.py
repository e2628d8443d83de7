"""MEMIT: what is missing at a block, spread over the layers up to it."""

from __future__ import annotations

import pytest
import torch

import locant
from almanac_edits import other_capitals, other_wordings, requests, said, told
from families import tiny
from locant.cli.run.shared import settings_of_editors
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.interventions.editing.memit import least
from locant.interventions.editing.rome import rank_one
from locant.models import LanguageModel
from plain_editing import covariance_of, memit_changes, residual_of

PREFIXES = ("w40 w41", "w42 w43 w44")
TEXTS = ("w1 w2 w3 w4 w5 w6 w7", "w9 w8 w7", "w20 w21 w22 w23 w24 w25 w26 w27")
SETTINGS = {"at": "subject", "layers": (0, 1), "contexts": PREFIXES, "texts": TEXTS, "ridge": 0.1}
REQUESTS = [
    locant.edit_request("w3 w5 w6 w7 w8", "w5 w6", "w11", uid="one"),
    locant.edit_request("w30 w31 w32", "w31", "w12", uid="two"),
    locant.edit_request("w33 w34", "w33", "w13 w14", uid="three"),
]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wanted(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {one.uid: random(lm.hidden, seed=index) for index, one in enumerate(REQUESTS)}


def well(size: int) -> torch.Tensor:
    """A covariance."""
    keys = random(size, 3 * size, seed=9)
    return keys @ keys.T / (3 * size)


def test_the_change_is_the_closed_form() -> None:
    c, keys, part = well(20), random(5, 20), random(5, 7, seed=1)
    found = least(lambda some: torch.linalg.solve(c, some), keys, part, 3.0)
    expected = part.T @ keys @ torch.linalg.inv(3.0 * c + keys.T @ keys)
    torch.testing.assert_close(found, expected.T)


def test_one_request_of_hardly_any_weight_of_what_is_known_is_romes() -> None:
    c, key, more = well(20), random(20), random(7, seed=1)
    found = least(lambda some: torch.linalg.solve(c, some), key[None], more[None], 1e-12)
    torch.testing.assert_close(found, rank_one(torch.linalg.solve(c, key), key, more))


def test_the_changes_are_those_of_the_formula_with_loops() -> None:
    lm = tiny("gpt2", torch.float64)
    before = [down.weight.detach().clone() for down in lm.downs]
    with edit(lm, REQUESTS, "memit", **SETTINGS, weight=2.0, values=wanted(lm)):
        found = [down.weight.detach() - was for down, was in zip(lm.downs, before, strict=True)]

    known = {layer: covariance_of(lm, layer, TEXTS, 0.1) for layer in (0, 1)}

    def solve(layer: int, keys: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
        return missing @ keys.T @ torch.linalg.inv(2.0 * known[layer] + keys @ keys.T)

    expected = memit_changes(lm, (0, 1), REQUESTS, PREFIXES, list(wanted(lm).values()), solve)
    for layer in (0, 1):
        assert float((found[layer] - expected[layer]).norm() / expected[layer].norm()) < 1e-6
    assert not found[2].any()


@pytest.mark.parametrize("family", ["llama", "gpt2", "stablelm parallel", "granite"])
def test_the_last_layer_leaves_what_is_wanted_where_nothing_known_weighs(family: str) -> None:
    lm = tiny(family)
    values = {uid: one.float() for uid, one in wanted(lm).items()}
    settings = SETTINGS | {"contexts": (), "weight": 1e-9}
    with edit(lm, REQUESTS, "memit", **settings, values=values) as edited:
        for one in REQUESTS:
            torch.testing.assert_close(residual_of(lm, 1, one).float(), values[one.uid], rtol=1e-3, atol=1e-3)
    assert all(note["missing"] < 1e-2 for note in edited.notes)


def test_rewriting_leaves_the_model_as_it_was() -> None:
    lm = tiny("llama")
    before = {name: one.clone() for name, one in lm.model.named_parameters()}
    editor = prepare(lm, "memit", {"layers": (0, 1)})
    assert len(editor.rewrite(REQUESTS).weights) == 2
    assert all(torch.equal(one, before[name]) for name, one in lm.model.named_parameters())


@pytest.mark.slow
def test_many_facts_are_said_and_other_facts_stay(almanac_lm: LanguageModel) -> None:
    others, asked = other_capitals(almanac_lm), requests()
    with edit(almanac_lm, asked, "memit", texts=told(), contexts=()) as edited:
        assert said(almanac_lm, [one.asked for one in asked]) > 0.8
        assert said(almanac_lm, other_wordings()) > 0.6
        assert len(others) > 20 and said(almanac_lm, others) > 0.8
    assert [note["uid"] for note in edited.notes] == [one.uid for one in asked]


def test_what_is_missing_after_an_edit_is_told() -> None:
    lm = tiny("llama")
    values = {uid: one.float() for uid, one in wanted(lm).items()}
    with edit(lm, REQUESTS, "memit", **SETTINGS, weight=1000.0, values=values) as edited:
        for one, note in zip(REQUESTS, edited.notes, strict=True):
            missing = values[one.uid].double() - residual_of(lm, 1, one)
            assert note["missing"] == pytest.approx(float(missing.norm()), rel=1e-4)
            assert note["missing"] > 1


def test_what_makes_no_sense_is_refused() -> None:
    lm = tiny("llama")
    for wrong in ({"layers": (1, 0)}, {"layers": ()}, {"layers": (0, 3)}, {"weight": 0.0}):
        with pytest.raises(UnknownName):
            prepare(lm, "memit", wrong)
    for family in ("gemma2", "opt post-norm"):
        with pytest.raises(LocantError, match="norm"):
            prepare(tiny(family), "memit", {})


def test_requests_with_the_same_keys_are_refused_where_no_weight_tells_them_apart() -> None:
    key = random(20)
    with pytest.raises(LocantError, match="same keys"):
        least(lambda some: some, torch.zeros(2, 20).double(), random(2, 7), 0.0)
    assert least(lambda some: some, torch.stack([key, key]), random(2, 7), 1.0).isfinite().all()


@pytest.mark.parametrize("method", ["memit", "alphaedit"])
def test_layers_can_be_words_with_commas_between(method: str) -> None:
    lm = tiny("llama")
    assert prepare(lm, method, {"layers": "0, 1"}).settings == prepare(lm, method, {"layers": (0, 1)}).settings
    assert settings_of_editors([f"{method}.layers=0,1"], 0)[method]["layers"] == "0,1"
    with pytest.raises(UnknownName, match="not 'one'"):
        prepare(lm, method, {"layers": "one"})
