"""What figures of every page share: their dress, and bars of relative changes.

Colours are CSS variables; theme.js puts in the values of the reader's theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from locant.reports.numbers import RATIO_FROM, change
from locant.reports.text import plotly
from locant.types import Interval

FONT = {
    "family": "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif",
    "size": 12,
    "color": "var(--ink)",
}
_ROW = 54


@dataclass(frozen=True)
class Bar:
    """One relative change, with the text above its bar and the text that appears when it is pointed at.

    Attributes:
        label, hover: as Plotly reads text: escaped where it comes from data.
        colour: a CSS variable.
    """

    label: str
    change: Interval
    colour: str
    hover: str


def change_bars(
    bars: Sequence[Bar], *, down: bool, beside: Sequence[Bar] = (), row: int = _ROW, quantity: str = "P(answer)"
) -> go.Figure:
    """Relative changes, a bar each, with the interval of each mean as whiskers.

    Args:
        down: whether the axis reaches to a loss of everything.
        beside: bars of a neighbouring figure, so that both have one scale.
        row: height of a bar with its label, in pixels.
        quantity: what changed, for the axis.
    """
    figure, labels = go.Figure(), []
    ends = ends_of(bar.change for bar in [*bars, *beside])
    # In ratios a bar starts at ×1, where nothing has changed
    start = 1.0 if any(abs(end) >= RATIO_FROM for end in ends) else 0.0
    for place, bar in enumerate(bars):
        figure.add_bar(
            x=[bar.change.mean if math.isfinite(bar.change.mean) else None],
            y=[place + 0.2],
            base=[start],
            width=0.36,
            orientation="h",
            marker={"color": bar.colour, "line": {"width": 0}},
            error_x=whiskers(bar.change),
            hovertext=[bar.hover],
            hoverinfo="text",
        )
        labels += [
            row_label(place - 0.16, bar.label),
            row_label(place - 0.16, f"<b>{change(bar.change)}</b>", side="right"),
        ]
    figure.update_layout(annotations=labels)
    dress(figure, height=row * len(bars) + 52)
    change_axis(figure, ends, start, down, quantity)
    figure.update_layout(showlegend=False, bargap=0)
    figure.update_yaxes(range=[len(bars) - 0.4, -0.4], visible=False, fixedrange=True)
    return figure


def whiskers(interval: Interval) -> dict[str, object] | None:
    """The interval of a mean, from its mark; none where only one thing was measured."""
    known = interval.n > 1 and all(map(math.isfinite, (interval.mean, interval.low, interval.high)))
    if not known:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, interval.high - interval.mean)],
        "arrayminus": [max(0.0, interval.mean - interval.low)],
        "color": "var(--ink)",
        "thickness": 1.3,
        "width": 4,
    }


def row_label(y: float, text: str, side: str = "left") -> dict[str, object]:
    """An annotation: text at one side of a figure, above a row's mark.

    A figure takes all of them at once: each that is added alone has Plotly check all that are there.
    """
    return {
        "text": text,
        "x": 0.0 if side == "left" else 1.0,
        "xref": "paper",
        "xanchor": side,
        "y": y,
        "showarrow": False,
        "align": side,
        "borderpad": 0,
        "bgcolor": "var(--paper)",
    }


def dress(figure: go.Figure, height: int) -> None:
    """Font, colours and margins, for a figure of this height in pixels."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 0, "r": 14, "t": 4, "b": 46},
        font=FONT,
        paper_bgcolor="var(--paper)",
        plot_bgcolor="var(--paper)",
        hoverlabel={"bgcolor": "var(--raised)", "bordercolor": "var(--rule)", "font": FONT, "align": "left"},
    )


def upright(figure: go.Figure, lines: Mapping[str, tuple[float, str]], top: int) -> None:
    """Upright lines, each label on a line of its own above the figure, at the side where there is room."""
    for place, (label, (x, dash)) in enumerate(lines.items()):
        if not math.isfinite(x):
            continue
        figure.add_vline(x=x, line={"color": "var(--ink)", "width": 1.2, "dash": dash})
        right = x < 0.6
        figure.add_annotation(
            text=label,
            x=x,
            xanchor="left" if right else "right",
            xshift=-1 if right else 1,
            y=1,
            yref="paper",
            yanchor="bottom",
            yshift=top - 18 * (place + 1),
            showarrow=False,
            font={"color": "var(--muted)", "size": 11},
        )


def ends_of(changes: Iterable[Interval]) -> list[float]:
    """Means and both ends of their intervals, where they are numbers."""
    ends = [end for one in changes for end in (one.mean, one.low, one.high)]
    return [end for end in ends if math.isfinite(end)]


def change_axis(figure: go.Figure, known: list[float], start: float, down: bool, quantity: str) -> None:
    """The x axis: never so short that a trifle looks like an effect."""
    if start:
        low, high = 0.0, 1.05 * (1 + max(known))
        short = "P" if quantity == "P(answer)" else quantity
        figure.update_xaxes(
            tickprefix="×", tickformat="~s", title_text=f"{short} after, as a multiple of {short} before"
        )
    else:
        least = -1.1 if down else -0.25
        low, high = min([1.05 * end for end in known] + [least]), max([1.05 * end for end in known] + [0.25])
        figure.update_xaxes(tickformat=".0%", title_text=f"relative change of {quantity}")
    figure.update_xaxes(
        range=[low, high],
        fixedrange=True,
        nticks=6,
        gridcolor="var(--rule)",
        zeroline=False,
        title_standoff=8,
    )
    figure.add_vline(x=start, line={"color": "var(--muted)", "width": 1})


def cut(name: str, most: int) -> str:
    """A name with so many characters at most, as Plotly reads text."""
    return plotly(name if len(name) <= most else name[: most - 1] + "…")


def finite(values: Sequence[float]) -> list[float | None]:
    """To five digits, which is more than a screen shows; None where there is no number."""
    return [round(value, 5) if math.isfinite(value) else None for value in values]
