"""Do groups of questions (domains, languages) use neurons of their own, and where in the model are they?

Two groups' neurons are those of any of their questions. How many they share depends on how many questions there are
and on how many neurons each has, so that an overlap alone says nothing: it is put beside what groups of the same
sizes share when they are drawn from all questions at random.

Source: Chen et al. 2024, arXiv:2406.10868, statistics of QR neurons; it states no denominator, and has no null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.outcomes import interval
from locant.selections.share import same_grid
from locant.types import Interval, Selection

SetsByQuestion: TypeAlias = Mapping[str, Selection]
"""By the question's uid, its neurons."""

Groups: TypeAlias = Mapping[str, str]
"""By the question's uid, its group."""


@dataclass(frozen=True)
class Overlap:
    """What the neurons of each pair of groups have in common, and what chance gives them.

    Attributes:
        measure: 'jaccard' or 'dice'.
        sizes: neurons of each group, of any of its questions.
        observed: NaN where neither group has any neuron.
        expected: mean over shuffles of the questions' groups, with their central 95% from `low` to `high`.
        p: two-sided: twice the share of draws (the observed one among them) that lie as far on its side; never 0.
            Observed below `expected`, the groups have more neurons of their own than chance gives; above, fewer.
    """

    measure: str
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    observed: Float[Tensor, "group other"]
    expected: Float[Tensor, "group other"]
    low: Float[Tensor, "group other"]
    high: Float[Tensor, "group other"]
    p: Float[Tensor, "group other"]
    draws: int


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


def _jaccard(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(both / (one + other - both))


def _dice(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(2 * both / (one + other))


OVERLAPS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {"jaccard": _jaccard, "dice": _dice}


def overlap(
    sets: SetsByQuestion, groups: Groups, measure: str = "jaccard", *, draws: int = 1000, seed: int = 0
) -> Overlap:
    """What each pair of groups shares, against groups of the same sizes with their questions shuffled.

    Args:
        measure: 'jaccard' (neurons of both / of either) or 'dice' (of both / the mean of their numbers).
        draws: shuffles of all questions over all groups.

    Raises:
        UnknownName: no such measure, a question without a group, fewer than two groups, no neurons at all, or
            sets of models of several sizes.

    Source: for p, Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    if measure not in OVERLAPS:
        raise UnknownName(f"no overlap {measure!r}; there are {', '.join(OVERLAPS)}")
    if draws < 1:
        raise UnknownName(f"a null takes 1 draw or more, not {draws}")
    table = _Table.of(sets, groups)
    if len(table.groups) < 2:
        raise UnknownName(f"an overlap is between two groups or more; these are {len(table.groups)}")
    if not len(table.question):
        raise UnknownName("no question has any neuron: there is nothing to share")
    shared = table.shared(table.group)
    observed = _overlaps(shared, measure)
    numbers = np.random.default_rng(seed)
    null = np.stack([_overlaps(table.shared(numbers.permutation(table.group)), measure) for _ in range(draws)])
    low, high = _central(null)
    return Overlap(
        measure=measure,
        groups=table.groups,
        sizes=tuple(int(size) for size in shared.diagonal()),
        observed=torch.from_numpy(observed),
        expected=torch.from_numpy(_of_defined(np.mean, null)),
        low=torch.from_numpy(low),
        high=torch.from_numpy(high),
        p=torch.from_numpy(_two_sided(observed, null)),
        draws=draws,
    )


def neurons_per_question(sets: SetsByQuestion, groups: Groups, *, seed: int = 0) -> dict[str, Interval]:
    """By group, the mean number of neurons of a question, with a bootstrap interval over questions.

    Raises:
        UnknownName: a question has no group, or there are no questions.
    """
    table = _Table.of(sets, groups)
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
    table = _Table.of(sets, groups)
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
    table = _Table.of(sets, groups)
    layers, width = table.grid
    starts = -(-np.arange(min(bins, width)) * width // min(bins, width))
    where = np.searchsorted(starts, table.code % width, side="right") - 1
    places = (table.group[table.question], table.code // width, where)
    shape = (len(table.groups), layers, len(starts))
    weight = np.zeros(shape)
    np.add.at(weight, places, np.concatenate([one.weight.double().numpy() for one in sets.values()]))
    return Regions(table.groups, tuple(starts.tolist()), _counted(places, shape), torch.from_numpy(weight))


# Questions' neurons as one table


@dataclass(frozen=True)
class _Table:
    """Every (question, neuron) there is, and the group of every question.

    Attributes:
        group: of each question, the number of its group.
        question, code: of each row, the question's number and the neuron's.
        place: of each row, the neuron's number among those that occur.
    """

    groups: tuple[str, ...]
    grid: tuple[int, int]
    group: np.ndarray
    question: np.ndarray
    code: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, sets: SetsByQuestion, groups: Groups) -> _Table:
        """
        Raises:
            UnknownName: a question has no group, or the sets are none or of models of several sizes.
        """
        lost = [uid for uid in sets if uid not in groups]
        if lost:
            raise UnknownName(f"{len(lost)} questions have no group, the first of them {lost[0]!r}")
        grid = same_grid(list(sets.values()))
        names = tuple(dict.fromkeys(groups[uid] for uid in sets))
        code = np.concatenate([(one.units[:, 0] * grid[1] + one.units[:, 1]).numpy() for one in sets.values()])
        return cls(
            groups=names,
            grid=grid,
            group=np.array([names.index(groups[uid]) for uid in sets]),
            question=np.repeat(np.arange(len(sets)), [len(one) for one in sets.values()]),
            code=code,
            place=np.unique(code, return_inverse=True)[1],
        )

    def shared(self, group: np.ndarray) -> np.ndarray:
        """How many neurons each two groups have in common, if the questions are in these groups."""
        held = np.zeros((len(self.groups), self.place.max() + 1), dtype=np.float32)
        held[group[self.question], self.place] = 1
        return held @ held.T


def _overlaps(shared: np.ndarray, measure: str) -> np.ndarray:
    shared = shared.astype(np.float64)
    sizes = shared.diagonal()
    with np.errstate(invalid="ignore"):  # two groups without neurons share 0 of 0
        return OVERLAPS[measure](shared, sizes[:, None], sizes[None, :])


def _of_defined(of: Callable[..., np.ndarray], null: np.ndarray, *more: object) -> np.ndarray:
    """A statistic of each pair's draws, of those that are not NaN; NaN where there are none."""
    pairs = null.reshape(len(null), -1).T
    found = [of(pair[np.isfinite(pair)], *more) if np.isfinite(pair).any() else np.nan for pair in pairs]
    return np.array(found, dtype=np.float64).reshape(null.shape[1:])


def _central(null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _of_defined(np.quantile, null, 0.025), _of_defined(np.quantile, null, 0.975)


def _two_sided(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    # Sums in another order must not tell equal overlaps apart
    below, above = (null <= observed + 1e-12).sum(axis=0), (null >= observed - 1e-12).sum(axis=0)
    defined = np.isfinite(null).sum(axis=0)
    p = np.minimum(1, 2 * (1 + np.minimum(below, above)) / (1 + defined))
    return np.where(np.isfinite(observed), p, np.nan)


def _counted(places: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> Tensor:
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, places, 1)
    return torch.from_numpy(counts)
