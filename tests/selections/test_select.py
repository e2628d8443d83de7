"""Rules against loops over plain lists."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
from locant.errors import UnknownName
from locant.types import Attribution, Provenance

GRID = (4, 30)


def attribution(scores: Tensor) -> Attribution:
    """An attribution with these scores [query layer neuron]."""
    queries = tuple(locant.query(f"p{index}", "a") for index in range(len(scores)))
    return Attribution(
        queries, scores, torch.zeros_like(scores), torch.ones(len(scores)), None, Provenance("by hand")
    )


def scored(queries: int = 1, seed: int = 0) -> Attribution:
    return attribution(torch.randn(queries, *GRID, generator=torch.Generator().manual_seed(seed)))


def mean_scores(found: Attribution) -> dict[tuple[int, int], float]:
    """By unit, the mean over queries."""
    rows = found.scores.tolist()
    return {
        (layer, neuron): sum(row[layer][neuron] for row in rows) / len(rows)
        for layer in range(GRID[0])
        for neuron in range(GRID[1])
    }


def units(selection: locant.Selection) -> list[tuple[int, int]]:
    return [tuple(unit) for unit in selection.units.tolist()]  # type: ignore[misc]


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("k", [1, 7, 120])
def test_top_takes_the_highest_scores_of_the_model(queries: int, k: int) -> None:
    found = scored(queries)
    scores = mean_scores(found)
    assert units(locant.select(found, "top", k=k)) == sorted(sorted(scores, key=scores.__getitem__)[-k:])


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("k", [1, 7, 30])
def test_top_per_layer_takes_the_highest_scores_of_each_layer(queries: int, k: int) -> None:
    found = scored(queries)
    scores = mean_scores(found)
    expected = []
    for layer in range(GRID[0]):
        own = [unit for unit in scores if unit[0] == layer]
        expected += sorted(sorted(own, key=scores.__getitem__)[-k:])
    assert units(locant.select(found, "top-per-layer", k=k)) == expected


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.7, 1.0])
def test_share_takes_every_score_of_at_least_that_share_of_the_highest(queries: int, share: float) -> None:
    found = scored(queries)
    scores = mean_scores(found)
    least = share * max(scores.values())
    expected = [unit for unit in scores if scores[unit] >= least - 1e-7]
    assert units(locant.select(found, "share", share=share)) == expected


@pytest.mark.parametrize("rule", ["top", "top-per-layer", "share"])
def test_a_selection_is_sorted_unique_and_weighed_by_its_scores(rule: str) -> None:
    found = scored(2)
    chosen = locant.select(found, rule, k=9)
    assert units(chosen) == sorted(set(units(chosen)))
    expected = [mean_scores(found)[unit] for unit in units(chosen)]
    assert chosen.weight.tolist() == pytest.approx(expected, abs=1e-6)
    assert (chosen.grid, chosen.queries) == (GRID, found.queries)
    by_layer = [(layer, int(neuron)) for layer, own in chosen.by_layer().items() for neuron in own]
    assert by_layer == units(chosen)


def test_of_several_queries_the_mean_decides_and_not_the_highest_of_one() -> None:
    scores = torch.zeros(2, *GRID)
    scores[0, 1, 5], scores[1, 1, 5] = 10.0, -10.0
    scores[:, 2, 6] = 1.0
    assert units(locant.select(attribution(scores), k=1)) == [(2, 6)]


def test_equal_scores_still_give_exactly_k() -> None:
    assert len(locant.select(attribution(torch.ones(1, *GRID)), k=11)) == 11


def test_where_no_score_is_positive_no_share_of_the_highest_is_taken() -> None:
    for scores in (torch.zeros(1, *GRID), -torch.rand(1, *GRID)):
        chosen = locant.select(attribution(scores), "share")
        assert len(chosen) == 0 and chosen.by_layer() == {}


@pytest.mark.parametrize(
    ("rule", "k", "most"),
    [("top", 0, 120), ("top", -1, 120), ("top", 121, 120), ("top-per-layer", 0, 30), ("top-per-layer", 31, 30)],
)
def test_a_number_that_cannot_be_taken_is_refused(rule: str, k: int, most: int) -> None:
    with pytest.raises(UnknownName) as caught:
        locant.select(scored(), rule, k=k)
    assert str(caught.value) == f"cannot take the top {k}: there are 1 to {most} neurons to take"


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(UnknownName, match=f"a share is more than 0 and at most 1, not {share}"):
        locant.select(scored(), "share", share=share)


def test_a_rule_is_not_judged_by_the_number_of_another() -> None:
    few = attribution(torch.ones(1, 2, 3))
    assert len(locant.select(few, "share")) == 6
    assert len(locant.select(few, "top", k=2, share=0.0)) == 2


def test_a_rule_that_does_not_exist_is_told_which_do() -> None:
    with pytest.raises(UnknownName, match=r"^no rule 'best'; there are top, top-per-layer, share$"):
        locant.select(scored(), "best")


def test_a_selection_says_what_it_was_made_from_and_how() -> None:
    found = scored()
    made_by = locant.select(found, "share", share=0.5).made_by
    assert (made_by.method, made_by.settings) == ("select:share", {"share": 0.5})
    assert made_by.parents == (found.made_by.digest(),)
    assert locant.select(found, k=5).made_by.settings == {"k": 5}
