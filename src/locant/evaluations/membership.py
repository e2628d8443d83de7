"""Questions' neurons as one table, and the shuffles of questions over groups that chance is told from.

Questions of one relation share their wording, and wording has neurons too. Where a group is made of relations, groups
of shuffled questions are no fair comparison: whole relations must be shuffled. Where a fact is asked in several
groups, as in several languages, its own questions change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from locant.errors import UnknownName
from locant.selections.share import same_grid
from locant.types import Selection

SetsByQuestion: TypeAlias = Mapping[str, Selection]
"""By the question's uid, its neurons."""

Groups: TypeAlias = Mapping[str, str]
"""By the question's uid, its group (or its block)."""

Null: TypeAlias = Literal["questions", "whole blocks", "within blocks"]


@dataclass(frozen=True)
class Members:
    """Every (question, neuron) there is, and the group of every question.

    Attributes:
        groups: their names.
        grid: (layers, neurons per layer) of the model.
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
    def of(cls, sets: SetsByQuestion, groups: Groups) -> Members:
        """
        Raises:
            UnknownName: a question has no group, or the sets are none or of models of several sizes.
        """
        names, group = numbered(sets, groups, "group")
        grid = same_grid(list(sets.values()))
        code = np.concatenate([(one.units[:, 0] * grid[1] + one.units[:, 1]).numpy() for one in sets.values()])
        return cls(
            groups=names,
            grid=grid,
            group=group,
            question=np.repeat(np.arange(len(sets)), [len(one) for one in sets.values()]),
            code=code,
            place=np.unique(code, return_inverse=True)[1],
        )

    def refuse_nothing(self) -> None:
        """
        Raises:
            UnknownName: fewer than two groups, or no neurons at all.
        """
        if len(self.groups) < 2:
            raise UnknownName(f"an overlap is between two groups or more; these are {len(self.groups)}")
        if not len(self.question):
            raise UnknownName("no question has any neuron: there is nothing to share")

    def held(self, row: np.ndarray, count: int) -> np.ndarray:
        """Which neurons each of some things holds [thing, neuron], 0 or 1; `row` is each question's thing."""
        held = np.zeros((count, self.place.max() + 1), dtype=np.float32)
        held[row[self.question], self.place] = 1
        return held


def numbered(sets: SetsByQuestion, groups: Groups, what: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The groups' names, and of each question the number of its own.

    Raises:
        UnknownName: a question has none.
    """
    lost = [uid for uid in sets if uid not in groups]
    if lost:
        raise UnknownName(f"{len(lost)} questions have no {what}, the first of them {lost[0]!r}")
    names = tuple(dict.fromkeys(groups[uid] for uid in sets))
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[groups[uid]] for uid in sets])


# Shuffles


def null_of(group: np.ndarray, block: np.ndarray | None) -> Null:
    """How the questions' groups are shuffled: whole blocks where each lies in one group, else within each block.

    Raises:
        UnknownName: every group is one block, so that whole blocks change places with nothing.
    """
    if block is None:
        return "questions"
    pairs = np.unique(np.stack([block, group]), axis=1)
    blocks, groups = len(np.unique(block)), len(np.unique(group))
    if pairs.shape[1] > blocks:
        return "within blocks"
    if blocks <= groups:
        raise UnknownName("every group is a single block: there are no others that it could have been made of")
    return "whole blocks"


def shuffles(group: np.ndarray, block: np.ndarray | None, draws: int, seed: int) -> Iterator[np.ndarray]:
    """The questions' groups, shuffled as `null_of` says, so many times.

    Shuffled questions leave each group as many as it has, and so do those within blocks; whole blocks leave it as
    many blocks.

    Raises:
        UnknownName: fewer than one draw, or as `null_of` does.
    """
    if draws < 1:
        raise UnknownName(f"a null takes 1 draw or more, not {draws}")
    kind, numbers = null_of(group, block), np.random.default_rng(seed)
    if block is None:
        yield from (numbers.permutation(group) for _ in range(draws))
    elif kind == "whole blocks":
        owner = np.zeros(block.max() + 1, dtype=group.dtype)
        owner[block] = group
        yield from (numbers.permutation(owner)[block] for _ in range(draws))
    else:
        before = np.argsort(block, kind="stable")
        for _ in range(draws):
            mixed = np.empty_like(group)
            mixed[before] = group[np.lexsort((numbers.random(len(group)), block))]
            yield mixed


# What draws say


def of_defined(of: Callable[..., np.ndarray], null: np.ndarray, *more: object) -> np.ndarray:
    """A statistic of each column's draws [draw, ...], of those that are not NaN; NaN where there are none."""
    columns = null.reshape(len(null), -1).T
    found = [of(one[np.isfinite(one)], *more) if np.isfinite(one).any() else np.nan for one in columns]
    return np.array(found, dtype=np.float64).reshape(null.shape[1:])


def central(null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the draws' central 95%."""
    return of_defined(np.quantile, null, 0.025), of_defined(np.quantile, null, 0.975)


def two_sided(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Twice the share of draws, the observed one among them, that lie as far on its side; 1 at most, never 0.

    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    # Sums in another order must not tell equal values apart
    below, above = (null <= observed + 1e-12).sum(axis=0), (null >= observed - 1e-12).sum(axis=0)
    defined = np.isfinite(null).sum(axis=0)
    p = np.minimum(1, 2 * (1 + np.minimum(below, above)) / (1 + defined))
    return np.where(np.isfinite(observed), p, np.nan)
