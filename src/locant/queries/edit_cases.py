"""What judges an edit: the request, and the queries that say what it did to the fact and to everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from locant.types import EditRequest, Query

NO_SUBJECT = "the subject is not in the prompt"
NO_NEW = "there is no new object"
SAME = "the new object is the old one"


@dataclass(frozen=True)
class EditCase:
    """A request to edit a fact, with the queries that judge the edit.

    Attributes:
        request: what is edited.
        more: other requests that are edited together with it; the fact of each has its own uid.
        paraphrases: other wordings of the requests' facts, answered by the old object; whoever judges an edit asks
            them for the new one (see `new_of`).
        neighbours: queries of other subjects, with their own right answers, which the edit must leave as they are.
        attributes: queries of other subjects whose right answer the new object already is.
        portability: queries whose answer follows from the edit, with the answer that is right after it; their facts'
            object is the answer before it, if that is known.
        unrelated: queries of other relations, which the edit must leave as they are.
        generation: beginnings of texts about the subject.
        references: texts about things that the new object is true of.
    """

    request: EditRequest
    more: tuple[EditRequest, ...] = ()
    paraphrases: tuple[Query, ...] = ()
    neighbours: tuple[Query, ...] = ()
    attributes: tuple[Query, ...] = ()
    portability: tuple[Query, ...] = ()
    unrelated: tuple[Query, ...] = ()
    generation: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    @property
    def uid(self) -> str:
        return self.request.uid

    @property
    def relation(self) -> str:
        return self.request.query.relation

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """All that is edited together, in order."""
        return (self.request, *self.more)

    def new_of(self, query: Query) -> str:
        """The new object of a query's fact; of a fact that is not edited, the first request's."""
        own = {one.query.fact.uid: one.new for one in self.requests}
        return own.get(query.fact.uid, self.request.new)


@dataclass(frozen=True)
class CaseSet:
    """Cases, and how many were left out for what reason."""

    cases: tuple[EditCase, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def sift(judged: Iterable[EditCase | str]) -> CaseSet:
    """Part cases from reasons why there is none."""
    cases: list[EditCase] = []
    left_out: Counter[str] = Counter()
    for one in judged:
        if isinstance(one, str):
            left_out[one] += 1
        else:
            cases.append(one)
    return CaseSet(tuple(cases), dict(left_out))


def fault(request: EditRequest) -> str | None:
    """Why a request cannot be edited, whatever the model; None if it can."""
    if not request.new:
        return NO_NEW
    if not request.subject or request.subject not in request.query.prompt:
        return NO_SUBJECT
    return SAME if request.new == request.query.answer else None


def without_conflicts(cases: Iterable[EditCase]) -> tuple[EditCase, ...]:
    """The cases that can all be edited in one model: none asks for another new object where an earlier one asks too.

    Two requests ask for the same where subject and prompt are the same.
    """
    wanted: dict[tuple[str, str], str] = {}
    kept: list[EditCase] = []
    for case in cases:
        own = {(one.subject, one.query.prompt): one.new for one in case.requests}
        if all(wanted.get(asked, new) == new for asked, new in own.items()):
            wanted |= own
            kept.append(case)
    return tuple(kept)


def spared_by_all(cases: Sequence[EditCase]) -> tuple[EditCase, ...]:
    """The cases with those of their bystanders that no other case edits, for when all are edited in one model.

    Left out are neighbours, attributes and unrelated queries of a fact that is edited, or of an edited subject and
    relation; of those that name no subject, as published ones, all of whose prompt holds an edited subject of the
    relation.
    """
    edited = [one.query for case in cases for one in case.requests]
    facts = {one.fact.uid for one in edited}
    subjects: dict[str, set[str]] = {}
    for one in edited:
        if one.fact.subject:
            subjects.setdefault(one.relation, set()).add(one.fact.subject)

    def is_spared(query: Query) -> bool:
        own = subjects.get(query.relation, set())
        named = query.fact.subject in own if query.fact.subject else any(one in query.prompt for one in own)
        return not named and query.fact.uid not in facts

    def spared(queries: Sequence[Query]) -> tuple[Query, ...]:
        return tuple(filter(is_spared, queries))

    return tuple(
        replace(
            one,
            neighbours=spared(one.neighbours),
            attributes=spared(one.attributes),
            unrelated=spared(one.unrelated),
        )
        for one in cases
    )
