"""Questions with their answers, to be made choices of: one at a time, or from a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import polars as pl

from locant.errors import BadFile, BadQuery

LETTERS = ascii_uppercase
"""Of options, in their order."""

Rows = Iterator[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True)
class Item:
    """A question and its answer, to be made a choice of.

    Attributes:
        group: the domain; wrong options come from other items of the same group and language.
        wrong: its own wrong options; empty if they are to be drawn.
    """

    uid: str
    group: str
    question: str
    answer: str
    wrong: tuple[str, ...] = ()
    language: str = "en"


def item(
    question: str,
    answer: str,
    *,
    group: str = "",
    wrong: Sequence[str] = (),
    language: str = "en",
    uid: str = "",
) -> Item:
    """Make an item; its group is its language if not given, and its uid comes from its texts.

    Raises:
        BadQuery: a text is empty, the answer is also one of the wrong options, or letters do not go round.
    """
    texts = tuple(text.strip() for text in (question, answer, *wrong))
    if not all(texts):
        raise BadQuery(f"the item {question!r} ({answer!r}) has a question, answer or option with nothing in it")
    if texts[1] in texts[2:]:
        raise BadQuery(f"the item {question!r} has the answer {answer!r} twice among its options")
    if len(wrong) >= len(LETTERS):
        raise BadQuery(f"the item {question!r} has {len(wrong) + 1} options, more than there are letters")
    group = group.strip() or language
    named = uid or f"{group}/{hashlib.sha256(chr(31).join((language, *texts)).encode()).hexdigest()[:12]}"
    return Item(named, group, texts[0], texts[1], texts[2:], language)


# Files


def read_items(path: str | Path) -> tuple[Item, ...]:
    """Read the questions of a JSON lines or CSV file.

    Columns: question, answer[, group, options, language, uid]. Options are a list, or in CSV text parted by `|`;
    the answer is one of them. Other columns are left aside.

    Raises:
        BadFile: no such file, an unknown ending, a line that does not parse, a missing or empty cell, an answer that
            is none of its options; the sentence names the line or row by its number, counted from 1.
    """
    found = []
    for where, row in _rows(Path(path), ("question", "answer")):
        optional = {name: _text_in(row, name, where) for name in ("group", "language", "uid") if row.get(name)}
        question, answer = (_text_in(row, name, where) for name in ("question", "answer"))
        wrong = _wrong_in(row["options"], answer, where) if row.get("options") else ()
        found.append(_item(where, question, answer, wrong, optional))
    return tuple(found)


def read_mmlu(path: str | Path) -> tuple[Item, ...]:
    """Read a subject of MMLU: a CSV with the columns question, choice0, choice1, ... and answer.

    The answer is the number of the right choice, counted from 0; the group is the file's name without its split, as
    high_school_biology of high_school_biology_test.csv.

    Raises:
        BadFile: as `read_items` does, or an answer that is not the number of a choice.

    Source: Hendrycks et al. 2021, arXiv:2009.03300.
    """
    path = Path(path)
    group = re.sub(r"_(test|dev|val|validation|auxiliary_train)$", "", path.stem)
    found = []
    for where, row in _rows(path, ("question", "choice0", "choice1", "answer")):
        choices = [_text_in(row, name, where) for name in row if re.fullmatch(r"choice\d+", name)]
        number = _text_in(row, "answer", where)
        if number not in map(str, range(len(choices))):
            raise BadFile(f"{where}: its answer is {number!r}, not the number of a choice, 0 to {len(choices) - 1}")
        answer = choices.pop(int(number))
        found.append(_item(where, _text_in(row, "question", where), answer, tuple(choices), {"group": group}))
    return tuple(found)


def _item(where: str, question: str, answer: str, wrong: tuple[str, ...], optional: Mapping[str, str]) -> Item:
    try:
        return item(question, answer, wrong=wrong, **optional)
    except BadQuery as error:
        raise BadFile(f"{where}: {error}") from None


def _wrong_in(options: object, answer: str, where: str) -> tuple[str, ...]:
    """The options but for the answer."""
    given = options.split("|") if isinstance(options, str) else options
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise BadFile(f"{where}: its 'options' are not a list of texts")
    texts = [text.strip() for text in given]
    if answer.strip() not in texts:
        raise BadFile(f"{where}: its answer {answer!r} is none of its options {', '.join(map(repr, texts))}")
    if len(texts) < 2:
        raise BadFile(f"{where}: it has one option only, which leaves no choice")
    texts.remove(answer.strip())
    return tuple(texts)


def _text_in(row: Mapping[str, object], name: str, where: str) -> str:
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: its {name!r} is not a text with something in it")
    return text


def _rows(path: Path, needed: Sequence[str]) -> Rows:
    """Each row with its place, as an error says it."""
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    reader = {".jsonl": _json_lines, ".csv": _table}.get(path.suffix.lower())
    if reader is None:
        raise BadFile(f"{path.name}: questions are read from .jsonl, .csv files, not {path.suffix or 'this'}")
    count = 0
    for where, row in reader(path):
        for name in needed:
            if name not in row:
                raise BadFile(f"{where}: there is no {name!r}; it has {', '.join(row) or 'nothing'}")
        count += 1
        yield where, row
    if not count:
        raise BadFile(f"{path.name}: there are no questions in it")


def _json_lines(path: Path) -> Rows:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None
    # Not splitlines, which also parts text at characters that JSON allows inside a string, such as U+2028
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadFile(f"{where}: not JSON ({error.msg}, character {error.colno})") from None
        if not isinstance(row, dict):
            raise BadFile(f"{where}: not an object with question and answer")
        yield where, row


def _table(path: Path) -> Rows:
    try:
        # Every cell is text here: an answer such as 007 or 1e3 is a word, not a number
        table = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(f"{path.name}: cannot be read ({str(error).splitlines()[0]})") from None
    return ((f"{path.name}, row {number}", row) for number, row in enumerate(table.iter_rows(named=True), start=1))
