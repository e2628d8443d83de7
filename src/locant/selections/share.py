"""What the sets of one fact's queries share, and the neurons that its queries use consistently.

A query's own neurons are `select(one, "share", share=t)`, every score of at least t times the highest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.selections.select import RULES
from locant.types import Provenance, Selection, hash_of


def union(sets: Sequence[Selection]) -> Selection:
    """The units of any of the sets; each weighs as many sets as hold it."""
    return _held(sets, 1, "union")


def intersection(sets: Sequence[Selection]) -> Selection:
    """The units of every set; each weighs the number of sets."""
    return _held(sets, len(sets), "intersection")


def in_at_least(sets: Sequence[Selection], least: int = 2) -> Selection:
    """The units that as many sets hold; each weighs as many sets as hold it.

    Raises:
        UnknownName: there are not that many sets, or they are of models of several sizes.
    """
    if not 1 <= least <= len(sets):
        raise UnknownName(f"no unit can be in {least} of {len(sets)} sets; 1 to {len(sets)} can be asked for")
    return _held(sets, least, "in_at_least")


def same_grid(sets: Sequence[Selection]) -> tuple[int, int]:
    """The (layers, neurons per layer) that the sets have in common.

    Raises:
        UnknownName: there are no sets, or they are of different kinds or of models of several sizes.
    """
    grids = sorted({(one.kind, *one.grid) for one in sets})
    if len(grids) != 1:
        found = " and ".join(f"{kind} {size}" for kind, *size in grids) or "none"
        raise UnknownName(f"sets to compare are of one kind and of one model's (layers, neurons); these are {found}")
    return sets[0].grid


def strongest(selection: Selection, size: int) -> Selection:
    """The units of a set with the highest weights; of equal ones, the first.

    Raises:
        UnknownName: the set has fewer.
    """
    if not 0 <= size <= len(selection):
        raise UnknownName(f"cannot take the strongest {size} of a set of {len(selection)}")
    kept = selection.weight.argsort(descending=True, stable=True)[:size].sort().values
    made_by = Provenance("strongest", {"size": size}, parents=(selection.made_by.digest(),))
    return Selection(
        selection.queries,
        selection.units[kept],
        selection.weight[kept],
        selection.grid,
        made_by,
        selection.kind,
    )


def at_most(selection: Selection, size: int) -> Selection:
    """The strongest units of a set; all, if there are not more."""
    return strongest(selection, min(size, len(selection)))


def consistency_aware(
    values: Float[Tensor, "query layer neuron"],
    pool: Selection,
    beta1: float = 1.0,
    beta2: float = 1.0,
    *,
    threshold: float | None = None,
    size: int | None = None,
) -> Selection:
    """Of a pool, the neurons that are high for every wording of a fact: CAS = beta1 * mean - beta2 * std.

    The mean and the standard deviation are over the fact's queries, all there are (so the population's: the sum
    of squares is divided by their number). The weight of a unit is its CAS, in the units of the values. Signs
    count: a neuron that is active below zero scores low, and where that is not meant, pass `values.abs()`.

    Which neurons an edit touches matters less than how many, until the numbers are equal: `size` makes them so.

    Args:
        values: of one fact's queries; the paper speaks of activations (`Attribution.activations`), and scores
            (`Attribution.scores`) are the other reading.
        pool: what to choose from; the `union` of the queries' own sets.
        threshold: keep CAS >= threshold * the highest CAS of the pool; none where the highest is not above 0.
        size: keep this many, the highest.

    Raises:
        UnknownName: not exactly one of threshold and size is given, or it makes no sense for this pool.

    Source: Chen et al. 2024, arXiv:2405.14117, consistency-aware KN modification. The pool, the rule and the
    betas are unreported there: these are our choice.
    """
    if (threshold is None) == (size is None):
        raise UnknownName("consistency_aware takes either a threshold or a size: give exactly one of them")
    if tuple(values.shape[1:]) != pool.grid:
        raise UnknownName(f"the values are of (layers, neurons) {tuple(values.shape[1:])}, the pool of {pool.grid}")
    if threshold is not None and not 0 < threshold <= 1:
        raise UnknownName(f"a threshold is more than 0 and at most 1, not {threshold}")
    if size is not None and not 1 <= size <= len(pool):
        raise UnknownName(f"cannot take the top {size}: the pool has {len(pool)} neurons")
    layer, neuron = pool.units.T
    own = values[:, layer, neuron]
    mean = own.mean(dim=0)
    grid = torch.full(pool.grid, -torch.inf, dtype=values.dtype)
    grid[layer, neuron] = beta1 * mean - beta2 * (own - mean).square().mean(dim=0).sqrt()
    rule = "share" if size is None else "top"
    chosen = RULES[rule](grid, size or 0, threshold or 0.0)
    settings = {"beta1": beta1, "beta2": beta2, "threshold": threshold, "size": size, "values": hash_of(values)}
    made_by = Provenance("consistency_aware", {**settings}, parents=(pool.made_by.digest(),))
    return Selection(pool.queries, chosen.nonzero(), grid[chosen], pool.grid, made_by, pool.kind)


def _held(sets: Sequence[Selection], least: int, method: str) -> Selection:
    grid = same_grid(sets)
    count = torch.zeros(grid, dtype=torch.int64)
    for one in sets:
        count[one.units[:, 0], one.units[:, 1]] += 1
    held = count >= least
    queries = tuple(dict.fromkeys(query for one in sets for query in one.queries))
    parents = tuple(one.made_by.digest() for one in sets)
    made_by = Provenance(method, {"least": least, "sets": len(sets)}, parents=parents)
    return Selection(queries, held.nonzero(), count[held].float(), grid, made_by, sets[0].kind)
