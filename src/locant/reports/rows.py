"""Means and shares in named rows: dots, bars from zero, and stacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from locant.reports.drawing import dress, ends_of, row_label
from locant.reports.text import plotly
from locant.types import Interval

SHORT = 18
"""Longest name that stands at the left of a row; longer ones stand above it."""


@dataclass(frozen=True)
class Dot:
    """A mean on a scale, with its interval and its mark: (symbol, colour)."""

    row: str
    name: str
    value: Interval
    mark: tuple[str, str]


def dots(
    marks: Sequence[Dot],
    axis: str,
    said: Callable[[Interval], str],
    span: tuple[float, float],
    tick: str = ".0%",
) -> go.Figure:
    """Several means of each row on one scale, one below the other, with their intervals.

    Args:
        said: how a mean reads where it is pointed at.
        span: what the axis shows at least.
        tick: how its numbers are written.
    """
    rows = list(dict.fromkeys(mark.row for mark in marks))
    kinds = list(dict.fromkeys(mark.name for mark in marks))
    # Names above their rows take the place of the first of many marks
    step, down = (0.17, 0.14) if len(kinds) > 3 and not _beside(rows) else (0.2, 0.0)
    figure = go.Figure()
    for kind, (symbol, colour) in dict.fromkeys((mark.name, mark.mark) for mark in marks):
        some = [mark for mark in marks if (mark.name, mark.mark) == (kind, (symbol, colour))]
        offset = down + step * (kinds.index(kind) - (len(kinds) - 1) / 2)
        figure.add_scatter(
            x=[mark.value.mean for mark in some],
            y=[rows.index(mark.row) + offset for mark in some],
            mode="markers",
            cliponaxis=False,
            marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
            error_x=_whiskers([mark.value for mark in some], colour),
            hovertext=[
                f"{plotly(mark.row)}: {plotly(kind)}<br>{said(mark.value)}<br>n = {mark.value.n}" for mark in some
            ],
            hoverinfo="text",
        )
    ends = ends_of(mark.value for mark in marks)
    low, high = min([*ends, span[0]]), max([*ends, span[1]])
    pad = 0.03 * (high - low)
    _rows(figure, rows, 34 if len(kinds) < 4 else 42)
    _across(figure, axis, [low - pad, high + pad], tick)
    figure.update_layout(shapes=_rules(len(rows), zero=low < 0))
    return figure


@dataclass(frozen=True)
class Length:
    """One bar from zero: its row's name, and its value as it is written at the right."""

    row: str
    value: Interval
    text: str
    colour: str = "var(--located)"


def lengths(parts: Sequence[Length], axis: str, most: float, tick: str = ".0%") -> go.Figure:
    """Bars from zero with their intervals, each with its value at the right.

    Args:
        most: what the axis shows at least.
        tick: how its numbers are written.
    """
    figure = go.Figure(
        go.Bar(
            x=[part.value.mean for part in parts],
            y=list(range(len(parts))),
            orientation="h",
            width=0.5,
            marker={"color": [part.colour for part in parts], "line": {"width": 0}},
            error_x=_whiskers([part.value for part in parts], "var(--ink)"),
            hovertext=[f"{plotly(part.row)}<br>{plotly(part.text)}<br>n = {part.value.n}" for part in parts],
            hoverinfo="text",
        )
    )
    _rows(figure, [part.row for part in parts], 28)
    longest = max((len(part.text) for part in parts), default=0)
    for place, part in enumerate(parts):
        figure.add_annotation(
            text=f"<b>{plotly(part.text)}</b>", x=1, xref="paper", xanchor="left", xshift=8, y=place,
            showarrow=False, font={"size": 12},
        )  # fmt: skip
    figure.update_layout(margin={"r": 14 + 7 * longest})
    _across(figure, axis, [0, 1.02 * max([most, *ends_of(part.value for part in parts)])], tick)
    return figure


def stacks(rows: Sequence[tuple[str, Mapping[str, float]]], parts: Mapping[str, tuple[str, str]]) -> go.Figure:
    """Rows of shares that add up to one, each share written where there is room.

    Args:
        parts: by name, the colour of each share and of what is written in it.
    """
    figure = go.Figure()
    for name, (colour, ink) in parts.items():
        shares = [own.get(name, 0.0) for _, own in rows]
        figure.add_bar(
            x=shares,
            y=list(range(len(rows))),
            orientation="h",
            width=0.62,
            marker={"color": colour, "line": {"width": 1, "color": "var(--paper)"}},
            text=[f"{share:.0%}" if share >= 0.075 else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"color": ink, "size": 12},
            hovertext=[
                f"{plotly(row)}: {plotly(name)}<br>{share:.1%}" for (row, _), share in zip(rows, shares, strict=True)
            ],
            hoverinfo="text",
        )
    _rows(figure, [row for row, _ in rows], 34)
    _across(figure, "share", [0, 1])
    figure.update_layout(barmode="stack")
    return figure


def _rules(rows: int, zero: bool) -> list[dict[str, object]]:
    """Lines between rows, and one upright where nothing has changed."""
    shared = {"type": "line", "layer": "below"}
    lines: list[dict[str, object]] = [
        {**shared, "xref": "paper", "x0": 0, "x1": 1, "y0": place + 0.5, "y1": place + 0.5,
         "line": {"color": "var(--rule)", "width": 1}}
        for place in range(rows - 1)
    ]  # fmt: skip
    if zero:
        ends = {"yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1}
        lines.append({**shared, **ends, "line": {"color": "var(--muted)", "width": 1}})
    return lines


def _rows(figure: go.Figure, rows: Sequence[str], step: int) -> None:
    """Rows from above to below, named at the left where names are short, above them where they are long."""
    longest = max(map(len, rows), default=0)
    beside = _beside(rows)
    dress(figure, height=(step if beside else step + 18) * len(rows) + 56)
    figure.update_layout(showlegend=False, bargap=0, margin={"l": 16 + 7 * longest if beside else 8})
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5 if beside else -0.75], fixedrange=True, showgrid=False, zeroline=False,
        visible=beside, tickvals=list(range(len(rows))), ticktext=[plotly(row) for row in rows],
        ticklabelstandoff=6,
    )  # fmt: skip
    if not beside:
        labels = [row_label(place - 0.38, f"<b>{plotly(row)}</b>") for place, row in enumerate(rows)]
        figure.update_layout(annotations=labels)


def _beside(rows: Sequence[str]) -> bool:
    """Whether the names of rows stand at their left."""
    return max(map(len, rows), default=0) <= SHORT


def _across(figure: go.Figure, axis: str, ends: list[float], tick: str = ".0%") -> None:
    figure.update_xaxes(
        range=ends, fixedrange=True, gridcolor="var(--rule)", zeroline=False, nticks=6, tickformat=tick, tickangle=0,
        title={"text": axis, "standoff": 8},
    )  # fmt: skip


def _whiskers(found: Sequence[Interval], colour: str) -> dict[str, object]:
    """The intervals of several means; of one thing alone, none is drawn."""

    def length(one: Interval, end: float) -> float:
        known = one.n > 1 and math.isfinite(end) and math.isfinite(one.mean)
        return max(0.0, abs(end - one.mean)) if known else 0.0

    return {
        "type": "data",
        "symmetric": False,
        "array": [length(one, one.high) for one in found],
        "arrayminus": [length(one, one.low) for one in found],
        "color": colour,
        "thickness": 1.4,
        "width": 0 if colour != "var(--ink)" else 4,
    }
