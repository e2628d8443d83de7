"""Whose neurons move a query's answer: its own, its neighbours', what they share, or any."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, note, panels, plot
from locant.reports.drawing import Bar, change_bars
from locant.reports.means import apart, average, difference, doubt, mean, side, values
from locant.reports.numbers import change, count, points, probability, relative
from locant.reports.query_localization.blocks import KINDS, OPERATIONS
from locant.reports.query_localization.run import Run
from locant.reports.text import plotly
from locant.types import Interval

SETS = {
    "own": ("The query’s own", "var(--located)"),
    "neighbour": ("A neighbour’s", "var(--unrelated)"),
    "union": ("Of any wording", "var(--shared)"),
    "in 2 or more": ("Of two wordings or more", "var(--shared)"),
    "intersection": ("Of every wording", "var(--shared)"),
    "unrelated": ("An unrelated fact’s", "var(--control)"),
    "random like own": ("Random, as many as own", "var(--control-2)"),
    "random like union": ("Random, as many as of any", "var(--control-2)"),
}


def sections(run: Run) -> Iterator[Section]:
    """What touching sets of neurons does to the answer."""
    known = [place for place, name in enumerate(run.localizers) if len(run.of("mapping", localizer=name))]
    if not known:
        why = "The table of the mapping has no rows: no neurons were suppressed or enhanced."
        yield Section("mapping", "Queries and neurons", {None: absent("No set of neurons was touched", why)})
        return
    yield Section("mapping", "Queries and neurons", {str(place): _block(run, place) for place in known})


def touched(run: Run, localizer: str) -> pl.DataFrame:
    """Rows of sets that had any neurons: touching none changes nothing, and says nothing."""
    return run.of("mapping", localizer=localizer).filter(pl.col("size") > 0)


def own_beyond(run: Run, localizer: str, kind: str, other: str = "neighbour") -> Interval | None:
    """How much lower a query's answer is without its own neurons than without another set, in the same queries."""
    rows = touched(run, localizer).filter((pl.col("operation") == "suppress") & (pl.col("kind") == kind))
    return difference(rows, "change", "set", "own", other)


def _block(run: Run, place: int) -> Block:
    localizer = run.localizers[place]
    rows = touched(run, localizer)
    parts: list[tuple[str, str]] = []
    figures = {}
    for operation in values(rows, "operation"):
        bars = {kind: _bars(rows, operation, kind) for kind in KINDS}
        for kind in KINDS:
            uid = f"mapping-{place}-{len(parts)}"
            facts = rows.filter(pl.col("kind") == kind)["fact"].n_unique()
            title = f"{OPERATIONS.get(operation, operation)}: {kind} facts, n = {count(facts)}"
            if bars[kind]:
                every = [bar for some in bars.values() for bar in some]
                figures[uid] = change_bars(bars[kind], down=operation == "suppress", beside=every, row=46)
                parts.append((title, plot(uid, f"Bars of relative change, {kind} facts; the table has the numbers")))
            else:
                parts.append((title, note(f"No {kind} fact was touched.")))
    head = ("facts", "operation", "neurons", "neurons a set", "mean P before", "mean P after", "change", "n")
    said = (
        "Relative change of the answer’s probability, (after − before) / before, when the activations of a set of "
        "neurons are set to zero (suppressed) or doubled (enhanced) where the answer is predicted. Bars are means "
        "over facts, each fact’s queries averaged first; whiskers are 95% bootstrap intervals over facts. The mean "
        "size of each set stands beside its name: larger sets do more, whosever they are, and queries without any "
        f"such neuron are left out. Kinds are by {run.rule} threshold. Orange: the query’s own; blue: another "
        "wording’s; green: what wordings share; grey, the controls: neurons of a fact of another relation, and "
        "random ones of the same layers. The table has as many random ones beside every set."
    )
    return Block(
        _heading(run, localizer), panels(parts) + caption(said) + as_table(head, list(_table(rows)), 3), figures
    )


def _bars(rows: pl.DataFrame, operation: str, kind: str) -> list[Bar]:
    bars = []
    for name, (label, colour) in SETS.items():
        own = rows.filter((pl.col("operation") == operation) & (pl.col("kind") == kind) & (pl.col("set") == name))
        found = mean(own, "change")
        if found is not None:
            shown = f"{label} · {average(own, 'size'):.0f}"
            before, after = probability(average(own, "before")), probability(average(own, "after"))
            hover = f"{plotly(shown)} neurons<br>{change(found)}<br>mean P {before} → {after}<br>n = {found.n} facts"
            bars.append(Bar(plotly(shown), found, colour, hover))
    return bars


def _table(rows: pl.DataFrame) -> Iterator[tuple[str, ...]]:
    for operation in values(rows, "operation"):
        for kind in KINDS:
            for name in values(rows, "set"):
                own = rows.filter(
                    (pl.col("operation") == operation) & (pl.col("kind") == kind) & (pl.col("set") == name)
                )
                found = mean(own, "change")
                if found is not None:
                    yield (
                        kind, OPERATIONS.get(operation, operation).lower(), name, f"{average(own, 'size'):.1f}",
                        probability(average(own, "before")), probability(average(own, "after")), change(found),
                        count(found.n),
                    )  # fmt: skip


def _heading(run: Run, localizer: str) -> str:
    gaps = {kind: own_beyond(run, localizer, kind) for kind in KINDS}
    more = [kind for kind in KINDS if side(gaps[kind]) < 0]
    if not any(gaps.values()):
        return "Own and neighbours’ neurons were not suppressed in the same queries"
    claim = "a query’s own neurons move its answer more than its neighbours’ do"
    if not more:
        less = any(side(gap) > 0 for gap in gaps.values())
        return f"{claim.capitalize().replace('more', 'less')}" if less else f"That {claim} is not shown"
    if len(more) == 1:
        other = next(kind for kind in KINDS if kind not in more)
        rest = f"; in {other} ones this is not shown" if gaps[other] else ""
        return f"In {more[0]} facts, {claim}{rest}"
    wider = gap_wider(gaps)
    most = f", most of all in {wider} facts" if wider else ""
    return f"{claim.capitalize()}{most}"


def gap_wider(gaps: dict[str, Interval | None]) -> str | None:
    """The kind of facts in which own neurons stand out more from neighbours'; None if intervals overlap."""
    first, second = (gaps[kind] for kind in KINDS)
    if first is None or second is None or not apart(first, second):
        return None
    return KINDS[0] if first.mean < second.mean else KINDS[1]


def in_words(run: Run, localizer: str, kind: str) -> str | None:
    """What own and neighbours' neurons do in one kind of facts; None if it was not measured."""
    rows = touched(run, localizer).filter((pl.col("operation") == "suppress") & (pl.col("kind") == kind))
    own, other = (mean(rows.filter(pl.col("set") == name), "change") for name in ("own", "neighbour"))
    gap = own_beyond(run, localizer, kind)
    if own is None or other is None or gap is None:
        return None
    return (
        f"in {kind} facts P(answer) changes by {relative(own.mean)} without the query’s own neurons and by "
        f"{relative(other.mean)} without a neighbour’s (difference {points(gap)}{doubt(gap)})"
    )
