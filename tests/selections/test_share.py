"""What sets share, against Python's own sets; the consistency-aware score, against loops over plain lists."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import locant
from locant.errors import UnknownName
from locant.selections import consistency_aware, in_at_least, intersection, strongest, union
from locant.types import Provenance, Selection

GRID = (3, 12)
Units = set[tuple[int, int]]


def selection(units: Units, name: str = "q", weights: dict[tuple[int, int], float] | None = None) -> Selection:
    """The set of one query."""
    rows = sorted(units)
    weight = torch.tensor([(weights or {}).get(unit, 1.0) for unit in rows])
    query = locant.query(f"p {name}", "a", uid=name)
    return Selection(
        (query,),
        torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
        weight,
        GRID,
        Provenance("by hand", {"of": name}),
    )


def units_of(found: Selection) -> list[tuple[int, int]]:
    return [tuple(unit) for unit in found.units.tolist()]  # type: ignore[misc]


def random_units(seed: int, share: float = 0.4) -> Units:
    at = torch.rand(GRID, generator=torch.Generator().manual_seed(seed)) < share
    return {(int(layer), int(neuron)) for layer, neuron in at.nonzero().tolist()}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_union_and_intersection_are_those_of_pythons_own_sets(count: int) -> None:
    plain = [random_units(seed) for seed in range(count)]
    sets = [selection(units, f"q{index}") for index, units in enumerate(plain)]
    assert units_of(union(sets)) == sorted(set.union(*plain))
    assert units_of(intersection(sets)) == sorted(set.intersection(*plain))


@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_what_at_least_some_sets_hold_is_counted_and_weighs_its_count(least: int) -> None:
    plain = [random_units(seed) for seed in range(4)]
    count = {unit: sum(unit in units for units in plain) for unit in set.union(*plain)}
    found = in_at_least([selection(units, f"q{index}") for index, units in enumerate(plain)], least)
    expected = sorted(unit for unit in count if count[unit] >= least)
    assert units_of(found) == expected and expected
    assert found.weight.tolist() == [count[unit] for unit in expected]


def test_shared_sets_know_their_queries_and_their_parents() -> None:
    sets = [selection(random_units(seed), f"q{seed % 2}") for seed in range(3)]
    found = in_at_least(sets, 2)
    assert [query.uid for query in found.queries] == ["q0", "q1"]
    assert (found.made_by.method, found.made_by.settings) == ("in_at_least", {"least": 2, "sets": 3})
    assert found.made_by.parents == tuple(one.made_by.digest() for one in sets)
    assert len({made(sets).made_by.digest() for made in (union, intersection, in_at_least)}) == 3


def test_disjoint_and_empty_sets_share_nothing() -> None:
    sets = [selection({(0, 1)}), selection({(1, 1)}), selection(set())]
    assert units_of(intersection(sets)) == units_of(in_at_least(sets)) == []
    assert units_of(union(sets)) == [(0, 1), (1, 1)]
    assert units_of(union([selection(set())])) == []


def test_sets_that_cannot_be_compared_are_refused() -> None:
    here = selection({(0, 1)})
    with pytest.raises(UnknownName, match=r"these are neuron \[3, 12\] and neuron \[4, 12\]"):
        union([here, replace(here, grid=(4, 12))])
    with pytest.raises(UnknownName, match=r"these are head \[3, 12\] and neuron \[3, 12\]"):
        intersection([here, replace(here, kind="head")])
    with pytest.raises(UnknownName, match="these are none"):
        union([])
    for least in (0, 3):
        with pytest.raises(UnknownName, match=f"no unit can be in {least} of 2 sets; 1 to 2 can be asked for"):
            in_at_least([here, here], least)


def test_the_strongest_units_are_those_of_the_highest_weights() -> None:
    weights = {(0, 1): 0.5, (0, 4): -2.0, (1, 0): 0.5, (2, 3): 3.0, (2, 5): 0.1}
    found = selection(set(weights), weights=weights)
    assert units_of(strongest(found, 1)) == [(2, 3)]
    assert units_of(strongest(found, 2)) == [(0, 1), (2, 3)]
    assert units_of(strongest(found, 3)) == [(0, 1), (1, 0), (2, 3)]
    assert strongest(found, 3).weight.tolist() == [0.5, 0.5, 3.0]
    assert len(strongest(found, 0)) == 0
    with pytest.raises(UnknownName, match="cannot take the strongest 6 of a set of 5"):
        strongest(found, 6)


# The consistency-aware score


def values(queries: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(queries, *GRID, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def scores_by_hand(of: torch.Tensor, pool: Selection, beta1: float, beta2: float) -> dict[tuple[int, int], float]:
    scores = {}
    for layer, neuron in units_of(pool):
        column = [float(row[layer, neuron]) for row in of]
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
        scores[layer, neuron] = beta1 * mean - beta2 * deviation
    return scores


@pytest.mark.parametrize(("beta1", "beta2"), [(1.0, 0.0), (1.0, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("queries", [1, 4])
def test_the_score_is_the_mean_less_the_deviation_of_the_population(beta1: float, beta2: float, queries: int) -> None:
    pool = selection(random_units(9, share=0.7))
    of = values(queries)
    scores = scores_by_hand(of, pool, beta1, beta2)
    best = consistency_aware(of, pool, beta1, beta2, size=7)
    assert units_of(best) == sorted(sorted(scores, key=scores.__getitem__)[-7:])
    assert best.weight.tolist() == pytest.approx([scores[unit] for unit in units_of(best)])
    high = consistency_aware(of, pool, beta1, beta2, threshold=0.4)
    assert units_of(high) == [unit for unit in units_of(pool) if scores[unit] >= 0.4 * max(scores.values())]
    assert 1 < len(high) < len(pool)


def test_nothing_outside_the_pool_is_chosen_however_high() -> None:
    pool = selection({(0, 0), (2, 2)})
    of = values()
    of[:, 1, 5] = 100.0
    of[:, 0, 0] = 1.0
    assert units_of(consistency_aware(of, pool, size=2)) == [(0, 0), (2, 2)]
    assert units_of(consistency_aware(of, pool, threshold=1.0)) == [(0, 0)]


def test_a_neuron_of_one_wording_gives_way_to_one_of_all() -> None:
    pool = selection({(0, 0), (1, 1)})
    of = torch.zeros(4, *GRID)
    of[0, 0, 0] = 8.0  # 2 on average
    of[:, 1, 1] = 1.0
    assert units_of(consistency_aware(of, pool, 1.0, 0.0, size=1)) == [(0, 0)]
    assert units_of(consistency_aware(of, pool, 1.0, 1.0, size=1)) == [(1, 1)]


def test_where_no_score_is_positive_a_share_of_the_highest_is_none() -> None:
    pool = selection({(0, 0), (1, 1)})
    assert len(consistency_aware(-values().abs(), pool, threshold=0.2)) == 0
    assert len(consistency_aware(values(), selection(set()), threshold=0.2)) == 0


def test_the_choice_says_what_it_was_made_from() -> None:
    pool = selection({(0, 0), (1, 1)})
    made_by = consistency_aware(values(), pool, 1.0, 2.0, size=1).made_by
    settings = {name: value for name, value in made_by.settings.items() if name != "values"}
    assert settings == {"beta1": 1.0, "beta2": 2.0, "threshold": None, "size": 1}
    assert made_by.parents == (pool.made_by.digest(),)
    assert made_by != consistency_aware(values(seed=1), pool, 1.0, 2.0, size=1).made_by


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one of them"),
        ({"threshold": 0.2, "size": 1}, "exactly one of them"),
        ({"threshold": 0.0}, "more than 0 and at most 1, not 0.0"),
        ({"threshold": 1.5}, "more than 0 and at most 1, not 1.5"),
        ({"size": 0}, "cannot take the top 0: the pool has 2 neurons"),
        ({"size": 3}, "cannot take the top 3: the pool has 2 neurons"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(given: dict[str, float | int], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        consistency_aware(values(), selection({(0, 0), (1, 1)}), **given)  # type: ignore[arg-type]


def test_values_of_a_model_of_another_size_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"neurons per layer|\(3, 11\), the pool of \(3, 12\)"):
        consistency_aware(values()[:, :, :11], selection({(0, 0)}), size=1)
