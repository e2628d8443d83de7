"""Each query's neurons, by each localizer, and what finding them cost."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from locant.attributions import attribute
from locant.models import LanguageModel
from locant.models.hooks import watching_outputs
from locant.recipes.query_localization.plan import Plan
from locant.types import Attribution, Provenance, Query, Selection, Setting, digest_of

NOISE: dict[str, dict[str, Setting]] = {
    "dai": {"rule": "midpoint", "steps": 20},
    "sig": {"rule": "midpoint", "steps": 20},
    "amig": {"rule": "midpoint", "steps": 20},
}
"""Settings that must find the same neurons: what differs between them and the defaults is the localizer's noise."""


BATCH_COLUMNS = ("batch", "batch_queries", "batch_seconds", "batch_passes", "peak_mb")
"""What a unit's rows say of its batch, for `costs_of`."""


def locate(lm: LanguageModel, queries: Sequence[Query], localizer: str, plan: Plan) -> pl.DataFrame:
    """The neurons of each query that score highest, a row each, with the cost of the batch in every row."""
    with _Counter(lm) as cost:
        found = attribute(lm, queries, localizer, **plan.settings.get(localizer, {}))  # type: ignore[arg-type]
    tokens = sum(lm.tokens(query).length for query in queries)
    rows = [row for one in found for row in _rows(one, localizer, plan)]
    return pl.DataFrame(rows).with_columns(
        batch=pl.lit(queries[0].uid),
        batch_queries=pl.lit(len(queries)),
        batch_seconds=pl.lit(cost.seconds),
        batch_passes=pl.lit(cost.positions / (lm.layers * tokens) * len(queries)),
        peak_mb=pl.lit(_peak_mb()),
    )


def _rows(one: Attribution, localizer: str, plan: Plan) -> list[dict[str, object]]:
    query, scores = one.queries[0], one.scores[0]
    flat = scores.flatten()
    highest = float(flat.max())
    own = int((flat >= plan.share * highest).sum()) if highest > 0 else 1
    best = flat.topk(min(max(plan.keep, own), len(flat)))
    kept = [(int(unit), float(score)) for score, unit in zip(best.values, best.indices, strict=True)]
    width = scores.shape[1]
    return [
        {
            "localizer": localizer,
            "query": query.uid,
            "fact": query.fact.uid,
            "relation": query.relation,
            "rank": rank,
            "layer": unit // width,
            "neuron": unit % width,
            "score": score,
            "share": score / highest if highest > 0 else 0.0,
            "activation": float(one.activations[0].flatten()[unit]),
        }
        for rank, (unit, score) in enumerate(kept, start=1)
        # The first is kept whatever it is, so that every query has a row
        if rank == 1 or (highest > 0 and score >= 0.5 * plan.share * highest)
    ]


def noise_of(
    lm: LanguageModel, queries: Sequence[Query], localizer: str, sets: Mapping[str, Selection], plan: Plan
) -> pl.DataFrame:
    """How far a localizer agrees with itself at another quadrature: the Jaccard index of each query's two sets.

    Args:
        sets: by a query's uid, the neurons found already.
    """
    other = {**plan.settings.get(localizer, {}), **NOISE[localizer]}
    again = replace(plan, settings={**plan.settings, localizer: other})
    found = sets_of(locate(lm, queries, localizer, again), lm, queries, localizer, plan.share)
    rows = [
        {
            "localizer": localizer,
            "query": query.uid,
            "fact": query.fact.uid,
            "jaccard": _jaccard(sets[query.uid], found[query.uid]),
        }
        for query in queries
    ]
    return pl.DataFrame(rows)


def _jaccard(one: Selection, other: Selection) -> float:
    ours, theirs = (set(map(tuple, each.units.tolist())) for each in (one, other))
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else float("nan")


def sets_of(
    neurons: pl.DataFrame, lm: LanguageModel, queries: Sequence[Query], localizer: str, share: float
) -> dict[str, Selection]:
    """By a query's uid, the neurons a localizer found for it."""
    own = neurons.filter(pl.col("localizer") == localizer)
    return {one.queries[0].uid: one for one in _sets(own, lm, queries, share)}


def _sets(neurons: pl.DataFrame, lm: LanguageModel, queries: Sequence[Query], share: float) -> list[Selection]:
    kept = neurons.filter((pl.col("share") >= share) & (pl.col("score") > 0)).sort("layer", "neuron")
    by_query = kept.partition_by("query", as_dict=True)
    made_by = Provenance("select:share", {"share": share}, parents=(_digest(neurons),))
    return [_selection(by_query.get((query.uid,)), query, (lm.layers, lm.neurons), made_by) for query in queries]


def _selection(rows: pl.DataFrame | None, query: Query, grid: tuple[int, int], made_by: Provenance) -> Selection:
    if rows is None:
        return Selection((query,), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0), grid, made_by)
    units = torch.from_numpy(rows.select("layer", "neuron").to_numpy().copy()).long()
    return Selection((query,), units, torch.tensor(rows["score"].to_list()), grid, made_by)


def _digest(neurons: pl.DataFrame) -> str:
    return digest_of(neurons.select("localizer", "query", "layer", "neuron").sort(pl.all()).write_csv())


def costs_of(neurons: pl.DataFrame) -> pl.DataFrame:
    """What each localizer cost: seconds, passes of a whole prompt, the process's highest memory."""
    batches = neurons.unique(["localizer", "batch"], keep="first", maintain_order=True)
    return batches.group_by("localizer", maintain_order=True).agg(
        queries=pl.col("batch_queries").sum(),
        seconds=pl.col("batch_seconds").sum(),
        passes=pl.col("batch_passes").sum(),
        peak_mb=pl.col("peak_mb").max(),
    )


class _Counter:
    """Seconds, and positions that blocks were run on, while it lasts."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self.seconds = 0.0
        self.positions = 0.0
        self._watching = watching_outputs(lm.blocks, self._see)

    def _see(self, layer: int, residual: Tensor) -> None:
        self.positions += residual.numel() / residual.shape[-1]

    def __enter__(self) -> _Counter:
        _forget_peak()
        self._watching.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self._watching.__exit__(*error)  # type: ignore[arg-type]


def _forget_peak() -> None:
    """Begin to measure the highest memory anew, where the system lets us."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
