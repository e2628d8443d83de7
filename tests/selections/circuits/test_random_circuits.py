"""Random circuits are fair controls: as many edges into the same places, no dead ends, all as likely."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from locant.models.graph import Graph
from locant.selections.circuits import choose, random_circuit, without_dead_ends
from locant.selections.circuits.circuit import Circuit
from scored_graphs import GRAPHS, keeping, scored, thinned


def into(circuit: Circuit) -> Counter[str]:
    """How many edges lead into each part of each layer."""
    found: Counter[str] = Counter()
    for name in circuit.edges:
        receiver = name.partition("->")[2]
        node, _, part = receiver.partition(".h")
        found[f"{node} {part.partition('.')[2]}"] += 1
    return found


def nodes(circuit: Circuit) -> Counter[str]:
    """MLPs, and how many heads of each layer."""
    return Counter(name.partition(".h")[0] for name in circuit.nodes)


@pytest.mark.parametrize("size", [8, 20, 60])
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_random_circuit_has_as_many_edges_into_each_part_and_as_many_nodes(name: str, size: int) -> None:
    graph = GRAPHS[name]
    for seed in range(5):
        circuit = choose(scored(graph, seed), size)
        found = random_circuit(circuit, seed)
        assert into(found) == into(circuit) and nodes(found) == nodes(circuit)
        assert torch.equal(without_dead_ends(found).keep, found.keep)
        assert not bool((found.keep & ~graph.edges).any())
        assert found.made_by.seed == seed and found.made_by.parents == (circuit.made_by.digest(),)


def test_a_circuit_with_dead_ends_is_matched_as_it_is_without_them() -> None:
    circuit = thinned(GRAPHS["shared keys"], 0.2)
    alive = without_dead_ends(circuit)
    assert 0 < len(alive) < len(circuit)
    assert into(random_circuit(circuit, 1)) == into(alive)
    nothing = keeping(circuit.graph, "m0->output")
    assert len(random_circuit(nothing, 0)) == 0


def test_a_seed_is_a_draw_of_its_own() -> None:
    circuit = choose(scored(Graph.of_sizes(4, 6)), 100)
    one, again, other = (random_circuit(circuit, seed) for seed in (1, 1, 2))
    assert torch.equal(one.keep, again.keep) and not torch.equal(one.keep, other.keep)
    shared = [int((random_circuit(circuit, seed).keep & circuit.keep).sum()) for seed in range(8)]
    assert max(shared) < 60


def test_all_circuits_alike_are_as_likely() -> None:
    circuit = keeping(GRAPHS["split"], "input->m0", "m0->m1", "input->output", "m1->output")
    drawn = Counter(frozenset(random_circuit(circuit, seed).edges) for seed in range(60))
    first = {"input->m0", "m1->output"}
    possible = [
        first | {"m0->m1", "input->output"},
        first | {"m0->m1", "m0->output"},
        first | {"input->m1", "m0->output"},
    ]
    assert set(drawn) == set(map(frozenset, possible))
    assert chisquare(list(drawn.values())).pvalue > 0.001


def test_every_head_of_a_layer_is_as_likely_and_heads_that_share_a_key_stay_together() -> None:
    graph = GRAPHS["shared keys"]
    circuit = keeping(graph, "input->a1.h0.k", "input->a1.h1.v", "a1.h1->output", "a1.h2->output", "a1.h3->output")
    drawn = Counter(random_circuit(circuit, seed).nodes[1:-1] for seed in range(60))
    # Two heads of one group and one of the other, of which there are four
    assert len(drawn) == 4 and chisquare(list(drawn.values())).pvalue > 0.001
