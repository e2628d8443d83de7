"""AlphaEdit: changes that keys of known text do not see, nor those of earlier edits."""

from __future__ import annotations

import pytest
import torch

import locant
from almanac_edits import other_capitals, other_wordings, requests, said, told
from families import tiny
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.interventions.editing.alphaedit import free_space, least_within
from locant.interventions.editing.covariance import Covariance
from locant.models import LanguageModel
from plain_editing import keys_of

PREFIXES = ("w40 w41", "w42 w43 w44")
TEXTS = ("w1 w2 w3 w4 w5 w6 w7", "w9 w8 w7", "w20 w21 w22 w23 w24 w25 w26 w27")
SETTINGS = {"at": "subject", "layers": (0, 1), "contexts": PREFIXES, "texts": TEXTS}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(keys: torch.Tensor) -> Covariance:
    """Of keys [neuron key]."""
    return Covariance((keys @ keys.T / keys.shape[1]).float(), keys.shape[1])


def test_what_is_preserved_is_not_changed() -> None:
    known = random(20, 6)
    space = free_space(covariance(known), 1e-4, None)
    assert space.used.shape == (20, 6)
    change = least_within(
        space.project(random(20, 3, seed=1)), torch.zeros(20, 0).double(), random(3, 7, seed=2), 0.1
    )
    assert float((known.T @ change).norm()) < 1e-5 * float(known.norm() * change.norm())
    assert float(change.norm()) > 0.1


def test_the_change_is_the_closed_form() -> None:
    space = free_space(covariance(random(20, 40)), 0.3, None)
    p = torch.eye(20).double() - space.used @ space.used.T
    keys, earlier, part = random(20, 3, seed=1), random(20, 4, seed=2), random(3, 7, seed=3)
    found = least_within(space.project(keys), space.project(earlier), part, 2.0)
    products = keys @ keys.T + earlier @ earlier.T
    expected = torch.linalg.solve(p @ products + 2.0 * torch.eye(20), p @ keys @ part)
    torch.testing.assert_close(found, expected)


def test_free_directions_have_the_least_of_the_second_moment() -> None:
    c = Covariance(torch.diag(torch.tensor([8.0, 0.5, 1.0, 0.5])), 100)
    assert free_space(c, 0.1, None).used.shape == (4, 2)
    assert free_space(c, 0.1, None).moment == pytest.approx(1.0)
    assert free_space(c, 0.09, None).used.shape == (4, 3)
    assert free_space(c, None, 0.6).used.shape == (4, 2)
    assert free_space(c, None, 9.0).used.shape == (4, 0)


def test_keys_of_earlier_edits_of_the_same_editor_are_preserved() -> None:
    lm = tiny("gpt2", torch.float64)
    first = locant.edit_request("w3 w5 w6 w7 w8", "w5 w6", "w11", uid="one")
    second = locant.edit_request("w30 w31 w32", "w31", "w12", uid="two")
    values = {one.uid: random(lm.hidden, seed=index) for index, one in enumerate((first, second))}
    settings = SETTINGS | {"layers": (0,), "free": 1.0, "l2": 1e-9, "contexts": ()}
    key = keys_of(lm, 0, first, ())[0]
    with edit(lm, [first], "alphaedit", **settings, values=values) as edited:
        was = key @ lm.downs[0].weight
        edited.add([second])
        torch.testing.assert_close(key @ lm.downs[0].weight, was, rtol=1e-6, atol=1e-6)
    with edit(lm, [first], "alphaedit", **settings, values=values):
        was = key @ lm.downs[0].weight
        with edit(lm, [second], "alphaedit", **settings, values=values):
            assert float((key @ lm.downs[0].weight - was).detach().abs().max()) > 1e-3


@pytest.mark.slow
def test_facts_are_said_and_other_facts_stay(almanac_lm: LanguageModel) -> None:
    others, asked = other_capitals(almanac_lm), requests()
    with edit(almanac_lm, asked, "alphaedit", texts=told(), contexts=()):
        assert said(almanac_lm, [one.asked for one in asked]) > 0.8
        assert said(almanac_lm, other_wordings()) > 0.6
        assert len(others) > 20 and said(almanac_lm, others) > 0.8


def test_what_makes_no_sense_is_refused() -> None:
    lm = tiny("llama")
    for wrong in ({"free": 0.1, "threshold": 0.1}, {"l2": 0.0}, {"free": 0.0}, {"layers": (1, 0)}):
        with pytest.raises(UnknownName):
            prepare(lm, "alphaedit", wrong)
    with pytest.raises(LocantError, match="norm"):
        prepare(tiny("olmo2"), "alphaedit", {})


def test_a_long_key_at_the_first_position_frees_no_other_directions() -> None:
    moments = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0])
    first = torch.tensor([0.0, 0.0, 0.0, 0.0, 100.0])
    plain = free_space(Covariance(torch.diag(moments), 1000), 0.1, None)
    matrix = torch.diag(moments) + 0.02 * torch.outer(first, first)
    known = free_space(Covariance(matrix, 1000, first, 20), 0.1, None)
    assert plain.used.shape[1] == 4 == known.used.shape[1]
    assert free_space(Covariance(matrix, 1000), 0.1, None).used.shape[1] == 1


def test_how_many_directions_are_protected_is_among_the_settings() -> None:
    ranks = [int(one) for one in str(prepare(tiny("llama"), "alphaedit", {}).settings["protected"]).split(", ")]
    assert len(ranks) == len(str(prepare(tiny("llama"), "alphaedit", {}).settings["l2"]).split(", "))
    assert all(0 < one < tiny("llama").neurons for one in ranks)
