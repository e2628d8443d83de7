"""The share of facts that are inconsistent, out of a run's tables."""

from __future__ import annotations

import polars as pl

from locant.reports.means import mean
from locant.types import Interval


def inconsistent(rows: pl.DataFrame, rule: str = "static") -> Interval | None:
    """The share of facts that a rule, 'static' or 'otsu', calls inconsistent."""
    known = rows.filter(pl.col(f"kind_{rule}").is_not_null())
    kinds = (pl.col(f"kind_{rule}") == "inconsistent").cast(pl.Float64)
    return mean(known.with_columns(kinds.alias("inconsistent")), "inconsistent")
