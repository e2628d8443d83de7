"""The page of a run of knowledge circuits: what it says follows the tables, and nothing of the data is markup."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import polars as pl
import pytest
import torch
import typer
from chromium import needs_chromium
from elements import Elements
from fake_knowledge_circuits import PLAN, Truth, fake_run, sure
from pages import (
    EVIL,
    altered,
    answer,
    answers_begin_with_their_figure,
    draws_every_figure_that_is_to_be_seen,
    every_figure_has_an_element_and_a_table,
    figures_of,
    figures_take_markup_as_text,
    fits_a_narrow_screen,
    headings,
    markup_stays_text,
    nothing_is_fetched_and_links_lead_into_the_page,
    opens_without_a_complaint,
    plain,
    shown_after_choosing,
)

from locant.attributions.edges import EdgeScores
from locant.cli.run import run_app
from locant.errors import BadFile
from locant.evaluations import interval
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.judged import CIRCUIT, OTHER, RANDOM, circuits_of
from locant.recipes.knowledge_circuits.shown import NEW, SHOWN, ZERO_SHOT
from locant.recipes.knowledge_circuits.shown import RANDOM as RANDOM_HEADS
from locant.recipes.knowledge_circuits.wrong import BLAMED
from locant.recipes.knowledge_circuits.wrong import RANDOM as PEERS
from locant.reports.knowledge_circuits import answers_of, page_of
from locant.reports.knowledge_circuits.finding import headline
from locant.reports.knowledge_circuits.graphs import DRAWN, graph_of_edges, strongest
from locant.reports.knowledge_circuits.names import MARKS
from locant.reports.knowledge_circuits.run import TABLES, read_run
from locant.reports.registry import report_of
from locant.selections.circuits import Circuit
from locant.types import Provenance


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("evil"), Truth(hostile=EVIL)))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nine relations of long names."""
    names = [f"relation_{place}_of_which_there_are_many" for place in range(9)]
    return page_of(fake_run(tmp_path_factory.mktemp("many"), Truth(relations=names, facts=6)))


def made(place: Path, **truth: object) -> Path:
    return fake_run(place, Truth(**truth))  # type: ignore[arg-type]


def table(folder: Path, name: str, **wanted: object) -> pl.DataFrame:
    rows = pl.read_parquet(folder / "tables" / f"{name}.parquet")
    return rows.filter(*(pl.col(column) == value for column, value in wanted.items()))


def cell(folder: Path, name: str, **wanted: object) -> dict[str, float]:
    """The only row of a table with these values."""
    (row,) = table(folder, name, **wanted).iter_rows(named=True)
    return row


def percent(row: dict[str, float]) -> str:
    return f"{100 * row['mean']:.0f}% [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def gap(one: dict[str, float], other: dict[str, float]) -> str:
    """The mean difference of what both have, as the page writes its mean."""
    both = [one[name] - other[name] for name in one]
    found = interval(torch.tensor(both, dtype=torch.float64), list(one))
    return f"{100 * found.mean:+.0f} points [".replace("-", "−").replace("+0 ", "0 ")


def words(page: str) -> set[str]:
    """What is to be read on a page, word by word."""
    return set(re.findall(r"\w+", re.sub(r"<script.*?</script>", "", page, flags=re.S)))


# One file, and safe


def test_every_figure_has_an_element_a_table_and_a_control_nearby(page):
    assert every_figure_has_an_element_and_a_table(page) > 20
    for section in page.split("<section ")[1:]:
        assert 'class="plot"' not in section or "ontrol" in section


def test_nothing_is_fetched_from_anywhere_and_links_lead_into_the_page(evil):
    nothing_is_fetched_and_links_lead_into_the_page(evil)


def test_markup_in_relations_kinds_examples_and_the_model_stays_text(evil):
    markup_stays_text(evil, "Knowledge circuits: almanac", "td", "dd", "button", "h2", "p")


def test_edits_points_roles_and_methods_with_markup_for_names_stay_text(folder, tmp_path):
    run = folder
    for name, column, known in (
        ("edits", "edit", "rome"), ("edited", "edit", "rome"), ("stream", "point", "after m0"),
        ("streams", "point", "after m0"), ("heads", "role", "relation"), ("agreement", "method", "eap"),
    ):  # fmt: skip
        hostile = pl.when(pl.col(column) == known).then(pl.lit(EVIL)).otherwise(pl.col(column)).alias(column)
        run = altered(run, tmp_path / f"{name}-{column}", name, hostile)
    html = page_of(run)
    assert not [tag for tag, _ in Elements(html).found if tag == "img"]
    figures_take_markup_as_text(html)


def test_equal_runs_give_equal_bytes(evil, tmp_path):
    assert page_of(fake_run(tmp_path / "another place", Truth(hostile=EVIL))) == evil


# Numbers on the page are the tables'


@pytest.mark.parametrize(("metric", "uid"), [("hit", "complete-hit"), ("first", "complete-first")])
def test_completeness_is_drawn_as_it_is_in_the_table(folder, page, metric, uid):
    marks = [trace["x"] for trace in figures_of(page)[uid]["data"]]  # type: ignore[index]
    groups = ["all", *(name for kind in ("factual", "bias") for name in _of_kind(folder, kind))]
    known = [
        [
            cell(folder, "completeness", group=group, half="test", circuit=what, metric=metric)["mean"]
            for group in groups
        ]
        for what in MARKS
    ]
    assert marks == known


def _of_kind(folder: Path, kind: str) -> list[str]:
    return table(folder, "relations", kind=kind)["relation"].to_list()


def test_the_table_has_both_halves_and_every_control(folder, page):
    row = next(line for line in page.partition('class="wide"')[2].split("<tr>") if "<td>capital</td>" in line)
    shown = plain(" ".join(Elements(f"<table><tr>{row}</table>").text("td")))
    for half, circuits in (("validation", ("model", CIRCUIT)), ("test", SAID)):
        for what in circuits:
            found = cell(folder, "completeness", group="capital", half=half, circuit=what, metric="hit")
            assert f"{100 * found['mean']:.0f}%[{100 * found['low']:.0f}, {100 * found['high']:.0f}]" in shown


SAID = ("model", CIRCUIT, "complement", "nothing", RANDOM, OTHER)


def test_released_labels_stand_beside_the_right_ones(folder, page):
    shown = plain(" ".join(Elements(page.partition("released labels")[2].partition("</details>")[0]).text("td")))
    found = cell(folder, "completeness", group="capital", half="test", circuit=CIRCUIT, metric="released")
    assert f"{100 * found['mean']:.0f}%[" in shown


def test_curves_of_a_relation_are_those_of_the_table(folder, page):
    lines = [trace["y"] for trace in figures_of(page)["curve-r0"]["data"] if trace["mode"] == "lines+markers"]  # type: ignore[index]
    for line, circuit in zip(lines, (CIRCUIT, OTHER, RANDOM), strict=True):
        rows = table(folder, "faithfulness", relation="capital", half="test", circuit=circuit, what="kept")
        assert line == pytest.approx(rows.sort("share")["mean"].to_list(), abs=1e-5)


def test_the_mean_curve_weighs_relations_alike(folder, page):
    lines = [trace["y"] for trace in figures_of(page)["curve-all"]["data"] if trace["mode"] == "lines+markers"]  # type: ignore[index]
    rows = table(folder, "faithfulness", half="test", circuit=CIRCUIT, what="kept")
    means = rows.group_by("share").agg(pl.col("mean").mean()).sort("share")["mean"].to_list()
    assert lines[0] == pytest.approx(means, abs=1e-5)


def test_ranks_are_counted_from_one(page, folder):
    block = page.partition('id="stream-rank-r0"')[2].partition("</details>")[0]
    found = cell(folder, "stream", relation="capital", of="answer", measure="rank", step=0)
    assert found["mean"] == 80 and "81.0" in " ".join(Elements(block).text("td"))


def test_answers_repeat_the_numbers_of_the_tables(folder):
    text = answer(folder, "small part")[1]
    for circuit in (CIRCUIT, "model", RANDOM, "complement"):
        assert percent(cell(folder, "completeness", group="all", half="test", circuit=circuit, metric="hit")) in text
    demonstrated = answer(folder, "demonstration brings")[1]
    for name in (ZERO_SHOT, SHOWN, NEW, RANDOM_HEADS):
        found = cell(folder, "demonstrations", relation="all", set=name, measure="probability")
        assert percent(found) in demonstrated
    assert percent(cell(folder, "edits", edit="rome", what="edges")) in answer(folder, "stay after")[1]
    blamed = cell(folder, "errors", kind="wrong", of=BLAMED, what="mended")
    assert percent(blamed) in answer(folder, "to blame")[1]


def test_differences_are_paired_over_facts(folder):
    rows = table(folder, "judged", half="test").filter(pl.col("share").is_in([PLAN.share]))
    firsts = {
        what: dict(
            rows.filter(pl.col("circuit") == what)
            .group_by("query", maintain_order=True)
            .agg((pl.col("rank") == 0).cast(pl.Float64).mean())
            .iter_rows()
        )
        for what in (CIRCUIT, OTHER, RANDOM)
    }
    assert f"difference {gap(firsts[CIRCUIT], firsts[OTHER])}" in answer(folder, "own?")[1]
    assert f"in first choices {gap(firsts[CIRCUIT], firsts[RANDOM])}" in answer(folder, "small part")[1]


def test_views_of_relations_are_chosen_by_one_kind_of_button(page):
    chosen = {attrs["data-choose"] for _, attrs in Elements(page).found if "data-choose" in attrs}
    assert chosen == {"all", "r0", "r1", "r2"}
    assert "The circuit of official language has" in headings(page)


# Circuits out of the table of edges


@pytest.mark.parametrize(
    "graph",
    [
        Graph.of_sizes(3, 4, 2), Graph.of_sizes(2, 3), Graph.of_sizes(2, 2, split=False),
        Graph.of_sizes(2, 4, 1, parallel=True), Graph.of_sizes(1, 1),
    ],
)  # fmt: skip
def test_a_graph_is_known_by_its_edges(graph):
    senders, receivers = graph.edges.nonzero().T.tolist()
    found = graph_of_edges([graph.senders[one] for one in senders], [graph.receivers[one] for one in receivers])
    assert found == graph


def test_edges_of_no_graph_are_refused(folder, tmp_path):
    run = altered(folder, tmp_path, "edges", pl.col("receiver").reverse())
    with pytest.raises(BadFile, match="does not hold a model's edges"):
        page_of(run)


@pytest.mark.slow
@pytest.mark.parametrize("graph", [Graph.of_sizes(2, 2), Graph.of_sizes(3, 4, 2, parallel=True)])
def test_circuits_are_those_of_the_run(tmp_path, graph):
    run = read_run(made(tmp_path, only=("edges",), graph=graph))
    for relation, circuit in run.circuits.items():
        own = table(tmp_path, "edges", relation=relation)["score"].to_list()
        scores = torch.zeros(graph.edges.shape, dtype=torch.float64)
        scores[graph.edges] = torch.tensor(own, dtype=torch.float64)
        wanted = circuits_of(EdgeScores(graph, scores, (), Provenance("eap_ig", {})), PLAN)[PLAN.share]
        assert torch.equal(circuit.keep, wanted.keep) and len(circuit) > 0


def test_of_a_large_circuit_the_strongest_edges_are_drawn():
    graph = Graph.of_sizes(6, 8)
    scores = torch.arange(graph.edges.numel(), dtype=torch.float64).reshape(graph.edges.shape)
    whole = Circuit(graph, graph.edges, scores, Provenance("choose", {}))
    drawn = strongest(whole)
    assert len(drawn) == DRAWN < len(whole) and drawn.edges == whole.edges[:DRAWN]


def test_heads_in_the_drawing_have_their_roles(page, folder):
    drawn = page.partition('id="circuit"')[2].partition("</section>")[0]
    assert "mover" in drawn and "mixture" in drawn
    assert drawn.count("<svg") == len(table(folder, "relations"))


# What may be said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "short"),
    [({}, "Yes"), ({RANDOM: 0.95}, "Partly"), ({CIRCUIT: 0.2}, "Not shown"), ({CIRCUIT: 0.0}, "No")],
)
def test_a_circuit_is_enough_if_it_says_most_and_more_than_chance(tmp_path, says, short):
    # Where a circuit does not say it first, it is in every second fact beyond the k most likely
    run = made(tmp_path, only=("judged",), says=says, facts=20)
    assert answer(run, "small part")[0] == short


@pytest.mark.slow
def test_five_facts_show_nothing(tmp_path):
    run = made(tmp_path, only=("judged",), relations=("capital",), facts=5)
    short, text = answer(run, "small part")
    assert short == "Too few cases" and "of 5 facts only" in text
    assert "(5 facts only)" in headings(page_of(run))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "keeps", "short"),
    [
        ({}, {}, "Yes"),
        ({OTHER: 0.95}, {}, "Partly"),
        ({OTHER: 0.95}, {OTHER: 0.9}, "Not shown"),
        ({OTHER: 1.0, CIRCUIT: 0.5}, {OTHER: 1.0, CIRCUIT: 0.5}, "No"),
    ],
)
def test_a_circuit_is_its_relations_own_if_another_does_less(tmp_path, says, keeps, short):
    run = fake_run(tmp_path, sure(Truth(only=("judged",), facts=6), says=says, keeps=keeps))
    assert answer(run, "own?")[0] == short
    same = short == "Not shown"
    assert ("a difference that may be chance" in headings(page_of(run)).partition("keeps")[2].split("\n")[0]) == same


def test_a_circuit_is_enough_in_some_relations_only_if_one_is_said_too_little(tmp_path):
    run = made(tmp_path / "run", only=("judged",), relations=[f"relation_{place}" for place in range(12)])
    lost = (pl.col("relation") == "relation_0") & (pl.col("circuit") == CIRCUIT)
    lost &= pl.col("query").is_in(
        table(run, "judged", relation="relation_0")["query"].unique().sort().gather_every(2)
    )
    one = altered(run, tmp_path / "one", "judged", pl.when(lost).then(50).otherwise(pl.col("rank")).alias("rank"))
    assert answer(run, "small part")[0] == "Yes"
    short, text = answer(one, "small part")
    assert short == "Partly" and "is kept in 11 of 12 relations" in text


@pytest.mark.slow
def test_the_title_names_what_another_relations_circuit_says(tmp_path):
    run = made(tmp_path, only=("judged",), says={OTHER: 0.75})
    assert headline(read_run(run)) == (
        "Circuits of 20% of the edges say 92% of new facts first; another relation’s 75%, random ones 8.3%"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("settled", "short"), [(2, "Yes"), (4, "No"), (9, "No")])
def test_the_answer_is_there_from_the_middle_on_if_most_are_first_and_stay_so(tmp_path, settled, short):
    run = made(tmp_path, only=("streams",), settled=settled)
    assert answer(run, "middle")[0] == short
    said = headings(page_of(run))
    assert ("never come to be first" in said) == (settled == 9)
    assert ("are first after m1 already" in said) == (settled == 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("roles", "confirmed", "short"),
    [
        ((("mover", "relation"), ("none", "none")), True, "Yes"),
        ((("mover", "none"), ("none", "relation")), True, "Partly"),
        ((("mover", "relation"), ("none", "none")), False, "No"),
        ((("none", "none"), ("none", "none")), False, "No"),
    ],
)
def test_heads_have_roles_if_removal_confirms_a_mover_and_a_relation_head(tmp_path, roles, confirmed, short):
    run = made(tmp_path, only=("heads",), roles=roles, confirmed=confirmed)
    assert answer(run, "roles")[0] == short
    assert ("No head has a role" in headings(page_of(run))) == ("mover" not in roles[0])


def test_roles_confirmed_stand_beside_how_many_would_be_by_chance(tmp_path):
    run = made(tmp_path, only=("heads",), roles=(("mover", "relation"), ("none", "mover")))
    assert (
        "3 of 6 movers (by chance 1.5), 3 of 3 relation heads (by chance 0.8) are confirmed"
        in answer(run, "roles")[1]
    )


def test_edits_that_were_refused_are_counted_beside_those_that_were_made(tmp_path):
    run = made(tmp_path, only=("edits",), refuses=3)
    assert "ROME refused 3 of 8 facts: no subject is named." in answer(run, "stay after")[1]
    assert "ROME refused 3 of 8 facts: no subject is named." in page_of(run)
    rome = next(row for row in table(run, "edits", edit="rome", what="said").to_dicts())
    assert rome["n"] == 5


def test_heads_are_marked_by_role_and_confirmation(page):
    signs = [attrs for tag, attrs in Elements(page.partition('class="signs"')[2]).found if attrs.get("role") == "img"]
    mover = next(one for one in signs if "capital: mover" in (one["aria-label"] or ""))
    assert mover["class"] == "sign role-mover sure" and mover["title"] == "capital: mover, confirmed, in the circuit"
    mixture = next(one for one in signs if "capital: mixture" in (one["aria-label"] or ""))
    assert mixture["class"] == "sign role-mixture"


def test_few_relations_do_not_show_that_circuits_overlap(folder, page):
    short, text = answer(folder, "share parts")
    assert short == "Too few cases" and "of 3 relations only" in text
    assert re.search(r"random circuits’ \d+% \(3 relations only\)", headings(page))


@pytest.mark.parametrize(("higher", "short"), [(0.2, "Yes"), (-0.2, "No"), (0.0, "Not shown")])
def test_circuits_overlap_if_they_share_more_than_random_ones(tmp_path, higher, short):
    run = fake_run(tmp_path / "run", sure(Truth(only=("shared",))))
    run = altered(run, tmp_path / "altered", "overlap", (pl.col("expected") + higher).alias("observed"))
    assert answer(run, "share parts")[0] == short


def test_a_reverse_is_held_against_all_other_pairs(tmp_path):
    run = fake_run(tmp_path / "run", sure(Truth(only=("shared",))))
    first = pl.col("relation").is_in(["relation_0", "relation_1"]) & pl.col("other").is_in(
        ["relation_0", "relation_1"]
    )
    for value, short in ((1.0, "Yes"), (0.0, "Not shown")):
        place = tmp_path / short
        own = altered(run, place / "a", "reverse", pl.lit(value).alias("observed"))
        own = altered(own, place / "b", "overlap",
                      pl.when(first).then(value).otherwise(pl.col("observed")).alias("observed"))  # fmt: skip
        found, text = answer(own, "reverse")
        assert found == short and f"relation 0 and relation 1 share {value:.0%}" in text


WIDE = (("low", 0.4), ("high", 0.6))


@pytest.mark.slow
@pytest.mark.parametrize(("stays", "short"), [(0.7, "Yes"), (0.3, "No"), (0.5, "Not shown")])
def test_most_of_a_circuit_stays_if_more_than_half_of_its_edges_do(tmp_path, stays, short):
    run = made(tmp_path / "run", only=("edits",), stays=stays)
    if short == "Not shown":
        wide = {end: pl.when(pl.col("what") == "edges").then(value).otherwise(pl.col(end)) for end, value in WIDE}
        run = altered(run, tmp_path / "wide", "edits", *(column.alias(end) for end, column in wide.items()))
    assert answer(run, "stay after")[0] == short


@pytest.mark.slow
@pytest.mark.parametrize(("spills", "short"), [(0.2, "Yes"), (0.0, "Not shown")])
def test_edits_spill_if_other_facts_surely_say_the_new_object(tmp_path, spills, short):
    assert answer(made(tmp_path, only=("edits",), spills=spills), "spill")[0] == short


def test_where_the_new_object_comes_first_is_told_by_its_point(page):
    rows = page.partition('id="edits-rank"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    edited, tuned = (next(row for row in rows.split("<tr>") if name in row) for name in ("ROME", "layer 0"))
    assert ">a1<" in edited and ">a0<" in tuned


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mended", "short"),
    [({BLAMED: 0.8, PEERS: 0.1}, "Yes"), ({BLAMED: 0.5, PEERS: 0.5}, "Not shown"), ({BLAMED: 0.0, PEERS: 0.9}, "No")],
)
def test_a_head_is_to_blame_if_others_of_its_layer_do_less(tmp_path, mended, short):
    run = made(tmp_path, only=("streams", "errors"), mended=mended)
    assert answer(run, "to blame")[0] == short
    said = headings(page_of(run))
    assert "What is said wrong overtakes the answer at a1" in said
    assert ("others of its layer in 50%: a difference that may be chance" in said) == (short == "Not shown")


@pytest.mark.slow
@pytest.mark.parametrize(("random", "short"), [(0.85, "Yes"), (0.5, "Not shown"), (0.3, "No")])
def test_new_heads_matter_if_random_ones_lose_less(tmp_path, random, short):
    run = made(tmp_path, only=("demonstrations",), shown={ZERO_SHOT: 0.2, SHOWN: 0.9, NEW: 0.5, RANDOM_HEADS: random})
    assert answer(run, "demonstration brings")[0] == short
    assert ("random ones 50%: a difference that may be chance" in headings(page_of(run))) == (short == "Not shown")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chains", "beside", "short"), [(7, 0.4, "Yes"), (7, 0.9, "No"), (2, 0.4, "Not shown")]
)  # fmt: skip
def test_two_steps_are_made_of_each_if_other_relations_are_less_in_them(tmp_path, chains, beside, short):
    run = made(tmp_path, only=("hops",), chains=chains, beside=beside)
    assert answer(run, "two steps")[0] == short
    assert ("(2 kinds only)" in headings(page_of(run))) == (chains == 2)


@pytest.mark.parametrize(("found", "short"), [(0.8, "Yes"), (0.2, "No")])
def test_scores_find_the_edges_if_most_of_the_strongest_are_theirs(tmp_path, found, short):
    run = fake_run(tmp_path, sure(Truth(only=("agreement",)), found={"eap": 0.6, "eap_ig": found}))
    assert answer(run, "approximate")[0] == short
    best = "EAP" if found < 0.6 else "EAP\u2011IG"
    assert f"by cutting, {best} finds {max(found, 0.6):.0%}" in headings(page_of(run))


def test_lower_layers_are_not_called_fuller_without_an_interval_that_says_so(folder):
    short, text = answer(folder, "lower layers")
    assert short == "Too few cases" and "of 3 relations only" in text


# How it was made


def test_the_commands_that_make_the_run_and_the_page_again_are_given(page):
    first, second = Elements(page).text("pre")[0].splitlines()
    assert first == (
        "locant run knowledge-circuits --model almanac --dtype float32 --data lre:FOLDER --limit 24 --known 10 "
        "--method eap_ig --metric logit_difference --ablation counterfactual --by absolute --share 0.2 --k 10 "
        "--exact 4 --edits 8 --hallucinations 40 --demonstrations 24 --hops 24 --seed 0 --choose greedy --out RUN"
    )
    assert second == "locant report RUN"


@pytest.mark.slow
def test_the_command_is_read_back_as_the_run_that_it_makes(tmp_path):
    settings = {"split": False, "settings": {"steps": 3}, "seed": 4}
    run = made(tmp_path, only=("hops",), settings=settings, drawn={"relations": ["a b", "c’s"], "known": None})
    command = html.unescape(Elements(page_of(run)).text("pre")[0].splitlines()[0])
    group = typer.main.get_command(run_app)
    own = group.commands["knowledge-circuits"]  # type: ignore[attr-defined]
    read = dict(own.make_context("knowledge-circuits", shlex.split(command)[3:]).params)
    kept = json.loads((run / "manifest.json").read_text())["settings"]
    assert read["choose"] == kept["rule"]
    shared = ("method", "metric", "ablation", "by", "share", "k", "exact", "edits", "hops", "seed")
    assert {name: read[name] for name in shared} == {name: kept[name] for name in shared}
    assert read["merged"] is True and list(read["setting"]) == ["steps=3"] and read["relations"] == "a b,c’s"


def test_every_setting_of_the_run_is_on_the_page(folder, page):
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert {name.replace("_", " ") for name in settings} <= set(Elements(page).text("dt"))


# Runs with less in them


@pytest.mark.slow
def test_experiments_that_were_not_made_are_said_not_to_have_been(tmp_path):
    run = made(tmp_path, only=("nothing",))
    (run / "tables" / "relations.parquet").unlink()
    said = headings(page_of(run))
    for sentence in (
        "No circuits were run alone", "Faithfulness was not measured", "No edges were scored",
        "How answers come up was not read", "What heads do was not read", "No two relations’ circuits were compared",
        "No facts were edited", "No facts got wrong were followed", "No facts were shown before others",
        "No questions of two steps were asked", "Scores were not held against cutting every edge",
        "What circuits are of is not recorded",
    ):  # fmt: skip
        assert sentence in said
    assert {one.short for one in answers_of(run)} == {"Not measured"}


@pytest.mark.slow
def test_a_run_without_one_table_or_with_one_alone_still_makes_a_page(tmp_path):
    run = made(tmp_path, facts=4)
    tables = {name: run / "tables" / f"{name}.parquet" for name in TABLES}
    kept = {name: path.read_bytes() for name, path in tables.items()}
    for gone in [{name} for name in TABLES] + [set(TABLES) - {name, "relations"} for name in TABLES]:
        for name, path in tables.items():
            path.write_bytes(kept[name])
            if name in gone:
                path.unlink()
        assert "nan" not in words(page_of(run)), gone


@pytest.mark.slow
def test_one_relation_alone_makes_a_page_without_buttons_or_another_circuit(tmp_path):
    run = made(tmp_path, only=("judged", "edges", "streams", "heads"), relations=("capital",))
    rows = table(run, "judged").filter(pl.col("circuit") != OTHER)
    rows.write_parquet(run / "tables" / "judged.parquet")
    for name in ("completeness", "faithfulness"):
        table(run, name).filter(pl.col("circuit") != OTHER).write_parquet(run / "tables" / f"{name}.parquet")
    page = page_of(run)
    assert "data-choose" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert answer(run, "own?")[0] == "Not measured" and answer(run, "reverse")[0] == "Not measured"
    assert "another relation’s" not in headings(page)


def test_other_folders_and_damaged_tables_are_refused(folder, tmp_path):
    assert report_of(folder).answers_of(folder) == answers_of(folder)
    run = altered(folder, tmp_path, "hops")
    pl.DataFrame({"first": ["a"]}).write_parquet(run / "tables" / "hops.parquet")
    with pytest.raises(BadFile, match="has no column 'second'; it has first"):
        page_of(run)


# In a browser


@needs_chromium
def test_the_page_opens_without_a_complaint_and_draws_every_figure(evil):
    opens_without_a_complaint(evil)
    assert draws_every_figure_that_is_to_be_seen(evil) > 14


@needs_chromium
def test_a_relations_views_are_shown_in_every_section_at_once(page):
    shown = shown_after_choosing(page, '#faithfulness [data-choose="r1"]', "curve-r1")
    assert shown == ["faithfulnessr1", "circuitr1", "streamr1"]


@pytest.mark.slow
@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(many):
    fits_a_narrow_screen(many)


def test_the_first_clause_of_each_answer_has_its_figure(folder):
    answers_begin_with_their_figure(folder)
