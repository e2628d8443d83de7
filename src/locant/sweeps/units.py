"""Units of work that end in one table: computed once, written whole, skipped when they are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from locant.files import write_whole
from locant.sweeps.run import Manifest, RunFolder


@dataclass(frozen=True)
class Unit:
    """A part of a table.

    Attributes:
        work: what it computes, as plain data, to name it by.
        compute: computes it; called only where it is not there yet.
    """

    work: object
    compute: Callable[[], pl.DataFrame]


def fill_table(
    run: RunFolder,
    manifest: Manifest,
    name: str,
    units: Sequence[Unit],
    done: Callable[[int], None] = lambda units: None,
) -> pl.DataFrame:
    """Compute the units that are not there, and gather all of them, in order, into tables/`name`.parquet.

    Args:
        done: called with 1 after each unit.

    Returns:
        The table; without columns if no unit has a row.
    """
    places = [run.unit(manifest, [name, unit.work]) for unit in units]
    for place, unit in zip(places, units, strict=True):
        if not place.is_file():
            write_whole(place, unit.compute().write_parquet)
        done(1)
    return save_table(run, name, [table for table in map(_read, places) if len(table)])


def save_table(run: RunFolder, name: str, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Write tables/`name`.parquet from its parts, in order."""
    table = pl.concat(parts, how="vertical_relaxed") if parts else pl.DataFrame()
    write_whole(run.tables / f"{name}.parquet", table.write_parquet)
    return table


def _read(place: Path) -> pl.DataFrame:
    return pl.read_parquet(place)
