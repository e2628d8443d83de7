"""The bars: what touching the neurons changes, and where the credit lies.

Colours are CSS variables; page.js puts in the values of the reader's theme.
"""

from __future__ import annotations

import math

import plotly.graph_objects as go

from locant.recipes.ask import Asked
from locant.reports.numbers import RATIO_FROM, change, count, probability, share
from locant.types import Effect

FONT = {
    "family": "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif",
    "size": 12,
    "color": "var(--ink)",
}
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
_ROW = 54


def effect_bars(effects: tuple[Effect, ...]) -> go.Figure:
    """One operation's relative changes, a bar for each of what was touched and what was asked."""
    figure = go.Figure()
    # In ratios a bar starts at ×1, where nothing has changed
    start = 1.0 if _in_ratios(effects) else 0.0
    for row, one in enumerate(effects):
        interval = one.change
        known = interval.n > 1 and all(map(math.isfinite, (interval.mean, interval.low, interval.high)))
        figure.add_bar(
            x=[interval.mean if math.isfinite(interval.mean) else None],
            y=[row + 0.2],
            base=[start],
            width=0.36,
            orientation="h",
            marker={"color": _COLOURS.get((one.touched, one.asked), "var(--control)"), "line": {"width": 0}},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, interval.high - interval.mean)],
                "arrayminus": [max(0.0, interval.mean - interval.low)],
                "color": "var(--ink)",
                "thickness": 1.3,
                "width": 4,
            }
            if known
            else None,
            hovertext=[_in_full(one)],
            hoverinfo="text",
        )
        _label(figure, row, 0.0, "left", _who(one))
        _label(figure, row, 1.0, "right", f"<b>{change(interval)}</b>")
    _dress(figure, height=_ROW * len(effects) + 52)
    _change_axis(figure, effects, start)
    figure.update_layout(showlegend=False, bargap=0)
    figure.update_yaxes(range=[len(effects) - 0.4, -0.4], visible=False, fixedrange=True)
    return figure


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
    _dress(figure, height=260)
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


def _label(figure: go.Figure, row: int, x: float, side: str, text: str) -> None:
    figure.add_annotation(
        text=text,
        x=x,
        xref="paper",
        xanchor=side,
        y=row - 0.16,
        showarrow=False,
        align=side,
        borderpad=0,
        bgcolor="var(--paper)",
    )


def _in_ratios(effects: tuple[Effect, ...]) -> bool:
    ends = [end for one in effects for end in (one.change.mean, one.change.low, one.change.high)]
    return any(math.isfinite(end) and abs(end) >= RATIO_FROM for end in ends)


def _change_axis(figure: go.Figure, effects: tuple[Effect, ...], start: float) -> None:
    """The x axis: never so short that a trifle looks like an effect."""
    ends = [end for one in effects for end in (one.change.mean, one.change.low, one.change.high)]
    known = [end for end in ends if math.isfinite(end)]
    if start:
        low, high = 0.0, 1.05 * (1 + max(known))
        figure.update_xaxes(tickprefix="×", tickformat="~s", title_text="P after, as a multiple of P before")
    else:
        least = -1.1 if all(one.operation == "suppress" for one in effects) else -0.25
        low, high = min([1.05 * end for end in known] + [least]), max([1.05 * end for end in known] + [0.25])
        figure.update_xaxes(tickformat=".0%", title_text="relative change of P(answer)")
    figure.update_xaxes(
        range=[low, high],
        fixedrange=True,
        nticks=6,
        gridcolor="var(--rule)",
        zeroline=False,
        title_standoff=8,
    )
    figure.add_vline(x=start, line={"color": "var(--muted)", "width": 1})


def _dress(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 0, "r": 14, "t": 4, "b": 46},
        font=FONT,
        paper_bgcolor="var(--paper)",
        plot_bgcolor="var(--paper)",
        hoverlabel={"bgcolor": "var(--raised)", "bordercolor": "var(--rule)", "font": FONT, "align": "left"},
    )
