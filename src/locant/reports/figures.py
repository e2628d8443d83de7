"""The bars: what touching the neurons changes, and where the credit lies."""

from __future__ import annotations

import plotly.graph_objects as go

from locant.recipes.ask import Asked
from locant.reports.drawing import Bar, change_bars, dress
from locant.reports.numbers import change, count, probability, share
from locant.types import Effect

_COLOURS = {
    ("located", "own"): "var(--located)",
    ("random, layer-matched", "own"): "var(--control)",
    ("random", "own"): "var(--control-2)",
    ("located", "unrelated"): "var(--unrelated)",
}
_WHO = {
    ("located", "own"): "Located neurons, this query",
    ("random, layer-matched", "own"): "Same layers, {n} random sets",
    ("random", "own"): "Any layer, {n} random sets",
    ("located", "unrelated"): "Located neurons, {n} other facts",
}


def effect_bars(effects: tuple[Effect, ...]) -> go.Figure:
    """One operation's relative changes, a bar for each of what was touched and what was asked."""
    bars = [
        Bar(_who(one), one.change, _COLOURS.get((one.touched, one.asked), "var(--control)"), _in_full(one))
        for one in effects
    ]
    return change_bars(bars, down=all(one.operation == "suppress" for one in effects))


def layer_bars(asked: Asked) -> go.Figure:
    """Each layer's share of the positive credit; above it, how many located neurons it holds."""
    located = {layer: len(units) for layer, units in asked.selection.by_layer().items()}
    layers = list(range(asked.selection.grid[0]))
    shares = [float(part) for part in asked.layer_share]
    figure = go.Figure(
        go.Bar(
            x=layers,
            y=shares,
            text=[count(located[layer]) if layer in located else "" for layer in layers],
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            constraintext="none",
            textfont={"size": 12 if len(layers) <= 24 else 10, "color": "var(--located-text)"},
            marker={"color": ["var(--located)" if layer in located else "var(--control-2)" for layer in layers]},
            hovertext=[
                f"layer {layer}: {share(part)} of the positive credit, located: {located.get(layer, 0)}"
                for layer, part in zip(layers, shares, strict=True)
            ],
            hoverinfo="text",
        )
    )
    dress(figure, height=260)
    figure.update_layout(bargap=0.25, margin={"l": 48, "r": 10, "t": 24, "b": 46})
    figure.update_xaxes(
        title={"text": "layer", "standoff": 8},
        dtick=1 if len(layers) <= 16 else 4,
        range=[-0.6, len(layers) - 0.4],
        fixedrange=True,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        tickformat=".0%",
        range=[0, 1.12 * max([*shares, 1e-9])],
        nticks=5,
        fixedrange=True,
        gridcolor="var(--rule)",
        zerolinecolor="var(--muted)",
    )
    return figure


def _who(effect: Effect) -> str:
    return _WHO.get((effect.touched, effect.asked), "Other neurons, n = {n}").format(n=count(effect.change.n))


def _in_full(effect: Effect) -> str:
    before, after = probability(effect.before), probability(effect.after)
    return f"{_who(effect)}<br>{change(effect.change)}<br>mean P {before} → {after}"
