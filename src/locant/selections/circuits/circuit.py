"""A circuit: some edges of a model's graph, and what they were chosen by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from locant.errors import UnknownName
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
        there = self.keep.any(dim=1) | self.fed.any(dim=0)
        names = [name for name, one in zip(self.graph.senders, there.tolist(), strict=True) if one]
        return (*names, "output") if self.keep[:, self.graph.output].any() else tuple(names)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of those nodes that are heads."""
        return tuple(name for name in self.nodes if self.graph.node(name).kind == "head")

    @cached_property
    def fed(self) -> Bool[Tensor, "receiver sender"]:
        """Which senders each receiver with a kept edge is part of.

        A key or value that several heads share is part of those that send; of all of them, if none does.
        """
        fed = self.graph.feeds & self.keep.any(dim=0)[:, None]
        heard = fed & self.keep.any(dim=1)
        return torch.where(heard.any(dim=1, keepdim=True), heard, fed)

    def complement(self) -> Circuit:
        """All other edges of the graph: what is left of the model where the circuit is cut."""
        made_by = replace(self.made_by, method="complement", settings={}, parents=(self.made_by.digest(),))
        return replace(self, keep=self.graph.edges & ~self.keep, made_by=made_by)

    def joined(self, other: Circuit) -> Circuit:
        """The edges of either, with this one's scores.

        Raises:
            UnknownName: they are of different graphs.
        """
        if self.graph != other.graph:
            raise UnknownName(f"circuits of different graphs cannot be joined: {self.graph} and {other.graph}")
        parents = (self.made_by.digest(), other.made_by.digest())
        made_by = replace(self.made_by, method="joined", settings={}, parents=parents)
        return replace(self, keep=self.keep | other.keep, made_by=made_by)
