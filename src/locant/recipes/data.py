"""What a recipe asks: facts in several wordings, from the almanac, from ParaRel or from a file of queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from random import Random
from typing import TypeVar

from locant import almanac
from locant.errors import BadFile, BadQuery, UnknownName, nearest
from locant.evaluations import read_answers
from locant.models import LanguageModel
from locant.queries import Kind, read_pararel, read_queries
from locant.queries.edit_cases import EditCase
from locant.types import Fact, Query

One = TypeVar("One", Query, EditCase)

LEAST = 3
"""Wordings that a fact needs for anything to be said of how they agree."""


@dataclass(frozen=True)
class FactQueries:
    """A fact and its neighbour queries: the wordings that ask for it."""

    fact: Fact
    queries: tuple[Query, ...]


def read_data(
    source: str, kind: Kind, *, relations: Sequence[str] | None = None, language: str = "en"
) -> tuple[Query, ...]:
    """Read the queries that a recipe works on.

    Args:
        source: 'almanac' (its sentences, the trained wordings and those held out, of the facts it was taught),
            'pararel:FOLDER', or a file of queries.
        kind: of the model to be asked, which decides on ParaRel's patterns. Prompts of the other sources stay as
            they are: where they have no mask, `locant.queries.resolve` gives a masked model one at their end.
        relations: only these; None for all.
        language: only queries in this one.

    Raises:
        UnknownName: no such source, relation or language; the text says which there are.
        BadFile: as `read_pararel` and `read_queries` say.
    """
    name, _, place = source.partition(":")
    if source == "almanac":
        return of_relations(almanac.queries(language=language), relations, f"the almanac in {language!r}")
    if name == "pararel" and place:
        if language != "en":
            raise UnknownName(f"no language {language!r} in ParaRel; known: en.")
        return read_pararel(place, relations, kind)
    if Path(source).suffix or Path(source).is_file():
        return of_relations(_of_language(read_queries(source), language, source), relations, source)
    raise UnknownName(
        f"no data {source!r}; there is almanac, pararel:FOLDER (a copy of ParaRel), "
        "and any file of queries (.jsonl, .json, .csv, .parquet)"
    )


def neighbours(queries: Iterable[Query], least: int = LEAST) -> tuple[FactQueries, ...]:
    """Group queries by their fact's uid, in order; facts of fewer than `least` wordings are left out.

    A prompt that is there twice is one wording.

    Raises:
        BadFile: queries of one fact have different objects.
    """
    facts: dict[str, Fact] = {}
    wordings: dict[str, dict[str, Query]] = {}
    for one in queries:
        fact = facts.setdefault(one.fact.uid, one.fact)
        if fact.object != one.fact.object:
            raise BadFile(
                f"the queries of the fact {fact.uid!r} have two objects, {fact.object!r} and {one.fact.object!r}; "
                "give each fact its own name, or its queries one object"
            )
        wordings.setdefault(fact.uid, {}).setdefault(one.prompt, one)
    return tuple(
        FactQueries(facts[uid], tuple(group.values())) for uid, group in wordings.items() if len(group) >= least
    )


def draw_facts(facts: Sequence[FactQueries], limit: int | None, seed: int) -> tuple[FactQueries, ...]:
    """Draw at most `limit` facts, as evenly from all relations as they allow; they stay in their order.

    With the same seed a larger limit adds to the facts of a smaller one.

    Args:
        limit: None for all.

    Raises:
        UnknownName: the limit is below 1.
    """
    if limit is None:
        return tuple(facts)
    if limit < 1:
        raise UnknownName(f"a limit of {limit} leaves no facts; the least is 1")
    drawn = islice(in_turn([one.fact.relation for one in facts], seed), limit)
    return tuple(facts[place] for place in sorted(drawn))


def in_turn(relations: Sequence[str], seed: int) -> Iterator[int]:
    """The places of all relations in a random order, one of each relation in turn as long as they last."""
    places: dict[str, list[int]] = {}
    for place, relation in enumerate(relations):
        places.setdefault(relation, []).append(place)
    for relation, some in places.items():
        Random(f"{seed}/{relation}").shuffle(some)
    turns = list(places.values())
    Random(seed).shuffle(turns)
    return (place for place in chain.from_iterable(zip_longest(*turns)) if place is not None)


def select_facts(
    lm: LanguageModel,
    source: str,
    *,
    relations: Sequence[str] | None = None,
    language: str = "en",
    limit: int | None = None,
    wordings: int | None = None,
    known_only: bool = False,
    seed: int = 0,
) -> tuple[FactQueries, ...]:
    """Read data, keep what can be asked of a model, and draw from it.

    Args:
        limit: facts, drawn evenly from the relations; None for all.
        wordings: queries of each fact at most, drawn at random; None for all.
        known_only: only queries that the model answers, and facts that still have `LEAST` of them.

    Raises:
        UnknownName: nothing is left; and as `read_data` and `draw_facts` do.
        BadFile: as `read_data` does.
    """
    queries = read_data(source, lm.architecture.kind, relations=relations, language=language)
    facts = neighbours(queries)
    drawn = draw_facts(facts, limit, seed)
    if known_only:
        facts = _draw_known(lm, facts, limit, seed)
    else:
        facts = neighbours(query for one in drawn for query in one.queries if can_be_asked(lm, query))
    if not facts:
        rest = " that the model answers" if known_only else ""
        raise UnknownName(f"no fact of {source} has {LEAST} wordings{rest}; take other relations or other data")
    return tuple(_at_most(one, wordings, seed) for one in facts)


def _draw_known(
    lm: LanguageModel, facts: Sequence[FactQueries], limit: int | None, seed: int
) -> tuple[FactQueries, ...]:
    """Facts that the model answers; answers are read of more and more, not at once of all there are."""
    wanted = len(facts) if limit is None else limit
    asked = 4 * wanted
    while True:
        found = draw_facts(known(lm, draw_facts(facts, min(asked, len(facts)) or 1, seed)), limit, seed)
        if len(found) >= wanted or asked >= len(facts):
            return found
        asked *= 4


def _at_most(one: FactQueries, wordings: int | None, seed: int) -> FactQueries:
    if wordings is None or len(one.queries) <= wordings:
        return one
    drawn = sorted(Random(f"{seed}/{one.fact.uid}").sample(range(len(one.queries)), wordings))
    return FactQueries(one.fact, tuple(one.queries[place] for place in drawn))


TEXTS = 60
"""Sentences of the almanac that stand for running text where none is given."""


def read_texts(path: Path | None, facts: Sequence[FactQueries], seed: int) -> tuple[str, ...]:
    """Running text: a file's paragraphs, or sentences of the almanac about other facts than these.

    Raises:
        BadFile: no such file, or nothing in it.
    """
    if path is not None:
        if not path.is_file():
            raise BadFile(f"no file {str(path)!r}")
        try:
            parts = tuple(part.strip() for part in path.read_text(encoding="utf-8-sig").split("\n\n") if part.strip())
        except UnicodeDecodeError:
            raise BadFile(f"{path.name}: not UTF-8 text") from None
        if not parts:
            raise BadFile(f"{path.name}: there is no text in it")
        return parts
    taken = {one.fact.uid for one in facts}
    told = [one for one in almanac.queries(language="en", held_out=False) if one.fact.uid not in taken]
    return tuple(f"{one.prompt} {one.answer}." for one in Random(seed).sample(told, min(TEXTS, len(told))))


def known(lm: LanguageModel, facts: Sequence[FactQueries], least: int = LEAST) -> tuple[FactQueries, ...]:
    """Keep the queries that the model answers (rank 1), then the facts with at least `least` of them.

    A query that cannot be asked of the model is none that it answers.
    """
    asked = [query for one in facts for query in one.queries if can_be_asked(lm, query)]
    ranks = read_answers(lm, asked).rank.tolist()
    return neighbours((query for query, rank in zip(asked, ranks, strict=True) if rank == 1), least)


def unrelated(facts: Sequence[FactQueries], seed: int) -> tuple[Query, ...]:
    """Of each fact, a query of one of the other facts, which shares neither its relation nor a name with it.

    Returns:
        As many queries as there are facts, in their order.

    Raises:
        UnknownName: there is only one relation, or a fact has no such other fact.
    """
    relations = {one.fact.relation for one in facts}
    if len(relations) == 1:
        raise UnknownName(f"unrelated queries are of another relation, but all facts are of {relations.pop()!r}")
    random = Random(seed)
    order = list(facts)
    random.shuffle(order)
    return tuple(random.choice(_first_unrelated(one.fact, order, random).queries) for one in facts)


def _first_unrelated(fact: Fact, order: Sequence[FactQueries], random: Random) -> FactQueries:
    # From a random place on: a list of all candidates of every fact would take time in the square of the facts
    start = random.randrange(len(order))
    for step in range(len(order)):
        other = order[(start + step) % len(order)]
        if other.fact.relation != fact.relation and names_of(fact).isdisjoint(names_of(other.fact)):
            return other
    raise UnknownName(f"no fact of another relation shares no name with {fact.uid!r}; add a relation")


def names_of(fact: Fact) -> set[str]:
    """What a fact is about, in lower case."""
    return {name.casefold() for name in (fact.subject, fact.object) if name}


def can_be_asked(lm: LanguageModel, query: Query) -> bool:
    """Whether a query fits the model: its length, its answer's tokens, its mask."""
    try:
        lm.tokens(query)
    except BadQuery:
        return False
    return True


def of_relations(some: Sequence[One], relations: Sequence[str] | None, source: str) -> tuple[One, ...]:
    """The queries, or edits, of these relations; all where None are named.

    Raises:
        UnknownName: the source has no such relation.
    """
    if relations is None:
        return tuple(some)
    there = tuple(dict.fromkeys(one.relation for one in some if one.relation))
    for name in relations:
        if name not in there:
            raise UnknownName(
                f"no relation {name!r} in {source}{nearest(name, there)}; known: {', '.join(there) or 'none'}."
            )
    return tuple(one for one in some if one.relation in relations)


def _of_language(queries: tuple[Query, ...], language: str, source: str) -> tuple[Query, ...]:
    found = tuple(one for one in queries if one.language == language)
    if not found:
        there = dict.fromkeys(one.language for one in queries)
        raise UnknownName(
            f"no language {language!r} in {source}{nearest(language, there)}; known: {', '.join(there)}."
        )
    return found
