"""A finished run, read back: its manifest, and its tables with the columns that the page needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from locant.reports.editing.means import scaled
from locant.reports.editing.names import RANDOM, ordered
from locant.reports.means import difference, mean, spread, values
from locant.reports.runs import REAL, TEXT, TRUTH, WHOLE, FinishedRun, finished, tables_of
from locant.types import Interval

RECIPE = "editing"
_MEANS = {
    "asked": TEXT, "metric": TEXT, "n": WHOLE,
    **{f"{when}{end}": REAL for when in ("before", "after") for end in ("", "_low", "_high")},
}  # fmt: skip
_CASES = {"method": TEXT, "case": TEXT, "relation": TEXT, "asked": TEXT, "metric": TEXT, "before": REAL,
          "after": REAL}  # fmt: skip
_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "cases": {"case": TEXT, "relation": TEXT, "prompt": TEXT, "old": TEXT, "new": TEXT, "paraphrases": WHOLE,
              "neighbours": WHOLE, "portability": WHOLE, "unrelated": WHOLE},
    "alone": _CASES,
    "methods": {"method": TEXT, **_MEANS},
    "costs": {"method": TEXT, "cases": WHOLE, "refused": WHOLE, "noted": TEXT, "mean": REAL, "median": REAL,
              "n": WHOLE},
    "in_turn": {**_CASES, "edits": WHOLE, "place": WHOLE},
    "drift": {"method": TEXT, "edits": WHOLE, "of": TEXT, **_MEANS},
    "together": _CASES,
    "batch": {"method": TEXT, **_MEANS},
    "ended": {"made": TEXT, "method": TEXT, "metric": TEXT, "cases": WHOLE, "first": TEXT, "why": TEXT,
              "edits": WHOLE},
    "places": {"method": TEXT, "score": TEXT, "effect": TEXT, "what": TEXT, "mean": REAL, "low": REAL, "high": REAL,
               "n": WHOLE},
    "layers": {"method": TEXT, "score": TEXT, "effect": TEXT, "layer": WHOLE, "facts": WHOLE, "edited": REAL,
               "edited_error": REAL, "localized": REAL, "correlation": REAL, "reached": REAL, "steps": REAL},
    "traces": {"clean": REAL, "corrupted": REAL, "largest": REAL, "layer": WHOLE, "facts": WHOLE, "measured": TRUTH},
}  # fmt: skip
TABLES = {name: pl.DataFrame(schema=columns) for name, columns in _COLUMNS.items()}
"""The tables that the page reads, without rows: their columns and types."""


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run: `run["drift"]` is a table, empty if the run has no such rows.

    In the tables of single cases a case is called a fact, as means are over facts.
    """

    @cached_property
    def methods(self) -> list[str]:
        """Those compared, in the page's order; the control is not among them."""
        return [name for name in self.every if name != RANDOM]

    @cached_property
    def every(self) -> list[str]:
        """The methods, and the control behind them."""
        return ordered([name for table in ("methods", "drift", "batch", "costs") for name in self.named(table)])

    def named(self, table: str) -> list[str]:
        """The methods of a table, in the page's order."""
        return ordered(values(self[table], "method"))

    def mean(self, method: str, asked: str, metric: str, when: str = "after") -> Interval | None:
        """A metric's mean over cases that were edited alone; None if it was not measured.

        Args:
            when: 'before' or 'after'.
        """
        return mean_in(self.of("methods", method=method), asked, metric, when)

    def single(self, asked: str, metric: str, method: str | None = None) -> pl.DataFrame:
        """The rows of single cases, edited alone, that have a metric."""
        rows = self.of("alone", asked=asked, metric=metric)
        return rows if method is None else rows.filter(pl.col("method") == method)

    def gap(self, asked: str, metric: str, first: str, second: str) -> Interval | None:
        """How much higher a metric is after one method than after another, of the same cases."""
        return difference(self.single(asked, metric), "after", "method", first, second, pairs=("fact",))

    def moved(self, method: str, asked: str, metric: str) -> Interval | None:
        """How much higher a metric is after the edit than before it, of the same cases."""
        rows = self.single(asked, metric, method)
        return mean(rows.with_columns(moved=pl.col("after") - pl.col("before")), "moved")

    def refused(self, method: str) -> int:
        """How many cases a method could not edit."""
        found = self.of("costs", method=method)["refused"].max()
        return found if isinstance(found, int) else 0


def mean_in(rows: pl.DataFrame, asked: str, metric: str, when: str = "after") -> Interval | None:
    """A metric's mean out of the rows of one method; None if it is not among them."""
    own = rows.filter((pl.col("asked") == asked) & (pl.col("metric") == metric))
    if own.is_empty():
        return None
    found = spread(own.row(0, named=True), when, (f"{when}_low", f"{when}_high"))
    return found if math.isfinite(found.mean) else None


def perplexity_in(rows: pl.DataFrame) -> Interval | None:
    """The relative change of running text's perplexity, which is one number before the edits."""
    before, after = (mean_in(rows, "texts", "perplexity", when) for when in ("before", "after"))
    if before is None or after is None or before.mean <= 0:
        return None
    was = before.mean
    return scaled(after, lambda end: end / was - 1)


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        BadFile: there is no run, it is another recipe's or not complete, or a table lacks a column.
    """
    manifest, tables = finished(folder, RECIPE), tables_of(folder, TABLES)
    single = {name: tables[name].rename({"case": "fact"}) for name in ("alone", "in_turn", "together")}
    return Run(manifest, tables | single)
