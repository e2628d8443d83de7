"""What the run says, question by question; no answer says more than its controls allow."""

from __future__ import annotations

from locant.recipes.knowledge_circuits.judged import CIRCUIT, OTHER, RANDOM
from locant.reports.answers import Answer
from locant.reports.knowledge_circuits import (
    agreement,
    completeness,
    demonstrations,
    drawn,
    edits,
    errors,
    faithful,
    heads,
    hops,
    overlap,
    streams,
)
from locant.reports.knowledge_circuits.names import part_of
from locant.reports.knowledge_circuits.run import Run
from locant.reports.numbers import share


def answers(run: Run) -> list[Answer]:
    """All of them, in the order of the page."""
    parts = (completeness, faithful, drawn, streams, heads)
    rest = (errors, demonstrations, hops, agreement)
    return [
        *(part.answer(run) for part in parts),
        *overlap.answers(run),
        *edits.answers(run),
        *(part.answer(run) for part in rest),
    ]


def headline(run: Run) -> str:
    """The title: what circuits say of new facts, beside another relation's and random ones."""
    own = run.complete(CIRCUIT, "first")
    if own is None:
        return "No circuits were run alone"
    beside = [
        f"{whose} {share(found.mean)}"
        for what, whose in ((OTHER, "another relation’s"), (RANDOM, "random ones"))
        if (found := run.complete(what, "first")) is not None
    ]
    said = f"Circuits of {part_of(run.share)} of the edges say {share(own.mean)} of new facts first"
    return f"{said}; {', '.join(beside)}" if beside else said
