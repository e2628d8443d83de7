"""Means over facts, each with its interval and its n, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import torch

from locant.evaluations.outcomes import interval
from locant.recipes.matrice.plan import kind_of
from locant.recipes.rows import Row, as_row


def by_fact(touched: pl.DataFrame) -> pl.DataFrame:
    """P(answer) before and after, the mean over a fact's queries in a language and over random draws."""
    joined = touched.with_columns(pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    by = ["fact", "set", "operation", "language", "asked"]
    return joined.group_by(by, maintain_order=True).agg(pl.col("before", "after", "size").mean())


def change_of(own: pl.DataFrame, seed: int) -> Row:
    """Relative change of P(answer), of rows of `by_fact`: mean over facts, and median."""
    change = (own["after"] - own["before"]) / own["before"]
    return {**spread_of(change, own["fact"].to_list(), seed), "median": float(change.median() or 0.0)}  # type: ignore[arg-type]


def spread_of(values: pl.Series, facts: Sequence[str], seed: int) -> Row:
    """The mean over facts, with its interval and n."""
    return as_row(interval(torch.tensor(values.to_list(), dtype=torch.float64), facts, seed=seed))


def parts(table: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    """The rows that agree in some columns, with what they agree in, in order of appearance."""
    if len(table):
        yield from table.partition_by(by, as_dict=True, maintain_order=True).items()
