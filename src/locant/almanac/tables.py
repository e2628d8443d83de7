"""The almanac's tables: names, facts and wordings, read from the text files beside this module.

README.md in this folder says what each column means. Nothing here needs torch.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from pathlib import Path

Row = dict[str, str]

LANGUAGES = ("en", "fr", "fi", "hu", "ja", "ko", "zh")

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True)
class Wording:
    """One sentence, question or format with gaps; `index` counts within its language."""

    index: int
    language: str
    held_out: bool
    text: str


@dataclass(frozen=True)
class Entry:
    """One fact by the ids of its names.

    Attributes:
        asked: the languages it can be asked in: those where the subject's name does not give the object away.
        languages: those of them that it is taught in.
    """

    subject: str
    object: str
    asked: tuple[str, ...]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Book:
    """All there is to know about one relation.

    Attributes:
        subjects: the forms of each subject's name, by id; column names as in the file.
        objects: the same for each object.
        entries: the facts, in the file's order.
        templates: sentences up to their object.
        questions: bare questions.
    """

    name: str
    kind: str
    domain: str
    subjects: Mapping[str, Row]
    objects: Mapping[str, Row]
    entries: tuple[Entry, ...]
    templates: tuple[Wording, ...]
    questions: tuple[Wording, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages the relation can be asked in."""
        return _languages_of(self.templates)

    @cached_property
    def object_names(self) -> dict[str, tuple[str, ...]]:
        """By language, the different objects, by name and sorted."""
        return {
            language: tuple(sorted({name_of(self.objects[entry.object], language) for entry in self.entries}))
            for language in self.languages
        }


@dataclass(frozen=True)
class Chain:
    """Wordings that ask two relations in one: the first one's object is the second one's subject."""

    first: str
    second: str
    templates: tuple[Wording, ...]


def folder() -> Path:
    """The almanac's folder on disk."""
    with as_file(files("locant.almanac")) as path:
        return path


def read_rows(name: str) -> tuple[Row, ...]:
    """The rows of one table, e.g. 'facts/capital'."""
    with (folder() / f"{name}.tsv").open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@cache
def read_books() -> tuple[Book, ...]:
    """Every relation, in the order of facts/relations.tsv."""
    return tuple(_read_book(row) for row in read_rows("facts/relations"))


def read_stories() -> tuple[tuple[str, str], ...]:
    """(language, story) pairs: connected text about one subject, with its objects to be filled in."""
    return tuple((row["language"], row["story"]) for row in read_rows("stories"))


@cache
def read_formats(name: str) -> tuple[Wording, ...]:
    """The frames of one format: 'question', 'choice' or 'few-shot'."""
    rows = [row for row in read_rows("formats") if row["format"] == name]
    return _number([{**row, "text": row["text"].replace("\\n", "\n")} for row in rows], "text")


@cache
def read_chains() -> tuple[Chain, ...]:
    """Every pair of relations that can be asked in one question."""
    rows = read_rows("two_hop")
    pairs = dict.fromkeys((row["first"], row["second"]) for row in rows)
    return tuple(
        Chain(first, second, _number([row for row in rows if (row["first"], row["second"]) == (first, second)]))
        for first, second in pairs
    )


def name_of(names: Row, language: str, form: str = "phrase") -> str:
    """A name in one language: 'name' is the bare one, 'phrase' falls back on it, other forms must exist."""
    bare = names[language]
    if form == "name":
        return bare
    return names.get(f"{language}.phrase", bare) if form == "phrase" else names[f"{language}.{form}"]


def fill(text: str, language: str, names: Mapping[str, Row]) -> str:
    """A sentence of a template or story: placeholders replaced by names, the first letter made a capital.

    Args:
        names: for each placeholder's word ('subject', 'capital'), the forms of the name that replaces it.
    """
    sentence = _PLACEHOLDER.sub(lambda match: name_of(names[match[1]], language, match[2] or "phrase"), text)
    return sentence[:1].upper() + sentence[1:]


def placeholders(text: str) -> frozenset[str]:
    """The words in a text's braces: 'subject', 'capital'."""
    return frozenset(match[1] for match in _PLACEHOLDER.finditer(text))


def _read_book(row: Row) -> Book:
    templates = _number(read_rows(f"templates/{row['wordings']}"))
    spoken = _languages_of(templates)
    facts = read_rows(f"facts/{row['name']}")
    subjects = _read_names(row["subjects"], [fact["subject"] for fact in facts])
    objects = _read_names(row["objects"], [fact["object"] for fact in facts])
    entries = []
    for fact in facts:
        names = subjects[fact["subject"]], objects[fact["object"]]
        asked = tuple(language for language in spoken if not _gives_away(*names, language))
        taught = fact.get("languages", "").split() or asked
        entries.append(Entry(fact["subject"], fact["object"], asked, tuple(one for one in asked if one in taught)))
    return Book(
        name=row["name"],
        kind=row["kind"],
        domain=row["domain"],
        subjects=subjects,
        objects=objects,
        entries=tuple(entries),
        templates=templates,
        questions=_number(read_rows(f"questions/{row['wordings']}"), "question"),
    )


def _gives_away(subject: Row, value: Row, language: str) -> bool:
    """Whether the object stands in its subject's name, as 'ranska' (French) does in the Finnish 'Ranska'.

    One letter is no such sign: the first letter of every word stands in it.
    """
    name = value[language].casefold()
    return len(name) > 1 and name in subject[language].casefold()


def _read_names(file: str, words: list[str]) -> Mapping[str, Row]:
    if file == "-":
        return {word: dict.fromkeys(("id", *LANGUAGES), word) for word in words}  # numerals are the same everywhere
    return {row["id"]: row for row in read_rows(f"names/{file}")}


def _languages_of(wordings: tuple[Wording, ...]) -> tuple[str, ...]:
    spoken = {wording.language for wording in wordings}
    return tuple(language for language in LANGUAGES if language in spoken)


def _number(rows: tuple[Row, ...] | list[Row], column: str = "template") -> tuple[Wording, ...]:
    counts: dict[str, int] = {}
    wordings = []
    for row in rows:
        index = counts.get(row["language"], 0)
        counts[row["language"]] = index + 1
        wordings.append(Wording(index, row["language"], row["held_out"] == "yes", row[column]))
    return tuple(wordings)
