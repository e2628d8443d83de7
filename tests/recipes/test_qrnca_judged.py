"""QRNCA's measures against counting by hand, its pools, and the reasons for what cannot be had."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
import torch

from families import tiny
from locant.attributions import attribute
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca import predicted
from locant.recipes.qrnca.asked import blocks_of
from locant.recipes.qrnca.chosen import DRAWS, choose_neurons, pools_of
from locant.recipes.qrnca.counted import likeness_rows, overlap_rows, wrong_rows
from locant.recipes.qrnca.judged import editing_rows, gain_rows, prediction_rows, ratio_rows
from locant.recipes.qrnca.located import wrong_letters
from locant.recipes.qrnca.plan import OWN
from locant.recipes.qrnca.predicted import POOLS, credit, mean_activations, pools_for
from locant.types import Provenance, Selection
from word_questions import GRID, PLAN, asked, domains, languages, located, units_of

# How it is judged


def touched(rows: list[tuple[str, str, str, list[float], list[float], int]]) -> pl.DataFrame:
    """What touching did: (question, fact, asked, before, after, right) each."""
    return pl.DataFrame(
        [
            {"method": OWN, "draw": 0, "evaluation": "in-sample", "part": "all", "operation": "suppress",
             "question": question, "fact": fact, "group": question[-1], "asked": side, "prompt": f"{place}",
             "size": 4, "matched": True, "right": right, "letters_before": before, "letters_after": after}
            for place, (question, fact, side, before, after, right) in enumerate(rows)
        ]
    )  # fmt: skip


def test_the_ratio_of_a_run_is_over_facts_each_of_which_is_the_mean_of_its_questions() -> None:
    rows = []
    values = {("f0/a", "f0"): (0.5, 0.2), ("f0/b", "f0"): (0.7, 0.7), ("f1/a", "f1"): (0.4, 0.1)}
    for (question, fact), (before, after) in values.items():
        rows.append((question, fact, "related", [before, 0.1], [after, 0.1], 0))
        rows.append((question, fact, "unrelated", [0.5, 0.1], [0.45, 0.1], 0))
    whole = next(row for row in ratio_rows(touched(rows), PLAN) if row["group"] == "all")
    before, after = (0.5 + 0.7) / 2 + 0.4, (0.2 + 0.7) / 2 + 0.1
    assert whole["related"] == pytest.approx((after - before) / before)
    assert whole["unrelated"] == pytest.approx(-0.1) and whole["ratio"] == pytest.approx(
        abs(after - before) / before / 0.1
    )
    assert (whole["n"], whole["kind"], whole["why"]) == (2, "finite", "")
    of_a = next(row for row in ratio_rows(touched(rows), PLAN) if row["group"] == "a")
    assert of_a["related"] == pytest.approx((0.3 - 0.9) / 0.9) and of_a["n"] == 2


@pytest.mark.parametrize(("aggregate", "zeros"), [("ratio-of-means", 2), ("mean-of-ratios", 1)])
def test_where_an_answer_has_no_probability_a_row_says_why_there_is_no_ratio(aggregate: str, zeros: int) -> None:
    rows = []
    for number in range(2):
        before = 0.0 if number < zeros else 0.5
        rows.append((f"{number}/a", f"{number}", "related", [0.5, 0.1], [0.4, 0.1], 0))
        rows.append((f"{number}/a", f"{number}", "unrelated", [before, 0.1], [0.1, 0.1], 0))
    (row, _) = ratio_rows(touched(rows), replace(PLAN, aggregate=aggregate))
    assert row["kind"] == "undefined" and math.isnan(row["related"])  # type: ignore[arg-type]
    assert row["why"] == f"{zeros} of 2 unrelated answers have probability 0 before"
    one_left = touched([one for one in rows if aggregate == "ratio-of-means" or one[1] == "1"])
    if aggregate == "mean-of-ratios":
        assert next(ratio_rows(one_left, replace(PLAN, aggregate=aggregate)))["kind"] == "finite"


def test_turned_answers_are_counted_by_hand_of_related_and_of_unrelated_prompts() -> None:
    right, wrong = [0.8, 0.2], [0.3, 0.7]
    rows = [
        ("f0/a", "f0", "related", right, wrong, 0),
        ("f0/a", "f0", "related", right, right, 0),
        ("f0/b", "f0", "related", right, right, 0),
        ("f1/a", "f1", "related", right, wrong, 0),
        ("f2/a", "f2", "related", wrong, right, 0),
        *((f"f{number}/a", f"f{number}", "unrelated", right, right, 0) for number in range(3)),
    ]
    found = {(row["asked"], row["turned"], row["of"]): row for row in editing_rows(touched(rows), PLAN)}
    # Of fact 0 one prompt in three turned, of fact 1 the only one, of fact 2 none could
    lost = found["related", "right to wrong", "eligible"]
    assert (lost["share"], lost["n"]) == (pytest.approx((1 / 3 + 1) / 2), 2)
    assert found["related", "right to wrong", "all"]["share"] == pytest.approx((1 / 3 + 1 + 0) / 3)
    gained = found["related", "wrong to right", "eligible"]
    assert (gained["share"], gained["n"]) == (1.0, 1)
    still = found["unrelated", "right to wrong", "eligible"]
    assert (still["share"], still["n"], still["low"]) == (0.0, 3, 0.0) and still["high"] > 0.3  # type: ignore[operator]
    assert ("unrelated", "wrong to right", "eligible") not in found


def said(question: str, fact: str, rule: str, pool: str, right: float, draw: int = 0) -> dict[str, object]:
    return {"question": question, "fact": fact, "group": question[-1], "rule": rule, "pool": pool, "draw": draw,
            "size": 5, "matched": True, "right": right, "options": 4}  # fmt: skip


def test_predictions_and_gains_are_means_over_facts_and_random_draws_are_averaged_first() -> None:
    rows = []
    for question, fact, own in (("f0/a", "f0", 1.0), ("f0/b", "f0", 0.0), ("f1/a", "f1", 1.0)):
        rows.append(said(question, fact, "full model", "", 1.0))
        rows.append(said(question, fact, "value vectors", "own", own))
        rows.append(said(question, fact, "value vectors", "none", 0.25))
        rows += [said(question, fact, "value vectors", "random", float(draw == 0), draw) for draw in range(3)]
    table = pl.DataFrame(rows)
    found = {(row["group"], row["rule"], row["pool"]): row for row in prediction_rows(table, PLAN)}
    assert found["all", "chance", ""]["accuracy"] == 0.25
    assert (found["all", "full model", ""]["accuracy"], found["all", "full model", ""]["n"]) == (1.0, 2)
    own = found["all", "value vectors", "own"]
    assert (own["accuracy"], own["n"]) == ((0.5 + 1) / 2, 2)
    assert found["all", "value vectors", "random"]["accuracy"] == pytest.approx(1 / 3)
    assert found["b", "value vectors", "own"]["accuracy"] == 0.0
    gains = {(row["group"], row["against"]): row for row in gain_rows(table, PLAN)}
    assert gains["all", "random"]["gain"] == pytest.approx((0.5 + 1) / 2 - 1 / 3)
    assert gains["all", "none"]["gain"] == pytest.approx(0.5) and gains["all", "none"]["n"] == 2
    assert ("all", "another group's") not in gains


# What predicts


def test_of_equally_loud_letters_one_is_drawn() -> None:
    assert credit(torch.tensor([0.3, 0.9, 0.1]), 1) == 1.0
    assert credit(torch.tensor([0.3, 0.9, 0.1]), 0) == 0.0
    assert [credit(torch.zeros(4), place) for place in range(4)] == [0.25] * 4
    assert credit(torch.tensor([0.7, 0.7, 0.1]), 1) == 0.5


def test_every_pool_stands_beside_no_neurons_random_ones_and_another_groups() -> None:
    questions = domains()
    by_group = pools_of(located(questions), questions, PLAN)
    found = list(pools_for(questions[0], by_group, 0))
    assert [pool.name for pool in found] == ["own", "none", *["random"] * DRAWS, "another group's"]
    assert {pool.name for pool in found} == set(POOLS)
    own, none, *drawn, other = (pool.neurons for pool in found)
    assert units_of(own) == units_of(by_group["a"]) and len(none) == 0
    assert units_of(other) in (units_of(by_group["b"]), units_of(by_group["c"]))
    assert len({frozenset(units_of(one)) for one in drawn}) == DRAWS
    for one in drawn:
        assert one.units[:, 0].bincount().tolist() == own.units[:, 0].bincount().tolist()
    alone = list(pools_for(questions[0], {"a": by_group["a"]}, 0))
    assert [pool.name for pool in alone] == ["own", "none", *["random"] * DRAWS]


def test_the_mean_of_a_neuron_is_over_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicted, "AT_ONCE", 3)  # more questions than fit in a batch
    lm, some = tiny("llama"), domains(3)[:7]
    each = [attribute(lm, [one.prompts[0].query], "activation").activations[0] for one in some]
    torch.testing.assert_close(
        mean_activations(lm, some), torch.stack(each).double().mean(dim=0), rtol=1e-4, atol=1e-6
    )


# Blocks, and reasons


def test_blocks_are_facts_of_several_groups_else_relations_within_groups() -> None:
    facts = blocks_of(languages())
    assert facts.shuffled == "groups within each fact"
    assert facts.of == {one.uid: one.fact for one in languages()}
    many = [asked(group, f"{group}{n}", relation=f"{group} {n % 2}") for group in "ab" for n in range(4)]
    assert blocks_of(many).shuffled == "relations"
    assert blocks_of(many).of == {one.uid: one.relation for one in many}
    shared = [asked(group, f"{group}{n}", relation=f"P{n % 2}") for group in "ab" for n in range(4)]
    assert blocks_of(shared).shuffled == "groups within each relation"
    for relation, why in (("group", "no relation within the groups is known"), ("", "no relation is known")):
        some = [asked(group, f"{group}{n}", relation=relation and group) for group in "ab" for n in range(4)]
        assert blocks_of(some).of is None and why in blocks_of(some).shuffled


def test_overlaps_that_cannot_be_had_say_why() -> None:
    questions = domains(3)
    groups = {one.uid: one.group for one in questions}
    sets = choose_neurons(located(questions), PLAN)[OWN][0]
    rows = list(overlap_rows(sets, groups, blocks_of(questions), PLAN))
    assert len(rows) == 2 * (3 + 1)
    missing = [row for row in rows if row["null"] == "blocks"]
    assert all(row["observed"] is None and "no relation is known" in str(row["why"]) for row in missing)
    assert all(row["why"] == "" for row in rows if row["null"] == "questions")
    empty = {uid: Selection((), torch.zeros(0, 2).long(), torch.zeros(0), GRID, Provenance("none")) for uid in sets}
    assert {row["why"] for row in overlap_rows(empty, groups, blocks_of(questions), PLAN)} == {
        "no question has any neuron"
    }
    assert list(likeness_rows(empty, groups, blocks_of(questions), PLAN)) == []


def test_what_right_and_wrong_letters_share_stands_beside_another_question_s() -> None:
    questions = domains(2, "a")
    first, second = located(questions).clusters, located(questions, seed=4).clusters
    for place, row in enumerate(wrong_rows(1, first, second, {one.uid: "a" for one in questions})):
        own, wrong, other = (units_of(one) for one in (first[place], second[place], second[1 - place]))
        assert (row["place"], row["both"], row["wrong"]) == (2, len(own & wrong), len(wrong))
        assert row["jaccard"] == len(own & wrong) / len(own | wrong)
        assert row["another"] == len(own & other) / len(own | other)


def test_wrong_letters_follow_their_option_through_the_templates_where_it_is_in_all() -> None:
    def of(*orders: str) -> ChoiceQuestion:
        one = asked("a", "f", templates=len(orders))
        letters = tuple("ABCD")
        prompts = tuple(
            ChoicePrompt(replace(prompt.query, answer=letters[order.index("r")]), letters, tuple(order))
            for prompt, order in zip(one.prompts, orders, strict=True)
        )
        return replace(one, prompts=prompts)

    assert wrong_letters(of("rxyz", "zyxr")) == [("B", "C", "D"), ("C", "B", "A")]
    assert wrong_letters(of("rxyz", "uvrw")) == [("B", "C", "D"), ("A", "B", "D")]
    assert wrong_letters(replace(asked("a", "f", templates=1))) in ([("w1", "w2")], [("w1", "w3")], [("w2", "w3")])
