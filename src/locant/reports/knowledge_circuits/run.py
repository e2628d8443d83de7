"""A finished run, read back: its manifest, and its tables with the columns that the page needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from locant.recipes.knowledge_circuits.judged import NOTHING, WHOLE
from locant.reports.knowledge_circuits.graphs import circuits_of
from locant.reports.means import mean_over, number, pooled_difference, spread, values
from locant.reports.runs import REAL, TEXT, TRUTH, FinishedRun, finished, tables_of
from locant.reports.runs import WHOLE as COUNT
from locant.selections.circuits import Circuit
from locant.types import Interval

RECIPE = "knowledge-circuits"
ALL = "all"
_MEAN = {"mean": REAL, "low": REAL, "high": REAL, "n": COUNT}
_POOLED = {**_MEAN, "relations": COUNT}
_SHARED = {"measure": TEXT, "observed": REAL, "expected": REAL, "low": REAL, "high": REAL, "p": REAL}
_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "relations": {"relation": TEXT, "kind": TEXT, "validation": COUNT, "test": COUNT, "objects": COUNT,
                  "left_out": TEXT, "example": TEXT, "counterfactual": TEXT},
    "edges": {"relation": TEXT, "sender": TEXT, "receiver": TEXT, "score": REAL},
    "judged": {"relation": TEXT, "half": TEXT, "circuit": TEXT, "share": REAL, "query": TEXT, "rank": COUNT,
               "candidate_rank": COUNT},
    "completeness": {"group": TEXT, "level": TEXT, "half": TEXT, "circuit": TEXT, "edges": REAL, "metric": TEXT,
                     **_POOLED},
    "faithfulness": {"relation": TEXT, "half": TEXT, "circuit": TEXT, "what": TEXT, "share": REAL, "edges": REAL,
                     **_MEAN},
    "agreement": {"method": TEXT, "measure": TEXT, **_MEAN},
    "overlap": {"relation": TEXT, "other": TEXT, **_SHARED},
    "reverse": {"relation": TEXT, "other": TEXT, "measure": TEXT, "observed": REAL, "expected": REAL,
                "facts": COUNT, "elsewhere": REAL, "pairs": COUNT},
    "streams": {"relation": TEXT, "query": TEXT, "point": TEXT, "step": COUNT, "of": TEXT, "rank": COUNT,
                "probability": REAL},
    "stream": {"relation": TEXT, "point": TEXT, "step": COUNT, "of": TEXT, "measure": TEXT, **_MEAN},
    "heads": {"relation": TEXT, "head": TEXT, "layer": COUNT, "role": TEXT, "confirmed": TRUTH,
              "by_chance": REAL, "in_circuit": TRUTH, "measure": TEXT, **_MEAN},
    "edited": {"relation": TEXT, "query": TEXT, "edit": TEXT, "what": TEXT, "place": COUNT, "value": REAL},
    "edits": {"edit": TEXT, "what": TEXT, "place": COUNT, **_POOLED},
    "refused": {"edit": TEXT, "why": TEXT, "facts": COUNT, "tried": COUNT},
    "wrong": {"kind": TEXT, "relation": TEXT, "query": TEXT, "of": TEXT, "what": TEXT, "place": COUNT,
              "before": REAL, "after": REAL},
    "errors": {"kind": TEXT, "of": TEXT, "what": TEXT, "place": COUNT, **_POOLED, "change": REAL,
               "change_low": REAL, "change_high": REAL},
    "shown": {"relation": TEXT, "set": TEXT, "draw": COUNT, "heads": TEXT, "query": TEXT, "probability": REAL},
    "demonstrations": {"relation": TEXT, "level": TEXT, "set": TEXT, "heads": REAL, "measure": TEXT,
                       **_POOLED},
    "hops": {"first": TEXT, "second": TEXT, "facts": COUNT, "of": TEXT, **_SHARED},
}  # fmt: skip
TABLES = {name: pl.DataFrame(schema=columns) for name, columns in _COLUMNS.items()}
"""The tables that the page reads, without rows: their columns and types."""
_SINGLE = ("judged", "streams", "edited", "wrong", "shown")
"""Tables of single queries."""


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run: `run["hops"]` is a table, empty if the run has no such rows.

    In the tables of single queries a query is called a fact, as means are over facts.
    """

    @cached_property
    def relations(self) -> list[str]:
        """In the order of the run."""
        return values(self["relations"], "relation")

    @cached_property
    def kinds(self) -> dict[str, str]:
        """By relation; empty where the data do not say."""
        return dict(self["relations"].select("relation", "kind").iter_rows())

    @property
    def share(self) -> float:
        """Of the edges, that a relation's circuit has at most."""
        return number(self.settings.get("share", math.nan))

    @property
    def k(self) -> int:
        """Of Hit@k."""
        found = self.settings.get("k")
        return found if isinstance(found, int) else 10

    @property
    def metric(self) -> str:
        """What scores and faithfulness are of."""
        return str(self.settings.get("metric", "metric"))

    def key_of(self, relation: str) -> str:
        """Of a relation's views."""
        return f"r{self.relations.index(relation)}"

    @cached_property
    def circuits(self) -> dict[str, Circuit]:
        """By relation, that of the run's share.

        Raises:
            BadFile: the edges are not those of a graph.
        """
        return circuits_of(self["edges"], self.settings) if math.isfinite(self.share) else {}

    @cached_property
    def _points(self) -> dict[int, str]:
        return dict(self["stream"].select("step", "point").unique().iter_rows())

    def point(self, step: int) -> str:
        """A step of the residual stream by its name, as `m3`."""
        return self._points.get(step, f"step {step}").removeprefix("after ")

    def complete(
        self, circuit: str, metric: str, group: str = ALL, level: str = ALL, half: str = "test"
    ) -> Interval | None:
        """A mean of completeness; None if it was not measured."""
        return interval_in(
            self.of("completeness", group=group, level=level, half=half, circuit=circuit, metric=metric)
        )

    @cached_property
    def tried(self) -> pl.DataFrame:
        """Each test fact in each circuit of the run's share, its draws averaged: hit, first, among."""
        test = self.of("judged", half="test").filter(
            (pl.col("share") == self.share) | pl.col("circuit").is_in([WHOLE, NOTHING])
        )
        scored = test.with_columns(
            hit=pl.col("rank") < self.k, first=pl.col("rank") == 0, among=pl.col("candidate_rank") == 0
        )
        return scored.group_by("relation", "circuit", "fact", maintain_order=True).agg(
            pl.col("hit", "first", "among").cast(pl.Float64).mean()
        )

    def gap(self, metric: str, one: str, other: str, relation: str | None = None) -> Interval | None:
        """How much higher a metric is in one circuit than in another, of the same test facts."""
        rows = self.tried if relation is None else self.tried.filter(pl.col("relation") == relation)
        return pooled_difference(rows, metric, "circuit", one, other, "relation")


def interval_in(rows: pl.DataFrame) -> Interval | None:
    """The mean of the first row; None if there is none."""
    if rows.is_empty():
        return None
    row = rows.row(0, named=True)
    found = replace(spread(row, "mean"), groups=row.get("relations", 1))
    return found if math.isfinite(found.mean) else None


def over_relations(rows: pl.DataFrame, column: str) -> Interval | None:
    """A column's mean over relations, each with the same weight."""
    return mean_over(rows, column, "relation")


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        BadFile: there is no run, it is another recipe's or not complete, or a table lacks a column.
    """
    manifest, tables = finished(folder, RECIPE), tables_of(folder, TABLES)
    return Run(manifest, tables | {name: tables[name].rename({"query": "fact"}) for name in _SINGLE})
