"""Attribution of many queries, streamed to disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file

from locant.attributions import attribute, resolved_settings
from locant.errors import UnknownName
from locant.files import write_whole
from locant.models import LanguageModel
from locant.sweeps.run import Manifest, RunFolder
from locant.types import Attribution, Provenance, Query, Setting

UNIT = 32
"""Queries in one unit of work."""

QUERY_COLUMNS = (
    "query",
    "fact",
    "relation",
    "language",
    "template",
    "prompt",
    "answer",
    "answer_prob",
    "completeness_error",
)


def attribute_all(
    lm: LanguageModel,
    queries: Sequence[Query],
    folder: Path,
    *,
    method: str = "dai",
    k: int = 20,
    dense: bool = False,
    settings: dict[str, Setting] | None = None,
    done: Callable[[int], None] = lambda queries: None,
) -> Path:
    """Attribute queries into a run folder; what is there already is not computed again.

    Writes tables/neurons.parquet (the top k neurons of each query) and tables/queries.parquet; with `dense`,
    beside each unit a safetensors file of scores [query layer neuron].

    Args:
        done: called with the number of queries finished since the last call.

    Returns:
        The folder.

    Raises:
        BadQuery: one cannot be asked of this model; nothing has been written then.
        UnknownName: there is nothing to do, or not in this way; nothing has been written then.
        BadFile: the folder holds another run.
    """
    if not queries or k < 1:
        raise UnknownName(f"there must be a query and a neuron to keep, not {len(queries)} and {k}")
    for query in queries:
        lm.tokens(query)
    run = RunFolder(folder)
    made_by = lm.provenance(method, resolved_settings(method, settings or {}))
    manifest = _manifest(made_by, queries, k, dense)
    run.check(manifest)
    for start in range(0, len(queries), UNIT):
        unit = queries[start : start + UNIT]
        place = run.unit(manifest, _work(unit))
        if not place.is_file():
            found = attribute(lm, unit, method, **(settings or {}))  # type: ignore[arg-type]
            # Not before: a setting that does not exist leaves no folder
            run.open(manifest)
            if dense:
                write_whole(place.with_suffix(".safetensors"), _saver(found))
            table = top_neurons(found, k)
            write_whole(place, table.write_parquet)
        done(len(unit))
    _gather(run, manifest, queries)
    run.finish(manifest)
    return folder


def top_neurons(attribution: Attribution, k: int) -> pl.DataFrame:
    """The k neurons of highest score of each query, a row each, with what was asked."""
    rows = []
    for one in attribution:
        query = one.queries[0]
        scores = one.scores[0].flatten()
        best = scores.topk(min(k, len(scores))).indices
        error = one.completeness_error
        rows += [
            {
                "query": query.uid,
                "fact": query.fact.uid,
                "relation": query.relation,
                "language": query.language,
                "template": query.template,
                "prompt": query.prompt,
                "answer": query.answer,
                "answer_prob": float(one.answer_prob),
                "completeness_error": None if error is None else float(error.max()),
                "rank": rank,
                "layer": unit // one.scores.shape[2],
                "neuron": unit % one.scores.shape[2],
                "score": float(scores[unit]),
                "activation": float(one.activations[0].flatten()[unit]),
            }
            for rank, unit in enumerate(best.tolist(), start=1)
        ]
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"completeness_error": pl.Float64})


def _manifest(made_by: Provenance, queries: Sequence[Query], k: int, dense: bool) -> Manifest:
    data = hashlib.sha256(repr([asdict(query) for query in queries]).encode()).hexdigest()[:20]
    recipe: Manifest = {"recipe": "attribute", **asdict(made_by), "top": k, "dense": dense}
    del recipe["parents"]
    return {**recipe, "queries": len(queries), "data": data}


def _work(unit: Sequence[Query]) -> list[list[str]]:
    """What a unit is about, to name it by."""
    return [[query.uid, query.prompt, query.answer] for query in unit]


def _saver(attribution: Attribution) -> Callable[[Path], None]:
    scores = attribution.scores.to(torch.float32).contiguous()
    uids = "\n".join(query.uid for query in attribution.queries)
    return lambda place: save_file({"scores": scores}, place, metadata={"queries": uids})


def _gather(run: RunFolder, manifest: Manifest, queries: Sequence[Query]) -> None:
    """Put the units together, in the order of the queries, without holding them all in memory."""
    starts = range(0, len(queries), UNIT)
    places = [run.unit(manifest, _work(queries[start : start + UNIT])) for start in starts]
    whole = pl.scan_parquet(places)
    write_whole(run.tables / "neurons.parquet", whole.sink_parquet)
    each = whole.filter(pl.col("rank") == 1).select(QUERY_COLUMNS)
    write_whole(run.tables / "queries.parquet", each.sink_parquet)
