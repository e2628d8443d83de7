"""What is wrong with a set of queries: filters that count what they drop, and a datasheet of what is left.

    once = drop_duplicates(queries)
    fair = drop_leaked(once.queries)
    datasheet(queries, [once, fair])

A filter returns the queries it keeps, in their order. The measures follow the defects of the published sets:
answers that stand in the question, labels that name two things, wordings that do not end with the answer, and
answers that are one string in two languages.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import polars as pl
import torch
from torch import Tensor

from locant.errors import BadQuery, UnknownName
from locant.languages import UNSPACED
from locant.queries.mlama import ends_with_object
from locant.queries.parallel import ParallelFact, said
from locant.queries.pararel import OBJECT
from locant.queries.tokens import MASK
from locant.types import Query

OBJECT_FINAL, DELETED = "object-final", "blank deleted mid-sentence"
"""Templates of paraphrases of which nothing else is known."""
SUFFIXING = frozenset({"az", "et", "eu", "fi", "hu", "ka", "ko", "tr"})
"""Languages that put endings on a noun without changing it."""

FAMILIES: dict[str, str] = {
    language: family
    for family, languages in {
        "Afro-Asiatic": "ar he",
        "Austroasiatic": "vi",
        "Austronesian": "ceb id ms",
        "Basque": "eu",
        "Dravidian": "ta",
        "Indo-European": "af be bg bn ca cs cy da de el en es fa fr ga gl hi hr hy is it la lt lv nl pl pt ro ru sk "
        "sl sq sr sv uk ur",
        "Japonic": "ja",
        "Kartvelian": "ka",
        "Koreanic": "ko",
        "Kra-Dai": "lo th",
        "Sino-Tibetan": "my zh zh-hans zh-hant",
        "Turkic": "az tr",
        "Uralic": "et fi hu",
    }.items()
    for language in languages.split()
}
"""The family of each language of mLAMA and mParaRel."""


@dataclass(frozen=True)
class Filtered:
    """What a filter kept, in the order given, and how many it dropped for what reason."""

    queries: tuple[Query, ...]
    dropped: Mapping[str, int]


# Filters


def drop_duplicates(queries: Sequence[Query]) -> Filtered:
    """Keep the first of the queries with the same language, prompt and answer, whatever their facts."""
    seen: set[tuple[str, str, str]] = set()

    def judge(one: Query) -> str | None:
        key = (one.language, one.prompt, one.answer)
        if key in seen:
            return "exact duplicates"
        seen.add(key)
        return None

    return _sift(queries, ("exact duplicates",), judge)


def drop_leaked(queries: Sequence[Query]) -> Filtered:
    """Drop the queries that say their own answer: in the fact's subject or, failing that, in the prompt.

    Letters are compared without case. In scripts without spaces an answer is found anywhere; elsewhere as whole
    words, to which languages that put endings on nouns (`SUFFIXING`) may add some: the English Iran is not in
    Iranian, the Finnish Helsinki is in Helsinkiin. What is inflected in other ways is not found.
    """

    def judge(one: Query) -> str | None:
        if stands_in(one.answer, one.fact.subject, one.language):
            return "answer in subject"
        return "answer in prompt" if stands_in(one.answer, one.prompt, one.language) else None

    return _sift(queries, ("answer in subject", "answer in prompt"), judge)


def drop_ambiguous(queries: Sequence[Query]) -> Filtered:
    """Drop the queries whose label of the subject, or of the object, names two things in its language.

    A label is ambiguous if two facts of one relation have it in this language, and different labels in another:
    two towns, both Lincoln in English, one Lincoln (Nebraska) in French. Labels stand for things here because
    a thing has one label in a language (in mLAMA without exception), so that what some language tells apart is two
    things. What all languages at hand call alike cannot be told apart, and passes. An empty label is none.

    A query with both faults is counted by its subject.
    """
    subjects = _find_ambiguous(queries, lambda one: one.fact.subject)
    objects = _find_ambiguous(queries, said)

    def judge(one: Query) -> str | None:
        if (one.relation, one.language, one.fact.subject) in subjects:
            return "ambiguous subject"
        return "ambiguous object" if (one.relation, one.language, said(one)) in objects else None

    return _sift(queries, ("ambiguous subject", "ambiguous object"), judge)


def similar(queries: Sequence[Query], embed: Callable[[Sequence[str]], Tensor], least: float) -> Filtered:
    """Drop paraphrases that are too far from the others of their fact and language.

    Too far: the mean cosine of a prompt with each of the others is below `least`. A prompt without others stays; of
    two that are far from each other both go.

    Args:
        embed: gives each of the texts a vector, [text, width]; asked once, for all different prompts.
        least: a cosine, -1 to 1.

    Raises:
        UnknownName: `least` is no cosine, or the vectors are not one for each text, or not finite.
    """
    if not -1 <= least <= 1:
        raise UnknownName(f"a cosine is from -1 to 1, not {least}")
    place = {text: number for number, text in enumerate(dict.fromkeys(one.prompt for one in queries))}
    if not place:
        return Filtered((), {"unlike the others": 0})
    vectors = embed(tuple(place))
    if vectors.ndim != 2 or len(vectors) != len(place) or not vectors.isfinite().all():
        raise UnknownName(
            f"the embedding gave {list(vectors.shape)}, not a finite vector for each of {len(place)} texts"
        )
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, one in enumerate(queries):
        groups.setdefault((one.fact.uid, one.language), []).append(number)
    far: set[int] = set()
    for members in groups.values():
        if len(members) > 1:
            own = unit[[place[queries[number].prompt] for number in members]]
            cosine = own @ own.T
            mean = (cosine.sum(dim=1) - cosine.diagonal()) / (len(members) - 1)
            # Equal prompts have a cosine of 1, which rounding may make a little less
            far.update(members[at] for at in (mean < least - 1e-9).nonzero().flatten().tolist())
    kept = tuple(one for number, one in enumerate(queries) if number not in far)
    return Filtered(kept, {"unlike the others": len(far)})


def _sift(queries: Sequence[Query], reasons: Sequence[str], judge: Callable[[Query], str | None]) -> Filtered:
    """Keep what is judged to have no fault."""
    dropped = Counter(dict.fromkeys(reasons, 0))
    kept = []
    for one in queries:
        fault = judge(one)
        if fault is None:
            kept.append(one)
        else:
            dropped[fault] += 1
    return Filtered(tuple(kept), dict(dropped))


def _find_ambiguous(queries: Iterable[Query], label: Callable[[Query], str]) -> set[tuple[str, str, str]]:
    """The (relation, language, label) that two facts share which another language tells apart."""
    labels: dict[tuple[str, str], dict[str, str]] = {}
    for one in queries:
        if label(one):
            labels.setdefault((one.relation, one.fact.uid), {})[one.language] = label(one)
    elsewhere: dict[tuple[str, str, str], dict[str, str]] = {}
    found = set()
    for (relation, _), by_language in labels.items():
        for language, text in by_language.items():
            known = elsewhere.setdefault((relation, language, text), {})
            for other, same in by_language.items():
                if known.setdefault(other, same) != same:
                    found.add((relation, language, text))
    return found


# Measures of a query


def stands_in(answer: str, text: str, language: str) -> bool:
    """Whether an answer is said in a text, as `drop_leaked` understands it."""
    sought, where = _fold(answer, language).strip(), _fold(text, language)
    if not sought or sought not in where:
        return False
    return language in UNSPACED or bool(_whole(sought, language in SUFFIXING).search(where))


def is_object_final(query: Query) -> bool:
    """Whether nothing but punctuation follows the object in the wording.

    The wording is the template, where it has [Y] or tells of a lost blank; else the prompt, which ends where the
    answer begins, or has the mask there.
    """
    if OBJECT in query.template:
        return ends_with_object(query.template)
    if query.template == DELETED:
        return False
    return not any(character.isalnum() for character in query.prompt.partition(MASK)[2])


def _fold(text: str, language: str) -> str:
    if language in ("az", "tr"):
        text = text.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=4096)
def _whole(sought: str, suffixing: bool) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(sought)}" + ("" if suffixing else r"(?!\w)"))


def shared_answers(fact: ParallelFact) -> set[tuple[str, str]]:
    """The pairs of languages in which the fact has one and the same answer string; each pair in the fact's order.

    Neurons that such languages share may be those of the string, not of the fact: report these pairs apart.
    """
    return {
        (one, other) for (one, said_so), (other, same) in combinations(fact.answers.items(), 2) if said_so == same
    }


# The datasheet

_COUNTS = (
    pl.col("fact").n_unique().alias("facts"),
    pl.col("count").sum().alias("queries"),
    pl.col("count").mean().alias("queries_per_fact"),
    pl.col("count").min().alias("fewest"),
    pl.col("count").max().alias("most"),
    (pl.col("final").sum() / pl.col("count").sum()).fill_nan(None).alias("object_final"),
    (pl.col("leaked") > 0).mean().alias("answer_inside"),
    (pl.col("answer") == pl.col("english")).filter(pl.col("language") != "en").mean().alias("same_answer"),
    pl.col("equal").mean().alias("equal_counts"),
)


def datasheet(queries: Sequence[Query], steps: Sequence[Filtered] = ()) -> pl.DataFrame:
    """Count a set of queries and what filters made of it.

    Args:
        queries: before any filter.
        steps: what each filter returned, in the order they were applied; the last has the queries that are kept.

    Returns:
        Rows, by `part`: 'before', all queries before the filters; 'dropped', one for each reason of each step; then
        of the queries kept 'all', 'language', 'family', 'relation', 'language/relation', and 'pair' of languages.
        Columns, null where there is nothing to count, a fact counting once in each of its languages:

        name: of the language, relation and so on, or the reason for dropping.
        facts, queries: how many.
        queries_per_fact, fewest, most: queries of a fact in one language, mean, smallest and largest number.
        object_final: share of queries whose wording ends with the object (`is_object_final`).
        answer_inside: share of facts that some query gives away (`drop_leaked`).
        same_answer: share of facts whose answer is the same string as in English; of a pair, in both languages.
        equal_counts: share of facts with as many queries in each of their languages; 1 for a relation that is
            equal everywhere.
        dropped: how many the step dropped: queries, where the reason does not say otherwise.

    Raises:
        BadQuery: there are no queries.
    """
    if not queries:
        raise BadQuery("there are no queries to count")
    table = _by_fact(steps[-1].queries if steps else queries)
    parts = [
        _count(_by_fact(queries) if steps else table, "before", pl.lit("all")),
        pl.DataFrame(
            [("dropped", reason, count) for step in steps for reason, count in step.dropped.items()],
            schema={"part": pl.String, "name": pl.String, "dropped": pl.Int64},
            orient="row",
        ),
        _count(table, "all", pl.lit("all")),
        _count(table, "language", pl.col("language")),
        _count(table, "family", pl.col("family")),
        _count(table, "relation", pl.col("relation")),
        _count(table, "language/relation", pl.concat_str("language", "relation", separator="/")),
        _count_pairs(table),
    ]
    return pl.concat(parts, how="diagonal_relaxed")


def _by_fact(queries: Sequence[Query]) -> pl.DataFrame:
    """A row per fact and language."""
    texts = {"fact": pl.String, "language": pl.String, "relation": pl.String, "answer": pl.String}
    rows = pl.DataFrame(
        {
            "fact": [one.fact.uid for one in queries],
            "language": [one.language for one in queries],
            "relation": [one.relation for one in queries],
            "answer": [said(one) for one in queries],
            "final": [is_object_final(one) for one in queries],
            "leaked": [stands_in(one.answer, f"{one.fact.subject}\n{one.prompt}", one.language) for one in queries],
        },
        schema=texts | {"final": pl.Boolean, "leaked": pl.Boolean},
    )
    facts = rows.group_by("fact", "language", maintain_order=True).agg(
        pl.col("relation", "answer").first(), pl.col("final", "leaked").sum(), pl.len().cast(pl.Int64).alias("count")
    )
    english = facts.filter(pl.col("language") == "en").select("fact", pl.col("answer").alias("english"))
    return facts.join(english, on="fact", how="left", maintain_order="left").with_columns(
        pl.col("language").replace_strict(FAMILIES, default="unknown").alias("family"),
        (pl.col("count").n_unique().over("fact") == 1).alias("equal"),
    )


def _count(table: pl.DataFrame, part: str, name: pl.Expr) -> pl.DataFrame:
    """A row for each name, in order of appearance."""
    counted = table.group_by(name.alias("name"), maintain_order=True).agg(*_COUNTS)
    if part not in ("before", "all", "relation"):  # the others hold a fact's languages in part
        counted = counted.with_columns(pl.lit(None, pl.Float64).alias("equal_counts"))
    return counted.select(pl.lit(part).alias("part"), pl.all())


def _count_pairs(table: pl.DataFrame) -> pl.DataFrame:
    """Of each two languages, the facts in both, and the share of them with one answer string."""
    answers = {
        language: rows.select("fact", "answer")
        for (language,), rows in table.partition_by("language", as_dict=True, maintain_order=True).items()
    }
    rows = []
    for one, other in combinations(answers, 2):
        both = answers[one].join(answers[other], on="fact", suffix="_other")
        same = both.select((pl.col("answer") == pl.col("answer_other")).mean()).item()
        rows.append(("pair", f"{one}-{other}", len(both), same))
    columns = {"part": pl.String, "name": pl.String, "facts": pl.Int64, "same_answer": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")
