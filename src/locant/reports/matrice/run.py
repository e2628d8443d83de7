"""A finished run, read back: its manifest, and its tables with the columns that the page needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from locant.reports.matrice.names import OWN, kind_of
from locant.reports.runs import REAL, TEXT, TEXTS, TRUTH, WHOLE, FinishedRun, finished, tables_of

RECIPE = "matrice"
_MEAN = {"mean": REAL, "low": REAL, "high": REAL, "n": WHOLE}
_READ: dict[str, pl.DataType] = {
         "fact": TEXT, "source": TEXT, "set": TEXT, "language": TEXT, "asked": TEXT, "known": TRUTH,
         "says_new_before": TRUTH, "says_new": TRUTH, "kept": TRUTH, "same_answer": TRUTH}  # fmt: skip
_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "facts": {"fact": TEXT, "relation": TEXT, "known": TEXTS, "taught": TEXTS},
    "answers": {"fact": TEXT, "language": TEXT, "part": TEXT, "query": TEXT, "answer": TEXT, "right": TRUTH},
    "known": {"language": TEXT, "queries": WHOLE, **_MEAN},
    "neurons": {"fact": TEXT, "set": TEXT, "within": REAL, "between": REAL},
    "stability": {"fact": TEXT, "what": TEXT, "least": WHOLE, "value": REAL},
    "agreeing": {"share": REAL, "least": WHOLE, "of": TEXT, **_MEAN},
    "layers": {"set": TEXT, "layer": WHOLE, "neurons": REAL, "facts": WHOLE},
    "overlap": {"first": TEXT, "second": TEXT, "family": TRUTH, "script": TRUTH, "same_answer": TRUTH, **_MEAN,
                "expected": REAL, "p": REAL},
    "touched": {"fact": TEXT, "set": TEXT, "operation": TEXT, "language": TEXT, "asked": TEXT, "query": TEXT,
                "before": REAL, "after": REAL},
    "sizes": {"set": TEXT, "facts": WHOLE, "without": REAL, **_MEAN},
    "sharing": {"fact": TEXT, "language": TEXT, "taught": TRUTH, "known": TRUTH, "verdict": TEXT, "own": REAL},
    "verdicts": {"of": TEXT, "pairs": WHOLE, "count": WHOLE, **_MEAN},
    "left_out": {"set": TEXT, "why": TEXT},
    "edited": _READ,
    "lambdas": {**_READ, "lambda": REAL},
    "chosen": {"lambda1": REAL, "lambda2": REAL, "how": TEXT, "apart": TRUTH, "facts": WHOLE, "success": REAL,
               "kept": REAL},
    "injected": {**_READ, "kind": TEXT, "parameters": WHOLE, "steps": WHOLE},
    "enhanced": {"fact": TEXT, "set": TEXT, "factor": REAL, "language": TEXT, "asked": TEXT, "right_before": TRUTH,
                 "right_after": TRUTH},
    "degenerate": {"fact": TEXT, "set": TEXT, "language": TEXT, "pairs": WHOLE, "degenerate": WHOLE,
                   "accepted": WHOLE, "random_degenerate": REAL, "synergy": REAL, "random_synergy": REAL},
    "checking": {"relation": TEXT, "set": TEXT, "by": TEXT, "language": TEXT, "size": WHOLE, "auc": REAL,
                 "auc_low": REAL, "auc_high": REAL, "f1": REAL, "facts": WHOLE, "statements": WHOLE, "true": WHOLE},
    "costs": {"stage": TEXT, "facts": WHOLE, "queries": WHOLE, "seconds": REAL},
}  # fmt: skip
TABLES = {name: pl.DataFrame(schema=columns) for name, columns in _COLUMNS.items()}
"""The tables that the page reads, without rows: their columns and types."""


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run: `run["touched"]` is a table, empty if the run has no such rows."""

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """In the order of the manifest, and then of the tables."""
        given = self.manifest.get("languages")
        named = [str(one) for one in given] if isinstance(given, list) else []
        found = [self[name]["language"] for name in ("known", "touched", "sharing", "edited")]
        return tuple(dict.fromkeys([*named, *pl.concat(found).unique(maintain_order=True)]))

    @property
    def size(self) -> str:
        """How many neurons each set has, as text."""
        given = self.settings.get("size")
        return f"{given} neurons" if isinstance(given, int) else "equally many neurons"

    @cached_property
    def changes(self) -> pl.DataFrame:
        """Relative changes of P(answer), a row for each fact, set, operation and language, and who was asked.

        Related queries are of languages in which the fact is known, unrelated ones such as are answered right:
        where an answer has no probability to lose, its relative change is noise. Random draws count as one set.
        """
        drawn = pl.col("set").map_elements(kind_of, return_dtype=pl.String)
        by = ["fact", "set", "operation", "language", "asked"]
        related = self.where_known(self["touched"].filter(pl.col("asked") == "related"))
        unrelated = self["touched"].filter(pl.col("asked") == "unrelated")
        if len(self["answers"]):
            right = self["answers"].filter("right")
            unrelated = unrelated.join(right, on=["query", "language"], how="semi", maintain_order="left")
        means = (
            pl.concat([related, unrelated])
            .with_columns(set=drawn)
            .group_by(by, maintain_order=True)
            .agg(pl.col("before", "after").mean())
        )
        return means.with_columns(change=(pl.col("after") - pl.col("before")) / pl.col("before"))

    def suppressed(self, asked: str = "related") -> pl.DataFrame:
        """`changes` where neurons were set to zero."""
        return self.changes.filter((pl.col("operation") == "suppress") & (pl.col("asked") == asked))

    @cached_property
    def own(self) -> pl.DataFrame:
        """Changes without each language's own neurons: of its own answer, and of the same fact's in the others.

        Columns beside those of `changes`: source, the language that the neurons are of; whose, 'own' or 'other';
        alike, whether the answer is the same string in both.
        """
        rows = self.suppressed().filter(pl.col("set").str.starts_with(OWN))
        rows = rows.with_columns(source=pl.col("set").str.strip_prefix(OWN))
        answers = self["answers"].select("fact", "language", "answer").unique(["fact", "language"], keep="first")
        for place in ("language", "source"):
            names = {"language": place, "answer": f"answer_{place}"}
            rows = rows.join(answers.rename(names), on=["fact", place], how="left", maintain_order="left")
        mine = pl.col("source") == pl.col("language")
        return rows.with_columns(
            whose=pl.when(mine).then(pl.lit("own")).otherwise(pl.lit("other")),
            alike=pl.col("answer_language") == pl.col("answer_source"),
        )

    def where_known(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of languages in which their fact is known; all, of a run that does not say."""
        if self["facts"].is_empty():
            return rows
        pairs = self["facts"].select("fact", pl.col("known").alias("language")).explode("language")
        return rows.join(pairs, on=["fact", "language"], how="semi", maintain_order="left")


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        BadFile: there is no run, it is another recipe's or not complete, or a table lacks a column.
    """
    return Run(finished(folder, RECIPE), tables_of(folder, TABLES))
