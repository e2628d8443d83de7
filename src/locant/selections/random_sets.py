"""Random neurons in the place of chosen ones: the control of every effect."""

from __future__ import annotations

from random import Random

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


def random_like(chosen: Selection, seed: int, name: str) -> Selection:
    """As many random neurons as were chosen, of the same layers if these have as many others.

    If the model has not, all others there are. `is_matched` tells whether they are of the same layers.

    Args:
        name: of the draw: with one seed, every name is a draw of its own.
    """
    layers, neurons = chosen.grid
    number = Random(f"{seed}/{name}").getrandbits(31)
    if 2 * len(chosen) > layers * neurons:
        others = torch.ones(chosen.grid, dtype=torch.bool)
        others[chosen.units[:, 0], chosen.units[:, 1]] = False
        made_by = Provenance("random_set", {"layer_matched": False}, seed=number, parents=(chosen.made_by.digest(),))
        return Selection(chosen.queries, others.nonzero(), torch.ones(int(others.sum())), chosen.grid, made_by)
    fits = all(2 * len(own) <= neurons for own in chosen.by_layer().values())
    return random_set(chosen, number, layer_matched=fits)


def is_matched(chosen: Selection) -> bool:
    """False of random neurons that are not of the same layers as what they stand beside."""
    return chosen.made_by.settings.get("layer_matched") is not False


def _draw(free: Tensor, count: int, generator: torch.Generator) -> Int[Tensor, "unit 2"]:
    """`count` of the free neurons, sorted."""
    units = free.nonzero()
    if count > len(units):
        raise UnknownName(f"cannot draw {count} random neurons: only {len(units)} are not chosen")
    return units[torch.randperm(len(units), generator=generator)[:count].sort().values]
