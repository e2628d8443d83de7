"""Intervals over relations and the facts in them, and of shares that all agree on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm, t

import locant
from locant.errors import UnknownName
from locant.evaluations import as_share, pooled_interval
from locant.types import Interval

GROUPS = [f"relation {at // 20}" for at in range(160)]
FACTS = [f"fact {at % 20}" for at in range(160)]


def values(between: float, within: float, seed: int = 0) -> torch.Tensor:
    """Of 8 relations of 20 facts, around 3."""
    random = torch.Generator().manual_seed(seed)
    shared, own = (torch.randn(size, 1, generator=random, dtype=torch.float64) for size in (8, 160))
    return 3 + between * shared.repeat_interleave(20, 0)[:, 0] + within * own[:, 0]


def test_facts_that_say_what_their_relation_says_are_no_surer_than_relations() -> None:
    drawn = values(between=1, within=0)
    found = pooled_interval(drawn, FACTS, GROUPS)
    means = drawn[::20].numpy()
    assert (found.mean, found.n, found.groups) == (pytest.approx(means.mean()), 160, 8)
    # Percentiles of a normal mean, as far out as a t of 7 degrees of freedom has them, with n - 1 in the variance
    theory = 2 * t.ppf(0.975, 7) * means.std(ddof=1) / np.sqrt(8)
    assert found.high - found.low == pytest.approx(theory, rel=0.15)
    alone = locant.interval(drawn, [f"{group}/{fact}" for group, fact in zip(GROUPS, FACTS, strict=True)])
    assert found.high - found.low > 3 * (alone.high - alone.low)


@pytest.mark.parametrize("between", [0, 1])
def test_intervals_cover_the_mean_of_all_relations_as_often_as_they_say(between: float) -> None:
    found = [pooled_interval(values(between, 1, seed), FACTS, GROUPS) for seed in range(200)]
    # Of 200, a share of 0.95 has a standard deviation of 0.015
    assert 0.9 < np.mean([one.low <= 3 <= one.high for one in found]) < 0.985


def test_one_relation_has_the_interval_of_its_facts_and_a_fact_with_many_wordings_weighs_as_one() -> None:
    own = torch.tensor([0.0, 2.0, 2.0, 6.0])
    expected = locant.interval(own, ["a", "a", "b", "c"], seed=3)
    assert pooled_interval(own, ["a", "a", "b", "c"], ["of"] * 4, seed=3) == expected
    six = [f"relation {at}" for at in range(6)]
    many = pooled_interval(own[[0, 1, 2, 2, 2, 2, 3]], ["a", "a", "a", "a", "a", "a", "c"], [six[0], *six])
    # A name is another fact in another relation
    assert (many.mean, many.n, many.groups) == (pytest.approx((1 + 4 * 2 + 6) / 6), 6, 6)


def test_of_few_relations_the_interval_is_over_their_facts() -> None:
    drawn = values(between=1, within=1)
    for many in (2, 5):
        own, facts, groups = drawn[: 20 * many], FACTS[: 20 * many], GROUPS[: 20 * many]
        names = [f"{group}/{fact}" for group, fact in zip(groups, facts, strict=True)]
        alone = locant.interval(own, names)
        found = pooled_interval(own, facts, groups)
        assert (found.groups, found.n, found.mean) == (1, 20 * many, pytest.approx(alone.mean))
        assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_no_values_have_no_interval() -> None:
    with pytest.raises(UnknownName, match="needs values"):
        pooled_interval(torch.zeros(0), [], [])


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3, 50])
def test_a_share_that_all_agree_on_is_wilsons(mean: float, n: int) -> None:
    found = as_share(locant.interval(torch.full((n,), mean), [str(at) for at in range(n)]))
    wilson = binomtest(int(mean * n), n).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(wilson.low), pytest.approx(wilson.high))
    assert found.mean == mean and found.n == n


def test_a_share_that_all_agree_on_is_less_sure_of_few_relations_and_any_other_stays() -> None:
    lows = [as_share(Interval(1.0, 1.0, 1.0, 160, groups)).low for groups in (160, 40, 8, 2)]
    assert lows == sorted(lows, reverse=True) and len(set(lows)) == 4
    assert lows[0] == pytest.approx(binomtest(160, 160).proportion_ci(method="wilson").low)
    effective = 160 * (t.ppf(0.975, 159) / t.ppf(0.975, 7)) ** 2
    assert lows[2] == pytest.approx(effective / (effective + norm.ppf(0.975) ** 2))
    some = Interval(0.5, 0.2, 0.8, 10, 2)
    assert as_share(some) is some
