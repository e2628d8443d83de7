"""What QRNCA asks: multiple-choice questions from the almanac, published files, MMLU or a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random

from locant import almanac
from locant.errors import BadQuery, UnknownName
from locant.evaluations.letters import letter_probabilities
from locant.models import LanguageModel
from locant.queries.choice import ChoiceQuestion, choose, gather_choices, put_in_chat
from locant.queries.items import Item, read_items, read_mmlu
from locant.queries.qrnca import read_qrnca
from locant.recipes.qrnca.asked import refuse_unfit

SOURCES = "almanac (by domain), almanac:languages, qrnca:FILE, mmlu:FILE or FOLDER, and any file of questions"


def read_choices(
    source: str, *, templates: int = 3, resample: bool = False, seed: int = 0
) -> tuple[ChoiceQuestion, ...]:
    """Read questions, each in several templates.

    Args:
        source: 'almanac' (its own choices in English, by domain), 'almanac:languages' (its parallel facts, by
            language), 'qrnca:FILE' (as published), 'mmlu:FILE' or 'mmlu:FOLDER' (by subject), or a file with the
            columns question, answer, group and perhaps options.
        templates: of each question, the first ones; published files have three.
        resample: draw other wrong options for every template. The almanac always does.

    Raises:
        UnknownName: no such source, or one without so many templates, or whose wrong options are not drawn.
        BadFile, BadQuery: as the readers say.
    """
    name, _, place = source.partition(":")
    if name == "almanac":
        return _of_the_almanac(place, templates, seed)
    if name == "qrnca" and place:
        return _published(place, templates, resample)
    items: tuple[Item, ...] | None = None
    if name == "mmlu" and place:
        files = sorted(Path(place).glob("*.csv")) if Path(place).is_dir() else [Path(place)]
        if not files:
            raise UnknownName(f"no .csv files in {place!r}")
        items = tuple(chain.from_iterable(map(read_mmlu, files)))
    elif Path(source).suffix or Path(source).is_file():
        items = read_items(source)
    if items is None:
        raise UnknownName(f"no data {source!r}; there is {SOURCES}")
    if resample and all(one.wrong for one in items):
        raise UnknownName(f"every question of {source} has wrong options of its own: there are no others to resample")
    return choose(items, seed=seed, templates=range(1, templates + 1), resample=resample)


def select_choices(
    lm: LanguageModel,
    source: str,
    *,
    groups: Sequence[str] | None = None,
    limit: int | None = None,
    known_only: bool = False,
    chat: bool = False,
    templates: int = 3,
    resample: bool = False,
    seed: int = 0,
) -> tuple[ChoiceQuestion, ...]:
    """Read questions, keep what can be asked of a model, and draw from each group.

    Facts are drawn, so that groups which ask the same ones, as languages do, ask the same.

    Args:
        groups: only these domains or languages; None for all.
        limit: questions of each group at most, drawn at random; None for all.
        known_only: only questions whose letter is the most probable one in most of their prompts.
        chat: put prompts into the tokenizer's chat template.

    Raises:
        UnknownName: no such group, or nothing is left; and as `read_choices` does.
    """
    questions = read_choices(source, templates=templates, resample=resample, seed=seed)
    there = tuple(dict.fromkeys(one.group for one in questions))
    for name in groups or ():
        if name not in there:
            raise UnknownName(f"no group {name!r} in {source}; known: {', '.join(there)}.")
    questions = tuple(one for one in questions if groups is None or one.group in groups)
    if chat:
        questions = put_in_chat(questions, lm.tokenizer)
    wanted = {one.group: (limit or len(questions)) for one in questions}
    facts = sorted({one.fact for one in questions})
    Random(seed).shuffle(facts)
    turn = {fact: place for place, fact in enumerate(facts)}
    kept: set[str] = set()
    for one in sorted(questions, key=lambda one: turn[one.fact]):
        if wanted[one.group] and _fits(lm, one) and (not known_only or _knows(lm, one)):
            wanted[one.group] -= 1
            kept.add(one.uid)
    if not kept:
        rest = " that the model answers" if known_only else ""
        raise UnknownName(f"no question of {source} can be asked of this model{rest}")
    return tuple(one for one in questions if one.uid in kept)


@cache
def _of_the_almanac(what: str, templates: int, seed: int) -> tuple[ChoiceQuestion, ...]:
    relations = {one.name: one for one in almanac.relations()}
    if what not in ("", "domains", "languages"):
        raise UnknownName(f"no questions 'almanac:{what}'; there are almanac, almanac:languages")
    if what == "languages":
        parallel = [
            name
            for name, one in relations.items()
            if one.kind == "factual" and set(one.languages) == set(almanac.LANGUAGES)
        ]
        asked = chain.from_iterable(almanac.queries(name, format="choice", seed=seed) for name in parallel)
        return gather_choices(asked, lambda query: query.language, templates)
    known = [name for name, one in relations.items() if one.kind in ("factual", "commonsense")]
    asked = chain.from_iterable(almanac.queries(name, "en", format="choice", seed=seed) for name in known)
    domains = {name: one.domain for name, one in relations.items()}
    return gather_choices(asked, lambda query: domains[query.relation], templates)


def _published(place: str, templates: int, resample: bool) -> tuple[ChoiceQuestion, ...]:
    if resample:
        raise UnknownName("published prompts are asked as they are: no other wrong options can be drawn")
    questions = read_qrnca(place)
    few = min(questions, key=lambda one: len(one.prompts))
    if not 1 <= templates <= len(few.prompts):
        raise UnknownName(f"the published question {few.uid!r} has {len(few.prompts)} prompts, not {templates}")
    return tuple(replace(one, prompts=one.prompts[:templates]) for one in questions)


def _fits(lm: LanguageModel, question: ChoiceQuestion) -> bool:
    try:
        refuse_unfit(lm, question)
    except BadQuery:
        return False
    return True


def _knows(lm: LanguageModel, question: ChoiceQuestion) -> bool:
    """Whether a question that fits the model has the right letter in most of its prompts."""
    found = letter_probabilities(lm, [prompt.query for prompt in question.prompts], question.prompts[0].letters)
    right = [int(own.argmax()) == prompt.right for own, prompt in zip(found, question.prompts, strict=True)]
    return 2 * sum(right) > len(right)
