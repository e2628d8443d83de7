"""What MATRICE asks: facts in several languages, from the almanac, mLAMA and its kin, or a file of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice, zip_longest
from pathlib import Path
from random import Random

from locant import almanac
from locant.errors import UnknownName, nearest
from locant.evaluations import read_answers
from locant.models import LanguageModel
from locant.queries import Kind, read_queries
from locant.queries.bmlama import read_bmlama
from locant.queries.mlama import FORMS, read_mlama
from locant.queries.parallel import ParallelFact, gather_parallel
from locant.queries.paraphrases import read_paraphrases
from locant.queries.quality import drop_leaked
from locant.recipes.data import can_be_asked, of_relations
from locant.types import Query

SOURCES = (
    "almanac, mlama:FOLDER, mlama:FOLDER,PATTERNS (mParaRel's), paraphrases:FOLDER, bmlama:FOLDER, "
    "and any file of queries (.jsonl, .json, .csv, .parquet)"
)
LEAST = 2
"""Wordings of a fact in each language: one to locate with, one to judge by."""
FEW = "facts of too few others"
"""What `Selected.dropped` calls facts that are not asked for want of queries that do not say their own answer."""


@dataclass(frozen=True)
class Selected:
    """What a run asks, and what it does not ask.

    Attributes:
        dropped: how many queries say their own answer, by where they do, and how many facts had too few others.
    """

    facts: tuple[ParallelFact, ...]
    dropped: Mapping[str, int]


def read_parallel(
    source: str,
    kind: Kind,
    languages: Sequence[str],
    *,
    relations: Sequence[str] | None = None,
    form: str = "object-final",
) -> tuple[Query, ...]:
    """Read the queries of several languages.

    Args:
        source: 'almanac' (facts of all its languages, with those that some languages were not taught),
            'mlama:FOLDER' (one template of each relation, or 'mlama:FOLDER,PATTERNS' with the reviewed templates of
            an mParaRel folder), 'paraphrases:FOLDER', 'bmlama:FOLDER' (BMLAMA-17), or a file of queries.
        kind: of the model to be asked, which decides on templates with a blank.
        relations: only these; None for all.
        form: of mLAMA's and BMLAMA's templates, see `read_mlama`.

    Raises:
        UnknownName: no such source, language or relation.
        BadFile: as the readers say.
    """
    name, _, place = source.partition(":")
    if source == "almanac":
        queries: Iterable[Query] = chain.from_iterable(_of_the_almanac(language) for language in languages)
    elif name == "mlama" and place:
        folder, _, patterns = place.partition(",")
        return read_mlama(folder, languages, relations=relations, kind=kind, patterns=patterns or None, form=form)
    elif name == "paraphrases" and place:
        queries = read_paraphrases(place, languages)
    elif name == "bmlama" and place:
        queries = read_bmlama(place, languages, kind=kind, form=form)
    elif Path(source).suffix or Path(source).is_file():
        queries = (one for one in read_queries(source) if one.language in languages)
    else:
        raise UnknownName(f"no data {source!r}; there is {SOURCES}")
    return of_relations(tuple(queries), relations, source)


def select_parallel(
    lm: LanguageModel,
    source: str,
    languages: Sequence[str],
    *,
    relations: Sequence[str] | None = None,
    limit: int | None = None,
    wordings: int | None = None,
    known_in: int = 1,
    form: str = "object-final",
    keep_leaked: bool = False,
    seed: int = 0,
) -> Selected:
    """Read facts in several languages, keep what can be asked of a model, and draw from them.

    Args:
        languages: two or more; a fact has queries in all of them.
        limit: facts, drawn evenly from the relations (of the almanac, evenly also from facts that all languages
            were taught and facts that some were); None for all.
        wordings: queries of each fact in each language at most, drawn at random; None for all.
        known_in: languages, at least, in which the model answers most of a fact's locating queries; 0 for any fact.
        keep_leaked: ask also what says its own answer (see `drop_leaked`): that may be copied, and need not be known.

    Raises:
        UnknownName: nothing is left, or fewer than two languages are asked for; and as `read_parallel` does.
        BadFile: as the readers say.
    """
    if form not in FORMS:
        raise UnknownName(f"no form {form!r}{nearest(form, FORMS)}; there are {', '.join(FORMS)}")
    if len(set(languages)) < 2:
        raise UnknownName(f"languages are compared: name two or more, not {', '.join(languages) or 'none'}")
    queries = read_parallel(source, lm.architecture.kind, languages, relations=relations, form=form)
    asked = _gathered([one for one in queries if can_be_asked(lm, one)], languages, keep_leaked)
    facts = [_drawn(one, wordings, seed) for one in asked.facts]
    order = _in_turn(facts, taught_in() if source == "almanac" else {}, seed)
    wanted = len(facts) if limit is None else limit
    found = set(islice((one.uid for one in order if known_in == 0 or len(known(lm, one)) >= known_in), wanted))
    if not facts:
        raise UnknownName(
            f"no fact of {source} has {LEAST} wordings in each of {', '.join(languages)}: one locates, one judges. "
            "BMLAMA and mLAMA's own templates have one; mlama:FOLDER,PATTERNS takes mParaRel's, --form blank those "
            "that do not end with the object"
        )
    if not found:
        raise UnknownName(
            f"of {len(facts)} facts of {source} the model answers none in {known_in} of {', '.join(languages)}; "
            "take other data, another model, or fewer languages with --known-in"
        )
    return replace(asked, facts=tuple(one for one in facts if one.uid in found))


def known(lm: LanguageModel, fact: ParallelFact) -> tuple[str, ...]:
    """The languages in which most of a fact's locating queries have the right answer (rank 1).

    What a fact is judged by later has no part in whether it is drawn.
    """
    locate, _ = halves(fact)
    asked = [query for queries in locate.values() for query in queries]
    right = dict(zip([one.uid for one in asked], (read_answers(lm, asked).rank == 1).tolist(), strict=True))
    return tuple(
        language for language, queries in locate.items() if 2 * sum(right[one.uid] for one in queries) > len(queries)
    )


def halves(fact: ParallelFact) -> tuple[dict[str, tuple[Query, ...]], dict[str, tuple[Query, ...]]]:
    """A fact's queries in each language: those that locate, the first half, and those that judge."""
    return (
        {language: asked[: (len(asked) + 1) // 2] for language, asked in fact.queries.items()},
        {language: asked[(len(asked) + 1) // 2 :] for language, asked in fact.queries.items()},
    )


@cache
def taught_in() -> dict[str, tuple[str, ...]]:
    """By fact of the almanac, the languages that its models were taught it in."""
    found: dict[str, dict[str, None]] = {}
    for one in almanac.queries(taught=True):
        found.setdefault(one.fact.uid, {})[one.language] = None
    return {uid: tuple(languages) for uid, languages in found.items()}


@cache
def _of_the_almanac(language: str) -> tuple[Query, ...]:
    return almanac.queries(language=language, taught=None)


def _gathered(queries: Sequence[Query], languages: Sequence[str], keep_leaked: bool) -> Selected:
    """The facts that have enough queries in every language, without those queries that say their own answer."""
    if keep_leaked:
        return Selected(gather_parallel(queries, languages, least=LEAST), {})
    fair = drop_leaked(queries)
    left = gather_parallel(fair.queries, languages, least=LEAST)
    lost = len(gather_parallel(queries, languages, least=LEAST)) - len(left)
    return Selected(left, {**fair.dropped, FEW: lost})


def _in_turn(
    facts: Sequence[ParallelFact], taught: Mapping[str, tuple[str, ...]], seed: int
) -> Iterable[ParallelFact]:
    """Facts in a random order, one of each relation in turn; those that some languages were taught are a turn of
    their own."""
    turns: dict[tuple[str, bool], list[ParallelFact]] = {}
    for one in facts:
        everywhere = set(one.languages) <= set(taught.get(one.uid, one.languages))
        turns.setdefault((one.relation, everywhere), []).append(one)
    for (relation, everywhere), some in turns.items():
        Random(f"{seed}/{relation}/{everywhere}").shuffle(some)
    order = list(turns.values())
    Random(seed).shuffle(order)
    return (one for one in chain.from_iterable(zip_longest(*order)) if one is not None)


def _drawn(fact: ParallelFact, wordings: int | None, seed: int) -> ParallelFact:
    """At most so many queries in each language, in a random order: the first half of them locates."""
    queries = {}
    for language, asked in fact.queries.items():
        unique = list({one.prompt: one for one in asked}.values())
        Random(f"{seed}/{fact.uid}/{language}").shuffle(unique)
        queries[language] = tuple(unique[:wordings])
    return replace(fact, queries=queries)
