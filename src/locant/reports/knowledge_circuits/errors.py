"""Facts got wrong: where what is said overtakes the answer, and whether a head is to blame."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from locant.recipes.knowledge_circuits.wrong import BLAMED, RANDOM, RIGHT, WRONG
from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, panels, plot
from locant.reports.knowledge_circuits.means import INTERVALS, gap_of, how_many, judged, n_of, shown, sure
from locant.reports.knowledge_circuits.run import Run, interval_in
from locant.reports.lines import Line, sweep
from locant.reports.means import pooled_difference, spread
from locant.reports.numbers import decimal, portion, probability
from locant.reports.rows import Dot, dots
from locant.reports.text import plotly
from locant.types import Interval

QUESTION = "Is a head to blame for what is said wrong?"
_KINDS = {WRONG: "Got wrong", RIGHT: "Got right"}
_LINES = {"answer": ("the answer", "located"), "instead": ("said instead", "unrelated")}
_HEADS = {
    BLAMED: ("without the head that says it most", "dot", ("circle", "var(--located)")),
    RANDOM: ("without another head of its layer", "square", ("square", "var(--control)")),
}


def of_heads(run: Run, kind: str, head: str, what: str = "mended") -> Interval | None:
    """What is there without a head: whether the answer is above what is said instead, or by how many logits."""
    return interval_in(run.of("errors", kind=kind, of=head, what=what))


def gap(run: Run, kind: str, what: str = "mended") -> Interval | None:
    """How much more cutting the head to blame does than cutting others of its layer, of the same queries."""
    rows = run.of("wrong", kind=kind, what=what).filter(pl.col("before").is_not_null())
    return pooled_difference(rows, "after", "of", BLAMED, RANDOM, "relation")


def answer(run: Run) -> Answer:
    """Yes if without the head the answer surely comes out above more often than without others of its layer."""
    own = of_heads(run, WRONG, BLAMED)
    if own is None:
        return Answer(QUESTION, UNMEASURED, "No query was found that the model gets wrong.")
    mended = gap(run, WRONG)
    text = (
        f"Without the head that says the wrong token most, the answer is above that token in {portion(own)} of "
        f"queries got wrong, and in {shown(of_heads(run, WRONG, RANDOM))} without another head of its layer: "
        f"difference {gap_of(mended, 'query')} ({n_of(own, 'query')}; in logits "
        f"{shown(gap(run, WRONG, 'margin'), decimal)})."
    )
    right = of_heads(run, RIGHT, BLAMED)
    if right is not None:
        text += (
            f" Of queries got right, the answer stays above the second choice in {portion(right)} without the head "
            f"that says that one most, and in {shown(of_heads(run, RIGHT, RANDOM))} without another."
        )
    return Answer(QUESTION, judged(mended), text)


def sections(run: Run) -> Iterator[Section]:
    """Both tokens by layer, and what heads do."""
    if run["errors"].is_empty():
        why = "The table of errors has no rows: no query that has a counterfactual was got wrong, or none was asked."
        yield Section("errors", "Errors", {None: absent("No facts got wrong were followed", why)})
        return
    yield Section("errors", "Errors", {None: _block(run)})


def _curve(run: Run, kind: str, of: str, what: str) -> list[tuple[int, Interval]]:
    rows = run.of("errors", kind=kind, of=of, what=what).sort("place")
    return [(row["place"], spread(row, "mean")) for row in rows.iter_rows(named=True) if row["place"] is not None]


def _block(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    parts = []
    for kind, title in _KINDS.items():
        curves = {of: curve for of in _LINES if (curve := _curve(run, kind, of, "probability"))}
        if curves:
            uid = f"errors-{kind}"
            figures[uid] = _figure(run, curves)
            parts.append(
                (f"{title}: probability by layer", plot(uid, f"{title}, by layer; the table has the numbers"))
            )
    marks = [
        Dot(_KINDS[kind], label, found, mark)
        for kind in _KINDS
        for head, (label, _, mark) in _HEADS.items()
        if (found := of_heads(run, kind, head)) is not None
    ]
    body = panels(parts)
    if marks:
        figures["errors-heads"] = dots(marks, "answer above what is said instead", portion, (0.0, 1.0))
        body += "<h3>When a head is cut</h3>" + legend([(kind, label) for label, kind, _ in _HEADS.values()])
        body += plot("errors-heads", "Shares of queries by head cut; the table has the numbers")
    said = (
        "Queries that the model gets wrong and as many of the same relations that it gets right. Said instead: the "
        "token that is most probable in the answer’s stead; where the model is right, its second choice. Read after "
        "every layer as if the model ended there. The head that says it most raises it most above the answer; it is "
        "cut from all it feeds, bringing what it does for another subject. Means over queries, each of a fact "
        f"of its own; {INTERVALS}; n in the table. Controls: the other heads of its layer, each cut alone, and "
        "queries got right."
    )
    return Block(_heading(run), body + caption(said) + as_table(_HEAD, list(_rows(run)), 3), figures)


def _figure(run: Run, curves: dict[str, list[tuple[int, Interval]]]) -> go.Figure:
    lines = [
        Line(
            _LINES[of][0],
            [at for at, _ in curve],
            [one.mean for _, one in curve],
            _LINES[of][1],
            [one.low for _, one in curve],
            [one.high for _, one in curve],
        )
        for of, curve in curves.items()
    ]
    figure = sweep(lines, "read after step", "mean probability", said=probability)
    steps = max(at for curve in curves.values() for at, _ in curve)
    every = max(1, -(-(steps + 1) // 7))
    at = list(range(0, steps + 1, every))
    figure.update_xaxes(title_text="read after", tickvals=at, ticktext=[plotly(run.point(one)) for one in at])
    return figure


_HEAD = ("queries", "of", "at", "rank", "probability", "answer above", "margin, logits", "n")


def _rows(run: Run) -> Iterator[tuple[str, ...]]:
    for kind, title in _KINDS.items():
        for of, (label, _) in _LINES.items():
            ranks = dict(_curve(run, kind, of, "rank"))
            for place, found in _curve(run, kind, of, "probability"):
                rank = ranks.get(place)
                cell = f"{rank.mean + 1:,.1f}\u00a0[{rank.low + 1:,.1f},\u00a0{rank.high + 1:,.1f}]" if rank else "–"
                yield title, label, run.point(place), cell, portion(found), "–", "–", how_many(found)
        for head, (label, _, _) in _HEADS.items():
            above, margin = of_heads(run, kind, head), of_heads(run, kind, head, "margin")
            if above is not None:
                yield title, label, "the end", "–", "–", portion(above), shown(margin, decimal), how_many(above)


def overtaken(run: Run) -> str | None:
    """After which point what is said instead is more probable than the answer on average, for good."""
    answer_, instead = (_curve(run, WRONG, of, "probability") for of in _LINES)
    if not answer_ or len(answer_) != len(instead):
        return None
    above = [other.mean > own.mean for (_, own), (_, other) in zip(answer_, instead, strict=True)]
    if not above[-1]:
        return None
    last = max((at for at, one in enumerate(above) if not one), default=-1)
    return run.point(answer_[last + 1][0])


def _heading(run: Run) -> str:
    own, other = of_heads(run, WRONG, BLAMED), of_heads(run, WRONG, RANDOM)
    where = overtaken(run)
    said = f"What is said wrong overtakes the answer at {where}" if where is not None else ""
    if own is None or other is None:
        return said or "Facts got wrong, followed through the layers"
    cut = (
        f"without the head that says it most the answer is above it in {own.mean:.0%}, without others of its layer "
        f"in {other.mean:.0%}{sure(gap(run, WRONG), 'query')}"
    )
    return f"{said}; {cut}" if said else cut[:1].upper() + cut[1:]
