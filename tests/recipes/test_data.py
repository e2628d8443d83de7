"""A recipe's data: every source read alike, facts drawn evenly, controls that share nothing with their facts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import locant
import plain
from families import WORDS, tiny, tokenizer
from locant import almanac
from locant.errors import BadFile, LocantError, UnknownName
from locant.queries import Kind, read_pararel, resolve_prompt
from locant.recipes.data import FactQueries, draw_facts, known, neighbours, read_data, unrelated

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "pararel"


def asked(relation: str, number: int, wordings: int = 3) -> FactQueries:
    """A made-up fact in some wordings."""
    name = f"{relation}{number}"
    queries = tuple(
        locant.query(
            f"{name} in the wording {n} is",
            f"object {name}",
            relation=relation,
            subject=f"subject {name}",
            uid=f"{name}/{n}",
        )
        for n in range(wordings)
    )
    return FactQueries(queries[0].fact, queries)


MANY = tuple(
    asked(relation, number) for relation, count in (("a", 20), ("b", 3), ("c", 20)) for number in range(count)
)


def refusal(call: object, error: type[LocantError] = UnknownName) -> str:
    """The one sentence a call is refused with."""
    assert callable(call)
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Sources


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_almanac_is_asked_in_every_sentence_of_one_language(language: str) -> None:
    queries = read_data("almanac", "causal", relations=["capital", "continent"], language=language)
    assert queries == tuple(
        query for name in ("capital", "continent") for query in almanac.queries(name, language, format="cloze")
    )
    held_out = {query.uid for query in almanac.queries("capital", language, held_out=True)}
    assert held_out < {query.uid for query in queries}
    assert {query.language for query in queries} == {language}


def test_a_masked_model_finds_the_almanacs_blank_at_the_end() -> None:
    query = read_data("almanac", "masked", relations=["capital"])[0]
    tokens = resolve_prompt(query, tokenizer(), "masked", 64)
    assert len(tokens.prompt) == len(query.prompt.split())
    assert tokens.suffix == (94,)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_pararel_is_read_for_the_kind_of_model(tmp_path: Path, kind: Kind) -> None:
    for relation in ("P36", "P37"):
        for part, row in (
            ("patterns", {"pattern": "[X] has [Y]."}),
            ("facts", {"sub_label": "a", "obj_label": "b", "uuid": relation}),
        ):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / f"{relation}.jsonl").write_text(json.dumps(row))
    assert read_data(f"pararel:{tmp_path}", kind) == read_pararel(tmp_path, kind=kind)
    assert [one.relation for one in read_data(f"pararel:{tmp_path}", kind, relations=["P37"])] == ["P37"]
    said = refusal(lambda: read_data(f"pararel:{tmp_path}", kind, language="fr"))
    assert said == "no language 'fr' in ParaRel; known: en."


def test_a_file_gives_its_queries_of_one_language_and_of_some_relations(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    queries = [
        locant.query("p", "a", relation="r", uid="1"),
        locant.query("q", "b", relation="s", uid="2"),
        locant.query("q", "b", relation="r", uid="3", language="fr"),
    ]
    locant.write_queries(path, queries)
    assert read_data(str(path), "causal") == tuple(queries[:2])
    assert read_data(str(path), "causal", language="fr") == (queries[2],)
    assert read_data(str(path), "masked", relations=["s"]) == (queries[1],)
    said = refusal(lambda: read_data(str(path), "causal", relations=["s"], language="fr"))
    assert said == f"no relation 's' in {path}; known: r."
    said = refusal(lambda: read_data(str(path), "causal", language="de"))
    assert said == f"no language 'de' in {path}; known: en, fr."


def test_a_relation_or_language_the_almanac_has_not_is_refused() -> None:
    said = refusal(lambda: read_data("almanac", "causal", relations=["capital", "P36"]))
    assert said.startswith("no relation 'P36' in the almanac in 'en'; known: ")
    assert "capital" in said
    assert refusal(lambda: read_data("almanac", "causal", language="eo")).startswith("no language 'eo'")


@pytest.mark.parametrize("source", ["", "almanack", "pararel", "pararel:", "no/such/folder", "almanac:capital"])
def test_a_source_that_is_none_is_told_what_there_is(source: str) -> None:
    assert refusal(lambda: read_data(source, "causal")) == (
        f"no data {source!r}; there is almanac, pararel:FOLDER (a copy of ParaRel), "
        "and any file of queries (.jsonl, .json, .csv, .parquet)"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [("none.jsonl", "no file 'none.jsonl'"), ("pararel:none", "no folder 'none'")],
)
def test_a_path_that_is_not_there_is_named(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: read_data(source, "causal"), BadFile) == said


# Neighbours


def test_the_queries_of_a_fact_are_neighbours_wherever_they_stand() -> None:
    first, second, third = asked("a", 0, 4), asked("a", 1, 2), asked("b", 0, 3)
    mixed = [*third.queries[:1], *first.queries, *second.queries, *third.queries[1:]]
    assert neighbours(mixed) == (third, first)
    assert neighbours(mixed, 2) == (third, first, second)
    assert neighbours(mixed, 5) == ()


def test_a_repeated_prompt_is_one_wording() -> None:
    fact = asked("a", 0, 2)
    again = locant.query(fact.queries[0].prompt, "object a0", relation="a", subject="subject a0", uid="again")
    assert neighbours([*fact.queries, again]) == ()
    assert neighbours([*fact.queries, again], 2) == (fact,)


def test_one_fact_with_two_objects_is_refused() -> None:
    queries = [locant.query(prompt, answer, fact="f") for prompt, answer in (("p", "Latin"), ("q", "Catalan"))]
    assert refusal(lambda: neighbours(queries), BadFile) == (
        "the queries of the fact 'f' have two objects, 'Latin' and 'Catalan'; "
        "give each fact its own name, or its queries one object"
    )


def test_every_fact_of_the_almanac_has_neighbours() -> None:
    queries = read_data("almanac", "causal", relations=["capital", "birthplace", "colour"])
    facts = neighbours(queries)
    assert {one.fact.uid for one in facts} == {query.fact.uid for query in queries}
    assert sum(len(one.queries) for one in facts) == len(queries)


# Drawing facts


@pytest.mark.parametrize(
    ("limit", "counts"), [(1, [1]), (2, [1, 1]), (6, [2, 2, 2]), (9, [3, 3, 3]), (13, [3, 5, 5]), (42, [3, 19, 20])]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_facts_are_drawn_as_evenly_as_the_relations_allow(limit: int, counts: list[int], seed: int) -> None:
    drawn = draw_facts(MANY, limit, seed)
    assert sorted(Counter(one.fact.relation for one in drawn).values()) == counts
    assert list(drawn) == [one for one in MANY if one in drawn]
    assert drawn == draw_facts(MANY, limit, seed)


def test_a_larger_limit_adds_to_a_smaller_one() -> None:
    for limit in range(1, len(MANY)):
        assert set(draw_facts(MANY, limit, 3)) < set(draw_facts(MANY, limit + 1, 3))


def test_seeds_draw_differently_and_relations_apart_from_each_other() -> None:
    assert len({draw_facts(MANY, 9, seed) for seed in range(20)}) > 15
    assert {draw_facts(MANY, 1, seed)[0].fact.relation for seed in range(40)} == {"a", "b", "c"}
    without = tuple(one for one in MANY if one.fact.relation != "b")
    both = draw_facts(MANY, 9, 0)
    assert draw_facts(without, 6, 0) == tuple(one for one in both if one.fact.relation != "b")


@pytest.mark.parametrize("limit", [None, 43, 1000])
def test_no_limit_or_a_large_one_leaves_all_facts(limit: int | None) -> None:
    assert draw_facts(MANY, limit, 0) == MANY


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing_is_refused(limit: int) -> None:
    assert refusal(lambda: draw_facts(MANY, limit, 0)) == f"a limit of {limit} leaves no facts; the least is 1"


# What the model answers


def plainly_answered(family: str, query: locant.Query) -> bool:
    """Whether a whole forward pass of its own puts each token of the answer first."""
    lm = tiny(family)
    with torch.no_grad():
        return all(
            int(lm.model(**inputs).logits[0, position].argmax()) == token
            for inputs, position, token in plain.read(family, lm, query)
        )


def guesses(family: str) -> list[FactQueries]:
    """Of each of 12 facts, four wordings with the answer that the model gives to the first of them."""
    lm, words = tiny(family), {f"w{number}" for number in range(90)}
    facts = []
    for number in range(12):
        prompts = [f"w{number} w{number + 20} w{number + 40 + n // 2} w{60 + n}" for n in range(4)]
        answer = next(text for text, _ in lm.top_answers(prompts[0], 90) if text in words)
        queries = [
            locant.query(prompt, answer, relation="r", subject=str(number), uid=f"{number}/{prompt}")
            for prompt in prompts
        ]
        facts.append(FactQueries(queries[0].fact, tuple(queries)))
    return facts


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
@pytest.mark.parametrize("least", [1, 2])
def test_known_facts_keep_the_wordings_that_a_plain_pass_answers(family: str, least: int) -> None:
    facts = guesses(family)
    expected = {
        one.fact: queries
        for one in facts
        if len(queries := tuple(query for query in one.queries if plainly_answered(family, query))) >= least
    }
    assert 0 < sum(map(len, expected.values())) < 48
    assert known(tiny(family), facts, least) == tuple(FactQueries(*pair) for pair in expected.items())


def test_what_cannot_be_asked_is_not_known() -> None:
    lm = tiny("llama")
    prompt = WORDS.short.prompt
    answer = lm.top_answers(prompt, 1)[0][0]
    queries = tuple(
        locant.query(text, said, fact="f", object="o", uid=text)
        for text, said in ((prompt, answer), ("w1 w2", "unheard-of"), ("w1 " * 80, "w1"))
    )
    facts = (FactQueries(queries[0].fact, queries),)
    assert known(lm, facts, 1) == (FactQueries(queries[0].fact, queries[:1]),)
    assert known(lm, facts, 2) == ()
    assert known(lm, ()) == ()


# Unrelated queries


@pytest.mark.parametrize("seed", range(5))
def test_an_unrelated_query_shares_neither_relation_nor_name_with_its_fact(seed: int) -> None:
    names = ["London", "Paris", "Rome", "Oslo"]
    facts = tuple(
        neighbours(
            [
                locant.query(f"{relation} {subject} {object}", object, relation=relation, subject=subject, fact=uid)
                for relation in ("r", "s", "t")
                for subject in names
                for object in ("paris", "rome", "Lima")
                for uid in (f"{relation}{subject}{object}",)
            ],
            1,
        )
    )
    found = unrelated(facts, seed)
    assert len(found) == len(facts)
    for one, query in zip(facts, found, strict=True):
        assert query.relation != one.fact.relation
        mine, others = ([fact.subject.casefold(), fact.object.casefold()] for fact in (one.fact, query.fact))
        assert set(mine).isdisjoint(others)
    assert found == unrelated(facts, seed)


def test_unrelated_queries_are_drawn_from_all_facts_and_all_their_wordings() -> None:
    drawn = Counter(query.uid for seed in range(120) for query in unrelated(MANY, seed))
    assert set(drawn) == {query.uid for one in MANY for query in one.queries}
    assert unrelated(MANY, 0) != unrelated(MANY, 1)


def test_one_relation_has_no_unrelated_queries() -> None:
    assert refusal(lambda: unrelated(MANY[:5], 0)) == (
        "unrelated queries are of another relation, but all facts are of 'a'"
    )
    assert unrelated((), 0) == ()


def test_a_fact_that_shares_a_name_with_all_others_is_refused() -> None:
    queries = [
        locant.query("p", "Rome", relation="r", subject="Italy"),
        locant.query("q", "Rome", relation="s", subject="Lazio"),
    ]
    said = refusal(lambda: unrelated(neighbours(queries, 1), 0))
    assert said == "no fact of another relation shares no name with 'r/Italy'; add a relation"


def test_the_published_pararel_goes_all_the_way() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no ParaRel in {PUBLISHED}")
    queries = read_data(f"pararel:{PUBLISHED}", "causal", relations=["P36", "P1376", "P37"])
    facts = neighbours(queries)
    assert {one.fact.relation for one in facts} == {"P36", "P1376"}  # P37 has one wording that ends with its object
    drawn = draw_facts(facts, 30, 0)
    assert Counter(one.fact.relation for one in drawn) == {"P36": 15, "P1376": 15}
    assert all(query.fact.uid != one.fact.uid for one, query in zip(drawn, unrelated(drawn, 0), strict=True))
