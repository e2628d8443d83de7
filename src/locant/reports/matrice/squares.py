"""Heat maps with their values written in the cells: languages against languages, and sets against layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go

from locant.reports.drawing import dress
from locant.reports.numbers import change, portion
from locant.reports.text import plotly
from locant.types import Interval

MANY = 9
"""Languages from which a square takes the whole width, and its cells are smaller."""
STRONG = 0.7
"""Part of the strongest colour from which a cell is dark on a light page, and light on a dark one."""
_CHANGES = [[0, "var(--negative)"], [0.5, "var(--zero)"], [1, "var(--positive)"]]
_SHARES = [[0, "var(--zero)"], [1, "var(--positive)"]]
Cells = Mapping[tuple[str, str], Interval]
"""By source and language, what was measured."""


def square(cells: Cells, sources: Sequence[str], languages: Sequence[str], side: str, *, share: bool) -> go.Figure:
    """Languages in which something was made, downward, against those in which it is read, rightward; in percent.

    Framed cells are read in the language itself. Colours end at 100%.

    Args:
        side: what was done in a source, as the title of its axis.
        share: whether values are shares from 0 to 1, and not changes to both sides.
    """
    rows = [[cells.get((source, language)) for language in languages] for source in sources]
    small = len(languages) > MANY
    figure = go.Figure(
        go.Heatmap(
            x=list(range(len(languages))),
            y=list(range(len(sources))),
            z=[[_number(cell) for cell in row] for row in rows],
            zmin=0 if share else -1,
            zmax=1,
            colorscale=_SHARES if share else _CHANGES,
            showscale=False,
            xgap=1.5,
            ygap=1.5,
            hovertext=[
                [
                    _hover(cell, f"{side} {source}, read in {language}", portion if share else change)
                    for cell, language in zip(row, languages, strict=True)
                ]
                for row, source in zip(rows, sources, strict=True)
            ],
            hoverinfo="text",
        )
    )
    values = {(x, y): _number(cell) for y, row in enumerate(rows) for x, cell in enumerate(row)}
    _write(figure, values, {place: _percent(value) for place, value in values.items()}, 10.5 if small else 13)
    cell = max(32, min(64, 340 // len(languages)))
    dress(figure, height=cell * len(sources) + 66)
    figure.update_layout(margin={"l": 62, "r": 6, "t": 52, "b": 14}, shapes=_frames(sources, languages))
    figure.update_xaxes(
        range=[-0.5, len(languages) - 0.5], tickvals=list(range(len(languages))), side="top",
        ticktext=[plotly(one) for one in languages], title={"text": "read in", "standoff": 6},
        constrain="domain", constraintoward="left", showgrid=False, zeroline=False, fixedrange=True,
        ticks="", tickangle=0,
    )  # fmt: skip
    figure.update_yaxes(
        range=[len(sources) - 0.5, -0.5], tickvals=list(range(len(sources))),
        ticktext=[plotly(one) for one in sources], title={"text": side, "standoff": 6}, scaleanchor="x",
        ticklabelstandoff=5, constrain="domain", constraintoward="top", showgrid=False,
        zeroline=False, fixedrange=True, ticks="",
    )  # fmt: skip
    return figure


def wide(languages: int) -> str:
    """The class of a square's element: of many languages it keeps its width, and a narrow screen scrolls."""
    return "many" if languages > MANY else "some"


def sheet(values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[int], axis: str) -> go.Figure:
    """Counts by row and column; written in the cells where columns are few."""
    most = max((value for row in values for value in row), default=0.0) or 1.0
    few = len(columns) <= 16
    figure = go.Figure(
        go.Heatmap(
            x=list(columns),
            y=list(range(len(rows))),
            z=[list(row) for row in values],
            zmin=0,
            zmax=most,
            colorscale=_SHARES,
            showscale=False,
            xgap=1.5,
            ygap=1.5,
            hovertext=[
                [
                    f"{plotly(name)}<br>{axis} {column}: {value:.2f} neurons"
                    for column, value in zip(columns, row, strict=True)
                ]
                for name, row in zip(rows, values, strict=True)
            ],
            hoverinfo="text",
        )
    )
    if few:
        written = {(columns[x], y): value for y, row in enumerate(values) for x, value in enumerate(row)}
        parts = {place: value / most for place, value in written.items()}
        _write(figure, parts, {place: _short(value) for place, value in written.items()}, 11)
    longest = max(map(len, rows), default=0)
    dress(figure, height=30 * len(rows) + 60)
    figure.update_layout(margin={"l": 14 + 6.6 * longest, "r": 8, "t": 6, "b": 46})
    figure.update_xaxes(
        title={"text": axis, "standoff": 8},
        dtick=1 if few else 4,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        ticks="",
    )
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5], tickvals=list(range(len(rows))), ticktext=[plotly(name) for name in rows],
        showgrid=False, zeroline=False, fixedrange=True, ticks="",
    )  # fmt: skip
    return figure


def _frames(sources: Sequence[str], languages: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "type": "rect", "x0": languages.index(source) - 0.47, "x1": languages.index(source) + 0.47,
            "y0": place - 0.47, "y1": place + 0.47, "line": {"color": "var(--ink)", "width": 1.6},
        }
        for place, source in enumerate(sources)
        if source in languages
    ]  # fmt: skip


def _number(cell: Interval | None) -> float | None:
    return round(cell.mean, 5) if cell is not None and math.isfinite(cell.mean) else None


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    return "0" if abs(value) < 0.005 else f"{100 * value:.0f}".replace("-", "−")


def _write(
    figure: go.Figure,
    parts: Mapping[tuple[int, int], float | None],
    texts: Mapping[tuple[int, int], str],
    size: float,
) -> None:
    """Texts in cells, in the page's ink on pale ones and in its paper on strong ones, whichever theme it has.

    Args:
        parts: of the strongest colour, by (x, y).
    """
    for colour, strong in (("var(--ink)", False), ("var(--paper)", True)):
        places = [at for at, part in parts.items() if texts[at] and (abs(part or 0.0) >= STRONG) == strong]
        figure.add_scatter(
            x=[x for x, _ in places], y=[y for _, y in places], mode="text", text=[texts[at] for at in places],
            textfont={"size": size, "color": colour}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip


def _hover(cell: Interval | None, place: str, said: Callable[[Interval], str]) -> str:
    return f"{plotly(place)}<br>{f'{said(cell)}<br>n = {cell.n} facts' if cell is not None else 'not measured'}"


def _short(value: float) -> str:
    return "" if not math.isfinite(value) or value < 0.05 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
