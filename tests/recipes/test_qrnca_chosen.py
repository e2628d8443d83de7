"""Who is asked, and which neurons are a question's or a group's: in QRNCA, without a model that knows."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca import METHODS
from locant.recipes.qrnca.cases import HALVES, cases, group_cases, halves, partners
from locant.recipes.qrnca.chosen import DRAWS, choose_for_groups, choose_neurons, pools_of
from locant.recipes.qrnca.located import Located, parts_of
from locant.recipes.qrnca.plan import FEW, KNOWLEDGE, OWN, RANDOM
from locant.selections.clusters import inverse_cluster_attribution
from locant.selections.random_sets import is_matched, random_like
from locant.types import Provenance, Selection
from word_questions import GRID, PLAN, asked, domains, languages, located, units_of

# Who is asked


@pytest.mark.parametrize("questions", [domains(), languages(), domains(5, "ab"), languages(4, "abcd")])
def test_every_question_stands_beside_one_of_another_group_and_fact_and_none_twice(
    questions: list[ChoiceQuestion],
) -> None:
    other = partners(questions, 0)
    assert other.keys() == {one.uid for one in questions}
    for one in questions:
        assert other[one.uid].group != one.group and other[one.uid].fact != one.fact
    assert len({one.uid for one in other.values()}) == len(questions)
    assert other != partners(questions, 1)


def test_where_one_group_is_the_larger_half_others_stand_beside_several() -> None:
    questions = [*domains(6, "a"), *domains(2, "b")]
    other = partners(questions, 0)
    assert all(other[one.uid].group != one.group for one in questions) and len(other) == 8
    assert partners([asked("a", "f"), asked("b", "f")], 0) == {}


def test_held_out_templates_and_seen_ones_differ_in_the_template_alone() -> None:
    questions = domains(2)
    mine = [case for case in cases(questions, 0) if case.owner == questions[0]]
    assert Counter(case.evaluation for case in mine) == {"in-sample": 1, "held-out template": 3, "seen templates": 3}
    for part in parts_of(3)[1:]:
        held, seen = (
            next(case for case in mine if (case.evaluation, case.part) == (evaluation, part))
            for evaluation in ("held-out template", "seen templates")
        )
        place = int(part.rpartition(" ")[2]) - 1
        assert held.related == (questions[0].prompts[place],)
        assert set(held.related + seen.related) == set(questions[0].prompts) and len(seen.related) == 2
        assert [one.query.uid[-1] for one in held.unrelated] == [one.query.uid[-1] for one in held.related]
        assert [one.query.uid[-1] for one in seen.unrelated] == [one.query.uid[-1] for one in seen.related]
    assert parts_of(1) == ("all templates",)


@pytest.mark.parametrize("questions", [domains(), languages(), [*domains(3), asked("d", "d0")]])
def test_halves_share_no_fact_and_every_group_of_two_is_in_both(questions: list[ChoiceQuestion]) -> None:
    first, second = halves(questions, 0)
    assert {one.fact for one in first}.isdisjoint(one.fact for one in second)
    assert {one.group for one in first} == {one.group for one in second} == {"a", "b", "c"}
    assert len(first) + len(second) == sum(one.group != "d" for one in questions)
    for group in "abc":
        sizes = [sum(one.group == group for one in half) for half in (first, second)]
        assert abs(sizes[0] - sizes[1]) <= 1


def test_every_question_is_judged_by_its_own_half_and_by_the_other() -> None:
    questions = languages()
    side = {one.uid: half for half, own in zip(HALVES, halves(questions, 3), strict=True) for one in own}
    found = list(group_cases(questions, 3))
    for evaluation, own in (("known question", True), ("held-out question", False)):
        some = [case for case in found if case.evaluation == evaluation]
        assert sorted(case.owner.uid for case in some) == sorted(one.uid for one in questions)
        for case in some:
            assert (case.part == side[case.owner.uid]) is own and case.name == case.owner.group
            beside = case.unrelated[0].query.uid.rpartition("/")[0]
            assert side[beside] == side[case.owner.uid]


def test_pairs_of_facts_in_several_languages_are_never_called_unrelated() -> None:
    questions = languages(3)
    for case in itertools.chain(cases(questions, 1), group_cases(questions, 1)):
        facts = {prompt.query.fact.uid for prompt in case.unrelated}
        assert facts and case.owner.fact not in facts


# Which neurons


def test_a_groups_neurons_have_the_highest_sums_of_its_known_questions_naica() -> None:
    questions = domains()
    found = located(questions)
    known, _ = halves(questions, 0)
    mine = [one for one in found.clusters if one.uid in {each.uid for each in known}]
    held = Counter(unit for one in mine for unit in units_of(one))
    sets = choose_for_groups(found, known, PLAN)
    for group in "abc":
        sums: dict[tuple[int, ...], float] = {}
        for one in (each for each in mine if each.uid.endswith(group)):
            for unit, score in zip(map(tuple, one.units.tolist()), one.scores.tolist(), strict=True):
                sums[unit] = sums.get(unit, 0.0) + score * math.log(len(mine) / (held[unit] + 1))
        left = {unit: value for unit, value in sums.items() if held[unit] <= 0.3 * len(mine)}
        best = sorted(left, key=lambda unit: -left[unit])[: PLAN.top]
        assert units_of(sets[OWN][0][group]) == set(best)
        assert (3, 59) not in best and (3, 59) in sums  # everybody's
        every = sorted(sums, key=lambda unit: -sums[unit])[: PLAN.top]
        assert units_of(sets["qrnca with common neurons"][0][group]) == set(every)


def test_group_sets_are_of_one_size_and_a_smaller_baseline_is_as_large_as_it_can_be() -> None:
    questions = domains()
    found = located(questions)
    sets = choose_for_groups(found, questions, PLAN)
    assert set(sets) == set(METHODS) - {FEW}
    for method, draws in sets.items():
        assert len(draws) == (DRAWS if method == RANDOM else 1)
        assert {len(one) for named in draws for one in named.values()} == {PLAN.top}, method
    few = choose_for_groups(found, questions[:1], replace(PLAN, top=5))
    assert [len(few[method][0]["a"]) for method in (OWN, KNOWLEDGE, "activation")] == [5, 2, 5]


def test_other_clusters_of_held_out_questions_leave_pools_and_group_sets_as_they_are() -> None:
    questions = domains()
    known, unknown = halves(questions, 0)
    left = {one.uid for one in unknown}
    one, other = located(questions), located(questions, seed=9)
    mixed = Located(
        tuple(b if a.uid in left else a for a, b in zip(one.clusters, other.clusters, strict=True)),
        {
            method: {uid: (other if uid in left else one).chosen[method][uid] for uid in sets}
            for method, sets in one.chosen.items()
        },
    )
    before, after = (pools_of(each, known, PLAN) for each in (one, mixed))
    assert {group: units_of(own) for group, own in before.items()} == {g: units_of(own) for g, own in after.items()}
    for method in set(METHODS) - {FEW}:
        first, second = (choose_for_groups(each, known, PLAN)[method] for each in (one, mixed))
        for named, again in zip(first, second, strict=True):
            assert {g: units_of(own) for g, own in named.items()} == {g: units_of(own) for g, own in again.items()}
    everything = pools_of(mixed, questions, PLAN)
    assert {g: units_of(own) for g, own in everything.items()} != {g: units_of(own) for g, own in before.items()}


def test_a_pool_has_what_any_of_the_known_questions_is_given_among_known_ones_alone() -> None:
    questions = domains()
    found = located(questions)
    known, _ = halves(questions, 0)
    mine = [one for one in found.clusters if one.uid in {each.uid for each in known}]
    held = Counter(unit for one in mine for unit in units_of(one))
    expected: dict[str, set[tuple[int, ...]]] = {}
    for one, naica in zip(mine, inverse_cluster_attribution(mine), strict=True):
        ranked = sorted(zip(map(tuple, one.units.tolist()), naica.tolist(), strict=True), key=lambda each: -each[1])
        kept = {unit for unit, value in ranked[: PLAN.top] if value > 0 and held[unit] <= 0.3 * len(mine)}
        expected.setdefault(one.uid[-1], set()).update(kept)
    assert {group: units_of(own) for group, own in pools_of(found, known, PLAN).items()} == expected


def test_baselines_are_as_many_as_qrnca_s_and_qrnca_s_strongest_as_few_as_knowledge_neurons() -> None:
    sets = choose_neurons(located(domains()), PLAN)
    assert set(sets) == set(METHODS)
    for uid, own in sets[OWN][0].items():
        assert len(sets["activation"][0][uid]) == len(sets[RANDOM][0][uid]) == len(own) > 2
        few = sets[FEW][0][uid]
        assert len(few) == len(sets[KNOWLEDGE][0][uid]) == 2
        strongest = sorted(own.weight.tolist())[-2:]
        assert sorted(few.weight.tolist()) == strongest and units_of(few) < units_of(own)
        assert own.units[:, 0].bincount().tolist() == sets[RANDOM][0][uid].units[:, 0].bincount().tolist()
        assert units_of(own).isdisjoint(units_of(sets[RANDOM][0][uid])) and is_matched(sets[RANDOM][0][uid])


@pytest.mark.parametrize(
    ("first", "others", "count", "matched"), [(5, 5, 10, True), (40, 0, 40, False), (50, 90, 100, False)]
)
def test_random_neurons_say_whether_they_could_be_of_the_same_layers(
    first: int, others: int, count: int, matched: bool
) -> None:
    codes = torch.cat([torch.arange(first), 60 + torch.arange(others)])
    units = torch.stack([codes // 60, codes % 60], dim=1)
    chosen = Selection((), units, torch.ones(len(units)), GRID, Provenance("by hand"))
    found = random_like(chosen, 0, "q")
    # Of 240 neurons 140 are chosen: 100 are left
    assert (len(found), is_matched(found)) == (count, matched)
    assert units_of(found).isdisjoint(units_of(chosen))
