"""The page of a recipe's runs: what a run says first, then a finding at a time, then how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Generic, TypeVar

from locant.reports.answers import Answer, answer_list
from locant.reports.blocks import Chooser, Section, contents, facts
from locant.reports.runs import FinishedRun
from locant.reports.shell import fill, plain, read, shell
from locant.reports.text import escape

R = TypeVar("R", bound=FinishedRun)


def one_view(run: FinishedRun) -> Chooser:
    """For a page whose sections have one view each: no buttons."""
    return Chooser("View", "", {})


@dataclass(frozen=True)
class Paper(Generic[R]):
    """How runs of a recipe become pages.

    Attributes:
        name: of the recipe, before the model's in the title.
        package: that has page.html as a template, and perhaps a page.css of the page's own.
        read: a run from its folder; raises BadFile.
        headline: what it says in one sentence; as text.
        about: of what it is, behind its model and data: names and values; as text.
        answers: to the paper's questions.
        stages: the findings, in their order.
        made: the parts of "How this was made", as HTML by the template's names without `made_`.
        chooser: the buttons between the views of sections that have several.
        beside: scripts and styles of other packages that the page needs too: (name of the file, package).
    """

    name: str
    package: str
    read: Callable[[Path], R]
    headline: Callable[[R], str]
    about: Callable[[R], Sequence[tuple[str, str]]]
    answers: Callable[[R], list[Answer]]
    stages: Sequence[Callable[[R], Iterator[Section]]]
    made: Callable[[R], Mapping[str, str]]
    chooser: Callable[[R], Chooser] = one_view
    beside: Sequence[tuple[str, str]] = ()

    def page_of(self, folder: Path) -> str:
        """The page of a finished run, as HTML text; equal runs give equal bytes.

        Args:
            folder: with manifest.json and tables/.

        Raises:
            BadFile: there is no such run, it is not complete, or a table lacks a column; in one sentence.
        """
        run = self.read(folder)
        sections = [section for stage in self.stages for section in stage(run)]
        figures = {name: figure for section in sections for name, figure in section.figures.items()}
        return shell(
            f"{self.name}: {run.manifest.get('model', '')}",
            self._content(run, sections),
            {"figure-data": plain(figures)},
            script=read("theme.js") + read("views.js") + self._beside(".js"),
            style=read("page.css") + read("views.css") + self._style(),
        )

    def answers_of(self, folder: Path) -> list[Answer]:
        """What a finished run says to each of the paper's questions.

        Raises:
            BadFile: as `page_of` does.
        """
        return self.answers(self.read(folder))

    def _content(self, run: R, sections: Sequence[Section]) -> str:
        of = [("model", run.says("model")), ("data", run.says("source")), *self.about(run)]
        buttons = self.chooser(run)
        return fill(
            "page.html",
            self.package,
            headline=escape(self.headline(run)),
            about=facts(of),
            answers=answer_list(self.answers(run)),
            contents=contents(sections),
            sections="\n\n".join(section.html(buttons) for section in sections),
            **{f"made_{name}": part for name, part in self.made(run).items()},
        )

    def _style(self) -> str:
        own = (files(self.package) / "page.css").is_file()
        return self._beside(".css") + (read("page.css", self.package) if own else "")

    def _beside(self, ending: str) -> str:
        return "".join(read(name, package) for name, package in self.beside if name.endswith(ending))
