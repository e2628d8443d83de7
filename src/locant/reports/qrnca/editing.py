"""Can answers be flipped: from wrong to right by boosting, from right to wrong by suppressing?"""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, note, panels, plot
from locant.reports.means import LEAST, apart, spread
from locant.reports.numbers import count, portion, share
from locant.reports.qrnca.change import key_of, operations
from locant.reports.qrnca.figures import Mark, Row, scale
from locant.reports.qrnca.names import DOING, OPERATIONS, QRNCA, colour_of, name_of, where
from locant.reports.qrnca.run import Run
from locant.reports.text import upper
from locant.types import Interval

TURNED = {"boost": "wrong to right", "suppress": "right to wrong"}
_TITLES = {"boost": "Boosted: wrong answers turned right", "suppress": "Suppressed: right answers turned wrong"}


def sections(run: Run) -> Iterator[Section]:
    """How often answers turned."""
    known = run.evaluations("editing")
    if not known:
        why = "The table of editing has no rows: no answers were compared before and after."
        yield Section("editing", "Editing", {None: absent("Whether answers flip was not measured", why)})
        return
    yield Section("editing", "Editing", {key_of(run, name): _block(run, name) for name in known})


def turned(
    run: Run, evaluation: str, operation: str, method: str, of: str = "eligible", asked: str = "related"
) -> Interval | None:
    """The share of answers that an operation turned the way it should; None if none could turn."""
    rows = run.of(
        "editing", evaluation=evaluation, operation=operation, method=method, of=of, asked=asked,
        turned=TURNED.get(operation, ""),
    )  # fmt: skip
    return spread(rows.row(0, named=True), "share") if len(rows) else None


def beyond_controls(run: Run, evaluation: str, operation: str) -> int | None:
    """1 if QRNCA's neurons surely turn more answers than random ones do, and more than of unrelated questions.

    -1 if fewer than either; 0 if neither is shown; None if nothing was measured beside them.
    """
    own = turned(run, evaluation, operation, QRNCA)
    beside = (
        turned(run, evaluation, operation, "random"),
        turned(run, evaluation, operation, QRNCA, asked="unrelated"),
    )
    signs = [(1 if own.mean > one.mean else -1) if apart(own, one) else 0 for one in beside if own and one]
    return min(signs, default=None)


def _block(run: Run, evaluation: str) -> Block:
    rows = run.of("editing", evaluation=evaluation)
    figures: dict[str, go.Figure] = {}
    parts: list[tuple[str, str]] = []
    for operation in operations(run["editing"]):
        title = _TITLES.get(operation, operation)
        drawn = _rows(run, evaluation, operation)
        uid = f"editing-{key_of(run, evaluation)}-{len(parts)}"
        if drawn:
            figures[uid] = scale(drawn, "share of prompts", {}, _end(run))
            parts.append((title, plot(uid, f"{title}, by method; the table has the numbers")))
        else:
            parts.append((title, note("No answer could turn this way.")))
    said = (
        "Share of prompts whose most probable letter turns, " + where(evaluation) + ". The paper states no "
        "denominator: dots and the numbers beside them count prompts that could turn (wrong before when boosted, "
        "right before when suppressed), squares count all. Means over facts with 95% intervals, of a bootstrap over "
        "facts, given these sets, or Wilson’s where all agree; n in the table. Controls, in grey: random and the "
        "most active neurons, as many as QRNCA’s, and knowledge neurons; in green, its ablations; and answers to "
        "unrelated questions, diamonds, with the same neurons touched. The table has the turns that were not meant, "
        "too."
    )
    marks = [("dot", "of those that could turn"), ("hollow", "of all"), ("diamond", "of unrelated ones that could")]
    head = ("method", "operation", "asked", "turned", "of", "share", "n")
    table = [
        (name_of(method), OPERATIONS.get(row["operation"], row["operation"]).lower(), row["asked"], row["turned"],
         row["of"], portion(spread(row, "share")), count(row["n"] or 0))
        for method in run.methods("editing")
        for row in rows.filter(pl.col("method") == method).iter_rows(named=True)
    ]  # fmt: skip
    body = legend(marks) + panels(parts) + caption(said) + as_table(head, table, 5)
    return Block(_heading(run, evaluation), body, figures)


def _rows(run: Run, evaluation: str, operation: str) -> list[Row]:
    found = []
    for method in run.methods("editing"):
        eligible, every = (turned(run, evaluation, operation, method, of) for of in ("eligible", "all"))
        other = turned(run, evaluation, operation, method, asked="unrelated")
        marks = []
        if other is not None:
            marks.append(Mark(f"{portion(other)} of unrelated ones", other, "var(--unrelated)", "diamond", False))
        if every is not None:
            marks.append(Mark(f"{portion(every)} of all", every, colour_of(method), "square-open"))
        if eligible is not None:
            marks.append(Mark(f"{portion(eligible)} of those that could turn", eligible, colour_of(method)))
        if marks:
            said = portion(eligible) if eligible is not None else "none could turn"
            found.append(Row(name_of(method), marks, said))
    return found


def _end(run: Run) -> float:
    """Where the scale of every figure ends: as far as any share or its interval goes."""
    ends = run["editing"].filter(pl.col("high").is_finite())["high"].to_list()
    return next((end for end in (0.1, 0.25, 0.5) if end >= max(ends, default=1.0)), 1.0)


def in_words(run: Run, evaluation: str) -> list[str]:
    """What each operation on QRNCA's neurons turns, beside random ones and unrelated answers."""
    parts = []
    for operation in operations(run["editing"]):
        own, other = (turned(run, evaluation, operation, method) for method in (QRNCA, "random"))
        if own is None:
            continue
        kind = TURNED.get(operation, "").partition(" ")[0]
        text = f"{DOING.get(operation, operation)} turns {portion(own)} of the {kind} answers"
        if own.n < LEAST:
            text += f", of {count(own.n)} {'fact' if own.n == 1 else 'facts'} only"
        text += f", random neurons {portion(other)}" if other is not None else ""
        unrelated = turned(run, evaluation, operation, QRNCA, asked="unrelated")
        parts.append(text + (f", of unrelated ones {portion(unrelated)}" if unrelated is not None else ""))
    return parts


def _heading(run: Run, evaluation: str) -> str:
    parts = []
    for operation in operations(run["editing"]):
        own, other = (turned(run, evaluation, operation, method) for method in (QRNCA, "random"))
        if own is not None:
            kind = TURNED.get(operation, "").partition(" ")[0]
            beside = f" (random neurons {share(other.mean)})" if other is not None else ""
            parts.append(f"{DOING.get(operation, operation)} turns {share(own.mean)} of {kind} answers{beside}")
    if not parts:
        return f"{upper(where(evaluation))}, no answer could turn"
    return f"{upper(where(evaluation))}, {', '.join(parts)}"
