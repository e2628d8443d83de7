"""Heat maps of shares with their values in the cells."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import plotly.graph_objects as go

from locant.reports.drawing import dress
from locant.reports.text import plotly

STRONG = 0.62
"""Part of the strongest colour from which a cell is dark on a light page, and light on a dark one."""


def cells(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    hovers: Sequence[Sequence[str]],
    axis: str,
    *,
    framed: Collection[tuple[int, int]] = (),
) -> go.Figure:
    """Shares from 0 to 1 by row and column, in percent.

    Args:
        values: NaN where there is none.
        hovers: as Plotly reads text: escaped where it comes from data.
        axis: title of the columns.
        framed: cells with a frame, as (row, column).
    """
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            z=[[value if math.isfinite(value) else None for value in row] for row in values],
            zmin=0,
            zmax=1,
            colorscale=[[0, "var(--zero)"], [1, "var(--positive)"]],
            showscale=False,
            xgap=1.5,
            ygap=1.5,
            hovertext=[list(row) for row in hovers],
            hoverinfo="text",
        )
    )
    if len(columns) <= 24:
        _write(figure, values)
    longest, widest = (max(map(len, names), default=0) for names in (rows, columns))
    tilted = widest > 3
    below = round(5.2 * widest) + 46 if tilted else 46
    dress(figure, height=30 * len(rows) + below + 14)
    figure.update_layout(
        margin={"l": 14 + 6.6 * longest, "r": 8, "t": 6, "b": below},
        shapes=[_frame(row, column) for row, column in framed],
    )
    figure.update_xaxes(
        tickvals=list(range(len(columns))), ticktext=[plotly(name) for name in columns],
        title={"text": axis, "standoff": 8}, tickangle=-45 if tilted else 0, showgrid=False, zeroline=False,
        fixedrange=True, ticks="", range=[-0.5, len(columns) - 0.5],
    )  # fmt: skip
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5], tickvals=list(range(len(rows))), ticktext=[plotly(name) for name in rows],
        showgrid=False, zeroline=False, fixedrange=True, ticks="", ticklabelstandoff=5,
    )  # fmt: skip
    return figure


def _write(figure: go.Figure, values: Sequence[Sequence[float]]) -> None:
    """Values in cells, in the page's ink on pale ones and in its paper on strong ones, whichever theme it has."""
    for colour, strong in (("var(--ink)", False), ("var(--paper)", True)):
        places = [
            (x, y, value)
            for y, row in enumerate(values)
            for x, value in enumerate(row)
            if math.isfinite(value) and (value >= STRONG) == strong
        ]
        figure.add_scatter(
            x=[x for x, _, _ in places], y=[y for _, y, _ in places], mode="text",
            text=[f"{100 * value:.0f}" for _, _, value in places],
            textfont={"size": 11, "color": colour}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip


def _frame(row: int, column: int) -> dict[str, object]:
    return {
        "type": "rect", "x0": column - 0.48, "x1": column + 0.48, "y0": row - 0.48, "y1": row + 0.48,
        "line": {"color": "var(--ink)", "width": 1.4},
    }  # fmt: skip
