"""Choosing a circuit by the scores of edges.

    circuit = choose(eap_ig(lm, graph, pairs), size=100)     # at most 100 edges, none of them a dead end

A size counts the edges that are left once dead ends are removed: edges are taken from the strongest on for as long as
no more than that many are left. Released code counts the edges taken instead, of which few may be left
(`without_dead_ends` of the first of `in_order` is what it makes).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import heappop, heappush, heapreplace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.attributions.edges import EdgeScores
from locant.errors import LocantError, UnknownName, nearest
from locant.models.graph import Graph
from locant.selections.circuits.circuit import Circuit
from locant.selections.circuits.dead_ends import living
from locant.types import Provenance, Setting

Ordered = Int[Tensor, "edge 2"]
"""Edges as (sender, receiver), one after another."""


def choose(scores: EdgeScores, size: int, *, rule: str = "greedy", by: str = "absolute") -> Circuit:
    """The circuit of the strongest edges, without dead ends.

    Args:
        size: the most edges it may have. It has fewer where the next edge to be taken would let in too many.
        rule: 'top' (the strongest first) or 'greedy' (the strongest first of those into a node that is in the
            circuit already, from the output on).
        by: 'absolute' (what moves the metric most, either way) or 'signed' (what serves it most).

    Raises:
        UnknownName: no such rule or strength, or a size below zero.
        LocantError: a score is not a finite number.

    Source: both rules, Hanna et al. 2024, arXiv:2403.17806; how size counts is ours.
    """
    return choose_each(scores, [size], rule=rule, by=by)[0]


def choose_each(
    scores: EdgeScores, sizes: Sequence[int], *, rule: str = "greedy", by: str = "absolute"
) -> tuple[Circuit, ...]:
    """The circuits of several sizes, each as `choose` makes it; a smaller one is part of a larger one."""
    graph, order = scores.graph, in_order(scores, rule=rule, by=by)
    for size in sizes:
        if size < 0:
            raise UnknownName(f"a circuit has 0 edges or more, not {size}")

    def left(taken: int) -> Bool[Tensor, "sender receiver"]:
        return living(graph, mask_of(graph, order[:taken]))

    about = scores.made_by.settings
    scored: dict[str, Setting] = {name: about[name] for name in ("metric", "ablation") if name in about}

    def made(size: int) -> Circuit:
        # What is left of more edges holds what is left of fewer, so that the most that may be taken can be bisected
        least = min(size, len(order))
        most = bisect_right(range(len(order) + 1), size, lo=least, key=lambda taken: int(left(taken).sum())) - 1
        made_by = Provenance(
            "choose",
            {**scored, "size": size, "rule": rule, "by": by},
            model=scores.made_by.model,
            revision=scores.made_by.revision,
            dtype=scores.made_by.dtype,
            parents=(scores.made_by.digest(),),
        )
        return Circuit(graph, left(most), scores.values, made_by)

    return tuple(made(size) for size in sizes)


def in_order(scores: EdgeScores, *, rule: str = "greedy", by: str = "absolute") -> Ordered:
    """All edges in the order in which a rule takes them; of equally strong ones, the first in the graph.

    'greedy' never comes to those from which no way leads to the output, as of the last layer at other spans than
    the last.

    Raises:
        UnknownName: no such rule or strength.
        LocantError: a score is not a finite number.
    """
    if rule not in RULES:
        raise UnknownName(f"no rule {rule!r} for circuits{nearest(rule, RULES)}; there are {', '.join(RULES)}")
    if by not in STRENGTHS:
        raise UnknownName(
            f"edges are not chosen by {by!r} scores{nearest(by, STRENGTHS)}; there are {', '.join(STRENGTHS)}"
        )
    values = scores.values[scores.graph.edges]
    if not bool(values.isfinite().all()):
        raise LocantError("some scores of edges are not finite numbers: circuits cannot be chosen by them")
    strongest = STRENGTHS[by](values).argsort(descending=True, stable=True)
    return RULES[rule](scores.graph, scores.graph.edges.nonzero()[strongest])


def mask_of(graph: Graph, edges: Ordered) -> Bool[Tensor, "sender receiver"]:
    """Which edges these are."""
    keep = torch.zeros_like(graph.edges)
    keep[edges[:, 0], edges[:, 1]] = True
    return keep


def _top(graph: Graph, strongest: Ordered) -> Ordered:
    return strongest


def _greedy(graph: Graph, strongest: Ordered) -> Int[Tensor, "reached 2"]:
    """As a spanning tree grows, but with every edge: each waits until the node it leads to has been reached.

    The heap holds one edge of each open receiver, its strongest left, as (place among all, receiver, place among
    the receiver's own).
    """
    senders = strongest[:, 0].tolist()
    into = _places(strongest[:, 1], len(graph.receivers))
    receivers = [graph.feeds[:, sender].nonzero()[:, 0].tolist() for sender in range(len(graph.senders))]
    heap = [(into[graph.output][0], graph.output, 0)]
    opened, joined = {graph.output}, set[int]()
    order: list[int] = []
    while heap:
        edge, receiver, place = heap[0]
        order.append(edge)
        if place + 1 < len(into[receiver]):
            heapreplace(heap, (into[receiver][place + 1], receiver, place + 1))
        else:
            heappop(heap)
        sender = senders[edge]
        if sender not in joined:
            joined.add(sender)
            # Heads that share a key have its edges in common
            for one in receivers[sender]:
                if one not in opened:
                    opened.add(one)
                    heappush(heap, (into[one][0], one, 0))
    return strongest[torch.tensor(order)]


def _places(receivers: Int[Tensor, " edge"], count: int) -> list[list[int]]:
    """Of every receiver, where its edges stand."""
    by_receiver = receivers.argsort(stable=True)
    return [one.tolist() for one in by_receiver.split(receivers.bincount(minlength=count).tolist())]


def _absolute(values: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    return values.abs()


def _signed(values: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    return values


RULES: dict[str, Callable[[Graph, Ordered], Ordered]] = {"top": _top, "greedy": _greedy}
STRENGTHS: dict[str, Callable[[Tensor], Tensor]] = {"absolute": _absolute, "signed": _signed}
