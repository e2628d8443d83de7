"""Multiple choice: questions answered by one letter, so that an answer of any length is one token.

`choose` puts an `Item`, a question and its answer, into a prompt per template, with options in an order of their
own. What is a choice already, as the almanac's format of that name, goes through `gather_choices`; `put_in_chat`
wraps prompts for a chat model.

Source: Chen, Dejl and Toni 2025, arXiv:2406.10868, multi-choice reformulation; the templates are ours.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random

from transformers import PreTrainedTokenizerBase

from locant.errors import BadQuery, UnknownName, nearest
from locant.queries.items import LETTERS, Item
from locant.types import Fact, Query

_OPTION = re.compile(r" ?([A-Z])\. +(\S.*)")
_GAP = re.compile(r"\{(question|options)\}")


@dataclass(frozen=True)
class ChoicePrompt:
    """A question in one template: its options in one order.

    Attributes:
        query: its prompt ends where the letter begins; its answer is the letter of the right option.
        letters: of all options, A first.
        options: their texts, in the letters' order; empty if they are not known.
    """

    query: Query
    letters: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """The place of the right option."""
        return self.letters.index(self.query.answer)


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question in every template that it is asked in; its prompts share their fact.

    Attributes:
        group: the domain it is of, or the language.
        question: as its first prompt words it; may be empty.
        answer: the text of the right option; may be empty.
        prompts: one per template, in the templates' order.
    """

    uid: str
    group: str
    question: str
    answer: str
    prompts: tuple[ChoicePrompt, ...]

    @property
    def fact(self) -> str:
        """What is asked, by its uid; the same in every language."""
        return self.prompts[0].query.fact.uid

    @property
    def relation(self) -> str:
        """What kind of thing is asked; may be empty."""
        return self.prompts[0].query.fact.relation


# Building prompts


def choose(
    items: Sequence[Item],
    *,
    seed: int = 0,
    templates: Sequence[int] = (1, 2, 3),
    options: int = 4,
    resample: bool = False,
) -> tuple[ChoiceQuestion, ...]:
    """Make each item a choice of options, asked in each template in an order of its own.

    Wrong options are the answers of other items of the same group and language: never an answer to the same
    question, nor a text that holds the answer or stands in it. An item's prompts depend on the seed, its uid and
    the set of its group's answers, not on the order of items or on the other templates.

    Args:
        templates: numbers of the wordings in choice_frames.tsv.
        options: how many, the right one included; an item that has wrong options keeps them all.
        resample: draw other wrong options for every template; else all templates have the same ones.

    Raises:
        BadQuery: a group has too few answers to draw from, or two items share a uid.
        UnknownName: a language or a template that there is not, or a number of options that letters cannot name.
    """
    if not 2 <= options <= len(LETTERS):
        raise UnknownName(f"{options} options cannot be lettered; there are 2 to {len(LETTERS)}")
    _refuse_templates(templates, items)
    _refuse_equal_uids(items)
    drawable = _find_drawable(items, options)

    def ask(one: Item, template: int) -> ChoicePrompt:
        draw = Random(f"{seed}/{one.uid}/{template}" if resample else f"{seed}/{one.uid}")
        wrong = one.wrong or draw.sample(drawable[one.uid], options - 1)
        texts = [one.answer, *wrong]
        Random(f"{seed}/{one.uid}/{template}/order").shuffle(texts)
        return _fill(one, template, tuple(texts))

    return tuple(
        ChoiceQuestion(one.uid, one.group, one.question, one.answer, tuple(ask(one, number) for number in templates))
        for one in items
    )


def choice_languages() -> tuple[str, ...]:
    """The languages that `choose` has templates in."""
    return tuple(_read_frames())


@cache
def _read_frames() -> Mapping[str, Mapping[int, str]]:
    """The text of each template, by language and number."""
    lines = (files("locant.queries") / "choice_frames.tsv").read_text(encoding="utf-8").splitlines()
    found: dict[str, dict[int, str]] = {}
    for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        found.setdefault(row["language"], {})[int(row["template"])] = row["text"].replace("\\n", "\n")
    return found


def _refuse_templates(templates: Sequence[int], items: Sequence[Item]) -> None:
    frames = _read_frames()
    for language in dict.fromkeys(one.language for one in items):
        if language not in frames:
            raise UnknownName(f"no templates in {language!r}{nearest(language, frames)}; known: {', '.join(frames)}.")
        for number in templates:
            if number not in frames[language]:
                known = ", ".join(map(str, frames[language]))
                raise UnknownName(f"no template {number} in {language!r}; known: {known}.")
    if not templates or len(set(templates)) < len(templates):
        raise UnknownName(f"a question is asked in at least one template and once in each, not in {tuple(templates)}")


def _find_drawable(items: Sequence[Item], options: int) -> dict[str, list[str]]:
    """For each item without wrong options those it can be given, in an order that is the same for all seeds."""
    pools: dict[tuple[str, str], dict[str, str]] = {}
    right: dict[tuple[str, str], set[str]] = {}
    # Sorted, so that of two spellings of an answer the same one is kept whatever the order of items
    for one in sorted(items, key=lambda one: one.answer):
        pools.setdefault((one.group, one.language), {}).setdefault(_fold(one.answer), one.answer)
        right.setdefault((one.language, _fold(one.question)), set()).add(_fold(one.answer))
    found: dict[str, list[str]] = {}
    for one in (one for one in items if not one.wrong):
        pool, taken = pools[one.group, one.language], right[one.language, _fold(one.question)]
        found[one.uid] = [text for other, text in pool.items() if not any(_overlap(other, own) for own in taken)]
        _refuse_few(one, found[one.uid], len(pool), options)
    return found


def _refuse_equal_uids(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for one in items:
        if one.uid in seen:
            raise BadQuery(f"two items share the uid {one.uid!r}; give each its own, or drop the repeated one")
        seen.add(one.uid)


def _refuse_few(one: Item, drawable: Sequence[str], different: int, options: int) -> None:
    group = f"the group {one.group!r} ({one.language})"
    if different < options:
        raise BadQuery(
            f"{group} has {different} different answers, too few for {options} options; "
            "add questions to it, or give each its own options"
        )
    if len(drawable) < options - 1:
        raise BadQuery(
            f"item {one.uid!r}: of {group} only {len(drawable)} answers can stand beside {one.answer!r}, and "
            f"{options} options need {options - 1}; the others hold it, stand in it, or answer the same question"
        )


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _overlap(one: str, other: str) -> bool:
    return one in other or other in one


def _fill(one: Item, template: int, texts: tuple[str, ...]) -> ChoicePrompt:
    letters = letters_of(texts)
    parts = {
        "question": one.question,
        "options": "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)),
    }
    query = Query(
        uid=f"{one.uid}/{template}",
        fact=Fact(one.uid, relation=one.group, object=one.answer, language=one.language),
        # In one pass, for a question may itself hold what looks like a gap
        prompt=_GAP.sub(lambda gap: parts[gap[1]], _read_frames()[one.language][template]),
        answer=letters[texts.index(one.answer)],
        template=str(template),
    )
    return ChoicePrompt(query, letters, texts)


# Prompts that are choices already


def gather_choices(
    queries: Iterable[Query], group: Callable[[Query], str], templates: int = 3
) -> tuple[ChoiceQuestion, ...]:
    """Gather queries that are choices already into questions: those of one fact in one language.

        domains = {relation.name: relation.domain for relation in almanac.relations()}
        gather_choices(almanac.queries(format="choice", language="en"), lambda query: domains[query.relation])
        gather_choices(almanac.queries("capital", format="choice"), lambda query: query.language)

    Args:
        group: the domain of a query, or its language.
        templates: how many prompts of each fact, the first ones; of the almanac's the same frames for every fact.

    Raises:
        BadQuery: a prompt without lettered options, a letter that is not that of the fact's object, or a fact in
            fewer prompts than templates.
    """
    facts: dict[tuple[str, str], list[Query]] = {}
    for query in queries:
        facts.setdefault((query.fact.uid, query.language), []).append(query)
    return tuple(_gather(asked, group, templates) for asked in facts.values())


def _gather(asked: Sequence[Query], group: Callable[[Query], str], templates: int) -> ChoiceQuestion:
    first = asked[0]
    uid = f"{first.fact.uid}/{first.language}"
    if not 1 <= templates <= len(asked):
        raise BadQuery(f"question {uid!r} is asked in {len(asked)} prompts, so not in {templates} templates")
    prompts = []
    for query in asked[:templates]:
        texts = find_options(query.prompt)
        letters = letters_of(texts)
        pointed = dict(zip(letters, texts, strict=True)).get(query.answer)
        if pointed != query.fact.object:
            raise BadQuery(
                f"query {query.uid!r}: its answer is {query.fact.object!r}, but {query.answer!r} is "
                f"{'the letter of ' + repr(pointed) if pointed else 'no letter of its options'}"
            )
        prompts.append(ChoicePrompt(query, letters, texts))
    return ChoiceQuestion(uid, group(first), _find_question(first), first.fact.object, tuple(prompts))


def find_options(prompt: str) -> tuple[str, ...]:
    """The texts of a prompt's options: lines like 'A. Paris' one after the other, the last such lines from A on.

    Raises:
        BadQuery: there are no two of them.
    """
    found: list[str] = []
    run: list[str] = []
    for line in prompt.split("\n"):
        option = _OPTION.fullmatch(line)
        if option is None or option[1] != LETTERS[len(run) : len(run) + 1]:
            run = []
        if option is not None and option[1] == LETTERS[len(run) : len(run) + 1]:
            run.append(option[2].rstrip())
        if len(run) > 1:
            found = run
    if not found:
        raise BadQuery(f"there are no options, such as 'A. Paris', in the prompt {prompt!r}")
    return tuple(found)


def letters_of(options: Sequence[str]) -> tuple[str, ...]:
    """A letter for each option."""
    return tuple(LETTERS[: len(options)])


def _find_question(query: Query) -> str:
    """What stands in a prompt where its template says '{question}', if it does."""
    pattern = re.escape(query.template).replace(r"\{question\}", "(?P<question>.+)", 1)
    match = re.fullmatch(pattern.replace(r"\{options\}", r"(?:.|\n)+", 1), query.prompt)
    return match["question"] if match and "question" in match.groupdict() else ""


# Chat models


def put_in_chat(
    questions: Iterable[ChoiceQuestion], tokenizer: PreTrainedTokenizerBase, *, cue_in_reply: bool = True
) -> tuple[ChoiceQuestion, ...]:
    """Wrap every prompt in a tokenizer's chat template, up to where the assistant is to name the letter.

    Args:
        cue_in_reply: the prompt's last line, its cue, begins the assistant's reply. If not, it ends the user's
            message, and the letter itself begins the reply.

    Raises:
        UnknownName: the tokenizer has no chat template; or the letter is to begin the reply, but what the template
            puts before replies ends with a line break or space, where no query's prompt can end.
    """
    if not tokenizer.chat_template:
        raise UnknownName("this tokenizer has no chat template; ask its model the plain prompts")
    return tuple(
        replace(
            one,
            prompts=tuple(
                replace(part, query=replace(part.query, prompt=_wrap(part.query.prompt, tokenizer, cue_in_reply)))
                for part in one.prompts
            ),
        )
        for one in questions
    )


def _wrap(prompt: str, tokenizer: PreTrainedTokenizerBase, cue_in_reply: bool) -> str:
    asked, _, cue = prompt.rpartition("\n") if cue_in_reply else (prompt, "", "")
    message = [{"role": "user", "content": asked.rstrip()}]
    text = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    first = tokenizer.bos_token
    # A tokenizer that puts its own first token before every text must not find it there already
    if first and tokenizer("A")["input_ids"][:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(first)
    if cue:
        return text + ("" if text[-1:].isspace() else " ") + cue
    if text[-1:].isspace():
        raise UnknownName(
            "what this chat template puts before a reply ends with a line break or space, and no query's prompt can; "
            "let the cue begin the reply (cue_in_reply=True)"
        )
    return text
