"""What of a circuit is drawn: its nodes, and its edges as lines between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from locant.models.graph import PARTS
from locant.selections.circuits import Circuit


@dataclass(frozen=True)
class Line:
    """An edge, as it is drawn.

    Attributes:
        name: as `m0->a3.h5.q`.
        ends: the nodes it is drawn to: several where heads share a key or a value.
        part: what it is read for, `q`, `k` or `v`; several of them where lines were merged, none of MLPs and output.
        score: zero where it is not a number.
    """

    name: str
    start: str
    ends: tuple[str, ...]
    part: str
    score: float


def lines_of(circuit: Circuit) -> tuple[Line, ...]:
    """The lines of all edges kept, the largest |score| first.

    A key or value that heads share is drawn to those of them that send something on; to all of them, if none does.
    """
    graph = circuit.graph
    sends = circuit.keep.any(dim=1)
    lines = []
    for sender, receiver in circuit.keep.nonzero().tolist():
        fed = graph.feeds[receiver]
        ends = tuple(graph.senders[at] for at in ((fed & sends) if (fed & sends).any() else fed).nonzero()[:, 0])
        part = graph.read_as(receiver)
        score = float(circuit.scores[sender, receiver])
        lines.append(
            Line(
                graph.edge_name(sender, receiver),
                graph.senders[sender],
                ends or ("output",),
                part if part in PARTS else "",
                score if math.isfinite(score) else 0.0,
            )
        )
    return _strongest_first(lines)


def merged(lines: Sequence[Line]) -> tuple[Line, ...]:
    """One line for all that a head reads of a sender; scores add up, to first order what is lost with all of them."""
    found: dict[tuple[str, str], Line] = {}
    for line in lines:
        for end in line.ends:
            name = f"{line.start}->{end}"
            one = found.get((line.start, end), Line(name, line.start, (end,), "", 0.0))
            found[line.start, end] = replace(one, part=one.part + line.part, score=one.score + line.score)
    return _strongest_first(replace(one, part="".join(sorted(one.part, key="qkv".index))) for one in found.values())


def network_of(lines: Iterable[Line]) -> nx.DiGraph:
    """The nodes that lines connect, with the |score| between two of them as the weight."""
    network = nx.DiGraph()
    for line in lines:
        for end in line.ends:
            weight = network.get_edge_data(line.start, end, {"weight": 0.0})["weight"]
            network.add_edge(line.start, end, weight=weight + abs(line.score))
    return network


def _strongest_first(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: -abs(line.score)))
