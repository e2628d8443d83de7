"""Circuits before and after edits: whether they take and spill, what stays, and where the new object comes up."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plotly.graph_objects as go

from locant.recipes.knowledge_circuits.edited import UNEDITED
from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, panels, plot, some
from locant.reports.knowledge_circuits.means import INTERVALS, gap_of, how_many, judged, less, n_of, shown
from locant.reports.knowledge_circuits.names import edit_of
from locant.reports.knowledge_circuits.run import Run, interval_in
from locant.reports.lines import Line, sweep
from locant.reports.means import pooled_difference, spread, values
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import plotly, upper
from locant.types import Interval

QUESTION = "Does most of the circuit stay after an edit?"
SPILLING = "Do edits spill over to other facts?"
_TAKEN = {
    "said": ("new object said", "dot", ("circle", "var(--located)")),
    "spilled": ("said of other facts, too", "diamond", ("diamond", "var(--unrelated)")),
}
_STAYS = {
    "nodes": ("nodes that stay", "ring-dot", ("circle-open", "var(--located)")),
    "edges": ("edges that stay", "dot", ("circle", "var(--located)")),
    "edges_expected": ("edges, random circuits", "square", ("square", "var(--control)")),
}
_COLOURS = ("located", "unrelated", "shared", "fourth", "control")
_RANKS = (1, 10, 100, 1_000, 10_000)


def names(run: Run) -> list[str]:
    """The edits, in the order of the run."""
    return [name for name in values(run["edits"], "edit") if name != UNEDITED]


def found(run: Run, edit: str, what: str) -> Interval | None:
    """What an edit does on average."""
    return interval_in(run.of("edits", edit=edit, what=what))


def beyond(run: Run, edit: str, what: str = "edges") -> Interval | None:
    """What stays of circuits more than random ones would have in common, of the same facts."""
    rows = run.of("edited", edit=edit)
    return pooled_difference(rows, "value", "what", what, f"{what}_expected", "relation")


def refusals(run: Run) -> list[str]:
    """Sentences on edits that could not be made."""
    return [
        f"{upper(edit_of(row['edit']))} refused {count(row['facts'])} of {some(row['tried'], 'fact')}: "
        f"{row['why'].rstrip('.')}."
        for row in run["refused"].iter_rows(named=True)
    ]


def answers(run: Run) -> list[Answer]:
    """Of the circuit, and of other facts."""
    every = [name for name in names(run) if found(run, name, "edges") is not None]
    if not every:
        why = " ".join(["No facts were edited.", *refusals(run)])
        return [Answer(QUESTION, UNMEASURED, why), Answer(SPILLING, UNMEASURED, why)]
    stays = [
        f"{portion(one)} stay with {edit_of(name)} (difference from random circuits: {gap_of(beyond(run, name))})"
        for name in every
        if (one := found(run, name, "edges")) is not None
    ]
    n = next(one for name in every if (one := found(run, name, "edges")) is not None)
    text = f"Of the edges that the fact’s circuit has before or after the edit {'; '.join(stays)}; {n_of(n, 'edit')}."
    text = " ".join([text, *refusals(run)])
    short = judged(*(less(found(run, name, "edges"), 0.5) for name in every))
    return [Answer(QUESTION, short, text), _spilling(run, every)]


def _spilling(run: Run, every: list[str]) -> Answer:
    parts, measured = [], []
    for name in every:
        said, spilled = found(run, name, "said"), found(run, name, "spilled")
        if said is None or spilled is None:
            continue
        measured.append(spilled)
        parts.append(f"{portion(spilled)} with {edit_of(name)} (the edit itself takes in {portion(said)})")
    if not parts:
        return Answer(SPILLING, UNMEASURED, "No other facts were asked.")
    text = (
        "The new object comes to be said of this part of the relation’s other facts, which had not said it: "
        f"{'; '.join(parts)}; {n_of(measured[0], 'edit')}."
    )
    return Answer(SPILLING, judged(*measured), text)


def sections(run: Run) -> Iterator[Section]:
    """What edits do, and the rank of the new object by layer."""
    if not names(run):
        why = " ".join(["The table of edits has no rows: none were to be made, or none could be.", *refusals(run)])
        yield Section("edits", "Edits", {None: absent("No facts were edited", why)})
        return
    yield Section("edits", "Edits", {None: _block(run)})


def _block(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    parts = []
    for uid, title, kinds, axis in (
        ("edits-taken", "The new object, where it is said", _TAKEN, "share of facts"),
        ("edits-stays", "What of the circuit stays", _STAYS, "Jaccard index"),
    ):
        marks = [
            Dot(edit_of(name), label, one, mark)
            for name in names(run)
            for what, (label, _, mark) in kinds.items()
            if (one := found(run, name, what)) is not None
        ]
        if marks:
            figures[uid] = dots(marks, axis, portion, (0.0, 1.0))
            marked = legend([(kind, label) for label, kind, _ in kinds.values()])
            parts.append((title, marked + plot(uid, f"{title}, by edit; the table has the numbers")))
    figures["edits-rank"] = _ranks(run)
    body = panels(parts) + "<h3>Rank of the new object, by layer</h3>"
    body += plot("edits-rank", "Mean ranks of the new object by layer; the table has the numbers")
    said = (
        "Facts edited one at a time to a third fact’s object by ROME and by FT\u2011M in single layers. "
        "Said: the new object is the model’s first choice; of other facts of the relation, only those count that did "
        "not say it before. What stays: of the edges (nodes) that the fact’s circuit has before or after, those that "
        "both have; both circuits are of the run’s share and of the same two prompts. Means over facts; "
        f"{INTERVALS}; n in the table. Controls: random circuits like these, and the unedited model in the "
        "ranks, which are means on a logarithmic scale, without their intervals."
    )
    measured = ("said", "spilled", "nodes", "nodes_expected", "edges", "edges_expected")
    table = []
    for name in names(run):
        cells = [found(run, name, what) for what in measured]
        n = how_many(next((one for one in cells if one is not None), None))
        table.append((edit_of(name), *map(shown, cells), *_last_rank(run, name), n))
    head = ("edit", "said", "spilled", "nodes stay", "random", "edges stay", "random", "first after",
            "rank at the end", "n")  # fmt: skip
    body += caption(" ".join([said, *refusals(run)])) + as_table(head, table)
    return Block(_heading(run), body, figures)


def _ranks_of(run: Run, edit: str) -> list[tuple[int, Interval]]:
    rows = run.of("edits", edit=edit, what="rank").sort("place")
    return [(row["place"], spread(row, "mean")) for row in rows.iter_rows(named=True) if row["place"] is not None]


def _last_rank(run: Run, edit: str) -> tuple[str, str]:
    """After which point the mean rank is the first, for good; and the last one."""
    ranks = _ranks_of(run, edit)
    if not ranks:
        return "–", "–"
    behind = max((place for place, one in ranks if one.mean > 0), default=-1)
    first = "never" if behind == ranks[-1][0] else run.point(behind + 1)
    return first, f"{ranks[-1][1].mean + 1:,.1f}"


def _ranks(run: Run) -> go.Figure:
    lines = []
    rows = [name for name in (UNEDITED, *names(run)) if _ranks_of(run, name)]
    for place, name in enumerate(rows):
        ranks = _ranks_of(run, name)
        colour = "ink" if name == UNEDITED else _COLOURS[(place - 1) % len(_COLOURS)]
        dash = "dot" if name == UNEDITED else "solid" if place <= len(_COLOURS) else "dash"
        y = [math.log10(max(one.mean, 0.0) + 1) for _, one in ranks]
        lines.append(Line(edit_of(name), [at for at, _ in ranks], y, colour, dash=dash))
    figure = sweep(
        lines, "read after step", "mean rank", whole=False, said=lambda y: f"rank {10**y:,.1f}"
    )  # fmt: skip
    most = max([0.3, *(max(line.y) for line in lines)])
    ticks = [one for one in _RANKS if math.log10(one) <= most + 0.1]
    figure.update_yaxes(
        range=[1.04 * most, -0.04 * most], tickvals=[math.log10(one) for one in ticks],
        ticktext=[count(one) for one in ticks],
    )  # fmt: skip
    steps = int(max((max(line.x) for line in lines), default=0))
    every = max(1, -(-(steps + 1) // 7))
    at = list(range(0, steps + 1, every))
    figure.update_xaxes(title_text="read after", tickvals=at, ticktext=[plotly(run.point(one)) for one in at])
    return figure


def _heading(run: Run) -> str:
    known = {name: one for name in names(run) if (one := found(run, name, "edges")) is not None}
    if not known:
        return "What edits make of circuits was not measured"
    most, least = (pick(known, key=lambda name: known[name].mean) for pick in (max, min))
    said = f"After an edit {share(known[most].mean)} of the circuit’s edges stay with {edit_of(most)}"
    said += f", {share(known[least].mean)} with {edit_of(least)}" if least != most else ""
    chance = found(run, least, "edges_expected")
    return f"{said}; random circuits would share {share(chance.mean)}" if chance is not None else said
