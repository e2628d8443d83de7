"""A circuit as SVG, whole without a script: circuit.js only shows and hides parts of it, and moves it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from locant.models.graph import PARTS, Graph
from locant.reports.circuits.layout import Layout, bow, lay_out, layer_of
from locant.reports.circuits.wiring import Line, merged, network_of
from locant.reports.numbers import count, score
from locant.reports.text import escape, visible

_HEIGHT = 24.0
_CHARACTER = 6.6
_THINNEST, _THICKEST = 0.9, 6.0
_PORTS = dict(zip(PARTS, (-1, 0, 1), strict=True))
ROLES = 4
"""Roles that have a colour of their own; all others share one."""


@dataclass(frozen=True)
class Note:
    """What is known of a node beside its edges.

    Attributes:
        tokens: what it writes, read through the unembedding, the highest first.
        rank: of the answer among them, 1 the highest.
    """

    role: str = ""
    tokens: tuple[str, ...] = ()
    rank: int | None = None


def drawing(lines: Sequence[Line], graph: Graph, notes: Mapping[str, Note], unit: str) -> str:
    """The drawing of a circuit's lines, the strongest first, in a model with this graph."""
    layout = lay_out(network_of(lines), graph.layers, graph.spans)
    whole = merged(lines) if any(line.part for line in lines) else ()
    edges = _edges(lines, layout, unit, "split") + _edges(whole, layout, unit, "merged")
    roles = roles_of(notes)
    nodes = "".join(
        _node(node, place, notes.get(node, Note()), roles)
        for node, place in sorted(layout.nodes.items(), key=lambda one: (-one[1][1], one[1][0]))
    )
    said = (
        f"Circuit: {count(len(layout.nodes))} nodes and {count(len(lines))} edges, from the input below to the output"
    )
    return (
        f'<svg class="wires" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" role="group" tabindex="0" '
        f'style="--dense:{_opacity(len(lines)):.2f}{_least(layout)}" '
        f'aria-label="{said}; the strongest edges are in the table">'
        f'<g class="scene">{_rows(layout)}{_columns(layout)}<g class="edges">{edges}</g>'
        f'<g class="nodes">{nodes}</g></g></svg>'
    )


def roles_of(notes: Mapping[str, Note]) -> dict[str, int]:
    """The roles there are, in order of their frequency, with the number of each one's colour."""
    found = [note.role for note in notes.values() if note.role]
    names = sorted(set(found), key=lambda role: (-found.count(role), role))
    return {role: min(at, ROLES - 1) for at, role in enumerate(names)}


def _rows(layout: Layout) -> str:
    """The layers' numbers and a hairline for each that holds a node."""
    marks = []
    for layer, y in layout.layers.items():
        if layer not in layout.empty:
            marks.append(f'<path class="row" d="M34 {y:.1f}H{layout.width:.0f}"/>')
            marks.append(f'<text class="layer" x="6" y="{y + 4:.1f}">{layer}</text>')
    top = min((y for layer, y in layout.layers.items() if layer not in layout.empty), default=0.0)
    return f'<text class="layer" x="6" y="{top - 14:.1f}">layer</text>{"".join(marks)}' if marks else ""


def _least(layout: Layout) -> str:
    """Columns are scrolled rather than shrunk out of sight."""
    return f";min-width:{0.55 * layout.width:.0f}px" if layout.spans else ""


def _columns(layout: Layout) -> str:
    """The spans' names below their inputs, and a line between each two."""
    marks = []
    for place, (span, (left, right)) in enumerate(layout.spans.items()):
        if place:
            marks.append(f'<path class="between" d="M{left:.1f} 0V{layout.height:.0f}"/>')
        middle = (left + right) / 2
        marks.append(f'<text class="span" x="{middle:.1f}" y="{layout.height - 4:.1f}">{escape(span)}</text>')
    return "".join(marks)


def _edges(lines: Sequence[Line], layout: Layout, unit: str, kind: str) -> str:
    """Lines as paths, the strongest last so that it is on top; each with its place among the strongest."""
    largest = max((abs(line.score) for line in lines), default=0.0) or 1.0
    paths = []
    for place, line in reversed(list(enumerate(lines))):
        width = _THINNEST + (_THICKEST - _THINNEST) * math.sqrt(abs(line.score) / largest)
        sign = "minus" if line.score < 0 else "plus"
        part = f" part-{line.part}" if line.part in _PORTS and kind == "split" else ""
        tip = "\n".join(_edge_tip(line, unit))
        for end in line.ends:
            port = _PORTS.get(line.part, 0) if kind == "split" else 0
            paths.append(
                f'<path class="{kind} {sign}{part}" d="{_curve(layout, line.start, end, port)}" '
                f'stroke-width="{width:.2f}" data-place="{place}" data-from="{line.start}" data-to="{end}" '
                f'data-tip="{escape(tip)}"/>'
            )
    return "".join(paths)


def _edge_tip(line: Line, unit: str) -> list[str]:
    read = f"read for {', '.join(line.part)}" if line.part else ""
    shared = f"shared by {', '.join(line.ends)}" if len(line.ends) > 1 else ""
    return [
        line.name.replace("->", " → "),
        f"score {score(line.score)} {unit}".strip(),
        *filter(None, (read, shared)),
    ]


def _curve(layout: Layout, start: str, end: str, port: int) -> str:
    """From the top of one node to the bottom of another; between MLPs in an arc beside their column."""
    (x0, y0), (x1, y1) = layout.nodes[start], layout.nodes[end]
    if start.startswith("m") and end.startswith("m"):
        side = node_width(end) / 2
        out = x0 + side + bow(y0 - y1)
        return f"M{x0 + side:.1f} {y0:.1f}C{out:.1f} {y0:.1f} {out:.1f} {y1:.1f} {x1 + side:.1f} {y1:.1f}"
    y0, y1 = y0 - _HEIGHT / 2, y1 + _HEIGHT / 2
    x1 += port * node_width(end) / 3.2
    lift = max(14.0, 0.45 * (y0 - y1))
    return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 - lift:.1f} {x1:.1f} {y1 + lift:.1f} {x1:.1f} {y1:.1f}"


def _node(name: str, place: tuple[float, float], note: Note, roles: Mapping[str, int]) -> str:
    x, y = place
    width = node_width(name)
    kind = {"a": "head", "m": "mlp"}.get(name[0], "end")
    role = f" role-{roles[note.role]}" if note.role else ""
    tip = "\n".join(_node_tip(name, note))
    label = name.partition("@")[0]
    row = -1 if label == "input" else 10**6 if name == "output" else layer_of(name)
    return (
        f'<g class="node {kind}{role}" data-node="{name}" data-row="{row}" data-x="{x:.0f}" tabindex="-1" '
        f'role="button" aria-pressed="false" aria-label="{escape(tip)}" data-tip="{escape(tip)}" '
        f'transform="translate({x:.1f} {y:.1f})">'
        f'<rect x="{-width / 2:.1f}" y="{-_HEIGHT / 2}" width="{width:.1f}" height="{_HEIGHT}" '
        f'rx="{_HEIGHT / 2 if kind == "head" else 3}"/><text y="4">{label}</text></g>'
    )


def _node_tip(name: str, note: Note) -> list[str]:
    ends = {"input": "what the first layer reads", "output": "what the readout reads"}
    tip = [name]
    own = name.partition("@")[0]
    if own in ends:
        tip.append(ends[own])
    if note.role:
        tip.append(f"role: {note.role}")
    if note.tokens:
        tip.append(f"writes {'  '.join(map(visible, note.tokens[:6]))}")
    if note.rank is not None:
        tip.append(f"the answer is number {count(note.rank)} of what it writes")
    return tip


def node_width(name: str) -> float:
    return _CHARACTER * len(name.partition("@")[0]) + 12


def _opacity(lines: int) -> float:
    """Of a line: the more there are, the less each covers."""
    return min(0.85, max(0.22, 6.0 / math.sqrt(max(1, lines))))
