"""Scores against Python's own sets; thresholds and tests against the libraries', and against noise."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

import locant
from locant.errors import UnknownName
from locant.evaluations import (
    above_null,
    by_fact,
    consistency_of,
    cs1,
    cs2,
    matched,
    mean_jaccard,
    otsu,
    shuffled_null,
    split_half,
    welch,
)
from locant.types import Provenance, Selection

GRID = (4, 50)
Units = set[tuple[int, int]]
SetsByFact = dict[str, list[Selection]]


def selection(units: Units, fact: str = "r/s", template: str = "", weights: list[float] | None = None) -> Selection:
    """The set of one query of a fact, named relation/subject."""
    relation, subject = fact.split("/")
    query = locant.query(f"p {template}", "a", relation=relation, subject=subject, template=template)
    rows = torch.tensor(sorted(units), dtype=torch.int64).reshape(-1, 2)
    weight = torch.tensor(weights) if weights else torch.ones(len(rows))
    return Selection((query,), rows, weight, GRID, Provenance("by hand"))


def unit(number: int) -> tuple[int, int]:
    return divmod(number, GRID[1])


def drawn(numbers: np.random.Generator, size: int, own: Units = frozenset()) -> Units:  # type: ignore[assignment]
    """Some units that are `own`, and as many more as make up the size."""
    units = set(own)
    while len(units) < size:
        units.add(unit(int(numbers.integers(GRID[0] * GRID[1]))))
    return units


def facts(
    seed: int, count: int = 24, queries: int = 6, own: int = 0, relations: int = 3, of_relation: int = 0
) -> SetsByFact:
    """Random sets of 12 units; of every second fact, all queries have `own` units in common."""
    numbers = np.random.default_rng(seed)
    shared = [drawn(numbers, of_relation) for _ in range(relations)]
    made: SetsByFact = {}
    for index in range(count):
        name = f"r{index % relations}/s{index}"
        kept = shared[index % relations] | drawn(numbers, own if index // relations % 2 else 0)
        made[name] = [selection(drawn(numbers, 12, kept), name, f"t{place}") for place in range(queries)]
    return made


def plain_units(one: Selection) -> Units:
    return {tuple(row) for row in one.units.tolist()}  # type: ignore[misc]


# Scores


def test_identical_sets_agree_wholly_and_disjoint_ones_not_at_all() -> None:
    same = [selection({(0, 1), (2, 7)})] * 3
    apart = [selection({(0, 1), (2, 7)}), selection({(0, 2)}), selection({(1, 1), (3, 7)})]
    for score in (cs1, cs2, mean_jaccard):
        assert score(same) == 1 and score(same[:2]) == 1
        assert score(apart) == 0


def test_the_three_scores_of_sets_that_half_agree_are_what_one_counts() -> None:
    sets = [selection({(0, 1), (0, 2)}), selection({(0, 1), (0, 3)}), selection({(0, 1), (0, 2), (0, 4)})]
    assert cs1(sets) == 1 / 4
    assert cs2(sets) == 2 / 4
    assert mean_jaccard(sets) == pytest.approx((1 / 3 + 2 / 3 + 1 / 4) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_pythons_own_sets(seed: int) -> None:
    for sets in facts(seed, count=4, own=5).values():
        plain = [plain_units(one) for one in sets]
        everything = set.union(*plain)
        held = [sum(one in units for units in plain) for one in everything]
        pairs = [len(one & other) / len(one | other) for one, other in itertools.combinations(plain, 2)]
        assert cs1(sets) == pytest.approx(len(set.intersection(*plain)) / len(everything))
        assert cs2(sets) == pytest.approx(sum(count >= 2 for count in held) / len(everything))
        assert mean_jaccard(sets) == pytest.approx(sum(pairs) / len(pairs))


def test_sets_without_any_unit_have_no_score_and_one_among_others_has_none_in_common() -> None:
    empty, some = selection(set()), selection({(0, 1)})
    assert all(math.isnan(score([empty, empty])) for score in (cs1, cs2, mean_jaccard))
    assert cs1([some, some, empty]) == 0 and cs2([some, some, empty]) == 1
    assert mean_jaccard([some, some, empty]) == pytest.approx(1 / 3)
    assert mean_jaccard([some, empty, empty]) == 0  # the pair of empty sets has no score to be averaged


def test_one_query_agrees_with_nothing_and_models_of_two_sizes_cannot() -> None:
    one = selection({(0, 1)})
    with pytest.raises(UnknownName, match="consistency is between two queries or more; the fact has 1"):
        cs2([one])
    other = Selection(one.queries, one.units, one.weight, (4, 51), one.made_by)
    with pytest.raises(UnknownName, match=r"these are neuron \[4, 50\] and neuron \[4, 51\]"):
        cs1([one, other])


def test_a_facts_consistency_says_what_it_was_measured_on() -> None:
    sets = {"r/a": [selection({(0, 1), (0, 2)}, "r/a"), selection({(0, 1)}, "r/a")]}
    (found,) = consistency_of(sets)
    assert (found.fact, found.relation, found.queries, found.size) == ("r/a", "r", 2, 1.5)
    assert (found.cs1, found.cs2, found.jaccard) == (0.5, 0.5, 0.5)


def test_sets_are_gathered_by_the_fact_they_were_asked_of() -> None:
    made = facts(0, count=3, queries=2)
    mixed = [sets[place] for place in range(2) for sets in made.values()]
    assert by_fact(mixed) == {name: tuple(sets) for name, sets in made.items()}
    two = Selection((*mixed[0].queries, *mixed[1].queries), mixed[0].units, mixed[0].weight, GRID, mixed[0].made_by)
    with pytest.raises(UnknownName, match="one is of 2"):
        by_fact([two])


# Matching


def test_matched_facts_have_equal_numbers_of_queries_and_of_the_strongest_neurons() -> None:
    numbers = np.random.default_rng(0)
    made: SetsByFact = {}
    for index, (queries, size) in enumerate([(6, 12), (4, 20), (3, 12), (5, 7), (9, 8)]):
        made[f"r/{index}"] = [
            selection(drawn(numbers, size), f"r/{index}", f"t{place}", weights=numbers.random(size).tolist())
            for place in range(queries)
        ]
    found = matched(made, k=4, size=8)
    assert list(found) == ["r/0", "r/1", "r/4"]  # the third has too few queries, the fourth too small sets
    for name, sets in found.items():
        templates = [one.queries[0].template for one in sets]
        assert len(set(templates)) == 4
        for one, template in zip(sets, templates, strict=True):
            whole = next(other for other in made[name] if other.queries[0].template == template)
            weight = dict(zip(map(tuple, whole.units.tolist()), whole.weight.tolist(), strict=True))
            assert plain_units(one) == set(sorted(weight, key=weight.__getitem__)[-8:])
    for fact in consistency_of(made, k=4, size=8):
        assert (fact.queries, fact.size) == (4, 8)


def test_matching_is_the_same_for_a_seed_and_draws_others_for_another() -> None:
    made = facts(0, queries=6)

    def templates(seed: int) -> list[list[str]]:
        return [[one.queries[0].template for one in sets] for sets in matched(made, k=3, seed=seed).values()]

    assert templates(1) == templates(1) != templates(2)
    assert {name for chosen in templates(1) for name in chosen} == {f"t{place}" for place in range(6)}
    assert matched(made) == {name: tuple(sets) for name, sets in made.items()}


def test_cs2_of_the_same_sets_grows_with_their_number_and_matching_takes_that_away() -> None:
    few, many = facts(0, queries=3, count=60), facts(1, queries=9, count=60)

    def mean(made: SetsByFact, k: int | None) -> float:
        return statistics.mean(one.cs2 for one in consistency_of(made, k=k))

    assert mean(many, None) > 2 * mean(few, None)
    assert mean(many, 3) == pytest.approx(mean(few, 3), rel=0.2)


def test_matching_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UnknownName, match="no fact has 7 queries with 12 neurons each"):
        matched(facts(0), k=7, size=12)
    with pytest.raises(UnknownName, match="no fact has 2 queries with 13 neurons each"):
        consistency_of(facts(0), size=13)
    for k, size in ((1, None), (None, 0)):
        with pytest.raises(UnknownName, match=f"not {k} and {size}"):
            matched(facts(0), k=k, size=size)


# The null


@pytest.mark.parametrize("measure", ["cs1", "cs2", "jaccard"])
def test_pseudo_facts_are_of_queries_of_different_facts_and_wordings(measure: str) -> None:
    # Each query's set says whose it is: two queries of one fact, or of one wording, would share a unit
    made: SetsByFact = {}
    for index in range(8):
        name = f"r{index % 2}/s{index}"
        made[name] = [selection({(0, index), (1, place)}, name, f"t{place}") for place in range(4)]
    assert all(one.cs2 > 0 for one in consistency_of(made))
    assert shuffled_null(made, 20, measure=measure).abs().max() == 0


@pytest.mark.parametrize("within", [True, False])
def test_pseudo_facts_stay_within_a_relation_or_never_have_two_of_one(within: bool) -> None:
    made: SetsByFact = {}
    for index in range(16):
        name = f"r{index % 4}/s{index}"
        made[name] = [selection({(0, index % 4)}, name, f"t{place}") for place in range(4)]
    null = shuffled_null(made, 10, within_relation=within)
    assert null.shape == (10, 16)
    assert torch.equal(null, torch.full_like(null, float(within)))


def test_the_null_is_the_same_for_a_seed_and_draws_every_query_about_equally() -> None:
    made = facts(0)
    first = shuffled_null(made, 5, seed=3)
    assert torch.equal(first, shuffled_null(made, 5, seed=3))
    assert not torch.equal(first, shuffled_null(made, 5, seed=4))
    # CS1 is 1 if and only if both queries are of the two facts that are marked alike
    marked = {f"r/s{index}": [selection({(0, min(index, 2) or 1)}, f"r/s{index}")] * 2 for index in range(6)}
    marked |= {name: [selection({(1, index)}, name)] * 2 for index, name in enumerate(list(marked)[2:])}
    share = float(shuffled_null(marked, 500, measure="cs1").mean())
    assert share == pytest.approx(1 / math.comb(6, 2), abs=0.02)


def test_where_no_pseudo_fact_can_be_composed_there_is_no_score() -> None:
    made = facts(0, count=7, queries=4, relations=2)  # four facts of one relation, three of the other
    null = shuffled_null(made, 5)
    assert null.isfinite().all(dim=0).tolist() == [index % 2 == 0 for index in range(7)]
    assert null.isfinite().any(dim=0).tolist() == [index % 2 == 0 for index in range(7)]
    with pytest.raises(UnknownName, match="fewer relations than a fact has queries: match facts at a smaller k"):
        shuffled_null(made, 5, within_relation=False)
    with pytest.raises(UnknownName, match="no measure 'cs3'; there are cs1, cs2, jaccard"):
        shuffled_null(made, 5, measure="cs3")


def scores(made: SetsByFact) -> torch.Tensor:
    return torch.tensor([one.cs2 for one in consistency_of(made)], dtype=torch.float64)


def test_facts_with_neurons_of_their_own_are_above_the_null_of_their_relation() -> None:
    made = facts(0, own=6, of_relation=3)
    found = above_null(scores(made), shuffled_null(made, 99))
    assert found.p == 1 / 100 and (found.draws, found.facts) == (99, 24)
    assert found.observed == pytest.approx(float(scores(made).mean()))
    assert found.low < found.expected < found.high < found.observed


def test_facts_with_neurons_of_their_relation_alone_are_above_the_null_across_relations_only() -> None:
    ps = []
    for seed in range(9):
        made = facts(seed, count=24, queries=3, of_relation=5)
        ps.append(above_null(scores(made), shuffled_null(made, 19)).p)
        across = above_null(scores(made), shuffled_null(made, 19, within_relation=False))
        assert across.p == 1 / 20
    # Uniform: 9 of them average 0.5, with a standard deviation of 0.096
    assert 0.2 < statistics.mean(ps) < 0.8


def test_a_mean_and_its_null_are_over_the_same_facts() -> None:
    nan = float("nan")
    observed = torch.tensor([0.5, nan, 0.9, 0.1])
    null = torch.tensor([[0.1, 0.2, nan, 0.3], [0.5, 0.9, nan, 0.1], [0.6, 0.9, nan, nan]])
    found = above_null(observed, null.double())
    assert (found.facts, found.draws) == (2, 3)
    assert found.observed == pytest.approx(0.3)
    assert found.expected == pytest.approx((0.2 + 0.3 + 0.6) / 3)
    assert found.p == 3 / 4
    with pytest.raises(UnknownName, match="no fact has both"):
        above_null(torch.tensor([nan]), torch.tensor([[0.5]]))


# Thresholds


@pytest.mark.parametrize("seed", range(8))
def test_otsus_threshold_parts_scores_as_scikit_images_does(seed: int) -> None:
    filters = pytest.importorskip("skimage.filters")
    numbers = np.random.default_rng(seed)
    values = np.concatenate([numbers.binomial(12, 0.2, 40), numbers.binomial(12, 0.2 + seed / 12, 25)]) / 12
    each, counts = np.unique(values, return_counts=True)
    # Given the values themselves as bins, its threshold is the highest score of the lower group
    below = float(filters.threshold_otsu(hist=(counts, each)))
    found = otsu(torch.from_numpy(values))
    assert found == pytest.approx((below + float(each[each > below].min())) / 2)


def test_otsus_threshold_of_many_scores_is_scikit_images_of_a_fine_histogram() -> None:
    filters = pytest.importorskip("skimage.filters")
    numbers = np.random.default_rng(0)
    values = np.concatenate([numbers.beta(2, 9, 400), numbers.beta(8, 3, 300)])
    expected = float(filters.threshold_otsu(values, nbins=4096))
    found = otsu(torch.from_numpy(values))
    assert 250 < (values >= found).sum() < 350
    assert (values >= found).sum() == pytest.approx((values > expected).sum(), abs=1)  # the bin's own scores


def test_otsus_threshold_is_the_best_of_all_that_can_be_tried() -> None:
    values = sorted(np.random.default_rng(1).random(30).tolist())
    within = {}
    for cut in range(1, 30):
        groups = values[:cut], values[cut:]
        within[(values[cut - 1] + values[cut]) / 2] = sum(len(one) * statistics.pvariance(one) for one in groups)
    assert otsu(torch.tensor(values, dtype=torch.float64)) == pytest.approx(min(within, key=within.__getitem__))


def test_otsu_needs_scores_that_differ() -> None:
    with pytest.raises(UnknownName, match="two different scores"):
        otsu(torch.ones(5))
    with pytest.raises(UnknownName, match="a score is NaN"):
        otsu(torch.tensor([0.1, float("nan"), 0.4]))


# Tests of two kinds


def two_groups() -> tuple[torch.Tensor, torch.Tensor]:
    numbers = np.random.default_rng(5)
    return torch.from_numpy(numbers.normal(0.6, 0.2, 30)), torch.from_numpy(numbers.normal(0.4, 0.1, 50))


def test_welchs_test_is_scipys_and_the_formula() -> None:
    first, second = two_groups()
    found = welch(first, second)
    expected = ttest_ind(first.numpy(), second.numpy(), equal_var=False)
    assert (found.t, found.freedom, found.p) == (expected.statistic, expected.df, expected.pvalue)
    by_hand = float((first.mean() - second.mean()) / (first.var() / 30 + second.var() / 50).sqrt())
    assert found.t == pytest.approx(by_hand)


def test_hedges_g_is_the_difference_in_pooled_deviations_a_little_less() -> None:
    first, second = two_groups()
    found = welch(first, second).effect
    pooled = math.sqrt((29 * float(first.var()) + 49 * float(second.var())) / 78)
    g = float(first.mean() - second.mean()) / pooled * (1 - 3 / (4 * 78 - 1))
    assert found.mean == pytest.approx(g, rel=1e-4)  # Hedges' own approximation to the correction
    assert found.low < found.mean < found.high and found.n == 80
    # Its standard error in theory (Hedges and Olkin 1985, for equal variances)
    error = math.sqrt(80 / (30 * 50) + g**2 / (2 * 80))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.35)
    assert welch(first, second, seed=1).effect != found == welch(first, second).effect
    assert welch(second, first).effect.mean == pytest.approx(-found.mean)


def test_the_correction_of_g_makes_small_groups_unbiased() -> None:
    numbers = np.random.default_rng(0)
    samples = [
        (torch.from_numpy(numbers.normal(1, 1, 3)), torch.from_numpy(numbers.normal(0, 1, 4))) for _ in range(600)
    ]
    found = [welch(first, second, resamples=2).effect.mean for first, second in samples]
    # Uncorrected, 5 degrees of freedom would give 1.19
    assert statistics.mean(found) == pytest.approx(1, abs=0.11)


def test_welchs_test_needs_scores_that_vary() -> None:
    few, many = torch.tensor([0.5]), torch.tensor([0.5, 0.6])
    with pytest.raises(UnknownName, match="two scores of each group or more, not 1 and 2"):
        welch(few, many)
    with pytest.raises(UnknownName, match="nothing to measure by"):
        welch(torch.ones(3), torch.zeros(3))
    with pytest.raises(UnknownName, match="a score is NaN"):
        welch(many, torch.tensor([0.1, float("nan"), 0.2]))


def test_a_threshold_fakes_two_kinds_out_of_noise_and_halves_of_queries_do_not() -> None:
    faked, honest = [], []
    for seed in range(16):
        made = facts(seed, count=40, relations=1)
        all_of_them = scores(made)
        border = otsu(all_of_them)
        faked.append(welch(all_of_them[all_of_them >= border], all_of_them[all_of_them < border], resamples=2).p)
        honest.append(split_half(made, measure="jaccard", resamples=99, seed=seed).p)
    assert max(faked) < 1e-3 and statistics.median(faked) < 1e-6
    # Uniform: 16 of them average 0.5, with a standard deviation of 0.072
    assert 0.25 < statistics.mean(honest) < 0.75


@pytest.mark.parametrize("measure", ["cs1", "cs2", "jaccard"])
def test_halves_find_two_kinds_where_there_are_two(measure: str) -> None:
    made = facts(0, count=40, own=7, relations=1)
    found = split_half(made, measure=measure, resamples=999)
    assert (len(found.consistent), len(found.inconsistent)) == (20, 20)
    assert found.p == 1 / 1000
    assert found.difference == pytest.approx(float(found.consistent.mean() - found.inconsistent.mean()))
    assert found.difference > 0.1 and found.reliability > 0.6
    assert welch(found.consistent, found.inconsistent, resamples=10).p < 1e-6


def test_no_query_is_in_both_halves() -> None:
    # Two of the four queries agree and nothing else does: where one half agrees, the other cannot
    made: SetsByFact = {}
    for index in range(48):
        name = f"r/s{index}"
        made[name] = [selection({(0, 1)} if place < 2 else {(1 + place % 3, index)}, name) for place in range(4)]
    for seed in range(1, 9):
        found = split_half(made, threshold=0.5, resamples=9, seed=seed)
        assert set(found.consistent.tolist()) == {0.0}
        assert set(found.inconsistent.tolist()) == {0.0, 1.0}


def test_a_threshold_that_is_given_is_used_and_one_that_parts_nothing_refused() -> None:
    made = facts(0, count=20, own=7)
    assert split_half(made, threshold=0.17, resamples=9).threshold == 0.17
    with pytest.raises(
        UnknownName, match="the threshold 2 leaves 0 consistent and 20 inconsistent facts: a test takes two"
    ):
        split_half(made, threshold=2.0)


def test_facts_with_unequal_numbers_of_queries_have_no_halves_to_compare() -> None:
    made = facts(0, count=4, queries=6) | {"r/more": facts(1, count=1, queries=9)["r0/s0"]}
    with pytest.raises(UnknownName, match="equally many queries, four or more; these have 6 to 9"):
        split_half(made)
    with pytest.raises(UnknownName, match="these have 3 to 3"):
        split_half(facts(0, queries=3))
    with pytest.raises(UnknownName, match="these have none"):
        split_half({})
