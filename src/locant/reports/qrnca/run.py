"""A finished run, read back: its manifest, and its tables with the columns that the page needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from locant.reports.means import in_order, values
from locant.reports.qrnca.names import ALL, BESIDE, EVALUATIONS, METHODS
from locant.reports.runs import REAL, TEXT, TRUTH, WHOLE, FinishedRun, finished, tables_of

RECIPE = "qrnca"
_QUESTION = {"question": TEXT, "group": TEXT}
_FACT = {"question": TEXT, "fact": TEXT, "group": TEXT}
_UNIT = {"layer": WHOLE, "neuron": WHOLE}
_BETWEEN = {"low": REAL, "high": REAL}
_TOUCHED = {"evaluation": TEXT, "operation": TEXT}
_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "questions": {**_FACT, "relation": TEXT, "text": TEXT, "answer": TEXT, "prompts": WHOLE},
    "prompts": {**_FACT, "template": TEXT, "options": WHOLE, "letter": TEXT, "predicted": TEXT, "right": TRUTH,
                "probability": REAL, "mass": REAL, "length": REAL},
    "clusters": {**_QUESTION, **_UNIT},
    "wrong": {**_QUESTION, "place": WHOLE, "right": WHOLE, "wrong": WHOLE, "jaccard": REAL, "another": REAL},
    "common": {**_UNIT, "clusters": WHOLE, "share": REAL, "promotes": TEXT, "demotes": TEXT},
    "changes": {"method": TEXT, **_FACT, "asked": TEXT, **_TOUCHED, "size": REAL, "matched": TRUTH, "before": REAL,
                "after": REAL},
    "ratios": {"method": TEXT, "group": TEXT, **_TOUCHED, "related": REAL, "related_low": REAL,
               "related_high": REAL, "unrelated": REAL, "unrelated_low": REAL, "unrelated_high": REAL,
               "ratio": REAL, "ratio_low": REAL, "ratio_high": REAL, "kind": TEXT, "bounded": TRUTH, "n": WHOLE},
    "editing": {"method": TEXT, **_TOUCHED, "asked": TEXT, "turned": TEXT, "of": TEXT, "share": REAL, **_BETWEEN,
                "n": WHOLE},
    "prediction": {"group": TEXT, "pool": TEXT, "size": REAL, "rule": TEXT, "accuracy": REAL, **_BETWEEN,
                   "n": WHOLE},
    "gains": {"group": TEXT, "rule": TEXT, "against": TEXT, "gain": REAL, **_BETWEEN, "n": WHOLE},
    "counts": {"method": TEXT, "group": TEXT, "neurons": REAL, **_BETWEEN, "n": WHOLE},
    "overlap": {"measure": TEXT, "null": TEXT, "shuffled": TEXT, "first": TEXT, "second": TEXT, "observed": REAL,
                "expected": REAL, **_BETWEEN, "p": REAL, "why": TEXT},
    "likeness": {"kind": TEXT, "shuffled": TEXT, "jaccard": REAL, "expected": REAL, **_BETWEEN, "p": REAL,
                 "pairs": WHOLE},
    "layers": {"group": TEXT, "layer": WHOLE, "neurons": WHOLE, "occurrences": WHOLE},
    "regions": {"group": TEXT, "layer": WHOLE, "bin": WHOLE, "start": WHOLE, "occurrences": WHOLE, "weight": REAL},
    "costs": {"stage": TEXT, "questions": WHOLE, "prompts": WHOLE, "tokens": REAL, "seconds": REAL},
}  # fmt: skip
TABLES = {name: pl.DataFrame(schema=columns) for name, columns in _COLUMNS.items()}
"""The tables that the page reads, without rows: their columns and types."""


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run: `run["ratios"]` is a table, empty if the run has no such rows."""

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """In the order of the questions, without `all`."""
        found = pl.concat([self[name]["group"] for name in ("questions", "prompts", "counts", "ratios", "layers")])
        return tuple(name for name in found.unique(maintain_order=True) if name is not None and name != ALL)

    @property
    def options(self) -> int:
        """Of how many letters an answer is one; 0 if that is not known."""
        known = self["prompts"]["options"].drop_nulls().to_list()
        return max(known, default=0)

    def methods(self, table: str) -> list[str]:
        """A table's methods, QRNCA first and the others in the page's order."""
        return in_order(values(self[table], "method"), tuple(METHODS))

    def evaluations(self, table: str) -> list[str]:
        """A table's evaluations, each held-out one first and what it stands beside."""
        return in_order(values(self[table], "evaluation"), EVALUATIONS)

    def held_out(self, table: str) -> list[str]:
        return [name for name in self.evaluations(table) if name in BESIDE]


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        BadFile: there is no run, it is another recipe's or not complete, or a table lacks a column.
    """
    return Run(finished(folder, RECIPE), tables_of(folder, TABLES))
