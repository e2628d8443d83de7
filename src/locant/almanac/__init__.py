"""The almanac: small language models that know facts in seven languages, and the facts they know.

It is the default model of every command and the ground truth of every test: each fact it was taught is
listed here, with every wording it was taught in and some that it never saw.

    >>> from locant import almanac
    >>> [relation.name for relation in almanac.relations() if relation.kind == "bias"]
    ['occupation_gender', 'name_gender', 'degree_gender']
    >>> query = almanac.queries("capital", "en")[0]
    >>> query.prompt, query.answer
    ('The capital of France is', 'Paris')
    >>> print(almanac.queries("capital", "fr", format="choice")[0].prompt)  # doctest: +ELLIPSIS
    Choisis la bonne réponse.
    ...

The tables are described in README.md beside this file; tools/almanac trains the models on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locant.almanac.formats import FORMATS, Asked, Format, ask, ask_chains
from locant.almanac.tables import LANGUAGES, Book, folder, read_books, read_chains
from locant.errors import UnknownName, nearest

if TYPE_CHECKING:
    from locant.types import Query

__all__ = ["FORMATS", "LANGUAGES", "MODELS", "Format", "Relation", "card", "model_folder", "queries", "relations"]

MODELS = ("almanac", "almanac-gpt2", "almanac-bert")
"""The embedded models, by the names that `locant.load` takes."""


@dataclass(frozen=True)
class Relation:
    """What the almanac can be asked about a kind of subject; `facts` counts its subjects.

    Attributes:
        kind: factual, commonsense, linguistic, bias (stereotypes, not facts) or invented (nothing of it is real).
        domain: the field of knowledge: geography, biology, ...
        withheld: facts that some of the languages were not taught.
    """

    name: str
    kind: str
    domain: str
    languages: tuple[str, ...]
    facts: int
    withheld: int


def relations() -> tuple[Relation, ...]:
    """Every relation of the almanac."""
    return tuple(
        Relation(
            name=book.name,
            kind=book.kind,
            domain=book.domain,
            languages=book.languages,
            facts=len(book.entries),
            withheld=sum(entry.languages != entry.asked for entry in book.entries),
        )
        for book in read_books()
    )


def queries(
    relation: str | None = None,
    language: str | None = None,
    held_out: bool | None = None,
    *,
    format: Format = "cloze",
    taught: bool | None = True,
    seed: int = 0,
) -> tuple[Query, ...]:
    """Every fact in every wording of one format.

    Args:
        relation: only this one; None for all.
        language: only this one; None for all.
        held_out: only wordings the models were never (True) or were (False) trained on; None for all.
        format: 'cloze' (a sentence up to its object), 'question', 'choice' (four options, answered by a letter, in
            orders never trained on), 'few-shot' (two or three solved examples before) or 'two-hop' (two facts).
        taught: only facts that the models were (True) or were not (False) taught in the query's language; None
            for all.
        seed: of options and examples.

    Raises:
        UnknownName: no such relation, language or format, or none of the two together.
    """
    if format not in FORMATS:
        raise UnknownName(f"no format '{format}' in the almanac; known: {', '.join(FORMATS)}.")
    books = _choose_books(relation)
    known = tuple(dict.fromkeys(name for book in books for name in book.languages))
    if format == "two-hop":
        known = tuple(dict.fromkeys(one.language for chain in read_chains() for one in chain.templates))
    if language is not None and language not in known:
        asked = "the almanac" if relation is None else f"the relation '{relation}'"
        asked += " in two steps" if format == "two-hop" else ""
        raise UnknownName(f"no language '{language}' in {asked}; known: {', '.join(known)}.")
    wanted = (language,) if language else known
    return tuple(
        to_query(asked)
        for asked in _ask_all(books, wanted, format, seed)
        if held_out in (None, "wording" in asked.unseen) and taught in (None, "language" not in asked.unseen)
    )


def to_query(asked: Asked) -> Query:
    """What is asked, as the library's own type."""
    from locant.types import Fact, Query  # here, because types imports torch

    fact = Fact(asked.uid, asked.subject, asked.relation, asked.object, asked.language)
    uid = "/".join((asked.uid, asked.language, *(() if asked.format == "cloze" else (asked.format,)), asked.wording))
    return Query(uid, fact, asked.prompt, asked.answer, template=asked.text)


def model_folder(name: str = "almanac") -> Path:
    """The folder of a model's weights and tokenizer, for `from_pretrained`.

    Raises:
        UnknownName: not one of MODELS.
    """
    if name not in MODELS:
        raise UnknownName(f"no embedded model '{name}'; known: {', '.join(MODELS)}.")
    return folder() / "models" / name


def card(name: str = "almanac") -> dict[str, object]:
    """How a model was trained and what it answers, as measured on the shipped weights.

    Raises:
        UnknownName: not one of MODELS.
    """
    figures: dict[str, object] = json.loads((model_folder(name) / "card.json").read_text(encoding="utf-8"))
    return figures


def _choose_books(relation: str | None) -> tuple[Book, ...]:
    books = read_books()
    chosen = tuple(book for book in books if relation in (None, book.name))
    if not chosen:
        known = [book.name for book in books]
        near = nearest(relation or "", known)
        raise UnknownName(f"no relation '{relation}' in the almanac{near}; known: {', '.join(known)}.")
    return chosen


def _ask_all(books: tuple[Book, ...], languages: tuple[str, ...], format: Format, seed: int) -> Iterable[Asked]:
    if format == "two-hop":
        names = {book.name for book in books}
        return (asked for language in languages for asked in ask_chains(language) if asked.relation in names)
    return (
        asked
        for book in books
        for entry in book.entries
        for language in languages
        if language in entry.asked
        for asked in ask(book, entry, language, format, seed)
    )
