"""QRNCA: a run has every experiment, resumes where it stopped, and holds against what one computes by hand."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import torch

import locant
from families import tiny
from locant.attributions import attribute
from locant.errors import BadFile, BadQuery, UnknownName
from locant.evaluations import value_words
from locant.evaluations.letters import letter_probabilities
from locant.interventions import scale
from locant.languages import gap
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.choices import select_choices
from locant.recipes.qrnca import METHODS, Plan, run_qrnca
from locant.recipes.qrnca.cases import HALVES, halves
from locant.recipes.qrnca.chosen import pools_of
from locant.recipes.qrnca.located import located_in, parts_of
from locant.recipes.qrnca.plan import EVALUATIONS, FEW, OWN, RANDOM
from locant.recipes.qrnca.predicted import appended, predict, written
from locant.selections.clusters import cluster, query_neurons
from locant.selections.share import at_most
from locant.types import Selection
from unchecked import unchecked

TABLES = {
    "questions", "prompts", "located", "costs", "clusters", "wrong", "neurons", "common", "counts", "overlap",
    "likeness", "layers", "regions", "touched", "changes", "ratios", "editing", "predicted", "prediction", "gains",
}  # fmt: skip
TIMED = {"costs", "located"}
"""Tables that hold seconds."""
PLAN = Plan(draws=20, wrong=True, settings={"rule": "midpoint", "steps": 8})


@cache
def questions() -> tuple[ChoiceQuestion, ...]:
    lm = locant.load("almanac")
    return select_choices(lm, "almanac", groups=("geography", "biology", "chemistry"), limit=2, templates=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return run_qrnca(locant.load("almanac"), questions(), folder, PLAN, source="almanac")


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def units_of(rows: pl.DataFrame) -> set[tuple[int, int]]:
    return set(rows.select("layer", "neuron").iter_rows())


def chosen_in(run: Path, part: str, method: str, name: str) -> Selection:
    """The neurons that a run's table has of a question or a group."""
    lm = locant.load("almanac")
    rows = table(run, "neurons").filter(
        (pl.col("part") == part) & (pl.col("method") == method) & (pl.col("draw") == 0)
    )
    rows = rows.filter(pl.coalesce("question", "group") == name)
    units = torch.from_numpy(rows.select("layer", "neuron").to_numpy().copy()).long()
    units = units[(units[:, 0] * lm.neurons + units[:, 1]).argsort()]
    return Selection((), units, torch.ones(len(units)), (lm.layers, lm.neurons), lm.provenance("hand", {}))


def test_a_run_has_a_table_of_every_experiment_and_says_that_it_is_complete(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["recipe"], manifest["status"]) == ("qrnca", "complete")
    assert (manifest["questions"], manifest["prompts"]) == (6, 12)
    assert set(table(run, "prompts")["options"]) == {4}
    asked = table(run, "questions")
    assert asked.select("fact", "relation").rows() == [(one.fact, one.relation) for one in questions()]


def test_neurons_are_told_by_part_method_and_question_or_group(run: Path) -> None:
    found = table(run, "neurons")
    assert set(found["part"]) == {*parts_of(2), *HALVES}
    of_groups = found.filter(pl.col("part").is_in(HALVES))
    assert set(of_groups["method"]) == set(METHODS) - {FEW} and of_groups["question"].null_count() == len(of_groups)
    assert set(found.filter(~pl.col("part").is_in(HALVES))["method"]) == set(METHODS)
    sizes = Counter(of_groups.select("part", "group", "method", "draw").iter_rows())
    for (part, group, method, _), size in sizes.items():
        own = sizes[part, group, OWN, 0]
        assert size == own if method == RANDOM else size <= own
    assert sum(method == RANDOM for _, _, method, _ in sizes) == 6 * 3


def test_a_question_s_cluster_and_neurons_are_those_of_its_attribution(run: Path) -> None:
    lm = locant.load("almanac")
    clusters = [
        cluster(attribute(lm, [part.query for part in one.prompts], "dai", **PLAN.settings).scores, uid=one.uid)
        for one in questions()
    ]
    chosen = query_neurons(clusters)
    right = table(run, "clusters").filter(pl.col("letter") == "right")
    for one in clusters:
        ours = units_of(right.filter(pl.col("question") == one.uid))
        theirs = set(map(tuple, one.units.tolist()))
        # Another batch differs by rounding, which can decide at the border only
        assert len(ours & theirs) >= len(ours | theirs) - 2
        own = set(map(tuple, chosen_in(run, "all templates", OWN, one.uid).units.tolist()))
        expected = set(map(tuple, chosen[one.uid].units.tolist()))
        assert expected and len(own & expected) >= len(own | expected) - 4


def test_wrong_letters_have_clusters_too_and_their_overlap_with_the_right_one_is_told(run: Path) -> None:
    found = table(run, "clusters")
    assert set(found["letter"]) == {"right", "wrong 1", "wrong 2", "wrong 3"}
    for row in table(run, "wrong").iter_rows(named=True):
        own = found.filter(pl.col("question") == row["question"])
        right, wrong = (units_of(own.filter(pl.col("letter") == name)) for name in ("right", f"wrong {row['place']}"))
        assert (row["right"], row["wrong"], row["both"]) == (len(right), len(wrong), len(right & wrong))
    assert len(table(run, "wrong")) == 18


def test_common_neurons_are_those_of_many_clusters_with_the_words_they_write(run: Path) -> None:
    right = table(run, "clusters").filter(pl.col("letter") == "right")
    held = Counter(right.select("layer", "neuron").iter_rows())
    expected = {unit: count for unit, count in held.items() if count > 0.3 * 6 and count >= 2}
    found = table(run, "common")
    assert (
        expected
        and {(row["layer"], row["neuron"]): row["clusters"] for row in found.iter_rows(named=True)} == expected
    )
    assert found["clusters"].to_list() == sorted(found["clusters"], reverse=True)
    assert found["share"].to_list() == pytest.approx([count / 6 for count in found["clusters"]])
    lm, first = locant.load("almanac"), found.row(0, named=True)
    only = Selection(
        (), torch.tensor([[first["layer"], first["neuron"]]]), torch.ones(1), (lm.layers, lm.neurons),
        lm.provenance("hand", {}),
    )  # fmt: skip
    (words,) = value_words(lm, only)
    assert first["promotes"] == ", ".join(words.promoted) and first["demotes"] == ", ".join(words.demoted)
    # What is common is nobody's own
    own = table(run, "neurons").filter((pl.col("method") == OWN) & (pl.col("part") == "all templates"))
    assert units_of(own).isdisjoint(expected)


def test_every_question_is_judged_in_every_evaluation_by_every_method_both_ways(run: Path) -> None:
    changes = table(run, "changes")
    counts = Counter(changes.select("method", "evaluation", "operation", "asked").iter_rows())
    expected = {
        (method, evaluation, operation, side): 6
        for method in METHODS
        for evaluation in EVALUATIONS
        for operation in ("boost", "suppress")
        for side in ("related", "unrelated")
        if not (method == FEW and evaluation.endswith("question"))
    }
    assert counts == expected


@pytest.mark.parametrize(("evaluation", "method"), [("in-sample", OWN), ("held-out question", RANDOM)])
def test_what_touching_does_is_what_a_context_around_the_prompt_does(run: Path, evaluation: str, method: str) -> None:
    lm, one = locant.load("almanac"), questions()[0]
    rows = table(run, "touched").filter(
        (pl.col("question") == one.uid) & (pl.col("method") == method) & (pl.col("evaluation") == evaluation)
        & (pl.col("operation") == "suppress") & (pl.col("asked") == "related") & (pl.col("draw") == 0)
    )  # fmt: skip
    assert len(rows) == 2
    if evaluation == "held-out question":
        first, _ = halves(questions(), PLAN.seed)
        assert set(rows["part"]) == {HALVES[one in first]}
    part = rows["part"][0]
    name = one.group if part in HALVES else one.uid
    selection = chosen_in(run, part, method, name)
    with scale(lm, selection, 0.0):
        after = letter_probabilities(lm, [prompt.query for prompt in one.prompts])
    found = dict(rows.select("prompt", "letters_after").iter_rows())
    for prompt, own in zip(one.prompts, after.tolist(), strict=True):
        assert found[prompt.query.uid] == pytest.approx(own, rel=1e-3)
    assert set(rows["size"]) == {len(selection)}


def test_ratios_are_plain_sums_over_the_changes_and_never_come_without_their_terms(run: Path) -> None:
    changes, finite = table(run, "changes"), table(run, "ratios").filter(pl.col("kind") == "finite")
    assert len(finite) > 100
    for row in finite.iter_rows(named=True):
        own = changes.filter(*(pl.col(name) == row[name] for name in ("method", "evaluation", "operation")))
        own = own if row["group"] == "all" else own.filter(pl.col("group") == row["group"])
        for side in ("related", "unrelated"):
            some = own.filter(pl.col("asked") == side)
            before, after = some["before"].to_list(), some["after"].to_list()
            assert row[side] == pytest.approx((sum(after) - sum(before)) / sum(before), abs=1e-9)
            assert row[f"{side}_low"] <= row[side] <= row[f"{side}_high"]
        assert row["ratio"] == pytest.approx(abs(row["related"]) / abs(row["unrelated"]))
        assert row["n"] == (6 if row["group"] == "all" else 2)


def test_editing_counts_the_turned_answers_of_what_was_touched(run: Path) -> None:
    touched, editing = table(run, "touched"), table(run, "editing")
    rows = touched.filter((pl.col("method") == OWN) & (pl.col("evaluation") == "in-sample"))
    told = 0
    for (operation, asked), own in rows.partition_by("operation", "asked", as_dict=True).items():
        turned: dict[str, list[float]] = {}
        for row in own.iter_rows(named=True):
            was, now = (
                max(range(4), key=row[name].__getitem__) == row["right"]
                for name in ("letters_before", "letters_after")
            )
            if was:
                turned.setdefault(row["fact"], []).append(float(not now))
        expected = statistics.mean(statistics.mean(own) for own in turned.values())
        found = editing.filter(
            (pl.col("method") == OWN) & (pl.col("evaluation") == "in-sample") & (pl.col("operation") == operation)
            & (pl.col("asked") == asked) & (pl.col("turned") == "right to wrong") & (pl.col("of") == "eligible")
        ).row(0, named=True)  # fmt: skip
        assert (found["share"], found["n"]) == (pytest.approx(expected), len(turned))
        told += 1
    assert told == 4


# Prediction


def everything(lm: LanguageModel) -> Selection:
    grid = (lm.layers, lm.neurons)
    units = torch.ones(grid, dtype=torch.bool).nonzero()
    return Selection((), units, torch.ones(len(units)), grid, lm.provenance("hand", {}))


def test_value_vectors_are_read_as_the_last_layer_s_residual() -> None:
    lm, prompt = locant.load("almanac"), questions()[0].prompts[0]
    values = attribute(lm, [prompt.query], "activation").activations[0]
    residual = sum(values[layer] @ lm.value_vectors(layer) for layer in range(lm.layers))
    assert isinstance(residual, torch.Tensor)
    with torch.no_grad():
        logits = lm.readout(residual[None])[0]
    ids = [lm.tokens(replace(prompt.query, answer=letter)).answers[0][0] for letter in prompt.letters]
    assert written(lm, [prompt], [everything(lm)])[0].tolist() == pytest.approx(logits[ids].tolist(), rel=1e-3)


def test_appended_answers_are_compared_where_they_end() -> None:
    lm, prompt = locant.load("almanac"), questions()[0].prompts[0]
    expected = []
    for letter, option in zip(prompt.letters, prompt.options, strict=True):
        joined = f"{prompt.query.prompt}{gap(prompt.query.fact.language)}{letter}. {option}"
        values = attribute(lm, [replace(prompt.query, prompt=joined)], "activation").activations[0]
        expected.append(float(values.abs().mean()))
    assert appended(lm, [prompt], [everything(lm)])[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_no_neurons_say_nothing_where_they_are_read_and_leave_attention_where_they_are_not(run: Path) -> None:
    rows = table(run, "predicted").filter(pl.col("pool") == "none")
    for rule in ("value vectors", "appended answers"):
        assert set(rows.filter(pl.col("rule") == rule)["right"]) == {0.25}
    # With every neuron at zero the letters still differ: attention has read the question
    lm, one = locant.load("almanac"), questions()[0]
    with scale(lm, everything(lm), 0.0):
        alone = letter_probabilities(lm, [one.prompts[0].query])[0]
    found = rows.filter((pl.col("rule") == "only these neurons") & (pl.col("question") == one.uid))
    assert found["right"].to_list() == [float(int(alone.argmax()) == one.prompts[0].right)]
    assert len(set(alone.tolist())) == 4


def test_every_question_is_predicted_from_the_other_half_s_pools(run: Path) -> None:
    lm = locant.load("almanac")
    found = located_in(table(run, "located"), "all templates", questions(), (lm.layers, lm.neurons))
    rows = table(run, "predicted").filter((pl.col("rule") == "value vectors") & (pl.col("pool") == "own"))
    first, second = halves(questions(), PLAN.seed)
    told = dict(rows.select("question", "size").iter_rows())
    assert told.keys() == {one.uid for one in questions()}
    letters = {part.query.uid: torch.zeros(4) for one in questions() for part in one.prompts}
    for known, asked in ((first, second), (second, first)):
        pools = pools_of(found, known, PLAN)
        assert {one.uid: told[one.uid] for one in asked} == {one.uid: len(pools[one.group]) for one in asked}
        again = predict(lm, asked[:1], pools, letters, torch.zeros(lm.layers, lm.neurons), PLAN.seed)
        again = again.filter((pl.col("rule") == "value vectors") & (pl.col("pool") == "own"))
        assert again["right"].to_list() == rows.filter(pl.col("question") == asked[0].uid)["right"].to_list()


def test_predictions_stand_beside_chance_the_full_model_and_every_control(run: Path) -> None:
    prediction = table(run, "prediction").filter(pl.col("group") == "all")
    rules = {"value vectors", "only these neurons", "others at their mean", "appended answers"}
    pools = {"own", "none", "random", "another group's"}
    assert set(prediction.select("rule", "pool").iter_rows()) == {
        ("chance", ""), ("full model", ""), *((rule, pool) for rule in rules for pool in pools)
    }  # fmt: skip
    accuracy = {(rule, pool): own for rule, pool, own in prediction.select("rule", "pool", "accuracy").iter_rows()}
    assert accuracy["chance", ""] == 0.25
    first = table(run, "prompts").unique("question", keep="first", maintain_order=True)
    assert accuracy["full model", ""] == pytest.approx(float(first["right"].mean()))  # type: ignore[arg-type]
    gains = table(run, "gains").filter(pl.col("group") == "all")
    assert len(gains) == len(rules) * 3
    for rule, against, gain in gains.select("rule", "against", "gain").iter_rows():
        assert gain == pytest.approx(accuracy[rule, "own"] - accuracy[rule, against])


# Runs of tiny models


def worded(group: str, number: int, fact: str = "") -> ChoiceQuestion:
    """A question over numbered words, in three templates, whose letters are words too."""
    letters = ("w1", "w2", "w3")
    prompts = []
    for template in range(3):
        query = locant.query(
            f"w{20 + number} w{40 + template} w{60 + ord(group) % 20}",
            letters[(number + template) % 3],
            fact=fact or f"{group}/{number}",
            uid=f"{group}/{number}/{template}",
        )
        prompts.append(ChoicePrompt(query, letters))
    return ChoiceQuestion(f"{group}/{number}", group, "", "", tuple(prompts))


SMALL = [worded(group, number) for group in "ab" for number in range(4)]


def run_of(name: str, asked: Sequence[ChoiceQuestion], folder: Path, plan: Plan, **more: object) -> Path:
    """A run of a tiny model; types are checked in the almanac's."""
    with unchecked():
        return run_qrnca(tiny(name), asked, folder, plan, source="mine", **more)  # type: ignore[arg-type]


class Stopped(Exception):
    """Someone pulled the plug."""


def test_a_stopped_run_goes_on_where_it_stopped_and_ends_in_the_same_tables(tmp_path: Path) -> None:
    done, plan = 0, Plan(draws=10)
    whole = run_of("llama", SMALL, tmp_path / "whole", plan)

    def say(what: str, units: int):  # type: ignore[no-untyped-def]
        def count(more: int) -> None:
            nonlocal done
            done += more
            if done == 2:  # the second stage has begun
                raise Stopped

        return count

    with pytest.raises(Stopped):
        run_of("llama", SMALL, tmp_path / "run", plan, say=say)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "running"
    left = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    assert len(left) == 2
    run_of("llama", SMALL, tmp_path / "run", plan)
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    assert left.items() < now.items()
    for name in TABLES - TIMED:
        assert table(tmp_path / "run", name).equals(table(whole, name)), name
    with pytest.raises(BadFile, match="holds a run with top 20, this one has 3"):
        run_of("llama", SMALL, tmp_path / "run", replace(plan, top=3))


@pytest.mark.slow
def test_questions_of_one_fact_in_several_groups_are_one_unit(tmp_path: Path) -> None:
    asked = [worded(group, number, fact=f"f{number}") for group in "abc" for number in range(4)]
    run = run_of("llama", asked, tmp_path, Plan(draws=10))
    assert set(table(run, "ratios").filter(pl.col("group") == "all")["n"]) == {4}
    assert set(table(run, "prediction").filter(pl.col("group") == "all")["n"]) == {4}
    assert set(table(run, "overlap").filter(pl.col("null") == "blocks")["shuffled"]) == {"groups within each fact"}
    touched = table(run, "touched").filter(pl.col("asked") == "unrelated")
    fact = {part.query.uid: one.fact for one in asked for part in one.prompts}
    assert all(fact[prompt] != own for prompt, own in touched.select("prompt", "fact").iter_rows())


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "bert"])
def test_it_runs_on_every_shape_of_model(name: str, tmp_path: Path) -> None:
    # A group of one question is judged by that question alone, and has no pool
    asked = [*SMALL, worded("c", 0)]
    run = run_of(name, asked, tmp_path, Plan(draws=10, mode="released"))
    assert set(table(run, "prompts")["predicted"]) <= {"w1", "w2", "w3"}
    evaluations = table(run, "ratios").group_by("group").agg(pl.col("evaluation").unique())
    found = {group: set(own) for group, own in evaluations.iter_rows()}
    assert found["a"] == set(EVALUATIONS)
    assert found["c"] == {"in-sample", "seen templates", "held-out template"}
    assert set(table(run, "prediction")["group"]) == {"all", "a", "b"}
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["settings"] == {"rule": "inclusive", "steps": 16}


def test_where_nothing_is_located_every_table_is_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(clusters, *given, **named):  # type: ignore[no-untyped-def]
        return {uid: at_most(one, 0) for uid, one in query_neurons(clusters, *given, **named).items()}

    monkeypatch.setattr("locant.recipes.qrnca.chosen.query_neurons", nothing)
    run = run_of("llama", SMALL, tmp_path, Plan(draws=10))
    assert set(table(run, "overlap")["why"]) == {"no question has any neuron"}
    changes = table(run, "changes").filter((pl.col("method") == OWN) & (pl.col("evaluation") == "in-sample"))
    assert changes["after"].to_list() == pytest.approx(changes["before"].to_list(), rel=1e-5)
    own = table(run, "predicted").filter(pl.col("pool").is_in(["own", "none"]))
    for (_, rule), rows in own.partition_by("question", "rule", as_dict=True).items():
        assert rows["right"].n_unique() == 1, rule


def test_what_does_not_go_together_is_refused_and_nothing_written(tmp_path: Path) -> None:
    lm = tiny("llama")
    one, other = SMALL[:2], worded("b", 3)

    def refused(*given: ChoiceQuestion, error: type[Exception] = UnknownName) -> str:
        with pytest.raises(error) as caught:
            run_qrnca(lm, given, tmp_path / "run", PLAN, source="mine")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "are compared with those of others, and all 2 are of" in refused(*one)
    fewer = replace(other, prompts=tuple(replace(prompt, letters=("w1", "w2")) for prompt in other.prompts))
    assert "equally many options; these have 2 to 3" in refused(*one, fewer)
    assert "equally many templates; these have 2 to 3" in refused(*one, replace(other, prompts=other.prompts[:2]))
    same = [worded("a", 1, fact="f"), worded("b", 1, fact="f")]
    assert "none beside it that is of another group and of another fact" in refused(*same)
    strange = replace(other.prompts[0], query=locant.query("w1 w2", "zebra"))
    assert "'zebra' is none of its letters" in refused(
        *one, replace(other, prompts=(strange, *other.prompts[1:])), error=BadQuery
    )
    # Fits with its letter, and not with an option after it, which is asked last of all
    long = replace(other.prompts[0].query, prompt=" ".join(["w9"] * 60))
    late = ChoicePrompt(long, ("w1", "w2", "w3"), ("w4 w5 w6 w7 w8", "w4", "w5"))
    said = refused(*one, replace(other, prompts=(late, *other.prompts[1:])), error=BadQuery)
    assert said.startswith("query 'b/3/0/w1'")
