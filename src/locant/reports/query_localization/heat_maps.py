"""Heat maps of activations: every neuron of a query, and a query's own neurons before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from locant.reports.drawing import dress
from locant.reports.numbers import count, score

COLUMNS = 240
"""Cells of a row at most; of several neurons a cell shows the one farthest from zero."""
_COLOURS = [[0, "var(--negative)"], [0.5, "var(--zero)"], [1, "var(--positive)"]]


def every_neuron(
    values: NDArray[np.float64], largest: float, own: Sequence[tuple[int, int]], common: set[tuple[int, int]]
) -> go.Figure:
    """A query's activations [layer, neuron], with rings around its own neurons, filled where a neighbour has them."""
    layers, neurons = values.shape
    width = -(-neurons // COLUMNS)
    winners = strongest(values, width)
    shown = np.take_along_axis(values, winners, axis=1)
    figure = go.Figure(
        go.Heatmap(
            x0=(width - 1) / 2,
            dx=width,
            z=signed_root(shown, largest),
            zmin=-1,
            zmax=1,
            colorscale=_COLOURS,
            showscale=False,
            text=[
                [
                    f"neuron {count(int(neuron))}<br>activation {score(value)}"
                    for neuron, value in zip(*row, strict=True)
                ]
                for row in zip(winners, shown.tolist(), strict=True)
            ],
            hovertemplate="layer %{y}, %{text}<extra></extra>",
            ygap=1,
        )
    )
    for mine, symbol in ((False, "circle-open"), (True, "circle")):
        units = [unit for unit in own if (unit in common) == mine]
        figure.add_scatter(
            x=[neuron for _, neuron in units],
            y=[layer for layer, _ in units],
            mode="markers",
            cliponaxis=False,
            marker={
                "symbol": symbol,
                "size": 9,
                "color": "var(--ink)",
                "line": {"width": 1.4, "color": "var(--ink)" if symbol == "circle-open" else "var(--paper)"},
            },
            hovertext=[
                f"layer {layer}, neuron {count(neuron)}<br>located for {'both queries' if mine else 'this query'}"
                f"<br>activation {score(float(values[layer, neuron]))}"
                for layer, neuron in units
            ],
            hoverinfo="text",
        )
    dress(figure, height=58 + layers * max(9, min(26, 220 // layers)))
    figure.update_layout(showlegend=False, hovermode="closest", margin={"l": 40, "r": 8, "t": 8, "b": 46})
    figure.update_xaxes(
        title={"text": "neuron", "standoff": 6}, range=[-0.5, neurons - 0.5], tickformat=",d", nticks=6,
        showgrid=False, zeroline=False, fixedrange=True, ticks="outside", tickcolor="var(--rule)",
    )  # fmt: skip
    figure.update_yaxes(
        title={"text": "layer", "standoff": 4}, range=[-0.5, layers - 0.5], dtick=1 if layers <= 12 else 4,
        showgrid=False, zeroline=False, fixedrange=True,
    )  # fmt: skip
    return figure


def before_and_after(names: Sequence[str], rows: Sequence[Sequence[float]], largest: float) -> go.Figure:
    """A query's own neurons, a column each: untouched above, and below with its synapses suppressed."""
    states = ("untouched", "suppressed")
    cells = np.array(rows, dtype=np.float64)
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(names))),
            y=[0, 1],
            z=signed_root(cells, largest),
            zmin=-1,
            zmax=1,
            colorscale=_COLOURS,
            showscale=False,
            text=[
                [f"{name}, {state}<br>activation {score(value)}" for name, value in zip(names, row, strict=True)]
                for state, row in zip(states, cells.tolist(), strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    dress(figure, height=140)
    figure.update_layout(margin={"l": 78, "r": 8, "t": 4, "b": 62})
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=list(names), tickangle=-90, tickfont={"size": 10},
        showgrid=False, zeroline=False, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        range=[1.5, -0.5], tickvals=[0, 1], ticktext=list(states), showgrid=False, zeroline=False, fixedrange=True
    )
    return figure


def strongest(values: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Of every `width` neurons of each layer, the one farthest from zero [layer, cell]."""
    layers, neurons = values.shape
    cells = -(-neurons // width)
    padded = np.full((layers, cells * width), -1.0)
    padded[:, :neurons] = np.nan_to_num(np.abs(values))
    best = padded.reshape(layers, cells, width).argmax(axis=2)
    return np.asarray(best + width * np.arange(cells), dtype=np.int64)


def signed_root(values: NDArray[np.float64], largest: float) -> list[list[float | None]]:
    """Colours: the square root keeps weak neurons visible beside the few that are strong; zero is the middle."""
    scaled = np.sign(values) * np.sqrt(np.abs(values) / (largest or 1.0))
    return [[round(float(one), 4) if np.isfinite(one) else None for one in row] for row in scaled]
