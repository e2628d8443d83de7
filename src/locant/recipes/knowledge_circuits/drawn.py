"""What circuits are found on and tried on: of each relation, known facts in one wording, in two halves of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import TypeVar

import torch

from locant import almanac
from locant.attributions.edges import Pair, swapped_pairs
from locant.errors import LocantError, UnknownName
from locant.evaluations.answers import first_logits
from locant.models import LanguageModel
from locant.queries import lre_relations, read_lre
from locant.recipes.data import can_be_asked, read_data
from locant.recipes.plans import refuse_other
from locant.types import Query

One = TypeVar("One")

NOT_ASKED = "cannot be asked of this model"
NOT_KNOWN = "the answer is not among the model's first {} tokens"
OTHER_WORDING = "not there in the wording that its relation is asked in"
NO_PARTNER = "no other subject of the relation in as many tokens, with another answer"
BEYOND = "beyond the limit"
LEAST = 4
"""Facts below which nothing is said: of a half, of a relation and its reverse, of two steps."""
TOO_FEW = f"of a relation with fewer than {LEAST} pairs in a half"


@dataclass(frozen=True)
class RelationPairs:
    """A relation's facts, each with the counterfactual that stands in where edges are cut.

    Attributes:
        kind: factual, commonsense, linguistic, bias, invented; empty where the data do not say.
        validation: what circuits are found on; `test`: what they are tried on. No fact is in both.
        left_out: facts by the reason why they are in neither.
    """

    name: str
    kind: str
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Drawn:
    """The relations of a run, and how many facts it does without, by the reason."""

    relations: tuple[RelationPairs, ...]
    left_out: Mapping[str, int]


def draw_relations(
    lm: LanguageModel,
    source: str,
    *,
    relations: Sequence[str] | None = None,
    limit: int | None = 24,
    known: int | None = 10,
    seed: int = 0,
) -> Drawn:
    """Read data, keep what the model knows, and share it out between the halves.

    Facts are asked in their relation's first wording. Partners are of the same half.

    Args:
        source: 'almanac', 'lre:FOLDER' (files of evandez/relations) or any other of `read_data`.
        relations: only these; None for all with enough facts.
        limit: pairs in each half; None for all.
        known: only facts whose answer's first token is among as many that the model finds most probable: the
            paper's Hit@10. None for all facts.

    Raises:
        UnknownName: no such source or relation, or one that was named has too few facts; if none was, all have.
        BadFile: as the readers say.
    """
    if limit is not None and limit < LEAST:
        raise UnknownName(f"a limit of {limit} pairs is too few: each half needs {LEAST} or more")
    queries, kinds = _read(lm, source, relations)
    groups: dict[str, list[Query]] = {name: [] for name in relations or ()}
    for query in queries:
        if not query.relation:
            raise UnknownName(f"the query {query.uid!r} of {source} names no relation, and circuits are of relations")
        groups.setdefault(query.relation, []).append(query)
    if not groups:
        raise UnknownName(f"there is nothing to ask in {source}")
    found = [_relation(lm, name, kinds.get(name, ""), own, limit, known, seed) for name, own in groups.items()]
    kept = tuple(one for one in found if min(len(one.validation), len(one.test)) >= LEAST)
    for one in found:
        if (relations or len(kept) == 0) and one not in kept:
            why = "; ".join(f"{reason}: {count}" for reason, count in one.left_out.items())
            raise UnknownName(
                f"too few facts of {one.name!r} for two halves of {LEAST} pairs: {len(one.validation)} and "
                f"{len(one.test)} ({why or 'there are no more'})"
            )
    return Drawn(kept, _left_out(found, kept))


def _left_out(found: Sequence[RelationPairs], kept: Sequence[RelationPairs]) -> dict[str, int]:
    """Of all relations, and of those not kept the pairs that there are."""
    total: Counter[str] = Counter()
    for one in found:
        total.update(one.left_out)
        total[TOO_FEW] += 0 if one in kept else len(one.validation) + len(one.test)
    return {why: count for why, count in total.items() if count}


def refuse_other_relations(source: str, relations: Iterable[str]) -> None:
    """Refuse relations that the source has not, as far as that is known without reading its facts.

    Raises:
        UnknownName: there is no such relation.
        BadFile: as the readers say.
    """
    name, _, place = source.partition(":")
    known: list[str] = []
    if source == "almanac":
        known = [one.name for one in almanac.relations()]
    elif name == "lre" and place:
        known = [one.name for one in lre_relations(place)]
    for one in relations if known else ():
        refuse_other(f"{name} relation", one, known)


def another(one: RelationPairs, relations: Sequence[RelationPairs], seed: int) -> RelationPairs | None:
    """A relation to compare one with, drawn at random of those that share no answer and no subject with it.

    Where all share some, it is drawn of all; None where there is no other.
    """
    others = [other for other in relations if other.name != one.name]
    apart = [other for other in others if _names_in(one).isdisjoint(_names_in(other))]
    return Random(f"{seed}/{one.name}/another").choice(apart or others) if others else None


def _names_in(relation: RelationPairs) -> set[str]:
    facts = [pair.query.fact for pair in (*relation.validation, *relation.test)]
    return {name.casefold() for fact in facts for name in (fact.subject, fact.object) if name}


def wordings_of(lm: LanguageModel, source: str, relations: Sequence[str]) -> tuple[Query, ...]:
    """Every fact of some relations in every wording that can be asked of the model.

    Raises:
        UnknownName, BadFile: as `draw_relations` does.
    """
    name, _, place = source.partition(":")
    if name == "lre" and place:
        queries = read_lre(place, relations, wordings=None)
    else:
        queries = _of_facts(lm, source, relations)
    return tuple(query for query in queries if can_be_asked(lm, query))


def _read(lm: LanguageModel, source: str, relations: Sequence[str] | None) -> tuple[Sequence[Query], dict[str, str]]:
    """Queries, and kinds of relations."""
    name, _, place = source.partition(":")
    if name == "lre" and place:
        return read_lre(place, relations), {one.name: one.kind for one in lre_relations(place)}
    kinds = {one.name: one.kind for one in almanac.relations()} if source == "almanac" else {}
    return _of_facts(lm, source, relations), kinds


def _of_facts(lm: LanguageModel, source: str, relations: Sequence[str] | None) -> tuple[Query, ...]:
    try:
        return read_data(source, lm.architecture.kind, relations=relations)
    except UnknownName as error:
        if str(error).startswith("no data "):
            raise UnknownName(
                f"no data {source!r}; there is almanac, lre:FOLDER (relations as github.com/evandez/relations has "
                "them), pararel:FOLDER, and any file of queries (.jsonl, .json, .csv, .parquet)"
            ) from None
        raise


def _first_wording(queries: Sequence[Query]) -> list[Query]:
    """Of a relation's queries those in the wording that comes first, one of each fact."""
    facts: dict[str, Query] = {}
    for query in queries:
        if query.template == queries[0].template:
            facts.setdefault(query.fact.uid, query)
    return list(facts.values())


def _relation(
    lm: LanguageModel, name: str, kind: str, queries: Sequence[Query], limit: int | None, known: int | None, seed: int
) -> RelationPairs:
    left_out: Counter[str] = Counter()
    worded = _first_wording(queries)
    left_out[OTHER_WORDING] += len({query.fact.uid for query in queries}) - len(worded)
    asked = [query for query in worded if can_be_asked(lm, query)]
    left_out[NOT_ASKED] += len(worded) - len(asked)
    if known is not None:
        ranks = first_ranks(lm, asked)
        left_out[NOT_KNOWN.format(known)] += sum(rank >= known for rank in ranks)
        asked = [query for query, rank in zip(asked, ranks, strict=True) if rank < known]
    halves = [paired(lm, half) for half in _halves(lm, asked, seed)]
    left_out[NO_PARTNER] += len(asked) - sum(map(len, halves))
    validation, test = (tuple(half[:limit]) for half in halves)
    left_out[BEYOND] += sum(map(len, halves)) - len(validation) - len(test)
    return RelationPairs(name, kind, validation, test, {why: count for why, count in left_out.items() if count})


def first_ranks(lm: LanguageModel, queries: Sequence[Query]) -> list[int]:
    """Of each query how many tokens are more probable than the first of its answer."""
    ranks: list[int] = []
    answers = [lm.tokens(query).answers[0][0] for query in queries]
    for logits in first_logits(lm, queries):
        own = torch.tensor(answers[len(ranks) : len(ranks) + len(logits)], device=logits.device)
        ranks += (logits > logits.gather(1, own[:, None])).sum(dim=1).tolist()
    return ranks


def _halves(lm: LanguageModel, queries: Sequence[Query], seed: int) -> tuple[list[Query], list[Query]]:
    """Two halves in random order, each with as many prompts of a length as the other, so that there are partners."""
    order = list(queries)
    Random(f"{seed}/halves").shuffle(order)
    halves: tuple[list[Query], list[Query]] = ([], [])
    turns: Counter[int] = Counter()
    for query in order:
        length = len(lm.tokens(query).prompt)
        halves[turns[length] % 2].append(query)
        turns[length] += 1
    return halves


def in_turn(groups: Iterable[Sequence[One]]) -> list[One]:
    """One of each group in turn, as long as they last."""
    return [one for turn in zip_longest(*groups) for one in turn if one is not None]


def paired(lm: LanguageModel, queries: Sequence[Query]) -> list[Pair]:
    """As `swapped_pairs`; empty where no query has a partner."""
    try:
        return swapped_pairs(lm, queries)
    except LocantError:
        return []
