"""What suppressing and enhancing a fact's neurons does to its answer in every language, and to other facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

import polars as pl

from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.evaluations.sets import probability_by_set
from locant.interventions import scale
from locant.models import LanguageModel
from locant.queries.parallel import ParallelFact
from locant.recipes.data import names_of
from locant.recipes.matrice.located import Asked, Sets
from locant.recipes.matrice.plan import (
    FACTORS,
    LIKE_UNION,
    MATRICE,
    OPERATIONS,
    OTHERS,
    OWN,
    OWN_ONE,
    PEER,
    PEER_OWN,
    RANDOM,
    kind_of,
)
from locant.recipes.rows import Row
from locant.types import Query, Selection

Unrelated = Mapping[str, Sequence[Query]]
"""By language, queries of facts of other relations."""


def unrelated(asked: Sequence[Asked], one: Asked, count: int, seed: int) -> dict[str, tuple[Query, ...]]:
    """In each language, a query of each of some facts of other relations that share no name with this one.

    Facts that are known in every language go first: what is not answered cannot be lost.

    Raises:
        UnknownName: there is no fact of another relation.
    """
    names = _names(one.fact)
    others = [each for each in asked if each.fact.relation != one.fact.relation]
    if not others:
        raise UnknownName(f"unrelated queries are of another relation, but all facts are of {one.fact.relation!r}")
    apart = [each for each in others if names.isdisjoint(_names(each.fact))] or others
    Random(f"{seed}/{one.fact.uid}").shuffle(apart)
    drawn = sorted(apart, key=lambda each: -len(each.known))[:count]
    return {language: tuple(each.judge[language][0] for each in drawn) for language in one.fact.languages}


def touch(lm: LanguageModel, one: Asked, others: Unrelated, sets: Sets) -> pl.DataFrame:
    """P(answer) with each set suppressed and doubled: of the fact where it is known, and of unrelated ones.

    Sets without a neuron are left out. Those that are only read against a language's own are suppressed, and read in
    the fact's own queries.
    """
    held = {name: chosen for name, chosen in sets.items() if len(chosen)}
    few = {name: chosen for name, chosen in held.items() if not name.startswith((OTHERS, PEER_OWN))}
    rows: list[Row] = []
    asked = [("related", query) for language in one.known for query in one.judge[language]]
    asked += [("unrelated", query) for queries in others.values() for query in queries]
    before = dict(zip(asked, read_answers(lm, [query for _, query in asked]).log_probability.exp(), strict=True))
    for operation, by in OPERATIONS.items():
        for kind, query in asked:
            some = held if (operation, kind) == ("suppress", "related") else few
            after = probability_by_set(lm, query, list(some.values()), by)
            for (name, chosen), value in zip(some.items(), after.tolist(), strict=True):
                rows.append(
                    {
                        "fact": one.fact.uid,
                        "set": name,
                        "size": len(chosen),
                        "operation": operation,
                        "language": query.language,
                        "asked": kind,
                        "query": query.uid,
                        "before": float(before[kind, query]),
                        "after": value,
                    }
                )
    return pl.DataFrame(rows)


def enhance_failed(lm: LanguageModel, one: Asked, others: Unrelated, sets: Sets) -> pl.DataFrame:
    """Queries that fail although the fact is known: whether located neurons, scaled up, bring the answer back.

    Right answers of the fact, and of unrelated facts, are read too: what is won must not be lost elsewhere.
    """
    own = [query for queries in one.judge.values() for query in queries]
    rest = [query for queries in others.values() for query in queries]
    first = (read_answers(lm, [*own, *rest]).rank == 1).tolist()
    if all(first[: len(own)]):
        return pl.DataFrame()
    rows: list[Row] = []
    for name, chosen in _compared(sets, one):
        for factor in FACTORS:
            with scale(lm, chosen, factor):
                then = (read_answers(lm, [*own, *rest]).rank == 1).tolist()
            for place, query in enumerate([*own, *rest]):
                rows.append(
                    {
                        "fact": one.fact.uid,
                        "set": name,
                        "factor": factor,
                        "language": query.language,
                        "asked": "related" if place < len(own) else "unrelated",
                        "known": place >= len(own) or query.language in one.known,
                        "query": query.uid,
                        "right_before": first[place],
                        "right_after": then[place],
                    }
                )
    return pl.DataFrame(rows)


def _compared(sets: Sets, one: Asked) -> Iterator[tuple[str, Selection]]:
    for name, chosen in sets.items():
        if len(chosen) and (name in (MATRICE, PEER) or kind_of(name) in (RANDOM, LIKE_UNION)):
            yield name, chosen
    yield OWN_ONE, sets[OWN + one.known[0]]


def _names(fact: ParallelFact) -> set[str]:
    return set().union(*(names_of(queries[0].fact) for queries in fact.queries.values()))
