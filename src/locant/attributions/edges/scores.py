"""What edge methods return."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from locant.attributions.edges.pairs import Pair
from locant.models.graph import Graph
from locant.types import Provenance


@dataclass(frozen=True)
class EdgeScores:
    """What a metric loses, on average over pairs, where an edge is cut: measured, or estimated.

    Attributes:
        values: in the metric's units, float64; zero where there is no edge.
    """

    graph: Graph
    values: Float[Tensor, "sender receiver"]
    pairs: tuple[Pair, ...]
    made_by: Provenance

    def __getitem__(self, edge: str) -> float:
        """The score of one edge, given as `m0->a3.h5.q`."""
        return float(self.values[self.graph.keeping([edge])])
