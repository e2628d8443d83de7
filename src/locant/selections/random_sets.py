"""Random neurons in the place of chosen ones: the control of every effect."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from locant.errors import UnknownName
from locant.types import Provenance, Selection


def random_set(selection: Selection, seed: int, *, layer_matched: bool = True) -> Selection:
    """As many random neurons as were chosen, none of them among the chosen.

    Args:
        layer_matched: as many from each layer as were chosen there; otherwise from anywhere.

    Raises:
        UnknownName: too few other neurons are left to draw from.
    """
    layers, neurons = selection.grid
    free = torch.ones(layers, neurons, dtype=torch.bool)
    free[selection.units[:, 0], selection.units[:, 1]] = False
    generator = torch.Generator().manual_seed(seed)
    if layer_matched:
        parts = [
            _draw(free & (torch.arange(layers) == layer)[:, None], len(chosen), generator)
            for layer, chosen in selection.by_layer().items()
        ]
        units = torch.cat(parts) if parts else selection.units
    else:
        units = _draw(free, len(selection), generator)
    made_by = Provenance(
        "random_set", {"layer_matched": layer_matched}, seed=seed, parents=(selection.made_by.digest(),)
    )
    return Selection(selection.queries, units, torch.ones(len(units)), selection.grid, made_by)


def _draw(free: Tensor, count: int, generator: torch.Generator) -> Int[Tensor, "unit 2"]:
    """`count` of the free neurons, sorted."""
    units = free.nonzero()
    if count > len(units):
        raise UnknownName(f"cannot draw {count} random neurons: only {len(units)} are not chosen")
    return units[torch.randperm(len(units), generator=generator)[:count].sort().values]
