"""Examples: which neurons two wordings of a fact use, and what becomes of them without the query's synapses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.numbers import count, relative, score
from locant.reports.query_localization.blocks import name_of
from locant.reports.query_localization.heat_maps import before_and_after, every_neuron
from locant.reports.query_localization.run import Run
from locant.reports.text import escape

STATES = ("untouched", "synapses suppressed")
MOST = 24
"""Neurons of a query that are shown before and after: those of the highest scores."""
Unit = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """One query's activations [layer, neuron], by state, and the neurons located for it, highest score first."""

    kind: str
    fact: str
    query: str
    prompt: str
    states: dict[str, NDArray[np.float64]]
    own: tuple[Unit, ...]

    @property
    def title(self) -> str:
        return f"{self.kind} fact"


def sections(run: Run) -> Iterator[Section]:
    """The maps, and the neurons before and after."""
    shown = list(_shown(run))
    if not shown:
        why = "The table of activations has no rows."
        yield Section("maps", "Examples", {None: absent("No activations were kept", why)})
        return
    yield Section("maps", "Examples", {None: _maps(run, shown)})
    both = [one for one in shown if STATES[1] in one.states and one.own]
    if both:
        yield Section("suppressed", "", {None: _suppressed(both)})


def _shown(run: Run) -> Iterator[Shown]:
    for own in run["activations"].partition_by("fact", "query", maintain_order=True):
        first = own.row(0, named=True)
        # Of states that only some queries have there is no map
        states = {str(when): _map(rows) for (when,), rows in own.partition_by("when", as_dict=True).items()}
        if "untouched" not in states:
            continue
        size = states["untouched"].shape
        located = run.located(run.localizers[0], first["query"]) if run.localizers else []
        inside = tuple(unit for unit in located if unit[0] < size[0] and unit[1] < size[1])
        yield Shown(first["kind"], first["fact"], first["query"], first["prompt"], states, inside)


def _map(rows: pl.DataFrame) -> NDArray[np.float64]:
    values = np.full((int(rows["layer"].to_numpy().max()) + 1, int(rows["neuron"].to_numpy().max()) + 1), np.nan)
    values[rows["layer"].to_numpy(), rows["neuron"].to_numpy()] = rows["activation"].to_numpy()
    return values


def _largest(maps: list[NDArray[np.float64]]) -> float:
    known = np.concatenate([np.abs(one[np.isfinite(one)]) for one in maps])
    return float(known.max(initial=0.0))


def _maps(run: Run, shown: list[Shown]) -> Block:
    largest = _largest([one.states["untouched"] for one in shown])
    figures, columns, table = {}, [], []
    for pair in _pairs(shown):
        common = set.intersection(*(set(one.own) for one in pair)) if len(pair) > 1 else set()
        inside = ""
        for one in pair:
            uid = f"map-{shown.index(one)}"
            figures[uid] = every_neuron(one.states["untouched"], largest, one.own, common)
            inside += f'<p class="prompt"><bdi>{escape(one.prompt)}</bdi></p>' + plot(uid, f"Heat map: {one.prompt}")
            table.append((one.title, one.prompt, count(len(one.own)), count(len(common))))
        title = f"{pair[0].title.capitalize()}: {len(common)} of {_size(pair)} neurons in common"
        columns.append(f'<div class="panel"><h3>{escape(title)}</h3>{inside}</div>')
    who = name_of(run.localizers[0]) if run.localizers else "no localizer"
    said = (
        "Activation of every neuron where the answer is predicted, untouched, in activation units; both axes count "
        "from 0. Colour follows the signed square root, on one scale for all maps, to "
        f"{score(largest)} at either end; a cell of several neurons shows the one farthest from zero. Rings: the "
        f"neurons located for that query by {who}; filled where the other wording’s are the same. Examples, one fact "
        "of each kind and two of its wordings, without an interval: each fact is the other’s control."
    )
    marks = [("ring", "located for this wording"), ("ring full", "for both wordings")]
    head = ("kind", "prompt", "neurons", "in common")
    body = legend(marks) + f'<div class="panels">{"".join(columns)}</div>' + caption(said) + as_table(head, table, 2)
    return Block(_overlap(_pairs(shown)), body, figures)


def _pairs(shown: list[Shown]) -> list[list[Shown]]:
    facts = list(dict.fromkeys((one.kind, one.fact) for one in shown))
    return [[one for one in shown if (one.kind, one.fact) == fact][:2] for fact in facts]


def _size(pair: list[Shown]) -> int:
    return len(set().union(*(one.own for one in pair)))


def _overlap(pairs: list[list[Shown]]) -> str:
    parts = [
        f"{len(set(pair[0].own) & set(pair[1].own))} of {_size(pair)} neurons in the {pair[0].kind} fact"
        for pair in pairs
        if len(pair) > 1
    ]
    if not parts:
        return "One wording of a fact, and its neurons"
    return f"Two wordings share {', '.join(parts)}"


def _suppressed(shown: list[Shown]) -> Block:
    figures, panels, table, means = {}, [], [], []
    picked = {one.query: sorted(one.own[:MOST]) for one in shown}
    cells = {
        one.query: [[float(one.states[when][unit]) for unit in picked[one.query]] for when in STATES] for one in shown
    }
    largest = max((abs(value) for rows in cells.values() for row in rows for value in row), default=0.0)
    for place, one in enumerate(shown):
        uid = f"suppressed-{place}"
        names = [f"{layer}·{neuron}" for layer, neuron in picked[one.query]]
        figures[uid] = before_and_after(names, cells[one.query], largest)
        before, after = (float(np.mean(np.abs([one.states[when][unit] for unit in one.own]))) for when in STATES)
        means.append((before, after))
        table.append((one.title, one.prompt, score(before), score(after), _relative(before, after)))
        title = f"{one.title.capitalize()}: {_relative(before, after)}"
        panels.append(
            f'<div class="panel"><h3>{escape(title)}</h3><p class="prompt"><bdi>{escape(one.prompt)}</bdi></p>'
            f"{plot(uid, f'Heat map of located neurons: {one.prompt}')}</div>"
        )
    said = (
        "Activation of the neurons located for each query, a column each (layer·neuron), untouched above and "
        "with the query’s own synapses suppressed below; activation units, one scale to "
        f"{score(largest)}, signed square root. At most {MOST} neurons are shown, those of the highest scores; the "
        "change above each map is of the mean magnitude of all of them. Examples, without an interval; the means "
        "over facts and the control, irrelevant columns, come below."
    )
    head = ("kind", "prompt", "mean magnitude before", "after", "change")
    body = f'<div class="panels">{"".join(panels)}</div>' + caption(said) + as_table(head, table, 2)
    first, second = (float(np.mean([mean[at] for mean in means])) for at in (0, 1))
    queries = "this query" if len(shown) == 1 else f"these {len(shown)} queries"
    heading = (
        f"In {queries}, the located neurons’ mean activation goes from {score(first).lstrip('+')} to "
        f"{score(second).lstrip('+')} ({_relative(first, second)}) without the synapses"
    )
    return Block(heading, body, figures)


def _relative(before: float, after: float) -> str:
    return relative((after - before) / before) if before > 0 else "undefined"
