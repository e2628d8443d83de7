"""The attribution grid: every score travels in the page, so that the reader can zoom down to one neuron."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from locant.recipes.ask import Asked
from locant.reports.drawing import dress
from locant.reports.numbers import count, score
from locant.reports.text import plotly, visible

STEPS = 32767
MISSING = -32768
"""Stands for a score that is not a number."""


@dataclass(frozen=True)
class PackedGrid:
    """Scores in steps of `step`, as base64 of little-endian 16-bit integers, layer by layer."""

    layers: int
    neurons: int
    step: float
    data: str


def pack(scores: Float[Tensor, "layer neuron"]) -> PackedGrid:
    """Round scores to 1/32767 of the largest magnitude; the error is at most half a step."""
    values = scores.detach().cpu().double().numpy()
    known = np.isfinite(values)
    largest = float(np.abs(values[known]).max(initial=0.0))
    step = largest / STEPS if largest else 1.0
    whole = np.where(known, np.rint(np.where(known, values, 0.0) / step), MISSING).astype("<i2")
    layers, neurons = scores.shape
    return PackedGrid(layers, neurons, step, base64.b64encode(whole.tobytes()).decode())


def unpack(grid: PackedGrid) -> Float[Tensor, "layer neuron"]:
    """The scores again, NaN where they were not finite."""
    whole = np.frombuffer(base64.b64decode(grid.data), dtype="<i2").reshape(grid.layers, grid.neurons)
    return torch.from_numpy(np.where(whole == MISSING, np.nan, whole * grid.step))


def heat_map(asked: Asked) -> go.Figure:
    """Axes, colours and the rings of the located neurons; page.js fills the cells in at each zoom."""
    layers, neurons = asked.selection.grid
    # The square root keeps weak neurons visible beside the few that matter; zero is the middle
    cells = go.Heatmap(
        zmin=-1,
        zmax=1,
        colorscale=[[0, "var(--negative)"], [0.5, "var(--zero)"], [1, "var(--positive)"]],
        showscale=False,
        hoverinfo="text",
        ygap=1,
    )
    figure = go.Figure([cells, _rings(asked)])
    dress(figure, height=110 + layers * _row_height(layers))
    figure.update_layout(margin={"l": 44, "r": 10, "t": 10, "b": 48}, showlegend=False, hovermode="closest")
    figure.update_xaxes(
        title={"text": "neuron", "standoff": 8},
        range=[-0.5, neurons - 0.5],
        minallowed=-0.5,
        maxallowed=neurons - 0.5,
        tickformat=",d",
        nticks=9,
        showgrid=False,
        zeroline=False,
        ticks="outside",
        tickcolor="var(--rule)",
    )
    figure.update_yaxes(
        title={"text": "layer", "standoff": 6},
        range=[-0.5, layers - 0.5],
        fixedrange=True,
        dtick=1 if layers <= 16 else 4,
        showgrid=False,
        zeroline=False,
    )
    return figure


def _rings(asked: Asked) -> go.Scatter:
    units = asked.selection.units.tolist()
    return go.Scatter(
        x=[neuron for _, neuron in units],
        y=[layer for layer, _ in units],
        mode="markers",
        cliponaxis=False,
        marker={
            "symbol": "circle-open",
            "size": 9,
            "color": "var(--ink)",
            "line": {"width": 1.4, "color": "var(--ink)"},
        },
        hoverinfo="text",
        hovertext=[
            f"<b>located</b>: layer {layer}, neuron {count(neuron)}<br>score {score(weight)}"
            f"<br>promotes {_some(words.promoted)}<br>demotes {_some(words.demoted)}"
            for (layer, neuron), weight, words in zip(units, _scores(asked), asked.words, strict=True)
        ],
    )


def _scores(asked: Asked) -> list[float]:
    units = asked.selection.units
    return [float(value) for value in asked.attribution.scores[0][units[:, 0], units[:, 1]]]


def _some(tokens: tuple[str, ...]) -> str:
    return plotly(", ".join(map(visible, tokens[:4]))) or "nothing"


def _row_height(layers: int) -> int:
    """Pixels: tall rows for few layers, never less than a ring's size for many."""
    return max(11, min(40, 330 // layers))
