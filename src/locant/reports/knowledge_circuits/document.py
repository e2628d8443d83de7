"""One run as one page: what it says first, then a finding with its figure at a time, then how it was made."""

from __future__ import annotations

from locant.reports.blocks import Chooser
from locant.reports.knowledge_circuits import (
    agreement,
    cases,
    completeness,
    demonstrations,
    drawn,
    edits,
    errors,
    faithful,
    heads,
    hops,
    made,
    overlap,
    streams,
)
from locant.reports.knowledge_circuits.finding import answers, headline
from locant.reports.knowledge_circuits.names import method_of, part_of, relation_of
from locant.reports.knowledge_circuits.run import ALL, Run, read_run
from locant.reports.numbers import count
from locant.reports.paper import Paper

DRAWING = "locant.reports.circuits"


def _chooser(run: Run) -> Chooser:
    names = {ALL: "all relations"} | {run.key_of(relation): relation_of(relation) for relation in run.relations}
    return Chooser("Relation", "relation", names)


def _about(run: Run) -> list[tuple[str, str]]:
    facts, edges = (run.manifest.get(name) for name in ("facts", "edges"))
    return [
        ("relations", count(len(run.relations))),
        ("facts", count(facts) if isinstance(facts, int) else "not recorded"),
        ("edges", count(edges) if isinstance(edges, int) else "not recorded"),
        ("circuits of", f"{part_of(run.share)} of them"),
        ("scored by", method_of(str(run.settings.get("method", "not recorded")))),
    ]


PAPER = Paper(
    name="Knowledge circuits",
    package="locant.reports.knowledge_circuits",
    read=read_run,
    headline=headline,
    about=_about,
    answers=answers,
    stages=(
        completeness.sections,
        faithful.sections,
        drawn.sections,
        streams.sections,
        heads.sections,
        overlap.sections,
        edits.sections,
        errors.sections,
        demonstrations.sections,
        hops.sections,
        agreement.sections,
        cases.sections,
    ),
    made=made.recipe,
    chooser=_chooser,
    beside=(("circuit.js", DRAWING), ("circuit.css", DRAWING)),
)
page_of, answers_of = PAPER.page_of, PAPER.answers_of
