"""The pieces a page is put together from: sections, panels, captions, tables; all text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

from locant.reports.numbers import count
from locant.reports.tables import table
from locant.reports.text import escape


@dataclass(frozen=True)
class Block:
    """One finding: a heading that states it, as text, what shows it, as HTML, and figures by their element's id."""

    heading: str
    body: str
    figures: Mapping[str, go.Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Chooser:
    """Buttons between views of a finding: for whom, the words before them, and each button's text by its key.

    Attributes:
        names: by keys that no other chooser of the page has: pressing one shows its view wherever there is one.
    """

    label: str
    lead: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """One finding, in views of which the page shows one at a time.

    Attributes:
        blocks: by the key of its chooser's button; by None if there is but one view.
    """

    name: str
    kicker: str
    blocks: Mapping[str | None, Block]

    @property
    def figures(self) -> dict[str, go.Figure]:
        return {name: figure for block in self.blocks.values() for name, figure in block.figures.items()}

    def html(self, chooser: Chooser) -> str:
        """The section with all its blocks, those after the first hidden, and buttons if there are several."""
        parts = []
        for place, (which, block) in enumerate(self.blocks.items()):
            shown = "" if which is None else f' data-view="{which}"{" hidden" if place else ""}'
            buttons = _buttons(chooser, list(self.blocks), which) if len(self.blocks) > 1 else ""
            parts.append(f"<div{shown}><h2>{escape(block.heading)}</h2>{buttons}{block.body}</div>")
        kicker = f'<p class="kicker">{escape(self.kicker)}</p>' if self.kicker else ""
        label = escape(self.kicker or self.name.replace("-", " "))
        return f'<section id="{self.name}" aria-label="{label}">{kicker}{"".join(parts)}</section>'


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
    cells = [[number_cell(cell) if at >= texts else escape(cell) for at, cell in enumerate(row)] for row in rows]
    numbers = range(texts, len(head))
    return f'<div class="scroll">{table([escape(name) for name in head], cells, numbers)}</div>'


def number_cell(text: str) -> str:
    """A number as HTML, its interval on a line of its own below it."""
    value, bracket, ends = text.partition("\u00a0[")
    return f'{escape(value)}<span class="ends">[{escape(ends)}</span>' if bracket else escape(text)


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


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """What a run is of: names and values, at the top of its page."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)


def contents(sections: Iterable[Section]) -> str:
    """Links to the sections that have a kicker, and to the method, which every page ends with."""
    links = [(section.name, section.kicker) for section in sections if section.kicker]
    return "".join(f'<a href="#{name}">{escape(kicker)}</a>' for name, kicker in [*links, ("made", "Method")])


def some(number: int, noun: str) -> str:
    """A number of things, by a noun whose plural has an s: `1 fact`, `72 facts`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _buttons(chooser: Chooser, known: Sequence[str | None], mine: str | None) -> str:
    buttons = "".join(
        f'<button type="button" data-choose="{which}" aria-pressed="{"true" if which == mine else "false"}">'
        f"{escape(chooser.names[which])}</button>"
        for which in known
        if which is not None
    )
    return (
        f'<div class="tools choose" role="group" aria-label="{escape(chooser.label)}">'
        f"<span>{escape(chooser.lead)}</span>{buttons}</div>"
    )
