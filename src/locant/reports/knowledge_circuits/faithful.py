"""Is a circuit its relation's own: how faithful circuits of every size are, beside another relation's and chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from locant.recipes.knowledge_circuits.judged import CIRCUIT, OTHER, RANDOM
from locant.reports.answers import PARTLY, UNMEASURED, YES, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, plot
from locant.reports.knowledge_circuits.means import everywhere, gap_of, judged, n_of, shown, sure, tally
from locant.reports.knowledge_circuits.names import CIRCUITS, COLOURS, part_of, relation_of, scored_by
from locant.reports.knowledge_circuits.run import ALL, Run, interval_in, over_relations
from locant.reports.lines import Line, sweep
from locant.reports.means import spread
from locant.reports.numbers import count, decimal, portion
from locant.types import Interval

QUESTION = "Is a circuit its relation’s own?"
FAITHFUL = 0.85
"""What a circuit is to keep in Hanna et al. 2024, arXiv:2403.17806."""
_TICKS = (0.1, 1.0, 10.0, 100.0)
_SHORT = {CIRCUIT: "its own", OTHER: "another’s", RANDOM: "random"}


@dataclass(frozen=True)
class Point:
    """What circuits of a share keep."""

    share: float
    edges: float
    kept: Interval


def curve_of(run: Run, circuit: str, relation: str | None = None) -> list[Point]:
    """By share, what is kept of test facts: of a relation, or the mean over relations."""
    rows = run.of("faithfulness", half="test", circuit=circuit, what="kept")
    if relation is not None:
        own = rows.filter(pl.col("relation") == relation).sort("share")
        return [
            Point(row["share"], row["edges"], found)
            for row in own.iter_rows(named=True)
            if math.isfinite((found := spread(row, "mean")).mean)
        ]
    return [
        Point(float(value), float(own["edges"].mean() or 0), over)  # type: ignore[arg-type]
        for (value,), own in sorted(rows.partition_by("share", as_dict=True).items())
        if (over := over_relations(own, "mean")) is not None
    ]


def apart(run: Run, other: str) -> Interval | None:
    """How much more the relation's own circuit of the run's share keeps than another, over relations."""
    rows = run.of("faithfulness", half="test", what="kept").filter(pl.col("share") == run.share)
    sides = [
        rows.filter(pl.col("circuit") == circuit).select("relation", circuit=pl.col("mean"))
        for circuit in (CIRCUIT, other)
    ]
    joined = sides[0].join(sides[1], on="relation", maintain_order="left")
    return over_relations(joined.with_columns(gap=pl.col("circuit") - pl.col("circuit_right")), "gap")


def answer(run: Run) -> Answer:
    """Yes if the own circuit surely says more, in every relation, and keeps more of the metric than another's."""
    said, kept = run.gap("first", CIRCUIT, OTHER), apart(run, OTHER)
    if said is None and kept is None:
        return Answer(QUESTION, UNMEASURED, "No relation’s facts were tried on another relation’s circuit.")
    parts = []
    own, other = run.complete(CIRCUIT, "first"), run.complete(OTHER, "first")
    if own is not None and other is not None:
        parts.append(
            f"The answer comes first in {portion(own)} of new facts with the relation’s own circuit, and in "
            f"{portion(other)} with another relation’s: difference {gap_of(said)} ({n_of(own)})."
        )
    among = run.gap("among", CIRCUIT, OTHER)
    parts += [f"Among the relation’s answers alone the difference is {gap_of(among)}."] if among is not None else []
    if kept is not None:
        random = apart(run, RANDOM)
        parts.append(
            f"Of the {scored_by(run.metric)} the own circuit keeps more than another’s by {gap_of(kept, 'relation')}"
            + (f", and more than random ones by {gap_of(random, 'relation')}" if random is not None else "")
            + f" ({n_of(kept, 'relation')})."
        )
    each = [run.gap("first", CIRCUIT, OTHER, relation) for relation in run.relations]
    parts.append(f"{tally(each, 'Surely more answers come first')}.")
    short = judged(*(one for one in (said, kept) if one is not None))
    return Answer(QUESTION, PARTLY if short == YES and not everywhere(each) else short, " ".join(parts))


def sections(run: Run) -> Iterator[Section]:
    """The curves, of all relations and of each."""
    if not curve_of(run, CIRCUIT):
        why = "The table of faithfulness has no test facts."
        yield Section("faithfulness", "Faithfulness", {None: absent("Faithfulness was not measured", why)})
        return
    there = [relation for relation in run.relations if curve_of(run, CIRCUIT, relation)]
    blocks: dict[str | None, Block] = {ALL: _block(run, None)}
    blocks |= {run.key_of(relation): _block(run, relation) for relation in there}
    yield Section("faithfulness", "Faithfulness", blocks if len(there) > 1 else {None: blocks[ALL]})


def _block(run: Run, relation: str | None) -> Block:
    uid = f"curve-{ALL if relation is None else run.key_of(relation)}"
    curves = {what: found for what in COLOURS if (found := curve_of(run, what, relation))}
    whose = "all relations" if relation is None else relation_of(relation)
    body = plot(uid, f"Faithfulness by share of edges, {whose}; the table has the numbers") + caption(
        _said(run, relation)
    )
    head = ("share of edges", "what is kept", "edges", "f", "n")
    rows = [
        (part_of(point.share), CIRCUITS[what], f"{point.edges:,.0f}", portion(point.kept), count(point.kept.n))
        for what, points_of in curves.items()
        for point in points_of
    ]
    body += as_table(head, rows, 2)
    body += details("Areas: CPR and CMD of every relation", _areas(run)) if relation is None else ""
    return Block(_heading(run, relation, curves), body, {uid: _figure(curves)})


def _figure(curves: Mapping[str, Sequence[Point]]) -> go.Figure:
    lines = [
        Line(
            _SHORT[what],
            [100 * point.share for point in points_of],
            [point.kept.mean for point in points_of],
            COLOURS[what],
            [point.kept.low for point in points_of],
            [point.kept.high for point in points_of],
        )
        for what, points_of in curves.items()
    ]
    figure = sweep(lines, "share of edges, %", "f", whole=False)
    figure.update_xaxes(type="log", tickvals=list(_TICKS), ticktext=[f"{tick:g}" for tick in _TICKS])
    figure.add_hline(y=1, line={"color": "var(--muted)", "width": 1, "dash": "dot"})
    return figure


def _said(run: Run, relation: str | None) -> str:
    bands = (
        "Means over relations; bands: 95% bootstrap intervals over relations."
        if relation is None
        else "Test facts of the relation; bands: 95% bootstrap intervals over facts."
    )
    return (
        f"f: of the {scored_by(run.metric)} that all edges add to what no edge gives, the part that a circuit adds, "
        "as a ratio of means; 100% is the model’s own (dotted), more is possible. Shares are of the graph’s edges, "
        "those left without dead ends; a logarithmic scale. "
        f"{bands} n in the table. Controls: random circuits with as many edges into the same layers (means over as "
        "many draws at every share; intervals over draws, n of them), and another relation’s circuit of the same "
        "share. CPR is the area under f, CMD that between f and 1, over shares; CMD "
        "is 0 where circuits of every size do what the model does."
    )


def _areas(run: Run) -> str:
    table = []
    for relation in run.relations:
        rows = run.of("faithfulness", relation=relation, half="test")
        found = [
            interval_in(rows.filter((pl.col("circuit") == circuit) & (pl.col("what") == what)))
            for what in ("cpr", "cmd")
            for circuit in COLOURS
        ]
        if any(found):
            n = next(one.n for one in found if one is not None)
            table.append((relation_of(relation), *(shown(one, decimal) for one in found), count(n)))
    head = ("relation", "CPR: own", "another’s", "random", "CMD: own", "another’s", "random", "n")
    return grid(head, table)


def _heading(run: Run, relation: str | None, curves: Mapping[str, Sequence[Point]]) -> str:
    at = {what: found for what, points_of in curves.items() if (found := _at(points_of, run.share)) is not None}
    own = at.get(CIRCUIT)
    if own is None:
        return "What circuits of growing size keep"
    whose = "a relation’s circuit" if relation is None else f"the circuit of {relation_of(relation)}"
    said = f"At {part_of(run.share)} of the edges {whose} keeps {own.mean:.0%} of the {scored_by(run.metric)}"
    rest = [
        f"{name} {at[what].mean:.0%}" for what, name in ((OTHER, "another’s"), (RANDOM, "a random one")) if what in at
    ]
    said += f", {' and '.join(rest)}" if rest else ""
    if relation is None and OTHER in at:
        said += sure(apart(run, OTHER), "relation")
    elif OTHER in at and not (own.low > at[OTHER].high or own.high < at[OTHER].low):
        said += "; own and other are not surely apart"
    return f"{said}{_reached(curves[CIRCUIT])}"


def _at(points_of: Sequence[Point], wanted: float) -> Interval | None:
    return next((point.kept for point in points_of if point.share == wanted), None)


def _reached(points_of: Sequence[Point]) -> str:
    """From which share on a circuit is faithful."""
    first = next((point.share for point in points_of if point.kept.mean >= FAITHFUL), None)
    return f"; {part_of(FAITHFUL)} is reached at {part_of(first)}" if first is not None else ""
