"""What two circuits have in common, and what random circuits like them have.

Shares of small numbers say little by themselves: any two circuits have the input, the output and most MLPs in common.
What matters is how far above random circuits with as many edges into the same layers they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from locant.errors import UnknownName
from locant.evaluations.membership import central, two_sided
from locant.selections.circuits import Circuit, random_circuit


@dataclass(frozen=True)
class Shared:
    """One measure of what two circuits share, and what chance gives them.

    Attributes:
        observed: NaN where there is nothing to share.
        expected: the mean over random circuits, with their central 95% from `low` to `high`.
        p: two-sided, as of `locant.evaluations.overlap`: never 0.
    """

    observed: float
    expected: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class CircuitOverlap:
    """What a circuit shares with another.

    Attributes:
        nodes: Hit_node, the share of the other's nodes that this one has too; input and output are nodes.
        edges: Hit_edge, the share of the other's edges that this one has too.
        node_jaccard, edge_jaccard: shared ones among all that either has.
        draws: pairs of random circuits, one like each.
    """

    nodes: Shared
    edges: Shared
    node_jaccard: Shared
    edge_jaccard: Shared
    draws: int


def overlap(circuit: Circuit, other: Circuit, *, draws: int = 100, seed: int = 0) -> CircuitOverlap:
    """What a circuit shares with another, against random circuits with edges in the same layers (`random_circuit`).

    Raises:
        UnknownName: the circuits are of different graphs, or fewer than one draw.

    Source: Hit_node and Hit_edge, Yao et al. 2024, arXiv:2405.17969; it has no null.
    """
    return overlaps({"circuit": circuit, "other": other}, draws=draws, seed=seed)["circuit", "other"]


def overlaps(
    circuits: Mapping[str, Circuit], *, draws: int = 100, seed: int = 0
) -> dict[tuple[str, str], CircuitOverlap]:
    """What each of some circuits shares with each other one; see `overlap`.

    Random circuits are drawn once for each circuit, not for each two of them.
    """
    names = list(permutations(circuits, 2))
    for one, other in combinations(circuits.values(), 2):
        if one.graph != other.graph:
            raise UnknownName(f"circuits of different graphs share nothing: {one.graph} and {other.graph}")
    if draws < 1:
        raise UnknownName(f"a null takes 1 draw or more, not {draws}")
    null = []
    for draw in range(seed * draws, (seed + 1) * draws):
        drawn = {
            name: random_circuit(one, len(circuits) * draw + at) for at, (name, one) in enumerate(circuits.items())
        }
        null.append([list(measures(drawn[one], drawn[other]).values()) for one, other in names])
    observed = [list(measures(circuits[one], circuits[other]).values()) for one, other in names]
    return {
        pair: _against(np.array(own), np.array(by_chance))
        for pair, own, by_chance in zip(names, observed, zip(*null, strict=True), strict=True)
    }


def _against(observed: np.ndarray, null: np.ndarray) -> CircuitOverlap:
    """Four measures, and the same of every draw."""
    (low, high), p = central(null), two_sided(observed, null)
    columns = zip(observed, null.mean(axis=0), low, high, p, strict=True)
    nodes, edges, node_jaccard, edge_jaccard = (Shared(*map(float, column)) for column in columns)
    return CircuitOverlap(nodes, edges, node_jaccard, edge_jaccard, len(null))


def hit_nodes(circuit: Circuit, other: Circuit) -> float:
    """|nodes of both| / |nodes of the other|."""
    return measures(circuit, other)["nodes"]


def hit_edges(circuit: Circuit, other: Circuit) -> float:
    """|edges of both| / |edges of the other|."""
    return measures(circuit, other)["edges"]


def measures(circuit: Circuit, other: Circuit) -> dict[str, float]:
    """What a circuit shares with another, without a null: the measures of `CircuitOverlap`, in its order."""
    nodes, others = set(circuit.nodes), set(other.nodes)
    both, either = int((circuit.keep & other.keep).sum()), int((circuit.keep | other.keep).sum())
    return {
        "nodes": _share(len(nodes & others), len(others)),
        "edges": _share(both, len(other)),
        "node_jaccard": _share(len(nodes & others), len(nodes | others)),
        "edge_jaccard": _share(both, either),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
