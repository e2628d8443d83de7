"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

import polars as pl

from locant.reports.blocks import some
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
from locant.reports.means import mean
from locant.reports.numbers import count, portion
from locant.reports.paper import Paper


def _about(run: Run) -> list[tuple[str, str]]:
    table, judged = run["facts"], run["answers"].filter(pl.col("part") == "judge")
    right = mean(judged.with_columns(pl.col("right").cast(pl.Float64)), "right")
    languages = ", ".join(run.languages) if len(run.languages) <= 8 else count(len(run.languages))
    return [
        ("languages", languages or "none"),
        ("facts", f"{count(len(table))} of {some(table['relation'].n_unique(), 'relation')}"),
        ("known in several languages", count(known.of_several(run))),
        ("answered right", portion(right) if right else "not measured"),
    ]


PAPER = Paper(
    name="MATRICE",
    package="locant.reports.matrice",
    read=read_run,
    headline=headline,
    about=_about,
    answers=answers,
    stages=(
        known.sections,
        agnostic.sections,
        uncertainty.sections,
        sharing.sections,
        verdicts.sections,
        editing.sections,
        teaching.sections,
        recovery.sections,
        stability.sections,
        pairs.sections,
        made.sections,
    ),
    made=made.recipe,
)
page_of, answers_of = PAPER.page_of, PAPER.answers_of
