"""Scores over queries and languages, against loops over plain lists in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from locant.errors import UnknownName
from locant.selections.uncertainty import (
    FLOOR,
    RULES,
    LanguageScores,
    by_language,
    normalised,
    over_languages,
    over_queries,
    probability_weights,
    top1_weights,
    variance_parts,
)

GRID = (2, 6)
UNITS = [(layer, neuron) for layer in range(GRID[0]) for neuron in range(GRID[1])]
Unit = tuple[int, int]
Values = dict[Unit, list[float]]


def fact(seed: int, queries: Mapping[str, int] | None = None) -> dict[str, Tensor]:
    """Scores of some queries in each language; the first neuron is high in all."""
    numbers = torch.Generator().manual_seed(seed)
    found = {}
    for language, count in (queries or {"en": 5, "fr": 3, "ja": 4}).items():
        found[language] = torch.randn(count, *GRID, generator=numbers, dtype=torch.float64)
        found[language][:, 0, 0] += 2
    return found


def some_weights(scores: Mapping[str, Tensor], seed: int = 9) -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return {language: torch.rand(len(own), generator=numbers).double() for language, own in scores.items()}


def normalised_by_hand(own: Tensor) -> list[dict[Unit, float]]:
    rows = [{(a, b): float(row[a, b]) for a, b in UNITS} for row in own]
    highest = [max(row.values()) for row in rows]
    return [{u: row[u] / top if top > 0 else 0.0 for u in UNITS} for row, top in zip(rows, highest, strict=True)]


def mean_and_deviation(values: list[float], weights: list[float]) -> tuple[float, float]:
    total = math.fsum(weights)
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total
    square = math.fsum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / total
    return mean, math.sqrt(square)


def own_by_hand(
    scores: Mapping[str, Tensor], lambda_q: float, weights: Mapping[str, Tensor] | None = None
) -> tuple[Values, Values, Values]:
    """By neuron, over languages: S_k, mean, deviation."""
    found: tuple[Values, Values, Values] = ({}, {}, {})
    for language, own in scores.items():
        rows = normalised_by_hand(own)
        each = weights[language].tolist() if weights else [1.0] * len(rows)
        for unit in UNITS:
            mean, deviation = mean_and_deviation([row[unit] for row in rows], each)
            for values, value in zip(found, (mean - lambda_q * deviation, mean, deviation), strict=True):
                values.setdefault(unit, []).append(value)
    return found


def rule_by_hand(rule: str, scores: Mapping[str, Tensor], lambda_q: float, lambda_l: float) -> dict[Unit, float]:
    own, _, deviation = own_by_hand(scores, lambda_q)
    count = len(scores)
    equal = [1.0] * count
    result = {}
    noise = [math.fsum(deviation[unit][k] ** 2 for unit in UNITS) / len(UNITS) for k in range(count)]
    inverse = [1 / (FLOOR * sum(noise) / count + one) for one in noise]
    for unit in UNITS:
        if rule == "entropy":
            positive = [max(value, 0.0) for value in own[unit]]
            parts = [value / sum(positive) for value in positive if value > 0]
            evenness = -sum(part * math.log(part) for part in parts) / math.log(count) if parts else 1.0
            result[unit] = sum(own[unit]) / count * evenness**lambda_l
        else:
            mean, spread = mean_and_deviation(own[unit], equal if rule == "deviation" else inverse)
            result[unit] = mean - lambda_l * spread
    return result


def close(found: Tensor, expected: Mapping[Unit, float]) -> bool:
    return found.flatten().tolist() == pytest.approx([expected[unit] for unit in UNITS], rel=1e-9, abs=1e-12)


def alike(found: Tensor, other: Tensor) -> bool:
    return torch.allclose(found, other, rtol=1e-10, atol=1e-12)


# Queries


def test_the_highest_score_of_a_query_becomes_one_whatever_its_unit() -> None:
    scores = fact(0)["en"]
    found = normalised(scores)
    assert found.amax(dim=(1, 2)).tolist() == [1.0] * 5
    assert alike(found, normalised(scores * torch.tensor([1e-6, 3, 1, 1e9, 7]).double()[:, None, None]))
    expected = [[row[unit] for unit in UNITS] for row in normalised_by_hand(scores)]
    assert found.flatten(1).tolist() == [pytest.approx(row) for row in expected]


def test_a_query_that_credits_no_neuron_counts_as_zeros() -> None:
    scores = fact(0)["en"]
    scores[1] = -scores[1].abs()
    scores[2] = 0.0
    found = normalised(scores)
    assert not found[1:3].any() and found[[0, 3, 4]].any(dim=2).all()
    mean = over_queries({"en": scores}).mean[0]
    assert alike(mean, 3 / 5 * over_queries({"en": scores[[0, 3, 4]]}).mean[0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_and_spread_over_queries_are_those_of_plain_loops(seed: int, weighted: bool) -> None:
    scores = fact(seed)
    weights = some_weights(scores) if weighted else None
    found = over_queries(scores, weights)
    _, mean, deviation = own_by_hand(scores, 0.0, weights)
    assert found.languages == ("en", "fr", "ja") and len(found) == 3
    for place in range(3):
        assert close(found.mean[place], {unit: values[place] for unit, values in mean.items()})
        assert close(found.spread[place], {unit: values[place] for unit, values in deviation.items()})


def test_scores_in_float32_are_summed_in_float64() -> None:
    scores = {language: own.float() for language, own in fact(3).items()}
    before = {language: own.clone() for language, own in scores.items()}
    exact = over_queries({language: own.double() for language, own in scores.items()})
    found = over_queries(scores)
    assert torch.equal(found.mean, exact.mean) and torch.equal(found.spread, exact.spread)
    assert all(torch.equal(own, before[language]) for language, own in scores.items())


def test_equal_weights_are_no_weights_and_so_are_weights_that_are_all_zero() -> None:
    scores = fact(1)
    plain = over_queries(scores)
    for value in (0.0, 1.0, 0.3, 1e-310):
        found = over_queries(scores, {language: torch.full((len(own),), value).double() for language, own in
                             scores.items()})  # fmt: skip
        assert alike(found.mean, plain.mean) and alike(found.spread, plain.spread)


def test_a_query_without_weight_is_as_if_it_had_not_been_asked() -> None:
    scores = fact(2)
    weights = {language: torch.ones(len(own)) for language, own in scores.items()}
    weights["en"][3] = 0.0
    found = over_queries(scores, weights)
    without = over_queries(scores | {"en": scores["en"][[0, 1, 2, 4]]})
    assert alike(found.mean, without.mean) and alike(found.spread, without.spread)
    assert not alike(found.mean, over_queries(scores).mean)


def test_weights_of_answers_sum_to_one_and_are_equal_where_nothing_is_known() -> None:
    assert probability_weights(torch.tensor([0.1, 0.3, 0.0])).tolist() == pytest.approx([0.25, 0.75, 0.0])
    assert probability_weights(torch.tensor([1e-320, 3e-320], dtype=torch.float64)).tolist() == pytest.approx(
        [0.25, 0.75], 1e-3
    )
    assert probability_weights(torch.zeros(4)).tolist() == [0.25] * 4
    assert top1_weights(torch.tensor([1, 7, 1, 2])).tolist() == [0.5, 0, 0.5, 0]
    assert top1_weights(torch.tensor([False, True])).tolist() == [0, 1]
    assert top1_weights(torch.tensor([5, 2])).tolist() == [0.5, 0.5]


# Languages


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("lambda_q", "lambda_l"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.3, 2.0)])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_what_plain_loops_make_of_it(rule: str, lambda_q: float, lambda_l: float, seed: int) -> None:
    scores = fact(seed)
    found = over_languages(over_queries(scores), lambda_q=lambda_q, lambda_l=lambda_l, rule=rule)
    assert close(found, rule_by_hand(rule, scores, lambda_q, lambda_l))


def test_the_default_is_the_mean_less_one_deviation_of_each_kind() -> None:
    scores = fact(5)
    assert close(over_languages(over_queries(scores)), rule_by_hand("deviation", scores, 1.0, 1.0))


@pytest.mark.parametrize("lambda_q", [0.0, 0.5])
def test_a_languages_own_score_is_its_mean_less_its_deviation(lambda_q: float) -> None:
    scores = fact(4)
    own, _, _ = own_by_hand(scores, lambda_q)
    found = by_language(over_queries(scores), lambda_q)
    for place in range(3):
        assert close(found[place], {unit: values[place] for unit, values in own.items()})
    assert torch.equal(by_language(over_queries(scores)), by_language(over_queries(scores), 1.0))


@pytest.mark.parametrize("rule", ["deviation", "entropy"])
def test_without_a_price_of_disagreement_a_score_is_the_mean_of_means(rule: str) -> None:
    scores = fact(6)
    means = torch.stack([normalised(own).mean(dim=0) for own in scores.values()])
    assert alike(over_languages(over_queries(scores), lambda_q=0.0, lambda_l=0.0, rule=rule), means.mean(dim=0))


@pytest.mark.parametrize("rule", RULES)
def test_asking_every_query_twice_changes_nothing(rule: str) -> None:
    scores = fact(7)
    twice = {language: torch.cat([own, own]) for language, own in scores.items()}
    assert alike(over_languages(over_queries(scores), rule=rule), over_languages(over_queries(twice), rule=rule))


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_languages_and_of_queries_changes_nothing(rule: str) -> None:
    scores = fact(8)
    other = {language: scores[language].flip(0) for language in ("ja", "en", "fr")}
    assert alike(over_languages(over_queries(scores), rule=rule), over_languages(over_queries(other), rule=rule))
    assert over_queries(other).languages == ("ja", "en", "fr")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("queries", [1, 4])
def test_of_one_language_its_own_score_is_all_there_is(rule: str, queries: int) -> None:
    found = over_queries(fact(9, {"fi": queries}))
    assert alike(over_languages(found, lambda_l=3.0, rule=rule), by_language(found)[0])


@pytest.mark.parametrize("rule", RULES)
def test_a_neuron_equal_in_all_languages_beats_one_of_the_same_mean_that_is_not(rule: str) -> None:
    mean = torch.zeros(4, *GRID, dtype=torch.float64)
    mean[:, 0, 1] = 0.5
    mean[:, 1, 2] = torch.tensor([0.7, 0.3, 0.6, 0.4])
    mean[:, 1, 4] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    found = LanguageScores(("en", "fr", "ja", "zh"), mean, torch.zeros_like(mean))
    even, uneven, partial = (float(over_languages(found, rule=rule)[unit]) for unit in ((0, 1), (1, 2), (1, 4)))
    assert even == pytest.approx(0.5) and even > uneven > partial
    free = over_languages(found, lambda_l=0.0, rule=rule)
    assert float(free[0, 1]) == pytest.approx(float(free[1, 2])) == pytest.approx(float(free[1, 4]))


def test_a_neuron_of_one_language_has_no_entropy_and_one_of_none_keeps_its_mean() -> None:
    mean = torch.full((3, *GRID), -0.5, dtype=torch.float64)
    mean[0, 0, 0] = 1.0
    mean[0, 0, 1] = 4.0
    found = over_languages(LanguageScores(("en", "fr", "ja"), mean, torch.zeros_like(mean)), rule="entropy")
    assert found[0, 0] == 0 and found[0, 1] == 0
    assert found[1].tolist() == pytest.approx([-0.5] * 6)


def test_a_language_that_agrees_with_itself_counts_more_but_never_alone() -> None:
    scores = fact(10, {"en": 1, "fr": 4, "ja": 4})
    scores["ja"] = torch.cat([scores["ja"], -scores["fr"]])  # at odds with itself
    found = over_queries(scores)
    plain, weighed = (
        over_languages(found, lambda_q=0.0, lambda_l=0.0, rule=rule) for rule in RULES if rule != "entropy"
    )
    parts = torch.linalg.lstsq(found.mean.flatten(1).T, weighed.flatten()[:, None]).solution[:, 0]
    assert float(parts.sum()) == pytest.approx(1)
    assert parts[0] > parts[1] > parts[2] > 0
    assert parts[0] / parts[1] < 1 + 1 / FLOOR
    assert not alike(plain, weighed)
    still = replace(found, spread=torch.zeros_like(found.spread))
    assert alike(over_languages(still, rule="inverse-variance"), over_languages(still, rule="deviation"))


# Variance


@pytest.mark.parametrize("seed", range(3))
def test_variance_within_and_between_languages_add_up_to_that_of_all_queries(seed: int) -> None:
    scores = fact(seed, {"en": 4, "fr": 4, "ko": 4})
    within, between = variance_parts(over_queries(scores))
    pooled = [row for own in scores.values() for row in normalised_by_hand(own)]
    total = {unit: mean_and_deviation([row[unit] for row in pooled], [1.0] * 12)[1] ** 2 for unit in UNITS}
    assert close(within + between, total)
    _, mean, deviation = own_by_hand(scores, 0.0)
    assert close(within, {unit: sum(one**2 for one in deviation[unit]) / 3 for unit in UNITS})
    assert close(between, {unit: mean_and_deviation(mean[unit], [1.0] * 3)[1] ** 2 for unit in UNITS})


def test_with_unequal_numbers_a_query_counts_its_weight_over_the_number_of_languages() -> None:
    scores = fact(11)
    weights = some_weights(scores)
    within, between = variance_parts(over_queries(scores, weights))
    pooled = [row for own in scores.values() for row in normalised_by_hand(own)]
    each = [float(w / own.sum() / 3) for own in weights.values() for w in own]
    assert close(
        within + between, {unit: mean_and_deviation([row[unit] for row in pooled], each)[1] ** 2 for unit in UNITS}
    )
    plain = {unit: mean_and_deviation([row[unit] for row in pooled], [1.0] * 12)[1] ** 2 for unit in UNITS}
    assert not close(within + between, plain)


# Refusals


def test_scores_that_cannot_be_summed_up_are_refused() -> None:
    scores = fact(0)
    with pytest.raises(UnknownName, match="these are none"):
        over_queries({})
    with pytest.raises(UnknownName, match=r"these are \(2, 5\) and \(2, 6\)"):
        over_queries(scores | {"fr": scores["fr"][:, :, :5]})
    with pytest.raises(UnknownName, match="there are no queries in 'fr'"):
        over_queries(scores | {"fr": scores["fr"][:0]})
    for value in (math.nan, math.inf, -math.inf):
        broken = scores["ja"].clone()
        broken[1, 1, 1] = value
        with pytest.raises(UnknownName, match="scores of 'ja' are not all finite"):
            over_queries(scores | {"ja": broken})


def test_weights_that_do_not_fit_are_refused() -> None:
    scores = fact(0)
    weights = some_weights(scores)
    with pytest.raises(UnknownName, match="no weights for 'ja', only for en, fr"):
        over_queries(scores, {language: weights[language] for language in ("en", "fr")})
    with pytest.raises(UnknownName, match="there are 3 weights for the 5 queries in 'en'"):
        over_queries(scores, weights | {"en": torch.ones(3)})
    for value in (-0.1, math.nan, math.inf):
        with pytest.raises(UnknownName, match="the weights for 'fr' are 0 or more"):
            over_queries(scores, weights | {"fr": torch.tensor([1.0, value, 1.0])})
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(UnknownName, match="from 0 to 1"):
            probability_weights(torch.tensor([0.5, value]))
    with pytest.raises(UnknownName, match="a rank is 1 or more, not 0"):
        top1_weights(torch.tensor([0, 1]))
    with pytest.raises(UnknownName, match="nothing to weigh"):
        probability_weights(torch.zeros(0))


def test_rules_and_prices_that_make_no_sense_are_refused() -> None:
    found = over_queries(fact(0))
    with pytest.raises(UnknownName, match="no rule 'mean'; there are deviation, inverse-variance, entropy"):
        over_languages(found, rule="mean")
    for price in (-0.5, math.nan, math.inf):
        with pytest.raises(UnknownName, match=f"lambda_q is 0 or more, not {price}"):
            by_language(found, price)
        with pytest.raises(UnknownName, match=f"lambda_l is 0 or more, not {price}"):
            over_languages(found, lambda_l=price)
