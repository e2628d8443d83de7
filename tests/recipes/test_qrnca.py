"""QRNCA: a run has every experiment, resumes where it stopped, and holds against what one computes by hand."""

from __future__ import annotations

import json
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
from locant.evaluations.letters import letter_probabilities
from locant.interventions import scale
from locant.languages import gap
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.choices import read_choices, select_choices
from locant.recipes.qrnca import METHODS, Plan, predicted, run_qrnca
from locant.recipes.qrnca.located import PARTS, locate, located_in
from locant.recipes.qrnca.predicted import appended, mean_activations, written
from locant.recipes.qrnca.touched import cases, choose_for_groups, choose_neurons, group_cases, halves
from locant.selections.clusters import cluster, query_neurons
from locant.types import Selection

TABLES = {
    "questions", "prompts", "located", "costs", "clusters", "neurons", "common", "counts", "overlap", "layers",
    "regions", "touched", "changes", "ratios", "editing", "predicted", "prediction",
}  # fmt: skip
PLAN = Plan(draws=20)


@cache
def questions() -> tuple[ChoiceQuestion, ...]:
    return select_choices(locant.load("almanac"), "almanac", groups=("geography", "biology", "chemistry"), limit=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return run_qrnca(locant.load("almanac"), questions(), folder, PLAN, source="almanac")


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def units_of(rows: pl.DataFrame) -> set[tuple[int, int]]:
    return set(rows.select("layer", "neuron").iter_rows())


def test_a_run_has_a_table_of_every_experiment_and_says_that_it_is_complete(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["recipe"], manifest["status"]) == ("qrnca", "complete")
    assert (manifest["questions"], manifest["prompts"]) == (9, 27)
    assert set(table(run, "neurons")["method"]) <= set(METHODS)


def test_a_question_s_cluster_and_neurons_are_those_of_its_attribution(run: Path) -> None:
    lm = locant.load("almanac")
    clusters = [
        cluster(attribute(lm, [prompt.query for prompt in one.prompts], "dai").scores, uid=one.uid)
        for one in questions()
    ]
    chosen = query_neurons(clusters)
    found = table(run, "neurons").filter(pl.col("method") == "qrnca")
    for one in clusters:
        ours = units_of(table(run, "clusters").filter(pl.col("question") == one.uid))
        theirs = set(map(tuple, one.units.tolist()))
        # Another batch differs by rounding, which can decide at the border only
        assert len(ours & theirs) >= len(ours | theirs) - 2
        own = units_of(found.filter(pl.col("question") == one.uid))
        expected = set(map(tuple, chosen[one.uid].units.tolist()))
        assert len(own & expected) >= len(own | expected) - 4


def test_without_the_last_template_it_has_no_part_in_what_is_located() -> None:
    lm, one = locant.load("almanac"), questions()[0]
    other = replace(one.prompts[-1], query=questions()[1].prompts[-1].query)
    changed = replace(one, prompts=(*one.prompts[:-1], other))
    tables = [
        located_in(locate(lm, [asked], PLAN), PARTS[1], [asked], (lm.layers, lm.neurons)) for asked in (one, changed)
    ]
    first, second = (set(map(tuple, found.clusters[0].units.tolist())) for found in tables)
    assert len(first & second) >= len(first | second) - 2


def test_contrast_is_the_right_letter_s_scores_less_the_mean_of_the_wrong_ones() -> None:
    lm, one = locant.load("almanac"), questions()[0]
    plain = located_in(locate(lm, [one], PLAN), PARTS[0], [one], (lm.layers, lm.neurons)).clusters[0]
    contrast = located_in(locate(lm, [one], replace(PLAN, contrast=True)), PARTS[0], [one], (lm.layers, lm.neurons))
    total = torch.zeros(len(one.prompts), lm.layers, lm.neurons)
    for row, prompt in enumerate(one.prompts):
        for letter in prompt.letters:
            own = attribute(lm, [replace(prompt.query, answer=letter)], "dai").scores[0]
            total[row] += own if letter == prompt.query.answer else -own / (len(prompt.letters) - 1)
    expected = set(map(tuple, cluster(total).units.tolist()))
    found = set(map(tuple, contrast.clusters[0].units.tolist()))
    assert len(found & expected) >= len(found | expected) - 2
    assert contrast.clusters[0].scores.tolist() != plain.scores.tolist()


def test_every_method_is_touched_both_ways_in_every_evaluation(run: Path) -> None:
    changes = table(run, "changes")
    assert set(changes["method"]) == set(METHODS)
    assert set(changes["operation"]) == {"boost", "suppress"}
    assert set(changes["evaluation"]) == {"in-sample", "held-out template", "held-out question"}
    both = changes.group_by("method", "evaluation", "operation", "question").len()
    assert set(both["len"]) == {2}  # related and unrelated


def test_what_touching_does_is_what_a_context_around_the_prompt_does(run: Path) -> None:
    lm, one = locant.load("almanac"), questions()[0]
    chosen = table(run, "neurons").filter((pl.col("question") == one.uid) & (pl.col("method") == "qrnca"))
    units = torch.from_numpy(chosen.select("layer", "neuron").to_numpy().copy()).long()
    made_by = lm.provenance("hand", {})
    selection = Selection((), units, torch.ones(len(units)), (lm.layers, lm.neurons), made_by)
    queries = [prompt.query for prompt in one.prompts]
    with scale(lm, selection, 0.0):
        after = letter_probabilities(lm, queries)
    right = [prompt.right for prompt in one.prompts]
    expected = float(after[torch.arange(len(queries)), right].mean())
    row = table(run, "changes").row(
        by_predicate=(pl.col("question") == one.uid)
        & (pl.col("method") == "qrnca")
        & (pl.col("evaluation") == "in-sample")
        & (pl.col("operation") == "suppress")
        & (pl.col("asked") == "related"),
        named=True,
    )
    assert row["after"] == pytest.approx(expected, rel=1e-3)
    assert row["size"] == len(units)


def test_ratios_never_come_without_their_terms(run: Path) -> None:
    ratios = table(run, "ratios").filter(pl.col("kind") == "finite")
    assert len(ratios)
    computed = ratios["related"].abs() / ratios["unrelated"].abs()
    assert computed.to_list() == pytest.approx(ratios["ratio"].to_list())
    assert (ratios["related_low"] <= ratios["related"]).all() and (ratios["related"] <= ratios["related_high"]).all()


def test_questions_of_no_group_share_a_half_and_unrelated_ones_are_of_another_group() -> None:
    first, second = halves(questions(), 0)
    assert {one.uid for one in first}.isdisjoint(one.uid for one in second)
    assert len(first) + len(second) == len(questions())
    groups = {prompt.query.uid: one.group for one in questions() for prompt in one.prompts}
    for case in (*cases(questions(), 0), *group_cases(second, 0)):
        assert all(groups[prompt.query.uid] != case.owner.group for prompt in case.unrelated)
        assert all(groups[prompt.query.uid] == case.owner.group for prompt in case.related)


def test_a_group_s_neurons_come_from_its_known_half_alone() -> None:
    lm = locant.load("almanac")
    asked = questions()
    found = located_in(locate(lm, asked, PLAN), PARTS[0], asked, (lm.layers, lm.neurons))
    first, second = halves(asked, 0)
    by_group = choose_for_groups(found, first, PLAN)
    assert set(by_group) == set(METHODS)
    held = {
        unit for one in found.clusters for unit in map(tuple, one.units.tolist()) if one.uid in {q.uid for q in first}
    }
    for chosen in by_group["qrnca"].values():
        assert set(map(tuple, chosen.units.tolist())) <= held
    assert choose_for_groups(found, second, PLAN)["qrnca"].keys() == by_group["qrnca"].keys()


def test_random_neurons_are_as_many_as_the_method_s_in_every_layer() -> None:
    lm = locant.load("almanac")
    asked = questions()[:6]
    sets = choose_neurons(located_in(locate(lm, asked, PLAN), PARTS[0], asked, (lm.layers, lm.neurons)), PLAN)
    for uid, chosen in sets["qrnca"].items():
        other = sets["random"][uid]
        assert chosen.units[:, 0].bincount().tolist() == other.units[:, 0].bincount().tolist()
        assert set(map(tuple, chosen.units.tolist())).isdisjoint(map(tuple, other.units.tolist()))
        assert len(sets["activation"][uid]) == len(chosen)


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


def test_the_mean_of_a_neuron_is_over_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicted, "AT_ONCE", 3)  # more questions than fit in a batch
    lm, some = locant.load("almanac"), questions()[:5]
    each = [attribute(lm, [one.prompts[0].query], "activation").activations[0] for one in some]
    torch.testing.assert_close(
        mean_activations(lm, some), torch.stack(each).double().mean(dim=0), rtol=1e-4, atol=1e-6
    )


def test_predictions_stand_beside_chance_and_the_full_model(run: Path) -> None:
    prediction = table(run, "prediction").filter(pl.col("group") == "all")
    rules = dict(prediction.select("rule", "accuracy").iter_rows())
    candidates = {"value vectors", "only these neurons", "others at their mean", "appended answers"}
    assert set(rules) == {"chance", "full model", *candidates}
    assert rules["chance"] == 0.25
    _, held_out = halves(questions(), PLAN.seed)
    prompts = table(run, "prompts").filter(pl.col("question").is_in([one.uid for one in held_out]))
    first = prompts.unique("question", keep="first", maintain_order=True)
    assert rules["full model"] == pytest.approx(float(first["right"].mean()))  # type: ignore[arg-type]


class Stopped(Exception):
    """Someone pulled the plug."""


def test_a_stopped_run_goes_on_where_it_stopped_and_ends_in_the_same_tables(run: Path, tmp_path: Path) -> None:
    lm, done = locant.load("almanac"), 0

    def say(what: str, units: int):
        def count(more: int) -> None:
            nonlocal done
            done += more
            if done == 2:
                raise Stopped

        return count

    with pytest.raises(Stopped):
        run_qrnca(lm, questions(), tmp_path / "run", PLAN, source="almanac", say=say)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "running"
    left = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    assert len(left) == 2
    run_qrnca(lm, questions(), tmp_path / "run", PLAN, source="almanac")
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    assert left.items() <= now.items()
    for name in TABLES - {"costs", "located"}:  # which hold seconds
        assert table(tmp_path / "run", name).equals(table(run, name)), name
    with pytest.raises(BadFile, match="holds a run with top 20, this one has 3"):
        run_qrnca(lm, questions(), tmp_path / "run", replace(PLAN, top=3), source="almanac")


def worded(group: str, number: int) -> ChoiceQuestion:
    """A question over numbered words, in three templates, whose letters are words too."""
    letters = ("w1", "w2", "w3")
    prompts = []
    for template in range(3):
        query = locant.query(
            f"w{20 + number} w{40 + template} w{60 + number}",
            letters[(number + template) % 3],
            fact=f"{group}/{number}",
            uid=f"{group}/{number}/{template}",
        )
        prompts.append(ChoicePrompt(query, letters))
    return ChoiceQuestion(f"{group}/{number}", group, "", "", tuple(prompts))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_it_runs_on_every_shape_of_model(name: str, tmp_path: Path) -> None:
    # A group of one question is judged by that question alone
    asked = [worded(group, number) for group in "abc" for number in range({"a": 4, "b": 5, "c": 1}[group])]
    run = run_qrnca(tiny(name), asked, tmp_path, Plan(draws=10, mode="released"), source="mine")
    assert len(table(run, "ratios"))
    assert set(table(run, "prompts")["predicted"]) <= {"w1", "w2", "w3"}


def test_what_does_not_go_together_is_refused_and_nothing_written(tmp_path: Path) -> None:
    lm = tiny("llama")
    one = [worded("a", 1), worded("a", 2)]
    with pytest.raises(UnknownName, match="there are 1 groups"):
        run_qrnca(lm, one, tmp_path / "run", PLAN, source="mine")
    other = worded("b", 3)
    fewer = replace(other, prompts=tuple(replace(prompt, letters=("w1", "w2")) for prompt in other.prompts))
    with pytest.raises(UnknownName, match="equally many options; these have 2 to 3"):
        run_qrnca(lm, [*one, fewer], tmp_path / "run", PLAN, source="mine")
    with pytest.raises(UnknownName, match="equally many templates; these have 2 to 3"):
        run_qrnca(lm, [*one, replace(other, prompts=other.prompts[:2])], tmp_path / "run", PLAN, source="mine")
    strange = replace(other.prompts[0], query=locant.query("w1 w2", "zebra"))
    with pytest.raises(BadQuery):
        run_qrnca(
            lm, [*one, replace(other, prompts=(strange, *other.prompts[1:]))], tmp_path / "run", PLAN, source="x"
        )
    assert not (tmp_path / "run").exists()
    for wrong in ({"mode": "mine"}, {"share": 1.0}, {"top": 0}):
        with pytest.raises(UnknownName):
            Plan(**wrong)  # type: ignore[arg-type]


# Questions


def test_the_almanac_s_questions_are_grouped_by_domain_or_by_language() -> None:
    domains = {one.group for one in read_choices("almanac")}
    assert {"geography", "biology", "chemistry"} <= domains
    languages = {one.group for one in read_choices("almanac:languages")}
    assert languages == {"en", "fr", "fi", "hu", "ja", "ko", "zh"}
    with pytest.raises(UnknownName, match="no questions 'almanac:planets'"):
        read_choices("almanac:planets")
    with pytest.raises(UnknownName, match="no data 'nowhere'; there is almanac"):
        read_choices("nowhere")


def test_a_limit_draws_as_many_of_each_group_and_more_of_a_larger_limit() -> None:
    lm = locant.load("almanac")
    few, more = (select_choices(lm, "almanac", groups=("geography", "biology"), limit=count) for count in (3, 6))
    assert [sum(one.group == group for one in few) for group in ("geography", "biology")] == [3, 3]
    assert {one.uid for one in few} <= {one.uid for one in more}
    with pytest.raises(UnknownName, match="no group 'astrology' in almanac; known: "):
        select_choices(lm, "almanac", groups=("astrology",))


def test_known_questions_are_those_whose_letter_wins_in_most_prompts() -> None:
    lm = locant.load("almanac")
    for one in select_choices(lm, "almanac", groups=("geography", "biology"), limit=3, known_only=True):
        found = letter_probabilities(lm, [prompt.query for prompt in one.prompts])
        right = [int(own.argmax()) == prompt.right for own, prompt in zip(found, one.prompts, strict=True)]
        assert sum(right) >= 2
