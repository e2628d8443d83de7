"""What circuits share is what Python's sets share, and chance is what random circuits like them share."""

from __future__ import annotations

import math
import statistics

import pytest

from locant.errors import UnknownName
from locant.evaluations.circuits import hit_edges, hit_nodes, measures, overlap
from locant.models.graph import Graph
from locant.selections.circuits import choose, random_circuit
from locant.selections.circuits.circuit import Circuit
from scored_graphs import GRAPHS, keeping, scored

GRAPH = Graph.of_sizes(3, 5)


def plain(one: Circuit, other: Circuit) -> tuple[float, float, float, float]:
    nodes, others = set(one.nodes), set(other.nodes)
    edges, its = set(one.edges), set(other.edges)
    return (
        len(nodes & others) / len(others),
        len(edges & its) / len(its),
        len(nodes & others) / len(nodes | others),
        len(edges & its) / len(edges | its),
    )


def test_overlaps_are_those_of_pythons_own_sets_and_take_sides() -> None:
    small, large = choose(scored(GRAPH, 1), 20), choose(scored(GRAPH, 2), 60)
    for one, other in ((small, large), (large, small)):
        found = overlap(one, other, draws=1)
        each = (found.nodes, found.edges, found.node_jaccard, found.edge_jaccard)
        assert tuple(measure.observed for measure in each) == pytest.approx(plain(one, other))
        assert tuple(measures(one, other).values()) == pytest.approx(plain(one, other))
        assert (hit_nodes(one, other), hit_edges(one, other)) == pytest.approx(plain(one, other)[:2])
    assert hit_edges(small, large) < hit_edges(large, small)


def test_chance_is_what_random_circuits_like_both_share() -> None:
    one, other = choose(scored(GRAPH, 1), 30), choose(scored(GRAPH, 2), 40)
    found = overlap(one, other, draws=20)
    null = [plain(random_circuit(one, 500 + seed), random_circuit(other, 900 + seed)) for seed in range(12)]
    for measure, drawn in zip((found.nodes, found.edges, found.edge_jaccard), (0, 1, 3), strict=True):
        values = [each[drawn] for each in null]
        near = 4 * statistics.stdev(values) / math.sqrt(6)
        assert measure.expected == pytest.approx(statistics.mean(values), abs=near)
        assert measure.low <= measure.expected <= measure.high
    assert found.draws == 20
    # Chosen by scores that have nothing in common
    assert found.edges.low <= found.edges.observed <= found.edges.high
    assert found.edges.p > 2 / 21


def test_the_same_circuit_twice_shares_more_than_chance() -> None:
    circuit = choose(scored(GRAPH), 40)
    found = overlap(circuit, circuit, draws=12)
    assert found.edges.observed == found.nodes.observed == 1.0
    assert found.edges.expected < 0.7 and found.edges.p == pytest.approx(2 / 13)


def test_seeds_draw_other_circuits() -> None:
    one, other = choose(scored(GRAPH, 1), 30), choose(scored(GRAPH, 2), 30)
    first, again, second = (overlap(one, other, draws=5, seed=seed).edges.expected for seed in (0, 0, 1))
    assert first == again != second


def test_with_nothing_to_share_there_is_no_share() -> None:
    nothing = keeping(GRAPH)
    assert math.isnan(overlap(nothing, nothing, draws=1).edges.observed)


def test_circuits_of_different_graphs_are_refused() -> None:
    with pytest.raises(UnknownName, match="of different graphs share nothing"):
        overlap(choose(scored(GRAPH), 5), choose(scored(GRAPHS["split"]), 5))
    with pytest.raises(UnknownName, match="1 draw or more, not 0"):
        overlap(choose(scored(GRAPH), 5), choose(scored(GRAPH), 5), draws=0)
