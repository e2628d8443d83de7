"""Ratios of changes against plain sums and their sampling theory."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest

from locant.errors import UnknownName
from locant.evaluations.boosting import (
    AGGREGATES,
    ChangeRatio,
    Probabilities,
    change_ratio,
    editing_success,
)
from locant.types import Interval


def changed(count: int, factor: float, seed: int = 0, spread: float = 0.2) -> Probabilities:
    """Probabilities multiplied by about a factor."""
    numbers = torch.Generator().manual_seed(seed)
    before = 0.1 + 0.3 * torch.rand(count, generator=numbers, dtype=torch.float64)
    noise = spread * torch.randn(count, generator=numbers, dtype=torch.float64)
    return Probabilities(before, before * (factor + noise).clamp(0, 2))


def plain_change(values: Probabilities, aggregate: str) -> float:
    pairs = list(zip(values.before.tolist(), values.after.tolist(), strict=True))
    if aggregate == "ratio-of-means":
        return sum(after - before for before, after in pairs) / sum(before for before, _ in pairs)
    return sum((after - before) / before for before, after in pairs) / len(pairs)


# The change ratio


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_both_changes_and_their_ratio_are_plain_sums(aggregate: str) -> None:
    related, unrelated = changed(30, 0.4), changed(20, 1.1, seed=1)
    found = change_ratio(related, unrelated, aggregate)
    own, other = plain_change(related, aggregate), plain_change(unrelated, aggregate)
    assert found.related.mean == pytest.approx(own) and own < 0
    assert found.unrelated.mean == pytest.approx(other) and other > 0
    assert found.ratio == pytest.approx(abs(own) / abs(other))
    assert (found.related.n, found.unrelated.n) == (30, 20)
    assert found.related.low < own < found.related.high and found.unrelated.low < other < found.unrelated.high
    assert found.ratio_low < found.ratio < found.ratio_high
    assert (found.kind, change_ratio(related, unrelated) == found) == ("finite", aggregate == "ratio-of-means")


def test_an_improbable_answer_weighs_little_in_the_ratio_of_means_and_all_in_the_mean_of_ratios() -> None:
    values = Probabilities(torch.tensor([0.5, 0.5, 0.001]), torch.tensor([0.25, 0.25, 0.1]))
    by_means, by_ratios = (change_ratio(values, values, aggregate).related.mean for aggregate in AGGREGATES)
    assert by_means == pytest.approx((0.6 - 1.001) / 1.001) and by_ratios == pytest.approx((99 - 1) / 3, rel=1e-4)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_intervals_are_about_as_wide_as_theory_says(aggregate: str) -> None:
    values = changed(400, 0.6)
    found = change_ratio(values, changed(400, 1.3, seed=1), aggregate)
    ratios = (values.after - values.before) / values.before
    weights = values.before / values.before.mean() if aggregate == "ratio-of-means" else torch.ones(400)
    error = float((weights * (ratios - found.related.mean)).std()) / math.sqrt(400)
    assert found.related.high - found.related.low == pytest.approx(2 * 1.96 * error, rel=0.12)
    # To first order, relative errors of a ratio add up in squares
    other = (found.unrelated.high - found.unrelated.low) / (2 * 1.96 * found.unrelated.mean)
    relative = math.hypot(error / found.related.mean, other)
    assert found.ratio_high - found.ratio_low == pytest.approx(2 * 1.96 * relative * found.ratio, rel=0.2)


def test_pairs_are_resampled_together() -> None:
    values = changed(50, 0.5)
    together, apart = (change_ratio(values, values, paired=paired) for paired in (True, False))
    assert (together.ratio, together.ratio_low, together.ratio_high) == (1, 1, 1)
    assert together.related == together.unrelated == apart.related
    assert apart.ratio_low < 0.95 and apart.ratio_high > 1.05
    with pytest.raises(UnknownName, match="50 related questions cannot be paired with 49 unrelated ones"):
        change_ratio(values, changed(49, 1.0), paired=True)


def test_a_ratio_to_no_change_is_infinite_and_one_of_none_to_none_undefined() -> None:
    still = Probabilities(torch.full((5,), 0.3), torch.full((5,), 0.3))
    infinite = change_ratio(changed(5, 0.5), still)
    assert infinite.kind == "infinite" and infinite.ratio == infinite.ratio_low == infinite.ratio_high == math.inf
    assert infinite.unrelated == Interval(0.0, 0.0, 0.0, 5) and not infinite.is_bounded
    undefined = change_ratio(still, still)
    assert undefined.kind == "undefined" and math.isnan(undefined.ratio) and math.isnan(undefined.ratio_high)
    none = change_ratio(still, changed(5, 0.5))
    assert (none.kind, none.ratio, none.ratio_low, none.ratio_high) == ("finite", 0, 0, 0)


def test_resamples_without_any_unrelated_change_make_the_upper_end_infinite_and_not_nan() -> None:
    before = torch.full((4,), 0.5)
    seldom = Probabilities(before, torch.tensor([0.5, 0.5, 0.5, 0.6]))
    found = change_ratio(changed(9, 0.5), seldom)
    assert found.kind == "finite" and found.ratio_high == math.inf and 0 < found.ratio_low < found.ratio
    # Resamples in which neither changes have no ratio, and are left out
    both = change_ratio(seldom, seldom)
    assert (both.ratio_low, both.ratio, both.ratio_high) == (0, 1, math.inf)


def test_a_ratio_is_bounded_only_where_the_unrelated_change_is_told_from_none() -> None:
    related = changed(200, 0.4)
    assert change_ratio(related, changed(200, 0.8, seed=1)).is_bounded
    assert change_ratio(related, changed(200, 1.2, seed=1, spread=0.1)).is_bounded
    drowned = change_ratio(related, changed(200, 1.0, seed=1))
    assert not drowned.is_bounded and drowned.unrelated.low < 0 < drowned.unrelated.high
    touching = ChangeRatio(Interval(1.0, 1.0, 1.0, 1), Interval(0.1, 0.0, 0.2, 1), 10.0, 5.0, math.inf)
    assert not touching.is_bounded


def test_one_question_has_an_interval_without_width_and_a_seed_gives_the_same_again() -> None:
    alone = change_ratio(changed(1, 0.5), changed(1, 1.5, seed=1))
    assert alone.related.low == alone.related.mean == alone.related.high and alone.related.n == 1
    assert alone.ratio_low == alone.ratio == alone.ratio_high
    related, unrelated = changed(10, 0.5), changed(10, 1.2, seed=1)
    assert change_ratio(related, unrelated, seed=4) == change_ratio(related, unrelated, seed=4)
    assert change_ratio(related, unrelated, seed=4) != change_ratio(related, unrelated, seed=5)


def test_values_that_have_no_relative_change_are_refused() -> None:
    good = changed(3, 0.5)

    def values(before: list[float], after: list[float]) -> Probabilities:
        # Unequal lengths are the business of the types under test, and of the function itself elsewhere
        return SimpleNamespace(before=torch.tensor(before), after=torch.tensor(after))  # type: ignore[return-value]

    with pytest.raises(UnknownName, match=r"^no aggregate 'sum'; there are ratio-of-means, mean-of-ratios$"):
        change_ratio(good, good, "sum")
    halves = [0.5, 0.5]
    for value in (math.nan, -0.1, 1.5):
        with pytest.raises(UnknownName, match="unrelated questions: a value is no probability"):
            change_ratio(good, Probabilities(torch.tensor(halves), torch.tensor([0.5, value])))
    none = Probabilities(torch.zeros(0), torch.zeros(0))
    with pytest.raises(UnknownName, match="related questions: 0 probabilities before and 0 after"):
        change_ratio(none, good)
    some, nothing = (Probabilities(torch.tensor(before), torch.tensor(halves)) for before in ([0.5, 0.0], [0.0, 0.0]))
    assert change_ratio(some, good).related.mean == pytest.approx(1)
    with pytest.raises(UnknownName, match="related questions: 1 of 2 have probability 0 before"):
        change_ratio(some, good, "mean-of-ratios")
    with pytest.raises(UnknownName, match="related questions: 2 of 2 have probability 0 before"):
        change_ratio(nothing, good)


# Editing success


def letters(rows: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, 4, generator=torch.Generator().manual_seed(seed))


def test_turned_answers_are_counted_over_all_and_over_those_that_could_turn() -> None:
    before, after = letters(80, 0), letters(80, 1)
    right = torch.arange(80) % 4
    was = [row.index(max(row)) == at % 4 for at, row in enumerate(before.tolist())]
    now = [row.index(max(row)) == at % 4 for at, row in enumerate(after.tolist())]
    found = editing_success(before, after, right)
    gained, lost = (sum(w is one and n is not one for w, n in zip(was, now, strict=True)) for one in (False, True))
    assert gained and lost
    assert (found.to_right.mean, found.to_right.n) == (pytest.approx(gained / 80), 80)
    assert (found.to_wrong.mean, found.to_wrong.n) == (pytest.approx(lost / 80), 80)
    assert found.to_right_eligible is not None and found.to_wrong_eligible is not None
    wrong = was.count(False)
    assert (found.to_right_eligible.mean, found.to_right_eligible.n) == (pytest.approx(gained / wrong), wrong)
    assert (found.to_wrong_eligible.mean, found.to_wrong_eligible.n) == (
        pytest.approx(lost / (80 - wrong)),
        80 - wrong,
    )
    for share in (found.to_right, found.to_wrong, found.to_right_eligible, found.to_wrong_eligible):
        assert share.low < share.mean < share.high
        theory = 2 * 1.96 * math.sqrt(share.mean * (1 - share.mean) / share.n)
        assert share.high - share.low == pytest.approx(theory, rel=0.25)


def test_none_of_few_is_less_sure_than_none_of_many() -> None:
    for rows in (5, 500):
        before = letters(rows, 0)
        found = editing_success(before, before, torch.zeros(rows, dtype=torch.int64)).to_right
        wilson = binomtest(0, rows).proportion_ci(method="wilson")
        assert (found.mean, found.low, found.high, found.n) == (0, 0, pytest.approx(wilson.high), rows)


def test_prompts_of_one_question_weigh_as_one() -> None:
    wrong, right = [0.1, 0.9], [0.9, 0.1]
    before = torch.tensor([wrong, wrong, wrong, wrong, right])
    after = torch.tensor([right, right, wrong, wrong, right])
    found = editing_success(before, after, torch.zeros(5, dtype=torch.int64), ["a", "a", "b", "c", "c"])
    assert (found.to_right.mean, found.to_right.n) == (pytest.approx(1 / 3), 3)
    assert found.to_right_eligible is not None and found.to_right_eligible.mean == pytest.approx(1 / 3)
    assert found.to_wrong_eligible is not None and found.to_wrong_eligible.n == 1


def test_where_no_answer_could_turn_there_is_no_share() -> None:
    all_right = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    right = torch.tensor([0, 0])
    found = editing_success(all_right, all_right.flip(1), right)
    assert found.to_right_eligible is None and found.to_right.mean == 0
    assert found.to_wrong_eligible is not None and found.to_wrong_eligible.mean == found.to_wrong.mean == 1
    found = editing_success(all_right.flip(1), all_right, right)
    assert found.to_wrong_eligible is None and found.to_right.mean == 1


def test_a_tie_is_no_right_answer() -> None:
    tie, right = torch.tensor([[0.4, 0.4, 0.2]]), torch.tensor([[0.5, 0.4, 0.1]])
    for index in (0, 1):
        assert editing_success(tie, tie, torch.tensor([index])).to_wrong_eligible is None
    assert editing_success(right, tie, torch.tensor([0])).to_wrong.mean == 1
    assert editing_success(tie, right, torch.tensor([0])).to_right.mean == 1


def test_letters_that_make_no_sense_are_refused() -> None:
    before = letters(2, 0)
    for right in ([0, 4], [-1, 0]):
        with pytest.raises(UnknownName, match="2 right letters of 4: each is the index of one of these"):
            editing_success(before, before, torch.tensor(right))
    with pytest.raises(UnknownName, match="0 right letters of 4"):
        editing_success(before[:0], before[:0], torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UnknownName, match="a letter's probability is NaN"):
        editing_success(before, before * math.nan, torch.tensor([0, 1]))
