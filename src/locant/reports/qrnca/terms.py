"""Both terms of the probability change ratio, and whether one method's ratio is above another's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from locant.reports.means import LEAST, number, spread
from locant.reports.numbers import change
from locant.reports.qrnca.names import ALL, QRNCA, TOWARD
from locant.reports.qrnca.run import Run
from locant.types import Interval

RESAMPLES = 2000
_ENDLESS = "no upper limit"


@dataclass(frozen=True)
class Terms:
    """How related and unrelated answers change when a method's neurons are touched, and the ratio of the two.

    Attributes:
        is_bounded: whether the unrelated change can be told from none; if not, the ratio has no upper limit.
    """

    operation: str
    related: Interval
    unrelated: Interval
    ratio: Interval
    kind: str
    is_bounded: bool

    @property
    def sign(self) -> int:
        """1 if related answers surely move more, and the right way; -1 if less, or the other way; else 0."""
        if self.related.n < LEAST or self.kind == "undefined":
            return 0
        toward = TOWARD.get(self.operation, 1)
        ahead = self.related.low > 0 if toward > 0 else self.related.high < 0
        behind = self.related.high < 0 if toward > 0 else self.related.low > 0
        if self.ratio.low > 1 and ahead:
            return 1
        less = self.is_bounded and self.ratio.high < 1
        return -1 if less or (self.ratio.low > 1 and behind) else 0

    @property
    def ratio_text(self) -> str:
        """The ratio with its interval, or why there is none; never to stand without both terms."""
        if self.kind == "undefined" or math.isnan(self.ratio.mean):
            return "undefined"
        first = "infinite" if math.isinf(self.ratio.mean) else _short(self.ratio.mean)
        if self.related.n < 2 or math.isnan(self.ratio.low):
            return first
        last = _short(self.ratio.high) if self.is_bounded and math.isfinite(self.ratio.high) else _ENDLESS
        low = "infinite" if math.isinf(self.ratio.low) else _short(self.ratio.low)
        return f"{first}\u00a0[{low},\u00a0{last}]"

    def in_words(self) -> str:
        """Both changes and their ratio, for a sentence."""
        return f"{change(self.related)} related, {change(self.unrelated)} unrelated (ratio {self.ratio_text})"


def terms_of(run: Run, evaluation: str, operation: str, method: str = QRNCA, group: str = ALL) -> Terms | None:
    """What a run found; None if it was not measured."""
    rows = run.of("ratios", method=method, group=group, evaluation=evaluation, operation=operation)
    return terms(rows.row(0, named=True)) if len(rows) else None


def terms(row: Mapping[str, object]) -> Terms:
    """A row of the table of ratios."""
    related, unrelated, ratio = (
        spread(row, name, (f"{name}_low", f"{name}_high")) for name in ("related", "unrelated", "ratio")
    )
    return Terms(str(row["operation"]), related, unrelated, ratio, str(row["kind"]), bool(row["bounded"]))


def ratio_above(run: Run, evaluation: str, operation: str, other: str) -> int | None:
    """1 if QRNCA's ratio is surely above another method's, -1 if below, 0 if neither; None if not both measured.

    Facts are resampled, each with all that was asked with its neurons under both methods; the quotient of the two
    ratios excludes 1 in 95% of the resamples or it shows nothing.
    """
    asked = _paired(run, evaluation, operation, (QRNCA, other))
    if asked is None:
        return None
    weights = _weights(len(asked))
    logs = []
    with np.errstate(divide="ignore", invalid="ignore"):  # resamples of facts that do not change
        for method in ("0", "1"):
            related, unrelated = (_changes(asked, f"{method} {side}", run, weights) for side in _SIDES)
            logs.append(np.log(np.abs(related)) - np.log(np.abs(unrelated)))
        gaps = logs[0] - logs[1]
    gaps = gaps[~np.isnan(gaps)]
    if len(asked) < LEAST or not len(gaps):
        return 0
    low, high = np.quantile(gaps, [0.025, 0.975], method="inverted_cdf")
    return int(low > 0) - int(high < 0)


_SIDES = ("related", "unrelated")


def _paired(run: Run, evaluation: str, operation: str, methods: tuple[str, str]) -> pl.DataFrame | None:
    """By fact, P before and after of each method and side; None if no fact has all four."""
    rows = run.of("changes", evaluation=evaluation, operation=operation)
    rows = rows.filter(pl.col("before").is_finite() & pl.col("after").is_finite())
    found: pl.DataFrame | None = None
    for place, method in enumerate(methods):
        for side in _SIDES:
            own = rows.filter((pl.col("method") == method) & (pl.col("asked") == side))
            mean = own.group_by("fact").agg(
                pl.col("before").mean().alias(f"{place} {side} before"),
                pl.col("after").mean().alias(f"{place} {side} after"),
            )
            found = mean if found is None else found.join(mean, on="fact")
    if found is None or found.is_empty():
        return None
    return found.sort("fact")


def _changes(asked: pl.DataFrame, name: str, run: Run, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The relative change in each resample, put together as the run did."""
    before, after = (asked[f"{name} {when}"].to_numpy() for when in ("before", "after"))
    if run.settings.get("aggregate") == "mean-of-ratios":
        return np.asarray(weights @ ((after - before) / before))
    return np.asarray((weights @ (after - before)) / (weights @ before))


@cache
def _weights(facts: int) -> NDArray[np.float64]:
    """How often each fact is in each resample [resample, fact]; the same at every call."""
    even = np.full(facts, 1 / facts)
    return np.asarray(np.random.default_rng(0).multinomial(facts, even, size=RESAMPLES) / facts)


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2g}"


def size_of(run: Run, evaluation: str, method: str) -> float:
    """How many neurons were touched at a time, mean over questions; NaN if that is not known."""
    found = run.of("changes", evaluation=evaluation, method=method, asked="related")["size"].mean()
    return number(found)
