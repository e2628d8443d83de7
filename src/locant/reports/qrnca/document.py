"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from pathlib import Path

from locant.reports.answers import Answer, answer_list
from locant.reports.blocks import Chooser, contents, facts
from locant.reports.numbers import count, portion
from locant.reports.qrnca import change, editing, letters, made, neurons, places, prediction
from locant.reports.qrnca.finding import answers, headline
from locant.reports.qrnca.names import EVALUATED, upper
from locant.reports.qrnca.run import Run, read_run
from locant.reports.shell import fill, plain, read, shell
from locant.reports.text import escape

_HERE = "locant.reports.qrnca"


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
        for stage in (letters, change, editing, prediction, neurons, places, made)
        for section in stage.sections(found)
    ]
    figures = {name: figure for section in sections for name, figure in section.figures.items()}
    buttons = _chooser(found)
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
        f"QRNCA: {found.manifest.get('model', '')}",
        content,
        {"figure-data": plain(figures)},
        script=read("theme.js") + read("views.js"),
        style=read("page.css") + read("views.css") + read("page.css", _HERE),
    )


def answers_of(run: Path) -> list[Answer]:
    """What a finished run says to each of the paper's questions.

    Raises:
        BadFile: as `page_of` does.
    """
    return answers(read_run(run))


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
        ("model", str(run.manifest.get("model", "not recorded"))),
        ("data", str(run.manifest.get("source", "not recorded"))),
        ("questions", count(questions)),
        ("facts", count(run["prompts"]["fact"].n_unique())),
        ("groups", count(len(run.groups))),
        ("prompts", count(len(run["prompts"]))),
        ("answered right", portion(right) if right else "not measured"),
        ("letter mass", portion(mass) if mass else "not measured"),
    ]
