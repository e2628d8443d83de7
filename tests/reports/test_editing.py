"""The page of an editing run: what it says follows the tables, and nothing of the data is markup."""

from __future__ import annotations

import html
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
import typer
from chromium import needs_chromium
from elements import Elements
from fake_editing import DOES, EVERY, Does, Truth, fake_run
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
)

from locant.cli.run import run_app
from locant.cli.run.shared import settings_of_editors
from locant.errors import BadFile
from locant.evaluations import interval
from locant.recipes.editing.plan import RANDOM
from locant.reports.editing import answers_of, methods, page_of, places
from locant.reports.editing.finding import headline
from locant.reports.editing.names import name_of
from locant.reports.editing.run import TABLES, read_run
from locant.reports.registry import report_of

SMALL = {"methods": ("rome", "kn"), "in_turn": 0, "together": 0, "layers": 0}
"""Runs that need only the cases edited alone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("evil"), Truth(hostile=EVIL, layers=4, in_turn=4)))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every method, many relations of long names, a hundred cases."""
    name = " of which there are very many, with a name that goes on and on" * 3
    truth = Truth(methods=EVERY, cases=100, relations=30, in_turn=5, together=5, layers=4, hostile=name)
    return page_of(fake_run(tmp_path_factory.mktemp("many"), truth))


def made(place: Path, **truth: object) -> Path:
    return fake_run(place, Truth(**{**SMALL, **truth}))  # type: ignore[arg-type]


def does(**methods: Does) -> dict[str, Does]:
    return dict(methods)


def words(page: str) -> set[str]:
    """What is to be read on a page, word by word."""
    return set(re.findall(r"\w+", re.sub(r"<script.*?</script>", "", page, flags=re.S)))


def single(folder: Path, method: str, asked: str, metric: str, column: str = "after") -> dict[str, float]:
    """A metric of each case that was edited alone."""
    rows = pl.read_parquet(folder / "tables" / "alone.parquet").filter(
        (pl.col("method") == method) & (pl.col("asked") == asked) & (pl.col("metric") == metric)
    )
    return dict(rows.select("case", column).iter_rows())


def mean_gap(one: dict[str, float], other: dict[str, float]) -> str:
    """The mean difference of the cases that both have, as the page writes its mean."""
    both = [one[case] - other[case] for case in one if case in other]
    mean = interval(torch.tensor(both, dtype=torch.float64), [str(place) for place in range(len(both))]).mean
    return f"{100 * mean:+.0f} points [".replace("-", "−").replace("+0 ", "0 ")


# One file, and safe


def test_every_figure_has_an_element_a_table_and_a_control_nearby(page):
    assert every_figure_has_an_element_and_a_table(page) > 14
    for section in page.split("<section ")[1:]:
        assert 'class="plot"' not in section or "ontrol" in section


def test_nothing_is_fetched_from_anywhere_and_links_lead_into_the_page(evil):
    nothing_is_fetched_and_links_lead_into_the_page(evil)


def test_markup_in_cases_relations_and_the_model_stays_text(evil):
    markup_stays_text(evil, "Editing: almanac", "td", "dd", "p")


def test_methods_with_markup_for_names_stay_text(folder, tmp_path):
    run = folder
    for table in ("methods", "alone", "costs", "drift", "places", "layers"):
        hostile = pl.when(pl.col("method") == "rome").then(pl.lit(EVIL)).otherwise(pl.col("method")).alias("method")
        run = altered(run, tmp_path / table, table, hostile)
    html = page_of(run)
    assert not [tag for tag, _ in Elements(html).found if tag == "img"]
    figures_take_markup_as_text(html)


def test_equal_runs_give_equal_bytes(evil, tmp_path):
    assert page_of(fake_run(tmp_path / "another place", Truth(hostile=EVIL, layers=4, in_turn=4))) == evil


# Numbers


def test_shares_are_those_of_the_table_of_methods(folder, page):
    row = read_run(folder).mean("memit", "paraphrase", "first")
    assert row is not None
    said = f"{100 * row.mean:.0f}%[{100 * row.low:.0f}, {100 * row.high:.0f}]"
    cells = [plain(text) for text in Elements(page).text("td")]
    assert said in cells
    drawn = figures_of(page)["wordings-dots"]["data"]
    assert any(row.mean == pytest.approx(x) for trace in drawn for x in trace["x"])


def test_the_untouched_model_is_the_first_row_of_the_table_of_methods(page):
    rows = re.findall(r'<tr class="beside"><th scope="row">([^<]*)</th>', page)
    assert rows == ["untouched model", name_of(RANDOM)]


def test_the_best_stands_beside_the_next_of_the_same_cases(folder):
    short, text = answer(folder, "other wordings")
    assert "Over MEMIT, the next: " in text and short == "Partly"
    rome, memit = (single(folder, method, "paraphrase", "first") for method in ("rome", "memit"))
    assert len(rome) == len(memit) - 1  # a case was refused
    assert mean_gap(rome, memit) in text


def test_methods_that_are_alike_are_not_called_the_best(folder, tmp_path):
    alike = altered(folder, tmp_path / "run", "methods", *(pl.lit(value).alias(name) for name, value in (
        ("after", 1.0), ("after_low", 1.0), ("after_high", 1.0))))  # fmt: skip
    text = answer(alike, "edits take")[1]
    assert text.startswith("With ROME, as with MEMIT, FT-M and KN, the new object") and "the next" not in text
    assert "as much as any of 4 methods" in headline(read_run(alike))


def test_bold_are_the_best_and_what_is_not_shown_to_be_worse(tmp_path):
    two = {"methods": ("rome", "ft_m"), "refused": 0}
    apart = does(rome=Does(first=0.2), ft_m=Does(first=1.0))
    page = page_of(made(tmp_path / "apart", **two, does=apart, cases=30))
    assert _bold_firsts(page) == {name_of("ft_m")}
    same = does(rome=Does(first=1.0), ft_m=Does(first=1.0))
    assert _bold_firsts(page_of(made(tmp_path / "same", **two, does=same))) == {"ROME", name_of("ft_m")}
    assert _bold_firsts(page_of(made(tmp_path / "few", **two, does=apart, cases=9))) == set()


def _bold_firsts(page: str) -> set[str]:
    table = page[page.index('<table class="methods">') :].partition("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {name for name, cells in rows if re.findall(r'<td class="([^"]*)"', cells)[1].endswith("leading")}


# Answers


@pytest.mark.parametrize(
    ("first", "short"), [((1.0, 0.95), "Yes"), ((1.0, 0.1), "Partly"), ((0.05, 0.1), "No"), ((0.5, 0.5), "Not shown")]
)
def test_edits_take_if_the_new_object_is_first_in_more_than_half(tmp_path, first, short):
    each = does(rome=Does(first=first[0]), ft_m=Does(first=first[1]))
    run = made(tmp_path, methods=("rome", "ft_m"), does=each, cases=30, seed=1)
    assert answer(run, "edits take")[0] == short


def test_few_cases_show_nothing(tmp_path):
    run = made(tmp_path, methods=("rome", "ft_m", "kn"), cases=9, in_turn=9, together=9, layers=9)
    for about in ("edits take", "wordings", "left alone", "follows from", "teacher", "add up", "say where", "random"):
        short, text = answer(run, about)
        assert short == "Too few cases", (about, short, text)


@pytest.mark.parametrize(
    ("kept", "unrelated", "short"), [(1.0, 1.0, "Yes"), (1.0, 0.5, "No"), (0.5, 1.0, "No"), (0.9, 1.0, "Not shown")]
)
def test_the_rest_is_left_alone_only_if_neighbours_and_unrelated_facts_are_kept(tmp_path, kept, unrelated, short):
    each = does(rome=Does(kept=kept, unrelated=unrelated))
    assert answer(made(tmp_path, methods=("rome",), does=each), "left alone")[0] == short


def test_what_is_kept_is_told_first_of_methods_whose_edits_take(tmp_path):
    each = does(rome=Does(first=1.0, kept=0.7), kn=Does(first=0.0, kept=1.0))
    text = answer(made(tmp_path, does=each), "left alone")[1]
    assert text.startswith("Of the methods whose edits take, ROME keeps most: ")
    idle = does(rome=Does(first=0.0, kept=0.7), kn=Does(first=0.0, kept=1.0))
    text = answer(made(tmp_path / "idle", does=idle), "left alone")[1]
    assert text.startswith("No method’s edits surely take in half of the cases; KN keeps most: ")


def test_teacher_forcing_is_held_against_what_is_written_in_the_same_cases(tmp_path):
    each = does(rome=Does(first=0.3, tokens=0.3), kn=Does(first=0.3, tokens=0.3))
    folder = made(tmp_path / "run", does=each)
    short, text = answer(folder, "teacher")
    assert short == "Yes"
    method = "rome" if "Most with ROME" in text else "kn"
    tokens, written = (single(folder, method, "request", metric) for metric in ("tokens", "written"))
    assert f"difference {mean_gap(tokens, written)}" in text
    none = does(rome=Does(tokens=0.0), kn=Does(tokens=0.0))
    assert answer(made(tmp_path / "none", does=none), "teacher")[0] == "Not shown"


@pytest.mark.parametrize(("lost", "short"), [(0.0, "Yes"), (1.0, "No")])
def test_edits_add_up_if_most_of_them_hold_after_the_last(tmp_path, lost, short):
    each = does(rome=Does(first=1.0, lost=lost))
    folder = made(tmp_path, methods=("rome",), does=each, cases=20, in_turn=20, refused=0)
    found, text = answer(folder, "add up")
    assert found == short and text.startswith("After 20 edits in turn with ROME the new object")
    rows = pl.read_parquet(folder / "tables" / "in_turn.parquet").filter(
        (pl.col("asked") == "request") & (pl.col("metric") == "first")
    )
    last, ten = (
        dict(rows.filter(pl.col("edits") == count).select("case", "after").iter_rows()) for count in (20, 10)
    )
    assert f"(to the same edited alone: {mean_gap(last, single(folder, 'rome', 'request', 'first'))}" in text
    assert f"{100 * sum(last[case] for case in ten) / 10:.0f}% after all ({mean_gap(last, ten)}" in text


@pytest.mark.parametrize(("gain", "short"), [(0.4, "Yes"), (0.0, "No")])
def test_localization_says_where_only_if_following_it_beats_one_layer(tmp_path, gain, short):
    folder = made(tmp_path, methods=("rome",), layers=14, gain=gain)
    # Credit is drawn by chance, tracing is what edits follow
    table = pl.read_parquet(folder / "tables" / "places.parquet").filter(pl.col("effect") == "tracing")
    table.write_parquet(folder / "tables" / "places.parquet")
    found, text = answer(folder, "say where")
    assert found == short and f": R² {_number(table, 'layer'):.2f} by the layer" in text
    assert f"{_number(table, 'both'):.2f} by both, so that it adds {_number(table, 'added'):.2f}, p" in text


def test_a_layer_is_called_best_only_where_bands_are_apart(folder, page, tmp_path):
    assert "On average edits work best by ROME at layer 0" in plain(headings(page))
    rows = pl.col("edited").mul(0).add(0.98).alias("edited"), pl.col("edited_error").mul(0).add(0.01)
    alike = altered(altered(folder, tmp_path / "one", "layers", rows[0]), tmp_path / "two", "layers", rows[1])
    said = plain(headings(page_of(alike)))
    assert "No layer is shown to be best for edits by ROME and FT-M; effects are highest" in said


def test_a_tracing_that_brings_nothing_back_is_not_measured(tmp_path):
    found = answer(made(tmp_path, methods=("rome",), layers=14, traced=0.05), "say where")[1]
    assert "Causal tracing was not measured: noise takes P(old) from 0.99 to 0.25" in found
    assert "ROME, credit: " in found and "ROME, tracing: " not in found


def test_what_localization_adds_is_no_yes_if_following_it_is_worse(tmp_path):
    folder = made(tmp_path, methods=("rome",), layers=14, gain=0.1, seed=2)
    tracing = next(one for one in places.places(read_run(folder)) if one.effect == "tracing")
    assert tracing.adds == 1 and tracing.gains < 1
    assert answer(folder, "say where")[0] in ("No", "Not shown")


def _number(table: pl.DataFrame, what: str) -> float:
    return float(table.filter((pl.col("score") == "rewrite") & (pl.col("what") == what))["mean"][0])


@pytest.mark.parametrize(("first", "short"), [(0.9, "Yes"), (0.02, "Not shown")])
def test_knowledge_neurons_are_held_against_random_ones_in_the_same_cases(tmp_path, first, short):
    folder = made(tmp_path, does=does(kn=replace(DOES["kn"], first=first)), seed=3)
    found, text = answer(folder, "random")
    assert found == short
    own, random = (single(folder, method, "request", "first") for method in ("kn", RANDOM))
    assert f"difference {mean_gap(own, random)}" in text


def test_the_title_names_no_threshold_and_what_it_costs(folder):
    run = read_run(folder)
    kept = run.mean("rome", "neighbour", "kept")
    assert kept is not None and "ROME makes" in headline(run)
    assert f"; {kept.mean:.0%} of neighbouring facts stay as they were" in headline(run)


# How it was made


def test_the_commands_that_make_the_run_and_the_page_again_are_given(page):
    first, second = Elements(page).text("pre")[0].splitlines()
    assert first.startswith(
        "locant run editing --model almanac --dtype float32 --data counterfact:edits.json --language en --limit 14 "
        "--known-only --methods rome,memit,ft_m,kn --in-turn 12 --together 12 --layers 12 --tokens 50 --seed 0 "
    )
    assert first.endswith("--setting rome.layer=3 --setting kn.share=0.3 --setting kn.signs=False --out RUN")
    assert second == "locant report RUN"


def test_the_command_is_read_back_as_the_run_that_it_makes(tmp_path):
    settings = {"kn": {"operation": "update", "share": 0.3, "lambda1": 1e-05, "signs": False}}
    drawn = {"relations": ["a b", "c’s"], "language": "de", "limit": 14, "known_only": True, "text": "my text.txt"}
    folder = made(tmp_path, methods=("kn",), settings=settings, drawn=drawn)
    command = Elements(page_of(folder)).text("pre")[0].splitlines()[0]
    read = _parameters(shlex.split(html.unescape(command))[3:])
    manifest = json.loads((folder / "manifest.json").read_text())
    own = manifest["settings"]
    for name in ("in_turn", "together", "layers", "tokens", "seed"):
        assert read.pop(name) == own[name]
    assert settings_of_editors(list(read.pop("setting")), 0) == settings
    assert (read.pop("methods"), read.pop("relations")) == ("kn", "a b,c’s")
    assert (str(read.pop("text")), str(read.pop("out_folder"))) == ("my text.txt", "RUN")
    assert (read.pop("data"), read.pop("model")) == (manifest["source"], manifest["model"])
    assert {name: read[name] for name in ("language", "limit", "known_only", "dtype")} == {
        "language": "de", "limit": 14, "known_only": True, "dtype": "float32"
    }  # fmt: skip


def _parameters(words: list[str]) -> dict[str, object]:
    """What the command line makes of its words, by the names of its parameters."""
    group = typer.main.get_command(run_app)
    command = group.commands["editing"]  # type: ignore[attr-defined]
    return dict(command.make_context("editing", list(words)).params)


def test_every_setting_of_the_run_is_on_the_page(folder, page):
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert {name.replace("_", " ") for name in settings} <= set(Elements(page).text("dt"))
    assert "the model does not say the old object: 1,207" in page


# Runs with less in them


@pytest.mark.slow
def test_a_run_without_one_table_or_with_one_alone_still_makes_a_page(tmp_path):
    run = made(tmp_path, methods=("ft_m", "kn"), cases=4, in_turn=3, together=3, layers=4)
    tables = {name: run / "tables" / f"{name}.parquet" for name in TABLES}
    kept = {name: path.read_bytes() for name, path in tables.items()}
    for gone in [{name} for name in TABLES] + [set(TABLES) - {name} for name in TABLES]:
        for name, path in tables.items():
            path.write_bytes(kept[name])
            if name in gone:
                path.unlink()
        assert "nan" not in words(page_of(run)), gone


def test_experiments_that_were_not_made_are_said_not_to_have_been(tmp_path):
    run = made(tmp_path, empty=tuple(TABLES))
    said = headings(page_of(run))
    for sentence in (
        "No facts were edited one by one", "No methods were compared", "Nothing was asked of the requests",
        "Nothing was asked of other wordings", "Whether the rest is left alone was not measured",
        "Nothing was asked of questions that hang on the edit", "What teacher forcing says was not measured",
        "No facts were edited in turn", "No facts were edited together", "No facts were edited at every layer",
        "Knowledge neurons were not held against random ones", "What was edited is not recorded",
    ):  # fmt: skip
        assert sentence in said
    assert {one.short for one in answers_of(run)} == {"Not measured"}


@pytest.mark.parametrize("method", EVERY)
def test_one_method_alone_makes_a_page_that_calls_it_no_best(tmp_path, method):
    run = made(tmp_path, methods=(method,), refused=0, cases=10)
    text = answer(run, "edits take")[1]
    assert text.startswith(plain(f"With {name_of(method)} the new object is the first choice in "))
    assert "nan" not in words(page_of(run))


def test_a_masked_model_writes_nothing_freely_and_has_no_perplexity(tmp_path):
    run = made(tmp_path, masked=True)
    assert answer(run, "teacher")[0] == "Not measured"
    page = page_of(run)
    assert "written freely in" not in page and "rest-perplexity" not in figures_of(page)


def test_what_no_case_has_is_said_to_be_missing(tmp_path):
    run = made(tmp_path, lacking=("portability", "neighbour", "unrelated"))
    for about in ("follows from", "left alone"):
        assert answer(run, about)[0] == "Not measured"
    assert "neighbours" not in page_of(run).partition('<table class="methods">')[2].partition("</thead>")[0]


def test_a_run_of_one_refused_case_makes_a_page(tmp_path):
    run = made(tmp_path, methods=("rome",), cases=1, refused=1)
    assert answer(run, "edits take")[0] == "Not measured" and "1 case of 1 relation" in headings(page_of(run))


def test_other_folders_and_damaged_tables_are_refused(folder, tmp_path):
    assert report_of(folder).answers_of(folder) == answers_of(folder)
    run = altered(folder, tmp_path, "cases")
    pl.DataFrame({"method": ["a"]}).write_parquet(run / "tables" / "methods.parquet")
    with pytest.raises(BadFile, match="has no column 'asked'; it has method"):
        page_of(run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    with pytest.raises(BadFile, match=r"is not complete \(its status is 'running'\)"):
        page_of(run)


def test_many_methods_and_relations_are_all_named(many):
    text = plain(" ".join(Elements(many).text("th")))
    assert all(plain(name_of(method)) in text for method in (*EVERY, RANDOM))
    assert "92 further cases of 100" in many and ">30</dd>" in many


def test_every_column_of_the_table_of_methods_is_a_metric_of_the_run(folder):
    known = set(pl.read_parquet(folder / "tables" / "methods.parquet").select("asked", "metric").iter_rows())
    assert {(one.asked, one.metric) for one in methods.COLUMNS} <= known


# In a browser


@needs_chromium
def test_the_page_opens_without_a_complaint_and_draws_every_figure(evil):
    opens_without_a_complaint(evil)
    assert draws_every_figure_that_is_to_be_seen(evil) > 14


@pytest.mark.slow
@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(many):
    fits_a_narrow_screen(many)


def test_the_first_clause_of_each_answer_has_its_figure(folder):
    answers_begin_with_their_figure(folder)
