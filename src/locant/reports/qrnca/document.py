"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from locant.reports.blocks import Chooser
from locant.reports.numbers import count, portion
from locant.reports.paper import Paper
from locant.reports.qrnca import change, editing, letters, made, neurons, places, prediction
from locant.reports.qrnca.finding import answers, headline
from locant.reports.qrnca.names import EVALUATED
from locant.reports.qrnca.run import Run, read_run
from locant.reports.text import upper


def _chooser(run: Run) -> Chooser:
    names = {
        change.key_of(run, name): upper(EVALUATED.get(name, name).removeprefix("on "))
        for name in change.evaluations(run)
    }
    return Chooser("Evaluation", "judged by", names)


def _about(run: Run) -> list[tuple[str, str]]:
    right, mass = letters.right_of(run["prompts"]), letters.mass_of(run["prompts"])
    questions = len(run["questions"]) or run["prompts"]["question"].n_unique()
    return [
        ("questions", count(questions)),
        ("facts", count(run["prompts"]["fact"].n_unique())),
        ("groups", count(len(run.groups))),
        ("prompts", count(len(run["prompts"]))),
        ("answered right", portion(right) if right else "not measured"),
        ("letter mass", portion(mass) if mass else "not measured"),
    ]


PAPER = Paper(
    name="QRNCA",
    package="locant.reports.qrnca",
    read=read_run,
    headline=headline,
    about=_about,
    answers=answers,
    stages=(
        letters.sections,
        change.sections,
        editing.sections,
        prediction.sections,
        neurons.sections,
        places.sections,
        made.sections,
    ),
    made=made.recipe,
    chooser=_chooser,
)
page_of, answers_of = PAPER.page_of, PAPER.answers_of
