"""What was found, in the tables that the page shows: means over cases, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.evaluations.edit_metrics import edit_table
from locant.recipes.editing.edited import ENDED
from locant.recipes.editing.plan import Plan
from locant.recipes.rows import Row

EARLIEST = 10
"""Edits that are followed while others are made after them."""


def method_rows(edited: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Of each method every metric before and after: means over cases with intervals; see `edit_table`."""
    if not len(edited):
        return edited
    return _tables(_judged(edited), ["method"], plan)


def cost_rows(edited: pl.DataFrame) -> Iterator[Row]:
    """Of each method, cases edited and refused (or collapsed), and means of what it noted: seconds, losses, norms."""
    for (method,), own in edited.group_by("method", maintain_order=True):
        refused = own.filter(pl.col("metric").is_in(ENDED))["case"].n_unique()
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
    edited = _judged(edited)
    # After only as many edits the first are all there are
    later = edited.filter((pl.col("place") <= EARLIEST) & (pl.col("edits") >= EARLIEST))
    both = pl.concat([edited.with_columns(of=pl.lit("all")), later.with_columns(of=pl.lit(f"the first {EARLIEST}"))])
    return _tables(both, ["method", "edits", "of"], plan)


def ended_rows(parts: Mapping[str, pl.DataFrame]) -> Iterator[Row]:
    """What has no metrics, and why: of each experiment and method how many cases, and what is said of the first.

    Args:
        parts: the cases of each experiment, by its name.

    Columns: made (the experiment), method, metric (refused, collapsed), cases, first (the first of them; '' for all
    together), why, edits (in turn: which case it was).
    """
    for made, edited in parts.items():
        if not len(edited):
            continue
        ended = edited.filter(pl.col("metric").is_in(ENDED))
        for (method, metric), own in ended.group_by("method", "metric", maintain_order=True):
            first = {name: own[name][0] if name in own.columns else None for name in ("case", "why", "edits")}
            about: Row = {"made": made, "method": method, "metric": metric, "cases": len(own)}
            yield {**about, "first": first["case"], "why": first["why"], "edits": first["edits"]}


def _judged(edited: pl.DataFrame) -> pl.DataFrame:
    """What was measured, without notes."""
    return edited.filter((pl.col("asked") != "notes") & ~pl.col("metric").is_in(ENDED))


def _tables(rows: pl.DataFrame, keys: list[str], plan: Plan) -> pl.DataFrame:
    parts = []
    for names, own in rows.group_by(keys, maintain_order=True):
        table = edit_table(own, seed=plan.seed)
        about = [pl.lit(value).alias(name) for name, value in zip(keys, names, strict=True)]
        parts.append(table.select(*about, pl.all()))
    return pl.concat(parts) if parts else pl.DataFrame()
