"""The page of one prompt's circuit."""

from __future__ import annotations

from collections.abc import Iterator

from locant.recipes.traced import Traced
from locant.reports.blocks import Block, Chooser, Section, facts, some
from locant.reports.circuits.block import circuit_block
from locant.reports.circuits.finding import faithfulness, finding, verdict
from locant.reports.circuits.heads import notes_of, patterns_block, roles_block
from locant.reports.circuits.layers import layers_block
from locant.reports.circuits.made import recipe
from locant.reports.circuits.parts import parts_block
from locant.reports.numbers import count, probability, share
from locant.reports.prompt import with_answer, with_answer_marked
from locant.reports.shell import fill, plain, read, shell
from locant.reports.text import escape

PACKAGE = "locant.reports.circuits"


def circuit_page(traced: Traced) -> str:
    """The page of one prompt's circuit, as HTML text; equal arguments give equal bytes."""
    sections = list(_sections(traced))
    figures = {name: figure for section in sections for name, figure in section.figures.items()}
    content = fill(
        "page.html",
        PACKAGE,
        language=escape(traced.query.language),
        prompt=with_answer_marked(traced.query),
        about=facts(_about(traced)),
        finding=escape(finding(traced)),
        verdict=escape(verdict(traced)),
        against=_against(traced),
        sections="\n\n".join(section.html(Chooser("View", "", {})) for section in sections),
        **recipe(traced),
    )
    return shell(
        with_answer(traced.query),
        content,
        {"figure-data": plain(figures)},
        script=read("theme.js") + read("views.js") + read("circuit.js", PACKAGE),
        style=read("page.css") + read("views.css") + read("circuit.css", PACKAGE),
    )


def _about(traced: Traced) -> list[tuple[str, str]]:
    circuit = traced.circuit
    edges = f"{count(len(circuit))} of {count(int(circuit.graph.edges.sum()))} ({share(circuit.share)})"
    model = traced.standings.model
    return [
        ("model", traced.model),
        ("probability of the answer", probability(model.probability)),
        ("rank", count(model.rank)),
        ("edges of the circuit", edges),
        ("faithfulness", faithfulness(traced)),
    ]


def _against(traced: Traced) -> str:
    if traced.counterfactual is None:
        return ""
    return f'<p class="note">Counterfactual: {with_answer_marked(traced.counterfactual)}</p>'


def _sections(traced: Traced) -> Iterator[Section]:
    circuit = traced.circuit
    heading = f"The circuit: {some(len(circuit), 'edge')} between {some(len(circuit.nodes), 'node')}"
    yield _one("circuit", Block(heading, circuit_block(circuit, notes_of(traced.readings))))
    yield _one("parts", parts_block(traced))
    if traced.curve is not None:
        yield _one("layers", layers_block(traced, traced.curve))
    if traced.readings:
        yield _one("nodes", roles_block(traced))
    if traced.patterns:
        yield _one("patterns", patterns_block(traced))


def _one(name: str, block: Block) -> Section:
    return Section(name, "", {None: block})
