"""Query localization: a run has every experiment, resumes where it stopped, and says what it was made of."""

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
from locant.errors import BadFile, UnknownName
from locant.recipes.data import FactQueries, draw_facts, neighbours, read_data, select_facts
from locant.recipes.query_localization import Plan, localize_queries
from locant.recipes.query_localization.edited import Editor, _by_mean_score
from locant.recipes.query_localization.judged import judge, null_rows, threshold_rows
from locant.recipes.query_localization.located import locate, sets_of
from locant.recipes.query_localization.touched import choose, touch
from locant.selections import select
from locant.selections.share import strongest, union
from locant.types import Fact, Provenance, Query, Selection

TABLES = {
    "lambdas", "lambdas_by_fact", "betas_by_fact", "alphas_by_fact", "neurons",
    "facts", "queries", "neurons_dai", "consistency", "thresholds", "nulls", "tests", "noise", "costs", "mapping",
    "synapses", "alphas", "activations", "edits", "betas",
}  # fmt: skip
PLAN = Plan(localizers=("dai",), touched=2, edited=1, draws=20, random_sets=2, spared=6)


@cache
def facts() -> tuple[FactQueries, ...]:
    found = neighbours(read_data("almanac", "causal", relations=("capital", "continent", "antonym")))
    return tuple(FactQueries(one.fact, one.queries[:4]) for one in draw_facts(found, 9, 0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    lm = locant.load("almanac")
    return localize_queries(lm, facts(), folder, PLAN, source="almanac", texts=("The capital of Peru is Lima.",))


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def test_a_run_has_a_table_of_every_experiment_and_says_that_it_is_complete(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} >= TABLES
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["recipe"], manifest["status"], manifest["facts"]) == ("query-localization", "complete", 9)
    assert manifest["settings"]["localizers"] == ["dai"]


def test_a_query_s_set_is_what_select_chooses_by_the_same_share() -> None:
    lm = locant.load("almanac")
    queries = [one.queries[0] for one in facts()[:3]]
    found = sets_of(locate(lm, queries, "dai", PLAN), lm, queries, "dai", PLAN.share)
    for query in queries:
        expected = select(attribute(lm, [query], "dai"), "share", share=PLAN.share)
        # The same query in another batch differs by rounding, which can decide at the border only
        ours, theirs = (set(map(tuple, one.units.tolist())) for one in (found[query.uid], expected))
        assert len(ours & theirs) >= len(ours | theirs) - 1
        assert len(ours) > 1


def test_every_set_of_the_mapping_is_touched_both_ways_for_both_kinds(run: Path) -> None:
    mapping = table(run, "mapping")
    groups = {"own", "neighbour", "union", "intersection", "in 2 or more", "unrelated"}
    assert set(mapping["set"]) == groups | {f"random like {name}" for name in groups}
    assert set(mapping["operation"]) == {"suppress", "enhance"}
    assert set(mapping["kind"]) == {"consistent", "inconsistent"}
    sizes = dict(mapping.group_by("set").agg(pl.col("size").mean()).iter_rows())
    assert sizes["union"] >= sizes["in 2 or more"] >= sizes["intersection"]
    assert all(sizes[f"random like {name}"] == pytest.approx(sizes[name]) for name in groups)


def test_silencing_a_query_s_own_neurons_hurts_it_more_than_random_ones_do(run: Path) -> None:
    silenced = table(run, "mapping").filter(pl.col("operation") == "suppress")
    change = dict(silenced.group_by("set").agg(pl.col("change").mean()).iter_rows())
    assert change["own"] < change["random like own"] - 0.1


def test_touching_no_neurons_changes_nothing() -> None:
    lm = locant.load("almanac")
    asked = facts()[0]
    # Wordings with nothing in common have an empty intersection
    apart = {
        query.uid: Selection(
            (query,), torch.tensor([[place, 0]]), torch.ones(1), (lm.layers, lm.neurons), lm.provenance("hand", {})
        )
        for place, query in enumerate(asked.queries)
    }
    found = touch(lm, asked, "consistent", apart, asked.queries[0], "hand", PLAN)
    empty = found.filter(pl.col("size") == 0)
    assert set(empty["set"]) == {
        "intersection",
        "in 2 or more",
        "random like intersection",
        "random like in 2 or more",
    }
    assert (empty["change"].abs() < 1e-5).all()


def test_sets_of_all_queries_are_not_judged_by_the_wordings_that_chose_them() -> None:
    lm = locant.load("almanac")
    asked = facts()[0]
    plan = replace(PLAN, lambda1=1.0, lambda2=1.0)
    queries = [query for one in facts() for query in one.queries]
    sets = sets_of(locate(lm, queries, "dai", plan), lm, queries, "dai", plan.share)
    editor = Editor(lm, facts(), (), plan)
    before = editor.edit(asked, "consistent", sets, "dai")
    blind = {uid: one for uid, one in sets.items() if uid not in {query.uid for query in asked.queries[1::2]}}
    assert editor.edit(asked, "consistent", blind, "dai").equals(before)
    seen = {**sets, asked.queries[2].uid: sets[facts()[1].queries[0].uid]}
    changed = editor.edit(asked, "consistent", seen, "dai").filter(pl.col("set") == "N_g")
    assert not changed.equals(before.filter(pl.col("set") == "N_g"))


def test_n_g_at_equal_size_are_the_neurons_of_the_highest_mean_score() -> None:
    hand = hand_made(True, "one", "a")
    scores = [[5.0, 4.0, 3.0, 2.0, 1.0], [0.1, 0.1, 9.0, 0.1, 8.0]]
    sets = [replace(one, weight=torch.tensor(own)) for one, own in zip(hand, scores, strict=False)]
    kept = strongest(_by_mean_score(union(sets), sets), 2)
    expected = sorted(range(5), key=lambda place: -(scores[0][place] + scores[1][place]))[:2]
    assert kept.units.tolist() == hand[0].units[sorted(expected)].tolist()


def test_a_lambda_that_is_given_is_not_swept() -> None:
    lm = locant.load("almanac")
    asked = facts()[0]
    queries = list(asked.queries)
    sets = sets_of(locate(lm, queries, "dai", PLAN), lm, queries, "dai", PLAN.share)
    both, one = (
        Editor(lm, facts(), (), plan).sweep_lambda(asked, "consistent", sets, "dai")
        for plan in (PLAN, replace(PLAN, lambda1=0.0))
    )
    assert both["lambda"].equals(one["lambda"])
    assert not both["cloze_change"].equals(one["cloze_change"])


def test_synapses_come_with_irrelevant_ones_of_equal_number(run: Path) -> None:
    counts = table(run, "synapses").pivot("columns", index=["query", "weighing", "operation"], values="count")
    both = counts.drop_nulls()
    assert len(both)
    assert (both["own"] == both["irrelevant"]).all()


def test_edits_of_equal_size_touch_equally_many_neurons(run: Path) -> None:
    equal = table(run, "edits").filter(pl.col("sizing") == "equal size")
    assert set(equal["set"]) == {"N_i", "N_g", "CAS", "random"}
    assert (equal.group_by("fact").agg(pl.col("size").n_unique())["size"] == 1).all()
    assert equal["text_change"].is_not_null().all()


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_stopped_and_ends_in_the_same_tables(run: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop_at_synapses(what: str, units: int) -> object:
        if what == "touching synapses":
            raise Stopped
        return lambda done: None

    lm, texts = locant.load("almanac"), ("The capital of Peru is Lima.",)
    with pytest.raises(Stopped):
        localize_queries(lm, facts(), tmp_path, PLAN, source="almanac", texts=texts, say=stop_at_synapses)
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["status"] == "running"
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "units").iterdir()}
    assert before
    localize_queries(lm, facts(), tmp_path, PLAN, source="almanac", texts=texts)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "units").iterdir()}
    assert {name: after[name] for name in before} == before
    for name in TABLES - {"costs", "neurons_dai"}:  # which hold seconds
        assert table(tmp_path, name).equals(table(run, name)), name


def test_a_folder_of_another_run_is_refused_and_left_as_it_was(run: Path) -> None:
    before = (run / "manifest.json").read_bytes()
    with pytest.raises(BadFile, match="seed"):
        texts = ("The capital of Peru is Lima.",)
        localize_queries(locant.load("almanac"), facts(), run, replace(PLAN, seed=1), source="almanac", texts=texts)
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_it_runs_on_every_shape_of_model(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    words = ("w1", "w2", "w3")
    asked = [
        FactQueries(
            Fact(f"{relation}/{subject}", subject, relation, answer),
            tuple(
                Query(
                    f"{relation}/{subject}/{at}",
                    Fact(f"{relation}/{subject}", subject, relation, answer),
                    text,
                    answer,
                )
                for at, text in enumerate(
                    (f"{subject} {relation}", f"w9 {subject} {relation}", f"w9 {subject} w10 {relation}")
                )
            ),
        )
        for relation in ("w4", "w5")
        for subject, answer in zip(("w6", "w7", "w8"), words, strict=False)
    ]
    weights = {key: values.clone() for key, values in lm.model.state_dict().items()}
    localize_queries(lm, asked, tmp_path, replace(PLAN, localizers=("dai", "sig", "amig")), source="mine")
    assert set(table(tmp_path, "consistency")["localizer"]) == {"dai", "sig", "amig"}
    assert all(len(table(tmp_path, name)) for name in ("mapping", "synapses", "edits"))
    assert all(torch.equal(values, weights[key]) for key, values in lm.model.state_dict().items())


def test_no_facts_and_bad_settings_are_one_sentence(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    with pytest.raises(UnknownName, match="no facts"):
        localize_queries(lm, (), tmp_path / "none", PLAN, source="almanac")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UnknownName, match="no method 'dia'"):
        Plan(localizers=("dia",))
    with pytest.raises(UnknownName, match="share"):
        Plan(share=0.0)
    with pytest.raises(UnknownName, match="alpha is at least 0 and less than 1, not 1"):
        Plan(alpha=1.0)
    with pytest.raises(UnknownName, match="no mode 'cod'"):
        plan = replace(PLAN, localizers=("dai", "amig"), settings={"amig": {"mode": "cod"}})
        localize_queries(lm, facts(), tmp_path / "none", plan, source="almanac")
    assert not (tmp_path / "none").exists()


def test_facts_are_drawn_known_and_cut_to_so_many_wordings() -> None:
    lm = locant.load("almanac")
    found = select_facts(lm, "almanac", relations=("capital",), limit=5, wordings=3, known_only=True)
    assert [len(one.queries) for one in found] == [3] * 5
    assert (locant.answer_rank(lm, [query for one in found for query in one.queries]) == 1).all()


# Judging, on sets made by hand


def hand_made(agree: bool, relation: str, subject: str) -> list[Selection]:
    """Four queries of five neurons each: the same ones, or each its own."""
    fact = Fact(f"{relation}/{subject}", subject, relation, "x")
    start = sum(map(ord, subject + relation)) % 40
    return [
        Selection(
            (Query(f"{fact.uid}/{at}", fact, "p", "x", template=str(at)),),
            torch.stack(
                [torch.zeros(5, dtype=torch.int64), torch.arange(5) + start + (0 if agree else 50 + 5 * at)], 1
            ),
            torch.arange(5, 0, -1).float(),
            (1, 200),
            Provenance("hand"),
        )
        for at in range(4)
    ]


def test_facts_that_agree_are_consistent_and_those_that_do_not_are_not() -> None:
    by_fact = {
        f"{relation}/{subject}": hand_made(subject in "abc", relation, subject)
        for relation in ("one", "two")
        for subject in "abcdef"
    }
    judged = judge("dai", by_fact, PLAN)
    assert {fact: judged.kind(fact, "otsu") for fact in by_fact} == {
        fact: "consistent" if fact[-1] in "abc" else "inconsistent" for fact in by_fact
    }
    shares = {row["threshold"]: row["share"] for row in threshold_rows([judged]) if row["rule"] == "static"}
    assert set(shares.values()) == {0.5}
    (within, *_) = (row for row in null_rows(judged, PLAN) if row["measure"] == "cs2")
    assert within["observed"] == 0.5
    assert within["observed"] > within["high"]


def test_facts_of_each_kind_are_drawn_evenly_from_the_relations() -> None:
    kinds = {one.fact.uid: "consistent" for one in facts()}
    chosen = choose(facts(), kinds, 3, 0)
    assert len(chosen) == 3
    assert len({uid.split("/")[0] for uid in chosen}) == 3
