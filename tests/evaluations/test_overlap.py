"""Overlaps against Python's own sets, and nulls that find what is there and nothing else."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import torch

from locant.errors import UnknownName
from locant.evaluations.membership import shuffles
from locant.evaluations.overlap import likeness, overlap
from question_sets import Sets, Unit, questions, selection


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
    for refuses in (overlap, likeness):
        with pytest.raises(UnknownName, match="2 questions have no group, the first of them 'q1'"):
            refuses(sets, {"q0": "g0"})
        with pytest.raises(UnknownName, match="3 questions have no block, the first of them 'q0'"):
            refuses(sets, groups, blocks={})
        with pytest.raises(UnknownName, match="these are none"):
            refuses({}, {})
        with pytest.raises(UnknownName, match="every group is a single block"):
            refuses(sets, groups, blocks=groups)


# Blocks


def of_relations(seed: int, own: int, relations: int = 4) -> tuple[Sets, dict[str, str], dict[str, str]]:
    """Three groups of relations, whose questions share neurons of their relation and of nothing else."""
    numbers = np.random.default_rng(seed)
    sets: Sets = {}
    groups: dict[str, str] = {}
    blocks: dict[str, str] = {}
    for relation, number in itertools.product(range(3 * relations), range(6)):
        name = f"r{relation}/{number}"
        free = {divmod(int(code), 50) for code in numbers.choice(200, 4, replace=False)}
        words = {divmod(int(code), 50) for code in 15 * relation + numbers.choice(8, own, replace=False)}
        sets[name], groups[name], blocks[name] = selection(free | words, name), f"g{relation % 3}", f"r{relation}"
    return sets, groups, blocks


def test_what_relations_share_by_their_wording_is_no_groups_own_where_whole_relations_are_shuffled() -> None:
    by_question, by_block, gaps = [], [], []
    for seed in range(12):
        sets, groups, blocks = of_relations(seed, own=5)
        by_question.append(float(overlap(sets, groups, draws=99, seed=seed).p[0, 1]))
        found = overlap(sets, groups, blocks=blocks, draws=99, seed=seed)
        assert found.null == "whole blocks"
        by_block.append(float(found.p[0, 1]))
        gaps.append(likeness(sets, groups, blocks, draws=99, seed=seed).p)
    # Groups are nothing to the neurons here, and shuffled questions find them all the same
    assert statistics.mean(by_question) < 0.1
    assert statistics.mean(by_block) > 0.3 and statistics.mean(gaps) > 0.3
    assert sum(p <= 0.05 for p in by_block) <= 3 and sum(p <= 0.05 for p in gaps) <= 3


def test_groups_with_neurons_of_their_own_are_found_by_whole_relations_too() -> None:
    sets, groups, _ = questions(3, own=4, each=16)
    blocks = {uid: f"{group}/{int(uid[1:]) // 3 % 4}" for uid, group in groups.items()}
    found = overlap(sets, groups, blocks=blocks, draws=400)
    pairs = likeness(sets, groups, blocks, draws=400)
    assert (found.null, pairs.null) == ("whole blocks", "whole blocks")
    assert all(
        found.observed[one, other] < found.low[one, other] for one, other in itertools.permutations(range(3), 2)
    )
    assert pairs.gap > pairs.high and pairs.p == 2 / 401


def test_whole_blocks_keep_their_questions_together_and_groups_as_many_blocks() -> None:
    group, block = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 2, 3, 4, 5, 5])
    drawn = list(shuffles(group, block, 50, seed=0))
    for mixed in drawn:
        owners = {number: set(mixed[block == number].tolist()) for number in range(6)}
        assert all(len(own) == 1 for own in owners.values())
        assert sorted(next(iter(own)) for own in owners.values()) == [0, 0, 1, 1, 2, 2]
    assert len({tuple(mixed.tolist()) for mixed in drawn}) > 20


def test_within_blocks_every_block_keeps_its_groups_and_those_of_one_group_stay() -> None:
    group, block = np.array([0, 1, 2, 0, 1, 2, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 2, 2])
    drawn = list(shuffles(group, block, 50, seed=0))
    for mixed in drawn:
        for number in range(3):
            assert sorted(mixed[block == number]) == sorted(group[block == number])
    assert len({tuple(mixed.tolist()) for mixed in drawn}) > 10


def test_languages_with_neurons_of_their_own_are_told_from_facts_that_share_theirs() -> None:
    numbers = np.random.default_rng(0)
    for own, low, high in ((5, 0.0, 0.02), (0, 0.05, 1.0)):
        sets: Sets = {}
        groups: dict[str, str] = {}
        facts: dict[str, str] = {}
        for fact in range(12):
            its = {(0, int(code)) for code in numbers.choice(50, 5, replace=False)}
            for language in range(3):
                name = f"{fact}/{language}"
                free = {(2, int(code)) for code in numbers.choice(50, 4, replace=False)}
                words = {(3, 16 * language + int(code)) for code in numbers.choice(16, own, replace=False)}
                sets[name], groups[name], facts[name] = (
                    selection(its | free | words, name),
                    f"l{language}",
                    f"f{fact}",
                )
        found = overlap(sets, groups, blocks=facts, draws=200)
        pairs = likeness(sets, groups, facts, draws=200)
        assert (found.null, pairs.null) == ("within blocks", "within blocks")
        assert low <= pairs.p <= high and low <= float(found.p[0, 1]) <= high
        assert pairs.kinds[True, False].mean > pairs.kinds[False, False].mean  # of one fact, in two languages


# Questions in pairs


def test_pairs_of_questions_are_those_of_pythons_own_sets() -> None:
    sets, groups, blocks = of_relations(1, own=3)
    plain = {uid: set(map(tuple, one.units.tolist())) for uid, one in sets.items()}
    values: dict[tuple[bool, bool], list[float]] = {}
    for one, other in itertools.combinations(sets, 2):
        kind = (blocks[one] == blocks[other], groups[one] == groups[other])
        values.setdefault(kind, []).append(jaccard(plain[one], plain[other]))  # type: ignore[arg-type]
    found = likeness(sets, groups, blocks, draws=30)
    assert found.kinds.keys() == values.keys() == {(True, True), (False, True), (False, False)}
    for kind, own in values.items():
        assert (found.kinds[kind].mean, found.kinds[kind].pairs) == (pytest.approx(statistics.mean(own)), len(own))
    expected = statistics.mean(values[False, True]) - statistics.mean(values[False, False])
    assert found.gap == pytest.approx(expected)


def test_the_null_of_the_gap_is_the_gap_of_shuffled_groups() -> None:
    sets, groups, blocks = of_relations(2, own=3)
    number = {name: place for place, name in enumerate(dict.fromkeys(groups.values()))}
    at = {name: place for place, name in enumerate(dict.fromkeys(blocks.values()))}
    group, block = (np.array([of[which[uid]] for uid in sets]) for of, which in ((number, groups), (at, blocks)))
    gaps = [
        likeness(sets, {uid: str(own) for uid, own in zip(sets, mixed.tolist(), strict=True)}, blocks, draws=1).gap
        for mixed in shuffles(group, block, 40, seed=5)
    ]
    found = likeness(sets, groups, blocks, draws=40, seed=5)
    assert found.expected == pytest.approx(statistics.mean(gaps))
    assert (found.low, found.high) == pytest.approx(np.quantile(gaps, [0.025, 0.975]).tolist())


def test_the_likeness_of_pairs_does_not_grow_with_the_number_of_questions_and_an_overlap_does() -> None:
    few, many = (questions(7, each=each)[:2] for each in (6, 40))
    assert overlap(*few, draws=1).observed[0, 1] + 0.2 < overlap(*many, draws=1).observed[0, 1]
    one, other = (likeness(*some, draws=1).kinds[False, False].mean for some in (few, many))
    assert one == pytest.approx(other, abs=0.01)


def test_questions_without_neurons_make_no_pair_with_each_other() -> None:
    sets = {"a": selection(set()), "b": selection(set()), "c": selection({(0, 1)})}
    found = likeness(sets, {"a": "x", "b": "x", "c": "y"}, draws=5)
    assert found.kinds.keys() == {(False, False)} and found.kinds[False, False].pairs == 2
    assert math.isnan(found.gap) and math.isnan(found.p)
