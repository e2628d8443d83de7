"""Which facts are changed: each with its new object, what is to stay as it is, and the neurons it is taught to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from locant.errors import BadQuery
from locant.models import LanguageModel
from locant.recipes.matrice.chosen import random_of
from locant.recipes.matrice.located import Asked, Sets
from locant.recipes.matrice.plan import MATRICE, RANDOM, Plan
from locant.recipes.matrice.touched import Unrelated, unrelated
from locant.selections.share import at_most, union

NEIGHBOURS = 4
"""Other facts of the relation that a change is to leave alone."""
SPARED = 3
"""Facts of other relations that it is to leave alone."""


@dataclass(frozen=True)
class Change:
    """A fact to be changed: its new object in every language, and what is to stay as it is.

    Attributes:
        neighbours: queries of other facts of the relation, by language.
        unrelated: queries of other relations, by language.
    """

    asked: Asked
    new: Mapping[str, str]
    neighbours: Unrelated
    unrelated: Unrelated


def changes(lm: LanguageModel, asked: Sequence[Asked], others: Mapping[str, Unrelated], seed: int) -> list[Change]:
    """Every fact known in two languages that has another object to take, drawn from its relation's other facts.

    The new object begins, in every language, with another token than the old one.

    Args:
        others: by fact, its unrelated queries.
    """
    found = []
    for one in asked:
        peers = [each for each in asked if each.fact.relation == one.fact.relation and each is not one]
        Random(f"{seed}/{one.fact.uid}").shuffle(peers)
        fitting = (each for each in peers if _differs(lm, one, each.fact.answers))
        new = next(fitting, None)
        if len(one.known) < 2 or new is None:
            continue
        found.append(_change(one, new.fact.answers, peers, others[one.fact.uid]))
    return found


def trials(lm: LanguageModel, asked: Sequence[Asked], seed: int) -> list[Change]:
    """`changes` in the same order, all of whose queries, also of neighbours and unrelated facts, are locating ones.

    What is chosen by them is chosen without the queries that judge.
    """
    blind = [replace(one, judge=one.locate) for one in asked]
    return changes(lm, blind, {one.fact.uid: unrelated(blind, one, SPARED, seed) for one in blind}, seed)


def lessons(asked: Sequence[Asked], others: Mapping[str, Unrelated]) -> list[Change]:
    """Every fact that some language does not know, to be taught as it is; those that more languages lack go first."""
    found = []
    for one in sorted(asked, key=lambda each: len(each.known)):
        if len(one.known) == len(one.fact.languages):
            continue
        peers = [each for each in asked if each.fact.relation == one.fact.relation and each is not one]
        found.append(_change(one, one.fact.answers, peers, others[one.fact.uid]))
    return found


def _change(one: Asked, new: Mapping[str, str], peers: Sequence[Asked], unrelated: Unrelated) -> Change:
    """A change, with those of the relation's other facts for neighbours whose own object is not the new one.

    Such a neighbour would seem to have been changed.
    """
    apart = [each for each in peers if not new.items() & each.fact.answers.items()][:NEIGHBOURS]
    near = {language: tuple(each.judge[language][0] for each in apart) for language in one.fact.languages}
    return Change(one, new, near, unrelated)


def to_teach(change: Change, asked: Sequence[Asked], sets: Mapping[str, Sets], plan: Plan) -> Sets:
    """A fact's sets; where it was not located, what is in the sets of its relation's other facts most."""
    own = sets.get(change.asked.fact.uid, {})
    if len(own.get(MATRICE, ())):
        return own
    peers = [one.fact.uid for one in asked if one.fact.relation == change.asked.fact.relation]
    theirs = [sets[uid][MATRICE] for uid in peers if len(sets.get(uid, {}).get(MATRICE, ()))]
    if not theirs:
        return own
    chosen = at_most(union(theirs), plan.size)
    return {MATRICE: chosen, f"{RANDOM} 1": random_of(chosen, plan.seed)}


def _differs(lm: LanguageModel, one: Asked, new: Mapping[str, str]) -> bool:
    """Whether an object can be said in place of the fact's own, in every language, from its first token on."""
    for language, queries in one.fact.queries.items():
        try:
            old, other = (
                lm.tokens(replace(queries[0], answer=text, alternatives=())).answers[0][0]
                for text in (queries[0].answer, new[language])
            )
        except (BadQuery, KeyError):
            return False
        if old == other:
            return False
    return True
