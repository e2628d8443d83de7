"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

import polars as pl

from locant.reports.blocks import some
from locant.reports.means import mean
from locant.reports.numbers import count, portion
from locant.reports.paper import Paper
from locant.reports.query_localization import activations, consistency, editing, made, mapping, synapses
from locant.reports.query_localization.blocks import chooser, name_of
from locant.reports.query_localization.finding import answers, headline
from locant.reports.query_localization.run import Run, read_run


def _about(run: Run) -> list[tuple[str, str]]:
    known, queries = run["facts"], run["queries"]
    first = mean(queries.with_columns((pl.col("rank") == 1).cast(pl.Float64).alias("first")), "first")
    return [
        ("facts", f"{count(len(known))} of {some(known['relation'].n_unique(), 'relation')}"),
        ("queries", count(len(queries))),
        ("localizers", ", ".join(map(name_of, run.localizers)) or "none"),
        ("answer is first choice in", portion(first) if first else "not measured"),
    ]


PAPER = Paper(
    name="Query localization",
    package="locant.reports.query_localization",
    read=read_run,
    headline=headline,
    about=_about,
    answers=answers,
    stages=(
        consistency.sections,
        activations.sections,
        mapping.sections,
        synapses.sections,
        editing.sections,
        made.sections,
    ),
    made=made.recipe,
    chooser=lambda run: chooser(run.localizers),
)
page_of, answers_of = PAPER.page_of, PAPER.answers_of
