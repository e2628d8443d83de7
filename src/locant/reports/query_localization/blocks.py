"""The pieces a page is put together from: sections, panels, captions, tables; all text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

from locant.reports.tables import table
from locant.reports.text import escape

LOCALIZERS = {"dai": "Dai", "sig": "SIG", "amig": "AMIG"}
KINDS = ("consistent", "inconsistent")
OPERATIONS = {"suppress": "Suppressed", "enhance": "Enhanced", "erase": "Erased", "update": "Updated"}
DOING = {"erase": "erasing", "update": "updating"}


@dataclass(frozen=True)
class Block:
    """One finding: a heading that states it, as text, what shows it, as HTML, and figures by their element's id."""

    heading: str
    body: str
    figures: Mapping[str, go.Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One finding as each localizer gives it, of which the page shows one at a time.

    Attributes:
        blocks: by the localizer's place in the run; by None if the finding is not a localizer's.
    """

    name: str
    kicker: str
    blocks: Mapping[int | None, Block]

    @property
    def figures(self) -> dict[str, go.Figure]:
        return {name: figure for block in self.blocks.values() for name, figure in block.figures.items()}

    def html(self, localizers: Sequence[str]) -> str:
        """The section with all its blocks, those after the first hidden, and buttons if there are several."""
        parts = []
        for place, (which, block) in enumerate(self.blocks.items()):
            shown = "" if which is None else f' data-localizer="{which}"{" hidden" if place else ""}'
            chooser = _chooser(localizers, list(self.blocks), which) if len(self.blocks) > 1 else ""
            parts.append(f"<div{shown}><h2>{escape(block.heading)}</h2>{chooser}{block.body}</div>")
        kicker = f'<p class="kicker">{escape(self.kicker)}</p>' if self.kicker else ""
        label = escape(self.kicker or self.name.replace("-", " "))
        return f'<section id="{self.name}" aria-label="{label}">{kicker}{"".join(parts)}</section>'


def name_of(localizer: str) -> str:
    """A localizer as its paper calls it, for sentences; as text."""
    return LOCALIZERS.get(localizer, localizer)


def plot(uid: str, label: str) -> str:
    """The element that a figure is drawn in; its numbers are in a table for those who cannot see it."""
    return f'<div class="plot" id="{uid}" role="img" aria-label="{escape(label)}"></div>'


def panels(parts: Iterable[tuple[str, str]]) -> str:
    """Figures beside each other, where there is room, under their titles (text, HTML)."""
    inside = "".join(f'<div class="panel"><h3>{escape(title)}</h3>{body}</div>' for title, body in parts)
    return f'<div class="panels">{inside}</div>'


def caption(text: str) -> str:
    return f'<p class="caption">{escape(text)}</p>'


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table of texts; columns after the first `texts` are numbers, whose interval stands below them."""
    cells = [[_cell(cell) if at >= texts else escape(cell) for at, cell in enumerate(row)] for row in rows]
    numbers = range(texts, len(head))
    return f'<div class="scroll">{table([escape(name) for name in head], cells, numbers)}</div>'


def details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A figure's numbers, folded away below it."""
    return details("The same numbers as a table", grid(head, rows, texts))


def legend(marks: Iterable[tuple[str, str]]) -> str:
    """What colours stand for: (class of the mark, text)."""
    inside = "".join(f'<span><i class="mark {kind}"></i>{escape(text)}</span>' for kind, text in marks)
    return f'<p class="marks">{inside}</p>'


def absent(what: str, why: str) -> Block:
    """In the place of an experiment without rows."""
    return Block(what, note(why))


def _cell(text: str) -> str:
    value, bracket, ends = text.partition("\u00a0[")
    return f'{escape(value)}<span class="ends">[{escape(ends)}</span>' if bracket else escape(text)


def _chooser(localizers: Sequence[str], known: Sequence[int | None], mine: int | None) -> str:
    buttons = "".join(
        f'<button type="button" data-choose="{which}" aria-pressed="{"true" if which == mine else "false"}">'
        f"{escape(name_of(localizers[which]))}</button>"
        for which in known
        if which is not None
    )
    return f'<div class="tools choose" role="group" aria-label="Localizer"><span>located by</span>{buttons}</div>'
