"""Which page a run's folder has: its recipe's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from locant.errors import BadFile
from locant.reports.answers import Answer
from locant.reports.matrice import answers_of as answers_of_matrice
from locant.reports.matrice import page_of as page_of_matrice
from locant.reports.qrnca import answers_of as answers_of_qrnca
from locant.reports.qrnca import page_of as page_of_qrnca
from locant.reports.query_localization import answers_of, page_of
from locant.reports.runs import manifest_of


@dataclass(frozen=True)
class Report:
    """How a recipe's run becomes a page, and what it answers."""

    page_of: Callable[[Path], str]
    answers_of: Callable[[Path], Sequence[Answer]]


REPORTS = {
    "query-localization": Report(page_of, answers_of),
    "qrnca": Report(page_of_qrnca, answers_of_qrnca),
    "matrice": Report(page_of_matrice, answers_of_matrice),
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
