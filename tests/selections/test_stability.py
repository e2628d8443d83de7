"""A choice and its bootstrap, against a restatement with Python's own sets and exact counts of random ones."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from torch import Tensor

from locant.errors import UnknownName
from locant.selections.across_languages import agreed, language_agnostic
from locant.selections.stability import PLANS, Stability, expected_jaccard, stability
from locant.selections.uncertainty import by_language, over_languages, over_queries
from locant.types import Provenance, Selection

GRID = (3, 8)
LANGUAGES = {"en": 5, "fr": 3, "ja": 4}
Unit = tuple[int, int]


def fact(seed: int = 0, noise: float = 0.6) -> dict[str, Tensor]:
    """Scores that agree on some neurons, less so with more noise."""
    numbers = torch.Generator().manual_seed(seed)
    common = torch.rand(GRID, generator=numbers) ** 3
    return {
        language: common + noise * torch.randn(count, *GRID, generator=numbers)
        for language, count in LANGUAGES.items()
    }


def highest(scores: Mapping[str, Tensor]) -> Selection:
    return language_agnostic(over_languages(over_queries(scores)), (), size=5)


def high(scores: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Selection:
    return language_agnostic(over_languages(over_queries(scores, weights), lambda_q=0.0, lambda_l=0.0), (), share=0.5)


def of_units(units: set[Unit], grid: tuple[int, int] = GRID) -> Selection:
    rows = torch.tensor(sorted(units), dtype=torch.int64).reshape(-1, 2)
    return Selection((), rows, torch.ones(len(rows)), grid, Provenance("by hand"))


def units(found: Selection) -> set[Unit]:
    return {(int(layer), int(neuron)) for layer, neuron in found.units.tolist()}


class Recorded:
    """A choice that remembers what it was asked, and what it answered."""

    def __init__(self, choose: object = high) -> None:
        self.choose = choose
        self.asked: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor] | None] = []
        self.sets: list[Selection] = []

    def __call__(self, scores: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Selection:
        self.asked.append(dict(scores))
        self.weights.append(None if weights is None else dict(weights))
        chosen = self.choose(scores, weights) if weights is not None else self.choose(scores)  # type: ignore[operator]
        self.sets.append(chosen)
        return chosen


def same(found: Stability, other: Stability) -> bool:
    return (found.jaccard, found.low, found.high, found.expected) == (
        other.jaccard,
        other.low,
        other.high,
        other.expected,
    ) and torch.equal(found.sizes, other.sizes)


# What is compared


@pytest.mark.parametrize("over", PLANS)
@pytest.mark.parametrize("seed", range(3))
def test_the_draws_sets_are_compared_with_the_full_one_as_pythons_own_sets(over: str, seed: int) -> None:
    choose = Recorded()
    found = stability(fact(seed), choose, over=over, draws=40, seed=seed)
    full, *drawn = map(units, choose.sets)
    indices = sorted(len(full & one) / len(full | one) for one in drawn)
    assert len(drawn) == 40 and units(found.full) == full and found.over == over
    assert found.jaccard == pytest.approx(math.fsum(indices) / 40)
    for value, share in ((found.low, 0.025), (found.high, 0.975)):
        place = share * 39
        below = indices[int(place)]
        assert value == pytest.approx(below + (place - int(place)) * (indices[int(place) + 1] - below))
    assert found.inclusion.tolist() == pytest.approx([sum(u in one for one in drawn) / 40 for u in sorted(full)])
    assert found.sizes.tolist() == [len(one) for one in drawn]
    assert 0 < found.low < found.jaccard < found.high <= 1 and len(set(indices)) > 3


@pytest.mark.parametrize("over", PLANS)
def test_if_all_queries_are_the_same_a_choice_is_perfectly_stable(over: str) -> None:
    one = fact()["en"][:1]
    scores = {language: one.repeat(count, 1, 1) for language, count in LANGUAGES.items()}
    found = stability(scores, highest, over=over, draws=20)
    assert (found.jaccard, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.inclusion.tolist() == [1.0] * 5 and found.sizes.tolist() == [5] * 20
    assert found.expected < 0.5


@pytest.mark.parametrize("over", PLANS)
def test_the_less_queries_agree_the_less_stable_is_a_choice(over: str) -> None:
    calm, loud = (stability(fact(1, noise), highest, over=over, draws=60) for noise in (0.05, 0.5))
    assert calm.jaccard > loud.jaccard + 0.2
    assert calm.inclusion.mean() > loud.inclusion.mean() + 0.1
    assert calm.jaccard > 0.8 > calm.expected + 0.4


def test_a_choice_that_does_not_look_is_as_stable_as_its_sets_say() -> None:
    answers = itertools.chain(
        [{(0, 1), (1, 2)}], itertools.cycle([{(0, 1), (1, 2)}, {(0, 1)}, {(2, 2), (0, 1)}, set()])
    )
    found = stability(fact(), lambda scores: of_units(next(answers)), draws=8)
    assert found.jaccard == pytest.approx((1 + 1 / 2 + 1 / 3 + 0) / 4)
    assert found.inclusion.tolist() == [0.75, 0.25]
    assert found.sizes.tolist() == [2, 1, 2, 0] * 2
    chance = [expected_jaccard([1, 1, 0], other, 8) for other in ([1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0])]
    assert found.expected == pytest.approx(sum(chance) / 4)


def test_two_empty_sets_are_no_agreement_and_no_disagreement() -> None:
    answers = itertools.chain([set()], itertools.cycle([set(), {(0, 1)}]))
    found = stability(fact(), lambda scores: of_units(next(answers)), draws=6)
    assert (found.jaccard, found.low, found.high, found.expected) == (0, 0, 0, 0)
    assert found.inclusion.shape == (0,)
    never = stability(fact(), lambda scores: of_units(set()), draws=6)
    assert all(math.isnan(value) for value in (never.jaccard, never.low, never.high, never.expected))


# What is drawn


def test_queries_are_drawn_with_replacement_each_language_from_its_own() -> None:
    scores = fact()
    choose = Recorded()
    stability(scores, choose, draws=200, seed=3)
    full, *drawn = choose.asked
    assert all(full[language] is scores[language] for language in scores)
    for language, own in scores.items():
        hits = torch.zeros(len(own))
        for one in drawn:
            assert one[language].shape == own.shape
            which = (one[language][:, None] == own[None]).all(dim=(2, 3))
            assert (which.sum(dim=1) == 1).all()
            hits += which.sum(dim=0)
        assert hits.sum() == 200 * len(own)
        assert (hits - 200).abs().max() < 60  # 4 deviations and more
    assert all(set(one) == set(scores) for one in drawn)
    patterns = {tuple(one["en"].flatten().tolist()) for one in drawn}
    assert len(patterns) > 150


def test_languages_are_drawn_whole_and_a_second_copy_has_a_name_of_its_own() -> None:
    scores = fact()
    choose = Recorded()
    stability(scores, choose, over="languages", draws=200, seed=4)
    times = dict.fromkeys(scores, 0)
    for one in choose.asked[1:]:
        assert len(one) == 3
        for name, own in one.items():
            language, _, copy = name.partition("#")
            assert own is scores[language]
            assert not copy or (copy == "2" and language in one) or (copy == "3" and f"{language}#2" in one)
            times[language] += 1
    assert sum(times.values()) == 600 and all(abs(count - 200) < 60 for count in times.values())
    assert {len({name.partition("#")[0] for name in one}) for one in choose.asked[1:]} == {1, 2, 3}


@pytest.mark.parametrize("over", PLANS)
def test_weights_are_drawn_with_their_queries(over: str) -> None:
    scores = fact()
    weights = {language: torch.rand(len(own)) for language, own in scores.items()}
    choose = Recorded()
    found = stability(scores, choose, weights=weights, over=over, draws=10)
    for asked, given in zip(choose.asked, choose.weights, strict=True):
        assert given is not None and set(given) == set(asked)
        for name, own in asked.items():
            language = name.partition("#")[0]
            for row, weight in zip(own, given[name], strict=True):
                (at,) = (scores[language] == row).all(dim=(1, 2)).nonzero().flatten().tolist()
                assert weight == weights[language][at]
    equal = {language: torch.ones(len(own)) for language, own in scores.items()}
    assert same(
        stability(scores, high, weights=equal, over=over, draws=10), stability(scores, high, over=over, draws=10)
    )
    assert units(found.full) == units(high(scores, weights))


@pytest.mark.parametrize("over", PLANS)
def test_the_seed_alone_decides_and_not_the_order_of_languages(over: str) -> None:
    scores = fact(2)
    first = stability(scores, high, over=over, draws=30, seed=1)
    turned = {language: scores[language] for language in reversed(scores)}
    assert same(first, stability(scores, high, over=over, draws=30, seed=1))
    assert same(first, stability(turned, high, over=over, draws=30, seed=1))
    assert not same(first, stability(scores, high, over=over, draws=30, seed=2))


def test_no_more_than_a_language_is_copied_at_a_time() -> None:
    scores = {language: torch.randn(4, *GRID) for language in ("de", "en", "fi", "fr", "hu", "ja")}
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = []

    def choose(drawn: Mapping[str, Tensor]) -> Selection:
        for own in drawn.values():
            if not any(own is one for one in scores.values()):
                alive.add(own)
                most.append(len(alive))
        return of_units({(0, 0)})

    stability(scores, choose, draws=5)
    assert len(most) == 30 and max(most) <= 2  # the next one is made before the last one is let go


def test_a_rule_on_each_languages_own_scores_can_be_tried_too() -> None:
    found = stability(
        fact(3, noise=0.2), lambda drawn: agreed(by_language(over_queries(drawn)), (), least=len(drawn)), draws=30
    )
    assert found.expected < found.jaccard < 1


# Chance


@pytest.mark.parametrize(
    ("one", "other", "neurons"),
    [([2], [2], 4), ([1, 2], [2, 1], 4), ([0, 3], [2, 2], 3), ([3, 0], [0, 2], 3), ([0, 0], [1, 0], 3)],
)
def test_what_chance_gives_is_the_mean_over_all_sets_there_are(
    one: list[int], other: list[int], neurons: int
) -> None:
    fixed = {(layer, neuron) for layer, count in enumerate(one) for neuron in range(count)}
    layers = [
        [{(layer, neuron) for neuron in some} for some in itertools.combinations(range(neurons), count)]
        for layer, count in enumerate(other)
    ]
    sets = [set().union(*parts) for parts in itertools.product(*layers)]
    expected = math.fsum(len(fixed & drawn) / len(fixed | drawn) for drawn in sets) / len(sets)
    assert expected_jaccard(one, other, neurons) == pytest.approx(expected)
    assert expected_jaccard(other, one, neurons) == pytest.approx(expected)


def test_chance_of_large_sets_is_scipys() -> None:
    found = expected_jaccard([2000] * 32, [2000] * 32, 11008)
    share = 2000 / 11008
    assert found == pytest.approx(share / (2 - share), rel=1e-3)
    for one, other, neurons in ((40, 7, 60), (50, 30, 60), (1, 1, 11008), (300, 2000, 11008)):
        both = np.arange(min(one, other) + 1)
        chance = hypergeom.pmf(both, neurons, one, other)
        expected = float(chance @ (both / (one + other - both)))
        assert expected_jaccard([one], [other], neurons) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(expected_jaccard([0, 0], [0, 0], 5))


def test_a_random_choice_is_as_stable_as_chance_has_it() -> None:
    numbers = torch.Generator().manual_seed(0)

    def choose(scores: Mapping[str, Tensor]) -> Selection:
        return of_units({(layer, int(n)) for layer in range(3) for n in torch.randperm(8, generator=numbers)[:3]})

    found = stability(fact(), choose, draws=400)
    assert found.jaccard == pytest.approx(found.expected, abs=0.03)
    assert found.expected == pytest.approx(expected_jaccard([3] * 3, [3] * 3, 8))


# Refusals


def test_a_bootstrap_of_nothing_is_refused() -> None:
    scores = fact()
    with pytest.raises(UnknownName, match="cannot draw 'facts'; there are queries, languages"):
        stability(scores, high, over="facts")
    with pytest.raises(UnknownName, match="1 draw or more, not 0"):
        stability(scores, high, draws=0)
    with pytest.raises(UnknownName, match="no two languages to draw from"):
        stability({"en": scores["en"]}, high, over="languages")
    with pytest.raises(UnknownName, match="no two queries to draw from"):
        stability({language: own[:1] for language, own in scores.items()}, high)
    with pytest.raises(UnknownName, match="no two queries to draw from"):
        stability({}, high)
    answers = iter([of_units(set()), of_units(set(), (3, 9))])
    with pytest.raises(UnknownName, match=r"these are neuron \[3, 8\] and neuron \[3, 9\]"):
        stability(scores, lambda drawn: next(answers), draws=1)
    for one, other in (([1], [1, 1]), ([6], [1]), ([1], [-1])):
        with pytest.raises(UnknownName, match="the same layers, of at most 5 neurons each"):
            expected_jaccard(one, other, 5)
