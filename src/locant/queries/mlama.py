"""mLAMA's facts in several languages, asked in its own templates or in mParaRel's many.

    read_mlama("mlama", ["en", "fr"], patterns="mpararel", reviewed_only=True)
    read_mlama("mlama", ["en", "ja", "ko"], form="blank")

Sources: Kassner et al. 2021, arXiv:2102.00894; Fierro and Sogaard 2022, arXiv:2203.12274 (mParaRel).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from locant.errors import BadFile, UnknownName, nearest
from locant.languages import gap, stop
from locant.queries.lines import read_rows, read_texts
from locant.queries.parallel import refuse_languages
from locant.queries.pararel import OBJECT, SUBJECT
from locant.queries.tokens import MASK, Kind
from locant.types import Fact, Query

FORMS = ("object-final", "blank")
BLANK = "____"
"""What the form 'blank' says where the object goes."""
ALIASES = {"zh": "zh-hans"}
"""mParaRel's name of a language, where it is not mLAMA's."""
TEMPLATES, FLAG = "templates.jsonl", "checked-by-human"

_SENTENCE = "{sentence}"


@dataclass(frozen=True)
class _Wording:
    """A pattern and its place among its relation's; `frame` is what is asked, but for the subject."""

    index: int
    pattern: str
    frame: str


Known = Mapping[str, tuple[Path, tuple[_Wording, ...]]]
"""Of each relation, the file of its facts, and its wordings."""


@dataclass(frozen=True)
class _Asking:
    """How patterns are put to a model."""

    kind: Kind
    form: str
    patterns: Path | None
    reviewed_only: bool


def read_mlama(
    folder: str | Path,
    languages: Sequence[str],
    *,
    relations: Sequence[str] | None = None,
    kind: Kind = "causal",
    patterns: str | Path | None = None,
    form: str = "object-final",
    reviewed_only: bool = False,
) -> tuple[Query, ...]:
    """Read mLAMA: every fact of each language in every pattern of its relation that suits the model.

    A fact has the uid relation/uuid in all its languages: in mLAMA a uuid is one lineid of one relation, whatever
    the language (checked on 17 of them), and that of LAMA and ParaRel. Only T-REx's relations P* are read, of a
    language those that have both facts and patterns in it. Nothing is dropped: see `quality` for filters.

    Args:
        folder: holds LANG/P*.jsonl and LANG/templates.jsonl.
        relations: only these, e.g. P36.
        kind: a masked model is asked every pattern, with the mask for the object, whatever the form.
        patterns: a folder of mParaRel, LANG/P*.jsonl, asked instead of mLAMA's one template; zh is zh-hans there.
        form: 'object-final' asks the other models only patterns where nothing but punctuation follows the object,
            cut off before it, those that are the same up to there once. A pattern that glues the object to the
            word before it, as the Hebrew in does, cannot be cut there. 'blank' asks every pattern, with a blank
            in it, in a short instruction after which the answer comes (blank_frames.tsv).
        reviewed_only: of mParaRel, only what a person has checked. Its English counts as checked: it is ParaRel's
            own, from which the others were translated, and is flagged unchecked throughout.

    Returns:
        Queries in the order of languages, relations, facts, patterns; their uid is the fact's/language/place of
        the pattern among the relation's, counted from 0; their template the pattern with [X] and [Y].

    Raises:
        BadFile: no such folder, a line of the wrong form, or a language with nothing to ask.
        UnknownName: no such language, relation or form, no frame for the blank in a language, or `reviewed_only`
            without `patterns`.
    """
    root, asking = Path(folder), _Asking(kind, form, None if patterns is None else Path(patterns), reviewed_only)
    _refuse_request(root, languages, asking)
    of_language = {language: _choose(root / language, _patterns(root, language, asking)) for language in languages}
    _refuse_relations(relations, of_language)
    found: list[Query] = []
    for language, known in of_language.items():
        before = len(found)
        for relation, (facts, wordings) in known.items():
            if relations is None or relation in relations:
                found += _ask(facts, wordings, relation, language)
        if len(found) == before:
            place = str(root / language)
            raise BadFile(f"{place!r}: there is nothing to ask a {kind} model in {language!r} in the form {form!r}")
    return tuple(found)


def ends_with_object(pattern: str) -> bool:
    """Whether nothing but punctuation follows [Y]."""
    return not any(character.isalnum() for character in pattern.partition(OBJECT)[2])


def frame(pattern: str, language: str, kind: Kind, form: str) -> str | None:
    """What is asked of a pattern with [X] in it and [Y] once, [X] left in place; None if it cannot be asked so.

    Args:
        form: of no matter to a masked model.

    Raises:
        UnknownName: no such form, or no frame for the blank in this language.
    """
    before, after = pattern.split(OBJECT)
    if kind == "masked":
        return before + MASK + after
    if form == "blank":
        return blank_frame(language).replace(_SENTENCE, _end(before + BLANK + after, language))
    if form not in FORMS:
        raise UnknownName(f"no form {form!r}{nearest(form, FORMS)}; there are {', '.join(FORMS)}")
    glued = gap(language) and before and not before[-1].isspace()
    return None if glued or not ends_with_object(pattern) else before.rstrip()


def blank_frame(language: str) -> str:
    """The instruction around {sentence} in which a blank is asked for.

    Raises:
        UnknownName: there is none in this language; the sentence names those there are.
    """
    known = _read_frames()
    if language not in known:
        raise UnknownName(
            f"no frame for a blank in {language!r}{nearest(language, known)}; known: {', '.join(known)}."
        )
    return known[language]


def refuse_form(form: str, kind: Kind, languages: Sequence[str]) -> None:
    """Refuse a form that cannot be asked.

    Raises:
        UnknownName: no such form, or no frame for the blank in one of the languages.
    """
    if form not in FORMS:
        raise UnknownName(f"no form {form!r}{nearest(form, FORMS)}; there are {', '.join(FORMS)}")
    if form == "blank" and kind != "masked":
        for language in languages:
            blank_frame(language)


@cache
def _read_frames() -> Mapping[str, str]:
    lines = (files("locant.queries") / "blank_frames.tsv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["language"]: row["text"].replace("\\n", "\n") for row in rows}


def _end(sentence: str, language: str) -> str:
    """The sentence with its language's stop; mParaRel's have none, and some of mLAMA's a space before it."""
    return sentence.rstrip(" .。,;:，、；：") + stop(language)


def _refuse_request(root: Path, languages: Sequence[str], asking: _Asking) -> None:
    for folder in (root, asking.patterns):
        if folder is not None and not folder.is_dir():
            raise BadFile(f"no folder {str(folder)!r}")
    known = sorted(path.parent.name for path in root.glob(f"*/{TEMPLATES}"))
    if not known:
        raise BadFile(f"{str(root)!r} holds no mLAMA: no folder in it has {TEMPLATES}")
    refuse_languages(languages, known)
    refuse_form(asking.form, asking.kind, languages)
    if asking.reviewed_only and asking.patterns is None:
        raise UnknownName("mLAMA's own templates do not say what was reviewed; name a folder of mParaRel as patterns")


def _patterns(root: Path, language: str, asking: _Asking) -> dict[str, tuple[_Wording, ...]]:
    """By relation, the patterns that suit the model."""
    written: dict[str, list[str]] = {}
    for relation, where, pattern, checked in _read_patterns(root, language, asking):
        if SUBJECT not in pattern or pattern.count(OBJECT) != 1:
            raise BadFile(f"{where}: the pattern {pattern!r} needs {SUBJECT}, and {OBJECT} once")
        # An unchecked pattern keeps its place, so that a uid names the same one whatever is asked for
        written.setdefault(relation, []).append(pattern if checked or not asking.reviewed_only else "")
    found = {}
    for relation, texts in written.items():
        wordings: dict[str, _Wording] = {}
        for index, pattern in enumerate(texts):
            text = frame(pattern, language, asking.kind, asking.form) if pattern else None
            if text is not None:
                wordings.setdefault(text, _Wording(index, pattern, text))
        found[relation] = tuple(wordings.values())
    return found


def _read_patterns(root: Path, language: str, asking: _Asking) -> Iterator[tuple[str, str, str, bool]]:
    """Relation, place, text of each pattern, and whether a person has checked it."""
    if asking.patterns is None:
        for where, texts in read_texts(root / language / TEMPLATES, ("relation", "template")):
            yield texts["relation"], where, texts["template"], False
        return
    folder = asking.patterns / language
    if not folder.is_dir():
        folder = asking.patterns / ALIASES.get(language, language)
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in asking.patterns.iterdir() if path.is_dir()))
        raise UnknownName(f"no language {language!r} in mParaRel; known: {known}.")
    for path in sorted(folder.glob("P*.jsonl")):
        for where, row in read_rows(path, ("pattern",)):
            checked = row.get(FLAG)
            if asking.reviewed_only and not isinstance(checked, bool):
                raise BadFile(f"{where}: its {FLAG!r} is not true or false")
            yield path.stem, where, str(row["pattern"]), checked is True or language == "en"


def _choose(folder: Path, patterns: Mapping[str, tuple[_Wording, ...]]) -> Known:
    """The relations that have both facts and patterns, P17 before P101."""
    paths = sorted(folder.glob("P*.jsonl"), key=lambda path: (len(path.stem), path.stem))
    return {path.stem: (path, patterns[path.stem]) for path in paths if path.stem in patterns}


def _refuse_relations(relations: Sequence[str] | None, of_language: Mapping[str, Known]) -> None:
    known = {relation: None for relations in of_language.values() for relation in relations}
    for name in relations or ():
        if name not in known:
            where = ", ".join(of_language)
            raise UnknownName(f"no relation {name!r} with facts and patterns in {where}; known: {', '.join(known)}.")


def _ask(path: Path, wordings: Sequence[_Wording], relation: str, language: str) -> Iterator[Query]:
    """Every fact of a file in every wording."""
    if not wordings:
        return
    seen: set[str] = set()
    for where, row in read_texts(path, ("sub_label", "obj_label", "uuid")):
        uid = f"{relation}/{row['uuid']}"
        if uid in seen:
            raise BadFile(f"{where}: the uuid {row['uuid']!r} is that of another fact")
        seen.add(uid)
        fact = Fact(uid, row["sub_label"], relation, row["obj_label"], language)
        for one in wordings:
            prompt = one.frame.replace(SUBJECT, fact.subject)
            yield Query(f"{uid}/{language}/{one.index}", fact, prompt, fact.object, template=one.pattern)
