"""The figures of this page: pairs of changes, means on a scale, overlaps, layers and regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from locant.reports.drawing import change_axis, cut, dress, ends_of, row_label, upright, whiskers
from locant.reports.numbers import RATIO_FROM, change, count, score, share
from locant.reports.text import plotly
from locant.types import Interval

_VALUES = 188
_SIDES = {"related": ("var(--located)", "var(--located-text)"), "unrelated": ("var(--control)", "var(--muted)")}


@dataclass(frozen=True)
class Pair:
    """Two relative changes under one name, with their ratio in words; all as text."""

    name: str
    related: Interval
    unrelated: Interval
    ratio: str


@dataclass(frozen=True)
class Mark:
    """A mean on a scale with its interval.

    Attributes:
        name: for the text that appears when it is pointed at.
        spans: whether its interval is drawn.
    """

    name: str
    value: Interval
    colour: str
    symbol: str = "circle"
    spans: bool = True


@dataclass(frozen=True)
class Row:
    """A line of a scale: its name, its marks, and their values in words; all as text."""

    name: str
    marks: Sequence[Mark]
    said: str


def pairs(parts: Sequence[Pair], every: Sequence[Interval], *, down: bool) -> go.Figure:
    """A pair of bars for each name: related and unrelated, each with its interval and its value beside it.

    Args:
        every: changes of neighbouring figures, so that all have one scale.
        down: whether the axis reaches to a loss of everything.
    """
    figure, labels = go.Figure(), []
    ends = ends_of(every)
    # In ratios a bar starts at ×1, where nothing has changed
    start = 1.0 if any(abs(end) >= RATIO_FROM for end in ends) else 0.0
    for place, part in enumerate(parts):
        labels += [
            row_label(place - 0.36, f"<b>{cut(part.name, 22)}</b>"),
            {**row_label(place - 0.36, f"ratio {plotly(part.ratio)}", side="right"), "xshift": _VALUES},
        ]
        for at, (side, (colour, ink)) in enumerate(_SIDES.items()):
            found: Interval = getattr(part, side)
            y = place - 0.06 + 0.28 * at
            figure.add_bar(
                x=[found.mean if math.isfinite(found.mean) else None],
                y=[y],
                base=[start],
                width=0.2,
                orientation="h",
                marker={"color": colour, "line": {"width": 0}},
                error_x=whiskers(found),
                hovertext=[f"{plotly(part.name)}, {side}<br>{change(found)}<br>n = {found.n}"],
                hoverinfo="text",
            )
            labels.append(
                {
                    **row_label(y, f"{side} {change(found)}"),
                    "x": 1.0,
                    "xshift": 8,
                    "font": {"color": ink, "size": 11.5},
                }
            )
    figure.update_layout(annotations=labels)
    dress(figure, height=86 * len(parts) + 52)
    change_axis(figure, ends, start, down, "P(right letter)")
    figure.update_layout(showlegend=False, bargap=0, margin={"l": 14, "r": _VALUES})
    # Beside the values there is little room on a narrow screen
    figure.update_xaxes(nticks=5, title_text="P after / P before" if start else "relative change")
    figure.update_yaxes(range=[len(parts) - 0.5, -0.55], visible=False, fixedrange=True)
    return figure


def scale(
    rows: Sequence[Row], axis: str, lines: Mapping[str, tuple[float, str]], end: float = 1.0, *, counts: bool = False
) -> go.Figure:
    """Means of each row on one scale from 0.

    Args:
        lines: by its label, as Plotly reads text, where on a scale of shares an upright line stands, and its dash.
        end: where the scale ends.
        counts: whether it counts things; if not, it is of shares.
    """
    figure = go.Figure()
    for place in range(len(rows)):
        figure.add_shape(
            type="line", x0=0, x1=end, y0=place + 0.16, y1=place + 0.16, line={"color": "var(--rule)", "width": 1},
            layer="below",
        )  # fmt: skip
    figure.update_layout(
        annotations=[
            label
            for place, row in enumerate(rows)
            for label in (
                row_label(place - 0.24, cut(row.name, 30)),
                row_label(place - 0.24, f"<b>{plotly(row.said)}</b>", side="right"),
            )
        ]
    )
    for place, row in enumerate(rows):
        for mark in row.marks:
            figure.add_scatter(
                x=[mark.value.mean if math.isfinite(mark.value.mean) else None],
                y=[place + 0.16],
                mode="markers",
                cliponaxis=False,
                marker={
                    "symbol": mark.symbol,
                    "size": 11,
                    "color": mark.colour,
                    "line": {"width": 2, "color": mark.colour},
                },
                error_x=whiskers(mark.value) if mark.spans else None,
                hovertext=[f"{plotly(row.name)}<br>{plotly(mark.name)}<br>n = {mark.value.n}"],
                hoverinfo="text",
            )
    top = 18 * len(lines) + 6
    dress(figure, height=48 * len(rows) + 52 + top)
    figure.update_layout(showlegend=False, margin={"l": 8, "t": top})
    upright(figure, lines, top=top - 6)
    figure.update_xaxes(
        range=[-0.012 * end, 1.012 * end], fixedrange=True, gridcolor="var(--rule)", zeroline=False, nticks=6,
        tickformat=None if counts else ".0%", title={"text": axis, "standoff": 8},
    )  # fmt: skip
    figure.update_yaxes(range=[len(rows) - 0.5, -0.5], visible=False, fixedrange=True)
    return figure


def matrix(groups: Sequence[str], cells: Mapping[tuple[str, str], tuple[float, str, str]]) -> go.Figure:
    """Values of every two groups, written into their cells.

    Args:
        cells: by two groups, a value from 0 to 1, the mark below it, and the text that appears when it is
            pointed at, as Plotly reads text.
    """
    found = [[cells.get((down, across), (math.nan, "", "")) for across in groups] for down in groups]
    names = [cut(name, 14) for name in groups]
    places = list(range(len(groups)))
    figure = go.Figure(
        go.Heatmap(
            x=places,
            y=places,
            z=[[value if math.isfinite(value) else None for value, _, _ in row] for row in found],
            text=[[f"{value:.2f}<br>{mark or ' '}" if math.isfinite(value) else "" for value, mark, _ in row]
                  for row in found],
            customdata=[[said for _, _, said in row] for row in found],
            texttemplate="%{text}",
            textfont={"color": "var(--ink)", "size": 11},
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            zmin=0,
            zmax=max((value for value, _, _ in cells.values() if math.isfinite(value)), default=1.0) or 1.0,
            colorscale=[[0, "var(--zero)"], [1, "var(--violin)"]],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )  # fmt: skip
    longest = max(map(len, groups), default=0)
    room = 26 + 6.8 * min(14, longest)
    dress(figure, height=46 * len(groups) + 18 + int(0.75 * room))
    figure.update_layout(margin={"l": room, "r": 4, "t": 0.75 * room + 12, "b": 4})
    shared = {"tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_xaxes(side="top", tickangle=-38, range=[-0.5, len(groups) - 0.5], **shared)
    figure.update_yaxes(range=[len(groups) - 0.5, -0.5], **shared)
    return figure


def histograms(parts: Mapping[str, Sequence[float]]) -> go.Figure:
    """For each group, what share of its neurons each layer has; all rows have one scale."""
    highest = max((value for shares in parts.values() for value in shares), default=0.0) or 1.0
    layers = max((len(shares) for shares in parts.values()), default=1)
    figure, labels = go.Figure(), []
    for place, (name, shares) in enumerate(parts.items()):
        figure.add_bar(
            x=list(range(layers)),
            y=[round(0.6 * value / highest, 4) for value in shares],
            base=[-place] * layers,
            width=0.82,
            marker={"color": "var(--located)", "line": {"width": 0}},
            hovertext=[f"{plotly(name)}, layer {layer}<br>{value:.1%}" for layer, value in enumerate(shares)],
            hoverinfo="text",
        )
        even = -place + 0.6 / layers / highest
        for y, dash, colour in ((-place, "solid", "var(--rule)"), (even, "dot", "var(--ink)")):
            figure.add_shape(
                type="line", x0=-0.5, x1=layers - 0.5, y0=y, y1=y, line={"color": colour, "width": 1, "dash": dash}
            )
        peak = max(range(len(shares)), key=lambda layer: shares[layer])
        labels += [
            row_label(-place + 0.76, f"<b>{cut(name, 24)}</b>"),
            row_label(-place + 0.76, f"most in layer {peak}: {share(shares[peak])}", side="right"),
        ]
    figure.update_layout(annotations=labels)
    dress(figure, height=86 * len(parts) + 48)
    figure.update_layout(showlegend=False, bargap=0, barmode="overlay", margin={"l": 8, "r": 8})
    figure.update_xaxes(
        title={"text": "layer", "standoff": 6}, range=[-0.5, layers - 0.5], dtick=_step(layers), showgrid=False,
        zeroline=False, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(range=[-len(parts) + 0.97, 0.92], visible=False, fixedrange=True)
    return figure


def region(weights: NDArray[np.float64], largest: float, starts: Mapping[int, int]) -> go.Figure:
    """A group's accumulated score [layer, bin], in steps of its square root, on one scale with other groups'.

    Args:
        starts: the first neuron of each bin that is known.
    """
    layers, bins = weights.shape
    figure = go.Figure(
        go.Heatmap(
            z=[[round(float(one), 4) for one in row] for row in np.sqrt(np.maximum(weights, 0) / (largest or 1.0))],
            zmin=0,
            zmax=1,
            text=[
                [
                    f"layer {layer}, {_from(place, starts)}<br>score {score(float(one))}"
                    for place, one in enumerate(row)
                ]
                for layer, row in enumerate(weights)
            ],
            hovertemplate="%{text}<extra></extra>",
            colorscale=[[0, "var(--zero)"], [1, "var(--positive)"]],
            showscale=False,
            ygap=1,
        )
    )
    dress(figure, height=54 + layers * max(8, min(22, 200 // layers)))
    figure.update_layout(margin={"l": 40, "r": 8, "t": 2, "b": 46})
    ticks = [place for place in range(0, bins, max(1, math.ceil(bins / 5))) if place in starts]
    figure.update_xaxes(
        title={"text": "first neuron of each bin", "standoff": 6}, tickvals=ticks,
        ticktext=[count(starts[place]) for place in ticks], range=[-0.5, bins - 0.5], showgrid=False, zeroline=False,
        fixedrange=True, ticks="outside", tickcolor="var(--rule)",
    )  # fmt: skip
    figure.update_yaxes(
        title={"text": "layer", "standoff": 4}, range=[-0.5, layers - 0.5], dtick=_step(layers), showgrid=False,
        zeroline=False, fixedrange=True,
    )  # fmt: skip
    return figure


def _from(place: int, starts: Mapping[int, int]) -> str:
    return f"neurons from {count(starts[place])}" if place in starts else f"bin {place}"


def _step(layers: int) -> int:
    return 1 if layers <= 16 else 2 if layers <= 24 else 4
