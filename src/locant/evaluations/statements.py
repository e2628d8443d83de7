"""Statements about facts, right and wrong: what fact-checking is tried on.

    train, test = split_facts(almanac.queries("capital", "en"))
    asked = statements(test, pool=train)

A statement is a query with an object of its relation as the answer: the right one, or another's.

Source: Chen et al. 2024, arXiv:2308.13198; how wrong objects are kept apart from right ones is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from locant.errors import UnknownName
from locant.types import Query


@dataclass(frozen=True)
class Statement:
    """A candidate for the answer to a query, as the query's answer; true if it is the right one."""

    query: Query
    true: bool


def split_facts(
    queries: Sequence[Query], share: float = 0.8, seed: int = 42
) -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """The queries of a share of each relation's facts, drawn at random, and those of the others.

    All wordings of a fact, in all languages, go to the same side. The share is rounded to whole facts, but where
    a relation has two facts or more, both sides get one. The draw does not depend on the order of the queries.

    Raises:
        UnknownName: the share makes no sense.
    """
    if not 0 < share < 1:
        raise UnknownName(f"a share of facts to split off is more than 0 and less than 1, not {share}")
    facts: dict[str, set[str]] = {}
    for query in queries:
        facts.setdefault(query.relation, set()).add(query.fact.uid)
    first: set[str] = set()
    for relation, uids in facts.items():
        count = min(max(round(share * len(uids)), 1), max(len(uids) - 1, 1))
        first |= set(Random(f"{seed}/{relation}").sample(sorted(uids), count))
    return (
        tuple(query for query in queries if query.fact.uid in first),
        tuple(query for query in queries if query.fact.uid not in first),
    )


def statements(
    queries: Sequence[Query], seed: int = 0, wrong: int = 5, *, pool: Sequence[Query] = ()
) -> tuple[Statement, ...]:
    """Every query with its right answer, followed by the same query with wrong ones.

    Wrong answers are other objects of the relation in the same language, the same for all wordings of a fact; of
    fewer than `wrong`, all. No name of a right answer is among them, nor an object that has one of its names, in
    whatever case; right are all objects of the same relation and subject. A wrong answer keeps its own
    alternatives, so that it has the chances of a right one.

    Args:
        wrong: wrong statements for each true one.
        pool: more queries to take objects from, such as those of the other side of a split.

    Raises:
        UnknownName: `wrong` is less than 1, or the relation of a query has no other object.
    """
    if wrong < 1:
        raise UnknownName(f"each true statement takes 1 wrong one or more, not {wrong}")
    known = (*queries, *pool)
    objects, right = _objects(known), _right_names(known)
    made: list[Statement] = []
    for query in queries:
        names = right[_asked_of(query)] | right["", query.fact.uid]
        others = [one for one in objects[query.relation, query.language] if not names & _names(one)]
        if not others:
            raise UnknownName(f"query {query.uid!r}: {query.relation!r} has no other object in {query.language!r}")
        drawn = Random(f"{seed}/{query.fact.uid}/{query.language}").sample(others, min(wrong, len(others)))
        made.append(Statement(query, True))
        for number, other in enumerate(drawn):
            asked = replace(
                query, uid=f"{query.uid}/wrong/{number}", answer=other.answer, alternatives=other.alternatives
            )
            made.append(Statement(asked, False))
    return tuple(made)


def facts_of(asked: Sequence[Statement]) -> list[str]:
    """The uid of the fact that each statement is about, right or wrong: the groups of `check_facts`."""
    return [one.query.fact.uid for one in asked]


def _names(query: Query) -> frozenset[str]:
    return frozenset(name.strip().casefold() for name in (query.answer, *query.alternatives))


def _asked_of(query: Query) -> tuple[str, str]:
    """What right answers are gathered by: relation and subject; without a named subject, the fact."""
    return (query.relation, query.fact.subject) if query.fact.subject else ("", query.fact.uid)


def _right_names(queries: Sequence[Query]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], frozenset[str]] = {}
    for query in queries:
        for key in (_asked_of(query), ("", query.fact.uid)):
            found[key] = found.get(key, frozenset()) | _names(query)
    return found


def _objects(queries: Sequence[Query]) -> dict[tuple[str, str], list[Query]]:
    """By relation and language, a query for each answer: that with the most alternatives. In order of answers."""
    found: dict[tuple[str, str], dict[str, Query]] = {}
    for query in queries:
        own = found.setdefault((query.relation, query.language), {})
        known = own.get(query.answer, query)
        own[query.answer] = max(known, query, key=lambda one: (len(one.alternatives), one.alternatives))
    return {key: [own[answer] for answer in sorted(own)] for key, own in found.items()}
