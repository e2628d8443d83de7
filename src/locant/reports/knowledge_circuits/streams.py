"""How answers come up: where they and their subjects stand in the residual stream, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from locant.evaluations import as_share
from locant.recipes.knowledge_circuits.streams import ANSWER, SUBJECT
from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, panels, plot
from locant.reports.knowledge_circuits.means import INTERVALS, how_many, judged, less, n_of, shown
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import ALL, Run
from locant.reports.lines import Line, sweep
from locant.reports.means import pooled_mean, spread
from locant.reports.numbers import count, portion, probability
from locant.reports.text import plotly
from locant.types import Interval

QUESTION = "Is the answer there from the middle layers on?"
COLOURS = {ANSWER: "located", SUBJECT: "unrelated"}
_RANKS = (1, 10, 100, 1_000, 10_000, 100_000)
_TICKS = 7


def settled(run: Run) -> pl.DataFrame:
    """Of each test fact, as `since`, after which part of the points its answer is first for good; 2 if never.

    Columns: relation, fact, since.
    """
    rows = run.of("streams", of=ANSWER)
    last = rows["step"].max()
    if not isinstance(last, int) or last == 0:
        return pl.DataFrame(schema={"relation": pl.String, "fact": pl.String, "since": pl.Float64})
    behind = (pl.col("step") + 1).filter(pl.col("rank") > 0).max().fill_null(0)
    return rows.group_by("relation", "fact", maintain_order=True).agg(
        since=pl.when(behind > last).then(2.0).otherwise(behind / last)
    )


def by_middle(run: Run) -> Interval | None:
    """The share of test facts whose answer is first for good by the middle of the stream."""
    return _share(settled(run), pl.col("since") <= 0.5)


def _share(rows: pl.DataFrame, there: pl.Expr) -> Interval | None:
    found = pooled_mean(rows.with_columns(there=there.cast(pl.Float64)), "there", "relation")
    return None if found is None else as_share(found)


def answer(run: Run) -> Answer:
    """The paper: knowledge gathers in earlier to middle layers and is enhanced later."""
    found = by_middle(run)
    if found is None:
        return Answer(QUESTION, UNMEASURED, "No streams were read.")
    late = _share(settled(run), (pl.col("since") > 0.5) & (pl.col("since") <= 1))
    text = (
        f"In {portion(found)} of new facts the answer comes first by the middle of the stream and stays first "
        f"({n_of(found)}). In {shown(late)} it comes first later."
    )
    subject = _last(run, SUBJECT)
    if subject is not None:
        text += f" At the end the subject’s own tokens have a probability of {probability(subject.mean)} on average."
    return Answer(QUESTION, judged(less(found, 0.5)), text)


def _last(run: Run, of: str) -> Interval | None:
    rows = run.of("streams", of=of)
    return pooled_mean(rows.filter(pl.col("step") == pl.col("step").max()), "probability", "relation")


def sections(run: Run) -> Iterator[Section]:
    """Rank and probability by layer, of all relations and of each."""
    there = [relation for relation in run.relations if not run.of("stream", relation=relation).is_empty()]
    if not there:
        why = "The table of streams has no rows."
        yield Section("stream", "How the answer comes up", {None: absent("How answers come up was not read", why)})
        return
    blocks: dict[str | None, Block] = {ALL: _block(run, None)}
    blocks |= {run.key_of(relation): _block(run, relation) for relation in there}
    yield Section("stream", "How the answer comes up", blocks if len(there) > 1 else {None: blocks[ALL]})


Curve = list[tuple[str, Interval]]
"""By point of the stream, a mean."""


def curve_of(run: Run, relation: str | None, of: str, measure: str) -> Curve:
    """A measure by point: of a relation's test facts, or of all relations'."""
    if relation is None:
        rows = run.of("streams", of=of).partition_by("step", "point", as_dict=True)
        return [
            (str(point), found)
            for (_, point), own in sorted(rows.items())
            if (found := pooled_mean(own, measure, "relation")) is not None
        ]
    own = run.of("stream", relation=relation, of=of, measure=measure).sort("step")
    return [(row["point"], spread(row, "mean")) for row in own.iter_rows(named=True)]


def _block(run: Run, relation: str | None) -> Block:
    key = ALL if relation is None else run.key_of(relation)
    curves = {(of, what): curve_of(run, relation, of, what) for of in COLOURS for what in ("rank", "probability")}
    figures: dict[str, go.Figure] = {}
    parts = []
    for what, title in (("rank", "Rank, 1 is the first"), ("probability", "Probability")):
        uid = f"stream-{what}-{key}"
        figures[uid] = _figure({of: curves[of, what] for of in COLOURS}, what)
        parts.append((title, plot(uid, f"{title}, by layer; the table has the numbers")))
    n = how_many(next((one for curve in curves.values() for _, one in curve), None))
    said = (
        "The residual stream where the answer is predicted, read as if the model ended there, after every layer’s "
        "heads (a) and MLP (m). Orange: the answer’s first token. Blue, beside it: the token of the subject that "
        f"stands highest. Means over test facts ({n}); bands: {INTERVALS}. Mean ranks "
        "are drawn on a logarithmic scale, and a few facts with a high rank weigh much in them. No control but the "
        "subject: the reading is the model’s own last norm and unembedding, which need not fit earlier layers."
    )
    return Block(_heading(run, relation), panels(parts) + caption(said) + _table(curves), figures)


def _figure(curves: dict[str, Curve], what: str) -> go.Figure:
    rank = what == "rank"
    lines = [_line(of, curve, rank) for of, curve in curves.items() if curve]
    figure = sweep(
        lines, "read after", "mean rank" if rank else "mean probability", whole=not rank,
        said=(lambda y: f"rank {10**y:,.1f}") if rank else probability,
    )  # fmt: skip
    points = [point.removeprefix("after ") for point, _ in next(iter(curves.values()))]
    for trace, line in zip([one for one in figure.data if one.mode == "lines+markers"], lines, strict=True):
        trace.hovertext = [
            f"{plotly(line.name)}, after {plotly(point)}<br>{f'rank {10**y:,.1f}' if rank else probability(y)}"
            for point, y in zip(points, line.y, strict=True)
        ]
    every = max(1, -(-len(points) // _TICKS))
    at = list(range(0, len(points), every))
    figure.update_xaxes(tickvals=at, ticktext=[plotly(points[one]) for one in at])
    if rank:
        most = max((max(line.high) for line in lines), default=0.0)
        ticks = [one for one in _RANKS if math.log10(one) <= most + 0.1]
        pad = 0.04 * max(most, 0.3)
        figure.update_yaxes(
            range=[max(most, 0.3) + pad, -pad], tickvals=[math.log10(one) for one in ticks],
            ticktext=[count(one) for one in ticks],
        )  # fmt: skip
    return figure


def _line(of: str, curve: Curve, rank: bool) -> Line:
    def scaled(value: float) -> float:
        return math.log10(max(value, 0.0) + 1) if rank else value

    values = [(scaled(one.mean), scaled(one.low), scaled(one.high)) for _, one in curve]
    mean_, low, high = (list(column) for column in zip(*values, strict=True))
    return Line(of, list(range(len(curve))), mean_, COLOURS[of], low, high)


def _table(curves: dict[tuple[str, str], Curve]) -> str:
    names = list(curves)
    head = ("read after", *(f"{what} of the {of}" for of, what in names), "n")
    points = [point for point, _ in curves[names[0]]]
    rows = [
        (
            point.removeprefix("after "),
            *(_cell(what, curves[of, what][at][1]) if at < len(curves[of, what]) else "–" for of, what in names),
            how_many(curves[names[0]][at][1]),
        )
        for at, point in enumerate(points)
    ]
    return as_table(head, rows)


def _cell(what: str, found: Interval) -> str:
    if what == "probability":
        return portion(found)
    # Tables count ranks from 0, readers from 1
    return f"{found.mean + 1:,.1f}\u00a0[{found.low + 1:,.1f},\u00a0{found.high + 1:,.1f}]"


def _heading(run: Run, relation: str | None) -> str:
    rows = settled(run)
    own = rows if relation is None else rows.filter(pl.col("relation") == relation)
    if own.is_empty():
        return "How answers come up"
    whose = "" if relation is None else f" of {relation_of(relation)}"
    since = own["since"].median()
    points = [point for point, _ in curve_of(run, relation, ANSWER, "rank")]
    if not isinstance(since, float) or since > 1 or not points:
        return f"Half of the answers{whose} never come to be first for good"
    at = points[min(math.ceil(since * (len(points) - 1)), len(points) - 1)].removeprefix("after ")
    end = points[-1].removeprefix("after ")
    return f"Half of the answers{whose} are first after {at} already and stay so; the stream ends after {end}"
