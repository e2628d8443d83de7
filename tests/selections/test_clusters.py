"""Clusters and query-relevant neurons, against loops over plain lists and a restatement of the released code."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import locant
from locant.errors import UnknownName
from locant.selections.clusters import (
    MODES,
    Cluster,
    cluster,
    common_neurons,
    inverse_cluster_attribution,
    merge_by_group,
    query_neurons,
)
from locant.selections.of_templates import activation_neurons, knowledge_neurons
from locant.types import Attribution, Provenance, Selection

GRID = (4, 15)
UNITS = [(layer, neuron) for layer in range(GRID[0]) for neuron in range(GRID[1])]
Unit = tuple[int, int]


def scores(seed: int, templates: int = 3) -> Tensor:
    """Scores with a few high ones, some of which belong to every question."""
    numbers = torch.Generator().manual_seed(seed)
    own = torch.randn(templates, *GRID, generator=numbers) * 0.1 + torch.rand(GRID, generator=numbers) ** 8
    own[:, 0, 3] += 0.8
    return own


def pool(count: int = 12, mode: str = "paper") -> list[Cluster]:
    return [cluster(scores(seed), mode, uid=f"q{seed:03}") for seed in range(count)]


def attribution(of: Tensor, facts: Sequence[str] = ("r/s",)) -> Attribution:
    """An attribution with these scores [query layer neuron], whose activations are twice as large and negative."""
    queries = tuple(
        locant.query(f"p{index}", "A", fact=facts[index % len(facts)], template=str(index))
        for index in range(len(of))
    )
    return Attribution(queries, of, -2 * of, torch.ones(len(of)), None, Provenance("by hand"))


def units(found: Cluster | Selection) -> list[Unit]:
    return [tuple(unit) for unit in found.units.tolist()]  # type: ignore[misc]


def by_unit(found: Cluster) -> dict[Unit, float]:
    return dict(zip(units(found), found.scores.tolist(), strict=True))


def by_weight(found: Selection) -> dict[Unit, float]:
    return dict(zip(units(found), found.weight.tolist(), strict=True))


def made(shares: dict[Unit, float], uid: str = "q", count: int = 1) -> Cluster:
    """A cluster by hand."""
    rows = sorted(shares)
    return Cluster(
        uid,
        torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
        torch.tensor([shares[unit] for unit in rows], dtype=torch.float64),
        torch.full((len(rows),), count),
        GRID,
        Provenance("by hand", {"of": uid}),
    )


# One question's cluster


def paper_by_hand(of: Tensor, share: float) -> dict[Unit, float]:
    rows = of.tolist()
    summed = {(layer, neuron): math.fsum(row[layer][neuron] for row in rows) for layer, neuron in UNITS}
    least = share * max(summed.values())
    total = math.fsum(summed.values())
    return {unit: score / total for unit, score in summed.items() if score > least}


def released_by_hand(of: Tensor, share: float, decimals: int | None) -> tuple[dict[Unit, float], dict[Unit, int]]:
    """As its code goes: of every template a dictionary, then sums over those that have the neuron."""
    summed: dict[Unit, float] = {}
    frequency: dict[Unit, int] = {}
    for row in of.tolist():
        threshold = max(max(layer) for layer in row) * share
        indexes = [(layer, neuron) for layer, neuron in UNITS if row[layer][neuron] > threshold]
        for layer, neuron in indexes:
            score = row[layer][neuron] if decimals is None else round(row[layer][neuron], decimals)
            summed[layer, neuron] = summed.get((layer, neuron), 0) + score
            frequency[layer, neuron] = frequency.get((layer, neuron), 0) + 1
    sum_values = sum(summed.values())
    return {unit: value / sum_values if sum_values > 0 else 0 for unit, value in summed.items()}, frequency


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("templates", [1, 3])
def test_the_papers_cluster_is_what_a_plain_loop_makes_of_the_sum(share: float, templates: int) -> None:
    for seed in range(5):
        expected = paper_by_hand(scores(seed, templates), share)
        found = by_unit(cluster(scores(seed, templates), "paper", share=share))
        assert found == pytest.approx(expected, rel=1e-9)
        assert list(found) == sorted(expected) and 0 < len(found) < len(UNITS)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("decimals", [None, 6, 1])
def test_the_released_cluster_is_what_its_code_makes_of_each_template(share: float, decimals: int | None) -> None:
    for seed in range(5):
        expected, frequency = released_by_hand(scores(seed), share, decimals)
        found = cluster(scores(seed), "released", share=share, decimals=decimals)
        assert by_unit(found) == pytest.approx(expected, rel=1e-9)
        assert dict(zip(units(found), found.counts.tolist(), strict=True)) == frequency
        assert units(found) == sorted(expected)


def test_a_neuron_of_one_template_is_in_the_released_cluster_and_not_in_the_papers() -> None:
    of = torch.zeros(3, *GRID)
    of[:, 0, 0] = 1.0
    of[0, 1, 1], of[1:, 1, 1] = 0.5, -0.2  # passes once; 0.1 of a sum of 3
    assert units(cluster(of, "paper")) == [(0, 0)]
    released = cluster(of, "released")
    assert by_unit(released) == pytest.approx({(0, 0): 3 / 3.5, (1, 1): 0.5 / 3.5})
    assert released.counts.tolist() == [3, 1]


def test_the_papers_cluster_counts_the_templates_that_a_neuron_passed_in_if_any() -> None:
    of = torch.zeros(3, *GRID)
    of[0, 0, 0] = of[1, 0, 1] = of[2, 0, 2] = 1.0
    of[:, 2, 2] = 0.15  # below 0.2 of each template's highest, but 0.45 of the sums'
    found = cluster(of, "paper")
    assert units(found) == [(0, 0), (0, 1), (0, 2), (2, 2)]
    assert found.counts.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("mode", MODES)
def test_a_score_of_exactly_the_threshold_is_not_above_it(mode: str) -> None:
    of = torch.zeros(1, *GRID)
    of[0, 0, 0], of[0, 1, 0], of[0, 2, 0] = 4.0, 1.0, 1.5
    assert units(cluster(of, mode, share=0.25)) == [(0, 0), (2, 0)]


@pytest.mark.parametrize("mode", MODES)
def test_where_no_score_is_positive_the_cluster_is_empty_and_still_counts(mode: str) -> None:
    for of in (torch.zeros(2, *GRID), -torch.rand(2, *GRID) - 0.1):
        empty = cluster(of, mode, uid="empty")
        assert len(empty) == 0 and empty.scores.shape == empty.counts.shape == (0,)
        others = [made({(0, 0): 1.0}, "a"), made({(0, 1): 1.0}, "b")]
        assert [found.tolist() for found in inverse_cluster_attribution([*others, empty])] == [
            pytest.approx([math.log(3 / 2)]),
            pytest.approx([math.log(3 / 2)]),
            [],
        ]


@pytest.mark.parametrize("blame", [-7.0, -6.0])
def test_where_credit_and_blame_cancel_out_scores_are_shares_of_the_clusters_own(blame: float) -> None:
    of = torch.zeros(1, *GRID)
    of[0, 0, 0], of[0, 1, 0], of[0, 2, 0] = 4.0, 2.0, blame
    assert by_unit(cluster(of, "paper")) == pytest.approx({(0, 0): 4 / 6, (1, 0): 2 / 6})
    of[0, 2, 0] = -1.0
    assert by_unit(cluster(of, "paper")) == pytest.approx({(0, 0): 4 / 5, (1, 0): 2 / 5})


def test_scores_that_all_round_to_nothing_are_nothing() -> None:
    of = torch.zeros(1, *GRID)
    of[0, 1, 4], of[0, 2, 4] = 3e-7, 4e-7
    found = cluster(of, "released", decimals=6)
    assert by_unit(found) == {(1, 4): 0.0, (2, 4): 0.0}
    assert by_unit(cluster(of, "released")) == pytest.approx({(1, 4): 3 / 7, (2, 4): 4 / 7})


def test_an_attribution_gives_its_questions_name_and_templates() -> None:
    of = attribution(scores(0))
    found = cluster(of)
    assert (found.uid, found.queries, found.grid) == ("r/s", of.queries, GRID)
    assert by_unit(found) == by_unit(cluster(of.scores, uid="r/s"))
    assert found.made_by.parents == (of.made_by.digest(),)
    assert found.made_by.settings == {"question": "r/s", "share": 0.2, "decimals": None}
    assert cluster(of, uid="mine").uid == "mine"
    digests = {cluster(of, mode).made_by.digest() for mode in MODES} | {
        cluster(of.scores, uid="r/s").made_by.digest()
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "best"}, r"^no mode 'best'; there are paper, released$"),
        ({"share": 1.0}, "a share is at least 0 and less than 1, not 1.0"),
        ({"share": -0.1}, "a share is at least 0 and less than 1, not -0.1"),
        ({"decimals": 6}, "the mode 'released' alone rounds its scores, and this is 'paper'"),
    ],
)
def test_a_cluster_that_makes_no_sense_is_refused(given: dict[str, str | float | int], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        cluster(scores(0), **given)  # type: ignore[arg-type]


def test_templates_of_two_questions_and_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"templates of 2 questions \(r/a, r/b"):
        cluster(attribution(scores(0), ("r/a", "r/b")))
    for value in (torch.nan, torch.inf):
        of = scores(0)
        of[1, 2, 3] = value
        with pytest.raises(UnknownName, match="of 180 scores, 1 are not finite"):
            cluster(of)
    with pytest.raises(UnknownName, match=r"there are no scores: \[0, 4, 15\]"):
        cluster(torch.zeros(0, *GRID))


# Inverse cluster attribution and common neurons


def naica_by_hand(clusters: Sequence[Cluster]) -> list[dict[Unit, float]]:
    occurrences: dict[Unit, int] = {}
    for one in clusters:
        for unit in units(one):
            occurrences[unit] = occurrences.get(unit, 0) + 1
    return [
        {unit: na * math.log(len(clusters) / (occurrences[unit] + 1)) for unit, na in by_unit(one).items()}
        for one in clusters
    ]


@pytest.mark.parametrize("count", [3, 4, 12])
@pytest.mark.parametrize("mode", MODES)
def test_ica_equals_a_loop_over_dictionaries(count: int, mode: str) -> None:
    clusters = pool(count, mode)
    for one, found, expected in zip(
        clusters, inverse_cluster_attribution(clusters), naica_by_hand(clusters), strict=True
    ):
        assert found.tolist() == pytest.approx([expected[unit] for unit in units(one)], rel=1e-12, abs=1e-15)


def test_ica_takes_from_a_neuron_of_all_clusters_and_gives_nothing_to_one_of_all_but_one() -> None:
    clusters = [made({(0, 0): 0.5, (1, 0): 0.25, (2, at): 0.25}, f"q{at}") for at in range(4)]
    clusters[3] = made({(0, 0): 1.0}, "q3")
    everywhere, in_three, own = inverse_cluster_attribution(clusters)[0].tolist()
    assert everywhere < 0 and in_three == 0 and own == pytest.approx(0.25 * math.log(2))
    assert units(query_neurons(clusters, remove_common=False)["q0"]) == [(2, 0)]


def test_with_one_query_icas_ranking_is_the_raw_ranking() -> None:
    # The formula itself would turn it round: ln(1/2) is negative
    (alone,) = pool(1)
    (naica,) = inverse_cluster_attribution([alone])
    assert torch.equal(naica, alone.scores)
    ranked = sorted(by_unit(alone), key=by_unit(alone).__getitem__, reverse=True)
    found = by_weight(query_neurons([alone], top=4)["q000"])
    assert sorted(found, key=found.__getitem__, reverse=True) == ranked[:4] and len(ranked) > 4


def test_of_two_queries_each_keeps_its_own_neurons_and_none_of_both() -> None:
    clusters = [made({(0, 0): 0.6, (1, 0): 0.4}, "a"), made({(0, 0): 0.6, (2, 0): 0.4}, "b")]
    found = query_neurons(clusters)
    assert {uid: by_weight(one) for uid, one in found.items()} == {"a": {(1, 0): 0.4}, "b": {(2, 0): 0.4}}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 13])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_common_neurons_are_in_more_than_a_share_of_the_clusters_and_in_two(count: int, share: float) -> None:
    clusters = pool(count)
    held = {unit: sum(unit in units(one) for one in clusters) for unit in UNITS}
    expected = {unit: number for unit, number in held.items() if number > share * count and number >= 2}
    found = common_neurons(clusters, share)
    assert by_weight(found) == expected and list(by_weight(found)) == sorted(expected)
    assert found.grid == GRID and found.made_by.settings == {"share": share, "clusters": count}


def test_more_than_a_share_is_more_than_it_rounded_down_as_the_released_code_has_it() -> None:
    for count in (4, 7, 9, 10, 11):
        clusters = pool(count)
        released = [u for u in UNITS if sum(u in units(one) for one in clusters) > int(0.3 * count)]
        assert units(common_neurons(clusters)) == released and released


def test_a_share_that_no_binary_number_is_does_not_make_a_neuron_common() -> None:
    clusters = [made({(0, 0): 1.0} if at < 29 else {(1, 1): 1.0}, f"q{at}") for at in range(100)]
    assert 0.29 * 100 < 29
    assert units(common_neurons(clusters, 0.29)) == [(1, 1)]
    assert units(common_neurons(clusters, 0.28)) == [(0, 0), (1, 1)]


# Query-relevant neurons


def chosen_by_hand(clusters: Sequence[Cluster], top: int, ica: bool, removed: bool) -> dict[str, dict[Unit, float]]:
    held = {unit: sum(unit in units(one) for one in clusters) for unit in UNITS}
    common = {unit for unit in UNITS if held[unit] > int(0.3 * len(clusters))}
    found = {}
    for one, naica in zip(clusters, naica_by_hand(clusters), strict=True):
        values = naica if ica else by_unit(one)
        ranked = sorted((unit for unit in values if values[unit] > 0), key=lambda unit: (-values[unit], unit))[:top]
        found[one.uid] = {unit: values[unit] for unit in sorted(ranked) if not (removed and unit in common)}
    return found


@pytest.mark.parametrize("top", [1, 5, 20])
@pytest.mark.parametrize("use_ica", [True, False])
@pytest.mark.parametrize("remove_common", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_query_neurons_are_what_plain_loops_choose(top: int, use_ica: bool, remove_common: bool, mode: str) -> None:
    clusters = pool(mode=mode)
    expected = chosen_by_hand(clusters, top, use_ica, remove_common)
    found = query_neurons(clusters, top, use_ica=use_ica, remove_common=remove_common)
    assert list(found) == list(expected)
    for uid, one in found.items():
        assert by_weight(one) == pytest.approx(expected[uid], rel=1e-12)
        assert units(one) == sorted(expected[uid])


def test_common_neurons_are_removed_after_the_top_is_taken() -> None:
    clusters = [made({(0, 0): 0.9, (1, at): 0.02, (2, at): 0.01}, f"q{at}") for at in range(8)]
    clusters += [made({(3, at): 1.0}, f"other{at}") for at in range(8)]
    # 0.9 ln(16/9) is more than 0.02 ln(8): the common neuron takes the one place, and is removed from it
    assert [len(query_neurons(clusters, top=top)["q0"]) for top in (1, 2, 3, 4)] == [0, 1, 2, 2]
    kept = query_neurons(clusters, top=1, remove_common=False)
    assert units(kept["q0"]) == [(0, 0)]


@pytest.mark.parametrize("use_ica", [True, False])
@pytest.mark.parametrize("count", [2, 3, 4, 12])
def test_a_neuron_of_every_cluster_never_survives_common_removal(count: int, use_ica: bool) -> None:
    clusters = pool(count)
    everywhere = set.intersection(*(set(units(one)) for one in clusters))
    assert (0, 3) in everywhere
    for share in (0.0, 0.3, 0.99):
        for one in query_neurons(clusters, share=share, use_ica=use_ica).values():
            assert not everywhere & set(units(one))
    kept = query_neurons(clusters, use_ica=False, remove_common=False)
    assert all((0, 3) in units(one) for one in kept.values())


@pytest.mark.parametrize("use_ica", [True, False])
def test_the_choice_does_not_depend_on_the_order_of_the_queries(use_ica: bool) -> None:
    # Equal shares, so that ties decide
    clusters = [made({(at % 4, n): 0.1 for n in range(at % 3, 12, 2)}, f"q{at}") for at in range(20)] + pool(8)
    first = query_neurons(clusters, top=4, use_ica=use_ica)
    assert any(len(one) == 4 for one in first.values())
    for seed in range(5):
        shuffled = random.Random(seed).sample(clusters, len(clusters))
        for uid, found in query_neurons(shuffled, top=4, use_ica=use_ica).items():
            assert torch.equal(found.units, first[uid].units) and torch.equal(found.weight, first[uid].weight)
            assert found.made_by == first[uid].made_by


def test_of_equal_neurons_the_first_are_taken() -> None:
    alone = made({(layer, 2): 0.1 for layer in range(4)} | {(0, 1): 0.05})
    assert units(query_neurons([alone], top=2)["q"]) == [(0, 2), (1, 2)]


def test_a_choice_knows_its_queries_and_what_it_was_made_from() -> None:
    of = [attribution(scores(seed), (f"r/{seed}",)) for seed in range(4)]
    clusters = [cluster(one) for one in of]
    found = query_neurons(clusters, top=3)
    assert [one.queries for one in found.values()] == [one.queries for one in of]
    settings = {"top": 3, "share": 0.3, "ica": True, "common removed": True}
    assert found["r/0"].made_by.settings == settings
    assert found["r/0"].made_by.parents[0] == clusters[0].made_by.digest()
    fewer = query_neurons(clusters[:3], top=3)["r/0"]
    assert fewer.made_by.parents != found["r/0"].made_by.parents


def test_clusters_that_cannot_be_compared_are_refused() -> None:
    here = made({(0, 1): 1.0})
    wider = Cluster("w", here.units, here.scores, here.counts, (4, 16), here.made_by)
    for refuses in (inverse_cluster_attribution, common_neurons, query_neurons):
        with pytest.raises(UnknownName, match=r"these are \(4, 15\) and \(4, 16\)"):
            refuses([here, wider])
        with pytest.raises(UnknownName, match="these are none"):
            refuses([])
    with pytest.raises(UnknownName, match="2 clusters are of the question 'q': a question has one"):
        query_neurons([here, made({(1, 1): 1.0}), made({}, "r")])
    with pytest.raises(UnknownName, match="cannot take the top 0: take 1 or more"):
        query_neurons([here], top=0)
    with pytest.raises(UnknownName, match="a share is at least 0 and less than 1, not 1"):
        common_neurons([here], 1.0)


# Groups


def test_a_groups_cluster_has_every_neuron_of_its_questions_and_adds_their_scores_up() -> None:
    clusters = pool(9)
    groups = {one.uid: f"g{at % 3}" for at, one in enumerate(clusters)}
    merged = merge_by_group(clusters, groups)
    assert [one.uid for one in merged] == ["g0", "g1", "g2"]
    for number, one in enumerate(merged):
        expected: dict[Unit, float] = {}
        counts: dict[Unit, int] = {}
        for member in clusters[number::3]:
            for unit, score, count in zip(units(member), member.scores.tolist(), member.counts.tolist(), strict=True):
                expected[unit] = expected.get(unit, 0) + score
                counts[unit] = counts.get(unit, 0) + count
        assert by_unit(one) == pytest.approx(expected, rel=1e-12)
        assert dict(zip(units(one), one.counts.tolist(), strict=True)) == counts
        assert units(one) == sorted(expected) and one.grid == GRID
        assert one.made_by.parents == tuple(member.made_by.digest() for member in clusters[number::3])


def test_groups_do_not_depend_on_the_order_of_their_questions_to_the_last_digit() -> None:
    clusters = pool(12)
    groups = {one.uid: f"g{at % 2}" for at, one in enumerate(clusters)}
    first = {one.uid: one for one in merge_by_group(clusters, groups)}
    for one in merge_by_group(clusters[::-1], groups):
        assert torch.equal(one.scores, first[one.uid].scores) and torch.equal(one.units, first[one.uid].units)
        assert one.made_by == first[one.uid].made_by


def test_each_question_in_a_group_of_its_own_is_what_it_was() -> None:
    clusters = pool(5)
    merged = merge_by_group(clusters, {one.uid: one.uid for one in clusters})
    assert [by_unit(one) for one in merged] == [by_unit(one) for one in clusters]
    before, after = query_neurons(clusters), query_neurons(merged)
    assert {uid: by_weight(one) for uid, one in after.items()} == {uid: by_weight(one) for uid, one in before.items()}


def test_a_question_without_a_group_is_refused() -> None:
    with pytest.raises(UnknownName, match="the question 'q001' has no group"):
        merge_by_group(pool(2), {"q000": "g"})


# Baselines


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize(("templates", "shared"), [(3, 0.7), (3, 0.5), (10, 0.7), (1, 0.7)])
def test_knowledge_neurons_pass_in_most_templates(share: float, templates: int, shared: float) -> None:
    of = scores(0, templates)
    rows = of.tolist()
    credited = {
        (layer, neuron): sum(row[layer][neuron] >= share * max(max(one) for one in row) for row in rows)
        for layer, neuron in UNITS
    }
    expected = [unit for unit in UNITS if credited[unit] >= round(shared * templates, 9)]
    found = knowledge_neurons(of, share, shared)
    assert units(found) == expected and expected
    means = [sum(row[layer][neuron] for row in rows) / templates for layer, neuron in expected]
    assert found.weight.tolist() == pytest.approx(means)


def test_of_three_templates_seven_tenths_are_all_and_of_ten_they_are_seven() -> None:
    # 0.56 * 25 is a little more than 14 in binary
    for templates, shared, enough in ((3, 0.7, 3), (10, 0.7, 7), (25, 0.56, 14)):
        of = torch.zeros(templates, *GRID)
        of[:, 0, 0] = 1.0
        of[:enough, 1, 1], of[: enough - 1, 2, 2] = 0.2, 1.0
        assert units(knowledge_neurons(of, shared=shared)) == [(0, 0), (1, 1)]


def test_a_template_without_a_positive_score_credits_no_neuron() -> None:
    of = torch.ones(3, *GRID)
    of[0] = 0.0
    assert len(knowledge_neurons(of)) == 0
    assert len(knowledge_neurons(of, shared=0.6)) == len(UNITS)


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_activation_neurons_have_the_highest_mean_magnitude(count: int) -> None:
    of = scores(3) - 0.3
    rows = of.tolist()
    mean = {(a, b): sum(abs(row[a][b]) for row in rows) / 3 for a, b in UNITS}
    found = activation_neurons(of, count)
    assert units(found) == sorted(sorted(mean, key=mean.__getitem__, reverse=True)[:count])
    assert found.weight.tolist() == pytest.approx([mean[unit] for unit in units(found)])


def test_a_neuron_that_is_active_below_zero_is_active() -> None:
    of = torch.zeros(2, *GRID)
    of[:, 1, 1], of[0, 2, 2], of[1, 2, 2] = -1.0, 1.5, -1.5
    of[:, 3, 3] = 0.5
    assert units(activation_neurons(of, 2)) == [(1, 1), (2, 2)]
    assert units(activation_neurons(torch.ones(1, *GRID), 2)) == [(0, 0), (0, 1)]


def test_baselines_of_an_attribution_know_its_templates_and_take_their_own_values() -> None:
    of = attribution(scores(0))
    for found in (knowledge_neurons(of), activation_neurons(of, 3)):
        assert found.queries == of.queries and found.made_by.parents == (of.made_by.digest(),)
        assert found.made_by.settings["question"] == "r/s"
    assert units(knowledge_neurons(of)) == units(knowledge_neurons(of.scores))
    assert by_weight(activation_neurons(of, 3)) == by_weight(activation_neurons(of.activations, 3))


def test_baselines_that_make_no_sense_are_refused() -> None:
    for given in ({"share": 0.0}, {"share": 1.1}, {"shared": 0.0}, {"shared": 1.1}):
        with pytest.raises(UnknownName, match="a share is more than 0 and at most 1, not"):
            knowledge_neurons(scores(0), **given)
    for count in (-1, 61):
        with pytest.raises(UnknownName, match=f"cannot take the top {count}: there are 0 to 60 neurons to take"):
            activation_neurons(scores(0), count)
