"""A circuit as a block of a page: its drawing with tools to read it by, and a table of its strongest edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from locant.attributions.edges import UNITS
from locant.models.graph import Graph
from locant.reports.blocks import caption, legend, note
from locant.reports.circuits.drawing import Note, drawing, roles_of
from locant.reports.circuits.wiring import Line, lines_of
from locant.reports.numbers import count, score
from locant.reports.tables import table
from locant.reports.text import escape
from locant.selections.circuits import Circuit

LISTED = 40
"""Edges in the table."""
SHOWN = 40
"""Edges drawn at first, as many as the table has: more are a tangle until the slider asks for them."""


def circuit_block(circuit: Circuit, notes: Mapping[str, Note] | None = None, unit: str = "") -> str:
    """A circuit's drawing and table, as HTML that needs circuit.css and circuit.js beside it; all text is escaped.

    Args:
        notes: what is known of nodes, by their names.
        unit: of scores; that of the metric they were made by, if not given.
    """
    lines = lines_of(circuit)
    if not lines:
        return note("No edge is kept: nothing of the input reaches the output but what is ablated.")
    unit = unit or unit_of(circuit)
    notes = notes or {}
    wide = " wide" if circuit.graph.spans else ""
    return (
        f'<div class="circuit{wide}" data-shown="{min(SHOWN, len(lines))}">{_tools(lines)}{_legend(lines, notes)}'
        f'<div class="beside"><div class="view">{drawing(lines, circuit.graph, notes, unit)}'
        f'<p class="tip" hidden></p></div>{_table(lines, unit)}</div></div>{caption(_said(circuit, lines, unit))}'
    )


def unit_of(circuit: Circuit) -> str:
    """The unit of a circuit's scores, as far as what made them says it."""
    return UNITS.get(str(circuit.made_by.settings.get("metric")), "")


def _tools(lines: Sequence[Line]) -> str:
    most = len(lines)
    merge = (
        '<button type="button" data-do="merge" aria-pressed="false">Merge q, k, v</button>'
        if any(line.part for line in lines)
        else ""
    )
    return (
        '<div class="tools" hidden><div role="group" aria-label="Zoom of the circuit">'
        '<button type="button" data-do="out" aria-label="Zoom out">−</button> '
        '<button type="button" data-do="in" aria-label="Zoom in">+</button> '
        '<button type="button" data-do="all">All</button></div>'
        f'<label>strongest <input type="range" min="1" max="{most}" value="{most}" '
        f'aria-label="How many of the strongest edges are shown"></label>'
        f'<output class="shown">{count(most)} of {count(most)} edges</output>{merge}'
        '<output class="through" aria-live="polite"></output></div>'
    )


def _legend(lines: Sequence[Line], notes: Mapping[str, Note]) -> str:
    marks = [("wire plus", "supports the answer")]
    if any(line.score < 0 for line in lines):
        marks.append(("wire minus", "works against it"))
    parts = {line.part for line in lines} - {""}
    words = {"q": "read for a query", "k": "for a key", "v": "for a value"}
    marks += [(f"wire part-{part}", words[part]) for part in words if part in parts]
    marks += [(f"role role-{colour}", role) for role, colour in roles_of(notes).items()]
    return legend(marks)


def _table(lines: Sequence[Line], unit: str) -> str:
    rows = [
        [
            str(place),
            f'<button type="button" data-edge="{place - 1}">{escape(line.name.replace("->", " → "))}</button>',
            escape(score(line.score)),
        ]
        for place, line in enumerate(lines[:LISTED], start=1)
    ]
    head = ("", "edge", f"score, {escape(unit)}" if unit else "score")
    return f'<div class="strongest scroll">{table(head, rows, numbers=(0, 2))}</div>'


def _said(circuit: Circuit, lines: Sequence[Line], unit: str) -> str:
    graph = circuit.graph
    listed = f"the table has the {LISTED} strongest. " if len(lines) > LISTED else ""
    return (
        f"{count(len(lines))} of the graph’s {count(int(graph.edges.sum()))} edges; {listed}"
        "Every line runs upwards, from what writes to what reads it; its width follows the square root of |score|"
        f"{f', in {unit}' if unit else ''}. a3.h5 is head 5 of layer 3, m3 that layer’s MLP, both counted from 0."
        f"{_of_shared(graph)}{_of_spans(graph)} "
        "A node that is pressed leaves only the ways from the input to the output through it. The wheel zooms after "
        "a click into the drawing, or with Ctrl; dragging moves it; so do the arrow keys, with +, − and 0. "
        "Layers without a node are left narrow."
    )


def _of_shared(graph: Graph) -> str:
    """What names of keys and values mean where heads share them."""
    if not graph.split or graph.groups == graph.heads:
        return ""
    last, each = graph.groups - 1, graph.heads // graph.groups
    return (
        f" Heads share keys and values, which have numbers of their own: a0.h{last}.v is the value that heads "
        f"{last * each} to {graph.heads - 1} read; it is drawn to those of them that send something on."
    )


def _of_spans(graph: Graph) -> str:
    if not graph.spans:
        return ""
    return (
        " Columns are spans of the prompt’s positions, as it is read: before the subject, the subject, after it, and "
        "the last token, where the answer is predicted; m3@subject is an MLP at the subject. An edge counts at its "
        "span’s positions alone. Only attention moves anything from column to column: a key or value is drawn to its "
        "head there and in later columns. Columns without a node are left out."
    )
