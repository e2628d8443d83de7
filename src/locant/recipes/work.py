"""What every recipe's run is made of: its manifest, and tables that are filled in units of work.

A recipe's own class has a method for each experiment:

    @dataclass(frozen=True)
    class Counting(Work):
        facts: Sequence[FactQueries]

        def count(self) -> None:
            units = [Unit([one.fact.uid], partial(count, self.lm, one)) for one in self.facts]
            self._save("means", list(mean_rows(self._fill("counts", units, "counting"))))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from locant.models import LanguageModel
from locant.models.weights import fingerprint
from locant.sweeps import RunFolder
from locant.sweeps.run import Manifest
from locant.sweeps.units import Unit, fill_table, save_table

One = TypeVar("One")
Say = Callable[[str, int], Callable[[int], None]]
"""Told what begins and how many units it has; returns what is called with the number of units done."""


def say_nothing(what: str, units: int) -> Callable[[int], None]:
    """For a run whose progress nobody follows."""
    return lambda done: None


@dataclass(frozen=True)
class Data:
    """What a run is of, for its manifest.

    Attributes:
        source: where it comes from.
        drawn: how it was drawn from there, the settings of a function that selects; None if that is not known.
        counts: of what there is how much, and what else a reader of the manifest is to see.
        text: all of it; the manifest has its hash.
    """

    source: str
    drawn: Mapping[str, object] | None
    counts: Mapping[str, object]
    text: str


def manifest_of(recipe: str, lm: LanguageModel, data: Data, settings: Mapping[str, object]) -> Manifest:
    """What a run is, by which it is told from every other; units of work are named by it.

    Args:
        settings: the recipe's plan, as plain data.
    """
    made_by = lm.provenance(recipe, {})
    return {
        "recipe": recipe,
        **{name: getattr(made_by, name) for name in ("model", "revision", "dtype", "package")},
        "weights": fingerprint(lm.model),
        "source": data.source,
        "drawn": dict(data.drawn or {}),
        **data.counts,
        "data": hashlib.sha256(data.text.encode()).hexdigest()[:20],
        "settings": dict(settings),
    }


@dataclass(frozen=True)
class Work:
    """A run in progress."""

    lm: LanguageModel
    run: RunFolder
    manifest: Manifest
    say: Say

    def _fill(self, name: str, units: Sequence[Unit], what: str) -> pl.DataFrame:
        """A table of units, those that are there not computed again; `what` is said to be going on."""
        return fill_table(self.run, self.manifest, name, units, self.say(what, len(units)))

    def _save(self, name: str, rows: Sequence[Mapping[str, object]] | pl.DataFrame) -> None:
        """A table that is cheap to compute from what is there."""
        table = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
        save_table(self.run, name, [table] if len(table) else [])


def in_batches(some: Sequence[One], size: int) -> list[Sequence[One]]:
    """Parts of so many each, in order; the last may have fewer."""
    return [some[start : start + size] for start in range(0, len(some), size)]
