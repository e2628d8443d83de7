"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from locant.reports.answers import Answer, answer_list
from locant.reports.blocks import Chooser, contents, facts, some
from locant.reports.matrice import (
    agnostic,
    editing,
    known,
    made,
    pairs,
    recovery,
    sharing,
    stability,
    teaching,
    uncertainty,
    verdicts,
)
from locant.reports.matrice.finding import answers, headline
from locant.reports.matrice.run import Run, read_run
from locant.reports.numbers import count, portion
from locant.reports.query_localization.means import mean
from locant.reports.shell import fill, plain, read, shell
from locant.reports.text import escape

_HERE = "locant.reports.matrice"
_STAGES = (known, agnostic, uncertainty, sharing, verdicts, editing, teaching, recovery, stability, pairs, made)
_NO_CHOICE = Chooser("View", "", {})
"""Every section of this page has one view."""


def page_of(run: Path) -> str:
    """The page of a finished run, as HTML text; equal runs give equal bytes.

    Args:
        run: its folder, with manifest.json and tables/.

    Raises:
        BadFile: there is no such run, it is not complete, or a table lacks a column; in one sentence.
    """
    found = read_run(run)
    sections = [section for stage in _STAGES for section in stage.sections(found)]
    figures = {name: figure for section in sections for name, figure in section.figures.items()}
    content = fill(
        "page.html",
        _HERE,
        headline=escape(headline(found)),
        about=facts(_about(found)),
        answers=answer_list(answers(found)),
        contents=contents(sections),
        sections="\n\n".join(section.html(_NO_CHOICE) for section in sections),
        **{f"made_{name}": part for name, part in made.recipe(found).items()},
    )
    return shell(
        f"MATRICE: {found.manifest.get('model', '')}",
        content,
        {"figure-data": plain(figures)},
        script=read("theme.js") + read("views.js"),
        style=read("page.css") + read("views.css") + read("page.css", _HERE),
    )


def answers_of(run: Path) -> list[Answer]:
    """What a finished run says to each question.

    Raises:
        BadFile: as `page_of` does.
    """
    return answers(read_run(run))


def _about(run: Run) -> list[tuple[str, str]]:
    table, judged = run["facts"], run["answers"].filter(pl.col("part") == "judge")
    right = mean(judged.with_columns(pl.col("right").cast(pl.Float64)), "right")
    languages = ", ".join(run.languages) if len(run.languages) <= 8 else count(len(run.languages))
    return [
        ("model", str(run.manifest.get("model", "not recorded"))),
        ("data", str(run.manifest.get("source", "not recorded"))),
        ("languages", languages or "none"),
        ("facts", f"{count(len(table))} of {some(table['relation'].n_unique(), 'relation')}"),
        ("known in several languages", count(known.of_several(run))),
        ("answered right", portion(right) if right else "not measured"),
    ]
