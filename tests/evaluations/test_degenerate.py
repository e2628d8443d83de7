"""Pairs of neurons against one context each, models made to have them, and probabilities made by hand."""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import locant
from families import tiny, tokenizer
from locant import almanac
from locant.errors import BadQuery, UnknownName
from locant.evaluations import degenerate
from locant.evaluations.degenerate import DegeneratePairs, degenerate_pairs, degenerate_set
from locant.models import LanguageModel
from locant.types import Provenance, Query, Selection

Unit = tuple[int, int]
Pair = frozenset[Unit]
Probability = Callable[[Query, Pair], float]

WORDINGS = tuple(
    locant.query(prompt, "w4", fact="f", uid=prompt) for prompt in ("w1 w2 w3", "w7 w3", "w9 w8 w7 w6 w3")
)


def selection(units: Sequence[Unit], grid: tuple[int, int], weights: Sequence[float] | None = None) -> Selection:
    weight = torch.tensor(weights or [1.0] * len(units), dtype=torch.float32)
    return Selection((), torch.tensor(units, dtype=torch.int64).reshape(-1, 2), weight, grid, Provenance("by hand"))


def units_of(pairs: Tensor) -> list[tuple[Unit, Unit]]:
    return [(tuple(one), tuple(other)) for one, other in pairs.tolist()]  # type: ignore[misc]


def found_by_pair(found: DegeneratePairs, values: Tensor) -> dict[Pair, float]:
    return {frozenset(pair): value for pair, value in zip(units_of(found.units), values.tolist(), strict=True)}


# Against contexts, one at a time


def drop(lm: LanguageModel, queries: Sequence[Query], units: Sequence[Unit], relative: bool) -> float:
    """By the context that everybody uses, wording by wording."""
    before = locant.answer_probability(lm, queries).tolist()
    with locant.suppress(lm, selection(units, (lm.layers, lm.neurons))):
        after = locant.answer_probability(lm, queries).tolist()
    return fmean((was - now) / (was if relative else 1) for was, now in zip(before, after, strict=True))


def assert_drops_are_those_of_contexts(lm: LanguageModel, queries: Sequence[Query], relative: bool) -> None:
    chosen = locant.select(locant.attribute(lm, queries, "activation"), k=3)
    found = degenerate_pairs(lm, queries, chosen, low=10.0, high=10.0, relative=relative, null=2)
    candidates = [(layer, neuron) for layer, neuron in chosen.units.tolist()]
    assert units_of(found.units) == list(itertools.combinations(candidates, 2))
    for read in (found, found.random):
        for index, (one, other) in enumerate(units_of(read.units)):
            alone = [drop(lm, queries, [unit], relative) for unit in (one, other)]
            joint = drop(lm, queries, [one, other], relative)
            assert read.alone[index].tolist() == pytest.approx(alone, rel=1e-3, abs=1e-5)
            assert float(read.joint[index]) == pytest.approx(joint, rel=1e-3, abs=1e-5)
            assert float(read.synergy[index]) == pytest.approx(joint - sum(alone), rel=1e-3, abs=3e-5)
    assert float(found.joint.abs().max()) > 1e-4


def test_drops_are_those_of_one_context_after_the_other(family: str, lm: LanguageModel) -> None:
    queries = [
        locant.query("w1 w2 w3", "w4", fact="f", uid="1"),
        locant.query("w5 w6 w7 w8", "w4 w9", fact="f", uid="2", alternatives=("w11",)),
    ]
    assert_drops_are_those_of_contexts(lm, queries, relative=family < "m")


@pytest.mark.parametrize("relative", [True, False])
def test_on_the_almanac_drops_are_those_of_contexts(almanac_lm: LanguageModel, relative: bool) -> None:
    queries = [query for query in almanac.queries("capital", "fi") if query.fact.uid == "capital/france"]
    assert_drops_are_those_of_contexts(almanac_lm, queries[:3], relative)


# Models made by hand


def built(strength: float, *, layer: int = 2, neurons: tuple[int, int] = (5, 9)) -> LanguageModel:
    """A model whose answers depend on its last token and on two neurons, which write the answer into the residual.

    Without any attention and any other feed-forward output, only the final norm and the softmax lie behind them.
    """
    model = copy.deepcopy(tiny("llama").model)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        lm = locant.load(model, tokenizer=tokenizer())
        active = locant.attribute(lm, WORDINGS[:1], "activation").activations[0, layer]
        answer = model.lm_head.weight[4]
        for neuron in neurons:
            down = model.model.layers[layer].mlp.down_proj.weight
            down[:, neuron] = strength * answer / answer.norm() / active[neuron]
    return lm


CHOSEN = selection([(0, 3), (1, 7), (2, 5), (2, 9), (2, 11)], (3, 48))


def test_two_copies_of_which_either_suffices_are_the_one_degenerate_pair() -> None:
    found = degenerate_pairs(built(30.0), WORDINGS, CHOSEN)
    at = units_of(found.units).index(((2, 5), (2, 9)))
    assert found.alone[at].tolist() == pytest.approx([0, 0], abs=0.02)
    assert float(found.joint[at]) > 0.9
    assert found.accepted().nonzero().tolist() == [[at]]
    assert float(found.p[at]) == pytest.approx(1 / 201)
    assert float(found.interval[at, 0]) > 0.9
    assert float(found.log_odds[at]) > 1, "the norm makes them redundant, before any softmax"
    chosen = degenerate_set(found)
    assert chosen.units.tolist() == [[2, 5], [2, 9]] and chosen.weight.tolist() == [1, 1]
    assert chosen.grid == (3, 48) and chosen.queries == WORDINGS


def test_two_neurons_that_add_up_pass_the_printed_rule_and_are_not_synergistic() -> None:
    strength = next(
        strength for strength in np.arange(0.01, 1, 0.01) if drop(built(strength), WORDINGS, [(2, 5)], True) > 0.15
    )
    found = degenerate_pairs(built(strength), WORDINGS, CHOSEN)
    at = units_of(found.units).index(((2, 5), (2, 9)))
    assert found.alone[at].tolist() == pytest.approx([0.16, 0.16], abs=0.02)
    assert 0.25 < float(found.joint[at]) < 0.32
    assert found.degenerate.nonzero().tolist() == [[at]]
    assert not found.synergistic().any()
    assert len(degenerate_set(found)) == 0
    assert degenerate_set(found, printed=True).units.tolist() == [[2, 5], [2, 9]]


# Probabilities made by hand

GRID = (3, 48)


def fake(monkeypatch: pytest.MonkeyPatch, probability: Probability) -> LanguageModel:
    """A model with these probabilities of an answer, by the neurons suppressed."""

    def read(lm: LanguageModel, query: Query, sets: Sequence[Selection], by: float) -> Tensor:
        assert by == 0
        units = [frozenset((layer, neuron) for layer, neuron in one.units.tolist()) for one in sets]
        return torch.tensor([probability(query, one) for one in units], dtype=torch.float64)

    monkeypatch.setattr(degenerate, "probability_by_set", read)
    return tiny("llama")


def noise(*of: object) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(repr(of).encode()).digest()))


def additive(drops: dict[Unit, float], more: dict[Pair, float] | None = None) -> Probability:
    """P = 0.5, less these shares of it."""

    def probability(query: Query, units: Pair) -> float:
        return 0.5 * (1 - sum(drops.get(unit, 0.0) for unit in units) - (more or {}).get(units, 0.0))

    return probability


A, B, C, D = (0, 1), (1, 2), (1, 3), (2, 4)


def test_fifteen_and_fifteen_percent_are_degenerate_by_the_rule_and_no_more_than_their_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = fake(monkeypatch, additive({A: 0.15, B: 0.15}))
    found = degenerate_pairs(lm, WORDINGS, selection([A, B], GRID))
    assert found.joint.tolist() == pytest.approx([0.30])
    assert found.expected.tolist() == pytest.approx([0.30]) and found.synergy.tolist() == pytest.approx([0])
    assert found.degenerate.tolist() == [True]
    assert found.synergistic().tolist() == [False] and found.accepted().tolist() == [False]


def test_the_rules_thresholds_are_those_of_either_and_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    drops = {A: 0.25, B: 0.125, C: 0.0, D: 0.375}  # binary fractions: what is on the border is exactly there
    more = {frozenset({A, B}): 0.1875, frozenset({A, C}): 0.25, frozenset({B, C}): 0.5}
    lm = fake(monkeypatch, additive(drops, more))
    found = degenerate_pairs(lm, WORDINGS[:1], selection([A, B, C, D], GRID), low=0.25, high=0.5)
    assert units_of(found.units) == [(A, B), (A, C), (B, C)], "D alone is missed too much"
    assert found.alone.tolist() == [[0.25, 0.125], [0.25, 0.0], [0.125, 0.0]]
    assert found.joint.tolist() == [0.5625, 0.5, 0.625]
    assert found.degenerate.tolist() == [True, False, True], "more than high, not as much"
    assert found.synergistic().tolist() == [False, False, True], "by more than high - low"


def test_a_synergy_of_some_wordings_only_is_refused_and_one_of_all_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def probability(query: Query, units: Pair) -> float:
        only = 1.0 if query == WORDINGS[0] else 0.0
        return additive({A: 0.1, B: 0.1, C: 0.1}, {frozenset({A, B}): 0.6 * only, frozenset({B, C}): 0.2})(
            query, units
        )

    lm = fake(monkeypatch, probability)
    chosen = selection([A, B, C], GRID)
    found = degenerate_pairs(lm, WORDINGS, chosen)
    assert found.synergy.tolist() == pytest.approx([0.2, 0, 0.2], abs=1e-9)
    assert found.by_query.tolist() == [pytest.approx(row, abs=1e-9) for row in ([0.6, 0, 0], [0] * 3, [0.2] * 3)]
    assert found.degenerate.tolist() == [True, False, True]
    assert found.accepted().tolist() == [False, False, True]
    assert found.interval[2].tolist() == pytest.approx([0.2, 0.2])
    two = degenerate_pairs(lm, WORDINGS[:2], chosen)
    assert two.interval.isnan().all(), "two wordings bear no interval"
    assert two.accepted().tolist() == [True, False, True]


def test_drops_of_wordings_are_relative_to_each_before_they_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    base = dict(zip(WORDINGS, (0.8, 0.1, 0.4), strict=True))
    lost = dict(zip(WORDINGS, (0.1, 0.05, 0.0), strict=True))
    lm = fake(monkeypatch, lambda query, units: base[query] - len(units) * lost[query])
    chosen = selection([A, B], GRID)
    found = degenerate_pairs(lm, WORDINGS, chosen, low=0.5, high=0.6)
    assert found.joint.tolist() == pytest.approx([2 * (0.125 + 0.5 + 0) / 3])
    absolute = degenerate_pairs(lm, WORDINGS, chosen, low=0.5, high=0.6, relative=False)
    assert absolute.joint.tolist() == pytest.approx([2 * 0.05])


def test_log_odds_tell_a_sum_behind_a_softmax_from_a_synergy(monkeypatch: pytest.MonkeyPatch) -> None:
    def probability(query: Query, units: Pair) -> float:
        logit = 6.0 - 4 * len(units & {A, B}) - (9 if {C, D} <= units else 0)
        return float(torch.tensor(logit, dtype=torch.float64).sigmoid())

    found = degenerate_pairs(fake(monkeypatch, probability), WORDINGS, selection([A, B, C, D], GRID), seed=3)
    accepted = {frozenset({A, B}): 1.0, frozenset({C, D}): 1.0}
    assert {pair for pair, value in found_by_pair(found, found.accepted()).items() if value} == set(accepted)
    log_odds = found_by_pair(found, found.log_odds)
    assert log_odds[frozenset({A, B})] == pytest.approx(0, abs=1e-9)
    assert log_odds[frozenset({C, D})] == pytest.approx(9)
    sure = degenerate_pairs(fake(monkeypatch, lambda query, units: 1 - 1e-7), WORDINGS, selection([A, B], GRID))
    assert sure.log_odds.isnan().all()


def test_of_the_chosen_the_highest_weighted_are_considered(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = fake(monkeypatch, additive({}))
    chosen = selection([A, B, C, D], GRID, [1.0, 4.0, 2.0, 3.0])
    assert units_of(degenerate_pairs(lm, WORDINGS, chosen, most=3).units) == [(B, C), (B, D), (C, D)]


def test_random_pairs_are_of_the_candidates_layers_and_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = fake(monkeypatch, additive({(2, 4): 0.9}))
    chosen = selection([*((1, neuron) for neuron in range(45)), (2, 4), (2, 5)], GRID, [1.0] * 43 + [9.0] * 4)
    found = degenerate_pairs(lm, WORDINGS, chosen, most=4, seed=2)
    assert units_of(found.units) == [((1, 43), (1, 44)), ((1, 43), (2, 5)), ((1, 44), (2, 5))]
    drawn = units_of(found.random.units)
    assert len(drawn) == 200 and all(one != other for one, other in drawn)
    assert {neuron for pair in drawn for layer, neuron in pair if layer == 1} == {45, 46, 47}
    assert not {(2, 4), (2, 5)} & {unit for pair in drawn for unit in pair}
    layers = [(one[0], other[0]) for one, other in drawn]
    assert set(layers) == {(1, 1), (1, 2)} and 40 < layers.count((1, 1)) < 95
    assert len({other for one, other in drawn if other[0] == 2}) > 30
    again = degenerate_pairs(lm, WORDINGS, chosen, most=4, seed=2)
    other = degenerate_pairs(lm, WORDINGS, chosen, most=4, seed=3)
    assert torch.equal(again.random.units, found.random.units)
    assert not torch.equal(other.random.units, found.random.units)


def test_p_counts_random_pairs_that_could_be_candidates_and_the_share_counts_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def probability(query: Query, units: Pair) -> float:
        if units <= {A, B}:
            return additive({A: 0.1, B: 0.1}, {frozenset({A, B}): 0.1})(query, units)
        drops = {unit: 0.4 if unit[1] % 4 == 0 else 0.05 for unit in units}
        return additive(drops, {units: float(noise(sorted(units)).uniform(0, 0.3)) if len(units) == 2 else 0.0})(
            query, units
        )

    found = degenerate_pairs(fake(monkeypatch, probability), WORDINGS, selection([A, B], GRID), null=300)
    lone = [all(unit[1] % 4 for unit in pair) for pair in units_of(found.random.units)]
    assert 100 < sum(lone) < 250
    synergies = found.random.synergy.tolist()
    reached = sum(one and synergy >= 0.1 for one, synergy in zip(lone, synergies, strict=True))
    assert found.p.tolist() == pytest.approx([(1 + reached) / (1 + sum(lone))])
    passing = sum(one and synergy + 0.1 > 0.25 for one, synergy in zip(lone, synergies, strict=True))
    assert found.random_share == pytest.approx(passing / 300) and 0.1 < found.random_share < 0.5


def test_a_synergy_that_random_pairs_have_as_well_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def probability(query: Query, units: Pair) -> float:
        often = len(units) == 2 and min(neuron for _, neuron in units) % 4 == 0
        return additive({}, {units: 0.4 if units == {A, B} or often else 0.0})(query, units)

    found = degenerate_pairs(fake(monkeypatch, probability), WORDINGS, selection([A, B], GRID))
    share = found.random_share
    assert 0.1 < share < 0.4
    assert found.p.tolist() == pytest.approx([(1 + 200 * share) / 201])
    assert found.degenerate.tolist() == [True] and found.accepted().tolist() == [False]
    assert found.accepted(level=0.5).tolist() == [True]
    assert len(degenerate_set(found)) == 0 and len(degenerate_set(found, level=0.5)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_pairs_like_random_ones_have_p_values_like_random_numbers(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    planted = frozenset({(0, 0), (1, 5)})

    def probability(query: Query, units: Pair) -> float:
        drops = {unit: float(noise(seed, unit).uniform(0, 0.15)) for unit in units}
        more = float(noise(seed, sorted(units)).normal(0, 0.03)) if len(units) == 2 else 0.0
        return additive(drops, {units: 0.3 if units == planted else more})(query, units)

    chosen = [(layer, neuron) for layer in range(3) for neuron in range(7)]
    found = degenerate_pairs(
        fake(monkeypatch, probability), WORDINGS, selection(chosen, GRID), most=21, null=400, seed=seed
    )
    p = found_by_pair(found, found.p)
    assert len(p) == 210
    assert p.pop(planted) == pytest.approx(1 / 401)
    assert kstest(list(p.values()), "uniform").pvalue > 1e-3
    assert np.mean(np.array(list(p.values())) <= 0.1) == pytest.approx(0.1, abs=0.07)
    accepted = found_by_pair(found, found.accepted())
    assert accepted[planted] and sum(accepted.values()) <= 0.05 * len(accepted)


def test_each_neuron_weighs_the_pairs_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {frozenset({A, B}): 0.4, frozenset({B, D}): 0.5}
    found = degenerate_pairs(fake(monkeypatch, additive({}, more)), WORDINGS, selection([A, B, C, D], GRID))
    chosen = degenerate_set(found)
    assert chosen.units.tolist() == [list(A), list(B), list(D)] and chosen.weight.tolist() == [1, 2, 1]


@pytest.mark.parametrize("units", [[], [A], [A, B]])
def test_without_two_neurons_to_pair_there_are_no_pairs(monkeypatch: pytest.MonkeyPatch, units: list[Unit]) -> None:
    lm = fake(monkeypatch, additive({B: 0.9}))
    found = degenerate_pairs(lm, WORDINGS, selection(units, GRID))
    assert len(found) == 0 and len(found.random) == 0 and np.isnan(found.random_share)
    assert len(degenerate_set(found)) == 0


def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = fake(monkeypatch, additive({}))
    chosen = selection([A, B], GRID)
    with pytest.raises(UnknownName, match="2 facts"):
        degenerate_pairs(lm, [*WORDINGS, locant.query("w1", "w2")], chosen)
    with pytest.raises(UnknownName, match="0 facts"):
        degenerate_pairs(lm, [], chosen)
    with pytest.raises(UnknownName, match="at most high"):
        degenerate_pairs(lm, WORDINGS, chosen, low=0.3, high=0.2)
    with pytest.raises(UnknownName, match="2 neurons"):
        degenerate_pairs(lm, WORDINGS, chosen, most=1)
    with pytest.raises(UnknownName, match="random pair"):
        degenerate_pairs(lm, WORDINGS, chosen, null=0)
    full = selection([(0, neuron) for neuron in range(47)], GRID)
    with pytest.raises(UnknownName, match="layer 0"):
        degenerate_pairs(lm, WORDINGS, full)
    with pytest.raises(BadQuery, match="probability 0"):
        degenerate_pairs(fake(monkeypatch, lambda query, units: 0.0), WORDINGS, chosen)


def test_the_record_tells_settings_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = fake(monkeypatch, additive({}))
    chosen = selection([A, B], GRID)
    made = [
        degenerate_pairs(lm, WORDINGS, chosen).made_by,
        degenerate_pairs(lm, WORDINGS, chosen, seed=1).made_by,
        degenerate_pairs(lm, WORDINGS, chosen, low=0.1).made_by,
        degenerate_pairs(lm, WORDINGS, chosen, relative=False).made_by,
        degenerate_pairs(lm, WORDINGS, selection([A, C], GRID), most=2).made_by,
    ]
    assert len({one.digest() for one in made}) == len(made)
    assert chosen.made_by.digest() in made[0].parents
