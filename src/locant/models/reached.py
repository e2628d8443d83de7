"""How far a change of some edges goes in a circuit: what must run again, and what need not."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from locant.models.graph import Graph


def reached(
    graph: Graph,
    edges: Bool[Tensor, "sender receiver"],
    kept: Bool[Tensor, "sender receiver"],
    read: Bool[Tensor, " sender"],
) -> list[tuple[bool, bool]]:
    """Of each layer whether a head of it, and whether its MLP, is where a change of some edges comes to.

    Args:
        kept: edges along which changes go on.
        read: senders that count; others are taken not to change.
    """
    touched = (edges & graph.edges).any(dim=0)
    changed = torch.zeros_like(read)
    found = []
    for receivers, _ in graph.steps:
        now = touched[receivers] | (kept[:, receivers] & changed[:, None]).any(dim=0)
        fed = (graph.feeds[receivers] & now[:, None]).any(dim=0) & read
        changed = changed | fed
        found.append(bool(fed.any()))
    return list(zip(found[::2], found[1::2], strict=True))
