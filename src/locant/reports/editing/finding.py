"""What the run says, question by question; no answer says more than its controls allow."""

from __future__ import annotations

from locant.reports.answers import Answer
from locant.reports.editing import adding, chance, forcing, places, spared, taken
from locant.reports.editing.means import alike, best_of
from locant.reports.editing.names import name_of
from locant.reports.editing.run import Run
from locant.reports.numbers import count, share


def answers(run: Run) -> list[Answer]:
    """All of them, in the order of the page."""
    requests, wordings, following = taken.answers(run)
    rest = (forcing.answer(run), adding.answer(run), places.answer(run), chance.answer(run))
    return [requests, wordings, spared.answer(run), following, *rest]


def headline(run: Run) -> str:
    """The title, with no threshold in it: what the edits of one method win, and what they cost."""
    found = taken.firsts(run, "request")
    if not found:
        return "No facts were edited one by one"
    best = best_of(found)
    most = "as much as any" if alike(found, best) else "the most"
    among = f", {most} of {count(len(found))} methods" if len(found) > 1 else ""
    kept = spared.kept(run, best)
    cost = f"; {share(kept.mean)} of neighbouring facts stay as they were" if kept is not None else ""
    return f"{name_of(best)} makes {share(found[best].mean)} of new facts the first choice{among}{cost}"
