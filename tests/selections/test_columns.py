"""High columns are chosen against each query's own highest; their controls share layer and position."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from families import WORDS
from locant.attributions.synapses import Columns
from locant.errors import UnknownName
from locant.selections.columns import ColumnSet, irrelevant_columns, select_columns
from locant.types import Provenance


def made(seed: int = 0) -> Columns:
    """Sums of three prompts in a model of 3 layers of 16 heads; the first positions draw most."""
    lengths = torch.tensor([3, 9, 5])
    sums = torch.rand(3, 3, 16, 9, generator=torch.Generator().manual_seed(seed)) / torch.linspace(1, 2, 9)
    real = torch.arange(9) < lengths[:, None]
    return Columns(WORDS.all, sums * real[:, None, None], lengths, Provenance("by hand"))


def places(chosen: ColumnSet) -> Counter[tuple[int, int]]:
    """How many heads at each (layer, column)."""
    return Counter((layer, column) for layer, _, column in chosen.units.tolist())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_columns_above_the_share_of_their_querys_highest_are_chosen(alpha: float) -> None:
    columns = made()
    for index, chosen in enumerate(select_columns(columns, alpha)):
        highest = max(columns.of(index).flatten().tolist())
        expected = [
            [layer, head, column]
            for layer in range(3)
            for head in range(16)
            for column in range(int(columns.lengths[index]))
            if float(columns.sums[index, layer, head, column]) > alpha * highest
        ]
        assert chosen.units.tolist() == expected
        assert chosen.query == WORDS.all[index]
        assert chosen.grid == (3, 16, int(columns.lengths[index]))
        assert len(chosen) > 0


def test_a_column_of_exactly_the_share_is_not_chosen() -> None:
    sums = torch.zeros(1, 1, 2, 2)
    sums[0, 0] = torch.tensor([[4.0, 2.0], [3.0, 1.0]])
    columns = Columns((WORDS.short,), sums, torch.tensor([2]), Provenance("by hand"))
    (chosen,) = select_columns(columns, 0.5)
    assert chosen.units.tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(UnknownName, match="alpha is at least 0 and less than 1, not"):
        select_columns(made(), alpha)


def test_others_are_as_many_at_the_same_layers_and_positions_in_other_heads() -> None:
    columns = made()
    chosen = select_columns(columns, 0.8)
    assert all(count <= 8 for one in chosen for count in places(one).values())
    assert all(len({column for _, column in places(one)}) > 1 for one in chosen)
    for one, other in zip(chosen, irrelevant_columns(columns, chosen, seed=3), strict=True):
        assert places(other) == places(one)
        assert not set(map(tuple, one.units.tolist())) & set(map(tuple, other.units.tolist()))
        assert other.units.tolist() == sorted(other.units.tolist())
        assert (other.query, other.grid) == (one.query, one.grid)
        assert other.made_by.parents == (one.made_by.digest(),)


def test_where_a_position_has_too_few_other_heads_the_rest_come_from_its_layer() -> None:
    sums = torch.ones(1, 2, 4, 5)
    sums[0, 1, :3, 0] = 9.0
    sums[0, 1, :, 4] = 0.0  # a column that nothing looks at is no comparison
    columns = Columns((WORDS.double,), sums, torch.tensor([5]), Provenance("by hand"))
    chosen = select_columns(columns, 0.5)
    for seed in range(20):
        (other,) = irrelevant_columns(columns, chosen, seed)
        assert len(other) == 3
        assert other.units[:, 0].tolist() == [1, 1, 1]
        assert [1, 3, 0] in other.units.tolist()
        assert not set(other.units[:, 2].tolist()) & {4}


def test_every_other_head_is_drawn_sooner_or_later_and_a_seed_gives_the_same_again() -> None:
    sums = torch.ones(1, 1, 5, 3)
    sums[0, 0, 2, 1] = 9.0
    columns = Columns((WORDS.short,), sums, torch.tensor([3]), Provenance("by hand"))
    chosen = select_columns(columns, 0.5)
    drawn = [irrelevant_columns(columns, chosen, seed)[0].units.tolist() for seed in range(60)]
    assert {tuple(unit) for units in drawn for unit in units} == {(0, head, 1) for head in (0, 1, 3, 4)}
    assert drawn == [irrelevant_columns(columns, chosen, seed)[0].units.tolist() for seed in range(60)]


def test_a_query_has_the_same_control_whichever_others_are_drawn_with_it() -> None:
    columns = made()
    chosen = select_columns(columns, 0.8)
    alone = Columns(columns.queries[2:], columns.sums[2:], columns.lengths[2:], columns.made_by)
    (last,) = irrelevant_columns(alone, chosen[2:], seed=1)
    assert torch.equal(last.units, irrelevant_columns(columns, chosen, seed=1)[2].units)


def test_too_few_others_and_sets_of_other_queries_are_refused() -> None:
    columns = made()
    with pytest.raises(UnknownName, match=r"cannot draw \d+ other columns in a layer: only 0 are not chosen"):
        irrelevant_columns(columns, select_columns(columns, 0.0), seed=0)
    chosen = select_columns(columns, 0.8)
    with pytest.raises(UnknownName, match="not those of these queries, in this order"):
        irrelevant_columns(columns, chosen[::-1], seed=0)
