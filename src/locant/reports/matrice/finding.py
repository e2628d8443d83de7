"""What the run says, question by question; no answer says more than its controls allow."""

from __future__ import annotations

from locant.reports.answers import Answer
from locant.reports.matrice import agnostic, editing, recovery, sharing, stability, teaching, uncertainty, verdicts
from locant.reports.matrice.means import of_set
from locant.reports.matrice.names import MATRICE
from locant.reports.matrice.run import Run
from locant.reports.numbers import relative


def answers(run: Run) -> list[Answer]:
    """All of them, in the order of the page."""
    parts = (agnostic, uncertainty, sharing, verdicts, editing, teaching, recovery, stability)
    return [part.answer(run) for part in parts]


def headline(run: Run) -> str:
    """The title, with no threshold in it: what neurons of all languages do, and what a language's own do."""
    everywhere, own = of_set(run.suppressed(), MATRICE), sharing.whose(run, "own")
    if everywhere is None:
        return "No neurons were located for several languages"
    said = f"Neurons located for all languages change P(answer) by {relative(everywhere.mean)}"
    return f"{said}; those of one language, its own by {relative(own.mean)}" if own else said
