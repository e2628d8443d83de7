"""Queries from a file and to one: JSON, JSON lines, CSV or Parquet with a row per query."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl
from polars import selectors as cs

from locant.errors import BadFile
from locant.files import write_text, write_whole
from locant.queries.make import query
from locant.types import Query

NEEDED = ("prompt", "answer")
OPTIONAL = ("subject", "relation", "object", "language", "template", "fact", "uid", "alternatives")

Row = dict[str, object]
Rows = Iterable[tuple[str, Row]]


def read_queries(path: str | Path) -> tuple[Query, ...]:
    """Read the queries of a file; its ending tells the format.

    Columns: prompt, answer[, subject, relation, object, language, template, fact, uid, alternatives].
    Alternatives are a list, or in CSV text parted by `|`. Other columns are left aside.

    Raises:
        BadFile: no such file, an unknown ending, a line that does not parse, a missing or empty cell;
            the sentence names the line or row by its number, counted from 1.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadFile(f"{path.name}: queries are read from {', '.join(_READERS)} files, not {path.suffix or 'this'}")
    found = tuple(_query(path, where, row) for where, row in reader(path))
    if not found:
        raise BadFile(f"{path.name}: there are no queries in it")
    _refuse_equal_uids(path, found)
    return found


def write_queries(path: str | Path, queries: Sequence[Query]) -> Path:
    """Write queries to a file that `read_queries` reads as the same ones; its ending tells the format.

    Raises:
        BadFile: an unknown ending, no queries, two of one uid, an alternative with `|` in it for CSV,
            a place that cannot be written to.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise BadFile(f"{path.name}: queries are written to {', '.join(_WRITERS)} files, not {path.suffix or 'this'}")
    if not queries:
        raise BadFile(f"{path.name}: there are no queries to write to it")
    _refuse_equal_uids(path, queries)
    return writer(path, queries)


def to_rows(queries: Sequence[Query]) -> list[Row]:
    """Queries as the rows of a file, under the names of its columns; alternatives only if there are any."""
    rows: list[Row] = [
        {
            "prompt": one.prompt,
            "answer": one.answer,
            "subject": one.fact.subject,
            "relation": one.relation,
            "object": one.fact.object,
            "language": one.language,
            "template": one.template,
            "fact": one.fact.uid,
            "uid": one.uid,
        }
        for one in queries
    ]
    if any(one.alternatives for one in queries):
        rows = [{**row, "alternatives": list(one.alternatives)} for row, one in zip(rows, queries, strict=True)]
    return rows


def _json_lines(path: Path) -> Rows:
    # Not splitlines, which also parts text at characters that JSON allows inside a string, such as U+2028
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadFile(f"{path.name}, line {number}: not JSON ({error.msg}, character {error.colno})") from None
        if not isinstance(row, dict):
            raise BadFile(f"{path.name}, line {number}: not an object with prompt and answer")
        yield f"line {number}", row


def _json(path: Path) -> Rows:
    try:
        rows = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BadFile(f"{path.name}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadFile(f"{path.name}: not a list of objects with prompt and answer")
    return ((f"entry {number}", row) for number, row in enumerate(rows, start=1))


def _table(path: Path) -> Rows:
    try:
        # Every cell of a CSV is text here: an answer such as 007 or 1e3 is a word, not a number
        table = pl.read_parquet(path) if path.suffix.lower() == ".parquet" else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(f"{path.name}: cannot be read ({str(error).splitlines()[0]})") from None
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise BadFile(f"{path.name}: there is no column {missing[0]!r}; its columns are {', '.join(table.columns)}")
    return ((f"row {number}", row) for number, row in enumerate(table.iter_rows(named=True), start=1))


_READERS = {".jsonl": _json_lines, ".json": _json, ".csv": _table, ".parquet": _table}


def _to_json_lines(path: Path, queries: Sequence[Query]) -> Path:
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in to_rows(queries)))


def _to_json(path: Path, queries: Sequence[Query]) -> Path:
    return write_text(path, json.dumps(to_rows(queries), ensure_ascii=False, indent=1))


def _to_csv(path: Path, queries: Sequence[Query]) -> Path:
    for one in queries:
        if any("|" in text for text in one.alternatives):
            raise BadFile(
                f"{path.name}: the query {one.uid!r} has an alternative with '|' in it, which parts alternatives "
                "in CSV; write another format"
            )
    table = pl.DataFrame(to_rows(queries), infer_schema_length=None)
    return write_whole(path, table.with_columns(cs.list().list.join("|")).write_csv)


def _to_parquet(path: Path, queries: Sequence[Query]) -> Path:
    return write_whole(path, pl.DataFrame(to_rows(queries), infer_schema_length=None).write_parquet)


_WRITERS: dict[str, Callable[[Path, Sequence[Query]], Path]] = {
    ".jsonl": _to_json_lines,
    ".json": _to_json,
    ".csv": _to_csv,
    ".parquet": _to_parquet,
}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None


def _query(path: Path, where: str, row: dict[str, object]) -> Query:
    for name in NEEDED:
        if name not in row:
            raise BadFile(f"{path.name}, {where}: there is no {name!r}; it has {', '.join(row) or 'nothing'}")
        if not isinstance(row[name], str) or not str(row[name]).strip():
            raise BadFile(f"{path.name}, {where}: its {name!r} is not a text with something in it")
    given = {name: row[name] for name in OPTIONAL if row.get(name) not in (None, "")}
    alternatives = given.pop("alternatives", ())
    if isinstance(alternatives, str):
        alternatives = alternatives.split("|")
    if not isinstance(alternatives, list | tuple) or not all(isinstance(text, str) for text in alternatives):
        raise BadFile(f"{path.name}, {where}: its 'alternatives' are not a list of texts")
    return query(
        str(row["prompt"]),
        str(row["answer"]),
        alternatives=tuple(alternatives),
        **{name: str(value) for name, value in given.items()},
    )


def _refuse_equal_uids(path: Path, queries: Sequence[Query]) -> None:
    seen: set[str] = set()
    for one in queries:
        if one.uid in seen:
            raise BadFile(
                f"{path.name}: two queries share the uid {one.uid!r} (prompt {one.prompt!r}); "
                "give each its own, or drop the repeated row"
            )
        seen.add(one.uid)
