"""A whole run of MATRICE on the embedded model, and what its sets and verdicts promise."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
import torch

import locant
from families import tiny
from locant import almanac
from locant.attributions import attribute
from locant.cli.run.matrice import run as matrice_command
from locant.errors import BadFile, UnknownName
from locant.evaluations import read_answers
from locant.interventions import scale, update
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.models.weights import fingerprint
from locant.queries.parallel import ParallelFact, gather_parallel
from locant.recipes.data import can_be_asked
from locant.recipes.matrice import SETS, Plan, edited, run_matrice
from locant.recipes.matrice.changes import changes, trials
from locant.recipes.matrice.counted import layer_rows, size_rows
from locant.recipes.matrice.edited import best_size, edit, sweep
from locant.recipes.matrice.located import Asked, locate, part, parted, sets_in, with_peers
from locant.recipes.matrice.overlap import overlap_rows
from locant.recipes.matrice.passing import agreeing_rows
from locant.recipes.matrice.plan import OTHERS, OWN, control_of, kind_of
from locant.recipes.matrice.sharing import sharing_rows, verdict, verdict_rows
from locant.recipes.matrice.touched import touch, unrelated
from locant.recipes.parallel import halves, known, select_parallel, taught_in
from locant.types import Query, Selection

LANGUAGES = ("en", "fr", "zh")
PLAN = Plan(
    size=10, draws=4, random_sets=2, edited=2, injected=1, enhanced=2, paired=1, sources=1, steps=5, lambda1=2.0,
    lambda2=2.0,
)  # fmt: skip
TABLES = {
    "answers", "facts", "known", "neurons", "stability", "agreement", "layers", "overlap", "costs", "touched",
    "changes", "transfer", "sharing", "verdicts", "enhanced", "recovery", "edited", "matrix", "injected", "injection",
    "degenerate", "checking", "located", "sizes", "datasheet", "left_out", "chosen", "passing", "agreeing",
}  # fmt: skip


@cache
def facts() -> tuple[ParallelFact, ...]:
    return select_parallel(
        locant.load("almanac"), "almanac", LANGUAGES, relations=["capital", "invented_continent"], limit=8, wordings=4
    ).facts


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
    found = parted(locate(lm, one, nothing(lm), PLAN)).neurons
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
    assert set(SETS) - {"random", "random like union", "another fact's"} <= names
    assert {f"{kind} {draw}" for kind in ("random", "random like union") for draw in (1, 2)} <= names
    assert {f"{OWN}{language}" for language in LANGUAGES} <= names
    # Of few languages' sets, fewer neurons may pass in any; and a set may be empty
    sizes = neurons.filter(pl.col("neuron").is_not_null()).group_by("fact", "set").len()
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


def test_verdicts_tell_pairs_never_taught_from_those_that_were() -> None:
    def row(fact: str, taught: bool | None, known: bool, verdict: str) -> dict[str, object]:
        return {"fact": fact, "language": "en", "taught": taught, "everywhere": taught, "known": known,
                "verdict": verdict, "by_chance": None}  # fmt: skip

    sharing = [row("a", True, True, "shared"), row("b", True, True, "specific"), row("c", True, True, "unclear")]
    sharing += [row("a", False, True, "shared"), row("b", False, True, "alone"), row("c", False, False, "absent")]
    found = {row["of"]: (row["pairs"], row["count"], row["mean"]) for row in verdict_rows(sharing, PLAN)}
    assert found["taught there"] == (2, 1, 0.5) and found["never taught there"] == (1, 1, 1.0)
    assert found["known of those taught there"] == (3, 3, 1.0)
    assert found["known of those never taught there"] == (3, 2, pytest.approx(2 / 3))
    unknown = [row("a", None, True, "shared"), row("b", None, True, "specific")]
    assert [one["of"] for one in verdict_rows(unknown, PLAN)] == ["all"]


# What locates, and what judges


@pytest.mark.slow
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


def emptied(found: pl.DataFrame) -> pl.DataFrame:
    """What is located, had languages agreed on no neuron."""
    of_it = found.filter(pl.col("set") == "matrice")
    nothing_in_it = of_it.head(1).with_columns(
        pl.lit(None).cast(of_it[name].dtype).alias(name) for name in of_it.columns[2:8]
    )
    return pl.concat([nothing_in_it, found.filter(pl.col("set") != "matrice")])


def test_where_languages_agree_on_no_neuron_the_set_is_empty_and_left_out(asked: list[Asked]) -> None:
    lm, one = locant.load("almanac"), next(each for each in asked if len(each.known) == 3)
    found = emptied(parted(locate(lm, one, nothing(lm), PLAN)).neurons)
    assert found.row(0, named=True)["layer"] is None
    sets = sets_in(found, [one], (lm.layers, lm.neurons), lm.provenance("hand", {}))[one.fact.uid]
    assert len(sets["matrice"]) == 0 and len(sets["union"]) == len(sets["random 1"]) == PLAN.size
    assert "matrice" not in set(touch(lm, one, {}, sets)["set"])
    rows = {str(row["set"]): row for row in size_rows(found, PLAN)}
    assert (rows["matrice"]["without"], rows["matrice"]["mean"]) == (1.0, 0.0)
    assert {(row["set"], row["layer"]) for row in layer_rows(found, lm.layers) if row["neurons"]}.isdisjoint(
        ("matrice", layer) for layer in range(lm.layers)
    )


def test_neurons_with_a_score_above_zero_are_counted_in_each_kind_of_set(run: Path) -> None:
    above = dict(table(run, "sizes").select("set", "mean").iter_rows())
    assert above["by deviation"] <= above["matrice"] <= PLAN.size and above["random"] is None
    neurons = table(run, "neurons").filter(pl.col("set") == "matrice")
    counted = neurons.group_by("fact").agg((pl.col("weight") > 0).sum())["weight"].mean()
    assert above["matrice"] == pytest.approx(counted)


def test_random_sets_have_the_layers_of_the_set_they_are_the_control_of(run: Path) -> None:
    layers = table(run, "neurons").drop_nulls("layer").group_by("fact", "set", "layer").len()
    for name, control in (("matrice", "random 1"), ("union", "random like union 2")):
        one, other = (
            layers.filter(pl.col("set") == which).drop("set").sort("fact", "layer") for which in (name, control)
        )
        assert one.equals(other)


def test_another_fact_s_set_is_of_the_relation_and_known_where_the_fact_is(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    known = [each for each in asked if len(each.known) > 1]
    found = {each.fact.uid: sets_of(lm, each) for each in known}
    for one in known:
        own = with_peers(found, asked)[one.fact.uid]
        peers = [
            each
            for each in known
            if each is not one and each.fact.relation == one.fact.relation and set(one.known) <= set(each.known)
        ]
        assert ("another fact's" in own) == bool(peers)
        if peers:
            assert any(units(own["another fact's"]) == units(found[each.fact.uid]["matrice"]) for each in peers)


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
    injected = table(run, "injected").filter(pl.col("kind") == "overwrite")
    trained = dict(injected.group_by("set").agg(pl.col("parameters").first()).iter_rows())
    assert trained["matrice"] == trained["random 1"] == trained["own of the language"]
    assert trained["all neurons"] > 10 * trained["matrice"]
    assert trained["LoRA"] == pytest.approx(trained["matrice"], abs=(192 + 640) / 2)  # half of one adapter


def test_adapters_stand_in_the_layers_in_which_the_set_has_most_neurons(
    asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = locant.load("almanac")
    change = next(one for one in trials(lm, asked, 0) if len(one.asked.known) == 3)
    sets, given = sets_of(lm, change.asked), []
    adapters = edited.lora_tuned
    monkeypatch.setattr(edited, "lora_tuned", lambda *a, **k: (given.append(k["layers"]), adapters(*a, **k))[1])
    edited.inject(lm, change, sets, replace(PLAN, steps=1))
    counts = sets["matrice"].units[:, 0].bincount(minlength=lm.layers).tolist()
    assert sorted(given[0]) == [layer for layer, count in enumerate(counts) if count]
    assert [counts[layer] for layer in given[0]] == sorted(filter(None, counts), reverse=True)


def test_a_new_fact_is_taught_in_a_language_that_does_not_know_it_and_is_its_own_answer(run: Path) -> None:
    rows = table(run, "injected").filter(pl.col("kind") == "new")
    known = dict(table(run, "facts").select("fact", "known").iter_rows())
    assert len(rows) and all(source not in known[fact] for fact, source in rows.select("fact", "source").iter_rows())
    related = rows.filter(pl.col("asked") == "related")
    answers = table(run, "answers").select("query", "probability")
    own = related.join(answers, on="query")
    assert own["new_before"].to_list() == pytest.approx(own["probability"].to_list(), rel=1e-3, abs=1e-7)
    taught = related.filter((pl.col("language") == pl.col("source")) & (pl.col("set") == "all neurons"))
    assert taught["new_after"].mean() > taught["new_before"].mean()  # type: ignore[operator]


def test_what_is_changed_is_read_in_every_language_with_those_apart_that_did_not_know_it(run: Path) -> None:
    known = dict(table(run, "facts").select("fact", "known").iter_rows())
    for name in ("edited", "injected"):
        rows = table(run, name).filter(pl.col("asked") == "related")
        assert set(rows["language"]) == set(LANGUAGES)
        assert all((row["language"] in known[row["fact"]]) == row["known"] for row in rows.iter_rows(named=True))
    pooled = set(table(run, "injection").filter(pl.col("source") == "any")["language"])
    assert pooled == {"the same", "others, known", "others, not known"}


def test_a_lesson_s_other_languages_are_pooled_by_whether_they_knew_the_fact(run: Path) -> None:
    """Of a fact taught as it is the language of the lesson lacks it, and its others may, or may not."""
    related = (pl.col("asked") == "related") & (pl.col("set") == "matrice")
    for kind in ("overwrite", "new"):
        rows = table(run, "injected").filter(related & (pl.col("kind") == kind))
        assert set(rows.filter(pl.col("language") == pl.col("source"))["known"]) == {kind == "overwrite"}
        others = rows.filter(pl.col("language") != pl.col("source"))
        pooled = table(run, "injection").filter(
            related
            & (pl.col("kind") == kind)
            & (pl.col("source") == "any")
            & (pl.col("what") == "says_new_before")
            & pl.col("same_answer").is_null()
        )
        found = dict(pooled.select("language", "mean").iter_rows())
        names = {True: "others, known", False: "others, not known"}
        assert found.keys() - {"the same"} == {names[knew] for knew in set(others["known"])}
        for knew in set(others["known"]):
            own = others.filter(pl.col("known") == knew)
            mean = own.group_by("fact").agg(pl.col("says_new_before").mean())["says_new_before"].mean()
            assert found[names[knew]] == pytest.approx(mean)


def test_no_query_that_judges_takes_part_in_choosing_the_size_of_an_edit(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    others = {one.fact.uid: unrelated(asked, one, 3, 0) for one in asked}
    tried, edited = trials(lm, asked, 0), changes(lm, asked, others, 0)
    assert [(one.asked.fact.uid, one.new) for one in tried] == [(one.asked.fact.uid, one.new) for one in edited]
    change = tried[0]
    found = sweep(lm, change, sets_of(lm, change.asked), replace(PLAN, lambda1=None, lambda2=None))
    assert set(found["asked"]) == {"related", "neighbour", "unrelated"}
    locating = {query.uid for one in asked for queries in one.locate.values() for query in queries}
    assert set(found["query"]) <= locating
    assert locating.isdisjoint(query.uid for one in asked for queries in one.judge.values() for query in queries)


def test_the_size_of_an_edit_weighs_what_it_wins_like_what_it_costs() -> None:
    def row(size: float, asked: str, says_new: bool, kept: bool, language: str = "en") -> dict[str, object]:
        return {"lambda": size, "asked": asked, "says_new": says_new, "kept": kept, "fact": "f", "source": "en",
                "language": language}  # fmt: skip

    rows = [row(1.0, "related", True, False), row(1.0, "neighbour", False, False), row(1.0, "unrelated", False, True)]
    rows += [
        row(2.0, "related", True, False),
        row(2.0, "neighbour", False, False),
        row(2.0, "unrelated", False, False),
    ]
    rows += [row(0.5, "related", False, True), row(0.5, "neighbour", False, True), row(0.5, "unrelated", False, True)]
    rows += [row(2.0, "unrelated", False, True, "fr")] * 9  # read elsewhere, which has no part in it
    best = best_size(pl.DataFrame(rows))
    assert best is not None and (best["lambda"], best["success"], best["kept"]) == (1.0, 1.0, 0.5)


# Tables


def test_two_facts_are_paired_within_their_relation_and_by_the_answers_of_the_row(asked: list[Asked]) -> None:
    lm = locant.load("almanac")
    known = [each for each in asked if {"en", "fr"} <= set(each.known)]
    sets = {each.fact.uid: sets_of(lm, each) for each in known}
    rows = [row for row in overlap_rows(sets, known, PLAN) if (row["first"], row["second"]) == ("en", "fr")]
    assert all(row["family"] and row["script"] for row in rows)
    for row in rows:
        some = [
            each for each in known if row["same_answer"] in (None, each.fact.answers["en"] == each.fact.answers["fr"])
        ]
        each_expected = []
        for one in some:
            own = units(sets[one.fact.uid]["own: en"])
            others = [units(sets[x.fact.uid]["own: fr"]) for x in known if x.fact.relation == one.fact.relation]
            each_expected.append(sum(len(own & theirs) / len(own | theirs) for theirs in others) / len(others))
        assert row["expected"] == pytest.approx(sum(each_expected) / len(each_expected), abs=0.03)


def test_the_neurons_that_pass_are_those_that_were_counted(run: Path) -> None:
    """Above the share of the plan they are the counts of the sets, fact by fact and for every number of languages."""
    passing = table(run, "passing")
    assert passing["ratio"].min() >= 0.1 and passing["ratio"].max() == 1.0  # type: ignore[operator]
    assert set(passing.group_by("fact", "language").agg(pl.col("ratio").max())["ratio"]) == {1.0}
    times = passing.filter(pl.col("ratio") > PLAN.share).group_by("fact", "layer", "neuron").len()
    counted = table(run, "stability").filter(pl.col("what") == "agreement")
    assert len(counted)
    for row in counted.iter_rows(named=True):
        own = times.filter((pl.col("fact") == row["fact"]) & (pl.col("len") >= row["least"]))
        assert len(own) == row["value"]


Agreeing = dict[tuple[object, ...], float]


def agreeing(asked: Sequence[Asked], passing: Sequence[tuple[str, str, int, float]]) -> Agreeing:
    names = {"fact": pl.String, "language": pl.String, "neuron": pl.Int64, "ratio": pl.Float64}
    found = pl.DataFrame(list(passing), schema=names, orient="row").with_columns(layer=pl.lit(0))
    rows = agreeing_rows(found, asked, replace(PLAN, draws=200))
    return {(row["share"], row["least"], row["of"]): float(str(row["mean"])) for row in rows}


def test_what_agrees_by_chance_is_what_several_facts_have_in_common(asked: list[Asked]) -> None:
    """One neuron is every fact's in every language, a second a fact's own in two, and a third passes in one."""
    some = [replace(one, known=("en", "fr", "zh")) for one in asked if one.fact.relation == "capital"]
    passing = []
    for place, one in enumerate(some):
        for language in LANGUAGES:
            passing.append((one.fact.uid, language, 0, 1.0))
        passing += [(one.fact.uid, language, 10 + place, 0.4) for language in ("en", "fr")]
        passing.append((one.fact.uid, "zh", 20 + place, 0.15))
    found = agreeing(some, passing)
    assert [found[0.1, least, "the fact"] for least in (1, 2, 3, None)] == [3, 2, 1, 1]
    assert [found[0.3, least, "the fact"] for least in (1, 2, 3)] == [2, 2, 1]
    assert [found[0.5, least, "the fact"] for least in (1, 2, 3)] == [1, 1, 1]
    assert {found[share, 3, "other facts"] for share in (0.1, 0.2, 0.3, 0.5)} == {1.0}
    # English and French draw one of the other facts by chance
    by_chance = 1 / (len(some) - 1)
    assert found[0.1, 2, "other facts"] == pytest.approx(1 + by_chance, abs=0.08)
    assert found[0.1, 2, "difference"] == pytest.approx(2 - found[0.1, 2, "other facts"])


def test_a_fact_is_held_against_others_only_where_two_are_known_in_each_language(asked: list[Asked]) -> None:
    three = [one for one in asked if one.fact.relation == "capital"][:3]
    everywhere = [replace(one, known=LANGUAGES) for one in three]
    passing = [(one.fact.uid, language, 0, 1.0) for one in three for language in LANGUAGES]
    assert agreeing(everywhere, passing)[0.1, 3, "other facts"] == 1.0
    fewer = [*everywhere[:2], replace(three[2], known=("en", "fr"))]
    assert {least for _, least, _ in agreeing(fewer, passing)} == {1, 2, None}  # the third, in English and French
    assert agreeing(everywhere[:2], passing) == {}


def test_a_set_s_name_without_its_draw_and_the_control_that_has_its_layers() -> None:
    named = {"random 12": "random", "random like union 2": "random like union", "random like x": "random like x"}
    assert {name: kind_of(name) for name in (*named, "own: en")} == {**named, "own: en": "own: en"}
    assert {control_of(name) for name in ("union", "own: en", "others than: fr", "intersection")} == {
        "random like union"
    }
    assert {control_of(name) for name in ("matrice", "another fact's", "no query term")} == {"random"}


# Verdicts


@pytest.mark.parametrize(
    ("known", "own", "theirs", "expected"),
    [
        (False, None, [], "absent"),
        (True, None, [], "alone"),
        (True, 0.05, [0.9], "unclear"),
        (True, 0.8, [0.1, 0.4], "shared"),
        (True, 0.8, [0.1, 0.39], "specific"),
        (True, 0.8, [], "alone"),
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
        return {language: "alone" if language in one.known else "absent" for language in one.fact.languages}
    plan = replace(PLAN, size=20, random_sets=1)
    found = parted(locate(lm, one, nothing(lm), plan)).neurons
    sets = sets_in(found, [one], (lm.layers, lm.neurons), lm.provenance("hand", {}))[one.fact.uid]
    touched = touch(lm, one, {}, sets)
    return {str(row["language"]): str(row["verdict"]) for row in sharing_rows(touched, [one], {})}


def plant(lm: LanguageModel, stack: ExitStack, fact: ParallelFact, taught: Sequence[str], chosen: Selection) -> None:
    lessons = [query for language in taught for query in fact.queries[language]]
    settings = {"steps": 120, "rate": 0.03, "stop_at": 0.1}
    stack.enter_context(tuned(lm, lessons, chosen, **settings))  # type: ignore[arg-type]


SEEDS = range(4)


def planted_verdicts(
    lm: LanguageModel, plantings: Sequence[tuple[Sequence[str], Selection]]
) -> dict[str, str] | None:
    """The verdicts on a fact planted so; None if the model does not take it up."""
    fact = renamed("japan", "egypt")
    with ExitStack() as stack:
        for taught, chosen in plantings:
            plant(lm, stack, fact, taught, chosen)
        found = verdicts(lm, fact)
    return None if "absent" in found.values() else found


@pytest.mark.slow
@pytest.mark.parametrize(("expected", "least"), [("shared", 0.5), ("specific", 0.75)])
def test_facts_planted_for_two_languages_are_mostly_called_what_they_are(expected: str, least: float) -> None:
    """In one random neuron for both, or in four others for each, whatever the draw.

    Sharing is missed more often: of the first eight draws seven are taken up, and four of these are called shared.
    """
    lm = locant.load("almanac")
    called: list[str] = []
    for seed in SEEDS:
        own = [(("en",), some_neurons(lm, seed, 4)), (("zh",), some_neurons(lm, 10 + seed, 4))]
        found = planted_verdicts(lm, [(("en", "zh"), some_neurons(lm, seed, 1))] if expected == "shared" else own)
        called += list((found or {}).values())
    assert len(called) >= 4  # two plantings or more are taken up
    assert called.count(expected) >= least * len(called)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_fact_planted_in_one_language_is_absent_from_the_other(language: str) -> None:
    lm, fact = locant.load("almanac"), renamed("japan", "egypt")
    other = "zh" if language == "en" else "en"
    with ExitStack() as stack:
        plant(lm, stack, fact, (language,), some_neurons(lm, 3, 4))
        assert verdicts(lm, fact) == {language: "alone", other: "absent"}


# Going on, other models, refusals


class Stopped(Exception):
    """Someone pulled the plug."""


def stop(what: str, units: int) -> Callable[[int], None]:
    raise Stopped


@pytest.mark.slow
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
    for name in TABLES - {"costs", "neurons", "located"}:  # those hold seconds
        assert table(tmp_path / "run", name).equals(table(run, name)), name
    with pytest.raises(BadFile, match=r"holds a run with lambda_q 1\.0, this one has 0\.0"):
        run_into(tmp_path / "run", replace(PLAN, lambda_q=0.0))


def in_the_model_s_own_words(lm: LanguageModel, prompt: str, **names: str) -> Query | None:
    """A query whose answer is what the model says; None if that is a token without a text."""
    mask = " [MASK]" if lm.architecture.kind == "masked" else ""
    one = locant.query(prompt + mask, "w1", uid=f"{prompt}/{names['language']}", **names)  # type: ignore[arg-type]
    said = lm.text_of([int(read_answers(lm, [one]).said[0])]).strip()
    if not said:
        return None
    made = replace(one, answer=said, fact=replace(one.fact, object=said))
    return made if can_be_asked(lm, made) else None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
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
    sizes = table(run, "neurons").filter(pl.col("set") == "union").group_by("fact").len()
    assert set(sizes["len"]) == {4}
    left = table(run, "left_out")
    assert left["set"].to_list() == ["language neurons"] if name == "t5" else not len(left)
    assert ("language neurons" in set(table(run, "neurons")["set"])) == (name != "t5")


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


def test_the_command_does_what_a_plan_does_by_itself() -> None:
    asked = {name: each.default for name, each in inspect.signature(matrice_command).parameters.items()}
    own = Plan().plain()
    assert {name: asked[name] for name in own if name != "settings"} == {
        name: value for name, value in own.items() if name != "settings"
    }


# Facts


def test_a_fact_is_drawn_by_the_queries_that_locate_alone() -> None:
    lm, fact = locant.load("almanac"), facts()[0]
    locating, judging = halves(fact)
    wrong = {language: tuple(replace(one, answer="?") for one in some) for language, some in judging.items()}
    changed = replace(fact, queries={language: locating[language] + wrong[language] for language in fact.languages})
    assert known(lm, changed) == known(lm, fact) == part(lm, fact)[0].known


def test_facts_are_drawn_from_those_taught_everywhere_and_those_taught_somewhere() -> None:
    taught = [set(LANGUAGES) <= set(taught_in()[one.uid]) for one in facts() if one.relation == "capital"]
    assert 0 < sum(taught) < len(taught)
    assert all(one.languages == LANGUAGES for one in facts())
    assert all(len(asked) == 4 for one in facts() for asked in one.queries.values())


def asked_of(place: str, answer: str, prompts: Sequence[str], language: str) -> list[dict[str, str]]:
    return [
        {"uid": f"{place}/{language}/{number}", "prompt": prompt, "answer": answer, "fact": place, "relation": "r",
         "language": language, "subject": place, "object": answer}
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip


def test_queries_that_say_their_own_answer_are_dropped_and_counted(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    fair, leaked = ["In Egypt one comes to", "The heart of Egypt is"], "Cairo is in Egypt; its capital is"
    rows = []
    for language in ("en", "fr"):
        rows += asked_of("Egypt", "Cairo", [*fair, leaked], language)
        rows += asked_of("Cairo", "Cairo", fair, language)  # in the subject
        rows += asked_of("Nile", "Cairo", [fair[0], leaked], language)  # one other is too few
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    select = partial(select_parallel, lm, str(tmp_path / "all.jsonl"), ("en", "fr"), known_in=0)
    found = select()
    assert [one.uid for one in found.facts] == ["Egypt"]
    assert {query.prompt for queries in found.facts[0].queries.values() for query in queries} == set(fair)
    assert found.dropped == {"answer in subject": 4, "answer in prompt": 4, "facts of too few others": 2}
    everything = select(keep_leaked=True)
    assert [len(one.queries["en"]) for one in everything.facts] == [3, 2, 2] and not everything.dropped


def test_what_was_dropped_is_in_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run_into(tmp_path / "run", dropped={"answer in prompt": 3}, say=stop)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["dropped"] == {"answer in prompt": 3}


def test_data_with_one_wording_are_told_what_has_more(tmp_path: Path) -> None:
    rows = [
        {
            "uid": f"{place}/{language}",
            "prompt": f"w{place} is",
            "answer": "w1",
            "fact": f"f{place}",
            "relation": "r",
            "language": language,
        }
        for place in range(3)
        for language in ("en", "fr")
    ]
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UnknownName, match=r"has 2 wordings in each of en, fr: one locates, one judges\. BMLAMA"):
        select_parallel(locant.load("almanac"), str(tmp_path / "one.jsonl"), ("en", "fr"))
    with pytest.raises(UnknownName, match="no form 'mine'; there are object-final, blank"):
        select_parallel(locant.load("almanac"), "almanac", ("en", "fr"), form="mine")


def test_one_language_is_nothing_to_compare() -> None:
    with pytest.raises(UnknownName, match="name two or more, not en"):
        select_parallel(locant.load("almanac"), "almanac", ("en",))
    with pytest.raises(UnknownName, match="no data 'nowhere'; there is almanac"):
        select_parallel(locant.load("almanac"), "nowhere", ("en", "fr"))
