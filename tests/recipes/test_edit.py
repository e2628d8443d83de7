"""One fact rewritten: what is read of it before and after, and what must be spared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import locant
from families import tiny
from locant.errors import BadQuery
from locant.evaluations import read_answers
from locant.interventions.editing import apply_weights, edit
from locant.models import LanguageModel
from locant.recipes.edit import EditedOnce, edit_once, request_of

FRANCE = "The capital of France is"


@pytest.fixture(scope="module")
def edited() -> EditedOnce:
    lm = locant.load("almanac")
    return edit_once(lm, request_of(lm, FRANCE, "Rome"), method="ft_m", ask=["The capital of Italy is"])


def test_what_was_not_said_is_looked_up_or_asked_of_the_model(almanac_lm: LanguageModel) -> None:
    request = request_of(almanac_lm, FRANCE, "Rome")
    assert (request.subject, request.query.answer, request.new) == ("France", "Paris", "Rome")


def test_a_subject_that_nobody_names_is_asked_for(almanac_lm: LanguageModel) -> None:
    with pytest.raises(BadQuery, match="which part"):
        request_of(almanac_lm, "The capital of Atlantis is", "Rome", old="Paris")


def test_the_edited_wording_is_read_by_both_objects(edited: EditedOnce, almanac_lm: LanguageModel) -> None:
    own = edited.readings[0]
    request = edited.request
    before = read_answers(almanac_lm, [request.query, request.asked]).log_probability.exp().tolist()
    with edit(almanac_lm, [request], "ft_m"):
        after = read_answers(almanac_lm, [request.query, request.asked]).log_probability.exp().tolist()
        said = almanac_lm.generate(FRANCE, 12)
    assert own.old == pytest.approx((before[0], after[0])) and own.new == pytest.approx((before[1], after[1]))
    assert own.said == (almanac_lm.generate(FRANCE, 12), said) and said.split()[0].startswith("Rome")


def test_other_prompts_are_continued_and_have_no_objects(edited: EditedOnce) -> None:
    other = edited.readings[1]
    assert (other.prompt, other.old, other.new) == ("The capital of Italy is", None, None)
    assert other.said[0].split()[0].startswith("Rome")


def test_what_must_be_spared_is_of_the_relation_and_of_others_and_never_the_fact_itself(edited: EditedOnce) -> None:
    near, far = edited.spared
    assert (near.asked, far.asked) == ("other facts of the relation", "facts of other relations")
    assert near.kept.n >= 30 and far.kept.n == 60
    assert 0 <= near.kept.low <= near.kept.mean <= near.kept.high <= 1


def test_an_edit_of_nothing_keeps_everything_as_it_is(almanac_lm: LanguageModel) -> None:
    request = request_of(almanac_lm, FRANCE, "Rome")
    kept = edit_once(almanac_lm, request, method="ft_m", settings={"steps": 0})
    assert all(one.kept.mean == 1 and one.change.mean == 0 for one in kept.spared)
    assert kept.readings[0].new is not None and kept.readings[0].new[0] == kept.readings[0].new[1]


def test_what_is_saved_is_the_edit(almanac_lm: LanguageModel, tmp_path: Path) -> None:
    request, place = request_of(almanac_lm, FRANCE, "Rome"), tmp_path / "edit.safetensors"
    found = edit_once(almanac_lm, request, method="ft_m", model_to=tmp_path / "model", weights_to=place)
    with apply_weights(almanac_lm, place) as made_by:
        again = almanac_lm.generate(FRANCE, 12)
    saved = locant.load(str(tmp_path / "model"))
    assert again == saved.generate(FRANCE, 12) == found.readings[0].said[1]
    assert made_by == found.made_by


def test_a_model_that_knows_nothing_of_the_almanac_can_be_edited() -> None:
    lm = tiny("gpt2")
    before = {name: one.clone() for name, one in lm.model.named_parameters()}
    request = locant.edit_request("w3 w5 w6 w7", "w5 w6", "w11", old="w9")
    found = edit_once(lm, request, method="ft_m")
    assert found.readings[0].new is not None and found.readings[0].new[1] > found.readings[0].new[0]
    assert all(torch.equal(before[name], one) for name, one in lm.model.named_parameters())
