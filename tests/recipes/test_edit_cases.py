"""What editing is tried on: every source, what fits the model, and what follows from an edit of the almanac."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import locant
from locant import almanac
from locant.errors import BadFile, UnknownName
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase
from locant.recipes.edit_cases import select_cases

SHARED = Path(__file__).parents[3] / "shared" / "data"
HEAD = "subject,prompt,old,new,neighbours,relation,uid"


def table(folder: Path, *lines: str) -> str:
    path = folder / "edits.csv"
    path.write_text("\n".join((HEAD, *lines)) + "\n", encoding="utf-8")
    return str(path)


def capital(land: str, old: str, new: str, neighbours: str = "", relation: str = "capital") -> str:
    return f"{land},The capital of {{}} is,{old},{new},{neighbours},{relation},{land}"


@pytest.fixture(scope="module")
def drawn() -> tuple[EditCase, ...]:
    """Thirty known facts of the almanac, to be edited."""
    return select_cases(locant.load("almanac"), "almanac", limit=30, known_only=True).cases


def test_the_almanacs_facts_are_drawn_evenly_and_known(
    drawn: tuple[EditCase, ...], almanac_lm: LanguageModel
) -> None:
    assert max(Counter(one.relation for one in drawn).values()) == 1
    requests = [one.request for one in drawn]
    assert locant.answer_rank(almanac_lm, [one.query for one in requests]).tolist() == [1] * 30
    for one in requests:
        old, new = (almanac_lm.tokens(asked).answers[0][0] for asked in (one.query, one.asked))
        assert old != new
    assert all(one.paraphrases and one.neighbours and len(one.unrelated) == 10 for one in drawn)
    assert Counter(len(one.neighbours) for one in drawn)[10] > 20


def test_a_larger_limit_adds_to_a_smaller_one(drawn: tuple[EditCase, ...], almanac_lm: LanguageModel) -> None:
    assert select_cases(almanac_lm, "almanac", limit=7, known_only=True).cases == drawn[:7]
    other = select_cases(almanac_lm, "almanac", limit=7, known_only=True, seed=1).cases
    assert {one.uid for one in other} != {one.uid for one in drawn[:7]}


def test_a_second_step_follows_from_an_edit_of_either(almanac_lm: LanguageModel) -> None:
    capitals = {one.fact.subject: one.answer for one in almanac.queries("capital", "en")}
    edits = select_cases(almanac_lm, "almanac", relations=["capital", "landmark_country"]).cases
    by_subject = {one.request.subject: one for one in edits}
    france = by_subject["France"]
    assert france.portability
    for query in france.portability:
        assert (query.answer, query.fact.object, query.relation) == (france.request.new, "Paris", "capital")
    tower = by_subject["Eiffel Tower"]
    asked = [query for query in tower.portability if query.relation == "capital"]
    assert asked and all("Eiffel Tower" in query.prompt for query in tower.portability)
    for query in asked:
        assert (query.answer, query.fact.object) == (capitals[tower.request.new.removeprefix("the ")], "Paris")
    assert len({query.uid for one in edits for query in one.portability}) == sum(
        len(one.portability) for one in edits
    )


def test_languages_without_questions_of_two_steps_have_none(almanac_lm: LanguageModel) -> None:
    found = select_cases(almanac_lm, "almanac", relations=["capital"], language="fr", limit=5).cases
    assert len(found) == 5 and not any(one.portability for one in found)
    assert {one.request.query.language for one in found} == {"fr"}


def test_bystanders_are_as_many_as_one_says(almanac_lm: LanguageModel) -> None:
    (one,) = select_cases(almanac_lm, "almanac", relations=None, limit=1, bystanders=3).cases
    assert (len(one.neighbours), len(one.unrelated)) == (3, 3)


def test_ones_own_edits_are_read_with_or_without_their_name(tmp_path: Path, almanac_lm: LanguageModel) -> None:
    place = table(tmp_path, capital("France", "Paris", "Rome"), capital("Spain", "Madrid", "Oslo"))
    assert select_cases(almanac_lm, place) == select_cases(almanac_lm, f"csv:{place}")
    assert {one.uid for one in select_cases(almanac_lm, place).cases} == {"France", "Spain"}


def test_what_does_not_fit_the_model_is_left_out_and_counted(tmp_path: Path, almanac_lm: LanguageModel) -> None:
    long = " ".join(["x"] * 600)
    place = table(
        tmp_path,
        capital("France", "Paris", "Rome", f"{long} => a|The capital of Peru is => Lima"),
        capital("Spain", "Madrid", "Madrid II"),
        capital("Italy", "Milan", "Oslo"),
        f"Peru,{{}} {long},Lima,Rome,,capital,Peru",
    )
    found = select_cases(almanac_lm, place, known_only=True)
    assert [one.uid for one in found.cases] == ["France"]
    assert [one.answer for one in found.cases[0].neighbours] == ["Lima"]
    assert found.left_out == {
        "both objects begin with the same token": 1,
        "the model does not say the old object": 1,
        "a request cannot be asked of this model": 1,
        "queries of the cases that cannot be asked of this model": 1,
    }
    assert {one.uid for one in select_cases(almanac_lm, place).cases} == {"France", "Italy"}


def test_relations_and_limits_hold_for_published_edits_too(tmp_path: Path, almanac_lm: LanguageModel) -> None:
    lines = [capital(land, "a", "b", relation=f"r{number % 2}") for number, land in enumerate("CDEFGH")]
    place = table(tmp_path, *lines)
    found = select_cases(almanac_lm, place, relations=["r1"]).cases
    assert {one.uid for one in found} == {"D", "F", "H"}
    assert Counter(one.relation for one in select_cases(almanac_lm, place, limit=4).cases) == {"r0": 2, "r1": 2}
    with pytest.raises(UnknownName, match=r"no relation 'r2' in .*; known: r0, r1"):
        select_cases(almanac_lm, place, relations=["r2"])
    with pytest.raises(UnknownName, match=r"no edit of .* is in 'fr'"):
        select_cases(almanac_lm, place, language="fr")


def test_an_alternative_that_cannot_be_spelt_costs_no_query(tmp_path: Path, almanac_lm: LanguageModel) -> None:
    rewrite = {
        "prompt": "The capital of {} is", "relation_id": "P36", "subject": "France", "question": "France's seat is",
        "target_new": {"str": "Rome"}, "target_true": {"str": "Paris"},
    }  # fmt: skip
    record = {
        "case_id": 1, "requested_rewrite": [rewrite], "questions": ["The Louvre is in the land of"],
        "answer": "Paris", "new_answer": "Rome", "new_answer_alias": [" ".join(["x"] * 600), "Roma"],
    }  # fmt: skip
    path = tmp_path / "mquake.json"
    path.write_text(json.dumps([record]))
    (one,) = select_cases(almanac_lm, f"mquake:{path}").cases
    assert [query.alternatives for query in one.portability] == [("Roma",)]


def test_zsre_takes_its_target_after_a_comma_and_knows_nothing_without_one(
    tmp_path: Path, almanac_lm: LanguageModel
) -> None:
    record = {
        "subject": "France", "src": "What is the capital of France?", "rephrase": "Which city rules France?",
        "alt": "Rome", "answers": ["Paris"], "loc": "nq question: who", "loc_ans": "he",
    }  # fmt: skip
    path = tmp_path / "zsre, 1.json"
    path.write_text(json.dumps([record]))
    assert select_cases(almanac_lm, f"zsre:{path},alt").cases[0].request.new == "Rome"
    assert select_cases(almanac_lm, f"zsre:{path}").cases[0].request.new == "Paris"
    with pytest.raises(UnknownName, match="these edits name no old objects"):
        select_cases(almanac_lm, f"zsre:{path}", known_only=True)


def test_what_is_no_source_is_told_which_there_are(almanac_lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no edits 'counterfacts'; there is almanac, counterfact:FILE"):
        select_cases(almanac_lm, "counterfacts")
    with pytest.raises(BadFile, match="no file"):
        select_cases(almanac_lm, f"counterfact:{tmp_path / 'none.json'}")
    with pytest.raises(UnknownName, match="a limit of 0 leaves no edits"):
        select_cases(almanac_lm, "almanac", limit=0)
    with pytest.raises(UnknownName, match=r"no edit of .* is left .*both objects begin with the same token: 1"):
        select_cases(almanac_lm, table(tmp_path, capital("Spain", "Madrid", "Madrid II")))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("counterfact", "counterfact/counterfact_500.json"),
        ("counterfact", "counterfact/counterfact-val.json"),
        ("zsre", "zsre/zsre_mend_train-1k.json"),
        ("mquake", "mquake/MQuAKE-hard.json"),
        ("pararel", "pararel"),
    ],
)
def test_published_edits_are_drawn(name: str, place: str, almanac_lm: LanguageModel) -> None:
    if not (SHARED / place).exists():
        pytest.skip(f"no {place} in {SHARED}")
    found = select_cases(almanac_lm, f"{name}:{SHARED / place}", limit=20)
    assert len(found.cases) == len({one.uid for one in found.cases}) == 20
    assert all(one.request.subject in one.request.query.prompt for one in found.cases)
