"""What was found, in the tables that the page shows: means over facts, each with its interval and its n.

Intervals of facts of several relations are over relations and the facts in them; `relations` says how many there are.
Those of shares are Wilson's where all facts agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl
import torch

from locant.evaluations.circuits import Curve
from locant.evaluations.outcomes import interval
from locant.evaluations.pooled import FEW, as_share, pooled_interval
from locant.recipes.knowledge_circuits.edited import REFUSED
from locant.recipes.knowledge_circuits.judged import CIRCUIT, NOTHING, OTHER, RANDOM, WHOLE
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.shown import SHOWN
from locant.recipes.rows import Row, as_row

ALL = "all"
"""The name of the group of all relations."""
SHARES = ("hit", "first", "among", "released", "said", "spilled", "mended")
"""What is measured as a share: of each fact 0, 1, or between."""


def completeness_rows(judged: pl.DataFrame, kinds: Mapping[str, str], plan: Plan) -> Iterator[Row]:
    """Of each relation, of each kind of them and of all, what circuits of the plan's share say.

    Columns: group (a relation, a kind or ALL), level (relation, kind or all), half, circuit, edges (mean); metric:
    `hit` (the answer's first token among the k most likely), `first` (the most likely), `among` (the most likely of
    the relation's answers), `released` (the label that the released code takes for right among the k most likely),
    `log_probability`; mean, low, high, n, relations. Random circuits count with their mean over draws.
    """
    at_share = judged.filter((pl.col("share") == plan.share) | pl.col("circuit").is_in([WHOLE, NOTHING]))
    scored = at_share.with_columns(
        hit=pl.col("rank") < plan.k,
        first=pl.col("rank") == 0,
        among=pl.col("candidate_rank") == 0,
        released=pl.col("label_rank") < plan.k,
        kind=pl.col("relation").replace_strict(kinds, return_dtype=pl.String),
    )
    metrics = ["hit", "first", "among", "released", "log_probability"]
    by_query = scored.group_by("relation", "kind", "half", "circuit", "draw", "query", maintain_order=True).agg(
        pl.col("edges").mean(), pl.col(metrics).cast(pl.Float64).mean()
    )
    for level, groups in _levels(by_query):
        for (group, half, circuit), own in groups:
            about: Row = {"group": group, "level": level, "half": half, "circuit": circuit}
            for metric in metrics:
                values = own.drop_nulls(metric)
                if len(values):
                    yield {
                        **about,
                        "edges": own["edges"].mean(),
                        "metric": metric,
                        **(_mean if circuit != RANDOM else _mean_over_draws)(values, metric, metric, plan.seed),
                    }


def _levels(table: pl.DataFrame) -> Iterator[tuple[str, Iterator[tuple[tuple[object, ...], pl.DataFrame]]]]:
    """The rows of each relation, of each kind and of all, by half and circuit."""
    everything = table.with_columns(all=pl.lit(ALL))
    for level, column in (("relation", "relation"), ("kind", "kind"), ("all", "all")):
        there = everything.filter(pl.col(column) != "")
        by = [column, "half", "circuit"]
        yield level, iter(there.partition_by(by, as_dict=True, maintain_order=True).items())


def _mean(own: pl.DataFrame, column: str, measure: str, seed: int) -> Row:
    """A column's mean over queries, each a fact of its relation; `measure` is what the column holds."""
    values = torch.tensor(own[column].to_list(), dtype=torch.float64)
    found = pooled_interval(values, own["query"].to_list(), own["relation"].to_list(), seed=seed)
    return as_row(as_share(found) if measure in SHARES else found) | {"relations": found.groups}


def _mean_over_draws(own: pl.DataFrame, column: str, measure: str, seed: int) -> Row:
    """As `_mean`, of random circuits: of few relations the interval is over circuits drawn, each with its facts.

    What a random circuit says hangs on which it is, more than on which fact it is asked.
    """
    relations, draws = own["relation"].to_list(), own["draw"].to_list()
    if len(set(relations)) >= FEW or len(set(draws)) < 2:
        return _mean(own, column, measure, seed)
    values = torch.tensor(own[column].to_list(), dtype=torch.float64)
    drawn = [f"{relation} {draw}" for relation, draw in zip(relations, draws, strict=True)]
    found = pooled_interval(values, own["query"].to_list(), drawn, seed=seed, few=2)
    found = replace(found, n=len(own.unique(["relation", "query"])), groups=1)
    return as_row(as_share(found) if measure in SHARES else found) | {"relations": 1}


def faithfulness_rows(judged: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How much of the plan's metric circuits of each size keep on each half, and the areas under and beside that.

    Columns: relation, half, circuit (the relation's own, another's, or random), what (`kept` at a share, or over all
    shares `cpr` and `cmd`), share (null over all), edges, mean, low, high, n. Of random circuits n counts draws, over
    which their intervals are.
    """
    for (relation, half), own in judged.group_by("relation", "half", maintain_order=True):
        ends = {what: _values(own, what, plan.metric) for what in (NOTHING, WHOLE)}
        for circuit in (CIRCUIT, OTHER, RANDOM):
            about: Row = {"relation": relation, "half": half, "circuit": circuit}
            rows = own.filter(pl.col("circuit") == circuit)
            if not len(rows):
                continue
            shares = sorted(set(rows["share"].to_list()))
            edges = dict(rows.group_by("share").agg(pl.col("edges").mean()).iter_rows())
            by = "draw" if circuit == RANDOM and rows["draw"].n_unique() > 1 else "query"
            each = [_values(rows.filter(pl.col("share") == share), circuit, plan.metric, by) for share in shares]
            if by == "draw":
                # Where there is only one circuit of a size, it stands for every draw; so do none and all edges
                draws = max(map(len, each))
                each = [one if len(one) == draws else one.mean().expand(draws) for one in each]
                first, last = (ends[what].mean().expand(draws) for what in ends)
            else:
                first, last = ends.values()
            curve = Curve(tuple(shares), torch.stack([first, *each, last], dim=1))
            for share, kept in zip(shares, curve.kept, strict=True):
                yield {**about, "what": "kept", "share": share, "edges": edges[share], **as_row(kept)}
            for what in ("cpr", "cmd"):
                yield {**about, "what": what, "share": None, "edges": None, **as_row(getattr(curve, what))}


def _values(own: pl.DataFrame, circuit: str, metric: str, by: str = "query") -> torch.Tensor:
    """The metric of each query, the mean over random draws; or of each draw, the mean over queries."""
    rows = own.filter(pl.col("circuit") == circuit).group_by(by).agg(pl.col(metric).mean()).sort(by)
    return torch.tensor(rows[metric].to_list(), dtype=torch.float64)


def agreement_rows(compared: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of each approximate score, how well it agrees with cutting every edge: means over relations.

    Columns: method, measure (spearman, pearson, shared), mean, low, high, n.
    """
    for (method,), own in compared.group_by("method", maintain_order=True):
        for measure in ("spearman", "pearson", "shared"):
            values = torch.tensor(own[measure].to_list(), dtype=torch.float64)
            found = interval(values, own["relation"].to_list(), seed=plan.seed)
            yield {"method": method, "measure": measure, **as_row(found)}


def stream_means(read: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of each relation and point of the stream, where answers and subjects stand.

    Columns: relation, point, step, of (answer or subject), measure (rank, probability), mean, low, high, n,
    relations.
    """
    for (relation, step, point, of), own in read.group_by("relation", "step", "point", "of", maintain_order=True):
        for measure in ("rank", "probability"):
            about: Row = {"relation": relation, "point": point, "step": step, "of": of, "measure": measure}
            yield about | _mean(own, measure, measure, plan.seed)


def edit_rows(edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of each edit what it makes of circuits and answers, where it could be made; see `compare_edits`.

    Columns: edit, what, place (a step of the stream, or null), mean, low, high, n, relations.
    """
    if not len(edited):
        return
    made = edited.filter(pl.col("what") != REFUSED)
    for (name, what, place), own in made.group_by("edit", "what", "place", maintain_order=True):
        yield {"edit": name, "what": what, "place": place, **_mean(own, "value", str(what), plan.seed)}


def refused_rows(edited: pl.DataFrame) -> Iterator[Row]:
    """Edits that could not be made, by the reason.

    Columns: edit, why, facts (how many were refused for it), tried (facts).
    """
    if not len(edited):
        return
    tried = edited["query"].n_unique()
    refused = edited.filter(pl.col("what") == REFUSED)
    for (name, why), own in refused.group_by("edit", "why", maintain_order=True):
        yield {"edit": name, "why": why, "facts": len(own), "tried": tried}


def wrong_rows(followed: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of facts said wrong and of facts said right, what `follow` found: means over queries.

    Columns: kind, of, what, place (a step of the stream; null for heads), mean, low, high, n, relations; for heads
    what is there afterwards, and as `change` what it is more than before, with change_low and change_high.
    """
    if not len(followed):
        return
    streams = followed.filter(pl.col("before").is_null())
    for (kind, of, what, place), own in streams.group_by("kind", "of", "what", "place", maintain_order=True):
        about: Row = {"kind": kind, "of": of, "what": what, "place": place}
        yield about | _mean(own, "after", str(what), plan.seed) | _NO_CHANGE
    heads = followed.filter(pl.col("before").is_not_null()).with_columns(change=pl.col("after") - pl.col("before"))
    for (kind, of, what), own in heads.group_by("kind", "of", "what", maintain_order=True):
        change = _mean(own, "change", "change", plan.seed)
        yield {
            **{"kind": kind, "of": of, "what": what, "place": None},
            **_mean(own, "after", str(what), plan.seed),
            **{"change": change["mean"], "change_low": change["low"], "change_high": change["high"]},
        }


_NO_CHANGE: Row = {"change": None, "change_low": None, "change_high": None}


def shown_rows(shown: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """What demonstrations do, and what is left of it without the heads that they bring.

    Columns: relation (or ALL), level, set, heads (how many are cut, the mean over relations), measure (probability,
    and `lost`: P with all heads - P without these, the mean over random draws), mean, low, high, n, relations.
    """
    if not len(shown):
        return
    by_query = shown.with_columns(
        count=pl.when(pl.col("heads") == "").then(0).otherwise(pl.col("heads").str.count_matches(", ") + 1)
    )
    means = by_query.group_by("relation", "set", "query", maintain_order=True).agg(
        pl.col("probability", "count").mean()
    )
    whole = means.filter(pl.col("set") == SHOWN).select("relation", "query", whole="probability")
    joined = means.join(whole, on=["relation", "query"], how="left").with_columns(
        lost=pl.col("whole") - pl.col("probability")
    )
    for level, group in (("relation", pl.col("relation")), ("all", pl.lit(ALL))):
        grouped = joined.with_columns(group=group).group_by("group", "set", maintain_order=True)
        for (relation, name), own in grouped:
            for measure in ("probability", "lost"):
                values = own.drop_nulls(measure)
                if len(values):
                    about: Row = {"relation": relation, "level": level, "set": name}
                    yield {
                        **about,
                        "heads": own["count"].mean(),
                        "measure": measure,
                        **_mean(values, measure, measure, plan.seed),
                    }
