"""BMLAMA: mLAMA's facts balanced over languages, row by row, with a mask for the object."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from locant.errors import BadFile
from locant.queries.mlama import frame, refuse_form
from locant.queries.parallel import refuse_languages
from locant.queries.pararel import OBJECT, SUBJECT
from locant.queries.tokens import Kind
from locant.types import Fact, Query

HEADER = ["Prompt", "Ans", "Candidate", "Ans", "Subject"]
HOLE = "<mask>"

Row = tuple[str, str, str]
"""Pattern with [X] and [Y], answer, subject."""


def read_bmlama(
    folder: str | Path, languages: Sequence[str], kind: Kind = "causal", form: str = "object-final"
) -> tuple[Query, ...]:
    """Read BMLAMA: files LANG.tsv with the columns Prompt, Ans, Candidate Ans, Subject, whose rows are parallel.

    The row is the fact: the first under the header is bmlama/1 in every language. The files name no relation; the
    English wording of a row stands for it, with [X] and [Y], where the folder has en.tsv, so that relations said
    alike are one (the four of place: "[X] is located in [Y]."). Candidates are checked to hold the answer, and
    left aside.

    Args:
        kind: a masked model is asked every row, with the mask for the object, whatever the form.
        form: as of `read_mlama`: 'object-final' asks the other models only rows where nothing but punctuation
            follows the object, 'blank' asks all of them.

    Returns:
        Queries in the order of languages and rows; their uid is the fact's/language/0; their template the
        prompt with [X] and [Y].

    Raises:
        BadFile: no such folder, a row of the wrong form, files of several lengths, or a language with nothing
            to ask.
        UnknownName: no such language or form, or no frame for the blank in a language.

    Source: Qi, Fernandez and Bisazza 2023, arXiv:2310.10378; github.com/Betswish/Cross-Lingual-Consistency.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BadFile(f"no folder {str(root)!r}")
    known = sorted(path.stem for path in root.glob("*.tsv"))
    if not known:
        raise BadFile(f"{str(root)!r} holds no BMLAMA: there is no file *.tsv in it")
    refuse_languages(languages, known)
    refuse_form(form, kind, languages)
    wanted = dict.fromkeys([*languages, *({"en"} & set(known))])
    rows = {language: tuple(_read(root / f"{language}.tsv")) for language in wanted}
    first = languages[0]
    for language in wanted:
        if len(rows[language]) != len(rows[first]):
            counts = f"{language}.tsv has {len(rows[language])} rows and {first}.tsv {len(rows[first])}"
            raise BadFile(f"{counts}: they are not parallel")
    relations = [pattern for pattern, _, _ in rows["en"]] if "en" in rows else [""] * len(rows[first])
    return tuple(query for language in languages for query in _ask(rows[language], relations, language, kind, form))


def _ask(rows: Sequence[Row], relations: Sequence[str], language: str, kind: Kind, form: str) -> list[Query]:
    found = []
    for number, ((pattern, answer, subject), relation) in enumerate(zip(rows, relations, strict=True), start=1):
        text = frame(pattern, language, kind, form)
        if text is None:
            continue
        fact = Fact(f"bmlama/{number}", subject, relation, answer, language)
        prompt = text.replace(SUBJECT, subject)
        found.append(Query(f"{fact.uid}/{language}/0", fact, prompt, answer, template=pattern))
    if not found:
        raise BadFile(f"{language}.tsv: there is nothing to ask a {kind} model in the form {form!r}")
    return found


def _read(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None
    lines = csv.reader(StringIO(text, newline=""), delimiter="\t", strict=True)
    line = 1
    try:
        # As published, the Chinese header has a tab inside 'Candidate Ans'
        if " ".join(next(lines, [])).split() != HEADER:
            raise BadFile(f"{path.name}, line 1: its columns are not Prompt, Ans, Candidate Ans, Subject")
        line = lines.line_num + 1
        for cells in lines:
            if cells:
                yield _row(cells, f"{path.name}, line {line}")
            line = lines.line_num + 1
    except csv.Error as error:
        raise BadFile(f"{path.name}, line {line}: not a row of cells parted by tabs ({error})") from None


def _row(cells: Sequence[str], where: str) -> Row:
    if len(cells) != 4 or not all(cell.strip() for cell in cells):
        raise BadFile(f"{where}: not four cells, Prompt, Ans, Candidate Ans and Subject, with something in each")
    prompt, answer, candidates, subject = (cell.strip() for cell in cells)
    before, _, after = prompt.partition(HOLE)
    in_place = subject in before or subject in after
    if prompt.count(HOLE) != 1 or not in_place or SUBJECT in prompt or OBJECT in prompt:
        raise BadFile(f"{where}: the prompt {prompt!r} needs its subject {subject!r}, and {HOLE} once")
    # Candidates are parted by commas and may hold some: the answer is looked for whole, not among the parts
    if f", {answer}, " not in f", {candidates}, ":
        raise BadFile(f"{where}: the answer {answer!r} is none of its candidates {candidates!r}")
    if subject in before:
        return before.replace(subject, SUBJECT, 1) + OBJECT + after, answer, subject
    return before + OBJECT + after.replace(subject, SUBJECT, 1), answer, subject
