"""The command line: what it writes and prints, and that every mistake is one sentence and leaves nothing behind."""

from __future__ import annotations

import html
import json
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from jaxtyping import config

import locant
from commands import Command, Ran, cli
from families import tiny, tokenizer
from locant import almanac
from locant.attributions import METHODS
from locant.attributions.edges import METHODS as EDGES
from locant.models import ARCHITECTURES
from unchecked import unchecked

STORIES = Path(__file__).parents[2] / "shared" / "data" / "models" / "stories260K"
PARIS = ("ask", "The capital of France is", "--answer", "Paris", "--relation", "capital")


@pytest.fixture(autouse=True, scope="module")
def _unchecked_types() -> Iterator[None]:
    # Whole runs would take longer with the checks, which every stage's own tests have
    with unchecked():
        yield


def folders(here: Path) -> list[str]:
    return sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())


def queries(path: Path, *rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FRANCE = {"prompt": "The capital of France is", "answer": "Paris"}
SPAIN = {"prompt": "The capital of Spain is", "answer": "Madrid"}


# What commands do


def test_edit_shows_both_objects_before_and_after_and_what_was_spared(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(
        "edit", "The capital of France is", "--new", "Rome", "--method", "ft_m", "--save-weights", "edit.safetensors"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("The capital of France is Paris -> Rome   ft_m, ")
    assert "P(Paris)" in ran.out and "other facts of the relation" in ran.out
    assert "The edit took: the model says “Rome" in ran.out and "where it said “Paris" in ran.out
    assert folders(Path()) == ["edit.safetensors"]


def test_edit_takes_the_settings_of_its_method_and_gives_json(locant_: Command) -> None:
    ran = locant_("edit", "The capital of France is", "--new", "Rome", "--method", "ft_m", "--steps", "0", "--json")
    found = json.loads(ran.out)
    assert found["made_by"]["settings"]["steps"] == 0
    assert found["readings"][0]["new"][0] == found["readings"][0]["new"][1] and not found["taken"]


def test_an_edit_that_does_not_take_is_said_to(locant_: Command) -> None:
    ran = locant_("edit", "The capital of France is", "--new", "Rome", "--method", "ft_m", "--steps", "0")
    (line,) = (one for one in ran.out.splitlines() if "did not take" in one)
    assert line.startswith("The edit did not take: the model still says “Paris") and line.endswith("not Rome.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--new", " "), "must not be empty"),
        (("--new", "Rome", "--subject", "Spain"), "subject 'Spain' is not in the prompt"),
        (("--new", "Rome", "--method", "rom"), "no editing method 'rom'"),
        (("--new", "Rome", "--model", "no/such/model"), "no/such/model"),
    ],
)
def test_a_mistake_in_an_edit_is_one_sentence_and_leaves_nothing(
    locant_: Command, words: tuple[str, ...], said: str
) -> None:
    ran = locant_("edit", "The capital of France is", *words)
    assert ran.code == 1 and said in ran.err and ran.err.count("\n") == 1
    assert folders(Path()) == []


def test_edit_writes_over_nothing(locant_: Command) -> None:
    Path("mine").write_text("keep")
    ran = locant_("edit", "The capital of France is", "--new", "Rome", "--save-weights", "mine")
    assert ran.code == 1 and "is there already" in ran.err and Path("mine").read_text() == "keep"


def test_the_ways_to_rewrite_facts_are_listed_with_their_settings(locant_: Command) -> None:
    ran = locant_("methods", "--editing", "--json")
    rows = {row["method"]: row["settings"] for row in json.loads(ran.out)}
    assert {"kn", "ft_m"} <= set(rows) and "--layer None" in rows["ft_m"]


def test_the_ways_to_score_edges_are_listed_with_their_settings(locant_: Command) -> None:
    rows = {row["method"]: row for row in json.loads(locant_("methods", "--edges", "--json").out)}
    assert list(rows) == list(EDGES) and all(row["what"].endswith(".") for row in rows.values())
    assert "--steps 5" in rows["eap_ig"]["settings"] and "--steps" not in rows["exact"]["settings"]
    assert locant_("methods", "--edges", "--editing").code == 2
    said = locant_("run", "knowledge-circuits", "--help").out.replace("│", " ")
    assert "locant methods --edges" in " ".join(said.split())


def test_ask_writes_a_page_with_its_tables_and_prints_where_it_is(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(*PARIS)
    assert (ran.code, ran.err) == (0, "")
    place = Path("locant-out/the-capital-of-france-is-paris")
    assert ran.out.rstrip().endswith(f"Page: {place / 'page.html'}")
    assert ran.out.startswith("The capital of France is Paris   almanac, P = ")
    assert [name.removeprefix(f"{place}/") for name in folders(tmp_path)] == [
        "manifest.json",
        "page.html",
        "tables/effects.parquet",
        "tables/neurons.parquet",
    ]
    assert "The capital of France is" in (tmp_path / place / "page.html").read_text()
    manifest = json.loads((tmp_path / place / "manifest.json").read_text())
    assert (manifest["recipe"], manifest["status"], manifest["model"]) == ("ask", "complete", "almanac")
    assert manifest["query"]["answer"] == "Paris"
    located = pl.read_parquet(tmp_path / place / "tables" / "neurons.parquet")
    assert len(located) == 20
    assert located["score"].to_list() == sorted(located["score"], reverse=True)


def test_ask_prints_what_it_found_as_json(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(*PARIS, "--json", "--top", "7", "--out", "here", "--rule", "midpoint", "--steps=3")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert set(found) == {
        "prompt",
        "answer",
        "probability",
        "rank",
        "top_answers",
        "neurons",
        "effects",
        "made_by",
        "page",
    }
    assert (found["prompt"], found["answer"]) == ("The capital of France is", "Paris")
    assert found["page"] == "here/page.html" and (tmp_path / "here" / "page.html").is_file()
    assert set(found["neurons"][0]) == {"layer", "neuron", "score", "activation", "promotes", "demotes"}
    assert len(found["neurons"]) == 7
    settings = found["made_by"]["settings"]
    assert (settings["rule"], settings["steps"], settings["top"]) == ("midpoint", 3, 7)
    lm = locant.load("almanac")
    asked = locant.query(FRANCE["prompt"], FRANCE["answer"])
    assert found["probability"] == pytest.approx(float(locant.answer_probability(lm, [asked])), rel=1e-5)
    expected = locant.attribute(lm, [asked], rule="midpoint", steps=3).scores[0].flatten().topk(7).values
    assert [one["score"] for one in found["neurons"]] == pytest.approx(expected.tolist(), rel=1e-4)


def test_ask_without_an_answer_takes_what_the_model_says(locant_: Command) -> None:
    ran = locant_("ask", "The capital of France is", "--json", "--method", "activation")
    word = locant.load("almanac").first_word("The capital of France is")
    assert json.loads(ran.out)["answer"] == word


def test_ask_works_unchanged_on_a_pretrained_model(locant_: Command, tmp_path: Path) -> None:
    if not STORIES.is_dir():
        pytest.skip(f"no model in {STORIES}")
    ran = locant_("ask", "One day, a little girl named", "--model", str(STORIES), "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert (found["answer"], found["rank"]) == ("Lily", 1)
    assert Path(found["page"]).parent.name == "one-day-a-little-girl-named-lily-stories260k"
    located = {
        one["operation"]: one for one in found["effects"] if (one["touched"], one["asked"]) == ("located", "own")
    }
    assert located["suppress"]["after"] < located["suppress"]["before"]


def test_attribute_writes_a_table_and_says_where(locant_: Command, tmp_path: Path) -> None:
    path = queries(tmp_path / "facts.jsonl", FRANCE, SPAIN)
    ran = locant_("attribute", str(path), "--out", "run", "--top", "3")
    assert ran.code == 0
    assert ran.out == "2 queries, top 3 neurons each: run/tables/neurons.parquet\n"
    rows = pl.read_parquet(tmp_path / "run" / "tables" / "neurons.parquet")
    assert rows["answer"].to_list() == ["Paris"] * 3 + ["Madrid"] * 3
    again = locant_("attribute", str(path), "--out", "run", "--top", "3", "--json")
    assert json.loads(again.out) == {"queries": 2, "neurons": "run/tables/neurons.parquet"}


def test_a_seed_of_the_command_is_the_seed_of_a_method_that_has_one(locant_: Command, tmp_path: Path) -> None:
    path = queries(tmp_path / "facts.jsonl", FRANCE)
    assert locant_("attribute", str(path), "--out", "run", "--method", "random", "--seed", "3").code == 0
    scores = pl.read_parquet(tmp_path / "run" / "tables" / "neurons.parquet")["score"].to_list()
    expected = locant.attribute(locant.load("almanac"), almanac.queries("capital", "en")[:1], "random", seed=3)
    assert scores == pytest.approx(expected.scores.flatten().topk(20).values.tolist())


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (("--method", "activation"), {}),
        (("--method", "activation", "--value-norm"), {"value_norm": True}),
        (("--method", "activation", "--value-norm=false", "--hook=pre"), {"value_norm": False, "hook": "pre"}),
        (("--steps", "2", "--target", "log_probability"), {"steps": 2, "target": "log_probability"}),
        (("--tolerance", "0.05"), {"tolerance": 0.05}),
    ],
)
def test_a_methods_own_settings_are_options(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], settings: dict[str, object]
) -> None:
    path = queries(tmp_path / "facts.jsonl", FRANCE)
    ran = locant_("attribute", str(path), "--out", "run", *words)
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["settings"].items() >= settings.items()


def test_version_models_and_methods_are_told(locant_: Command) -> None:
    assert locant_("--version") == Ran(0, f"locant {locant.__version__}\n", "")
    models = json.loads(locant_("models", "--json").out)
    assert models["embedded"] == ["almanac", "almanac-bert", "almanac-gpt2"]
    assert [one["type"] for one in models["architectures"]] == sorted(ARCHITECTURES)
    assert all(name in locant_("models").out for name in ARCHITECTURES)
    methods = json.loads(locant_("methods", "--json").out)
    assert [one["method"] for one in methods] == list(METHODS)
    assert "--rule gauss-legendre" in methods[0]["settings"]
    assert all(one["what"].endswith(".") for one in methods)
    assert all(name in locant_("methods").out for name in METHODS)


def test_the_almanac_lists_its_relations_and_counts_its_facts(locant_: Command) -> None:
    relations = almanac.relations()
    told = locant_("almanac", "list")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(relations) + 1]] == [one.name for one in relations]
    assert lines[1].split() == [
        "capital",
        "factual",
        "geography",
        str(relations[0].facts),
        str(relations[0].withheld),
        "all",
    ]
    facts = sum(one.facts for one in relations)
    assert f"{len(relations)} relations, {facts} facts, 7 languages: en, fr, fi, hu, ja, ko, zh" in lines
    assert all(len(line) <= 80 for line in lines)
    found = json.loads(locant_("almanac", "list", "--json").out)
    assert found["facts"] == facts
    assert [one["name"] for one in found["relations"]] == [one.name for one in relations]
    assert [one["language"] for one in found["languages"]] == ["en", "fr", "fi", "hu", "ja", "ko", "zh"]
    for one in found["languages"]:
        asked, withheld = (
            {query.fact.uid for query in almanac.queries(language=one["language"], format="question", taught=taught)}
            for taught in (None, False)
        )
        assert (one["facts"], one["withheld"]) == (len(asked), len(withheld))
        assert one["relations"] == len({uid.split("/")[0] for uid in asked})


def test_the_almanac_is_listed_without_torch() -> None:
    code = (
        "import atexit, sys; sys.argv = ['locant', 'almanac', 'list']; from locant.cli import main; "
        "atexit.register(lambda: print('torch' in sys.modules or 'transformers' in sys.modules)); main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("\nFalse\n")


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ((), {}),
        (("--held-out",), {"held_out": True}),
        (("--trained",), {"held_out": False}),
        (("--withheld",), {"taught": False}),
        (("--format", "choice", "--seed", "5"), {"format": "choice", "seed": 5}),
        (("--language", "ja", "--format", "few-shot"), {"language": "ja", "format": "few-shot"}),
    ],
)
def test_the_almanacs_queries_are_lines_of_json(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], settings: dict[str, Any]
) -> None:
    ran = locant_("almanac", "queries", "--relation", "landmark_country", *words)
    assert (ran.code, ran.err) == (0, "")
    (tmp_path / "said.jsonl").write_text(ran.out)
    expected = almanac.queries("landmark_country", **settings)
    assert expected and locant.read_queries(tmp_path / "said.jsonl") == expected


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_the_almanacs_queries_go_to_a_file_that_attribute_reads(
    locant_: Command, tmp_path: Path, ending: str
) -> None:
    ran = locant_("almanac", "queries", "--relation", "capital", "--limit", "30", "--out", f"new/facts.{ending}")
    assert ran == Ran(0, f"30 queries: new/facts.{ending}\n", "")
    assert folders(tmp_path) == [f"new/facts.{ending}"]
    assert locant.read_queries(tmp_path / "new" / f"facts.{ending}") == almanac.queries("capital")[:30]


def test_the_almanacs_queries_are_told_as_json(locant_: Command) -> None:
    words = ("almanac", "queries", "--relation", "young", "--limit", "2", "--json")
    rows = json.loads(locant_(*words).out)
    assert [row["uid"] for row in rows] == [query.uid for query in almanac.queries("young")[:2]]
    assert set(rows[0]) == {
        "prompt", "answer", "subject", "relation", "object", "language", "template", "fact", "uid",
    }  # fmt: skip
    assert json.loads(locant_(*words, "--out", "two.csv").out) == {"queries": 2, "file": "two.csv"}


SMALL = (
    "run", "query-localization", "--relations", "capital,continent", "--limit", "6", "--wordings", "4",
    "--localizers", "gradient_x_activation", "--touched", "1", "--edited", "1",
)  # fmt: skip


@pytest.mark.slow
def test_run_writes_tables_and_a_page_and_report_makes_the_page_anew(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(*SMALL, "--out", "run", "--setting", "gradient_x_activation.target=log_probability", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["page"] == "run/page.html"
    assert len(found["answers"]) >= 4 and all(one["question"].endswith("?") for one in found["answers"])
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["settings"]["settings"] == {"gradient_x_activation": {"target": "log_probability"}}
    assert (manifest["status"], manifest["facts"], manifest["queries"]) == ("complete", 6, 24)
    page = tmp_path / "run" / "page.html"
    first = page.read_text()
    page.unlink()
    ran = locant_("report", "run")
    assert ran.code == 0 and ran.out.rstrip().endswith("Page: run/page.html")
    assert all(one["question"] in ran.out for one in found["answers"])
    assert page.read_text() == first
    assert_taken_for_the_same_run(locant_, tmp_path, command_on(page))


def command_on(page: Path) -> list[str]:
    """The words that the page says make its run, of a run in the folder 'run'."""
    said = re.search(r"locant run [^\n<]*--out RUN", page.read_text())
    assert said is not None
    return [*shlex.split(html.unescape(said[0]))[1:-1], "run"]


def assert_taken_for_the_same_run(locant_: Command, here: Path, words: list[str]) -> None:
    """The command goes on with the run that is there, and has nothing left to do."""
    there = {path: path.stat().st_mtime_ns for path in (here / "run" / "units").iterdir()}
    ran = locant_(*words)
    assert ran.code == 0, ran.err
    assert {path: path.stat().st_mtime_ns for path in (here / "run" / "units").iterdir()} == there


QRNCA = ("run", "qrnca", "--groups", "geography,biology", "--limit", "2")


@pytest.mark.slow
def test_run_qrnca_writes_tables_and_a_page_and_report_knows_which_it_is(locant_: Command, tmp_path: Path) -> None:
    ran = locant_(*QRNCA, "--out", "run", "--setting", "dai.rule=midpoint", "--setting", "dai.steps=2", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["page"] == "run/page.html" and len(found["answers"]) >= 4
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["recipe"], manifest["questions"], manifest["prompts"]) == ("qrnca", 4, 12)
    assert manifest["settings"]["settings"] == {"rule": "midpoint", "steps": 2}
    first = (tmp_path / "run" / "page.html").read_text()
    assert locant_("report", "run").code == 0
    assert (tmp_path / "run" / "page.html").read_text() == first
    assert_taken_for_the_same_run(locant_, tmp_path, command_on(tmp_path / "run" / "page.html"))


EDITING = ("run", "editing", "--methods", "kn", "--limit", "2", "--in-turn", "2", "--together", "0", "--layers", "0")


@pytest.mark.slow
def test_run_editing_writes_tables_and_a_page_whose_command_is_the_same_run(locant_: Command, tmp_path: Path) -> None:
    (tmp_path / "my text.txt").write_text("The capital of France is Paris.\nIt is a city.\n")
    own = ("--setting", "kn.share=0.3", "--setting", "kn.signs=no", "--text", "my text.txt", "--tokens", "0")
    ran = locant_(*EDITING, *own, "--out", "run", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["page"] == "run/page.html" and len(found["answers"]) == 8
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["settings"]["settings"] == {"kn": {"share": 0.3, "signs": False}}
    first = (tmp_path / "run" / "page.html").read_text()
    assert locant_("report", "run").code == 0
    assert (tmp_path / "run" / "page.html").read_text() == first
    assert_taken_for_the_same_run(locant_, tmp_path, command_on(tmp_path / "run" / "page.html"))


def test_help_takes_less_than_a_second_of_the_processor() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ran = subprocess.run([sys.executable, "-m", "locant", "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "attribute" in ran.stdout and ran.stderr == ""
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0


# What it refuses


def refused(ran: Ran, here: Path, *left: str) -> str:
    """The one sentence of a failure; nothing on stdout, nothing written beside what was there."""
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("locant: ") and ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    assert folders(here) == sorted(left)
    assert all(path.is_file() for path in here.iterdir())
    return ran.err.removeprefix("locant: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*PARIS, "--model", "nobody/nothing"), "no model 'nobody/nothing': it is not an embedded model"),
        ((*PARIS, "--method", "magic"), "no method 'magic'; there are dai, exact"),
        ((*PARIS, "--rule", "simpson"), "no rule 'simpson'; there are riemann-left"),
        ((*PARIS, "--steps", "0"), "a rule needs at least 1 step, not 0"),
        ((*PARIS, "--model", "almanach"), "no model 'almanach' (did you mean 'almanac'?): it is not"),
        ((*PARIS, "--dtype", "float7"), "no dtype 'float7'"),
        ((*PARIS, "--device", "cuda9"), "no device 'cuda9' here: give cpu, cuda"),
        ((*PARIS, "--top", "1000000"), "cannot take the top 1000000: there are 1 to "),
        (("ask", " ", "--answer", "Paris"), "the prompt is empty"),
        (("attribute", "none.jsonl", "--out", "run"), "no file 'none.jsonl'"),
        ((*SMALL, "--out", "run", "--data", "nowhere"), "no data 'nowhere'; there is almanac, pararel:FOLDER"),
        ((*SMALL, "--out", "run", "--relations", "planets"), "no relation 'planets' in the almanac in 'en'; known: "),
        ((*SMALL, "--out", "run", "--relations", "capital"), "unrelated queries are of another relation, but all"),
        ((*SMALL, "--out", "run", "--language", "xx"), "no language 'xx' in the almanac; known: en, fr"),
        (
            (*SMALL, "--out", "run", "--localizers", "dia"),
            "no method 'dia' (did you mean 'dai'?); there are",
        ),
        ((*SMALL, "--out", "run", "--setting", "dai.steps=3"), "settings of 'dai', which is none of the localizers"),
        ((*SMALL, "--out", "run", "--share", "0"), "share is more than 0 and at most 1, not 0"),
        ((*SMALL, "--out", "run", "--text", "none.txt"), "no file 'none.txt'"),
        ((*QRNCA, "--out", "run", "--data", "nowhere"), "no data 'nowhere'; there is almanac (by domain)"),
        (("run", "qrnca", "--out", "run", "--groups", "astrology"), "no group 'astrology' in almanac; known: "),
        (("run", "qrnca", "--out", "run", "--groups", "geography"), "questions of one group are compared with"),
        ((*QRNCA, "--out", "run", "--mode", "mine"), "no mode 'mine'; there are paper, released"),
        ((*QRNCA, "--out", "run", "--aggregate", "mean"), "no aggregate 'mean'; there are ratio-of-means, "),
        ((*QRNCA, "--out", "run", "--data", "qrnca:."), "'.' is a folder; name one of its files of questions: none"),
        ((*QRNCA, "--out", "run", "--data", "qrnca:none.json"), "no file 'none.json'"),
        (("report", "nowhere"), "'nowhere' holds no run: it has no manifest.json"),
        (("almanac", "queries", "--relation", "planets"), "no relation 'planets' in the almanac; known: capital, "),
        (("almanac", "queries", "--relation", "author", "--language", "zh"), "no language 'zh' in the relation"),
        (("almanac", "queries", "--relation", "young", "--withheld"), "the almanac has no such queries"),
        (("almanac", "queries", "--relation", "young", "--out", "a.txt"), "a.txt: queries are written to .jsonl, "),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert refused(locant_(*words), tmp_path).startswith(said)


def test_a_format_the_almanac_has_not_is_refused_with_those_it_has(
    locant_: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # the type checks of tests would refuse it first
    said = refused(locant_("almanac", "queries", "--format", "riddle"), tmp_path)
    assert said == "no format 'riddle' in the almanac; known: cloze, question, choice, few-shot, two-hop."


def test_a_page_takes_neither_a_files_place_nor_another_runs(locant_: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    said = refused(locant_(*PARIS, "--out", "taken"), tmp_path, "taken")
    assert said == "'taken' is a file, not a folder to write to"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"recipe": "attribute"}')
    ran = locant_(*PARIS, "--out", "run")
    assert ran.code == 1 and "holds something else than a page of locant ask" in ran.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "p", "answer": "a"}\n{"prompt"\n', "a.jsonl, line 2: not JSON"),
        ("a.csv", "prompt,object\np,a\n", "a.csv: there is no column 'answer'; its columns are prompt, object"),
        ("a.jsonl", '{"prompt": "p"}\n', "a.jsonl, line 1: there is no 'answer'"),
        ("a.jsonl", '{"prompt": " ", "answer": "a"}\n', "a.jsonl, line 1: its 'prompt' is not a text"),
        ("a.txt", "p\n", "a.txt: queries are read from .jsonl"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_line(
    locant_: Command, tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    assert refused(locant_("attribute", name, "--out", "run"), tmp_path, name).startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "simpson"), "no rule 'simpson'; there are riemann-left"),
        (("--target", "rank"), "no target 'rank'; there are probability, log_probability"),
        (("--method", "magic"), "no method 'magic'; there are dai, exact"),
        (("--model", "nobody/nothing"), "no model 'nobody/nothing'"),
    ],
)
def test_a_run_that_cannot_start_leaves_no_folder(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    queries(tmp_path / "facts.jsonl", FRANCE)
    ran = locant_("attribute", "facts.jsonl", "--out", "run", *words)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1].startswith(f"locant: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["facts.jsonl"]


def test_a_run_that_fails_says_one_sentence_and_no_progress(locant_: Command, tmp_path: Path) -> None:
    queries(tmp_path / "facts.jsonl", FRANCE)
    ran = locant_("attribute", "facts.jsonl", "--out", "run", "--rule", "simpson")
    assert refused(ran, tmp_path, "facts.jsonl").startswith("no rule 'simpson'")


def test_a_query_that_cannot_be_asked_is_named_and_nothing_is_written(locant_: Command, tmp_path: Path) -> None:
    copy = tiny("llama").model
    (tmp_path / "model").mkdir()
    copy.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    path = queries(tmp_path / "facts.jsonl", {"prompt": "w1", "answer": "zebra", "uid": "the one"})
    ran = locant_("attribute", str(path), "--model", "model", "--out", "run")
    assert ran.code == 1 and "query 'the one': this tokenizer has no tokens for the answer 'zebra'" in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*PARIS, "--top", "0"), "'--top': "),
        ((*PARIS, "--top", "many"), "'--top': "),
        ((*PARIS, "--layers", "3"), "no such option: --layers"),
        ((*PARIS, "--method", "random", "--steps", "3"), "no such option: --steps. random's own: --seed"),
        ((*PARIS, "--steps", "few"), "--steps takes a whole number, not 'few'"),
        ((*PARIS, "--rule"), "--rule takes a value"),
        ((*SMALL, "--out", "run", "--setting", "mode=code"), "--setting takes LOCALIZER.NAME=VALUE"),
        ((*SMALL, "--out", "run", "--limit", "few"), "'--limit': "),
        (
            (*QRNCA, "--out", "run", "--setting", "sig.steps=3"),
            "--setting takes LOCALIZER.NAME=VALUE, e.g. dai.steps",
        ),
        (("run", "query-localization"), "Missing option '--out'"),
        (("ask",), "Missing argument 'PROMPT'"),
        (("attribute", "facts.jsonl"), "Missing option '--out'"),
        (("almanac", "queries", "--limit", "0"), "'--limit': "),
        (("almanac", "count"), "No such command 'count'"),
        (("tell",), "No such command 'tell'"),
    ],
)
def test_a_command_that_makes_no_sense_is_told_so_with_code_two(
    locant_: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ran = locant_(*words)
    # Typer frames and folds its text
    text = " ".join(ran.err.replace("│", " ").split())
    assert said.lower() in text.lower()
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in text
    assert folders(tmp_path) == []


def test_a_command_that_is_stopped_says_that_it_can_go_on(
    locant_: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(almanac, "queries", stop)
    ran = locant_("almanac", "queries")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1].startswith("locant: stopped; a run with --out goes on where it stopped")


def test_an_error_that_nobody_foresaw_is_one_sentence_too(
    locant_: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **settings: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("locant.recipes.ask.ask", fail)
    said = refused(locant_(*PARIS), tmp_path)
    assert said == "ZeroDivisionError: nobody foresaw this (--debug shows where)"


def test_debug_shows_where_it_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["locant", "attribute", "none.jsonl", "--out", "run", "--debug"])
    with pytest.raises(locant.LocantError, match=r"no file 'none.jsonl'"):
        cli().main()


@pytest.mark.parametrize("command", [("circuit", "Capital"), ("run", "knowledge-circuits", "--out", "run")])
@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("--method", "eapig"), "eap_ig"),
        (("--metric", "kll"), "kl"),
        (("--ablation", "zeero"), "zero"),
        (("--choose", "gredy"), "greedy"),
        (("--by", "absolut"), "absolute"),
        (("--metodh", "eap"), "--method"),
        (("--stepz", "3"), "--steps"),
    ],
)
def test_a_mistyped_word_is_refused_with_the_nearest_before_a_model_is_loaded(
    locant_: Command, command: tuple[str, ...], words: tuple[str, ...], meant: str
) -> None:
    ran = locant_(*command, *words, "--model", "no/such/model")
    assert ran.code in (1, 2) and f"did you mean '{meant}'?" in " ".join(ran.err.replace("│", " ").split())


def test_a_mistyped_relation_is_refused_with_the_nearest_before_a_model_is_loaded(locant_: Command) -> None:
    words = ("--relations", "capital,captial", "--out", "r", "--model", "no/such/model")
    ran = locant_("run", "knowledge-circuits", *words)
    assert ran.code == 1 and "no almanac relation 'captial' (did you mean 'capital'?)" in ran.err


def test_an_answer_to_no_counterfactual_is_refused(locant_: Command) -> None:
    ran = locant_("circuit", "The capital of France is", "--other", "Rome")
    assert ran.code == 2 and "which was not given" in " ".join(ran.err.replace("│", " ").split())
