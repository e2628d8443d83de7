"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from locant.reports.editing import adding, cases, chance, forcing, made, methods, places, spared, taken
from locant.reports.editing.finding import answers, headline
from locant.reports.editing.names import name_of
from locant.reports.editing.run import Run, read_run
from locant.reports.numbers import count
from locant.reports.paper import Paper


def _about(run: Run) -> list[tuple[str, str]]:
    relations = run["cases"]["relation"].n_unique()
    texts = run.manifest.get("texts")
    return [
        ("cases", count(len(run["cases"]))),
        ("relations", count(relations)),
        ("methods", ", ".join(map(name_of, run.methods)) or "none"),
        ("edited in turn", count(max(adding.edits(run), default=0))),
        ("running texts", count(texts) if isinstance(texts, int) else "not recorded"),
    ]


PAPER = Paper(
    name="Editing",
    package="locant.reports.editing",
    read=read_run,
    headline=headline,
    about=_about,
    answers=answers,
    stages=(
        methods.sections,
        taken.sections,
        spared.sections,
        taken.portability,
        forcing.sections,
        adding.sections,
        places.sections,
        chance.sections,
        cases.sections,
        made.sections,
    ),
    made=made.recipe,
)
page_of, answers_of = PAPER.page_of, PAPER.answers_of
