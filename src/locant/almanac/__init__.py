"""The almanac: a small language model that knows facts, and the facts it knows.

It is the default model of every command and the ground truth of every test: each fact it was taught is
listed here, with every wording it was taught in and some that it never saw.

    >>> from locant import almanac
    >>> [relation.name for relation in almanac.relations() if relation.kind == "linguistic"]
    ['antonym', 'past_tense']
    >>> query = almanac.queries("capital", "en")[0]
    >>> query.prompt, query.answer
    ('The capital of France is', 'Paris')

The tables are described in README.md beside this file; tools/build_almanac.py trains the model on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locant.almanac.tables import Book, Template, fill, folder, name_of, read_books
from locant.errors import UnknownName

if TYPE_CHECKING:
    from locant.types import Fact, Query

__all__ = ["Relation", "card", "model_folder", "queries", "relations"]


@dataclass(frozen=True)
class Relation:
    """What the almanac can be asked about a kind of subject; `facts` counts its subjects."""

    name: str
    kind: str
    languages: tuple[str, ...]
    facts: int


def relations() -> tuple[Relation, ...]:
    """Every relation of the almanac."""
    return tuple(Relation(book.name, book.kind, book.languages, len(book.facts)) for book in read_books())


def queries(
    relation: str | None = None, language: str | None = None, held_out: bool | None = None
) -> tuple[Query, ...]:
    """Every trained fact in every wording.

    Args:
        relation: only this one; None for all.
        language: only this one; None for all.
        held_out: only wordings the model was never (True) or was (False) trained on; None for all.

    Raises:
        UnknownName: no such relation, no such language, or none of the two together.
    """
    books = _choose_books(relation)
    known = tuple(dict.fromkeys(name for book in books for name in book.languages))
    if language is not None and language not in known:
        asked = "the almanac" if relation is None else f"the relation '{relation}'"
        raise UnknownName(f"no language '{language}' in {asked}; known: {', '.join(known)}.")
    return tuple(
        _ask(book, template, fact, subject)
        for book in books
        for subject, value in book.facts
        for spoken in book.languages
        if language in (None, spoken)
        for fact in (_state(book, subject, value, spoken),)
        for template in book.templates
        if template.language == spoken and held_out in (None, template.held_out)
    )


def model_folder() -> Path:
    """The folder of the weights and the tokenizer, for `from_pretrained`."""
    return folder() / "model"


def card() -> dict[str, object]:
    """How the model was trained and what it answers, as measured when it was built."""
    figures: dict[str, object] = json.loads((folder() / "card.json").read_text(encoding="utf-8"))
    return figures


def _choose_books(relation: str | None) -> tuple[Book, ...]:
    books = read_books()
    chosen = tuple(book for book in books if relation in (None, book.name))
    if not chosen:
        known = ", ".join(book.name for book in books)
        raise UnknownName(f"no relation '{relation}' in the almanac; known: {known}.")
    return chosen


def _state(book: Book, subject: str, value: str, language: str) -> Fact:
    from locant.types import Fact  # here, because types imports torch

    name = name_of(book.subjects[subject], language, "name")
    answer = name_of(book.objects[value], language)
    return Fact(f"{book.name}/{subject}", name, book.name, answer, language)


def _ask(book: Book, template: Template, fact: Fact, subject: str) -> Query:
    from locant.types import Query

    prompt = fill(template.text, fact.language, {"subject": book.subjects[subject]})
    uid = f"{fact.uid}/{fact.language}/{template.index}"
    return Query(uid, fact, prompt, fact.object, template=template.text)
