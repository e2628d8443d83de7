"""Lines of a sweep, with their intervals as bands and their names at their ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import plotly.graph_objects as go

from locant.reports.drawing import dress, finite
from locant.reports.text import plotly


@dataclass(frozen=True)
class Line:
    """One line of a sweep, in its colour (a name that --NAME and, for its band, --NAME-band are CSS variables of)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dash: str = "solid"


def sweep(
    lines: Sequence[Line],
    axis: str,
    value: str,
    *,
    whole: bool = True,
    mark: float | None = None,
    said: Callable[[float], str] = "{:.1%}".format,
) -> go.Figure:
    """Lines with their intervals as bands, named at their ends.

    Args:
        axis, value: titles; the value's stands above.
        whole: whether the value is a share, from 0 to 1.
        mark: where an upright line says which value the run used.
        said: how a value reads where it is pointed at.
    """
    figure = go.Figure()
    for line in lines:
        if line.low:
            figure.add_scatter(
                x=[*line.x, *reversed(line.x)],
                y=finite([*line.high, *reversed(line.low)]),
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=f"var(--{line.colour}-band)",
                hoverinfo="skip",
            )
    for line in lines:
        figure.add_scatter(
            x=list(line.x),
            y=finite(line.y),
            mode="lines+markers",
            line={"width": 2, "color": f"var(--{line.colour})", "dash": line.dash},
            marker={"size": 5, "color": f"var(--{line.colour})"},
            hovertext=[
                f"{plotly(line.name)}<br>{axis} {x:g}: {said(y)}" for x, y in zip(line.x, line.y, strict=True)
            ],
            hoverinfo="text",
        )
    ends = [end for line in lines for end in (*line.y, *line.low, *line.high) if math.isfinite(end)]
    low, high = (0.0, 1.0) if whole else (min([*ends, 0.0]), max([*ends, 0.0]))
    pad = 0.04 * ((high - low) or 1.0)
    _name_ends(figure, lines, gap=(high - low + 2 * pad) * 16 / 250, highest=high + pad)
    longest = max((len(line.name) for line in lines), default=0)
    dress(figure, height=330)
    figure.update_layout(showlegend=False, margin={"l": 46, "r": 16 + 6.6 * longest, "t": 30, "b": 50})
    figure.add_annotation(
        text=value, x=0, xref="paper", xanchor="left", xshift=-40, y=1, yref="paper", yanchor="bottom", yshift=8,
        showarrow=False, font={"color": "var(--muted)"},
    )  # fmt: skip
    if mark is not None:
        figure.add_vline(x=mark, line={"color": "var(--muted)", "width": 1, "dash": "dot"})
    figure.update_xaxes(
        title={"text": axis, "standoff": 8}, fixedrange=True, showgrid=False, zeroline=False, nticks=8,
        ticks="outside", tickcolor="var(--rule)",
    )  # fmt: skip
    figure.update_yaxes(
        range=[low - pad, high + pad], tickformat=".0%", fixedrange=True, gridcolor="var(--rule)", nticks=6,
        zerolinecolor="var(--muted)",
    )  # fmt: skip
    return figure


def _name_ends(figure: go.Figure, lines: Sequence[Line], gap: float, highest: float) -> None:
    ends = spread([line.y[-1] for line in lines], gap, highest)
    for line, y in zip(lines, ends, strict=True):
        figure.add_annotation(
            text=plotly(line.name), x=1, xref="paper", xanchor="left", xshift=6, y=y, yanchor="middle",
            showarrow=False, align="left", font={"color": f"var(--{line.colour})"},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float, highest: float = math.inf) -> list[float]:
    """Heights moved as little as keeps them in order, no two nearer than the gap and none above the highest."""
    groups: list[list[int]] = []
    for place in sorted(range(len(heights)), key=lambda place: heights[place]):
        groups.append([place])
        while len(groups) > 1 and _stack(heights, groups[-1], gap)[0] - _stack(heights, groups[-2], gap)[-1] < gap:
            last = groups.pop()
            groups[-1] += last
    placed = dict(zip(chain(*groups), (y for group in groups for y in _stack(heights, group, gap)), strict=True))
    for place in reversed(placed):
        placed[place] = min(placed[place], highest)
        highest = placed[place] - gap
    return [placed[place] for place in range(len(heights))]


def _stack(heights: Sequence[float], group: Sequence[int], gap: float) -> list[float]:
    """Heights of a group, a gap apart and with the mean that they had."""
    middle = sum(heights[place] for place in group) / len(group)
    return [middle + gap * (at - (len(group) - 1) / 2) for at in range(len(group))]
