"""Published data in JSON, read so that an error names the file, the entry and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from locant.errors import BadFile


@dataclass(frozen=True)
class Record:
    """An object of a JSON file and its place, as an error says it (file, entry n)."""

    where: str
    values: Mapping[str, object]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """A text, without the space around it; it may be empty.

        Raises:
            BadFile: there is none of that name.
        """
        found = self.values.get(name)
        if not isinstance(found, str):
            raise BadFile(f"{self.where}: its {name!r} is not a text")
        return found.strip()

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; none if there is no such list.

        Raises:
            BadFile: it is not a list of texts.
        """
        found = self.values.get(name, [])
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise BadFile(f"{self.where}: its {name!r} is not a list of texts")
        return tuple(text.strip() for text in found if text.strip())

    def inner(self, name: str) -> Record:
        """An object within this one.

        Raises:
            BadFile: there is none of that name.
        """
        return self._record(self.values.get(name), name)

    def inners(self, name: str) -> tuple[Record, ...]:
        """A list of objects within this one, at least one; errors count them from 1.

        Raises:
            BadFile: there is none of that name.
        """
        found = self.values.get(name)
        if not isinstance(found, list) or not found:
            raise BadFile(f"{self.where}: its {name!r} is not a list with something in it")
        return tuple(self._record(one, f"{name} {number}") for number, one in enumerate(found, start=1))

    def _record(self, found: object, name: str) -> Record:
        if not isinstance(found, dict):
            raise BadFile(f"{self.where}: its {name!r} is not an object")
        return Record(f"{self.where}, {name}", found)


def read_records(path: str | Path) -> Iterator[Record]:
    """The objects of a file that holds a JSON list of them.

    Raises:
        BadFile: no such file, not UTF-8, not JSON, not a list of objects, or an empty one.
    """
    path = Path(path)
    rows = _json(path)
    if not isinstance(rows, list) or not rows:
        raise BadFile(f"{path.name}: not a list of objects with something in it")
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}, entry {number}"
        if not isinstance(row, dict):
            raise BadFile(f"{where}: not an object")
        yield Record(where, row)


def read_record(path: str | Path) -> Record:
    """The object that a JSON file holds.

    Raises:
        BadFile: no such file, not UTF-8, not JSON, or not an object.
    """
    path = Path(path)
    values = _json(path)
    if not isinstance(values, dict):
        raise BadFile(f"{path.name}: not an object")
    return Record(path.name, values)


def _json(path: Path) -> object:
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise BadFile(f"{path.name}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise BadFile(f"{path.name}, line {error.lineno}: not JSON ({error.msg})") from None
