"""Overlaps, counts and regions against Python's own sets, and a null that finds what is there and nothing else."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import torch

import locant
from locant.errors import UnknownName
from locant.evaluations.overlap import layer_histogram, neurons_per_question, overlap, regions
from locant.types import Provenance, Selection

GRID = (4, 50)
Unit = tuple[int, int]
Sets = dict[str, Selection]


def selection(units: set[Unit], name: str = "q", weights: dict[Unit, float] | None = None) -> Selection:
    """The set of one question."""
    rows = sorted(units)
    return Selection(
        (locant.query("p", "A", fact=name),),
        torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
        torch.tensor([(weights or {}).get(unit, 1.0) for unit in rows]),
        GRID,
        Provenance("by hand"),
    )


def questions(
    seed: int, groups: int = 3, each: int = 12, size: int = 6, own: int = 0
) -> tuple[Sets, dict[str, str], dict[str, set[Unit]]]:
    """Questions of random neurons, `own` of each from a region of its group, and plain sets of the groups'."""
    numbers = np.random.default_rng(seed)
    sets: Sets = {}
    labels: dict[str, str] = {}
    unions: dict[str, set[Unit]] = {f"g{group}": set() for group in range(groups)}
    for number in range(groups * each):
        group = number % groups
        free = {divmod(int(code), GRID[1]) for code in numbers.choice(200, size - own, replace=False)}
        its = {divmod(int(code), GRID[1]) for code in 60 * group + numbers.choice(20, own, replace=False)}
        sets[f"q{number}"], labels[f"q{number}"] = selection(free | its, f"q{number}"), f"g{group}"
        unions[f"g{group}"] |= free | its
    return sets, labels, unions


def jaccard(one: set[Unit], other: set[Unit]) -> float:
    return len(one & other) / len(one | other)


def dice(one: set[Unit], other: set[Unit]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))


@pytest.mark.parametrize(("measure", "plain"), [("jaccard", jaccard), ("dice", dice)])
def test_overlaps_are_those_of_pythons_own_sets(measure: str, plain: object) -> None:
    sets, groups, unions = questions(0)
    found = overlap(sets, groups, measure, draws=2)
    assert (found.measure, found.groups, found.draws) == (measure, ("g0", "g1", "g2"), 2)
    assert found.sizes == tuple(len(one) for one in unions.values())
    expected = [[plain(one, other) for other in unions.values()] for one in unions.values()]  # type: ignore[operator]
    assert torch.allclose(found.observed, torch.tensor(expected, dtype=torch.float64), rtol=1e-12)
    assert 0.1 < float(found.observed[0, 1]) < 0.9


def test_the_null_is_what_plain_shuffles_of_the_labels_give() -> None:
    sets, groups, _ = questions(1, each=5)
    found = overlap(sets, groups, draws=200, seed=7)
    numbers = np.random.default_rng(7)
    numbered = np.array([int(groups[uid][1:]) for uid in sets])
    plain = [{tuple(unit) for unit in one.units.tolist()} for one in sets.values()]
    drawn = []
    for _ in range(200):
        labels = numbers.permutation(numbered).tolist()
        unions = [
            set().union(*(own for own, label in zip(plain, labels, strict=True) if label == g)) for g in range(3)
        ]
        drawn.append(jaccard(unions[0], unions[2]))
    observed = float(found.observed[0, 2])
    assert float(found.expected[0, 2]) == pytest.approx(statistics.mean(drawn), rel=1e-9)
    assert float(found.low[0, 2]) == pytest.approx(np.quantile(drawn, 0.025), rel=1e-9)
    assert float(found.high[0, 2]) == pytest.approx(np.quantile(drawn, 0.975), rel=1e-9)
    below, above = sum(one <= observed for one in drawn), sum(one >= observed for one in drawn)
    assert float(found.p[0, 2]) == pytest.approx(min(1, 2 * (1 + min(below, above)) / 201))


def test_matrices_are_symmetric_and_a_group_is_itself() -> None:
    sets, groups, _ = questions(2)
    found = overlap(sets, groups, draws=50)
    for matrix in (found.observed, found.expected, found.low, found.high, found.p):
        assert torch.equal(matrix, matrix.T)
        assert matrix.diagonal().tolist() == [1.0, 1.0, 1.0]


def test_groups_with_neurons_of_their_own_share_less_than_shuffled_ones() -> None:
    sets, groups, _ = questions(3, own=4)
    found = overlap(sets, groups, draws=500)
    for one, other in itertools.permutations(range(3), 2):
        assert found.observed[one, other] < found.low[one, other]
        assert found.p[one, other] == 2 / 501


def test_two_groups_that_are_alike_share_more_than_chance_gives_them() -> None:
    sets: Sets = {}
    groups: dict[str, str] = {}
    for group, number in itertools.product(range(4), range(10)):
        # The first two groups use the same ten neurons of one layer, the others the same ten of another
        sets[f"{group}/{number}"], groups[f"{group}/{number}"] = selection({(group // 2, number)}), f"g{group}"
    found = overlap(sets, groups, draws=500)
    for one, other in ((0, 1), (2, 3)):
        assert found.observed[one, other] == 1 > found.high[one, other] and found.p[one, other] == 2 / 501
    for one, other in ((0, 2), (0, 3), (1, 2), (1, 3)):
        assert found.observed[one, other] == 0 < found.expected[one, other]


def test_where_groups_are_nothing_to_the_neurons_p_is_as_often_small_as_it_says() -> None:
    found = [float(overlap(*questions(seed, each=6)[:2], draws=99, seed=seed).p[0, 1]) for seed in range(60)]
    # Uniform on (0, 1]: 60 of them average 0.5, with a standard deviation of 0.037
    assert 0.39 < statistics.mean(found) < 0.64
    assert sum(p <= 0.1 for p in found) <= 13


def test_jaccard_and_dice_order_pairs_alike_so_that_their_p_is_one() -> None:
    sets, groups, _ = questions(5, own=1)
    one, other = (overlap(sets, groups, measure, draws=100, seed=3) for measure in ("jaccard", "dice"))
    assert torch.equal(one.p, other.p)
    assert torch.allclose(other.observed, 2 * one.observed / (1 + one.observed))


def test_a_seed_gives_the_same_null_again_and_another_another() -> None:
    sets, groups, _ = questions(6)
    first = overlap(sets, groups, draws=30, seed=1)
    assert torch.equal(first.expected, overlap(sets, groups, draws=30, seed=1).expected)
    assert not torch.equal(first.expected, overlap(sets, groups, draws=30, seed=2).expected)


def test_groups_without_neurons_share_nothing_of_nothing() -> None:
    sets = {"a": selection(set()), "b": selection(set()), "c": selection({(0, 1)}), "d": selection({(0, 1)})}
    found = overlap(sets, {"a": "x", "b": "y", "c": "z", "d": "z"}, draws=40)
    assert math.isnan(found.observed[0, 1]) and math.isnan(found.p[0, 1])
    assert found.observed[0, 2] == 0 and found.observed[2, 2] == 1
    assert found.sizes == (0, 0, 1)
    # Draws in which neither has any are left out; in the others, both have it or one
    assert 0 < float(found.expected[0, 1]) < 1
    assert 0 < float(found.expected[0, 2]) < 1 and 0 < float(found.p[0, 2]) <= 1


def test_overlaps_that_make_no_sense_are_refused() -> None:
    sets, groups, _ = questions(0, each=1)
    with pytest.raises(UnknownName, match=r"^no overlap 'cosine'; there are jaccard, dice$"):
        overlap(sets, groups, "cosine")
    with pytest.raises(UnknownName, match="a null takes 1 draw or more, not 0"):
        overlap(sets, groups, draws=0)
    with pytest.raises(UnknownName, match="between two groups or more; these are 1"):
        overlap(sets, dict.fromkeys(sets, "g"))
    with pytest.raises(UnknownName, match="no question has any neuron"):
        overlap({"a": selection(set()), "b": selection(set())}, {"a": "x", "b": "y"})
    for refuses in (overlap, neurons_per_question, layer_histogram, regions):
        with pytest.raises(UnknownName, match="2 questions have no group, the first of them 'q1'"):
            refuses(sets, {"q0": "g0"})
        with pytest.raises(UnknownName, match="these are none"):
            refuses({}, {})


# How many, and where


def test_neurons_per_question_are_means_over_the_groups_questions_with_intervals() -> None:
    sizes = {"x": [0, 3, 9, 4], "y": [5, 5, 5]}
    sets: Sets = {}
    groups: dict[str, str] = {}
    for group, own in sizes.items():
        for number, size in enumerate(own):
            sets[f"{group}{number}"] = selection({(0, unit) for unit in range(size)})
            groups[f"{group}{number}"] = group
    found = neurons_per_question(sets, groups, seed=5)
    assert (found["x"].mean, found["x"].n) == (4, 4)
    assert found["x"] == locant.interval(torch.tensor([0.0, 3, 9, 4], dtype=torch.float64), list("abcd"), seed=5)
    assert found["x"].low < 4 < found["x"].high
    assert (found["y"].mean, found["y"].low, found["y"].high, found["y"].n) == (5, 5, 5, 3)


def test_layer_histograms_count_neurons_once_and_once_for_each_question() -> None:
    sets, groups, unions = questions(8)
    found = layer_histogram(sets, groups)
    assert found.groups == tuple(unions)
    for row, (group, union) in enumerate(unions.items()):
        own = [unit for uid, one in sets.items() if groups[uid] == group for unit in one.units.tolist()]
        assert found.occurrences[row].tolist() == [sum(at == layer for at, _ in own) for layer in range(GRID[0])]
        assert found.neurons[row].tolist() == [sum(at == layer for at, _ in union) for layer in range(GRID[0])]
    assert not torch.equal(found.neurons, found.occurrences)


@pytest.mark.parametrize("bins", [1, 7, 10, 50, 64])
def test_regions_add_up_what_falls_into_each_bin(bins: int) -> None:
    plain, groups, _ = questions(9)
    sets = {
        uid: selection(
            {tuple(unit) for unit in one.units.tolist()},  # type: ignore[misc]
            uid,
            {tuple(unit): 0.01 * sum(unit) for unit in one.units.tolist()},  # type: ignore[misc]
        )
        for uid, one in plain.items()
    }
    found = regions(sets, groups, bins)
    width = min(bins, 50)
    assert len(found.starts) == width and found.occurrences.shape == found.weight.shape == (3, 4, width)
    ends = [*found.starts[1:], 50]
    assert found.starts[0] == 0 and {end - start for start, end in zip(found.starts, ends, strict=True)} <= {
        50 // width,
        -(-50 // width),
    }
    for row, group in enumerate(found.groups):
        for layer, place in itertools.product(range(4), range(width)):
            inside = [
                weight
                for uid, one in sets.items()
                if groups[uid] == group
                for (at, neuron), weight in zip(one.units.tolist(), one.weight.tolist(), strict=True)
                if at == layer and found.starts[place] <= neuron < ends[place]
            ]
            assert int(found.occurrences[row, layer, place]) == len(inside)
            assert float(found.weight[row, layer, place]) == pytest.approx(sum(inside))


def test_a_layer_without_bins_is_refused() -> None:
    sets, groups, _ = questions(0)
    with pytest.raises(UnknownName, match="a layer has 1 bin or more, not 0"):
        regions(sets, groups, 0)
