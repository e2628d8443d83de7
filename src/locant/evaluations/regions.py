"""How many neurons the questions of each group have, and where in the model these are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.membership import Groups, Members, SetsByQuestion
from locant.evaluations.outcomes import interval
from locant.types import Interval


@dataclass(frozen=True)
class LayerHistogram:
    """In which layers the neurons of each group's questions are.

    Attributes:
        neurons: different neurons of the group.
        occurrences: a neuron counts once for every question that has it.
    """

    groups: tuple[str, ...]
    neurons: Int[Tensor, "group layer"]
    occurrences: Int[Tensor, "group layer"]


@dataclass(frozen=True)
class Regions:
    """Where in the model each group's questions have their neurons: layers times bins of neighbours.

    Attributes:
        starts: the first neuron of each bin; the last bin ends with the layer.
        occurrences: as in `LayerHistogram`.
        weight: the sum of the occurrences' weights: the accumulated score, for sets chosen by score.
    """

    groups: tuple[str, ...]
    starts: tuple[int, ...]
    occurrences: Int[Tensor, "group layer bin"]
    weight: Float[Tensor, "group layer bin"]


def neurons_per_question(sets: SetsByQuestion, groups: Groups, *, seed: int = 0) -> dict[str, Interval]:
    """By group, the mean number of neurons of a question, with a bootstrap interval over questions.

    Raises:
        UnknownName: a question has no group, or there are no questions.
    """
    table = Members.of(sets, groups)
    sizes = torch.tensor([len(one) for one in sets.values()], dtype=torch.float64)
    names = list(sets)
    found = {}
    for number, group in enumerate(table.groups):
        own = np.flatnonzero(table.group == number).tolist()
        found[group] = interval(sizes[own], [names[index] for index in own], seed=seed)
    return found


def layer_histogram(sets: SetsByQuestion, groups: Groups) -> LayerHistogram:
    """How many neurons the groups' questions have in each layer.

    Raises:
        UnknownName: as for `neurons_per_question`.
    """
    table = Members.of(sets, groups)
    layers, width = table.grid
    different = np.unique(np.stack([table.group[table.question], table.code]), axis=1)
    shape = (len(table.groups), layers)
    return LayerHistogram(
        groups=table.groups,
        neurons=_counted((different[0], different[1] // width), shape),
        occurrences=_counted((table.group[table.question], table.code // width), shape),
    )


def regions(sets: SetsByQuestion, groups: Groups, bins: int = 64) -> Regions:
    """How many neurons the groups' questions have in each region of the model, and with what accumulated weight.

    Args:
        bins: of a layer's neurons, in their order; as many as there are neurons, if these are fewer.

    Raises:
        UnknownName: fewer than one bin, or as for `neurons_per_question`.
    """
    if bins < 1:
        raise UnknownName(f"a layer has 1 bin or more, not {bins}")
    table = Members.of(sets, groups)
    layers, width = table.grid
    starts = -(-np.arange(min(bins, width)) * width // min(bins, width))
    where = np.searchsorted(starts, table.code % width, side="right") - 1
    places = (table.group[table.question], table.code // width, where)
    shape = (len(table.groups), layers, len(starts))
    weight = np.zeros(shape)
    np.add.at(weight, places, np.concatenate([one.weight.double().numpy() for one in sets.values()]))
    return Regions(table.groups, tuple(starts.tolist()), _counted(places, shape), torch.from_numpy(weight))


def _counted(places: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> Tensor:
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, places, 1)
    return torch.from_numpy(counts)
