"""The figures of consistency and of edits; those of activations are in heat_maps.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from locant.reports.drawing import cut, dress, finite, row_label, upright, whiskers
from locant.reports.numbers import decimal, portion
from locant.reports.rows import Dot
from locant.reports.text import plotly
from locant.types import Interval

MANY = 1500
"""Facts from which single ones are no longer drawn as points."""
_LONGEST = 34


@dataclass(frozen=True)
class Violin:
    """One relation's scores, a fact each."""

    name: str
    scores: Sequence[float]
    facts: Sequence[str]
    mean: Interval


def violins(parts: Sequence[Violin], lines: Mapping[str, tuple[float, str]]) -> go.Figure:
    """A violin per relation on one scale from 0 to 1, a point per fact, and the mean with its interval.

    Args:
        lines: by its label, where an upright line stands, and its dash.
    """
    figure = go.Figure()
    few = sum(len(part.scores) for part in parts) <= MANY
    labels = []
    for row, part in enumerate(parts):
        if len(part.scores) > 4 and len(set(part.scores)) > 1:
            figure.add_violin(
                x=finite(part.scores),
                y=[row] * len(part.scores),
                orientation="h",
                width=0.62,
                points=False,
                spanmode="hard",
                line={"width": 0},
                fillcolor="var(--violin)",
                hoverinfo="skip",
            )
        if few or len(part.scores) <= 4:
            figure.add_scatter(
                x=finite(part.scores),
                y=[row + _jitter(place) for place in range(len(part.scores))],
                mode="markers",
                marker={"size": 5, "color": "var(--unrelated)", "opacity": 0.75, "line": {"width": 0}},
                hovertext=[
                    f"{plotly(fact)}<br>{score:.3f}" for fact, score in zip(part.facts, part.scores, strict=True)
                ],
                hoverinfo="text",
            )
        figure.add_scatter(
            x=[part.mean.mean],
            y=[row],
            mode="markers",
            marker={"size": 9, "color": "var(--located)", "line": {"width": 1.5, "color": "var(--paper)"}},
            error_x=whiskers(part.mean),
            hovertext=[f"{plotly(part.name)}<br>mean {decimal(part.mean)}, {part.mean.n} facts"],
            hoverinfo="text",
        )
        labels += [
            row_label(row - 0.44, f"{cut(part.name, _LONGEST)} · {len(part.scores)}"),
            row_label(row - 0.44, f"<b>{decimal(part.mean)}</b>", side="right"),
        ]
    figure.update_layout(annotations=labels)
    dress(figure, height=64 * len(parts) + 46 + 18 * len(lines) + 10)
    figure.update_layout(showlegend=False, margin={"t": 18 * len(lines) + 10, "l": 8}, violinmode="overlay")
    upright(figure, {f"{label} {x:.2f}": (x, dash) for label, (x, dash) in lines.items()}, top=18 * len(lines))
    figure.update_xaxes(
        range=[0, 1], fixedrange=True, gridcolor="var(--rule)", zeroline=False, dtick=0.2,
        title={"text": "CS2 of a fact", "standoff": 8},
    )  # fmt: skip
    figure.update_yaxes(range=[len(parts) - 0.5, -0.62], visible=False, fixedrange=True)
    return figure


def scale(dots: Sequence[Dot], axis: str) -> go.Figure:
    """Several means of each row on one scale from 0 to 1."""
    rows = list(dict.fromkeys(dot.row for dot in dots))
    figure = go.Figure()
    for place in range(len(rows)):
        figure.add_shape(
            type="line", x0=0, x1=1, y0=place + 0.12, y1=place + 0.12, line={"color": "var(--rule)", "width": 1},
            layer="below",
        )  # fmt: skip
    figure.update_layout(
        annotations=[row_label(place - 0.28, f"<b>{plotly(row)}</b>") for place, row in enumerate(rows)]
    )
    for dot in dots:
        symbol, colour = dot.mark
        figure.add_scatter(
            x=[dot.value.mean],
            y=[rows.index(dot.row) + 0.12],
            mode="markers",
            marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2, "color": colour}},
            error_x=whiskers(dot.value),
            hovertext=[f"{plotly(dot.row)}: {plotly(dot.name)}<br>{decimal(dot.value)}"],
            hoverinfo="text",
        )
    dress(figure, height=58 * len(rows) + 56)
    figure.update_layout(showlegend=False, margin={"l": 8})
    figure.update_xaxes(
        range=[-0.01, 1.01], fixedrange=True, gridcolor="var(--rule)", zeroline=False, dtick=0.2,
        title={"text": axis, "standoff": 8},
    )  # fmt: skip
    figure.update_yaxes(range=[len(rows) - 0.45, -0.55], visible=False, fixedrange=True)
    return figure


@dataclass(frozen=True)
class Point:
    """A set of neurons by two of its scores."""

    name: str
    x: Interval
    y: Interval
    colour: str
    beside: str


def plane(points: Sequence[Point], beside: Sequence[Point], x: str, y: str) -> go.Figure:
    """Two shares against each other, with both intervals; points named where they stand.

    Args:
        beside: points of a neighbouring figure, so that both have one scale.
    """
    figure = go.Figure()
    for point in points:
        up = whiskers(point.y)
        figure.add_scatter(
            x=[point.x.mean],
            y=[point.y.mean],
            mode="markers+text",
            text=[f"<b>{plotly(point.name)}</b>"],
            textposition=point.beside,
            textfont={"color": point.colour, "size": 13},
            cliponaxis=False,
            marker={"size": 11, "color": point.colour},
            error_x=_fine(whiskers(point.x), point.colour),
            error_y=_fine(up, point.colour),
            hovertext=[f"{plotly(point.name)}<br>{x} {portion(point.x)}<br>{y} {portion(point.y)}"],
            hoverinfo="text",
        )
    dress(figure, height=360)
    figure.update_layout(showlegend=False, margin={"l": 56, "r": 16, "t": 10, "b": 50})
    every = [*points, *beside]
    figure.update_xaxes(title={"text": x, "standoff": 8}, range=_around([point.x for point in every]))
    figure.update_yaxes(title={"text": y, "standoff": 8}, range=_around([point.y for point in every]))
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(tickformat=".0%", fixedrange=True, gridcolor="var(--rule)", zeroline=False, nticks=6)
    return figure


def _fine(bars: dict[str, object] | None, colour: str) -> dict[str, object] | None:
    return None if bars is None else {**bars, "color": colour, "width": 0, "thickness": 1.6}


def _around(intervals: Sequence[Interval]) -> list[float]:
    """A range that holds all of them, never so short that a trifle looks like a difference."""
    ends = [end for one in intervals for end in (one.mean, one.low, one.high) if math.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    lacking = max(0.0, 0.3 - (high - low)) / 2
    low, high = low - lacking, high + lacking
    pad = 0.14 * (high - low)
    return [low - pad, high + pad]


def _jitter(place: int) -> float:
    """Upward or downward, so that equal scores do not hide each other; the same at every drawing."""
    return 0.3 * ((place * 0.618034) % 1 - 0.5)
