"""What was found, in the tables that the page shows: means over cases, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.evaluations.edit_metrics import edit_table
from locant.recipes.editing.edited import REFUSED
from locant.recipes.editing.plan import Plan
from locant.recipes.rows import Row

EARLIEST = 10
"""Edits that are followed while others are made after them."""


def method_rows(edited: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Of each method every metric before and after: means over cases with intervals; see `edit_table`."""
    if not len(edited):
        return edited
    judged = edited.filter((pl.col("asked") != "notes") & (pl.col("metric") != REFUSED))
    return _tables(judged, ["method"], plan)


def cost_rows(edited: pl.DataFrame) -> Iterator[Row]:
    """Of each method, cases edited and refused, and means of what it noted: seconds, losses, norms."""
    for (method,), own in edited.group_by("method", maintain_order=True):
        refused = own.filter(pl.col("metric") == REFUSED)["case"].n_unique()
        about: Row = {"method": method, "cases": own["case"].n_unique(), "refused": refused}
        notes = own.filter(pl.col("asked") == "notes").group_by("metric", maintain_order=True)
        noted = [(str(metric), values["after"].drop_nulls()) for (metric,), values in notes]
        if not noted:
            yield {**about, "noted": None, "mean": None, "median": None, "n": 0}
        for metric, after in noted:
            yield {**about, "noted": metric, "mean": after.mean(), "median": after.median(), "n": len(after)}


def drift_rows(edited: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Of each method after more and more edits: metrics of all that were edited, and of the first `EARLIEST`."""
    if not len(edited):
        return edited
    # After only as many edits the first are all there are
    later = edited.filter((pl.col("place") <= EARLIEST) & (pl.col("edits") >= EARLIEST))
    both = pl.concat([edited.with_columns(of=pl.lit("all")), later.with_columns(of=pl.lit(f"the first {EARLIEST}"))])
    return _tables(both, ["method", "edits", "of"], plan)


def _tables(rows: pl.DataFrame, keys: list[str], plan: Plan) -> pl.DataFrame:
    parts = []
    for names, own in rows.group_by(keys, maintain_order=True):
        table = edit_table(own, seed=plan.seed)
        about = [pl.lit(value).alias(name) for name, value in zip(keys, names, strict=True)]
        parts.append(table.select(*about, pl.all()))
    return pl.concat(parts) if parts else pl.DataFrame()
