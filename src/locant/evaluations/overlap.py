"""Do groups of questions (domains, languages) use neurons of their own?

Two groups' neurons are those of any of their questions. How many they share depends on how many questions there are
and on how many neurons each has, so that an overlap alone says nothing: it is put beside what groups share whose
questions are shuffled, or whole blocks of them. `likeness` compares questions in pairs, which no size has a part in.

Source: Chen et al. 2024, arXiv:2406.10868, statistics of QR neurons; it states no denominator, and has no null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.evaluations.membership import (
    Groups,
    Members,
    Null,
    SetsByQuestion,
    central,
    null_of,
    numbered,
    of_defined,
    shuffles,
    two_sided,
)


@dataclass(frozen=True)
class Overlap:
    """What the neurons of each pair of groups have in common, and what chance gives them.

    Attributes:
        measure: 'jaccard' or 'dice'.
        null: what was shuffled: 'questions', 'whole blocks', or the groups 'within blocks'.
        sizes: neurons of each group, of any of its questions.
        observed: NaN where neither group has any neuron.
        expected: mean over shuffles, with their central 95% from `low` to `high`.
        p: two-sided: twice the share of draws (the observed one among them) that lie as far on its side; never 0.
            Observed below `expected`, the groups have more neurons of their own than chance gives; above, fewer.
    """

    measure: str
    null: Null
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    observed: Float[Tensor, "group other"]
    expected: Float[Tensor, "group other"]
    low: Float[Tensor, "group other"]
    high: Float[Tensor, "group other"]
    p: Float[Tensor, "group other"]
    draws: int


@dataclass(frozen=True)
class Pairs:
    """The Jaccard index of two questions' neurons, mean over pairs of questions."""

    mean: float
    pairs: int


@dataclass(frozen=True)
class Likeness:
    """Whether two questions of one group share more neurons than two of different groups.

    Attributes:
        kinds: by (same block, same group), pairs of questions; kinds without pairs are not there.
        null: what was shuffled, as in `Overlap`.
        gap: of pairs of different blocks, the mean of one group less that of two; NaN if there are not both.
        expected: the same of shuffled groups, mean, with the central 95% from `low` to `high`.
        p: two-sided, as in `Overlap`.
    """

    kinds: dict[tuple[bool, bool], Pairs]
    null: Null
    gap: float
    expected: float
    low: float
    high: float
    p: float
    draws: int


def _jaccard(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(both / (one + other - both))


def _dice(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(2 * both / (one + other))


OVERLAPS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {"jaccard": _jaccard, "dice": _dice}


def overlap(
    sets: SetsByQuestion,
    groups: Groups,
    measure: str = "jaccard",
    *,
    blocks: Groups | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Overlap:
    """What each pair of groups shares, against groups that were made at random.

    Args:
        measure: 'jaccard' (neurons of both / of either) or 'dice' (of both / the mean of their numbers).
        blocks: by the question's uid, its block, of questions that are alike for another reason than their group:
            a relation, a fact. Blocks that lie in one group each are shuffled whole; if any goes across groups,
            the groups of each block's questions are shuffled within it. If not given, questions are shuffled.
        draws: shuffles.

    Raises:
        UnknownName: no such measure, a question without a group or block, fewer than two groups, no neurons at
            all, sets of models of several sizes, or blocks that leave nothing to shuffle.
    """
    if measure not in OVERLAPS:
        raise UnknownName(f"no overlap {measure!r}{nearest(measure, OVERLAPS)}; there are {', '.join(OVERLAPS)}")
    table = Members.of(sets, groups)
    table.refuse_nothing()
    block = None if blocks is None else numbered(sets, blocks, "block")[1]
    observed, sizes = _overlaps(table, table.group, measure)
    null = np.stack([_overlaps(table, mixed, measure)[0] for mixed in shuffles(table.group, block, draws, seed)])
    low, high = central(null)
    return Overlap(
        measure=measure,
        null=null_of(table.group, block),
        groups=table.groups,
        sizes=tuple(int(size) for size in sizes),
        observed=torch.from_numpy(observed),
        expected=torch.from_numpy(of_defined(np.mean, null)),
        low=torch.from_numpy(low),
        high=torch.from_numpy(high),
        p=torch.from_numpy(two_sided(observed, null)),
        draws=draws,
    )


def _overlaps(table: Members, group: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """The overlap of each two groups, if the questions are in these, and how many neurons each has."""
    held = table.held(group, len(table.groups))
    shared = (held @ held.T).astype(np.float64)
    sizes = shared.diagonal()
    with np.errstate(invalid="ignore"):  # two groups without neurons share 0 of 0
        return OVERLAPS[measure](shared, sizes[:, None], sizes[None, :]), sizes


# Questions in pairs


def likeness(
    sets: SetsByQuestion, groups: Groups, blocks: Groups | None = None, *, draws: int = 1000, seed: int = 0
) -> Likeness:
    """The mean Jaccard index of pairs of questions: of one group or two, and of one block or two.

    Unlike an overlap of unions it does not grow with the number of questions. Pairs of which neither question has
    a neuron are left out.

    Args:
        blocks: as for `overlap`; if not given, each question is its own.
        draws: shuffles of the groups.

    Raises:
        UnknownName: as for `overlap`.
    """
    table = Members.of(sets, groups)
    table.refuse_nothing()
    block = None if blocks is None else numbered(sets, blocks, "block")[1]
    held = table.held(np.arange(len(sets)), len(sets))
    shared = (held @ held.T).astype(np.float64)
    sizes = shared.diagonal()
    with np.errstate(invalid="ignore"):
        index = _jaccard(shared, sizes[:, None], sizes[None, :])
    there = np.isfinite(index) & ~np.eye(len(sets), dtype=bool)
    together = np.zeros_like(there) if block is None else block[:, None] == block[None, :]
    alike = table.group[:, None] == table.group[None, :]
    kinds = {
        (same, own): Pairs(float(index[which].mean()), int(which.sum()) // 2)
        for same in (True, False)
        for own in (True, False)
        if (which := there & (together == same) & (alike == own)).any()
    }
    apart = (there & ~together).astype(np.float64)
    values = np.where(apart > 0, index, 0.0)
    observed = np.array(_gap(values, apart, table.group))
    null = np.array([_gap(values, apart, mixed) for mixed in shuffles(table.group, block, draws, seed)])
    low, high = central(null)
    return Likeness(
        kinds=kinds,
        null=null_of(table.group, block),
        gap=float(observed),
        expected=float(of_defined(np.mean, null)),
        low=float(low),
        high=float(high),
        p=float(two_sided(observed, null)),
        draws=draws,
    )


def _gap(values: np.ndarray, pairs: np.ndarray, group: np.ndarray) -> float:
    """The mean value of pairs of one group less that of pairs of two."""
    member = np.eye(group.max() + 1)[group]
    within, count = (float((member * (matrix @ member)).sum()) for matrix in (values, pairs))
    others, rest = float(values.sum()) - within, float(pairs.sum()) - count
    return within / count - others / rest if count and rest else float("nan")
