"""Where the answer rises: the residual stream read through the unembedding, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from locant.recipes.traced import LayerCurve, Standing, Traced
from locant.reports.blocks import Block, as_table, caption, panels, plot
from locant.reports.drawing import cut, dress, finite
from locant.reports.numbers import count, probability
from locant.reports.text import plotly

_LONGEST = 22
_TICKS = 9


def layers_block(traced: Traced, curve: LayerCurve) -> Block:
    """The rank and the probability of the answer, and of the subject, along the residual stream."""
    lines = [(traced.query.answer, curve.answer, "located")]
    if curve.subject:
        lines.append((traced.query.fact.subject or "subject", curve.subject, "unrelated"))
    figures = {
        "layer-rank": _figure(curve, lines, lambda one: one.rank, rank=True),
        "layer-probability": _figure(curve, lines, lambda one: one.probability, rank=False),
    }
    body = panels(
        [
            ("Rank", plot("layer-rank", "Lines of ranks by layer; the table below has the same numbers")),
            ("Probability", plot("layer-probability", "Lines of probabilities by layer; see the table below")),
        ]
    )
    return Block(_heading(traced, curve), body + caption(_said(traced, curve)) + _table(curve, lines), figures)


def _heading(traced: Traced, curve: LayerCurve) -> str:
    """Since when the answer is first, for good."""
    answer = f"“{traced.query.answer}”"
    if curve.answer[-1].rank != 1:
        return f"The residual stream never says {answer} first for good"
    last = max((at for at, one in enumerate(curve.answer) if one.rank != 1), default=-1)
    return f"The residual stream says {answer} first from {curve.points[last + 1].removeprefix('after ')} on"


def _figure(
    curve: LayerCurve,
    lines: Sequence[tuple[str, Sequence[Standing], str]],
    value: Callable[[Standing], float],
    *,
    rank: bool,
) -> go.Figure:
    figure = go.Figure()
    for name, standings, colour in lines:
        figure.add_scatter(
            x=list(range(len(standings))),
            y=finite([value(one) for one in standings]),
            mode="lines+markers+text",
            text=[""] * (len(standings) - 1) + [cut(name, _LONGEST)],
            textposition="middle right",
            textfont={"color": f"var(--{colour})"},
            cliponaxis=False,
            line={"width": 2, "color": f"var(--{colour})"},
            marker={"size": 5, "color": f"var(--{colour})"},
            hovertext=[
                f"<b>{cut(name, _LONGEST)}</b>, {plotly(point)}<br>rank {count(one.rank)}<br>"
                f"{probability(one.probability)}"
                for point, one in zip(curve.points, standings, strict=True)
            ],
            hoverinfo="text",
        )
    dress(figure, height=280)
    longest = min(_LONGEST, max(len(name) for name, _, _ in lines))
    figure.update_layout(margin={"l": 48, "r": 14 + 6.6 * longest, "t": 10, "b": 56}, showlegend=False)
    every = max(1, -(-len(curve.points) // _TICKS))
    shown = range(0, len(curve.points), every)
    figure.update_xaxes(
        tickvals=list(shown), ticktext=[plotly(curve.points[at].removeprefix("after ")) for at in shown],
        title={"text": "read after", "standoff": 8}, showgrid=False, zeroline=False, fixedrange=True,
        ticks="outside", tickcolor="var(--rule)",
    )  # fmt: skip
    figure.update_yaxes(gridcolor="var(--rule)", zeroline=False, fixedrange=True)
    if rank:
        figure.update_yaxes(type="log", autorange="reversed", dtick=1, tickformat=",d")
    else:
        figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", nticks=6)
    return figure


def _table(curve: LayerCurve, lines: Sequence[tuple[str, Sequence[Standing], str]]) -> str:
    head = ["read after", *(f"{what} of {name}" for name, _, _ in lines for what in ("rank", "P"))]
    rows = [
        [point, *(cell for _, one, _ in lines for cell in (count(one[at].rank), probability(one[at].probability)))]
        for at, point in enumerate(curve.points)
    ]
    return as_table(head, rows)


def _said(traced: Traced, curve: LayerCurve) -> str:
    subject = " Blue: whichever of the subject’s tokens stands highest." if curve.subject else ""
    return (
        "The residual stream where the answer is predicted, read as if the model ended there: rank (1 is the most "
        f"probable, above; the scale is logarithmic) and probability of the answer’s first token.{subject} "
        f"Reading: {curve.reading}. a3 are the heads of layer 3, m3 is its MLP. One prompt, no interval; the last "
        "point is what the model says."
    )
