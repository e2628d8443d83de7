"""The almanac's tables: names, facts, templates and stories, read from the text files beside this module.

README.md in this folder says what each column means. Nothing here needs torch.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

Row = dict[str, str]

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


@dataclass(frozen=True)
class Template:
    """One wording of a relation; `index` counts within its language."""

    index: int
    language: str
    held_out: bool
    text: str


@dataclass(frozen=True)
class Book:
    """All there is to know about one relation.

    Attributes:
        subjects: the forms of each subject's name, by id; column names as in the file.
        objects: the same for each object.
        facts: (subject id, object id), in the file's order.
        templates: every wording, in the file's order.
    """

    name: str
    kind: str
    subjects: Mapping[str, Row]
    objects: Mapping[str, Row]
    facts: tuple[tuple[str, str], ...]
    templates: tuple[Template, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages the relation can be asked in, in the order of its templates."""
        return tuple(dict.fromkeys(template.language for template in self.templates))


def folder() -> Path:
    """The almanac's folder on disk."""
    with as_file(files("locant.almanac")) as path:
        return path


def read_rows(name: str) -> tuple[Row, ...]:
    """The rows of one table, e.g. 'facts/capital'."""
    with (folder() / f"{name}.tsv").open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_books() -> tuple[Book, ...]:
    """Every relation, in the order of facts/relations.tsv."""
    return tuple(_read_book(row) for row in read_rows("facts/relations"))


def read_stories() -> tuple[tuple[str, str], ...]:
    """(language, story) pairs: connected text about one subject, with its objects to be filled in."""
    return tuple((row["language"], row["story"]) for row in read_rows("stories"))


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
    facts = tuple((fact["subject"], fact["object"]) for fact in read_rows(f"facts/{row['name']}"))
    return Book(
        name=row["name"],
        kind=row["kind"],
        subjects=_read_names(row["subjects"], [subject for subject, _ in facts]),
        objects=_read_names(row["objects"], [value for _, value in facts]),
        facts=facts,
        templates=_read_templates(row["name"]),
    )


def _read_names(file: str, words: list[str]) -> Mapping[str, Row]:
    if file == "-":
        return {word: {"id": word, "en": word} for word in words}
    return {row["id"]: row for row in read_rows(f"names/{file}")}


def _read_templates(relation: str) -> tuple[Template, ...]:
    counts: dict[str, int] = {}
    templates = []
    for row in read_rows(f"templates/{relation}"):
        index = counts.get(row["language"], 0)
        counts[row["language"]] = index + 1
        templates.append(Template(index, row["language"], row["held_out"] == "yes", row["template"]))
    return tuple(templates)
