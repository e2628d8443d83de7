"""Which page a run's folder has: its recipe's."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from locant.errors import BadFile
from locant.reports import editing, knowledge_circuits, matrice, qrnca, query_localization
from locant.reports.answers import Answer
from locant.reports.runs import manifest_of


@runtime_checkable
class Report(Protocol):
    """How a recipe's run becomes a page, and what it answers; see `locant.reports.paper.Paper`."""

    def page_of(self, folder: Path) -> str: ...

    def answers_of(self, folder: Path) -> list[Answer]: ...


REPORTS: dict[str, Report] = {
    "query-localization": query_localization.PAPER,
    "qrnca": qrnca.PAPER,
    "matrice": matrice.PAPER,
    "editing": editing.PAPER,
    "knowledge-circuits": knowledge_circuits.PAPER,
}


def report_of(folder: Path) -> Report:
    """The report of the recipe that a folder holds a run of.

    Raises:
        BadFile: there is no run, or one of a recipe without such a page.
    """
    recipe = str(manifest_of(folder).get("recipe"))
    if recipe not in REPORTS:
        raise BadFile(f"{str(folder)!r} holds a run of {recipe!r}; pages are made anew of {', '.join(REPORTS)}")
    return REPORTS[recipe]
