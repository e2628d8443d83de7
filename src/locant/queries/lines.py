"""JSON of published data, whole or in lines, read so that an error names the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from locant.errors import BadFile


def read_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Each line's place, as an error says it (folder/file, line n), and its object; empty lines are passed over.

    Args:
        names: of texts that every object has, with something in them.

    Raises:
        BadFile: not UTF-8, not an object of JSON, or one that lacks a text.
    """
    file = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{file}: not UTF-8 text") from None
    # Not splitlines, which also parts text at characters that JSON allows inside a string, such as U+2028
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadFile(f"{where}: not JSON ({error.msg}, character {error.colno})") from None
        if not isinstance(row, dict):
            raise BadFile(f"{where}: not an object with {', '.join(names)}")
        for name in names:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise BadFile(f"{where}: its {name!r} is not a text with something in it")
        yield where, row


def read_texts(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """As `read_rows`, with the named texts alone."""
    for where, row in read_rows(path, names):
        yield where, {name: str(row[name]) for name in names}


def read_json(path: Path) -> object:
    """What a file of JSON holds.

    Raises:
        BadFile: not UTF-8, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise BadFile(f"{path.name}, line {error.lineno}: not JSON ({error.msg})") from None
