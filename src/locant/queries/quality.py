"""What is wrong with a set of queries: filters that count what they drop (see datasheet.py for what is left).

    once = drop_duplicates(queries)
    fair = drop_leaked(once.queries)

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

import torch
from torch import Tensor

from locant.errors import UnknownName
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
