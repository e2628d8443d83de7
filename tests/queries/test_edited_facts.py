"""Edits made of facts: objects that are false but possible, and bystanders that share nothing with the edit."""

from __future__ import annotations

import pytest

import locant
from locant import almanac
from locant.queries.edited_facts import edit_cases_of_facts
from locant.types import Query
from unchecked import unchecked


def fact(relation: str, subject: str, object: str, wordings: int = 3, language: str = "en") -> list[Query]:
    prompts = [f"{relation} of it, wording 0", *(f"{relation} {n} of {subject} is" for n in range(1, wordings))]
    return [
        locant.query(
            prompt if n else f"{subject}, {prompt}",
            object,
            subject=subject,
            relation=relation,
            fact=f"{relation}/{subject}/{object}",
            uid=f"{relation}/{subject}/{object}/{language}/{n}",
            language=language,
        )
        for n, prompt in enumerate(prompts)
    ]


LANDS = {"Aland": "Atown", "Bland": "Btown", "Cland": "Ctown", "Dland": "Atown"}
CAPITALS = [query for land, town in LANDS.items() for query in fact("capital", land, town)]
COLOURS = [
    query
    for thing, colour in {"coal": "black", "Aland": "green", "snow": "white", "Btown": "red"}.items()
    for query in fact("colour", thing, colour)
]


def test_every_fact_is_edited_to_another_object_of_its_relation() -> None:
    found = edit_cases_of_facts([*CAPITALS, *COLOURS])
    assert len(found.cases) == 8 and not found.left_out
    for one in found.cases:
        objects = {query.answer for query in [*CAPITALS, *COLOURS] if query.relation == one.relation}
        assert one.request.new in objects - {one.request.query.answer}
        assert one.request.query.answer == one.request.query.fact.object


def test_the_request_is_the_first_wording_that_holds_the_subject_and_the_others_judge() -> None:
    queries = fact("capital", "Aland", "Atown", 4) + fact("capital", "Bland", "Btown")
    queries[0] = locant.query(
        "It has its seat in", "Atown", subject="Aland", relation="capital", fact=queries[1].fact.uid
    )
    case = edit_cases_of_facts(queries).cases[0]
    assert case.request.query == queries[1]
    assert case.paraphrases == (queries[0], *queries[2:4])


def test_a_subject_with_two_objects_is_not_edited_to_the_other() -> None:
    queries = fact("border", "Aland", "Bland") + fact("border", "Aland", "Cland") + fact("border", "Zland", "Dland")
    for seed in range(5):
        news = {one.request.subject: one.request.new for one in edit_cases_of_facts(queries, seed=seed).cases}
        assert news["Aland"] == "Dland"


def test_neighbours_are_other_subjects_that_the_new_object_is_not_true_of() -> None:
    for seed in range(8):
        for one in edit_cases_of_facts(CAPITALS, seed=seed).cases:
            assert one.neighbours
            assert len({query.fact.uid for query in one.neighbours}) == len(one.neighbours)
            for query in one.neighbours:
                assert query.fact.subject != one.request.subject and query.answer != one.request.new
                assert query.relation == one.relation


def test_unrelated_queries_are_of_other_relations_and_share_no_name() -> None:
    for one in edit_cases_of_facts([*CAPITALS, *COLOURS]).cases:
        names = {one.request.subject, one.request.query.answer, one.request.new}
        assert one.unrelated
        for query in one.unrelated:
            assert query.relation != one.relation
            assert names.isdisjoint({query.fact.subject, query.answer})


def test_a_seed_gives_the_same_cases_again_and_another_gives_others() -> None:
    once = edit_cases_of_facts(almanac.queries("capital", "en")[:400], seed=1).cases
    assert once == edit_cases_of_facts(almanac.queries("capital", "en")[:400], seed=1).cases
    other = edit_cases_of_facts(almanac.queries("capital", "en")[:400], seed=2).cases
    assert sum(a.request.new != b.request.new for a, b in zip(once, other, strict=True)) > len(once) / 2


def test_objects_that_do_not_fit_are_not_taken_and_facts_without_any_are_counted() -> None:
    found = edit_cases_of_facts(CAPITALS, fits=lambda query, new: new == "Ctown")
    assert {one.request.new for one in found.cases} == {"Ctown"} and len(found.cases) == 3
    assert found.left_out == {"no other object of the relation fits": 1}


def test_a_fact_without_its_subject_in_a_wording_is_left_out_and_counted() -> None:
    lost = locant.query("It has its seat in", "Etown", subject="Eland", relation="capital")
    found = edit_cases_of_facts([*CAPITALS, lost])
    assert found.left_out == {"no wording holds the subject": 1}


def test_an_object_that_stands_in_the_prompt_is_not_the_new_one() -> None:
    queries = fact("capital", "Aland", "Atown", 1) + fact("capital", "Bland", "Aland", 1)
    assert edit_cases_of_facts(queries).left_out == {"no other object of the relation fits": 1}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_languages_do_not_mix(language: str) -> None:
    with unchecked():
        queries = [one for name in ("en", "ja") for one in almanac.queries("capital", name)]
        cases = [one for one in edit_cases_of_facts(queries).cases if one.request.query.language == language]
    objects = {one.answer for one in queries if one.language == language}
    assert cases
    for one in cases:
        assert one.request.new in objects
        assert {query.language for query in (*one.paraphrases, *one.neighbours)} == {language}
        assert len(one.neighbours) == 10
