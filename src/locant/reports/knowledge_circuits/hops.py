"""Questions of two steps: whether their circuit is made of each step's."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, panels, plot
from locant.reports.knowledge_circuits.means import gap_of, judged, n_of, sure
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import Run
from locant.reports.means import mean_over, number
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Is a question of two steps answered by the steps’ circuits?"
STEPS = {
    "first": ("first step’s", "dot", ("circle", "var(--located)")),
    "second": ("second step’s", "ring-dot", ("circle-open", "var(--located)")),
    "other": ("other relations’, mean", "diamond", ("diamond", "var(--unrelated)")),
    "expected": ("random circuits", "square", ("square", "var(--control)")),
}
"""Whose circuit it is of which a part is in the whole's."""
_MEASURES = {"edges": "Edges", "nodes": "Nodes"}
_OWN = ("first", "second")


def parts(run: Run, measure: str) -> pl.DataFrame:
    """Of each question of two steps, as `chain`, by `of` the share that is in its circuit: in STEPS, and both."""
    rows = run.of("hops", measure=measure).with_columns(chain=pl.col("first") + "\n" + pl.col("second"))
    random = (
        rows.filter(pl.col("of").is_in(_OWN))
        .group_by("chain", "first", "second", "facts", maintain_order=True)
        .agg(observed=pl.col("expected").mean(), of=pl.lit("expected"))
    )
    columns = ["chain", "first", "second", "facts", "of", "observed"]
    return pl.concat([rows.select(columns), random.select(columns)])


def beyond(run: Run, other: str, measure: str = "edges") -> Interval | None:
    """How much more of the steps' circuits is in the whole's than of others; the mean over questions of two steps."""
    rows = parts(run, measure)
    own = rows.filter(pl.col("of").is_in(_OWN)).group_by("chain", maintain_order=True).agg(pl.col("observed").mean())
    joined = own.join(rows.filter(pl.col("of") == other), on="chain", maintain_order="left")
    return mean_over(joined.with_columns(gap=pl.col("observed") - pl.col("observed_right")), "gap", "chain")


def average(run: Run, of: tuple[str, ...], measure: str = "edges") -> Interval | None:
    """The mean share of these circuits that is in the whole's."""
    return mean_over(parts(run, measure).filter(pl.col("of").is_in(of)), "observed", "chain")


def answer(run: Run) -> Answer:
    """Yes if more of the steps' edges than of other relations' are in the circuit of both."""
    own, gap = average(run, _OWN), beyond(run, "other")
    if own is None:
        return Answer(QUESTION, UNMEASURED, "No questions of two steps were asked.")
    text = f"The circuit of a question of two steps has {portion(own)} of the edges of each step’s circuit"
    other, random = average(run, ("other",)), average(run, ("expected",))
    if other is not None:
        text += f", {portion(other)} of those of other relations’ circuits (difference {gap_of(gap, 'kind')})"
    if random is not None:
        text += f", and {portion(random)} of random ones (difference {gap_of(beyond(run, 'expected'), 'kind')})"
    return Answer(QUESTION, judged(gap), f"{text}; {n_of(own, 'kind')} of questions.")


def sections(run: Run) -> Iterator[Section]:
    """A row for each kind of questions of two steps."""
    if run["hops"].is_empty():
        why = "The table of two steps has no rows: there are such questions of the almanac only, and of known facts."
        yield Section("hops", "Two steps", {None: absent("No questions of two steps were asked", why)})
        return
    yield Section("hops", "Two steps", {None: _block(run)})


def _block(run: Run) -> Block:
    figures, shown = {}, []
    for measure, title in _MEASURES.items():
        rows = parts(run, measure)
        marks = [
            Dot(_name(row), STEPS[row["of"]][0], _one(row), STEPS[row["of"]][2])
            for row in rows.iter_rows(named=True)
            if row["of"] in STEPS and row["observed"] is not None
        ]
        if marks:
            uid = f"hops-{measure}"
            figures[uid] = dots(marks, f"share of {measure}", portion, (0.0, 1.0))
            shown.append((title, plot(uid, f"{title} in the circuit of two steps; the table has the numbers")))
    body = legend([(kind, label) for label, kind, _ in STEPS.values()]) + panels(shown)
    said = (
        "Of the circuit of each step’s relation, the part that is in the circuit of the question of both steps (as "
        "many edges as the first step’s has). Questions that the model answers. One number a kind of question, no "
        "interval; n counts the facts that its circuit is found on. Controls: circuits of all relations that are no "
        "step of it (any of them share much), and random circuits with as many edges in the same layers."
    )
    return Block(_heading(run), body + caption(said) + as_table(_HEAD, list(_rows(run)), 2), figures)


_HEAD = ("first, then second step", "of", "first step’s", "second step’s", "both together", "other relations’",
         "random", "n")  # fmt: skip


def _rows(run: Run) -> Iterator[tuple[str, ...]]:
    for measure in _MEASURES:
        for own in parts(run, measure).partition_by("chain", maintain_order=True):
            found = dict(own.select("of", "observed").iter_rows())
            cells = [found.get(of) for of in ("first", "second", "both", "other", "expected")]
            row = own.row(0, named=True)
            yield _name(row), measure, *("–" if cell is None else share(cell) for cell in cells), count(row["facts"])


def _name(row: dict[str, object]) -> str:
    return f"{relation_of(str(row['first']))} → {relation_of(str(row['second']))}"


def _one(row: dict[str, object]) -> Interval:
    value = number(row["observed"])
    return Interval(value, value, value, 1)


def _heading(run: Run) -> str:
    own, other = average(run, _OWN), average(run, ("other",))
    if own is None:
        return "Questions of two steps"
    said = f"Of each step’s edges {own.mean:.0%} are in the circuit of both steps"
    if other is None:
        return said
    return f"{said}, of other relations’ {other.mean:.0%}{sure(beyond(run, 'other'), 'kind')}"
