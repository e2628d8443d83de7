"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from locant.reports.answers import Answer, answer_list
from locant.reports.blocks import contents, facts, some
from locant.reports.numbers import count, portion
from locant.reports.query_localization import activations, consistency, editing, made, mapping, synapses
from locant.reports.query_localization.blocks import chooser, name_of
from locant.reports.query_localization.finding import answers, headline
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
    buttons = chooser(found.localizers)
    content = fill(
        "page.html",
        _HERE,
        headline=escape(headline(found)),
        about=facts(_about(found)),
        answers=answer_list(answers(found)),
        contents=contents(sections),
        sections="\n\n".join(section.html(buttons) for section in sections),
        **{f"made_{name}": part for name, part in made.recipe(found).items()},
    )
    return shell(
        f"Query localization: {found.manifest.get('model', '')}",
        content,
        {"figure-data": plain(figures)},
        script=read("theme.js") + read("views.js"),
        style=read("page.css") + read("views.css"),
    )


def answers_of(run: Path) -> list[Answer]:
    """What a finished run says to each of the paper's questions.

    Raises:
        BadFile: as `page_of` does.
    """
    return answers(read_run(run))


def _about(run: Run) -> list[tuple[str, str]]:
    known, queries = run["facts"], run["queries"]
    first = mean(queries.with_columns((pl.col("rank") == 1).cast(pl.Float64).alias("first")), "first")
    return [
        ("model", str(run.manifest.get("model", "not recorded"))),
        ("data", str(run.manifest.get("source", "not recorded"))),
        ("facts", f"{count(len(known))} of {some(known['relation'].n_unique(), 'relation')}"),
        ("queries", count(len(queries))),
        ("localizers", ", ".join(map(name_of, run.localizers)) or "none"),
        ("answer is first choice in", portion(first) if first else "not measured"),
    ]
