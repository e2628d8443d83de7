"""Editing: a run has every experiment, resumes where it stopped, and holds against edits made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest

import locant
from families import tiny
from locant.attributions.tracing import spread_of, trace
from locant.errors import BadFile, BadQuery, UnknownName
from locant.evaluations import read_answers
from locant.interventions.editing import edit, prepare
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase
from locant.recipes.edit_cases import select_cases
from locant.recipes.editing import Plan, run_editing
from locant.recipes.editing.edited import COLLAPSED, REFUSED, Judging, edit_alone, judging_by, read_some, scope_of
from locant.recipes.editing.places import edit_layer, place_rows, trace_rows
from locant.recipes.editing.plan import RANDOM, steps
from locant.reports.editing import page_of

TABLES = {
    "cases", "alone", "methods", "costs", "in_turn", "drift", "together", "batch", "everywhere", "places", "layers",
    "ended", "localized", "traces", "before",
}  # fmt: skip
TIMED = {"alone", "together", "costs", "methods", "batch"}
"""Tables that hold seconds."""
TEXTS = ("The capital of Peru is Lima.", "The capital of Chad is N'Djamena.")
PLAN = Plan(("ft_m", "kn"), {"ft_m": {"steps": 10}}, in_turn=4, together=4, layers=4, tokens=0)


@cache
def cases() -> tuple[EditCase, ...]:
    lm = locant.load("almanac")
    return select_cases(lm, "almanac", relations=("capital", "currency"), limit=4, known_only=True).cases


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return run_editing(locant.load("almanac"), cases(), folder, PLAN, source="almanac", texts=TEXTS)


def read(lm: LanguageModel, some: Sequence[EditCase], plan: Plan) -> Judging:
    scope = scope_of(lm, some, (), plan)
    return judging_by(read_some(lm, some, scope), scope)


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def test_a_run_has_a_table_of_every_experiment_and_says_that_it_is_complete(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["resolved"]["ft_m"]["steps"] == 10


def test_every_case_is_read_as_after_an_edit_by_hand(run: Path) -> None:
    lm, case = locant.load("almanac"), cases()[1]
    with edit(lm, case.requests, "ft_m", steps=10):
        expected = float(read_answers(lm, [case.request.asked]).log_probability.exp())
    row = table(run, "alone").filter(
        (pl.col("case") == case.uid) & (pl.col("method") == "ft_m") & (pl.col("asked") == "request")
    )
    assert row.filter(pl.col("metric") == "probability")["after"].item() == pytest.approx(expected, rel=1e-4)


def test_a_method_that_is_asked_for_stands_beside_its_control(run: Path) -> None:
    methods = table(run, "methods")
    assert set(methods["method"]) == {"ft_m", "kn", RANDOM}
    new = methods.filter((pl.col("asked") == "request") & (pl.col("metric") == "probability"))
    after = dict(new.select("method", "after").iter_rows())
    assert after["kn"] > 10 * after[RANDOM]


def test_random_neurons_are_as_many_as_are_located_by_the_settings_of_the_run() -> None:
    lm, plan = locant.load("almanac"), Plan(("kn",), {"kn": {"rule": "riemann-left", "points": 1}}, tokens=0)
    judging = read(lm, cases(), plan)
    counts: dict[str, list[float]] = {}
    for method, editor in (("kn", prepare(lm, "kn", plan.of("kn"))), (RANDOM, None)):
        alone = pl.concat([edit_alone(lm, one, method, editor, judging, plan) for one in cases()])
        counts[method] = alone.filter(pl.col("metric") == "neurons")["after"].to_list()
    assert counts[RANDOM] == counts["kn"] and len(counts["kn"]) == 4


def test_means_are_those_of_the_cases(run: Path) -> None:
    rows = table(run, "alone").filter(
        (pl.col("method") == "ft_m") & (pl.col("asked") == "neighbour") & (pl.col("metric") == "kept")
    )
    found = table(run, "methods").filter(
        (pl.col("method") == "ft_m") & (pl.col("asked") == "neighbour") & (pl.col("metric") == "kept")
    )
    assert found["after"].item() == pytest.approx(rows["after"].mean()) and found["n"].item() == 4


def test_edits_in_turn_are_read_after_more_and_more_of_them(run: Path) -> None:
    drift = table(run, "in_turn")
    assert sorted(drift["edits"].unique()) == [1, 2, 4]
    by_edits = (
        drift.filter(pl.col("method") == "ft_m")
        .group_by("edits")
        .agg(pl.col("case").filter(pl.col("asked") == "request").n_unique())
    )
    assert dict(by_edits.iter_rows()) == {1: 1, 2: 2, 4: 4}


def test_the_last_of_the_edits_in_turn_is_the_model_with_all_of_them(run: Path) -> None:
    lm = locant.load("almanac")
    with edit(lm, [one.request for one in cases()], "ft_m", batch=1, steps=10):
        expected = read_answers(lm, [one.request.asked for one in cases()]).log_probability.exp().tolist()
    rows = table(run, "in_turn").filter(
        (pl.col("method") == "ft_m")
        & (pl.col("edits") == 4)
        & (pl.col("asked") == "request")
        & (pl.col("metric") == "probability")
    )
    assert rows.sort("place")["after"].to_list() == pytest.approx(expected, rel=1e-3)


def test_only_methods_that_take_many_edit_them_at_once(run: Path) -> None:
    assert set(table(run, "together")["method"]) == {"ft_m"}


def test_layers_are_edited_beside_what_localization_says_of_them_where_they_are_edited(run: Path) -> None:
    lm, case = locant.load("almanac"), cases()[0]
    localized = table(run, "localized").filter(pl.col("case") == case.uid)
    spread = spread_of(lm, [one.request.query for one in cases()])
    # The almanac is edited at the prompt's last token
    traced = trace(lm, [case.request.query], at="last", spread=spread)
    assert localized["layer"].to_list() == list(range(lm.layers))
    assert localized["tracing"].to_list() == pytest.approx(traced.effect[0].tolist(), abs=1e-6)
    assert localized["credit"].sum() == pytest.approx(1)
    traces = table(run, "traces")
    assert traces["measured"].item() and traces["layer"].item() == 0 and traces["facts"].item() == 4
    assert traces["largest"].item() > 0.3 * (traces["clean"] - traces["corrupted"]).item()


def test_rewrite_scores_are_those_of_edits_by_hand(run: Path) -> None:
    lm, case = locant.load("almanac"), cases()[0]
    old = float(read_answers(lm, [case.request.asked]).log_probability.exp())
    with edit(lm, case.requests, "ft_m", steps=10, layer=2):
        new = float(read_answers(lm, [case.request.asked]).log_probability.exp())
    everywhere = table(run, "everywhere").filter(pl.col("case") == case.uid)
    assert everywhere["layer"].to_list() == list(range(lm.layers)) and set(everywhere["method"]) == {"ft_m"}
    at_two = everywhere.filter(pl.col("layer") == 2)
    assert at_two["rewrite"].item() == pytest.approx((new - old) / (1 - old), rel=1e-3)
    # Ten steps, which the run's own settings say, are not enough there
    assert at_two["steps"].item() == 10 and at_two["reached"].item() == 0
    assert table(run, "layers").filter(pl.col("layer") == 2)["reached"].max() < 1


@pytest.mark.slow
def test_ft_m_goes_on_at_every_layer_until_it_has_learnt_the_fact() -> None:
    lm, plan = locant.load("almanac"), Plan(("ft_m",), tokens=0)
    judging = read(lm, cases()[:1], plan)
    for layer in (0, 3):
        found = edit_layer(lm, cases()[:1], "ft_m", layer, judging.before, plan)
        assert found["reached"].item() == 1 and found["rewrite"].item() > 0.95
    assert found["steps"].item() > 25


def test_a_layer_where_the_method_fails_has_no_scores_and_says_why(tmp_path: Path) -> None:
    lm, plan = tiny("gpt2"), Plan(("ft_m",), {"ft_m": {"rate": 1e36}}, tokens=0)
    judging = read(lm, [made_up(30)], plan)
    found = edit_layer(lm, [made_up(30)], "ft_m", 1, judging.before, plan)
    assert found["rewrite"].null_count() == 1 and "loss" in found["why"].item()


def test_a_tracing_that_hardly_brings_anything_back_names_no_layer() -> None:
    one = {"case": "a", "clean": 0.99, "corrupted": 0.25, "tracing": 0.07, "credit": 1.0}
    weak = pl.DataFrame([{**one, "layer": 0}, {**one, "layer": 1, "tracing": 0.0}])
    assert [row["measured"] for row in trace_rows(weak)] == [False]
    assert [row["measured"] for row in trace_rows(weak.with_columns(pl.col("tracing") + 0.01))] == [True]
    edited = pl.DataFrame([{"case": case, "method": "ft_m", "layer": layer, "rewrite": 0.5 + layer / 9,
                            "generalisation": None, "kept": None} for case in "abc" for layer in (0, 1)])  # fmt: skip
    three = pl.concat([weak.with_columns(case=pl.lit(case)) for case in "abc"])
    assert {row["effect"] for row in place_rows(three, edited, PLAN)} == {"credit"}


def test_editability_is_said_of_every_score_and_effect(run: Path) -> None:
    places = table(run, "places")
    assert set(places["effect"]) == {"tracing", "credit"} and set(places["method"]) == {"ft_m"}
    by_what = dict(
        places.filter((pl.col("score") == "rewrite") & (pl.col("effect") == "tracing"))
        .select("what", "mean")
        .iter_rows()
    )
    assert by_what["both"] >= max(by_what["layer"], by_what["effect"]) - 1e-9
    assert by_what["best"] >= max(by_what["fixed"], by_what["localized"], by_what["anywhere"]) - 1e-9


def test_a_resumed_run_computes_nothing_again_and_ends_the_same(run: Path, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (run / "units").iterdir()}
    one = next(iter((run / "units").iterdir()))
    kept = {name: table(run, name) for name in TABLES - TIMED}
    one.unlink()
    run_editing(locant.load("almanac"), cases(), run, PLAN, source="almanac", texts=TEXTS)
    after = {path.name: path.stat().st_mtime_ns for path in (run / "units").iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {one.name}
    assert all(table(run, name).equals(kept[name]) for name in kept)


def test_a_folder_of_another_run_is_refused_before_anything_is_read_of_the_model(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locant.recipes.editing.prepare", None)
    other = Plan(("ft_m",), in_turn=0, together=0, layers=0, tokens=0)
    with pytest.raises(BadFile, match="methods"):
        run_editing(locant.load("almanac"), cases(), run, other, source="almanac", texts=TEXTS)


def test_what_a_method_refuses_is_counted(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    same = locant.edit_request("The capital of France is", "France", "Paris Paris", old="Paris", uid="same")
    plan = Plan(("kn",), in_turn=0, together=0, layers=0, tokens=0)
    run = run_editing(lm, [EditCase(same)], tmp_path / "run", plan, source="hand")
    assert set(table(run, "alone")["metric"]) == {REFUSED}
    assert table(run, "costs").filter(pl.col("method") == "kn")["refused"].to_list() == [1]


def made_up(place: int, old: str = "w9") -> EditCase:
    return EditCase(
        locant.edit_request(f"w3 w{place} w7", f"w{place}", "w11", old=old, uid=f"case {place}"),
        neighbours=(locant.query(f"w3 w{place + 20} w7", "w12", subject=f"w{place + 20}"),),
    )


def ends(run: Path, made: str, method: str) -> list[tuple[object, ...]]:
    rows = table(run, "ended").filter((pl.col("made") == made) & (pl.col("method") == method))
    return list(rows.select("metric", "cases", "edits").iter_rows())


def test_a_refused_case_is_left_out_of_many_edits_and_the_others_are_made(tmp_path: Path) -> None:
    some = [made_up(30), made_up(31, old=""), made_up(32)]
    plan = Plan(("kn", "neuron_tuning"), layers=0, tokens=0)
    run = run_editing(tiny("gpt2"), some, tmp_path / "run", plan, source="hand")
    for method in plan.methods:
        assert ends(run, "alone", method) == [(REFUSED, 1, None)] and ends(run, "in turn", method) == [
            (REFUSED, 1, 2)
        ]
        last = table(run, "drift").filter((pl.col("method") == method) & (pl.col("edits") == 3))
        assert last.filter(pl.col("metric") == "first")["n"].to_list()[0] == 2
    batch = table(run, "batch").filter((pl.col("asked") == "request") & (pl.col("metric") == "first"))
    assert dict(batch.select("method", "n").iter_rows()) == {"neuron_tuning": 2}
    assert json.loads((run / "manifest.json").read_text())["status"] == "complete"


def test_many_edits_are_judged_by_what_none_of_them_edits(tmp_path: Path) -> None:
    first, second = made_up(30), made_up(50)
    again = replace(first, request=replace(first.request, query=replace(first.request.query, uid="again"), new="w13"))
    # The neighbour of the first is what the second edits
    assert first.neighbours[0].prompt == second.request.query.prompt
    run = run_editing(tiny("gpt2"), [first, second, again], tmp_path / "run", Plan(("ft_m",), layers=0, tokens=0),
                      source="hand")  # fmt: skip
    assert json.loads((run / "manifest.json").read_text())["in_conflict"] == 1
    for name in ("in_turn", "together"):
        rows = table(run, name)
        assert set(rows["case"]) - {""} == {"case 30", "case 50"}
        assert set(rows.filter(pl.col("asked") == "neighbour")["case"]) == {"case 50"}
    assert set(table(run, "alone").filter(pl.col("asked") == "neighbour")["case"]) == {"case 30", "case 50", "again"}
    assert "another case asks for another object: 1 case" in page_of(run)


def test_cases_that_are_all_refused_leave_a_run_that_says_so(tmp_path: Path) -> None:
    plan = Plan(("kn", "ft_m"), layers=0, tokens=0)
    run = run_editing(tiny("gpt2"), [made_up(30, ""), made_up(31, "")], tmp_path / "run", plan, source="hand")
    assert ends(run, "alone", "kn") == [(REFUSED, 2, None)] and ends(run, "in turn", "kn") == [(REFUSED, 2, 1)]
    assert set(table(run, "drift")["method"]) == {"ft_m"}
    assert "the neurons of a known object are located, and none is given" in page_of(run)


@pytest.mark.slow
def test_a_method_that_destroys_the_model_ends_its_own_curve_only(tmp_path: Path) -> None:
    plan = Plan(("ft", "ft_m"), {"ft": {"rate": 1e36}}, layers=2, tokens=0)
    some = [made_up(30), made_up(31), made_up(32)]
    run = run_editing(tiny("gpt2"), some, tmp_path / "run", plan, source="hand", texts=("w3 w4 w5.",))
    assert ends(run, "alone", "ft") == [(COLLAPSED, 3, None)] and ends(run, "in turn", "ft") == [(COLLAPSED, 1, 1)]
    assert not ends(run, "in turn", "ft_m")
    assert set(table(run, "methods")["method"]) == {"ft_m"} == set(table(run, "drift")["method"])
    costs = table(run, "costs").filter(pl.col("method") == "ft")
    assert costs["refused"].to_list() == [3]


def test_a_query_that_cannot_be_read_is_no_refusal_of_the_method() -> None:
    lm, plan = tiny("gpt2"), Plan(("ft_m",), tokens=0)
    judging = read(lm, [made_up(30)], plan)
    unknown = replace(made_up(30), neighbours=(locant.query("w3 w5 w7", "no-such-word"),))
    with pytest.raises(BadQuery):
        edit_alone(lm, unknown, "ft_m", prepare(lm, "ft_m", {}), judging, plan)


@pytest.mark.slow
def test_a_model_of_another_shape_runs_whole(tmp_path: Path) -> None:
    asked = [
        EditCase(
            locant.edit_request(f"w3 w{place} w7", f"w{place}", "w11", old="w9", uid=f"case {place}"),
            paraphrases=(locant.query(f"w4 w{place} w8", "w9", subject=f"w{place}", fact=f"fact {place}"),),
            neighbours=(locant.query(f"w3 w{place + 20} w7", "w12", subject=f"w{place + 20}"),),
        )
        for place in (30, 31, 32)
    ]
    run = run_editing(tiny("bert"), asked, tmp_path / "bert", Plan(("ft_m",), tokens=0), source="hand")
    assert table(run, "methods")["n"].max() == 3 and table(run, "everywhere").is_empty()
    run = run_editing(tiny("gpt2"), asked, tmp_path / "gpt2", Plan(("ft_m",), tokens=0), source="hand")
    assert table(run, "everywhere")["layer"].n_unique() == 3


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UnknownName, match="no editing method 'ft_x'"):
        Plan(("ft_x",))
    with pytest.raises(UnknownName, match="in_turn is 0 or more"):
        Plan(in_turn=-1)
    with pytest.raises(UnknownName, match="one case or more"):
        run_editing(tiny("gpt2"), [], Path("never"), PLAN, source="hand")


def test_a_model_is_read_after_the_last_edit_whatever_their_number() -> None:
    assert steps(0) == () and steps(1) == (1,) and steps(7) == (1, 2, 5, 7) and steps(100)[-1] == 100
