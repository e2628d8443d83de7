"""How well edits did, by the metrics that papers report: a row for each case and metric, then means with intervals.

rows = edit_rows(read_cases(lm, cases), after)
print(edit_table(rows))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from scipy.stats import bootstrap, hmean

from locant.errors import UnknownName
from locant.evaluations.edit_readings import SPARED, EditReadings
from locant.evaluations.outcomes import interval
from locant.types import Interval

METRICS: dict[str, pl.Expr] = {
    "score": pl.col("target_nll") < pl.col("foil_nll"),
    "score_total": pl.col("target_log_probability") > pl.col("foil_log_probability"),
    "magnitude": (-pl.col("target_nll")).exp() - (-pl.col("foil_nll")).exp(),
    "probability": pl.col("target_log_probability").exp(),
    "first": pl.col("first"),
    "tokens": pl.col("agreement"),
    "written": pl.col("begins"),
}
"""Of each query; see `edit_rows`."""

JOINED = ("request", "paraphrase", "neighbour")
"""Whose scores the harmonic mean joins: efficacy, paraphrase and neighbourhood score."""

_KEYS = ["case", "relation", "asked", "query"]


def edit_rows(before: EditReadings, after: EditReadings) -> pl.DataFrame:
    """Metrics of each case, before its edit and after it.

    Of what is asked, the target is what is right after the edit (see `EditReadings`), so that more is better in each:

    - score: share of queries whose target has a lower mean NLL of its tokens than the foil. Of requests ROME's
      efficacy, of paraphrases its paraphrase score, of neighbours its neighbourhood score.
    - score_total: the same by the probability of the whole text, which favours short ones.
    - magnitude: mean of exp(-NLL of target) - exp(-NLL of foil), NLL as in score.
    - probability: of the whole target.
    - first: share of queries whose whole target is the model's first choice: greedy decoding gives these tokens.
    - tokens: share of the target's tokens that are, each after the right ones before it; a text is right in part
      here that greedy decoding would never reach. EasyEdit's reliability, generalisation and portability.
    - written: share of queries where greedy decoding writes the target, in whatever tokens.
    - kept: share of neighbours and unrelated queries whose first token is as before.
    - kl: of these, the mean Kullback-Leibler divergence in nats of the first token's distribution after the edit from
      that before, over the 64 tokens that were likeliest and all others as one: no more than that over all tokens.
      Less is better.
    - kept_tokens: share of their answers' tokens whose first choice is as before: EasyEdit's locality.

    Beside them, of 'texts', perplexity (less is better), fluency and consistency.

    Returns:
        Columns case, relation, asked, metric, before, after; no row where both are null, as a score without foils.

    Raises:
        UnknownName: a query was not read before.

    Source: Meng et al. 2022, arXiv:2202.05262, section 3 and the released code; EasyEdit, arXiv:2308.07269.
    """
    rows = before.queries.join(after.queries, on=_KEYS, how="right", suffix="_after", maintain_order="right")
    if rows["target"].null_count():
        missing = rows.filter(pl.col("target").is_null())["query"][0]
        raise UnknownName(f"query {missing!r} was read after the edit and not before")
    own, other = (_means(one.queries) for one in (before, after))
    measured = own.join(
        other, on=["case", "relation", "asked", "metric"], how="right", suffix="_after", maintain_order="right"
    )
    return pl.concat([_named(measured), _kept(rows), _texts(before, after)]).filter(
        pl.col("before").is_not_null() | pl.col("after").is_not_null()
    )


def edit_table(rows: pl.DataFrame, *, level: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Means over cases, with percentile bootstrap intervals over cases.

    The last row, of 'all', is the harmonic mean of the mean scores of requests, paraphrases and neighbours, if these
    were asked; its interval resamples cases as wholes.

    Returns:
        Columns asked, metric, n, before, before_low, before_high, after, after_low, after_high; in order of
        appearance. n counts the cases that have the metric.

    Raises:
        UnknownName: there are no rows.
    """
    if rows.is_empty():
        raise UnknownName("a table of edits needs rows, and there are none")
    found: list[tuple[str, str, Interval | None, Interval | None]] = [
        (str(asked), str(metric), _interval(some["before"], level, seed), _interval(some["after"], level, seed))
        for (asked, metric), some in rows.group_by("asked", "metric", maintain_order=True)
    ]
    if not _joined(rows, "after").is_empty():
        before, after = (harmonic_score(rows, when, level=level, seed=seed) for when in ("before", "after"))
        found.append(("all", "harmonic", before, after))
    return pl.DataFrame([_row(*one) for one in found], schema=_TABLE, orient="row")


def harmonic_score(rows: pl.DataFrame, when: str = "after", *, level: float = 0.95, seed: int = 0) -> Interval:
    """The harmonic mean of efficacy, paraphrase and neighbourhood score: S.

    Args:
        when: 'before' or 'after'.

    Returns:
        The mean of the means over cases, as published, of the cases that have all three; the interval resamples
        cases with all they have.

    Raises:
        UnknownName: no case has all three scores.
    """
    values = _joined(rows, when).to_numpy().T
    if not values.size:
        raise UnknownName(
            f"the harmonic score needs a case with the scores of {', '.join(JOINED)}, and there is none"
        )

    def joined(*each: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(hmean(np.stack([one.mean(axis=axis) for one in each]), axis=0))

    mean = float(joined(*values))
    if all(np.ptp(one) == 0 for one in values):
        return Interval(mean, mean, mean, values.shape[1])
    found = bootstrap(
        tuple(values),
        joined,
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), values.shape[1])


def _joined(rows: pl.DataFrame, when: str) -> pl.DataFrame:
    """The scores that the harmonic mean joins: a row for each case that has all three."""
    scores = rows.filter((pl.col("metric") == "score") & pl.col("asked").is_in(JOINED))
    wide = scores.pivot("asked", on_columns=JOINED, index="case", values=when)
    return wide.select(pl.col(*JOINED).cast(pl.Float64)).drop_nulls()


_TABLE = {
    "asked": pl.String,
    "metric": pl.String,
    "n": pl.Int64,
    **{f"{when}{end}": pl.Float64 for when in ("before", "after") for end in ("", "_low", "_high")},
}


def _row(asked: str, metric: str, before: Interval | None, after: Interval | None) -> tuple[object, ...]:
    each = [(None,) * 3 if one is None else (one.mean, one.low, one.high) for one in (before, after)]
    return asked, metric, max(one.n for one in (before, after) if one is not None), *each[0], *each[1]


def _interval(values: pl.Series, level: float, seed: int) -> Interval | None:
    own = values.drop_nulls().cast(pl.Float64)
    if own.is_empty():
        return None
    cases = [str(number) for number in range(len(own))]
    return interval(torch.from_numpy(own.to_numpy().copy()), cases, level=level, seed=seed)


def _means(queries: pl.DataFrame) -> pl.DataFrame:
    """Of each case and metric, the mean over its queries of a kind."""
    keys = ["case", "relation", "asked"]
    each = [value.cast(pl.Float64).mean().alias(name) for name, value in METRICS.items()]
    means = queries.group_by(keys, maintain_order=True).agg(each)
    return means.unpivot(index=keys, variable_name="metric", value_name="value")


def _named(measured: pl.DataFrame) -> pl.DataFrame:
    return measured.select(
        "case", "relation", "asked", "metric", pl.col("value").alias("before"), pl.col("value_after").alias("after")
    )


def _kept(rows: pl.DataFrame) -> pl.DataFrame:
    """The share of choices that are as before, of what an edit must leave alone."""
    spared = rows.filter(pl.col("asked").is_in(SPARED))
    pairs = list(zip(spared["choices"].to_list(), spared["choices_after"].to_list(), strict=True))
    shares = spared.select("case", "relation", "asked").with_columns(
        pl.Series("kept", [float(one[0] == other[0]) for one, other in pairs], pl.Float64),
        pl.Series("kept_tokens", [_share(one, other) for one, other in pairs], pl.Float64),
        pl.Series("kl", _divergences(spared), pl.Float64),
    )
    keys = ["case", "relation", "asked"]
    means = shares.group_by(keys, maintain_order=True).mean().unpivot(index=keys, variable_name="metric")
    return means.with_columns(pl.lit(None, pl.Float64).alias("before"), pl.col("value").alias("after")).drop("value")


def _divergences(spared: pl.DataFrame) -> list[float | None]:
    """KL(before || after) of each query; None where it was not read, or of other tokens after the edit."""
    pairs = spared.select(
        "likely_log_probability",
        pl.when(pl.col("likely") == pl.col("likely_after")).then("likely_log_probability_after"),
    )
    return [_divergence(before, after) if before and after else None for before, after in pairs.iter_rows()]


def _divergence(before: Sequence[float], after: Sequence[float]) -> float:
    one, other = (np.exp(np.asarray(values, dtype=np.float64)) for values in (before, after))
    among = float((one * np.subtract(before, after)).sum())
    # What rounding leaves of nothing is not to be divided by
    least = float(np.finfo(np.float32).eps)
    rest, rest_after = (max(1 - float(values.sum()), least) for values in (one, other))
    return among + rest * math.log(rest / rest_after)


def _share(one: Sequence[int], other: Sequence[int]) -> float:
    """Of tokens that are the same; alternatives of another length are no longer compared."""
    return sum(a == b for a, b in zip(one, other, strict=False)) / max(len(one), len(other))


def _texts(before: EditReadings, after: EditReadings) -> pl.DataFrame:
    """Measures of texts; perplexity before the edits is one for all cases."""
    alike = before.texts.filter(pl.col("case") == "").select("metric", pl.col("value").alias("alike"))
    rows = after.texts.join(before.texts, on=["case", "metric"], how="left", suffix="_before", maintain_order="left")
    rows = rows.join(alike, on="metric", how="left", maintain_order="left")
    relations = after.queries.select("case", "relation").unique()
    return rows.join(relations, on="case", how="left", maintain_order="left").select(
        "case",
        pl.col("relation").fill_null(""),
        pl.lit("texts").alias("asked"),
        "metric",
        pl.coalesce("value_before", "alike").alias("before"),
        pl.col("value").alias("after"),
    )
