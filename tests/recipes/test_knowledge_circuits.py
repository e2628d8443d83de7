"""Knowledge circuits: what is drawn, found, run, read and compared, each held against the same done by hand."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

import locant
from commands import Command
from families import tiny
from locant import almanac
from locant.attributions.edges import METHODS, Pair, ablation_of, lay_out_pairs, swapped_pairs
from locant.cli.run.knowledge_circuits import run as circuits_command
from locant.errors import BadFile, LocantError, UnknownName
from locant.evaluations.circuits import MEASURES, faithfulness, overlap
from locant.interventions.editing import edit
from locant.models import LanguageModel, graph_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.weights import fingerprint
from locant.recipes.knowledge_circuits import (
    Plan,
    RelationPairs,
    draw_relations,
    run_knowledge_circuits,
    wordings_of,
)
from locant.recipes.knowledge_circuits.drawn import BEYOND, NOT_KNOWN, OTHER_WORDING, TOO_FEW, another, in_turn
from locant.recipes.knowledge_circuits.edited import (
    MOST_STEPS,
    REFUSED,
    UNEDITED,
    EditedFact,
    compare_edits,
    edit_cases,
    editings,
)
from locant.recipes.knowledge_circuits.found import compare_with_exact, edge_scores, score_edges, scores_of
from locant.recipes.knowledge_circuits.judged import CIRCUIT, NOTHING, WHOLE, circuits_of, judge_relation
from locant.recipes.knowledge_circuits.judged import RANDOM as RANDOM_CIRCUITS
from locant.recipes.knowledge_circuits.means import completeness_rows, edit_rows, refused_rows, shown_rows
from locant.recipes.knowledge_circuits.shared import chains, known_chains, reverse_rows
from locant.recipes.knowledge_circuits.shown import (
    METRIC,
    NEW,
    SHOWN,
    Demonstration,
    Shown,
    cut_new_heads,
    show_facts,
)
from locant.recipes.knowledge_circuits.shown import RANDOM as RANDOM_HEADS
from locant.recipes.knowledge_circuits.streams import stream_rows
from locant.recipes.knowledge_circuits.wrong import (
    BLAMED,
    RANDOM,
    RIGHT,
    WRONG,
    asked_pairs,
    asked_rows,
    cut,
    follow,
    wrong_and_right,
)
from locant.selections.circuits import choose
from locant.types import EditRequest, Query
from plain_circuits import SERVED

TABLES = {
    "relations", "edges", "judged", "completeness", "faithfulness", "exact", "agreement", "overlap", "reverse",
    "streams", "stream", "heads", "edited", "edits", "refused", "asked", "wrong", "errors", "shown", "demonstrations",
    "chains", "hops",
}  # fmt: skip
SMALL = Plan(
    settings={"steps": 2}, share=0.1, shares=(0.3,), random_circuits=2, exact=0, edits=0, hallucinations=2,
    demonstrations=8, hops=4,
)  # fmt: skip
QUICK = replace(SMALL, demonstrations=0, hops=0)


@cache
def relations() -> tuple[RelationPairs, ...]:
    return draw_relations(locant.load("almanac"), "almanac", relations=("capital", "city_country"), limit=8).relations


@cache
def wordings() -> tuple[Query, ...]:
    """Each is asked for the answer of a later one, and half of them may say their own."""
    told = [almanac.queries(one, "en")[:80] for one in ("capital", "city_country")]
    return tuple(
        replace(one, answer=own[at - 50].answer, alternatives=(one.answer,) if at % 2 else ())
        for own in told
        for at, one in enumerate(own)
    )


def run_into(folder: Path, plan: Plan = QUICK, **more: object) -> Path:
    settings = {"source": "almanac", "wordings": wordings()} | more
    return run_knowledge_circuits(locant.load("almanac"), relations(), folder, plan, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_into(tmp_path_factory.mktemp("circuits") / "run")


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / "tables" / f"{name}.parquet")


def asked(subject: int, answer: str, relation: str = "of", **more: object) -> Query:
    text = {"subject": f"w{subject}", "object": answer.split("|")[0], "relation": relation}
    return locant.query(
        f"w3 w{subject} w7", answer, uid=f"{relation}/{subject}", fact=f"{relation}/{subject}", **text
    )


def words(lm: LanguageModel, relation: str = "of", first: int = 10, answers: int = 9) -> RelationPairs:
    """A relation over numbered words, with as many answers."""
    queries = [asked(first + at, f"w{60 + at % answers}", relation) for at in range(10)]
    validation, test = (tuple(swapped_pairs(lm, half)) for half in (queries[:4], queries[4:]))
    return RelationPairs(relation, "invented", validation, test, {})


# What is drawn


def next_token(lm: LanguageModel, query: Query) -> Tensor:
    with torch.no_grad():
        return lm.model(torch.tensor([lm.tokens(query).prompt])).logits[0, -1]


def test_relations_hold_what_the_model_knows_in_two_halves_each_with_partners_of_its_own() -> None:
    lm = locant.load("almanac")
    (found,) = draw_relations(lm, "almanac", relations=["city_country"], limit=None, known=1).relations
    halves = [{pair.query.uid for pair in half} for half in (found.validation, found.test)]
    assert halves[0] and halves[1] and not halves[0] & halves[1] and found.kind == "factual"
    for half, uids in zip((found.validation, found.test), halves, strict=True):
        for pair in half:
            assert pair.other.uid in uids and pair.other.answer != pair.query.answer
            assert len(lm.tokens(pair.other).prompt) == len(lm.tokens(pair.query).prompt)
    assert len({pair.query.template for pair in (*found.validation, *found.test)}) == 1
    for pair in found.test[:8]:
        logits = next_token(lm, pair.query)
        assert int(logits.argmax()) == lm.tokens(pair.query).answers[0][0]


@pytest.mark.slow
def test_a_limit_keeps_the_first_and_every_fact_is_counted_once() -> None:
    lm = locant.load("almanac")
    drawn = (draw_relations(lm, "almanac", relations=["city_country"], limit=limit) for limit in (4, None))
    some, whole = (one.relations[0] for one in drawn)
    assert (some.validation, some.test) == (whole.validation[:4], whole.test[:4])
    facts = len({one.fact.uid for one in almanac.queries("city_country", "en")})
    assert sum(some.left_out.values()) + 8 == facts
    assert sum(whole.left_out.values()) + len(whole.validation) + len(whole.test) == facts


def test_what_the_model_does_not_know_is_left_out_and_counted(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    told = [one for one in almanac.queries("capital", "en") if one.prompt.startswith("The capital of")]
    rows = [
        {"uid": one.uid, "prompt": one.prompt, "answer": "Rome" if at < 3 else one.answer, "relation": "capital",
         "subject": one.fact.subject, "fact": one.fact.uid, "template": "The capital of"}
        for at, one in enumerate(one for one in told if one.answer != "Rome")
    ][:60]  # fmt: skip
    rows.append(rows[-1] | {"uid": "other", "fact": "other", "template": "another"})
    rows += [row | {"uid": f"few/{at}", "fact": f"few/{at}", "relation": "few"} for at, row in enumerate(rows[20:24])]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    drawn = draw_relations(lm, str(tmp_path / "asked.jsonl"), limit=None, known=1)
    (found,) = drawn.relations
    assert found.left_out[NOT_KNOWN.format(1)] == 3 and found.left_out[OTHER_WORDING] == 1 and found.kind == ""
    assert sum(drawn.left_out.values()) == sum(found.left_out.values()) + 4 and drawn.left_out[TOO_FEW] > 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"prompt": "The capital of France is", "answer": "Paris"}],
            "names no relation, and circuits are of relations",
        ),
        (
            [{"prompt": "The capital of France is", "answer": "Paris", "relation": "capital"}],
            r"too few facts of 'capital' for two halves of 4 pairs: 0 and 0 \(no other subject .*: 1\)",
        ),
    ],
)
def test_data_that_make_no_circuits_are_refused_in_a_sentence(
    rows: list[dict[str, str]], said: str, tmp_path: Path
) -> None:
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UnknownName, match=said):
        draw_relations(locant.load("almanac"), str(tmp_path / "asked.jsonl"))


def test_too_small_a_limit_and_relations_that_are_not_there_are_refused() -> None:
    lm = locant.load("almanac")
    with pytest.raises(UnknownName, match="a limit of 3 pairs is too few: each half needs 4"):
        draw_relations(lm, "almanac", limit=3)
    with pytest.raises(UnknownName, match="no relation 'planets' in the almanac"):
        draw_relations(lm, "almanac", relations=["capital", "planets"])


def lre(folder: Path, name: str, kind: str, samples: Sequence[tuple[str, str]]) -> str:
    relation = {
        "prompt_templates": ["{} is ruled from"],
        "prompt_templates_zs": ["The capital of {} is"],
        "properties": {"relation_type": kind},
        "samples": [{"subject": subject, "object": said} for subject, said in samples],
    }
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / f"{name}.json").write_text(json.dumps(relation))
    return f"lre:{folder}"


def test_lre_is_read_with_kinds_wordings_alternatives_and_names_of_several_words(tmp_path: Path) -> None:
    lm = locant.load("almanac")
    told = [(one.fact.subject, one.answer) for one in almanac.queries("capital", "en")]
    capitals = list(dict.fromkeys(told))[:60]
    source = lre(tmp_path, "capital", "factual", [*capitals, (capitals[0][0], "New Delhi "), ("Peru", "Cusco")])
    lre(tmp_path, "few", "bias", capitals[:3])
    (found,) = draw_relations(lm, source, limit=None, known=None).relations
    assert (found.name, found.kind) == ("capital", "factual")
    queries = {pair.query.fact.subject: pair.query for pair in (*found.validation, *found.test)}
    assert len(queries) == len(found.validation) + len(found.test) > 20
    first = queries[capitals[0][0]]
    assert (first.answer, first.alternatives) == (capitals[0][1], ("New Delhi",))
    assert {one.template for one in queries.values()} == {"The capital of {} is"}
    asked_all_ways = wordings_of(lm, source, ["capital"])
    assert {one.template for one in asked_all_ways} == {"The capital of {} is", "{} is ruled from"}
    with pytest.raises(UnknownName, match="too few facts of 'few' for two halves"):
        draw_relations(lm, source, relations=["few"], known=None)


# Scores and circuits run


def by_hand(lm: LanguageModel, graph: Graph, pair: Pair, keep: Tensor, ablation: str = "counterfactual") -> Tensor:
    """Logits where a query's answer begins, in one circuit."""
    sites = lay_out_pairs(lm, [pair])
    run = CircuitRun(lm, graph, sites.clean, ablation_of(ablation, lm, graph, [pair])(sites))
    return run.logits(keep)[0, 0]


def test_scores_come_back_from_the_table_as_they_were() -> None:
    lm, plan = tiny("llama"), SMALL
    graph, one = graph_of(lm), words(lm)
    edges = pl.concat([score_edges(lm, graph, words(lm, "by", 20), plan), score_edges(lm, graph, one, plan)])
    expected = METHODS["eap_ig"](lm, graph, one.validation, steps=2)
    found = scores_of(lm, graph, one, edges, plan)
    assert torch.equal(found.values, expected.values)
    assert found.made_by.settings["steps"] == 2 and found.pairs == one.validation


def test_a_relation_is_judged_as_each_of_its_circuits_by_hand_on_each_of_its_facts() -> None:
    lm = tiny("gpt2")
    graph, one = graph_of(lm), words(lm)
    plan = replace(SMALL, share=0.3, shares=(0.1,))
    own = circuits_of(edge_scores(lm, graph, one.validation, plan), plan)
    rows = judge_relation(lm, one, own, {}, plan)
    drawn = rows.filter(pl.col("circuit") == "random").group_by("share").agg(pl.col("draw").unique().sort())
    assert dict(drawn.iter_rows()) == {0.1: [0, 1], 0.3: [0, 1]}
    keeps = {NOTHING: torch.zeros_like(graph.edges), WHOLE: graph.edges, CIRCUIT: own[0.3].keep}
    answers = {60 + at for at in range(9)}
    for half in ("validation", "test"):
        pairs = getattr(one, half)
        for what, keep in keeps.items():
            mine = rows.filter((pl.col("half") == half) & (pl.col("circuit") == what) & (pl.col("share") != 0.1))
            assert mine["query"].to_list() == [pair.query.uid for pair in pairs]
            for at, (pair, row) in enumerate(zip(pairs, mine.to_dicts(), strict=True)):
                logits = by_hand(lm, graph, pair, keep)
                answer = lm.tokens(pair.query).answers[0][0]
                assert row["rank"] == int((logits > logits[answer]).sum())
                assert row["candidate_rank"] == sum(bool(logits[other] > logits[answer]) for other in answers)
                assert row["log_probability"] == pytest.approx(float(logits.log_softmax(0)[answer]), abs=1e-4)
                if at < len(one.validation):
                    label = lm.tokens(one.validation[at].query).answers[0][0]
                    assert row["label_rank"] == int((logits > logits[label]).sum())
                else:
                    assert row["label_rank"] is None


def test_means_stand_in_for_all_of_a_half_whatever_labels_there_are() -> None:
    lm = tiny("gpt2")
    graph, one = graph_of(lm), words(lm)
    plan = replace(SMALL, ablation="mean", share=0.3, shares=(0.1,))
    scores = edge_scores(lm, graph, one.validation, plan)
    rows = judge_relation(lm, one, circuits_of(scores, plan), {}, plan)
    expected = faithfulness(lm, scores, one.test, shares=(0.1, 0.3), ablation="mean").values[:, 2]
    mine = rows.filter((pl.col("half") == "test") & (pl.col("circuit") == CIRCUIT) & (pl.col("share") == 0.3))
    assert len(one.test) > len(one.validation)
    assert mine["logit_difference"].to_list() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.slow
def test_agreement_with_cutting_is_of_the_method_as_it_is_set() -> None:
    lm = tiny("gpt2")
    graph, one = graph_of(lm, split=False), words(lm)

    def spearman(**settings: int) -> dict[str, float]:
        rows = compare_with_exact(lm, graph, one, Plan(settings=settings, exact=2))
        return dict(rows.select("method", "spearman").iter_rows())

    one_step, default = spearman(steps=1), spearman()
    assert one_step["eap_ig"] == pytest.approx(one_step["eap"], abs=1e-6) and one_step["eap_ig"] != default["eap_ig"]
    assert one_step["relp"] == default["relp"]


# The tables of a run


def test_a_run_has_every_table_and_says_that_it_is_complete(run: Path) -> None:
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["status"], manifest["relations"], manifest["facts"]) == ("complete", 2, 32)
    assert manifest["settings"]["settings"] == {"steps": 2}
    empty = {name for name in TABLES if not len(table(run, name))}
    assert empty == TABLES - {
        "relations", "edges", "judged", "completeness", "faithfulness", "overlap", "streams", "stream", "heads",
        "asked", "wrong", "errors",
    }  # fmt: skip


def test_completeness_is_the_mean_over_facts_of_each_relation_of_each_kind_and_of_all(run: Path) -> None:
    judged = table(run, "judged").filter((pl.col("half") == "test") & (pl.col("circuit") == "random"))
    hits = (judged.filter(pl.col("share") == 0.1)["rank"] < 10).to_list()
    released = (judged.filter(pl.col("share") == 0.1)["label_rank"] < 10).to_list()
    rows = table(run, "completeness").filter((pl.col("half") == "test") & (pl.col("circuit") == "random"))
    found = {(row["level"], row["group"], row["metric"]): row for row in rows.to_dicts()}
    assert found["all", "all", "hit"]["mean"] == pytest.approx(sum(hits) / len(hits))
    assert found["all", "all", "released"]["mean"] == pytest.approx(sum(released) / len(released))
    assert (found["all", "all", "hit"]["n"], found["relation", "capital", "hit"]["n"]) == (16, 8)
    assert {group for level, group, _ in found if level == "kind"} == {"factual"}
    # Two relations are few: intervals are over their circuits, each with its facts
    assert (found["all", "all", "hit"]["relations"], found["relation", "capital", "hit"]["relations"]) == (1, 1)


def ranked(circuit: str, ranks: dict[tuple[str, int], int]) -> pl.DataFrame:
    """What a circuit says of 30 facts of each relation and draw, all of one rank."""
    rows = [
        {"relation": name, "half": "test", "circuit": circuit, "share": 0.1, "draw": draw, "edges": 9,
         "query": f"{name}/{at}", "rank": rank, "candidate_rank": rank, "label_rank": None,
         "log_probability": -float(rank)}
        for (name, draw), rank in ranks.items()
        for at in range(30)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"label_rank": pl.Int64})


def test_means_over_six_relations_are_only_as_sure_as_these_are_alike() -> None:
    made = ranked(CIRCUIT, {(name, 0): 20 if name in "ef" else 0 for name in "abcdef"})
    found = {
        (row["group"], row["metric"]): row
        for row in completeness_rows(made, {"a": "bias", "b": "bias", **dict.fromkeys("cdef", "")}, SMALL)
    }
    whole, bias, one = (found[name, "hit"] for name in ("all", "bias", "a"))
    assert (whole["mean"], whole["n"], whole["relations"]) == (pytest.approx(2 / 3), 180, 6)
    assert whole["low"] < 0.25 and whole["high"] == 1.0
    assert (one["mean"], one["n"], one["high"]) == (1.0, 30, 1.0) and one["low"] == pytest.approx(0.886, abs=1e-3)
    # Two relations are few: what is said is said of their facts
    assert (bias["mean"], bias["n"], bias["relations"]) == (1.0, 60, 1) and bias["low"] > one["low"]
    assert ("all", "released") not in found
    assert found["a", "log_probability"]["low"] == found["a", "log_probability"]["mean"] == 0


def test_random_circuits_are_only_as_sure_as_draws_are_alike() -> None:
    made = ranked(RANDOM_CIRCUITS, {("a", draw): 0 if draw < 3 else 20 for draw in range(5)})
    found = {row["metric"]: row for row in completeness_rows(made, {"a": ""}, SMALL) if row["level"] == "relation"}
    hit = found["hit"]
    assert (hit["mean"], hit["n"], hit["relations"]) == (pytest.approx(0.6), 30, 1)
    assert hit["low"] == 0 and hit["high"] == 1
    alike = ranked(RANDOM_CIRCUITS, {("a", draw): 0 for draw in range(5)})
    assert next(row for row in completeness_rows(alike, {"a": ""}, SMALL) if row["metric"] == "hit")["low"] > 0.8


def test_the_whole_model_says_what_was_drawn_for_being_known_and_not_the_labels_of_others(run: Path) -> None:
    rows = table(run, "completeness").filter(
        (pl.col("circuit") == WHOLE) & (pl.col("level") == "all") & (pl.col("half") == "test")
    )
    mean = dict(rows.select("metric", "mean").iter_rows())
    assert mean["hit"] == 1.0 and mean["released"] < 1.0
    own = table(run, "judged").filter(pl.col("half") == "validation")
    assert (own["rank"] == own["label_rank"]).all()


@pytest.mark.parametrize("half", ["validation", "test"])
def test_faithfulness_is_that_of_the_relations_scores_on_each_half(run: Path, half: str) -> None:
    lm, one = locant.load("almanac"), relations()[0]
    scores = scores_of(lm, graph_of(lm), one, table(run, "edges"), SMALL)
    curve = faithfulness(lm, scores, getattr(one, half), shares=(0.1, 0.3)).curve
    rows = table(run, "faithfulness").filter(
        (pl.col("relation") == one.name) & (pl.col("half") == half) & (pl.col("circuit") == CIRCUIT)
    )
    kept = rows.filter(pl.col("what") == "kept")
    assert kept["share"].to_list() == [0.1, 0.3]
    assert kept["mean"].to_list() == pytest.approx([one.mean for one in curve.kept], abs=1e-4)
    areas = dict(rows.filter(pl.col("what") != "kept").select("what", "mean").iter_rows())
    assert areas == pytest.approx({"cpr": curve.cpr.mean, "cmd": curve.cmd.mean}, abs=1e-4)


def test_overlaps_are_those_of_two_relations_circuits_each_way(run: Path) -> None:
    lm = locant.load("almanac")
    graph = graph_of(lm)
    size = round(0.1 * int(graph.edges.sum()))
    first, second = (choose(scores_of(lm, graph, one, table(run, "edges"), SMALL), size) for one in relations())
    found = {(row["relation"], row["measure"]): row for row in table(run, "overlap").iter_rows(named=True)}
    expected = overlap(first, second, draws=1)
    assert found["capital", "nodes"]["observed"] == pytest.approx(expected.nodes.observed)
    assert found["city_country", "edges"]["observed"] == pytest.approx(overlap(second, first, draws=1).edges.observed)
    assert min(row["p"] for row in found.values()) < 0.05  # draws enough to tell


@pytest.mark.slow
def test_two_steps_are_held_against_each_step_and_no_relation_is_left_for_the_rest(tmp_path: Path) -> None:
    run = run_into(tmp_path / "run", SMALL)
    assert len(table(run, "demonstrations"))
    hops = table(run, "hops")
    assert set(hops["of"]) == {"first", "second", "both"} and set(hops["facts"]) == {4}
    assert set(hops.select("first", "second").iter_rows()) == {("city_country", "capital")}
    edges = dict(hops.filter(pl.col("measure") == "edge_jaccard").select("of", "observed").iter_rows())
    assert 0 < edges["first"] < 1 and 0 < edges["second"] < 1


# Reverses


def test_another_relation_shares_neither_answers_nor_subjects_where_there_is_one() -> None:
    lm = tiny("gpt2")
    first, alike = words(lm, "of", 10), words(lm, "by", 30)
    others = swapped_pairs(lm, [asked(40 + at, f"w{80 + at % 9}", "apart") for at in range(8)])
    apart = RelationPairs("apart", "", tuple(others[:4]), tuple(others[4:]), {})
    assert another(first, [first, alike, apart], 0) is apart and another(first, [first, alike], 0) is alike
    assert another(first, [first], 0) is None


def test_relations_are_reverses_where_four_facts_are_there_both_ways() -> None:
    lm = tiny("gpt2")
    first = words(lm, "of", 10)
    facts = [pair.query.fact for pair in (*first.validation, *first.test)]
    back = [asked(int(fact.object[1:]), f"W{fact.subject[1:]}".lower(), "back") for fact in facts[:9]]
    pairs = tuple(swapped_pairs(lm, back))
    reverse = RelationPairs("back", "", pairs[:5], pairs[5:], {})
    other = words(lm, "by", 30)
    values = {("of", "back"): 0.9, ("back", "of"): 0.7, ("of", "by"): 0.1, ("by", "of"): 0.3, ("by", "back"): 0.2,
              ("back", "by"): 0.2}  # fmt: skip
    shared = pl.DataFrame(
        [
            {"relation": one, "other": its, "measure": "nodes", "observed": value, "expected": 0.0, "p": 1.0}
            for (one, its), value in values.items()
        ]
    )
    rows = list(reverse_rows([first, reverse, other], shared))
    assert [(row["relation"], row["other"], row["observed"]) for row in rows] == [
        ("of", "back", 0.9),
        ("back", "of", 0.7),
    ]
    assert {row["facts"] for row in rows} == {9} and {row["pairs"] for row in rows} == {4}
    assert [row["elsewhere"] for row in rows] == pytest.approx([0.2, 0.2])
    few = replace(reverse, validation=pairs[:2], test=pairs[2:3])
    assert list(reverse_rows([first, few, other], shared)) == []
    assert {row["facts"] for row in reverse_rows([first, few, other], shared, back)} == {9}


# Answers on the way


def test_a_query_without_a_subject_has_the_stream_of_its_answer_alone() -> None:
    lm = tiny("gpt2")
    nameless = locant.query("w3 w11 w7", "w4", uid="nameless")
    rows = list(stream_rows(lm, graph_of(lm), [asked(10, "w60"), nameless]))
    alone = list(stream_rows(lm, graph_of(lm), [nameless]))
    assert {(row["query"], row["of"]) for row in rows} == {
        ("of/10", "answer"),
        ("of/10", "subject"),
        ("nameless", "answer"),
    }
    assert [row for row in rows if row["query"] == "nameless"] == alone
    logits = lm.site_logits(lm.sites([(lm.tokens(nameless), (4,))]))[0]
    assert alone[-1]["probability"] == pytest.approx(float(logits.softmax(0)[4]), rel=1e-4)


# Facts said wrong


def test_what_is_got_wrong_and_right_is_of_the_same_relations_and_of_as_many_facts() -> None:
    lm = locant.load("almanac")
    found = wrong_and_right(lm, wordings(), replace(SMALL, hallucinations=6))
    for kind, some in found.items():
        assert len({pair.query.fact.uid for pair in some}) == len(some) == 6
        assert [pair.query.relation for pair in some] == ["capital", "city_country"] * 3 or [
            pair.query.relation for pair in some
        ] == ["city_country", "capital"] * 3
        for pair in some:
            said = int(next_token(lm, pair.query).argmax())
            assert (said in {answer[0] for answer in lm.tokens(pair.query).answers}) == (kind == RIGHT)
    assert wrong_and_right(lm, wordings()[:1], SMALL) == {WRONG: [], RIGHT: []}
    pairs = [(kind, pair) for kind, some in found.items() for pair in some]
    assert asked_pairs(asked_rows(found, wordings()), wordings()) == pairs
    assert asked_pairs(pl.DataFrame(), ()) == []


def test_the_head_to_blame_says_the_wrong_answer_most_and_is_cut_as_by_hand() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    pair = Pair(asked(10, "w60"), asked(11, "w61"))
    logits = next_token(lm, pair.query)
    answer, instead = lm.tokens(pair.query).answers[0][0], int(logits.argmax())
    assert instead != answer
    rows = follow(lm, graph, WRONG, pair, SMALL)
    # What a head adds: its part of the stream through the norm's scale, by the difference of two unembeddings
    sent: dict[int, Tensor] = {}
    hooks = [
        block.attn.c_proj.register_forward_pre_hook(lambda module, args, at=at: sent.update({at: args[0][0, -1]}))
        for at, block in enumerate(lm.blocks)
    ]
    next_token(lm, pair.query)
    for hook in hooks:
        hook.remove()
    weight = lm.model.get_output_embeddings().weight
    toward = (weight[instead] - weight[answer]) * lm.model.transformer.ln_f.weight
    said = {}
    for at, block in enumerate(lm.blocks):
        for head in range(4):
            span = slice(8 * head, 8 * head + 8)
            wrote = sent[at][span] @ block.attn.c_proj.weight[span]
            said[at, head] = float((wrote - wrote.mean()) @ toward)
    layer, head = max(said, key=said.__getitem__)
    blamed = rows.filter(pl.col("of") == BLAMED)
    assert set(blamed["place"]) == {layer}

    def margin(*heads: int) -> float:
        found = by_hand(lm, graph, pair, cut(graph, [graph.head_sender(layer, one) for one in heads]))
        return float(found[answer] - found[instead])

    row = blamed.filter(pl.col("what") == "margin").row(0, named=True)
    assert (row["before"], row["after"]) == pytest.approx((margin(), margin(head)), abs=1e-4)
    others = rows.filter((pl.col("of") == RANDOM) & (pl.col("what") == "margin"))["after"].item()
    assert others == pytest.approx(sum(margin(one) for one in range(4) if one != head) / 3, abs=1e-4)
    ranks = rows.filter((pl.col("of") == "instead") & (pl.col("what") == "rank"))
    assert ranks["after"].to_list()[-1] == 0


def test_a_mean_over_one_query_does_not_stand_in_for_it() -> None:
    lm = tiny("gpt2")
    pair = Pair(asked(10, "w60"), asked(11, "w61"))
    rows = follow(lm, graph_of(lm), WRONG, pair, replace(SMALL, ablation="mean"))
    row = rows.filter((pl.col("of") == BLAMED) & (pl.col("what") == "margin")).row(0, named=True)
    assert abs(row["after"] - row["before"]) > 1e-3
    assert Plan(ablation="zero").alone.ablation == "zero" and Plan(ablation="mean").alone.ablation == "counterfactual"


# Demonstrations


def test_facts_are_shown_others_that_give_nothing_away_in_as_many_tokens() -> None:
    lm = locant.load("almanac")
    way = Demonstration("{subject} ->")
    for one in relations():
        halves = show_facts(lm, one, relations(), way, SMALL)
        asked_of = {half: {pair.query.fact.subject for pair in getattr(one, half)} for half in halves}
        for half, shown in halves.items():
            assert len(shown.alone) == len(shown.after) > 0
            other = asked_of["test" if half == "validation" else "validation"]
            for alone, after in zip(shown.alone, shown.after, strict=True):
                fact = alone.query.fact
                assert alone.query.prompt == f"{fact.subject} ->" and alone.other.fact != fact
                demonstrations = []
                for side in (after.query, after.other):
                    demonstration, question = side.prompt.split("\n")
                    assert question == alone.query.prompt and side.answer == alone.query.answer
                    assert fact.subject not in demonstration and fact.object not in demonstration
                    demonstrations.append(demonstration.split(" ->")[0])
                assert demonstrations[0] in other and demonstrations[1] not in asked_of["validation"] | other
                for pair in (alone, after):
                    assert len(lm.tokens(pair.query).prompt) == len(lm.tokens(pair.other).prompt)


def test_a_fact_is_not_shown_its_reverse() -> None:
    lm = tiny("gpt2")
    there, back = ([asked(10 + at, f"w{20 + at}"), asked(20 + at, f"w{10 + at}")] for at in (0, 1))
    halves = [tuple(swapped_pairs(lm, [one[at] for one in (there, back)])) for at in (0, 1)]
    one = RelationPairs("of", "", halves[0], halves[1], {})
    found = show_facts(lm, one, [one, words(lm, "by", 40)], Demonstration(None), SMALL)
    prompts = [pair.query.prompt for pair in found["validation"].after]
    assert prompts == ["w3 w21 w7 w11\nw3 w10 w7", "w3 w20 w7 w10\nw3 w11 w7"]


def test_new_heads_are_of_the_circuit_with_a_demonstration_and_not_of_the_one_without() -> None:
    lm = locant.load("almanac")
    graph, one = graph_of(lm), relations()[0]
    halves = show_facts(lm, one, relations(), Demonstration("{subject} ->"), SMALL)
    rows = cut_new_heads(lm, graph, one, halves, SMALL)
    size = round(0.1 * int(graph.edges.sum()))

    def heads(pairs: Sequence[Pair]) -> set[str]:
        scores = METHODS["eap_ig"](lm, graph, pairs, steps=2, metric=METRIC)
        return {name for name in choose(scores, size).nodes if name.startswith("a")}

    new = heads(halves["validation"].after) - heads(halves["validation"].alone)
    named = {what: set(own["heads"]) for (what,), own in rows.group_by("set")}
    assert new and {frozenset(one.split(", ")) for one in named[NEW]} == {frozenset(new)} and named[SHOWN] == {""}
    layers = sorted(name.split(".")[0] for name in new)
    for drawn in named[RANDOM_HEADS]:
        assert not set(drawn.split(", ")) & new
        assert sorted(name.split(".")[0] for name in drawn.split(", ")) == layers
    pair = halves["test"].after[0]
    keep = cut(graph, [graph.sender(name) for name in new])
    own = rows.filter((pl.col("set") == NEW) & (pl.col("query") == pair.query.uid))
    tokens = lm.tokens(pair.query).answers[0]
    if len(tokens) == 1:
        expected = float(by_hand(lm, graph, pair, keep).softmax(0)[tokens[0]])
        assert own["probability"].item() == pytest.approx(expected, rel=1e-3)
    means = {(row["level"], row["set"], row["measure"]): row for row in shown_rows(rows, SMALL)}
    whole, left = (rows.filter(pl.col("set") == what)["probability"].mean() for what in (SHOWN, NEW))
    assert means["all", NEW, "lost"]["mean"] == pytest.approx(whole - left)
    assert means["all", NEW, "probability"]["heads"] == len(new)


def test_nothing_is_said_of_demonstrations_where_no_other_relation_has_one() -> None:
    lm = tiny("gpt2")
    one = words(lm)
    halves = show_facts(lm, one, [one], Demonstration(None), SMALL)
    assert halves == {"validation": Shown((), ()), "test": Shown((), ())}
    assert cut_new_heads(lm, graph_of(lm), one, halves, SMALL).is_empty()


# Edits


def test_a_fact_is_edited_to_what_is_neither_its_own_nor_its_counterfactuals_object() -> None:
    lm = tiny("gpt2")
    one = words(lm)
    cases = edit_cases(lm, one)
    assert [case.pair for case in cases] == list(one.test)
    assert all(case.new not in (case.pair.query.answer, case.pair.other.answer) for case in cases)
    assert len({case.new for case in cases}) > 1
    assert edit_cases(lm, words(lm, answers=2)) == []


@pytest.mark.slow
def test_circuits_after_edits_are_those_of_the_edited_model_which_is_then_as_it_was() -> None:
    lm = tiny("gpt2")
    graph, one = graph_of(lm), words(lm)
    order = next_token(lm, one.test[0].query).argsort(descending=True).tolist()
    second = next(one for one in order if one < 60)
    case = EditedFact(one.test[0], f"w{second}")
    before = fingerprint(lm.model)
    rows = compare_edits(lm, graph, one, case, SMALL)
    assert fingerprint(lm.model) == before

    def said() -> list[bool]:
        queries = [pair.query for pair in (*one.validation, *one.test) if pair != case.pair]
        return [int(next_token(lm, query).argmax()) == second for query in (case.pair.query, *queries)]

    def circuit(pair: Pair) -> set[str]:
        scores = METHODS["eap_ig"](lm, graph, [pair], steps=2)
        return set(choose(scores, round(0.1 * int(graph.edges.sum()))).edges)

    old, unedited = circuit(case.pair), said()
    with edit(lm, [EditRequest(case.pair.query, case.new)], "ft_m", layer=0, steps=MOST_STEPS):
        edited = said()
        new = circuit(Pair(replace(case.pair.query, answer=case.new), case.pair.other))
        probability = float(next_token(lm, case.pair.query).softmax(0)[second])
    found = rows.filter(pl.col("edit") == "ft_m, layer 0")
    values = dict(found.filter(pl.col("place").is_null()).select("what", "value").iter_rows())
    spilled = [late and not early for early, late in zip(unedited[1:], edited[1:], strict=True)]
    assert values["said"] == float(edited[0]) and values["spilled"] == pytest.approx(sum(spilled) / 9)
    assert values["edges"] == pytest.approx(len(old & new) / len(old | new))
    last = found.filter(pl.col("what") == "probability")["value"].to_list()[-1]
    assert last == pytest.approx(probability, rel=1e-3)
    assert set(rows["edit"]) >= {UNEDITED, "ft_m, layer 0", "ft_m, layer 2"}


@pytest.mark.slow
def test_an_edit_that_cannot_be_made_is_counted_with_its_reason_and_weighs_in_no_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny("gpt2")
    graph, one = graph_of(lm, split=False), words(lm)
    cases = edit_cases(lm, one)[:2]

    def refusing(lm: LanguageModel, requests: Sequence[EditRequest], method: str, **settings: object) -> object:
        if method == "rome" and requests[0].query == cases[1].pair.query:
            raise LocantError("the subject is nowhere")
        return edit(lm, requests, method, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("locant.recipes.knowledge_circuits.edited.edit", refusing)
    made, refused = (compare_edits(lm, graph, one, case, SMALL) for case in cases)
    own = refused.filter(pl.col("edit") == "rome")
    assert own.select("what", "value", "why").rows() == [(REFUSED, 1.0, "the subject is nowhere")]
    both = pl.concat([made, refused])
    (row,) = refused_rows(both)
    assert row == {"edit": "rome", "why": "the subject is nowhere", "facts": 1, "tried": 2}
    said = {row["edit"]: row["n"] for row in edit_rows(both, SMALL) if row["what"] == "said"}
    assert (said["rome"], said["ft_m, layer 0"]) == (1, 2)
    assert list(refused_rows(pl.DataFrame())) == []


# Going on, other models, refusals


def test_a_resumed_run_asks_nothing_again_and_ends_in_the_same_bytes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(folder: str) -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (run / folder).iterdir()}

    def ask(*asked: object, **more: object) -> object:
        raise AssertionError("the model is asked again")

    units, tables = there("units"), there("tables")
    manifest = (run / "manifest.json").read_bytes()
    lm = locant.load("almanac")
    monkeypatch.setattr(LanguageModel, "site_logits", ask)
    run_knowledge_circuits(lm, relations(), run, QUICK, source="almanac", wordings=wordings())
    assert there("units") == units and (run / "manifest.json").read_bytes() == manifest
    assert {name: held for name, (_, held) in there("tables").items()} == {
        name: held for name, (_, held) in tables.items()
    }


def test_the_folder_of_another_run_is_refused(run: Path) -> None:
    with pytest.raises(BadFile, match=r"holds a run with share 0\.1, this one has 0\.2"):
        run_into(run, replace(QUICK, share=0.2))


class Stopped(Exception):
    """Someone pulled the plug."""


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_stopped_and_ends_in_the_same_tables(run: Path, tmp_path: Path) -> None:
    def say(what: str, units: int) -> Callable[[int], None]:
        if what == "reading heads":
            raise Stopped
        return lambda done: None

    with pytest.raises(Stopped):
        run_into(tmp_path / "run", say=say)
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    run_into(tmp_path / "run")
    assert there and all(path.stat().st_mtime_ns == when for path, when in there.items())
    assert all(table(tmp_path / "run", name).equals(table(run, name)) for name in TABLES)


def on_words(lm: LanguageModel, folder: Path, some: Sequence[RelationPairs], plan: Plan) -> Path:
    asked_of = [pair.query for one in some for pair in (*one.validation, *one.test)]
    return run_knowledge_circuits(lm, some, folder, plan, source="mine", wordings=asked_of)


@pytest.mark.slow
def test_one_relation_of_two_answers_runs_alone_on_a_model_with_parallel_blocks(tmp_path: Path) -> None:
    lm = tiny("gpt_neox")
    plan = replace(SMALL, share=0.3, shares=(), random_circuits=1, edits=2, exact=0)
    run = on_words(lm, tmp_path / "run", [words(lm, answers=2)], plan)
    assert {path.stem for path in (run / "tables").iterdir()} == TABLES
    empty = {name for name in TABLES if not len(table(run, name))}
    assert empty >= {"overlap", "reverse", "edited", "edits", "shown", "demonstrations", "hops"}
    assert set(table(run, "faithfulness")["circuit"]) == {"circuit", "random"}


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(SERVED))
def test_every_model_with_a_graph_runs_whole(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    some = [words(lm), words(lm, "by", 30)]
    run = on_words(lm, tmp_path / "run", some, replace(SMALL, share=0.3, edits=1, exact=1, demonstrations=6))
    full = {name for name in TABLES if len(table(run, name))}
    assert full >= TABLES - {"reverse", "chains", "hops", "asked", "wrong", "errors", "refused"}
    edges = table(run, "edges")
    assert len(edges) == 2 * int(graph_of(lm).edges.sum()) and edges["score"].is_finite().all()
    assert edges["score"].n_unique() > len(edges) / 4
    judged = table(run, "judged").filter((pl.col("half") == "test") & (pl.col("circuit") == WHOLE))
    ends = table(run, "streams").filter((pl.col("of") == "answer") & (pl.col("step") == pl.col("step").max()))
    for pair in (pair for one in some for pair in one.test):
        logits, answer = next_token(lm, pair.query), lm.tokens(pair.query).answers[0][0]
        whole, end = (rows.filter(pl.col("query") == pair.query.uid) for rows in (judged, ends))
        log = float(logits.log_softmax(0)[answer])
        assert whole["log_probability"].item() == pytest.approx(log, abs=1e-3)
        assert end["probability"].item() == pytest.approx(math.exp(log), rel=1e-2)
        assert whole["rank"].item() == end["rank"].item() == int((logits > logits[answer]).sum())
    ways = {one.name for one in editings(lm)}
    made, refused = (set(table(run, name)["edit"]) if name in full else set() for name in ("edits", "refused"))
    assert made | refused == ways | {UNEDITED} and not made & refused
    measured = dict(table(run, "heads").group_by("relation").len().iter_rows())
    assert measured == dict.fromkeys(("of", "by"), 12 * len(MEASURES))


@pytest.mark.parametrize("family", ["bert", "gemma2", "opt post-norm"])
def test_a_model_without_a_graph_is_refused_before_anything_is_written(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    with pytest.raises(LocantError, match="no graph of"):
        on_words(lm, tmp_path / "run", [words(tiny("gpt2"))], SMALL)
    assert not (tmp_path / "run").exists()


def test_relations_that_are_none_or_alike_or_lack_a_half_are_refused(tmp_path: Path) -> None:
    lm = tiny("gpt2")
    one = words(lm)
    for some, said in (
        ([], "one relation or more"),
        ([one, one], "a name of its own"),
        ([replace(one, test=())], "'of' lacks one"),
    ):
        with pytest.raises(UnknownName, match=said):
            on_words(lm, tmp_path / "run", some, SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "acdc"}, "no method for edges 'acdc'"),
        (
            {"settings": {"stps": 3}},
            "no setting of 'eap_ig' 'stps' .did you mean 'steps'.*; there are steps, rule",
        ),
        ({"settings": {"metric": "kl"}}, "no setting of 'eap_ig' 'metric'"),
        ({"share": 0.0}, "share is more than 0 and at most 1, not 0"),
        ({"shares": (0.1, 1.5)}, r"share is more than 0 and at most 1, not 1\.5"),
        ({"hops": -1}, "hops is 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        Plan(**settings)  # type: ignore[arg-type]


def test_turns_are_taken_for_as_long_as_there_are_any() -> None:
    assert in_turn([[1, 2, 3], [], [4], [5, 6]]) == [1, 4, 5, 2, 6, 3] and in_turn([]) == []


@pytest.mark.slow
def test_questions_of_two_steps_are_known_ones_in_one_wording() -> None:
    lm = locant.load("almanac")
    found = chains(known_chains(lm, SMALL))
    assert ("city_country", "capital") in found
    for query in found["city_country", "capital"]:
        order = next_token(lm, query).argsort(descending=True)[:10].tolist()
        assert lm.tokens(query).answers[0][0] in order
    for names, queries in found.items():
        assert len({query.template for query in queries}) <= 1
        assert {tuple(query.fact.uid.split("/")[:2]) for query in queries} <= {names[::-1]}


# The command


def test_the_command_does_what_a_plan_does_by_itself() -> None:
    given = {name: each.default for name, each in inspect.signature(circuits_command).parameters.items()}
    own = {"choose" if name == "rule" else name: value for name, value in Plan().plain().items()}
    left = {"settings", "split", "shares", "random_circuits"}
    assert {name: given[name] for name in own if name not in left} == {
        name: value for name, value in own.items() if name not in left
    }
    assert given["merged"] is not Plan().split
    drawn = inspect.signature(draw_relations).parameters
    assert (given["limit"], given["known"]) == (drawn["limit"].default, drawn["known"].default)


COMMAND = (
    "run", "knowledge-circuits", "--relations", "capital,city_country", "--limit", "4", "--setting", "steps=2",
    "--exact", "1", "--edits", "1", "--hallucinations", "2", "--demonstrations", "4", "--hops", "4", "--merged",
    "--share", "0.1", "--out", "run",
)  # fmt: skip


@pytest.mark.slow
def test_the_command_fills_a_folder_and_given_again_computes_nothing(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(*COMMAND)
    assert ran.code == 0 and (tmp_path / "run" / "page.html").is_file()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["recipe"]) == ("complete", "knowledge-circuits")
    assert manifest["drawn"] == {"relations": ["capital", "city_country"], "limit": 4, "known": 10}
    assert manifest["left_out"][BEYOND] > 0 and f"Left out: {next(iter(manifest['left_out']))}: " in ran.out
    assert manifest["settings"]["settings"] == {"steps": 2} and manifest["settings"]["split"] is False
    assert {path.stem for path in (tmp_path / "run" / "tables").iterdir()} == TABLES
    assert len(table(tmp_path / "run", "edits")) and len(table(tmp_path / "run", "agreement"))
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()}
    locant_(*COMMAND)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").iterdir()} == there


@pytest.mark.parametrize(
    ("words_of_it", "code", "said"),
    [
        (("--method", "magic"), 1, "no method for edges 'magic'; there are eap, eap_ig"),
        (("--setting", "metric=kl"), 1, "no setting of 'eap_ig' 'metric'"),
        (("--relations", "planets"), 1, "no almanac relation 'planets'"),
        (("--limit", "3"), 2, "'--limit'"),
    ],
)
def test_the_command_refuses_in_a_sentence_and_writes_nothing(
    words_of_it: tuple[str, ...], code: int, said: str, locant_: Command, tmp_path: Path
) -> None:
    ran = locant_("run", "knowledge-circuits", "--out", "run", *words_of_it)
    assert ran.code == code and said in ran.err and not list(tmp_path.iterdir())
