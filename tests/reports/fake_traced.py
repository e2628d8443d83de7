"""Made-up circuits and what they are worth, of any size, for pages without a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from locant.models.graph import Graph
from locant.recipes.traced import (
    HeadPattern,
    LayerCurve,
    NodeReading,
    Standing,
    Standings,
    Traced,
    Worth,
)
from locant.selections.circuits import Circuit
from locant.types import Fact, Provenance, Query

SCORED_BY = Provenance("select:top", {"k": 9, "metric": "logit_difference"}, "almanac", "9f2c1e0", "float32")
SMALL = {
    "input->a0.h0.v": 3.0,
    "input->m0": -1.0,
    "a0.h0->m0": 2.0,
    "a0.h0->a1.h1.q": -0.5,
    "m0->a1.h1.k": 0.25,
    "m0->a1.h1.v": 1.5,
    "a1.h1->output": 4.0,
    "m0->output": 0.125,
}
"""A circuit of two layers of two heads: every edge with its score."""


def circuit_of(graph: Graph, scores: dict[str, float]) -> Circuit:
    """A circuit that keeps some edges, by name, with their scores."""
    values = torch.zeros(graph.edges.shape, dtype=torch.float64)
    for name, value in scores.items():
        values[graph.keeping([name])] = value
    return Circuit(graph, graph.keeping(list(scores)), values, SCORED_BY)


def small_circuit() -> Circuit:
    return circuit_of(Graph.of_sizes(2, 2), SMALL)


def large_circuit(edges: int, layers: int = 12, heads: int = 12) -> Circuit:
    """The strongest edges of scores in which few nodes stand out, as in real ones."""
    graph = Graph.of_sizes(layers, heads)
    generator = torch.Generator().manual_seed(edges)
    sends, reads = (torch.rand(size, generator=generator) ** 4 for size in graph.edges.shape)
    sends[0], reads[-1] = 1.0, 1.0
    scores = torch.randn(graph.edges.shape, generator=generator) * sends[:, None] * reads * graph.edges
    keep = torch.zeros(graph.edges.numel(), dtype=torch.bool)
    keep[scores.abs().flatten().topk(edges).indices] = True
    return Circuit(graph, keep.view_as(graph.edges), scores.double(), SCORED_BY)


def fake_traced(
    circuit: Circuit | None = None,
    *,
    prompt: str = "The capital of France is",
    answer: str = "Paris",
    role: str = "mover",
    token: str = " Paris",
) -> Traced:
    """A prompt's circuit with everything that can be known of it."""
    query = Query("q", Fact("capital/France", "France", "capital", answer), prompt, answer)
    other = Query("o", Fact("capital/Germany", "Germany", "capital", "Berlin"), "The capital of Germany is", "Berlin")
    curve = LayerCurve(
        ("input", "after a0", "after m0", "after a1", "after m1"),
        tuple(Standing(p, r) for p, r in ((1e-4, 900), (0.01, 40), (0.3, 1), (0.2, 2), (0.91, 1))),
        tuple(Standing(p, r) for p, r in ((0.5, 1), (0.3, 2), (0.1, 3), (0.02, 8), (0.003, 21))),
    )
    readings = (
        NodeReading("a0.h0", "relation", 0.125, 0.75, (" is", "\n"), 812),
        NodeReading("m0", tokens=(token, " Lyon"), rank=3),
        NodeReading("a1.h1", role, 0.625, 0.25, (token, " France"), 1),
    )
    return Traced(
        query=query,
        counterfactual=other,
        model="almanac",
        circuit=small_circuit() if circuit is None else circuit,
        faithfulness=Worth("logit_difference", "logits", 9.0, 7.5, -1.0),
        standings=Standings(
            Standing(0.913, 1),
            Standing(0.871, 1),
            Standing(0.021, 17),
            Standing(0.004, 203),
            (Standing(0.003, 300), Standing(0.009, 100), Standing(0.006, 210)),
        ),
        made_by=Provenance("circuit", {"random_circuits": 3}, "almanac", "9f2c1e0", "float32", 0),
        top_answers=((answer, 0.913), ("Lyon", 0.03), (" ", 0.001)),
        curve=curve,
        tokens=("The", " capital", " of", " France", " is"),
        patterns=(HeadPattern("a1.h1", (0.1, 0.05, 0.001, 0.625, 0.224)),),
        readings=readings,
        command="locant circuit 'The capital of France is' --answer Paris",
    )


def with_standings(traced: Traced, **changed: Standing | tuple[Standing, ...] | None) -> Traced:
    return replace(traced, standings=replace(traced.standings, **changed))
