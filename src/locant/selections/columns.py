"""Knowledge synapses: the attention columns of a query that draw the most attention, and others to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from locant.attributions.synapses import Columns
from locant.errors import UnknownName
from locant.types import Provenance, Query


@dataclass(frozen=True)
class ColumnSet:
    """A set of attention columns of one query, each named by (layer, head, column); sorted and unique.

    Attributes:
        units: a column is a position of the query's prompt, counted from 0.
        grid: (layers, heads, positions of the prompt) that they were chosen from.
    """

    query: Query
    units: Int[Tensor, "unit 3"]
    grid: tuple[int, int, int]
    made_by: Provenance

    def __len__(self) -> int:
        return len(self.units)


def select_columns(columns: Columns, alpha: float) -> tuple[ColumnSet, ...]:
    """Of each query, the columns that draw more than a share of what the highest one draws.

    Args:
        alpha: that share, at least 0 and less than 1.

    Raises:
        UnknownName: alpha is no such share.

    Source: Chen et al. 2024, arXiv:2405.14117, eq. 5: sum over rows > alpha * max. The paper gives no alpha.
    """
    if not 0 <= alpha < 1:
        raise UnknownName(f"alpha is at least 0 and less than 1, not {alpha}")
    made_by = Provenance("select_columns", {"alpha": alpha}, parents=(columns.made_by.digest(),))
    return tuple(
        _set(columns, index, columns.of(index) > alpha * columns.of(index).max(), made_by)
        for index in range(len(columns))
    )


def irrelevant_columns(columns: Columns, chosen: Sequence[ColumnSet], seed: int) -> tuple[ColumnSet, ...]:
    """Of each query, as many random columns as were chosen, none of them chosen: the control of every effect.

    Each is drawn from the layer and the position of a chosen one, in another head: early positions draw more
    attention than late ones whatever they say. Where too few heads are left there, the rest come from any
    position of the layer. Columns that draw no attention at all, or were left out of the sums, are not drawn.

    Args:
        chosen: what `select_columns` chose from these columns, in the same order.
        seed: of the generator, which starts anew for each query.

    Raises:
        UnknownName: a layer has too few other columns to draw from, or the sets are not of these queries.
    """
    if tuple(one.query for one in chosen) != columns.queries:
        raise UnknownName("the chosen columns are not those of these queries, in this order")
    drawn = []
    for index, one in enumerate(chosen):
        picked = torch.zeros(one.grid, dtype=torch.bool)
        picked[tuple(one.units.T)] = True
        free = (columns.of(index) > 0) & ~picked
        generator = torch.Generator().manual_seed(seed)
        layers = [_draw(mine, there, generator) for mine, there in zip(picked, free, strict=True)]
        made_by = Provenance("irrelevant_columns", seed=seed, parents=(one.made_by.digest(),))
        drawn.append(_set(columns, index, torch.stack(layers), made_by))
    return tuple(drawn)


def _set(columns: Columns, index: int, chosen: Bool[Tensor, "layer head column"], made_by: Provenance) -> ColumnSet:
    layers, heads, length = chosen.shape
    return ColumnSet(columns.queries[index], chosen.nonzero(), (layers, heads, length), made_by)


def _draw(
    chosen: Bool[Tensor, "head column"], free: Bool[Tensor, "head column"], generator: torch.Generator
) -> Bool[Tensor, "head column"]:
    """As many free columns of a layer as are chosen, at the same positions as far as there are any."""
    # A random order of all columns, in which those that are not free come last
    order = torch.where(free, torch.rand(free.shape, generator=generator), 2.0)
    place = order.argsort(dim=0).argsort(dim=0)
    drawn = free & (place < chosen.sum(dim=0))
    lacking = int(chosen.sum() - drawn.sum())
    rest = torch.where(drawn, 2.0, order).flatten()
    if lacking > int((rest < 2).sum()):
        raise UnknownName(
            f"cannot draw {int(chosen.sum())} other columns in a layer: only {int(free.sum())} are not chosen; "
            "a higher alpha chooses fewer"
        )
    drawn.view(-1)[rest.argsort()[:lacking]] = True
    return drawn
