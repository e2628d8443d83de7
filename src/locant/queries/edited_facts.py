"""Edits made of ordinary facts: another object of the relation for each, and the other facts to judge by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from locant.queries.edit_cases import CaseSet, EditCase, sift
from locant.queries.parallel import said
from locant.queries.quality import stands_in
from locant.types import EditRequest, Fact, Query

BYSTANDERS = 10
"""Neighbours of a case, and unrelated queries, where nothing else is said."""

Name = tuple[str, str]
"""A fact's uid and language."""


def fits_always(query: Query, new: str) -> bool:
    """Every object will do."""
    return True


@dataclass(frozen=True)
class FactPool:
    """Facts in several wordings, to be edited and to judge the edits of others by. Made by `pool_facts`.

    Attributes:
        wordings: of each fact, different prompts in order.
        relations: the facts of each relation, in each language.
    """

    wordings: dict[Name, tuple[Query, ...]]
    relations: dict[Name, tuple[Name, ...]]
    _objects: dict[Name, tuple[str, ...]] = field(repr=False)
    _true: dict[tuple[str, str, str], set[str]] = field(repr=False)

    def case(
        self,
        name: Name,
        *,
        seed: int = 0,
        bystanders: int = BYSTANDERS,
        fits: Callable[[Query, str], bool] = fits_always,
    ) -> EditCase | str:
        """The case of one fact, or why there is none; see `edit_cases_of_facts`."""
        asked = self.wordings[name]
        query = next((one for one in asked if one.fact.subject and one.fact.subject in one.prompt), None)
        if query is None:
            return "no wording holds the subject"
        random = Random(f"{seed}/{'/'.join(name)}")
        true = self._true[query.relation, query.fact.subject, query.language]
        objects = list(self._objects[query.relation, query.language])
        random.shuffle(objects)
        others = (one for one in objects if one not in true and not stands_in(one, query.prompt, query.language))
        new = next((one for one in others if fits(query, one)), None)
        if new is None:
            return "no other object of the relation fits"
        return EditCase(
            EditRequest(replace(query, alternatives=()), new),
            paraphrases=tuple(one for one in asked if one is not query),
            neighbours=self._neighbours(query, new, random, bystanders),
            unrelated=self._unrelated(query, new, random, bystanders),
        )

    def _neighbours(self, query: Query, new: str, random: Random, most: int) -> tuple[Query, ...]:
        """Of other subjects of the relation, of which the new object is not true: one query each."""
        names = _at_random(self.relations[query.relation, query.language], random, most)
        return tuple(
            islice(
                (
                    random.choice(self.wordings[one])
                    for one in names
                    if (fact := self._fact(one)).subject != query.fact.subject
                    and new not in self._true[fact.relation, fact.subject, fact.language]
                ),
                most,
            )
        )

    def _unrelated(self, query: Query, new: str, random: Random, most: int) -> tuple[Query, ...]:
        """Of other relations, from all in turn, facts that share no name with the edit: one query each."""
        others = [one for one in self.relations if one[0] != query.relation and one[1] == query.language]
        random.shuffle(others)
        names = {text.casefold() for text in (query.fact.subject, said(query), new)}
        found: list[Query] = []
        for relation in islice(_round(others), 4 * most):
            if len(found) == most:
                break
            one = random.choice(self.relations[relation])
            asked = random.choice(self.wordings[one])
            if names.isdisjoint((asked.fact.subject.casefold(), said(asked).casefold())) and asked not in found:
                found.append(asked)
        return tuple(found)

    def _fact(self, name: Name) -> Fact:
        return self.wordings[name][0].fact


def edit_cases_of_facts(
    queries: Iterable[Query],
    *,
    seed: int = 0,
    bystanders: int = BYSTANDERS,
    fits: Callable[[Query, str], bool] = fits_always,
) -> CaseSet:
    """Make an edit of every fact, judged by its other wordings and by the other facts.

    The request is made in the first wording that holds the subject. The new object is drawn from those of the
    relation's other facts in the language; of the subject it is not true, and the prompt does not hold it.
    Neighbours are facts of the relation of which it is not true either, most of them with another object than the
    old one; unrelated queries are of other relations and share no name with the edit.

    Args:
        queries: of one fact in one language, all that have its uid.
        bystanders: neighbours, and unrelated queries, of each case at most.
        fits: whether a query can be edited to an object, as where both begin with different tokens.

    Returns:
        Cases in order. Facts are left out that no wording names the subject of, or that no object fits.
    """
    pool = pool_facts(queries)
    return sift(pool.case(name, seed=seed, bystanders=bystanders, fits=fits) for name in pool.wordings)


def pool_facts(queries: Iterable[Query]) -> FactPool:
    """Put queries together by fact, relation and language."""
    prompts: dict[Name, dict[str, Query]] = {}
    relations: dict[Name, dict[Name, None]] = {}
    objects: dict[Name, dict[str, None]] = {}
    true: dict[tuple[str, str, str], set[str]] = {}
    for one in queries:
        name, relation = (one.fact.uid, one.language), (one.relation, one.language)
        prompts.setdefault(name, {}).setdefault(one.prompt, one)
        relations.setdefault(relation, {}).setdefault(name)
        objects.setdefault(relation, {}).setdefault(said(one))
        true.setdefault((one.relation, one.fact.subject, one.language), set()).add(said(one))
    return FactPool(
        {name: tuple(own.values()) for name, own in prompts.items()},
        {relation: tuple(names) for relation, names in relations.items()},
        {relation: tuple(names) for relation, names in objects.items()},
        true,
    )


def _at_random(names: Sequence[Name], random: Random, most: int) -> Iterator[Name]:
    """All names: the first ones drawn, then the rest in order, as shuffling thousands for ten would take its time."""
    drawn = dict.fromkeys(random.sample(names, min(len(names), 4 * most)))
    yield from drawn
    yield from (name for name in names if name not in drawn)


def _round(names: Sequence[Name]) -> Iterator[Name]:
    """All names in turn, again and again."""
    while names:
        yield from names
