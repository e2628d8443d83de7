"""Where a circuit's nodes stand: the input below, the output above, and a row for each layer between them.

A layer's heads stand beside each other, and its MLP to their right, a little above, as it reads them. All MLPs are in
one column: most are joined to most others, and these lines then run beside the heads, not through them. Where
positions are told apart, each span is such a drawing, and they stand beside each other as the prompt is read.

NetworkX's own layouts give all rows one height and all nodes of a row one distance. Here a row is as high as what is
in it, and heads stand as near to what they are joined to as the others leave room.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import networkx as nx

from locant.reports.lines import spread

GAP = 62.0
"""Between the middles of two heads in a row, in pixels."""
_HIGHEST, _LOWEST, _EMPTY, _TALL = 104.0, 62.0, 15.0, 640.0
"""Heights: of a row at most, at least, with no node in it, and of all rows where they are between these."""
_ENDS, _MARGIN = 78.0, 34.0
_LIFT = 0.44
"""How far an MLP is above the heads of its layer, in rows."""
_SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Places of nodes in pixels, y growing downwards; and of each layer the y of its heads.

    Attributes:
        empty: layers with no node.
        spans: of each that has a node, where it begins and ends.
    """

    width: float
    height: float
    nodes: dict[str, tuple[float, float]]
    layers: dict[int, float]
    empty: frozenset[int]
    spans: dict[str, tuple[float, float]]


def lay_out(network: nx.DiGraph, layers: int, spans: Sequence[str] = ()) -> Layout:
    """Place the nodes of a circuit of a model with so many layers.

    Args:
        spans: of positions, if they are told apart.
    """
    inner = {node: layer_of(node) for node in network if not _is_end(node)}
    empty = frozenset(range(layers)) - set(inner.values())
    row = min(_HIGHEST, max(_LOWEST, _TALL / max(1, layers - len(empty))))
    heights, y = {}, _MARGIN
    for layer in reversed(range(layers)):
        y += _EMPTY if layer in empty else row
        heights[layer] = y
    x, beside = _side_by_side(network, spans or ("",), heights, y + _ENDS)
    nodes = {node: (x[node], heights[layer] - (_LIFT * row if _is_mlp(node) else 0)) for node, layer in inner.items()}
    nodes |= {node: (x[node], _MARGIN if node == "output" else y + _ENDS) for node in network if _is_end(node)}
    right = max((end for _, end in beside.values()), default=0.0)
    return Layout(right, y + _ENDS + _MARGIN, nodes, heights, empty, beside if spans else {})


def _side_by_side(
    network: nx.DiGraph, spans: Sequence[str], heights: Mapping[int, float], height: float
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Places across of all nodes, and where each span with a node begins and ends."""
    x: dict[str, float] = {}
    beside: dict[str, tuple[float, float]] = {}
    right = GAP  # the layers' numbers
    arcs = [link for link in network.edges if all(map(_is_mlp, link))]
    for span in spans:
        own = [node for node in network if span == (spans[-1] if node == "output" else node.partition("@")[2])]
        if own:
            places = _stretched(_across(network.subgraph(own)), height / len(spans))
            left = min(places.values()) - 0.6 * GAP - right
            x |= {node: at - left for node, at in places.items()}
            joined = [(heights[layer_of(one)], heights[layer_of(other)]) for one, other in arcs if one in own]
            widest = bow(max((low - high for low, high in joined), default=0.0))
            beside[span] = (right, max(x[node] for node in own) + GAP / 2 + widest)
            right = beside[span][1]
    return x, beside


def bow(rise: float) -> float:
    """How far a line between MLPs swings out beside their column; by square roots, the longest not too far."""
    return 7.0 * math.sqrt(rise)


def layer_of(node: str) -> int:
    """Of a head, as `a3.h5`, or an MLP, as `m3`."""
    return int(re.findall(r"\d+", node)[0])


def _across(network: nx.DiGraph) -> dict[str, float]:
    """The x of every node: of MLPs zero, of heads below it.

    Heads go to the mean place of what they are joined to, weighted by |score|, and no nearer to each other than the
    gap, in sweeps up and down: the barycentre heuristic against crossing lines.

    Source: Sugiyama, Tagawa and Toda 1981, Methods for visual understanding of hierarchical system structures.
    """
    heads = sorted((node for node in network if _is_head(node)), key=_head_order)
    rows = [list(row) for _, row in groupby(heads, key=layer_of)]
    x = dict.fromkeys(network, 0.0)
    for row in rows:
        x |= {node: GAP * (at - (len(row) - 1) / 2) for at, node in enumerate(row)}
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [_barycentre(network, node, x) for node in row]
            x |= dict(zip(row, spread(wanted, GAP), strict=True))
    furthest = max((x[node] for node in heads), default=0.0)
    x |= {node: x[node] - furthest - 1.8 * GAP for node in heads}
    middle = (min((x[node] for node in heads), default=0.0) + max((x[node] for node in heads), default=0.0)) / 2
    return x | {node: middle for node in network if _is_end(node)}


def _stretched(x: dict[str, float], height: float) -> dict[str, float]:
    """Places across, as wide as the drawing is high where that leaves heads no more than twice as far apart."""
    width = max(x.values(), default=0.0) - min(x.values(), default=0.0)
    by = min(2.0, max(1.0, 0.8 * height / width)) if width else 1.0
    return {node: by * place for node, place in x.items()}


def _barycentre(network: nx.DiGraph, node: str, x: dict[str, float]) -> float:
    # MLPs pull all heads alike, to their column
    joined = [
        (other, link["weight"])
        for links in (network.pred[node], network.succ[node])
        for other, link in links.items()
        if _is_head(other)
    ]
    total = sum(weight for _, weight in joined)
    return sum(weight * x[other] for other, weight in joined) / total if total else x[node]


def _head_order(node: str) -> tuple[int, int]:
    layer, head = re.findall(r"\d+", node)
    return int(layer), int(head)


def _is_end(node: str) -> bool:
    return node == "output" or node.partition("@")[0] == "input"


def _is_head(node: str) -> bool:
    return node.startswith("a")


def _is_mlp(node: str) -> bool:
    return node.startswith("m")
