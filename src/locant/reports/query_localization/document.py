"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from locant.reports.numbers import count, portion
from locant.reports.query_localization import activations, consistency, editing, made, mapping, synapses
from locant.reports.query_localization.blocks import Section, name_of
from locant.reports.query_localization.finding import UNSHOWN, YES, Answer, answers, headline
from locant.reports.query_localization.means import mean
from locant.reports.query_localization.run import Run, read_run
from locant.reports.shell import fill, plain, read, shell
from locant.reports.text import escape

_HERE = "locant.reports.query_localization"


def page_of(run: Path) -> str:
    """The page of a finished run, as HTML text; equal runs give equal bytes.

    Args:
        run: its folder, with manifest.json and tables/.

    Raises:
        BadFile: there is no such run, it is not complete, or a table lacks a column; in one sentence.
    """
    found = read_run(run)
    sections = [
        section
        for stage in (consistency, activations, mapping, synapses, editing, made)
        for section in stage.sections(found)
    ]
    figures = {name: figure for section in sections for name, figure in section.figures.items()}
    content = fill(
        "page.html",
        _HERE,
        headline=escape(headline(found)),
        about="".join(_pair(name, value) for name, value in _about(found)),
        answers="".join(map(_answer, answers(found))),
        contents=_contents(sections),
        sections="\n\n".join(section.html(found.localizers) for section in sections),
        **{f"made_{name}": part for name, part in made.recipe(found).items()},
    )
    return shell(
        f"Query localization: {found.manifest.get('model', '')}",
        content,
        {"figure-data": plain(figures)},
        script=read("theme.js") + read("page.js", _HERE),
        style=read("page.css") + read("page.css", _HERE),
    )


def answers_of(run: Path) -> list[Answer]:
    """What a finished run says to each of the paper's questions.

    Raises:
        BadFile: as `page_of` does.
    """
    return answers(read_run(run))


def _about(run: Run) -> list[tuple[str, str]]:
    facts, queries = run["facts"], run["queries"]
    first = mean(queries.with_columns((pl.col("rank") == 1).cast(pl.Float64).alias("first")), "first")
    return [
        ("model", str(run.manifest.get("model", "not recorded"))),
        ("data", str(run.manifest.get("source", "not recorded"))),
        ("facts", f"{count(len(facts))} of {_some(facts['relation'].n_unique(), 'relation')}"),
        ("queries", count(len(queries))),
        ("localizers", ", ".join(map(name_of, run.localizers)) or "none"),
        ("answer is first choice in", portion(first) if first else "not measured"),
    ]


def _pair(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _some(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _answer(answer: Answer) -> str:
    tone = " yes" if answer.short == YES else " open" if answer.short.startswith("Not") else ""
    label = "not shown: an interval includes zero" if answer.short == UNSHOWN else answer.short
    return (
        f'<div class="answer{tone}"><dt>{escape(answer.question)}</dt>'
        f'<dd><b title="{escape(label)}">{escape(answer.short)}</b><span>{escape(answer.text)}</span></dd></div>'
    )


def _contents(sections: list[Section]) -> str:
    links = [(section.name, section.kicker) for section in sections if section.kicker]
    links.append(("made", "Method"))
    return "".join(f'<a href="#{name}">{escape(kicker)}</a>' for name, kicker in links)
