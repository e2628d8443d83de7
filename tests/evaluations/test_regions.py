"""How many neurons, and where, against Python's own counting."""

from __future__ import annotations

import itertools

import pytest
import torch

import locant
from locant.errors import UnknownName
from locant.evaluations.regions import layer_histogram, neurons_per_question, regions
from question_sets import GRID, Sets, questions, selection


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


def test_questions_without_a_group_and_none_at_all_are_refused() -> None:
    sets, _, _ = questions(0, each=1)
    for refuses in (neurons_per_question, layer_histogram, regions):
        with pytest.raises(UnknownName, match="2 questions have no group, the first of them 'q1'"):
            refuses(sets, {"q0": "g0"})
        with pytest.raises(UnknownName, match="these are none"):
            refuses({}, {})
