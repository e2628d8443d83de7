"""Random sets are fair controls: as many, as placed, disjoint, and every neuron as likely."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

import locant
from locant.errors import UnknownName
from locant.types import Provenance, Selection

GRID = (3, 20)
CHOSEN = [(0, 3), (0, 19), (2, 0), (2, 1), (2, 2), (2, 11)]


def selection(units: list[tuple[int, int]]) -> Selection:
    grid = torch.tensor(units, dtype=torch.int64).reshape(-1, 2)
    return Selection((), grid, torch.ones(len(units)), GRID, Provenance("by hand"))


def drawn(seed: int, layer_matched: bool, units: list[tuple[int, int]] = CHOSEN) -> list[tuple[int, int]]:
    found = locant.random_set(selection(units), seed, layer_matched=layer_matched)
    return [tuple(unit) for unit in found.units.tolist()]  # type: ignore[misc]


@pytest.mark.parametrize("layer_matched", [True, False])
def test_a_random_set_is_as_large_sorted_unique_and_apart_from_the_chosen(layer_matched: bool) -> None:
    for seed in range(50):
        units = drawn(seed, layer_matched)
        assert len(units) == len(CHOSEN)
        assert units == sorted(set(units))
        assert not set(units) & set(CHOSEN)
        assert all(0 <= layer < GRID[0] and 0 <= neuron < GRID[1] for layer, neuron in units)


def test_a_layer_matched_set_has_as_many_in_each_layer() -> None:
    expected = Counter(layer for layer, _ in CHOSEN)
    assert all(Counter(layer for layer, _ in drawn(seed, True)) == expected for seed in range(50))


def test_a_set_from_anywhere_is_not_bound_to_the_layers() -> None:
    layers = {tuple(sorted(Counter(layer for layer, _ in drawn(seed, False)).items())) for seed in range(50)}
    assert len(layers) > 5
    assert any(1 in dict(counts) for counts in layers)


@pytest.mark.parametrize("layer_matched", [True, False])
def test_a_seed_gives_one_set_and_another_seed_another(layer_matched: bool) -> None:
    sets = [tuple(drawn(seed, layer_matched)) for seed in range(100)]
    assert sets == [tuple(drawn(seed, layer_matched)) for seed in range(100)]
    assert len(set(sets)) == 100


@pytest.mark.parametrize("layer_matched", [True, False])
def test_every_free_neuron_is_drawn_equally_often(layer_matched: bool) -> None:
    seeds = 500
    counts = Counter(unit for seed in range(seeds) for unit in drawn(seed, layer_matched))
    free = [(layer, neuron) for layer in range(GRID[0]) for neuron in range(GRID[1]) if (layer, neuron) not in CHOSEN]
    for layer, neuron in free:
        own = sum(other == layer for other, _ in CHOSEN) if layer_matched else len(CHOSEN)
        places = sum(other == layer for other, _ in free) if layer_matched else len(free)
        chance = own / places
        # Five standard deviations of a binomial
        slack = 5 * math.sqrt(seeds * chance * (1 - chance))
        assert abs(counts[layer, neuron] - seeds * chance) <= slack


def test_nothing_chosen_gives_nothing_drawn() -> None:
    assert drawn(0, True, []) == drawn(0, False, []) == []


def test_when_too_few_are_left_it_is_said_how_many() -> None:
    most_of_a_layer = [(1, neuron) for neuron in range(11)]
    with pytest.raises(UnknownName, match=r"^cannot draw 11 random neurons: only 9 are not chosen$"):
        drawn(0, True, most_of_a_layer)
    assert len(drawn(0, False, most_of_a_layer)) == 11


def test_a_random_set_says_from_what_and_with_which_seed_it_was_drawn() -> None:
    made_by = locant.random_set(selection(CHOSEN), 7).made_by
    assert (made_by.method, made_by.seed, made_by.settings) == ("random_set", 7, {"layer_matched": True})
    assert made_by.parents == (selection(CHOSEN).made_by.digest(),)
