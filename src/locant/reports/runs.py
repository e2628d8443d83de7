"""A finished run on disk, as a page reads it: its manifest and its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from locant.errors import BadFile

TEXT, WHOLE, REAL, TRUTH, TEXTS = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.List(pl.String())
"""What a table's column holds."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: `run["changes"]` is a table, empty if the run has no such rows."""

    manifest: Mapping[str, object]
    tables: Mapping[str, pl.DataFrame]

    def __getitem__(self, name: str) -> pl.DataFrame:
        return self.tables[name]

    @property
    def settings(self) -> Mapping[str, object]:
        found = self.manifest.get("settings")
        return found if isinstance(found, dict) else {}

    def of(self, table: str, **wanted: str) -> pl.DataFrame:
        """The rows of a table with these values."""
        return self[table].filter(*(pl.col(name) == value for name, value in wanted.items()))

    def says(self, name: str) -> str:
        """What the manifest says, for a reader."""
        return str(self.manifest.get(name, "not recorded"))


def finished(folder: Path, recipe: str) -> dict[str, object]:
    """The manifest of a recipe's complete run.

    Raises:
        BadFile: there is no run, it is another recipe's, or it is not complete.
    """
    manifest = manifest_of(folder)
    found, status = manifest.get("recipe"), manifest.get("status")
    if found != recipe:
        raise BadFile(f"{str(folder)!r} holds a run of {found!r}, not of {recipe!r}")
    if status != "complete":
        raise BadFile(
            f"the run in {str(folder)!r} is not complete (its status is {status!r}): "
            "run it again with the same --out, and it goes on where it stopped"
        )
    return manifest


def manifest_of(folder: Path) -> dict[str, object]:
    """What a run says of itself.

    Raises:
        BadFile: there is no run, or its manifest cannot be read.
    """
    place = folder / "manifest.json"
    if not place.is_file():
        raise BadFile(f"{str(folder)!r} holds no run: it has no manifest.json")
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadFile(f"{str(place)!r} is not a run's manifest")
    return found


def left_out_of(manifest: Mapping[str, object]) -> dict[str, int]:
    """By reason, how much of its data a run did not use, as far as its manifest counts it."""
    found: dict[str, int] = {}
    for name in ("left_out", "dropped"):
        given = manifest.get(name)
        told = given.items() if isinstance(given, Mapping) else ()
        found |= {why: number for why, number in told if isinstance(number, int) and number}
    return found


def tables_of(folder: Path, empty: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """A run's tables, in the columns and types that a page has of them; without rows where there is no such table.

    Args:
        empty: each table without rows.

    Raises:
        BadFile: one cannot be read, or lacks a column.
    """
    return {name: table_of([folder / "tables" / f"{name}.parquet"], own) for name, own in empty.items()}


def table_of(places: Sequence[Path], empty: pl.DataFrame) -> pl.DataFrame:
    """A table of one file or more, in the columns and types that a page has of it; without rows if no file is there.

    Args:
        empty: the table without rows.

    Raises:
        BadFile: a file cannot be read, or lacks a column.
    """
    return pl.concat([empty, *(_read(place, empty) for place in places if place.is_file())])


def _read(place: Path, empty: pl.DataFrame) -> pl.DataFrame:
    try:
        found = pl.read_parquet(place)
        if found.is_empty():
            return empty
        lacking = [one for one in empty.columns if one not in found.columns]
        if lacking:
            raise BadFile(f"the table {str(place)!r} has no column {lacking[0]!r}; it has {', '.join(found.columns)}")
        return found.select(pl.col(one).cast(kind) for one, kind in empty.schema.items())
    except (PolarsError, OSError) as error:
        raise BadFile(f"the table {str(place)!r} cannot be read: {str(error).splitlines()[0]}") from error
