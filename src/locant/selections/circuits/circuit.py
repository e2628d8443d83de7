"""A circuit: some edges of a model's graph, and what they were chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Float
from torch import Tensor

from locant.models.graph import Graph
from locant.types import Provenance


@dataclass(frozen=True)
class Circuit:
    """Some edges of a graph.

    Attributes:
        keep: the edges kept; only edges that the graph has.
        scores: what all edges were judged by, in the units of the scores; of random circuits ones.
    """

    graph: Graph
    keep: Bool[Tensor, "sender receiver"]
    scores: Float[Tensor, "sender receiver"]
    made_by: Provenance

    def __len__(self) -> int:
        """How many edges are kept."""
        return int(self.keep.sum())

    def __repr__(self) -> str:
        return f"Circuit({len(self):,} edges of {int(self.graph.edges.sum()):,}, {len(self.nodes)} nodes)"

    @property
    def share(self) -> float:
        """The part of the graph's edges that is kept."""
        return len(self) / int(self.graph.edges.sum())

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges kept, the largest |score| first, as `m0->a3.h5.q`."""
        kept = self.keep.nonzero()
        order = self.scores[self.keep].abs().argsort(descending=True, stable=True)
        return tuple(self.graph.edge_name(sender, receiver) for sender, receiver in kept[order].tolist())

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the senders with a kept edge, in order of computing, and `output` if anything reaches it."""
        read = self.keep.any(dim=0)
        # A head is in the circuit where it sends, or where anything is sent to it
        there = self.keep.any(dim=1) | self.graph.feeds[read].any(dim=0)
        names = [name for name, one in zip(self.graph.senders, there.tolist(), strict=True) if one]
        return (*names, "output") if read[self.graph.output] else tuple(names)
