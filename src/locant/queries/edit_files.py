"""One's own edits, from a table in a text file: a row for each, with what judges it beside."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from locant.errors import BadFile
from locant.queries.edit_cases import NO_NEW, NO_SUBJECT, SAME, CaseSet, EditCase, fault
from locant.queries.make import edit_request
from locant.types import EditRequest, Fact, Query

NEEDED = ("subject", "prompt", "new")
OPTIONAL = (
    "old", "relation", "language", "uid", "paraphrases", "neighbours", "portability", "generation", "references",
)  # fmt: skip
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_COLUMN = {NO_SUBJECT: "prompt", NO_NEW: "new", SAME: "new"}


def read_edits(path: str | Path) -> CaseSet:
    """Read the edits of a .csv or .tsv file.

        subject,prompt,old,new,paraphrases,neighbours
        France,The capital of {} is,Paris,Rome,{}'s capital is | {} is governed from,The capital of Spain is => Madrid

    Columns: subject, prompt, new[, old, relation, language, uid, paraphrases, neighbours, portability, generation,
    references]. `{}` stands for the subject. Where a cell holds several, `|` parts them; neighbours and portability
    are each `prompt => answer`. Portability's answers are those that are right after the edit.

    Returns:
        Cases in order; nothing is left out. A uid that is not given is the file's name and the line.

    Raises:
        BadFile: no such file, another ending, a column that is missing or not known, or a cell that is empty or of
            the wrong form; the sentence names the line and the column.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    if path.suffix.lower() not in _SEPARATORS:
        raise BadFile(f"{path.name}: edits are read from {', '.join(_SEPARATORS)} files, not {path.suffix or 'this'}")
    cases = tuple(_case(path, line, row) for line, row in _rows(path))
    if not cases:
        raise BadFile(f"{path.name}: there are no edits in it")
    seen: set[str] = set()
    for one in cases:
        if one.uid in seen:
            raise BadFile(f"{path.name}: two edits share the uid {one.uid!r}")
        seen.add(one.uid)
    return CaseSet(cases)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with the number of the line it ends in."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter=_SEPARATORS[path.suffix.lower()], strict=True, restval="")
            columns = reader.fieldnames or ()
            for name in NEEDED:
                if name not in columns:
                    raise BadFile(
                        f"{path.name}, line 1: there is no column {name!r}; its columns are {', '.join(columns)}"
                    )
            for name in columns:
                if name not in (*NEEDED, *OPTIONAL):
                    raise BadFile(
                        f"{path.name}, line 1: the column {name!r} is not known; "
                        f"there are {', '.join((*NEEDED, *OPTIONAL))}"
                    )
            for row in reader:
                if None in row:
                    raise BadFile(f"{path.name}, line {reader.line_num}: it has more cells than there are columns")
                yield reader.line_num, {name: cell.strip() for name, cell in row.items()}
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None
    except csv.Error as error:
        raise BadFile(f"{path.name}, line {reader.reader.line_num}: {error}") from None


def _case(path: Path, line: int, row: Mapping[str, str]) -> EditCase:
    where = f"{path.name}, line {line}"
    for name in NEEDED:
        if not row[name]:
            raise BadFile(f"{where}, column {name!r}: there is nothing in it")
    request = edit_request(
        row["prompt"],
        row["subject"],
        row["new"],
        old=row.get("old", ""),
        relation=row.get("relation", ""),
        language=row.get("language") or "en",
        uid=row.get("uid") or f"{path.stem}/{line}",
    )
    wrong = fault(request)
    if wrong is not None:
        raise BadFile(f"{where}, column {_COLUMN[wrong]!r}: {wrong}")
    return EditCase(
        request,
        paraphrases=tuple(
            Query(f"{request.uid}/paraphrase/{at}", request.query.fact, prompt, request.query.answer)
            for at, prompt in enumerate(_parts(row, "paraphrases"))
        ),
        neighbours=_answered(where, row, request, "neighbours"),
        portability=_answered(where, row, request, "portability"),
        generation=_parts(row, "generation"),
        references=_parts(row, "references"),
    )


def _parts(row: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(_fill(part.strip(), row) for part in row.get(name, "").split("|") if part.strip())


def _fill(text: str, row: Mapping[str, str]) -> str:
    return text.replace("{}", row["subject"])


def _answered(where: str, row: Mapping[str, str], request: EditRequest, name: str) -> tuple[Query, ...]:
    """The queries of a cell, each with its answer."""
    found = []
    for at, part in enumerate(_parts(row, name)):
        prompt, arrow, answer = (text.strip() for text in part.rpartition("=>"))
        if not (arrow and prompt and answer):
            raise BadFile(f"{where}, column {name!r}: {part!r} is not 'prompt => answer'")
        uid = f"{request.uid}/{name}/{at}"
        known = answer if name == "neighbours" else ""
        fact = Fact(uid, "", request.query.relation, known, request.query.language)
        found.append(Query(uid, fact, prompt, answer))
    return tuple(found)
