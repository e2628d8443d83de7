"""Boosting and suppressing neurons of multiple-choice questions: what changes, and for whom.

The paper's probability change ratio (PCR) is |change of related questions| / |change of unrelated ones|. By itself
it misleads: it forgets which way each went, and a control that hardly moves makes it as large as one likes.
`change_ratio` gives both changes with their signs and intervals, and the ratio beside them.

Source: Chen et al. 2024, arXiv:2406.10868, evaluation of QR neurons and knowledge editing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.evaluations.outcomes import interval
from locant.evaluations.pooled import as_share
from locant.types import Interval

AT_ONCE = 64
"""Prompts in one batch."""

RESAMPLES = 2000
"""Of a bootstrap."""


@dataclass(frozen=True)
class Probabilities:
    """The probability of the right answer to each question, before and after an intervention."""

    before: Float[Tensor, " question"]
    after: Float[Tensor, " question"]


@dataclass(frozen=True)
class ChangeRatio:
    """How much the answers to related questions change for each change of unrelated ones.

    Attributes:
        related, unrelated: relative change of the probability (-1 all is lost, 1 it doubled), with its 95%
            bootstrap interval over questions.
        ratio: |related| / |unrelated|: infinite if unrelated questions do not change at all, NaN if none do.
        ratio_low, ratio_high: its central 95% over the same resamples, of those where it is defined.
    """

    related: Interval
    unrelated: Interval
    ratio: float
    ratio_low: float
    ratio_high: float

    @property
    def kind(self) -> Literal["finite", "infinite", "undefined"]:
        """Whether the ratio is a number that can be printed."""
        if np.isnan(self.ratio):
            return "undefined"
        return "infinite" if np.isinf(self.ratio) else "finite"

    @property
    def is_bounded(self) -> bool:
        """Whether the unrelated change can be told from none. If not, `ratio_high` is no limit to the ratio."""
        return self.unrelated.low > 0 or self.unrelated.high < 0


def _ratio_of_means(change: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.asarray(change.mean(axis=-1) / before.mean(axis=-1))


def _mean_of_ratios(change: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.asarray((change / before).mean(axis=-1))


AGGREGATES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ratio-of-means": _ratio_of_means,
    "mean-of-ratios": _mean_of_ratios,
}


def change_ratio(
    related: Probabilities,
    unrelated: Probabilities,
    aggregate: str = "ratio-of-means",
    *,
    paired: bool = False,
    seed: int = 0,
) -> ChangeRatio:
    """The change of related questions over that of unrelated ones, always with both.

    A question is resampled as a whole: give one value for each, the mean over its templates. An interval of a
    single question has no width.

    Args:
        aggregate: 'ratio-of-means' is mean(after - before) / mean(before), in which questions weigh by their
            probability (Dai et al. 2022); 'mean-of-ratios' is mean((after - before) / before), in which one
            improbable answer can outweigh all others. The paper does not say which.
        paired: the two i-th questions were asked with the same neurons touched: resample them together.

    Raises:
        UnknownName: no such aggregate; or the values are none, not as many after as before, no probabilities, or
            0 before where that is divided by.
    """
    if aggregate not in AGGREGATES:
        raise UnknownName(
            f"no aggregate {aggregate!r}{nearest(aggregate, AGGREGATES)}; there are {', '.join(AGGREGATES)}"
        )
    (change, before), (other, other_before) = (
        _numbers(values, aggregate == "mean-of-ratios", name)
        for values, name in ((related, "related"), (unrelated, "unrelated"))
    )
    if paired and len(change) != len(other):
        raise UnknownName(f"{len(change)} related questions cannot be paired with {len(other)} unrelated ones")
    of = AGGREGATES[aggregate]
    # SciPy's bootstrap takes one statistic, and refuses a single question
    numbers = np.random.default_rng(seed)
    drawn = numbers.integers(len(change), size=(RESAMPLES, len(change)))
    also = drawn if paired else numbers.integers(len(other), size=(RESAMPLES, len(other)))
    with np.errstate(divide="ignore", invalid="ignore"):  # resamples of questions without any probability
        resampled, others = of(change[drawn], before[drawn]), of(other[also], other_before[also])
        mean, other_mean = of(change, before), of(other, other_before)
        ratio, ratios = np.abs(mean) / np.abs(other_mean), np.abs(resampled) / np.abs(others)
    low, high = _central(ratios)
    return ChangeRatio(
        related=Interval(float(mean), *_central(resampled), n=len(change)),
        unrelated=Interval(float(other_mean), *_central(others), n=len(other)),
        ratio=float(ratio),
        ratio_low=low,
        ratio_high=high,
    )


def _numbers(values: Probabilities, divides: bool, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The change of each question, and where it started from."""
    before, after = values.before.double().cpu().numpy(), values.after.double().cpu().numpy()
    if len(before) != len(after) or not len(before):
        raise UnknownName(f"{name} questions: {len(before)} probabilities before and {len(after)} after")
    # NaN is none either
    if not all(((one >= 0) & (one <= 1 + 1e-6)).all() for one in (before, after)):
        raise UnknownName(f"{name} questions: a value is no probability")
    if not before.any() or (divides and not before.all()):
        raise UnknownName(
            f"{name} questions: {int((before == 0).sum())} of {len(before)} have probability 0 before, "
            "and no relative change"
        )
    return after - before, before


def _central(values: np.ndarray) -> tuple[float, float]:
    """The central 95%, NaN left out; of values that occur, since between two infinite ones there are none."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


# Editing


@dataclass(frozen=True)
class EditingSuccess:
    """Shares of answers that an intervention turned, over questions.

    Intervals are of 95%: a bootstrap's, or Wilson's where all agree.

    Attributes:
        to_right: wrong before and right after, of all.
        to_right_eligible: the same, of those wrong before; None if there are none.
        to_wrong: right before and wrong after, of all.
        to_wrong_eligible: the same, of those right before; None if there are none.
    """

    to_right: Interval
    to_right_eligible: Interval | None
    to_wrong: Interval
    to_wrong_eligible: Interval | None


def editing_success(
    before: Float[Tensor, "row letter"],
    after: Float[Tensor, "row letter"],
    right: Int[Tensor, " row"],
    questions: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> EditingSuccess:
    """How often the letter that a model finds most probable turns from wrong to right, and from right to wrong.

    An answer is right if the right letter is more probable than every other; a tie is none.

    Args:
        before, after: of each prompt, the letters' probabilities (or anything that orders them alike).
        right: of each prompt, the index of the right letter.
        questions: the question each prompt is of, whose prompts are averaged; if not given, each is of its own.

    Raises:
        UnknownName: there are no prompts, a value is NaN, or a letter has no column.

    Source: Chen et al. 2024, arXiv:2406.10868, knowledge editing, which states no denominator: both are given.
    """
    if not len(right) or not 0 <= int(right.min()) <= int(right.max()) < before.shape[1]:
        raise UnknownName(f"{len(right)} right letters of {before.shape[1]}: each is the index of one of these")
    if before.isnan().any() or after.isnan().any():
        raise UnknownName("a letter's probability is NaN")
    names = list(questions) if questions is not None else [str(row) for row in range(len(right))]
    was, now = _is_right(before, right), _is_right(after, right)
    everyone = torch.ones_like(was)
    return EditingSuccess(
        to_right=_share(~was & now, everyone, names, seed),
        to_right_eligible=_share(now, ~was, names, seed) if not was.all() else None,
        to_wrong=_share(was & ~now, everyone, names, seed),
        to_wrong_eligible=_share(~now, was, names, seed) if was.any() else None,
    )


def _is_right(letters: Float[Tensor, "row letter"], right: Int[Tensor, " row"]) -> Bool[Tensor, " row"]:
    own = letters.gather(1, right[:, None])
    return (letters >= own).sum(dim=1) == 1


def _share(
    turned: Bool[Tensor, " row"], eligible: Bool[Tensor, " row"], questions: Sequence[str], seed: int
) -> Interval:
    """The share of eligible rows that turned, over their questions."""
    mine = eligible.nonzero()[:, 0].tolist()
    return as_share(interval(turned[mine].double(), [questions[row] for row in mine], seed=seed))
