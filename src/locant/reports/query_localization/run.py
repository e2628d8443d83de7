"""A finished run, read back: its manifest, and its tables with the columns that the page needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from locant.reports.runs import REAL, TEXT, TRUTH, WHOLE, FinishedRun, finished, table_of, tables_of

RECIPE = "query-localization"
SAME, OTHER = "queries of other facts of the relation", "queries of other relations"
_FACT = {"fact": TEXT, "relation": TEXT}
_PROBABILITY = {"before": REAL, "after": REAL, "change": REAL}
_BETWEEN = {"low": REAL, "high": REAL}
_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "facts": {**_FACT, "queries": WHOLE},
    "queries": {"query": TEXT, "fact": TEXT, "prompt": TEXT, "answer_prob": REAL, "rank": WHOLE},
    "neurons": {"localizer": TEXT, "query": TEXT, "fact": TEXT, "layer": WHOLE, "neuron": WHOLE, "score": REAL,
                "share": REAL},
    "consistency": {"localizer": TEXT, "matched": TRUTH, **_FACT, "queries": WHOLE, "size": REAL, "cs1": REAL,
                    "cs2": REAL, "jaccard": REAL, "kind_static": TEXT, "kind_otsu": TEXT},
    "thresholds": {"localizer": TEXT, "rule": TEXT, "threshold": REAL, "share": REAL, **_BETWEEN, "n": WHOLE},
    "nulls": {"localizer": TEXT, "null": TEXT, "measure": TEXT, "observed": REAL, "expected": REAL, **_BETWEEN,
              "p": REAL, "draws": WHOLE, "facts": WHOLE},
    "noise": {"localizer": TEXT, "what": TEXT, "jaccard": REAL, **_BETWEEN, "n": WHOLE},
    "tests": {"localizer": TEXT, "test": TEXT, "statistic": REAL, "p": REAL, "effect": REAL, **_BETWEEN,
              "n": WHOLE},
    "mapping": {"localizer": TEXT, "fact": TEXT, "kind": TEXT, "query": TEXT, "set": TEXT, "size": REAL,
                "operation": TEXT, **_PROBABILITY},
    "synapses": {"fact": TEXT, "kind": TEXT, "query": TEXT, "columns": TEXT, "weighing": TEXT, "count": REAL,
                 "operation": TEXT, "activation_before": REAL, "activation_after": REAL,
                 "activation_change": REAL, **_PROBABILITY},
    "activations": {"kind": TEXT, "fact": TEXT, "query": TEXT, "prompt": TEXT, "layer": WHOLE, "neuron": WHOLE,
                    "activation": REAL, "when": TEXT},
    "edits": {"localizer": TEXT, "fact": TEXT, "kind": TEXT, "set": TEXT, "sizing": TEXT, "size": REAL,
              "operation": TEXT, "reliability": REAL, "generalisation": REAL, "locality": REAL, "average": REAL,
              "reliability_before": REAL, "generalisation_before": REAL, "cloze_change": REAL,
              "text_change": REAL},
    "alphas": {"alpha": REAL, "weighing": TEXT, "columns_mean": REAL, "share_of_columns": REAL,
               "activation_change": REAL, "change": REAL, **_BETWEEN, "n": WHOLE},
    "betas": {"beta2": REAL, "operation": TEXT, "reliability": REAL, "generalisation": REAL, "locality": REAL,
              "average": REAL, "cloze_change": REAL, "n": WHOLE},
    "betas_by_fact": {"beta2": REAL, "fact": TEXT, "operation": TEXT, "generalisation": REAL, "locality": REAL,
                      "average": REAL},
    "lambdas": {"lambda": REAL, "reliability": REAL, "generalisation": REAL, "locality": REAL, "average": REAL,
                "cloze_change": REAL, "n": WHOLE},
    "costs": {"localizer": TEXT, "queries": WHOLE, "seconds": REAL, "passes": REAL, "peak_mb": REAL},
}  # fmt: skip
TABLES = {name: pl.DataFrame(schema=columns) for name, columns in _COLUMNS.items()}
"""The tables that the page reads, without rows: their columns and types."""


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run: `run["mapping"]` is a table, empty if the run has no such rows."""

    @cached_property
    def localizers(self) -> tuple[str, ...]:
        """In the order of the settings; the first is the one that findings are about."""
        given = self.settings.get("localizers")
        named = [str(one) for one in given] if isinstance(given, list) else []
        found = pl.concat([self[name]["localizer"] for name in ("consistency", "neurons", "mapping", "edits")])
        return tuple(dict.fromkeys([*named, *found.unique(maintain_order=True)]))

    @property
    def matched(self) -> bool:
        """Whether facts were scored at equal numbers of queries and of neurons, as they must be to be compared."""
        return bool(self["consistency"]["matched"].any())

    def scores(self, localizer: str, matched: bool | None = None) -> pl.DataFrame:
        """The consistency of each fact, at equal numbers of queries and neurons if there are such rows."""
        wanted = self.matched if matched is None else matched
        return self.of("consistency", localizer=localizer).filter(
            (pl.col("matched") == wanted) & pl.col("cs2").is_finite()
        )

    @property
    def static(self) -> float:
        """The threshold of CS2 that the run was given; NaN if it does not say."""
        given = self.settings.get("static")
        return float(given) if isinstance(given, int | float) else math.nan

    def otsu(self, localizer: str) -> float:
        """Otsu's threshold for a localizer's scores; NaN if there is none."""
        found = self.of("thresholds", localizer=localizer, rule="otsu")["threshold"]
        return float(found[0]) if len(found) and found[0] is not None else math.nan

    def null(self, localizer: str, null: str = SAME, measure: str = "cs2") -> dict[str, float] | None:
        """What shuffled facts score, beside what the facts do; None if none were."""
        rows = self.of("nulls", localizer=localizer, null=null, measure=measure)
        names = ("observed", "expected", "low", "high", "p")
        return None if rows.is_empty() else {name: rows[name][0] for name in names}

    def located(self, localizer: str, query: str) -> list[tuple[int, int]]:
        """The (layer, neuron) of a query's own set, highest score first."""
        least = self.settings.get("share")
        rows = self.of("neurons", localizer=localizer, query=query).sort("score", descending=True)
        if isinstance(least, float):
            rows = rows.filter(pl.col("share") >= least)
        return [(layer, neuron) for layer, neuron in rows.select("layer", "neuron").iter_rows()]

    @cached_property
    def rule(self) -> str:
        """Which threshold made the kinds of the facts that were touched: "Otsu's" or 'the static'."""
        touched = pl.concat([self[name].select("fact", "kind") for name in ("mapping", "synapses", "edits")]).unique()
        if not self.localizers:
            return "the static"
        joined = touched.join(self.scores(self.localizers[0]), on="fact")
        agreeing = {rule: int((joined["kind"] == joined[f"kind_{rule}"]).sum()) for rule in ("otsu", "static")}
        return "Otsu’s" if agreeing["otsu"] >= agreeing["static"] else "the static"


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        BadFile: there is no run, it is another recipe's or not complete, or a table lacks a column.
    """
    manifest, tables = finished(folder, RECIPE), tables_of(folder, TABLES)
    if not (folder / "tables" / "neurons.parquet").is_file():
        # A run may have them in one file of each localizer
        places = sorted((folder / "tables").glob("neurons_*.parquet"))
        tables["neurons"] = table_of(places, TABLES["neurons"])
    return Run(manifest, tables)
