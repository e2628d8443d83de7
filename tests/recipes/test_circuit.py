"""One prompt's circuit: its counterfactual, what it is worth beside its controls, and what its nodes do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

import locant
from commands import Command, in_process
from families import tiny
from locant.attributions.edges import Pair, lay_out_pairs
from locant.attributions.edges.ablations import ablation_of
from locant.errors import BadFile, BadQuery, UnknownName
from locant.evaluations.circuits import first_sites, read_nodes, written
from locant.models import LanguageModel
from locant.models.circuit_run import CircuitRun
from locant.recipes.circuit import counterfactual_to, trace_circuit
from locant.recipes.saved_circuit import save_traced
from locant.recipes.traced import Traced
from locant.reports.circuits import circuit_page
from locant.selections.circuits import load_circuit
from locant.types import Query

FRANCE = "The capital of France is"


def france(subject: str = "France") -> Query:
    return locant.query(FRANCE, "Paris", subject=subject)


@pytest.fixture(scope="module")
def traced() -> Traced:
    return trace_circuit(locant.load("almanac"), france(), edges=60)


@pytest.fixture
def locant_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, capsys)


def test_a_counterfactual_is_the_prompt_about_another_subject_in_as_many_tokens(almanac_lm: LanguageModel) -> None:
    other = counterfactual_to(almanac_lm, france())
    assert other.prompt == FRANCE.replace("France", other.fact.subject) and other.fact.subject != "France"
    assert len(almanac_lm.tokens(other).prompt) == len(almanac_lm.tokens(france()).prompt)
    assert almanac_lm.first_word(other.prompt) == other.answer != "Paris"


@pytest.mark.parametrize(
    ("query", "other", "said"),
    [
        (france(subject=""), None, "no counterfactual was found"),
        (france(), locant.query("The capital of the United Kingdom is", "London"), "both need as many"),
        (france(), locant.query("The capital of Italy is", "Paris"), "another answer"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    almanac_lm: LanguageModel, query: Query, other: Query | None, said: str
) -> None:
    with pytest.raises(BadQuery, match=said):
        trace_circuit(almanac_lm, query, other)


def test_a_method_or_metric_that_is_none_is_refused_with_those_there_are(almanac_lm: LanguageModel) -> None:
    with pytest.raises(UnknownName, match="eap_ig"):
        trace_circuit(almanac_lm, france(), method="magic")
    with pytest.raises(UnknownName, match="logit_difference"):
        trace_circuit(almanac_lm, france(), metric="magic")


def test_the_answer_stands_in_each_part_as_when_that_part_is_run_by_hand(
    traced: Traced, almanac_lm: LanguageModel
) -> None:
    graph, other = traced.circuit.graph, traced.counterfactual
    assert other is not None
    pair = Pair(traced.query, other)
    sites = lay_out_pairs(almanac_lm, [pair])
    run = CircuitRun(almanac_lm, graph, sites.clean, ablation_of("counterfactual", almanac_lm, graph, [pair])(sites))
    answer, foil = (almanac_lm.tokens(one).answers[0][0] for one in (traced.query, other))
    metrics = []
    for keep, standing in (
        (graph.edges, traced.standings.model),
        (traced.circuit.keep, traced.standings.circuit),
        (graph.edges & ~traced.circuit.keep, traced.standings.complement),
        (torch.zeros_like(graph.edges), traced.standings.empty),
    ):
        logits = run.logits(keep)[0, 0]
        assert standing is not None
        assert standing.probability == pytest.approx(float(logits.softmax(0)[answer]), rel=1e-4)
        assert standing.rank == 1 + int((logits > logits[answer]).sum())
        metrics.append(float(logits[answer] - logits[foil]))
    whole, own, _, empty = metrics
    assert traced.faithfulness.share == pytest.approx((own - empty) / (whole - empty), rel=1e-4)


def test_the_circuit_of_a_known_fact_keeps_it_and_the_rest_of_the_model_does_not(traced: Traced) -> None:
    standings = traced.standings
    assert len(traced.circuit) <= 60 and standings.circuit.rank == 1 and standings.circuit.probability > 0.9
    assert standings.complement is not None and standings.complement.probability < 0.01
    mean = sum(one.probability for one in standings.random) / len(standings.random)
    assert len(standings.random) == 20 and mean < standings.circuit.probability - 0.2


def test_every_node_is_read_and_heads_look_somewhere(traced: Traced) -> None:
    nodes = [one for one in traced.circuit.nodes if one != "output"]
    assert [one.node for one in traced.readings] == nodes
    for one in traced.readings:
        if one.node.startswith("a"):
            assert one.subject is not None and one.relation is not None
            assert 0 <= one.subject + one.relation <= 1 + 1e-5
    for pattern in traced.patterns:
        assert pattern.head in nodes and sum(pattern.weights) == pytest.approx(1, abs=1e-4)
        assert len(pattern.weights) == len(traced.tokens)
    assert traced.curve is not None
    assert traced.curve.answer[-1].probability == pytest.approx(traced.standings.model.probability, rel=1e-3)


def test_where_positions_are_told_apart_nodes_are_read_at_their_own(almanac_lm: LanguageModel) -> None:
    query = locant.query("The capital of France is called", "Paris", subject="France")
    traced = trace_circuit(almanac_lm, query, edges=120, spans=True)
    assert len(traced.circuit) <= 120 and traced.standings.circuit.rank == 1
    assert {one.node for one in traced.readings} | {"output"} == set(traced.circuit.nodes)
    at = {
        span: int(almanac_lm.subject_position(query)) + after
        for after, span in enumerate(("subject", "after", "last"))
    }
    graph = traced.circuit.graph
    seen = set()
    for one in traced.readings:
        own, _, span = one.node.partition("@")
        seen.add(span)
        sites = replace(first_sites(almanac_lm, [query]), position=torch.tensor([at[span]]))
        answer = torch.tensor([[almanac_lm.tokens(query).answers[0][0]]])
        by_hand = read_nodes(almanac_lm, written(almanac_lm, graph.plain, sites), answer, k=1)
        top = by_hand.top[0, graph.plain.sender(own), 0]
        assert one.tokens[0] == almanac_lm.text_of([int(top)]), one.node
        assert (one.subject is not None) == (one.node.startswith("a") and span == "last")
        assert not one.role or span == "last"
    assert seen == {"subject", "after", "last"}
    assert traced.patterns and all(one.head.endswith("@last") for one in traced.patterns)
    assert traced.made_by.settings["spans"] == "before, subject, after, last"
    assert "told apart: before, subject, after, last" in circuit_page(traced)


def test_a_model_that_knows_nothing_has_a_circuit_too() -> None:
    lm = tiny("gpt2")
    query = locant.query("w1 w2 w3", "w4")
    traced = trace_circuit(lm, query, locant.query("w1 w2 w5", "w6"), edges=5)
    assert 0 < len(traced.circuit) <= 5 and {one.node for one in traced.readings} <= set(traced.circuit.nodes)


def test_heads_have_roles_only_where_it_is_known_whom_the_prompt_is_about(
    traced: Traced, almanac_lm: LanguageModel
) -> None:
    heads = [one for one in traced.readings if one.node.startswith("a")]
    assert any(one.role for one in heads) and all(one.subject is not None for one in heads)
    nameless = trace_circuit(almanac_lm, france(subject=""), traced.counterfactual, edges=60)
    assert nameless.circuit.edges == traced.circuit.edges
    assert not any(one.role or one.confirmed for one in nameless.readings)
    assert all(one.subject is None and one.relation is None for one in nameless.readings)


def test_what_sees_a_subject_that_is_the_first_token_is_not_told() -> None:
    lm = tiny("gpt2")
    for subject, told in (("w1", False), ("w1 w2", True)):
        query = locant.query("w1 w2 w3", "w4", subject=subject)
        traced = trace_circuit(lm, query, locant.query("w9 w8 w3", "w6"), edges=60)
        heads = [one for one in traced.readings if one.node.startswith("a")]
        assert heads and {one.subject is not None for one in heads} == {told}
        assert all(one.relation is not None for one in heads) and circuit_page(traced)


@pytest.mark.parametrize("method", ["eap_ig", "eap_ig_activations", "exact"])
def test_no_counterfactual_is_asked_for_where_nothing_looks_at_one(method: str) -> None:
    lm, query = tiny("gpt2"), locant.query("w1 w2 w3", "w4")
    settings = {"method": method, "metric": "log_probability", "ablation": "zero", "edges": 20, "split": False}
    alone = trace_circuit(lm, query, **settings)
    paired = trace_circuit(lm, query, locant.query("w1 w2 w5", "w6"), **settings)
    assert alone.counterfactual is None and "other" not in alone.made_by.settings
    assert alone.circuit.edges == paired.circuit.edges and alone.faithfulness == paired.faithfulness
    assert "w1 w2 w3" in circuit_page(alone)
    for looked_at in ({"ablation": "counterfactual"}, {"metric": "logit_difference"}):
        with pytest.raises(BadQuery, match=r"was found .* 'zero' with the metric 'log_probability'"):
            trace_circuit(lm, query, **(settings | looked_at))


def test_a_folder_holds_the_circuit_in_every_form_and_nothing_elses(traced: Traced, tmp_path: Path) -> None:
    place = save_traced(traced, "<p>page</p>", tmp_path / "own")
    assert place.read_text() == "<p>page</p>"
    for ending in (".json", ".safetensors"):
        found = load_circuit(tmp_path / "own" / f"circuit{ending}")
        assert bool((found.keep == traced.circuit.keep).all()) and found.graph == traced.circuit.graph
    edges = pl.read_parquet(tmp_path / "own" / "tables" / "edges.parquet")
    named = [f"{sender}->{receiver}" for sender, receiver in zip(edges["sender"], edges["receiver"], strict=True)]
    assert tuple(named) == traced.circuit.edges and edges["score"].abs().is_sorted(descending=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(BadFile, match="something else"):
        save_traced(traced, "<p>page</p>", tmp_path / "other")


def test_the_command_says_what_the_circuit_is_worth_and_writes_its_page(locant_: Command, tmp_path: Path) -> None:
    ran = locant_("circuit", FRANCE, "--answer", "Paris", "--edges", "40", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and found["edges"] <= 40 and found["kept"]["circuit"]["rank"] == 1
    assert found["counterfactual"]["answer"] != "Paris" and len(found["random"]) == 20
    page = (tmp_path / found["page"]).read_text(encoding="utf-8")
    assert "Paris" in page and found["strongest"][0]["sender"] in page


def test_the_command_tells_positions_apart_where_the_subject_is_known(locant_: Command) -> None:
    ran = locant_("circuit", FRANCE, "--answer", "Paris", "--edges", "40", "--spans", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and found["edges"] <= 40 and "input@subject" in found["nodes"]


def test_what_is_not_shown_is_said_where_it_is_seen_first(locant_: Command) -> None:
    ran = locant_("circuit", FRANCE, "--answer", "London", "--counterfactual", "The capital of Italy is", "--rule",
                  "midpoint", "--steps", "2", "--edges", "10")  # fmt: skip
    assert ran.code == 0 and "The model says Paris; London is of rank" in ran.out
    assert "does not" in ran.out


def test_a_page_says_how_its_circuit_was_made(almanac_lm: LanguageModel) -> None:
    traced = trace_circuit(
        almanac_lm, france(), ablation="zero", settings={"rule": "midpoint", "steps": 2}, edges=20, command="locant 1"
    )
    made = traced.made_by.settings
    assert (made["rule"], made["choose"], made["ablation"]) == ("midpoint", "greedy", "zero")
    assert almanac_lm.first_word(str(made["other"])) == made["other_answer"] != "Paris"
    page = circuit_page(traced)
    assert "nothing is brought" in page and "locant 1" in page and "midpoint" in page and "logits" in page


@pytest.mark.slow
def test_a_counterfactual_is_the_same_in_every_process() -> None:
    code = (
        "import locant; from locant.recipes.circuit import counterfactual_to; lm = locant.load('almanac'); "
        f"print(counterfactual_to(lm, locant.query({FRANCE!r}, 'Paris', subject='France')).prompt)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("  ",), "the prompt is empty"),
        ((FRANCE, "--method", "magic"), "no method for edges 'magic'"),
        ((FRANCE, "--counterfactual", "The capital of the United Kingdom is"), "both need as many"),
        ((FRANCE, "--ablation", "magic"), "no ablation 'magic'"),
        (("Zyxw is", "--answer", "Paris"), "no counterfactual was found"),
        ((FRANCE, "--subject", "Frence"), "the subject 'Frence' is not in the prompt"),
        ((FRANCE, "--choose", "magic"), "no rule for circuits 'magic'"),
        (
            ("Zyxw is", "--answer", "Paris", "--spans"),
            "where the subject stands in 'Zyxw is': say what the subject is",
        ),
        ((FRANCE, "--ablation", "mean"), "the mean of one prompt is the prompt itself"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ran = locant_("circuit", *words)
    assert ran.code == 1 and said in ran.err and len(ran.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
