"""How a prompt's circuit was made: every setting of what chose it and of what judged it."""

from __future__ import annotations

from collections.abc import Iterator

from locant.recipes.traced import Traced
from locant.reports.circuits.block import unit_of
from locant.reports.numbers import count
from locant.reports.tables import definitions
from locant.reports.text import escape
from locant.reports.values import plain_value


def recipe(traced: Traced) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    command = f"<h3>Command line</h3><pre>{escape(traced.command)}</pre>" if traced.command else ""
    return {
        "recipe": definitions(_settings(traced)),
        "controls": definitions(_controls(traced)),
        "units": definitions(_units(traced)),
        "command": command,
    }


def _settings(traced: Traced) -> Iterator[tuple[str, str]]:
    by, chosen = traced.made_by, traced.circuit.made_by
    graph = traced.circuit.graph
    yield "model", by.model or traced.model
    yield "revision", by.revision or "not given"
    yield "dtype", by.dtype or "not recorded"
    yield "graph", f"{count(graph.layers)} layers × {count(graph.heads)} heads, {_reads(traced)}"
    if graph.spans:
        yield "positions", f"told apart: {', '.join(graph.spans)}"
    yield "chosen by", chosen.method.removeprefix("select:")
    for name, value in {**chosen.settings, **by.settings}.items():
        yield name.replace("_", " "), plain_value(value)
    yield "seed", "none" if by.seed is None else str(by.seed)
    yield "locant", by.package
    yield "digest", by.digest()


def _reads(traced: Traced) -> str:
    graph = traced.circuit.graph
    if not graph.split:
        return "a head reads once for query, key and value"
    if graph.groups == graph.heads:
        return "queries, keys and values apart"
    return f"queries, keys and values apart, keys and values of {count(graph.groups)} heads"


def _controls(traced: Traced) -> Iterator[tuple[str, str]]:
    standings = traced.standings
    if traced.counterfactual is not None:
        other = traced.counterfactual
        yield "Counterfactual", f"{other.prompt} {other.answer}: what is cut brings what it is here"
    if standings.complement is not None:
        yield "All but the circuit", "the graph’s edges that the circuit has not"
    if standings.random:
        yield "Random circuits", f"{count(len(standings.random))}, each with as many edges as the circuit"
    if standings.empty is not None:
        yield "None", "every edge cut: what the ablated activations alone say"


def _units(traced: Traced) -> Iterator[tuple[str, str]]:
    unit = unit_of(traced.circuit) or "the units of the scores"
    yield "score of an edge", f"what the metric loses where it is cut, measured or estimated, in {unit}"
    yield "P(answer)", "probability of the answer; 0 to 100%"
    yield "rank", "place of the answer among all tokens, 1 the most probable"
    yield "faithfulness", "(circuit − no edge) / (model − no edge), by the metric; 1 is all, and more is possible"
    yield "edge", "what one node adds to what another reads; the share is of all edges of the graph"
