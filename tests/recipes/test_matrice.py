"""A whole run of MATRICE on the embedded model, and what its sets and verdicts promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
import torch

import locant
from families import tiny
from locant import almanac
from locant.attributions import attribute
from locant.errors import BadFile, UnknownName
from locant.evaluations import read_answers
from locant.interventions import scale, update
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.models.weights import fingerprint
from locant.queries.parallel import ParallelFact, gather_parallel
from locant.recipes.matrice import SETS, Plan, run_matrice
from locant.recipes.matrice.edited import changes, edit
from locant.recipes.matrice.judged import sharing_rows, verdict
from locant.recipes.matrice.located import OTHERS, OWN, Asked, locate, part, sets_in
from locant.recipes.matrice.touched import touch, unrelated
from locant.recipes.parallel import select_parallel, taught_in
from locant.types import Query, Selection

LANGUAGES = ("en", "fr", "zh")
PLAN = Plan(
    size=10, draws=4, random_sets=2, edited=2, injected=1, enhanced=2, paired=1, sources=1, steps=5, lambda1=2.0,
    lambda2=2.0,
)  # fmt: skip
TABLES = {
    "answers", "facts", "known", "neurons", "stability", "agreement", "layers", "overlap", "costs", "touched",
    "changes", "transfer", "sharing", "verdicts", "enhanced", "recovery", "edited", "matrix", "injected", "injection",
    "degenerate", "checking",
}  # fmt: skip


@cache
def facts() -> tuple[ParallelFact, ...]:
    return select_parallel(
        locant.load("almanac"), "almanac", LANGUAGES, relations=["capital", "invented_continent"], limit=8, wordings=4
    )


def run_into(folder: Path, plan: Plan = PLAN, **more: object) -> Path:
    lm = locant.load("almanac")
    return run_matrice(lm, facts(), folder, plan, source="almanac", taught=taught_in(), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_into(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    return [part(locant.load("almanac"), one)[0] for one in facts()]


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def nothing(lm: LanguageModel) -> Selection:
    """A set of one neuron, for the place of language neurons."""
    return Selection((), torch.tensor([[0, 0]]), torch.ones(1), (lm.layers, lm.neurons), lm.provenance("hand", {}))


def sets_of(lm: LanguageModel, one: Asked) -> dict[str, Selection]:
    found = locate(lm, one, nothing(lm), PLAN)
    return sets_in(found, [one], (lm.layers, lm.neurons), lm.provenance("hand", {}))[one.fact.uid]


def units(chosen: Selection) -> set[tuple[int, ...]]:
    return set(map(tuple, chosen.units.tolist()))


# What a run leaves


def test_a_run_has_a_table_of_every_experiment_and_leaves_the_weights_alone(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["recipe"], manifest["status"], manifest["facts"]) == ("matrice", "complete", 8)
    assert manifest["languages"] == list(LANGUAGES)
    assert manifest["weights"] == fingerprint(locant.load("almanac").model)


def test_every_set_of_a_fact_is_of_one_size(run: Path) -> None:
    neurons = table(run, "neurons")
    sizes = neurons.group_by("fact", "set").len()
    names = set(sizes["set"])
    assert set(SETS) - {"random"} <= names and {"random 1", "random 2"} <= names
    assert {f"{OWN}{language}" for language in LANGUAGES} <= names
    # Of few languages' sets, fewer neurons may pass in any
    assert set(sizes.filter(~pl.col("set").is_in(["intersection", "language neurons"]))["len"]) == {PLAN.size}
    assert sizes["len"].max() == PLAN.size


def test_what_suppressing_does_is_what_a_context_around_the_query_does(run: Path, asked: list[Asked]) -> None:
    lm, one = locant.load("almanac"), next(one for one in asked if len(one.known) == 3)
    rows = table(run, "neurons").filter((pl.col("fact") == one.fact.uid) & (pl.col("set") == "matrice"))
    chosen = replace(
        nothing(lm),
        units=torch.tensor(rows.select("layer", "neuron").rows()),
        weight=torch.ones(len(rows)),
    )
    query = one.judge["fr"][0]
    for operation, by in (("suppress", 0.0), ("enhance", 2.0)):
        with scale(lm, chosen, by):
            expected = float(locant.answer_probability(lm, [query]))
        row = table(run, "touched").row(
            by_predicate=(pl.col("query") == query.uid)
            & (pl.col("fact") == one.fact.uid)
            & (pl.col("set") == "matrice")
            & (pl.col("operation") == operation)
            & (pl.col("asked") == "related"),
            named=True,
        )
        assert row["after"] == pytest.approx(expected, rel=1e-3)
        assert row["before"] == pytest.approx(float(locant.answer_probability(lm, [query])), rel=1e-4)


def test_a_relative_change_is_the_mean_over_facts_of_their_queries_mean(run: Path) -> None:
    touched = table(run, "touched").filter(
        (pl.col("set") == "union")
        & (pl.col("operation") == "suppress")
        & (pl.col("asked") == "related")
        & (pl.col("language") == "zh")
    )
    by_fact: dict[str, list[tuple[float, float]]] = {}
    for row in touched.to_dicts():
        by_fact.setdefault(row["fact"], []).append((row["before"], row["after"]))
    each = [sum(a for _, a in own) / sum(b for b, _ in own) - 1 for own in by_fact.values()]
    changes = table(run, "changes").filter(
        (pl.col("set") == "union")
        & (pl.col("operation") == "suppress")
        & (pl.col("asked") == "related")
        & (pl.col("language") == "zh")
    )
    assert changes["mean"].to_list() == pytest.approx([sum(each) / len(each)])
    assert changes["n"].to_list() == [len(each)]


def test_languages_that_were_not_taught_a_fact_are_told_from_those_that_were(run: Path) -> None:
    sharing = table(run, "sharing")
    assert set(sharing["taught"]) == {True, False}
    same = (sharing["taught"] == sharing["known"]).mean()
    assert same is not None and same >= 0.9  # type: ignore[operator]
    assert set(sharing.filter(~pl.col("known"))["verdict"]) == {"absent"}


# What locates, and what judges


def test_queries_that_judge_have_no_part_in_what_is_located(asked: list[Asked]) -> None:
    lm, one = locant.load("almanac"), next(each for each in asked if len(each.known) == 3)
    other = replace(one, judge={language: queries[:1] for language, queries in one.judge.items()})
    assert {query.uid for queries in one.judge.values() for query in queries}.isdisjoint(
        query.uid for queries in one.locate.values() for query in queries
    )
    for name, chosen in sets_of(lm, one).items():
        assert units(chosen) == units(sets_of(lm, other)[name])


def test_neurons_of_the_others_owe_nothing_to_the_language(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    one, other = [each for each in asked if len(each.known) == 3][:2]
    # The same fact with another fact's queries in French
    changed = replace(one, locate={**one.locate, "fr": other.locate["fr"]})
    before, after = sets_of(lm, one), sets_of(lm, changed)
    assert len(units(before[OTHERS + "fr"]) & units(after[OTHERS + "fr"])) >= PLAN.size - 1  # rounding at the border
    assert units(before[OWN + "fr"]) != units(after[OWN + "fr"])


def test_unrelated_queries_are_of_other_relations_and_of_the_asked_language(asked: list[Asked]) -> None:
    for one in asked:
        for language, queries in unrelated(asked, one, 3, 0).items():
            assert queries and all(query.language == language for query in queries)
            assert all(query.relation != one.fact.relation for query in queries)


# Changes


def test_an_edit_s_row_is_what_the_edited_model_says(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    others = {one.fact.uid: unrelated(asked, one, 1, 0) for one in asked}
    change = next(one for one in changes(lm, asked, others, 0) if len(one.asked.known) == 3)
    one, sets = change.asked, sets_of(lm, change.asked)
    found = edit(lm, change, sets, PLAN)
    query, target = one.locate["fr"][0], one.judge["en"][0]
    signs = attribute(lm, [query], "activation").activations[0]
    new = replace(target, answer=change.new["en"], alternatives=())
    with update(lm, sets["matrice"], query, change.new["fr"], lambda1=2.0, lambda2=2.0, activations=signs):
        expected = read_answers(lm, [target, new])
    row = found.row(
        by_predicate=(pl.col("source") == "fr") & (pl.col("set") == "matrice") & (pl.col("query") == target.uid),
        named=True,
    )
    assert [row["old_after"], row["new_after"]] == pytest.approx(expected.log_probability.exp().tolist(), rel=1e-3)
    assert row["says_new"] == (int(expected.rank[1]) == 1)


def test_no_neighbour_of_a_change_has_the_new_object_for_its_own(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    others = {one.fact.uid: unrelated(asked, one, 1, 0) for one in asked}
    for change in changes(lm, asked, others, 0):
        assert change.new != change.asked.fact.answers
        for language, queries in change.neighbours.items():
            assert all(query.answer != change.new[language] for query in queries)
            assert all(query.fact.uid != change.asked.fact.uid for query in queries)


def test_all_that_is_taught_trains_as_many_parameters_but_for_all_neurons_and_adapters(run: Path) -> None:
    trained = dict(table(run, "injected").group_by("set").agg(pl.col("parameters").first()).iter_rows())
    assert trained["matrice"] == trained["random 1"] == trained["own of the language"]
    assert trained["all neurons"] > 10 * trained["matrice"]


# Verdicts


@pytest.mark.parametrize(
    ("known", "own", "theirs", "expected"),
    [
        (False, None, [], "absent"),
        (True, None, [], "specific"),
        (True, 0.05, [0.9], "unclear"),
        (True, 0.8, [0.1, 0.4], "shared"),
        (True, 0.8, [0.1, 0.39], "specific"),
        (True, 0.8, [], "specific"),
    ],
)
def test_a_verdict_holds_what_others_take_against_what_its_own_take(
    known: bool, own: float | None, theirs: list[float], expected: str
) -> None:
    assert verdict(known, own, theirs) == expected


@cache
def capitals() -> dict[str, ParallelFact]:
    queries = [query for language in ("en", "zh") for query in almanac.queries("capital", language)]
    return {one.uid: one for one in gather_parallel(queries, ("en", "zh"))}


def renamed(subject: str, other: str) -> ParallelFact:
    """A fact with another one's object: what no model was taught."""
    fact, new = capitals()[f"capital/{subject}"], capitals()[f"capital/{other}"].answers
    return replace(
        fact,
        queries={
            language: tuple(
                replace(one, answer=new[language], fact=replace(one.fact, object=new[language])) for one in asked[:6]
            )
            for language, asked in fact.queries.items()
        },
    )


def some_neurons(lm: LanguageModel, seed: int, count: int) -> Selection:
    drawn = (
        torch.randperm(lm.layers * lm.neurons, generator=torch.Generator().manual_seed(seed))[:count].sort().values
    )
    return replace(
        nothing(lm), units=torch.stack([drawn // lm.neurons, drawn % lm.neurons], dim=1), weight=torch.ones(count)
    )


def verdicts(lm: LanguageModel, fact: ParallelFact) -> dict[str, str]:
    one, _ = part(lm, fact)
    if len(one.known) < 2:
        return {language: "specific" if language in one.known else "absent" for language in one.fact.languages}
    plan = replace(PLAN, size=20, random_sets=1)
    found = locate(lm, one, nothing(lm), plan)
    sets = sets_in(found, [one], (lm.layers, lm.neurons), lm.provenance("hand", {}))[one.fact.uid]
    touched = touch(lm, one, {}, sets)
    return {str(row["language"]): str(row["verdict"]) for row in sharing_rows(touched, [one], {})}


def plant(lm: LanguageModel, stack: ExitStack, fact: ParallelFact, taught: Sequence[str], chosen: Selection) -> None:
    lessons = [query for language in taught for query in fact.queries[language]]
    settings = {"steps": 120, "rate": 0.03, "stop_at": 0.1}
    stack.enter_context(tuned(lm, lessons, chosen, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("subject", "other"), [("japan", "egypt"), ("peru", "italy")])
def test_a_fact_planted_in_one_neuron_for_two_languages_is_called_shared(subject: str, other: str) -> None:
    lm, fact = locant.load("almanac"), renamed(subject, other)
    with ExitStack() as stack:
        plant(lm, stack, fact, ("en", "zh"), some_neurons(lm, 0, 1))
        assert verdicts(lm, fact) == {"en": "shared", "zh": "shared"}


@pytest.mark.parametrize(("subject", "other"), [("japan", "egypt"), ("peru", "italy")])
def test_a_fact_planted_in_neurons_of_each_language_is_called_specific(subject: str, other: str) -> None:
    lm, fact = locant.load("almanac"), renamed(subject, other)
    with ExitStack() as stack:
        plant(lm, stack, fact, ("en",), some_neurons(lm, 2, 1))
        plant(lm, stack, fact, ("zh",), some_neurons(lm, 3, 4))
        assert verdicts(lm, fact) == {"en": "specific", "zh": "specific"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_fact_planted_in_one_language_is_absent_from_the_other(language: str) -> None:
    lm, fact = locant.load("almanac"), renamed("japan", "egypt")
    other = "zh" if language == "en" else "en"
    with ExitStack() as stack:
        plant(lm, stack, fact, (language,), some_neurons(lm, 3, 4))
        assert verdicts(lm, fact) == {language: "specific", other: "absent"}


# Going on, other models, refusals


class Stopped(Exception):
    """Someone pulled the plug."""


def test_a_stopped_run_goes_on_where_it_stopped_and_ends_in_the_same_tables(run: Path, tmp_path: Path) -> None:
    def say(what: str, units: int):
        if what == "editing":
            raise Stopped
        return lambda done: None

    with pytest.raises(Stopped):
        run_into(tmp_path / "run", say=say)
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    run_into(tmp_path / "run")
    assert all(path.stat().st_mtime_ns == when for path, when in there.items())
    for name in TABLES - {"costs", "neurons"}:  # those hold seconds
        assert table(tmp_path / "run", name).equals(table(run, name)), name
    with pytest.raises(BadFile, match=r"holds a run with lambda_q 1\.0, this one has 0\.0"):
        run_into(tmp_path / "run", replace(PLAN, lambda_q=0.0))


def in_the_model_s_own_words(lm: LanguageModel, prompt: str, **names: str) -> Query | None:
    """A query whose answer is what the model says; None if that is a token without a text."""
    mask = " [MASK]" if lm.architecture.kind == "masked" else ""
    one = locant.query(prompt + mask, "w1", uid=f"{prompt}/{names['language']}", **names)  # type: ignore[arg-type]
    said = lm.text_of([int(read_answers(lm, [one]).said[0])]).strip()
    return replace(one, answer=said, fact=replace(one.fact, object=said)) if said else None


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_it_runs_on_every_shape_of_model(name: str, tmp_path: Path) -> None:
    lm = tiny(name)
    made = []
    for number in range(6):
        names = {"relation": f"r{number % 2}", "subject": f"w{20 + number}"}
        for language, last in (("en", 7), ("fr", 8)):
            asked = (f"w{word} {names['subject']} w{last}" for word in range(30, 60))
            found = (in_the_model_s_own_words(lm, prompt, **names, language=language) for prompt in asked)
            made += list(islice(filter(None, found), 2))
    plan = replace(PLAN, size=4, localizer="gradient_x_activation")
    run = run_matrice(lm, gather_parallel(made, ("en", "fr"), least=2), tmp_path / "run", plan, source="mine")
    assert set(table(run, "facts")["known"].explode()) == {"en", "fr"}
    sizes = table(run, "neurons").filter(pl.col("set") == "matrice").group_by("fact").len()
    assert set(sizes["len"]) == {4}


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    of_one = [one for one in facts() if one.relation == "capital"]
    for wrong, said in (
        (of_one, "facts are compared with those of other relations"),
        ([replace(one, queries=dict(list(one.queries.items())[:2])) for one in facts()[:1]] + list(facts()[1:]),
         "a run's facts are asked in the same languages"),
        ([replace(one, queries={name: some[:1] for name, some in one.queries.items()}) for one in facts()],
         "has one wording in 'en'"),
    ):  # fmt: skip
        with pytest.raises(UnknownName, match=said):
            run_matrice(lm, wrong, tmp_path / "none", PLAN, source="mine")
    assert not (tmp_path / "none").exists()
    for settings in ({"rule": "mine"}, {"weights": "mine"}, {"localizer": "mine"}, {"size": 0}, {"share": 1.0},
                     {"lambda_l": -1.0}, {"rate": 0.0}):  # fmt: skip
        with pytest.raises(UnknownName):
            Plan(**settings)  # type: ignore[arg-type]


# Facts


def test_facts_are_drawn_from_those_taught_everywhere_and_those_taught_somewhere() -> None:
    taught = [set(LANGUAGES) <= set(taught_in()[one.uid]) for one in facts() if one.relation == "capital"]
    assert 0 < sum(taught) < len(taught)
    assert all(one.languages == LANGUAGES for one in facts())
    assert all(len(asked) == 4 for one in facts() for asked in one.queries.values())


def test_one_language_is_nothing_to_compare() -> None:
    with pytest.raises(UnknownName, match="name two or more, not en"):
        select_parallel(locant.load("almanac"), "almanac", ("en",))
    with pytest.raises(UnknownName, match="no data 'nowhere'; there is almanac"):
        select_parallel(locant.load("almanac"), "nowhere", ("en", "fr"))
