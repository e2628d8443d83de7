"""LRE, relations of four kinds as published: each a file of templates and of subjects with their objects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from locant.errors import BadFile, UnknownName, nearest
from locant.queries.records import Record, read_record
from locant.types import Fact, Query

BLANK = "{}"
"""Where a template says its subject."""


@dataclass(frozen=True)
class LreRelation:
    """A relation as published, its samples put together by subject.

    Attributes:
        name: of its file, as `country_capital_city`.
        kind: factual, commonsense, linguistic or bias.
        templates: with `{}` for the subject, ending where the object begins; those written to be asked without
            examples stand first.
        subjects: each with its objects, in the order of the file and without repetitions.
    """

    name: str
    kind: str
    templates: tuple[str, ...]
    subjects: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        """How many subjects it has."""
        return len(self.subjects)

    def queries(self, wordings: int | None = 1) -> tuple[Query, ...]:
        """Every subject in the first so many templates, or in all."""
        chosen = self.templates[:wordings]
        return tuple(
            self._query(place, subject, wording)
            for place, subject in enumerate(self.subjects)
            for wording in range(len(chosen))
        )

    def _query(self, place: int, subject: str, wording: int) -> Query:
        first, *others = self.subjects[subject]
        template = self.templates[wording]
        return Query(
            uid=f"{self.name}/{place}/{wording}",
            fact=Fact(f"{self.name}/{place}", subject, self.name, first),
            prompt=template.replace(BLANK, subject),
            answer=first,
            alternatives=tuple(others),
            template=template,
        )


def read_lre(
    path: str | Path,
    relations: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    wordings: int | None = 1,
) -> tuple[Query, ...]:
    """Read LRE: every subject of each relation, asked for its object.

    A subject with several objects is one fact: any of them answers it, the first as its object, the others as
    alternatives. So it is never on both sides where facts are split in two.

    Args:
        path: of a relation's file, or of a folder as `lre_relations` reads it.
        relations: only these, by the names of their files; None for all.
        kinds: only relations of these kinds; None for all.
        wordings: how many templates, from the first; None for all. The first is the one asked without examples.

    Returns:
        Queries in the order of relations, subjects, templates; their uid is relation/place of the subject/place of
        the template, counted from 0, and their fact's uid relation/place of the subject.

    Raises:
        BadFile: as `lre_relations` does.
        UnknownName: no such relation or kind.

    Source: Hernandez et al. 2023, arXiv:2308.09124; github.com/evandez/relations.
    """
    known = lre_relations(path)
    _refuse_unknown("relation", relations, [one.name for one in known])
    _refuse_unknown("kind", kinds, sorted({one.kind for one in known}))
    return tuple(
        query
        for one in known
        if (relations is None or one.name in relations) and (kinds is None or one.kind in kinds)
        for query in one.queries(wordings)
    )


def lre_relations(path: str | Path) -> tuple[LreRelation, ...]:
    """The relations of a file or of a folder, by kind and name.

    A folder holds files, or folders of files, as `factual/country_capital_city.json`. Fields that have no use here
    are left aside.

    Raises:
        BadFile: no such place, no relation in it, two of one name, or a file of another form; the sentence names
            the file and the field.
    """
    root = Path(path)
    files = [root] if root.is_file() else sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    if not files:
        raise BadFile(f"no relations of LRE in {str(root)!r}: there is no NAME.json or KIND/NAME.json")
    found: dict[str, LreRelation] = {}
    for file in files:
        relation = _relation(file.stem, read_record(file))
        if relation.name in found:
            raise BadFile(f"{str(root)!r}: two files are named {file.name}; a relation is known by its file's name")
        found[relation.name] = relation
    return tuple(sorted(found.values(), key=lambda one: (one.kind, one.name)))


def _relation(name: str, record: Record) -> LreRelation:
    kind = record.inner("properties").text("relation_type")
    zero_shot, few_shot = (record.texts(field) for field in ("prompt_templates_zs", "prompt_templates"))
    templates = tuple(dict.fromkeys(map(_unescaped, (*zero_shot, *few_shot))))
    if not templates:
        raise BadFile(f"{record.where}: there are no templates in its 'prompt_templates_zs' or 'prompt_templates'")
    for template in templates:
        if template.count(BLANK) != 1:
            raise BadFile(f"{record.where}: the template {template!r} needs {BLANK} once, for the subject")
    objects: dict[str, dict[str, None]] = {}
    for sample in record.inners("samples"):
        subject, object = (_unescaped(sample.text(field)) for field in ("subject", "object"))
        if not subject or not object:
            raise BadFile(f"{sample.where}: its {'object' if subject else 'subject'!r} is empty")
        objects.setdefault(subject, {})[object] = None
    return LreRelation(name, kind, templates, {subject: tuple(own) for subject, own in objects.items()})


def _unescaped(text: str) -> str:
    """The files spell some letters as escapes of escapes: Bras\\u00edlia is Brasília."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)


def _refuse_unknown(what: str, asked: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in asked or ():
        if name not in known:
            raise UnknownName(f"no {what} {name!r} in LRE{nearest(name, known)}; known: {', '.join(known)}.")
