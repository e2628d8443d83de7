"""Where a circuit's nodes stand: the input below, the output above, and a row for each layer between them.

A layer's heads stand beside each other, and its MLP to their right, a little above, as it reads them. All MLPs are in
one column: most are joined to most others, and these lines then run beside the heads, not through them.

NetworkX's own layouts give all rows one height and all nodes of a row one distance. Here a row is as high as what is
in it, and heads stand as near to what they are joined to as the others leave room.
"""

from __future__ import annotations

import math
import re
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
    """

    width: float
    height: float
    nodes: dict[str, tuple[float, float]]
    layers: dict[int, float]
    empty: frozenset[int]


def lay_out(network: nx.DiGraph, layers: int) -> Layout:
    """Place the nodes of a circuit of a model with so many layers."""
    inner = {node: layer_of(node) for node in network if node not in ("input", "output")}
    empty = frozenset(range(layers)) - set(inner.values())
    row = min(_HIGHEST, max(_LOWEST, _TALL / max(1, layers - len(empty))))
    heights, y = {}, _MARGIN
    for layer in reversed(range(layers)):
        y += _EMPTY if layer in empty else row
        heights[layer] = y
    x = _stretched(_across(network), y + _ENDS)
    nodes = {node: (x[node], heights[layer] - (_LIFT * row if _is_mlp(node) else 0)) for node, layer in inner.items()}
    nodes |= {node: (x[node], place) for node, place in (("output", _MARGIN), ("input", y + _ENDS)) if node in x}
    left = min(x.values(), default=0.0) - 1.6 * GAP
    return Layout(
        max(x.values(), default=0.0) - left + GAP / 2 + bow(y),
        y + _ENDS + _MARGIN,
        {node: (at - left, height) for node, (at, height) in nodes.items()},
        heights,
        empty,
    )


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
    return x | {node: middle for node in ("input", "output") if node in network}


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


def _is_head(node: str) -> bool:
    return node.startswith("a")


def _is_mlp(node: str) -> bool:
    return node.startswith("m")
