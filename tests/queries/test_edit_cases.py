"""Cases that are edited in one model: none contradicts another, and none is judged by what another edits."""

from __future__ import annotations

import locant
from locant.queries.edit_cases import EditCase, spared_by_all, without_conflicts
from locant.types import Fact, Query

CAPITAL = "capital"


def case(country: str, new: str, **queries: tuple[Query, ...]) -> EditCase:
    uid = f"{CAPITAL}/{country}/{new}"
    asked = locant.edit_request(f"The capital of {country} is", country, new, old="?", relation=CAPITAL, uid=uid)
    return EditCase(asked, **queries)  # type: ignore[arg-type]


def told(subject: str, relation: str = CAPITAL, prompt: str = "", fact: str = "") -> Query:
    uid = fact or f"{relation}/{subject}"
    return Query(f"{uid}/asked", Fact(uid, subject, relation, "?"), prompt or f"{subject} is governed from", "?")


def test_of_two_cases_that_contradict_each_other_the_first_is_edited() -> None:
    some = [case("France", "Rome"), case("Peru", "Oslo"), case("France", "Lima"), case("France", "Rome")]
    assert without_conflicts(some) == (some[0], some[1], some[3])


def test_a_bystander_that_another_case_edits_is_none() -> None:
    spain, peru, chad = told("Spain"), told("Peru"), told("Chad")
    first = case("France", "Rome", neighbours=(spain, peru), unrelated=(told("Peru", "continent"), peru))
    second = case("Peru", "Oslo", neighbours=(chad, told("France")))
    found = spared_by_all([first, second])
    assert found[0].neighbours == (spain,) and found[1].neighbours == (chad,)
    # Another relation of an edited subject is not edited
    assert found[0].unrelated == (told("Peru", "continent"),)
    assert spared_by_all([first])[0] == first


def test_a_bystander_is_known_by_its_fact_or_where_it_names_no_subject_by_its_prompt() -> None:
    by_fact = told("La France", "country", fact="capital/France")
    unnamed = told("", CAPITAL, "Peru is governed from", "neighbour/1")
    other = told("", CAPITAL, "Chad is governed from", "neighbour/2")
    first = case("France", "Rome", neighbours=(unnamed, other), unrelated=(by_fact,))
    found = spared_by_all([first, case("Peru", "Oslo")])[0]
    assert found.neighbours == (other,) and found.unrelated == ()


def test_without_relations_a_subject_in_the_prompt_is_enough() -> None:
    asked = EditCase(locant.edit_request("Peru has the capital", "Peru", "Oslo", uid="one"))
    first = EditCase(
        locant.edit_request("France has the capital", "France", "Rome", uid="two"),
        neighbours=(told("", "", "Peru lies in", "loc/1"), told("", "", "Chad lies in", "loc/2")),
    )
    assert [one.prompt for one in spared_by_all([first, asked])[0].neighbours] == ["Chad lies in"]
