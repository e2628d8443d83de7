"""Queries of one fact are put together by language, and only complete facts are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import locant.almanac as almanac
from locant.errors import BadQuery, UnknownName
from locant.queries.parallel import ParallelFact, align, gather_parallel, said
from locant.types import Fact, Query


def ask(uid: str, language: str, number: int = 0, relation: str = "P36", answer: str = "Paris") -> Query:
    fact = Fact(uid, "s", relation, answer, language)
    return Query(f"{uid}/{language}/{number}", fact, f"{language} {number}", answer)


def uids(facts: Sequence[ParallelFact]) -> dict[str, dict[str, list[str]]]:
    return {one.uid: {name: [q.uid for q in asked] for name, asked in one.queries.items()} for one in facts}


MIXED = [ask("b", "fr"), ask("a", "en"), ask("b", "en", 1), ask("b", "en", 0), ask("c", "ja"), ask("a", "en", 5)]


def test_without_languages_every_fact_keeps_those_it_has_in_the_order_they_appear() -> None:
    assert uids(gather_parallel(iter(MIXED))) == {
        "b": {"fr": ["b/fr/0"], "en": ["b/en/1", "b/en/0"]},
        "a": {"en": ["a/en/0", "a/en/5"]},
        "c": {"ja": ["c/ja/0"]},
    }
    assert [one.uid for one in gather_parallel(MIXED)] == ["b", "a", "c"]
    assert gather_parallel([*MIXED, ask("c", "en")])[2].languages == ("en", "ja")


def test_only_facts_in_every_language_asked_for_are_kept_and_only_those_languages() -> None:
    assert uids(gather_parallel(MIXED, ["en", "fr"])) == {"b": {"en": ["b/en/1", "b/en/0"], "fr": ["b/fr/0"]}}
    for order in (("en", "fr"), ("fr", "en")):
        assert [one.languages for one in gather_parallel(MIXED, order)] == [order]
    assert list(uids(gather_parallel(MIXED, ["en"]))) == ["b", "a"]


def test_a_fact_needs_enough_queries_in_each_language() -> None:
    assert uids(gather_parallel(MIXED, ["en"], least=2)).keys() == {"a", "b"}
    assert gather_parallel(MIXED, ["en", "fr"], least=2) == ()
    assert uids(gather_parallel(MIXED, least=2)) == {
        "b": {"en": ["b/en/1", "b/en/0"]},
        "a": {"en": ["a/en/0", "a/en/5"]},
    }


def test_a_fact_says_its_answer_in_each_language() -> None:
    fact = ParallelFact(
        "x", "P36", {"en": (ask("x", "en", answer="Pekin"),), "fr": (ask("x", "fr", answer="Pékin"),)}
    )
    assert fact.answers == {"en": "Pekin", "fr": "Pékin"}
    assert said(Query("q", Fact("x"), "p", "A letter")) == "A letter"
    assert said(Query("q", Fact("x", object="Rome"), "p", "A")) == "Rome"


def test_aligned_languages_have_as_many_queries_as_the_poorest_and_its_first_ones() -> None:
    (fact,) = gather_parallel([ask("x", "en", n) for n in (3, 1, 2)] + [ask("x", "fr", n) for n in (9, 8)])
    aligned = align(fact)
    assert uids([aligned]) == {"x": {"en": ["x/en/3", "x/en/1"], "fr": ["x/fr/9", "x/fr/8"]}}
    assert align(aligned) == aligned


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        ({"en": (ask("other", "en"),)}, "query 'other/en/0' is of the fact 'other' .* not of 'x'"),
        ({"en": (ask("x", "fr"),)}, "query 'x/fr/0' is of the fact 'x' .* in 'fr', not of 'x' .* in 'en'"),
        ({"en": (ask("x", "en", relation="P1"),)}, r"\('P1'\) in 'en', not of 'x' \('P36'\)"),
        ({"en": (ask("x", "en"),), "fr": ()}, "needs at least one language, and a query in each"),
        ({}, "needs at least one language"),
    ],
)
def test_a_fact_of_what_is_not_its_own_is_refused(queries: dict[str, tuple[Query, ...]], said: str) -> None:
    with pytest.raises(BadQuery, match=said):
        ParallelFact("x", "P36", queries)


def test_a_fact_in_two_relations_is_refused_when_it_is_gathered() -> None:
    with pytest.raises(BadQuery, match="'P1'"):
        gather_parallel([ask("x", "en"), ask("x", "fr", relation="P1")])


@pytest.mark.parametrize(
    ("languages", "least", "said"),
    [
        (["en", "tlh"], 1, "no language 'tlh'; known: fr, en, ja."),
        (["en", "en"], 1, "at least one, and each once, not en, en"),
        ([], 1, "at least one, and each once, not none"),
        (None, 0, "a fact has at least 1 query in a language, not 0"),
    ],
)
def test_what_cannot_be_gathered_is_refused(languages: list[str] | None, least: int, said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        gather_parallel(MIXED, languages, least=least)
    assert said in str(caught.value)


def test_the_almanacs_facts_are_parallel_in_its_languages() -> None:
    queries = [one for language in almanac.LANGUAGES for one in almanac.queries("capital", language)]
    facts = gather_parallel(queries, almanac.LANGUAGES)
    told = [{one.fact.uid for one in queries if one.language == language} for language in almanac.LANGUAGES]
    complete = set.intersection(*told)
    assert {one.uid for one in facts} == complete and len(complete) < len(set.union(*told))
    asked = {one.uid for fact in facts for some in fact.queries.values() for one in some}
    assert asked == {one.uid for one in queries if one.fact.uid in complete}
    (france,) = [one for one in facts if one.uid == "capital/france"]
    assert (france.answers["en"], france.answers["ja"]) == ("Paris", "パリ")
