"""Fact-checking on numbers made by hand, against plain loops, and on what the almanac knows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch

import locant
from families import tiny
from locant import almanac
from locant.errors import UnknownName
from locant.evaluations import fact_checking
from locant.evaluations.fact_checking import (
    baseline_scores,
    best_threshold,
    check_facts,
    fact_scores,
    relation_neurons,
    scores_by_set,
)
from locant.evaluations.statements import Statement, facts_of, split_facts, statements
from locant.models import LanguageModel
from locant.types import Fact, Provenance, Query, Selection

Unit = tuple[int, int]


def selection(units: Sequence[Unit], grid: tuple[int, int], name: str = "q") -> Selection:
    return Selection(
        (locant.query("p", "A", fact=name),),
        torch.tensor(units, dtype=torch.int64).reshape(-1, 2),
        torch.ones(len(units)),
        grid,
        Provenance("by hand", {"of": name}),
    )


def fact(subject: str, answer: str, *, language: str = "en", wording: int = 0, **more: tuple[str, ...]) -> Query:
    """A wording of 'the capital of'."""
    return locant.query(
        f"{wording} {subject}",
        answer,
        subject=subject,
        relation="capital",
        language=language,
        uid=f"{subject}/{language}/{wording}",
        **more,
    )


CITIES = {f"country {index}": f"city {index}" for index in range(9)}
FACTS = tuple(fact(subject, city, wording=wording) for subject, city in CITIES.items() for wording in range(3))


def answers_of(made: Sequence[Statement], query: Query) -> list[str]:
    """The wrong answers drawn for a query."""
    return [one.query.answer for one in made if not one.true and one.query.uid.startswith(f"{query.uid}/")]


# Splitting


def test_all_wordings_of_a_fact_in_all_languages_are_on_one_side() -> None:
    queries = [query for name in ("currency", "young") for query in almanac.queries(name)]
    train, test = split_facts(queries)
    assert sorted(query.uid for query in (*train, *test)) == sorted(query.uid for query in queries)
    assert not {query.fact.uid for query in train} & {query.fact.uid for query in test}
    for name in ("currency", "young"):
        facts = {query.fact.uid for query in queries if query.relation == name}
        kept = {query.fact.uid for query in train if query.relation == name}
        assert len(kept) == round(0.8 * len(facts))
    assert len({query.language for query in test}) == 7


def test_a_split_depends_on_its_seed_and_not_on_the_order_of_queries() -> None:
    train, _ = split_facts(FACTS)
    backwards, _ = split_facts(FACTS[::-1])
    assert set(train) == set(backwards)
    assert len({frozenset(split_facts(FACTS, seed=seed)[1]) for seed in range(20)}) > 10
    drawn = [query.fact.uid for seed in range(200) for query in split_facts(FACTS, seed=seed)[1][::3]]
    counts = [drawn.count(f"capital/{subject}") for subject in CITIES]
    assert sum(counts) == 200 * 2 and min(counts) > 20, "9 facts, of which 2 are left out, each as often"


@pytest.mark.parametrize(("facts", "kept"), [(1, 1), (2, 1), (3, 2), (5, 4)])
def test_where_there_are_two_facts_both_sides_get_one(facts: int, kept: int) -> None:
    train, test = split_facts(FACTS[: 3 * facts])
    assert (len(train), len(test)) == (3 * kept, 3 * (facts - kept))
    assert len(split_facts(FACTS[: 3 * facts], share=0.01)[0]) == 3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_or_all_facts_is_no_split(share: float) -> None:
    with pytest.raises(UnknownName, match="share"):
        split_facts(FACTS, share)


# Statements


def test_each_query_is_stated_rightly_once_and_wrongly_with_other_objects_of_its_relation() -> None:
    made = statements(FACTS, wrong=5)
    assert len(made) == 6 * len(FACTS)
    assert [one.query for one in made if one.true] == list(FACTS)
    assert len({one.query.uid for one in made}) == len(made)
    for query in FACTS:
        wrong = answers_of(made, query)
        assert len(wrong) == len(set(wrong)) == 5 and query.answer not in wrong
        assert set(wrong) <= set(CITIES.values())
    for one in made:
        right = next(query for query in FACTS if one.query.prompt == query.prompt)
        assert (one.query.fact, one.query.template) == (right.fact, right.template)
    assert facts_of(made)[:7] == ["capital/country 0"] * 7


def test_wordings_of_a_fact_are_given_the_same_wrong_objects_and_facts_others() -> None:
    made = statements(FACTS)
    drawn = {subject: {tuple(answers_of(made, query)) for query in FACTS if query.fact.subject == subject}
             for subject in CITIES}  # fmt: skip
    assert {len(one) for one in drawn.values()} == {1}
    assert len({frozenset(one) for one in drawn.values()}) > 5
    alone = statements(FACTS[3:4], pool=FACTS)
    assert {tuple(answers_of(alone, FACTS[3]))} == drawn["country 1"], "whatever else is asked"
    assert made == statements(FACTS) and made != statements(FACTS, seed=1)


def test_no_name_of_a_right_answer_is_called_wrong() -> None:
    queries = [
        fact("Bolivia", "Sucre", alternatives=("La Paz",)),
        fact("moved", "LA PAZ"),
        fact("Peru", "Lima"),
        fact("again", "Lima "),
        fact("named", "Ciudad de los Reyes", alternatives=("lima",)),
        fact("France", "Paris"),
    ]
    made = statements(queries, wrong=9)
    wrong = {query.fact.subject: set(answers_of(made, query)) for query in queries}
    assert wrong["Bolivia"] == {"Lima", "Lima ", "Ciudad de los Reyes", "Paris"}
    assert wrong["moved"] == {"Lima", "Lima ", "Ciudad de los Reyes", "Paris"}
    assert wrong["Peru"] == wrong["named"] == {"Sucre", "LA PAZ", "Paris"}
    assert wrong["France"] == {"Sucre", "LA PAZ", "Lima", "Lima ", "Ciudad de los Reyes"}
    sucre = next(one.query for one in made if not one.true and one.query.answer == "Sucre")
    assert sucre.alternatives == ("La Paz",), "a wrong object has the names that it has when right"


def test_all_objects_of_a_subject_are_right_though_they_are_facts_of_their_own() -> None:
    queries = [
        replace(
            fact("France", neighbour),
            uid=neighbour,
            fact=Fact(neighbour, "France", "borders", neighbour),
        )
        for neighbour in ("Spain", "Italy")
    ]
    queries.append(replace(fact("Norway", "Sweden"), fact=Fact("n", "Norway", "borders", "Sweden")))
    made = statements(queries)
    assert [answers_of(made, query) for query in queries[:2]] == [["Sweden"], ["Sweden"]]
    assert sorted(one.query.answer for one in made if one.query.fact.uid == "n") == ["Italy", "Spain", "Sweden"]


def test_wrong_objects_are_of_the_same_relation_and_language_only() -> None:
    queries = [
        fact("France", "Paris"),
        fact("Italy", "Rome"),
        fact("France", "Pariisi", language="fi"),
        fact("Italy", "Rooma", language="fi"),
        locant.query("x", "Berlin", subject="x", relation="birthplace"),
        locant.query("y", "Ulm", subject="y", relation="birthplace"),
    ]
    made = statements(queries)
    assert [one.query.answer for one in made if not one.true] == [
        "Rome", "Paris", "Rooma", "Pariisi", "Ulm", "Berlin"
    ]  # fmt: skip
    more = statements(queries[:1], pool=[fact("Spain", "Madrid"), fact("Spain", "Madrid", language="de")])
    assert [one.query.answer for one in more] == ["Paris", "Madrid"]


def test_what_has_no_wrong_object_is_refused() -> None:
    with pytest.raises(UnknownName, match="no other object in 'en'"):
        statements([fact("France", "Paris"), fact("France", "Pariisi", language="fi")])
    with pytest.raises(UnknownName, match="wrong one"):
        statements(FACTS, wrong=0)


# Neurons and scores


def test_neurons_of_a_relation_are_in_more_than_a_share_of_the_highest_count() -> None:
    sets = [selection([(0, 0)] + [(1, n) for n in range(5) if index < (10, 8, 7, 6, 0)[n]], (2, 6), str(index))
            for index in range(10)]  # fmt: skip
    found = relation_neurons(sets)
    assert found.units.tolist() == [[0, 0], [1, 0], [1, 1]], "7 is not more than 0.7 * 10"
    assert found.weight.tolist() == [10, 10, 8]
    assert relation_neurons(sets, 0.6).units.tolist() == [[0, 0], [1, 0], [1, 1], [1, 2]]
    assert relation_neurons(sets[8:]).units.tolist() == [[0, 0], [1, 0]], "of the highest count, not of the sets"
    others = [selection([(1, 5)], (2, 6), f"other {index}") for index in range(9)]
    assert relation_neurons([*sets, *others]).units.tolist() == [[0, 0], [1, 0], [1, 1], [1, 5]]
    ninety = [selection([(0, 0), (0, 1)][: 1 + (index < 63)], (2, 6), str(index)) for index in range(90)]
    assert relation_neurons(ninety).units.tolist() == [[0, 0]], "63 is 0.7 * 90, whatever a computer makes of it"
    assert len(relation_neurons([selection([], (2, 6))])) == 0
    with pytest.raises(UnknownName, match="share"):
        relation_neurons(sets, 1.0)


@pytest.mark.parametrize(
    ("family", "method"),
    [("llama", "amig"), *((name, "gradient_x_activation") for name in ("gpt2", "llama", "bert", "t5"))],
)
def test_a_score_is_the_mean_over_neurons_of_what_each_is_credited(
    family: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_checking, "AT_ONCE", 2)  # more statements than fit at once
    lm = tiny(family)
    queries = [locant.query(prompt, answer, relation="r", subject=prompt) for prompt, answer in
               (("w1 w2", "w3"), ("w4 w5 w6 w7", "w8"), ("w9 w1", "w10 w11"))]  # fmt: skip
    made = statements(queries)
    attribution = locant.attribute(lm, queries, "activation")
    sets = [locant.select(attribution, k=k) for k in (7, 1)]
    settings = {"mode": "code"} if method == "amig" else {}
    found = scores_by_set(lm, made, sets, method, **settings)
    for column, one in enumerate(made):
        own = locant.attribute(lm, [one.query], method, **settings).scores[0].tolist()
        for row, chosen in enumerate(sets):
            expected = fmean(own[layer][neuron] for layer, neuron in chosen.units.tolist())
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert torch.equal(fact_scores(lm, made, sets[0], method, **settings), found[0])
    assert len(made) == 9 and float(found.std(dim=1).min()) > 0


def test_on_the_almanac_exact_scores_are_what_each_statement_loses_without_each_neuron(
    almanac_lm: LanguageModel,
) -> None:
    # Of answers of one token: the score of several is the mean of theirs, and not what is lost of their product
    queries = [
        query
        for query in almanac.queries("capital", "en")
        if query.uid.endswith("/0") and len(almanac_lm.tokens(query).answers[0]) == 1
    ]
    doubtful = queries[int(locant.answer_probability(almanac_lm, queries).argmin())]
    made = statements([doubtful], wrong=1, pool=queries)
    chosen = locant.select(locant.attribute(almanac_lm, [doubtful], "gradient_x_activation"), k=3)
    found = fact_scores(almanac_lm, made, chosen, "exact")
    asked = [one.query for one in made]
    lost = torch.zeros(len(made), dtype=torch.float64)
    for layer, neuron in chosen.units.tolist():
        with locant.suppress(almanac_lm, selection([(layer, neuron)], chosen.grid)):
            lost -= locant.answer_probability(almanac_lm, asked) / 3
    lost += locant.answer_probability(almanac_lm, asked)
    assert found.tolist() == pytest.approx(lost.tolist(), abs=1e-5)
    assert float(found[0]) > 1e-3 > float(found[1:].max())


def test_neurons_that_cannot_be_scored_are_refused() -> None:
    made = statements(FACTS[:6])
    with pytest.raises(UnknownName, match="empty"):
        fact_scores(tiny("llama"), made, selection([], (3, 48)))
    with pytest.raises(UnknownName, match="layers, neurons"):
        fact_scores(tiny("llama"), made, selection([(0, 0)], (4, 48)))
    assert scores_by_set(tiny("llama"), [], [selection([(0, 0)], (3, 48))]).shape == (1, 0)


def test_baselines_are_the_models_own_answer_its_probability_and_other_neurons(almanac_lm: LanguageModel) -> None:
    queries = almanac.queries("young", "en")[::45]
    made = statements(queries, wrong=2)
    chosen = selection([(0, 3), (4, 5), (4, 6)], (6, 640))
    found = baseline_scores(almanac_lm, made, chosen, "gradient_x_activation", seed=3)
    said = {query.prompt: almanac_lm.generate(query.prompt, max_new_tokens=6).strip() for query in queries}
    expected = [float(said[one.query.prompt].startswith(one.query.answer)) for one in made]
    assert found["exact match"].tolist() == expected and 0 < fmean(expected) < 1
    probabilities = [float(locant.answer_probability(almanac_lm, [one.query])) for one in made]
    assert found["probability"].tolist() == pytest.approx(probabilities, rel=1e-3, abs=1e-12)
    drawn = locant.random_set(chosen, 3)
    assert drawn.units[:, 0].tolist() == [0, 4, 4]
    random = fact_scores(almanac_lm, made, drawn, "gradient_x_activation")
    assert torch.equal(found["random neurons"], random)


# Measures

SCORES = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2, 0.6, 0.3, 0.0, 0.4, 0.05])
TRUTH = [True, True, True, True, True, False, False, False, False, False]


def test_precision_is_of_what_is_called_true_and_recall_of_what_is() -> None:
    found = check_facts(SCORES, TRUTH, 0.5)  # called true: three rightly, one wrongly; two missed
    assert found.precision == pytest.approx(3 / 4)
    assert found.recall == pytest.approx(3 / 5)
    assert found.f1 == pytest.approx(2 / (4 / 3 + 5 / 3))
    assert found.accuracy == pytest.approx(7 / 10)
    assert (found.statements, found.true, found.threshold) == (10, 5, 0.5)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    scores = torch.tensor([1e-6, 2e-6, 0.0], dtype=torch.float64)
    found = check_facts(scores, [True, True, False])
    assert (found.recall, found.precision) == (0.5, 1.0)


def test_where_nothing_is_called_true_there_is_no_precision() -> None:
    found = check_facts(SCORES, TRUTH, 1.0)
    assert math.isnan(found.precision) and (found.recall, found.f1, found.accuracy) == (0, 0, 0.5)


def auc_by_hand(scores: Sequence[float], truth: Sequence[bool]) -> float:
    right = [score for score, true in zip(scores, truth, strict=True) if true]
    wrong = [score for score, true in zip(scores, truth, strict=True) if not true]
    return fmean(1.0 if one > other else 0.5 if one == other else 0.0 for one in right for other in wrong)


@pytest.mark.parametrize("seed", range(5))
def test_the_auc_is_the_share_of_pairs_in_the_right_order(seed: int) -> None:
    numbers = np.random.default_rng(seed)
    truth = [*(numbers.random(60) < 0.3), True, False]
    scores = (numbers.normal(size=62) + np.array(truth)).round(1)
    found = check_facts(torch.from_numpy(scores), [bool(one) for one in truth]).auc
    assert found.mean == pytest.approx(auc_by_hand(scores.tolist(), truth))
    assert found.low < found.mean < found.high and found.n == 62
    turned = check_facts(torch.from_numpy(-scores), [bool(one) for one in truth]).auc
    assert turned.mean == pytest.approx(1 - found.mean)


def test_the_interval_of_the_auc_is_that_of_resampled_facts() -> None:
    numbers = np.random.default_rng(0)
    facts = [f"f{index}" for index in range(25) for _ in range(4)]
    truth = [True, False, False, False] * 25
    scores = numbers.normal(size=100) + np.array(truth) + np.repeat(numbers.normal(size=25), 4)
    found = check_facts(torch.from_numpy(scores), truth, groups=facts, level=0.9).auc
    resampled = []
    for _ in range(2000):
        rows = [row for index in numbers.integers(0, 25, 25) for row in range(4 * index, 4 * index + 4)]
        pairs = scores[rows][None, ::4] > np.delete(scores[rows], np.s_[::4])[:, None]
        resampled.append(pairs.mean())
    low, high = np.quantile(resampled, [0.05, 0.95])
    assert (found.low, found.high, found.n) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015), 25)
    wide = check_facts(torch.from_numpy(scores), truth, groups=facts, level=0.99).auc
    assert wide.low < found.low < found.high < wide.high


def test_more_wordings_that_say_the_same_do_not_narrow_the_interval() -> None:
    numbers = np.random.default_rng(1)
    scores, truth = torch.from_numpy(numbers.normal(size=40)), [bool(index % 2) for index in range(40)]
    facts = [f"f{index // 4}" for index in range(40)]
    once = check_facts(scores, truth, groups=facts).auc
    often = check_facts(scores.repeat(5), truth * 5, groups=facts * 5).auc
    assert (often.mean, often.low, often.high) == (once.mean, once.low, once.high)
    ungrouped = check_facts(scores.repeat(5), truth * 5).auc
    assert ungrouped.high - ungrouped.low < 0.7 * (once.high - once.low)


def test_resamples_without_a_true_statement_are_left_out() -> None:
    found = check_facts(SCORES[[0, 5, 6]], [True, False, False], groups=["a", "b", "c"]).auc
    assert (found.mean, found.low, found.high, found.n) == (1, 1, 1, 3)
    alone = check_facts(SCORES, TRUTH, groups=["a"] * 10).auc
    assert (alone.low, alone.high, alone.n) == (alone.mean, alone.mean, 1)


def test_scores_that_know_nothing_have_an_auc_near_one_half() -> None:
    covered = 0
    for seed in range(40):
        numbers = np.random.default_rng(seed)
        scores = torch.from_numpy(numbers.normal(size=180) + np.repeat(numbers.normal(size=30), 6))
        facts = [f"f{index}" for index in range(30) for _ in range(6)]
        found = check_facts(scores, [True, *[False] * 5] * 30, groups=facts, resamples=300).auc
        covered += found.low <= 0.5 <= found.high
    assert covered >= 33, "95% of intervals hold what is so"


@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_that_of_a_search_through_all(seed: int) -> None:
    numbers = np.random.default_rng(seed)
    truth = [*(numbers.random(30) < 0.3), True, False]
    truth = [bool(one) for one in truth]
    scores = torch.from_numpy((numbers.normal(size=32) + seed % 3 * np.array(truth)).round(1))
    levels = scores.unique().tolist()
    middles = [levels[0] - 1e-12, *((low + high) / 2 for low, high in itertools.pairwise(levels))]
    f1 = {middle: check_facts(scores, truth, middle, resamples=2).f1 for middle in middles}
    best = max(middle for middle, value in f1.items() if value == max(f1.values()))
    assert best_threshold(scores, truth) == pytest.approx(best)
    assert check_facts(scores, truth, best_threshold(scores, truth), resamples=2).f1 == max(f1.values())


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    # Calling one of two true, or both and two wrong: F1 is 2/3 either way
    assert best_threshold(torch.tensor([4.0, 3.0, 2.0, 1.0]), [True, False, False, True]) == 3.5


def test_scores_without_a_say_are_best_called_true_altogether() -> None:
    found = check_facts(
        torch.ones(4), [True, False, False, False], best_threshold(torch.ones(4), [True, *[False] * 3])
    )
    assert (found.recall, found.precision, found.auc.mean) == (1, 0.25, 0.5)


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(UnknownName, match="10 scores"):
        check_facts(SCORES, TRUTH[:9])
    with pytest.raises(UnknownName, match="group"):
        check_facts(SCORES, TRUTH, groups=["a"])
    with pytest.raises(UnknownName, match="NaN"):
        check_facts(SCORES / 0 * 0, TRUTH)
    with pytest.raises(UnknownName, match="one kind"):
        check_facts(SCORES, [True] * 10)
    with pytest.raises(UnknownName, match="one kind"):
        best_threshold(SCORES, [False] * 10)


# On a model that knows


def test_the_almanac_tells_its_facts_from_others_by_a_relations_neurons_and_not_by_random_ones(
    almanac_lm: LanguageModel,
) -> None:
    queries = [query for query in almanac.queries("capital", "en") if query.uid.endswith("/0")][::2]
    train, test = split_facts(queries)
    attribution = locant.attribute(almanac_lm, train, "gradient_x_activation")
    neurons = relation_neurons([locant.select(one, "share", share=0.2) for one in attribution], 0.3)
    made = statements(test, wrong=2, pool=train)
    truth, facts = [one.true for one in made], facts_of(made)
    sets = [neurons, locant.random_set(neurons, 0)]
    located, random = (
        check_facts(scores, truth, groups=facts).auc for scores in scores_by_set(almanac_lm, made, sets, "amig")
    )
    assert located.mean > 0.9 and located.n == len(test) == 13
    assert located.low > random.mean
