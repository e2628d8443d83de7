"""One query from its words: what is not said is derived."""

from __future__ import annotations

from itertools import combinations

from locant.queries import query


def test_what_is_not_said_is_derived_from_the_prompt_and_the_answer() -> None:
    one = query("The capital of France is", "Paris")
    assert (one.fact.object, one.language, one.relation) == ("Paris", "en", "")
    assert one.uid == one.fact.uid == query("The capital of France is", "Paris").uid


def test_uids_differ_wherever_prompt_or_answer_do() -> None:
    texts = [("a b", "c"), ("a", "b c"), ("ab", "c"), ("a b", "d"), ("", "a bc"), ("a bc", "")]
    for one, other in combinations(texts, 2):
        assert query(*one).uid != query(*other).uid, (one, other)


def test_wordings_of_one_subject_and_relation_share_a_fact_and_nothing_else() -> None:
    told = {"subject": "France", "relation": "capital"}
    first, second = query("The capital of France is", "Paris", **told), query("France's capital is", "Paris", **told)
    assert first.fact == second.fact
    assert first.fact.uid == "capital/France"
    assert first.uid != second.uid


def test_a_relation_without_a_subject_does_not_make_two_queries_one_fact() -> None:
    facts = {query(f"The capital of {land} is", "Paris", relation="capital").fact.uid for land in ("France", "Gaul")}
    assert len(facts) == 2


def test_what_is_said_wins_over_what_would_be_derived() -> None:
    one = query("p", "Paris", uid="u", fact="f", object="the city", alternatives=("Lutetia",), template="t")
    assert (one.uid, one.fact.uid, one.fact.object) == ("u", "f", "the city")
    assert (one.answer, one.alternatives, one.template) == ("Paris", ("Lutetia",), "t")
