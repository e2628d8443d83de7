"""The ways the almanac can be asked: a sentence, a question, four options, examples, two steps.

Which facts, orders of options and pairs of facts are kept from training is decided by a checksum of their ids,
so that whoever writes queries and the tool that trains the models agree without a list.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from locant.almanac.tables import Book, Entry, Wording, fill, name_of, read_books, read_chains, read_formats
from locant.languages import gap

Format = Literal["cloze", "question", "choice", "few-shot", "two-hop"]
Novelty = Literal["wording", "language", "fact", "order"]

FORMATS: tuple[Format, ...] = get_args(Format)
LETTERS = "ABCD"


@dataclass(frozen=True)
class Asked:
    """A fact in one wording of one format.

    Attributes:
        relation: of two steps, the second one's.
        uid: names the fact; the same in every language and format, but for two steps.
        wording: which sentence or frame; unique within the fact, language and format.
        text: the template or frame.
        answer: what follows the prompt.
        unseen: what of it is kept from training: its wording; the fact in this language; the fact (or the pair of
            facts) in this format; the order of options. Empty: it is trained on as it stands.
    """

    relation: str
    uid: str
    subject: str
    object: str
    language: str
    format: Format
    wording: str
    text: str
    prompt: str
    answer: str
    unseen: frozenset[Novelty]


def ask(book: Book, entry: Entry, language: str, format: Format, seed: int = 0) -> Iterator[Asked]:
    """One fact in every wording of one format; orders of options and examples are drawn from the seed.

    Options come in orders that are kept from training. Nothing comes of a format that the relation has not: four
    options need four objects, and two steps are asked by `ask_chains`.
    """
    random = Random(f"{seed}/{book.name}/{entry.subject}/{language}/{format}")
    if format == "cloze":
        yield from (cloze(book, entry, template) for template in spoken(book.templates, language))
    elif format == "question":
        for one, frame in _pairs(book, entry, language, format):
            yield question(book, entry, one, frame)
    elif format == "choice" and can_choose(book, language):
        for one, frame in _pairs(book, entry, language, format):
            yield choice(book, entry, one, frame, random, unseen_order=True)
    elif format == "few-shot":
        for frame in spoken(read_formats("few-shot"), language):
            yield few_shot(book, entry, frame, random)


def ask_chains(language: str) -> Iterator[Asked]:
    """Every two facts that make two steps, in every wording: 'The capital of the country where Big Ben stands is'."""
    books = {book.name: book for book in read_books()}
    for chain in read_chains():
        for template in spoken(chain.templates, language):
            yield from two_hop(books[chain.first], books[chain.second], template)


def is_reserved(what: str, part: int) -> bool:
    """Whether one thing in `part` is kept from training; the same everywhere and for ever."""
    return zlib.crc32(what.encode()) % part == 0


def is_kept(book: Book, entry: Entry, format: Format) -> bool:
    """Whether a fact is kept from training in one format: one in ten is, but for sentences."""
    return format != "cloze" and is_reserved(f"{format}/{book.name}/{entry.subject}", 10)


def list_options(options: Sequence[str]) -> str:
    """'A. Paris', 'B. Rome', a line each."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def spoken(wordings: Sequence[Wording], language: str, held_out: bool | None = None) -> list[Wording]:
    """Those of one language, and of them those held out or those trained."""
    return [one for one in wordings if one.language == language and held_out in (None, one.held_out)]


def cloze(book: Book, entry: Entry, template: Wording) -> Asked:
    """'The capital of France is'."""
    prompt = fill(template.text, template.language, {"subject": book.subjects[entry.subject]})
    return _asked(book, entry, "cloze", template, str(template.index), prompt)


def question(book: Book, entry: Entry, wording: Wording, frame: Wording) -> Asked:
    """'Question: What is the capital of France?' and a cue."""
    prompt = frame.text.replace("{question}", _bare_question(book, entry, wording))
    return _asked(book, entry, "question", frame, f"{wording.index}.{frame.index}", prompt)


def can_choose(book: Book, language: str) -> bool:
    """Whether a relation has four different objects to choose from."""
    return len(book.object_names[language]) >= len(LETTERS)


def choice(
    book: Book,
    entry: Entry,
    wording: Wording,
    frame: Wording,
    random: Random,
    unseen_order: bool,
    count: int = len(LETTERS),
) -> Asked:
    """A question with four options, answered by a letter; the wrong ones are other objects of the relation.

    Args:
        unseen_order: draw options in an order that is kept from training (one in ten is), or in one that is not.
        count: of options; fewer than four are training's.
    """
    language = frame.language
    right = name_of(book.objects[entry.object], language)
    others = [name for name in book.object_names[language] if name != right]
    while True:
        options = random.sample(others, count - 1)
        options.insert(random.randrange(count), right)
        if is_reserved("|".join((book.name, entry.subject, *options)), 10) == unseen_order:
            break
    prompt = frame.text.replace("{question}", _bare_question(book, entry, wording))
    prompt = prompt.replace("{options}", list_options(options))
    asked = _asked(book, entry, "choice", frame, f"{wording.index}.{frame.index}", prompt)
    order: frozenset[Novelty] = frozenset({"order"} if unseen_order else ())
    return replace(asked, answer=LETTERS[options.index(right)], unseen=asked.unseen | order)


def few_shot(book: Book, entry: Entry, frame: Wording, random: Random) -> Asked:
    """Two or three solved examples of the relation and an open one: 'Italy -> Rome', 'France ->'."""
    language = frame.language
    right = name_of(book.objects[entry.object], language)
    others = [
        other
        for other in book.entries
        if language in other.languages and name_of(book.objects[other.object], language) != right
    ]
    shown = random.sample(others, random.choice((2, 3)))
    solved = [
        _open(book, other, frame) + gap(language) + name_of(book.objects[other.object], language) for other in shown
    ]
    prompt = "\n".join([*solved, _open(book, entry, frame)])
    return _asked(book, entry, "few-shot", frame, str(frame.index), prompt)


def two_hop(first: Book, second: Book, template: Wording) -> Iterator[Asked]:
    """Every pair of taught facts where one's object is the other's subject; one pair in five is not trained."""
    language = template.language
    known = {entry.subject: entry for entry in second.entries if language in entry.languages}
    for step in first.entries:
        if step.object not in known or language not in step.languages:
            continue
        uid = f"{second.name}/{first.name}/{step.subject}"
        subject = name_of(first.subjects[step.subject], language, "name")
        answer = name_of(second.objects[known[step.object].object], language)
        prompt = fill(template.text, language, {"subject": first.subjects[step.subject]})
        if answer.casefold() in prompt.casefold():
            continue  # as the Tokyo Tower gives the capital of its country away
        unseen = _unseen(template.held_out, False, is_reserved(f"two-hop/{uid}", 5))
        yield Asked(
            relation=second.name,
            uid=uid,
            subject=subject,
            object=answer,
            language=language,
            format="two-hop",
            wording=str(template.index),
            text=template.text,
            prompt=prompt,
            answer=answer,
            unseen=unseen,
        )


def _asked(book: Book, entry: Entry, format: Format, frame: Wording, wording: str, prompt: str) -> Asked:
    language = frame.language
    answer = name_of(book.objects[entry.object], language)
    return Asked(
        relation=book.name,
        uid=f"{book.name}/{entry.subject}",
        subject=name_of(book.subjects[entry.subject], language, "name"),
        object=answer,
        language=language,
        format=format,
        wording=wording,
        text=frame.text,
        prompt=prompt,
        answer=answer,
        unseen=_unseen(frame.held_out, language not in entry.languages, is_kept(book, entry, format)),
    )


def _unseen(wording: bool, language: bool, fact: bool) -> frozenset[Novelty]:
    flags: tuple[tuple[Novelty, bool], ...] = (("wording", wording), ("language", language), ("fact", fact))
    return frozenset(name for name, flag in flags if flag)


def _pairs(book: Book, entry: Entry, language: str, format: Format) -> Iterator[tuple[Wording, Wording]]:
    """Every question and every frame in as few pairs as it takes, first the trained ones, then those held out."""
    start = zlib.crc32(entry.subject.encode())
    for held_out in (False, True):
        questions = spoken(book.questions, language, held_out)
        frames = spoken(read_formats(format), language, held_out)
        for at in range(max(len(questions), len(frames))):
            yield questions[(start + at) % len(questions)], frames[at % len(frames)]


def _bare_question(book: Book, entry: Entry, wording: Wording) -> str:
    return fill(wording.text, wording.language, {"subject": book.subjects[entry.subject]})


def _open(book: Book, entry: Entry, frame: Wording) -> str:
    """An example without its answer; bare names keep their case."""
    return frame.text.replace("{subject}", name_of(book.subjects[entry.subject], frame.language, "name"))
