"""The page of a query-localization run: what it says follows the data, and nothing of the data is markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from chromium import needs_chromium
from elements import Elements
from fake_query_localization import Truth, fake_run
from pages import (
    EVIL,
    altered,
    answer,
    answers_begin_with_their_figure,
    draws_every_figure_that_is_to_be_seen,
    every_figure_has_an_element_and_a_table,
    figures_take_markup_as_text,
    fits_a_narrow_screen,
    headings,
    markup_stays_text,
    nothing_is_fetched_and_links_lead_into_the_page,
    opens_without_a_complaint,
    shown_after_choosing,
)

from locant.errors import BadFile
from locant.evaluations import interval
from locant.reports.lines import spread
from locant.reports.means import apart, difference, doubt, mean, side
from locant.reports.query_localization import page_of
from locant.reports.query_localization.finding import answers, headline
from locant.reports.query_localization.heat_maps import strongest
from locant.reports.query_localization.run import TABLES, read_run
from locant.types import Interval


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("evil"), Truth(hostile=EVIL, facts=6, touched=4)))


# One file, and safe


def test_every_figure_has_an_element_and_a_table_or_its_numbers_nearby(page):
    assert every_figure_has_an_element_and_a_table(page) > 15


def test_nothing_is_fetched_from_anywhere(evil):
    nothing_is_fetched_and_links_lead_into_the_page(evil)


def test_every_link_leads_to_a_place_in_the_page(page):
    elements = Elements(page)
    ids = {attrs.get("id") for _, attrs in elements.found}
    links = [attrs["href"] for tag, attrs in elements.found if tag == "a"]
    assert len(links) > 5 and {str(link).removeprefix("#") for link in links} <= ids


def test_markup_in_relations_prompts_and_the_model_stays_text(evil):
    markup_stays_text(evil, "Query localization: almanac", "td", "dd")
    assert any(text.endswith(f"{EVIL} is") for text in Elements(evil).text("bdi"))


def test_figures_take_markup_in_names_as_text(evil):
    figures_take_markup_as_text(evil)


# What it says is what the data say


def test_equal_runs_give_equal_bytes(page, tmp_path):
    assert page_of(fake_run(tmp_path / "another place")) == page


def test_an_interval_is_the_bootstrap_over_facts_of_the_tables_own_rows(folder, page):
    rows = pl.read_parquet(folder / "tables" / "consistency.parquet").filter(
        (pl.col("localizer") == "dai") & pl.col("matched")
    )
    kinds = torch.tensor([float(kind == "inconsistent") for kind in rows["kind_static"]], dtype=torch.float64)
    found = interval(kinds, rows["fact"].to_list())
    said = f"{100 * found.mean:.0f}% [{100 * found.low:.0f}, {100 * found.high:.0f}] of 72 facts have a CS2 below 0.3"
    assert answer(folder, "inconsistent?")[1].startswith(said)
    assert said in page.replace("\u00a0", " ")


def test_differences_are_of_the_same_queries_and_averaged_over_facts():
    rows = pl.DataFrame(
        {
            "fact": ["a", "a", "a", "a", "b", "b", "c"],
            "query": ["1", "1", "2", "2", "3", "3", "4"],
            "set": ["own", "other", "own", "other", "own", "other", "own"],
            "change": [-0.8, -0.2, -0.6, -0.2, -0.1, -0.4, -1.0],
        }
    )
    found = difference(rows, "change", "set", "own", "other")
    assert found is not None and found.n == 2
    assert found.mean == pytest.approx(((-0.6 - 0.4) / 2 + 0.3) / 2)


def test_values_that_are_missing_or_not_finite_are_no_part_of_a_mean():
    rows = pl.DataFrame({"fact": ["a", "b", "c", "d"], "x": [1.0, 3.0, float("nan"), None]})
    found = mean(rows, "x")
    assert found is not None and (found.mean, found.n) == (2.0, 2)
    assert mean(rows.filter(pl.col("fact") == "d"), "x") is None


def test_five_facts_show_nothing_whatever_their_values_and_six_may():
    few, many = Interval(-0.9, -0.95, -0.8, 5), Interval(-0.9, -0.95, -0.8, 6)
    other = Interval(0.5, 0.4, 0.6, 9)
    assert (side(few), side(many)) == (0, -1)
    assert (apart(few, other), apart(many, other)) == (False, True)
    assert (doubt(few), doubt(many)) == (", of 5 facts only", "")
    assert [side(Interval(0.1, low, high, 9)) for low, high in ((0.05, 0.2), (-0.1, 0.2), (-0.3, -0.1))] == [1, 0, -1]


@pytest.mark.parametrize(("jaccard", "said"), [(0.0, "share 0% of their neurons"), (0.47, "share 47% of")])
def test_the_title_says_how_much_two_wordings_share_beside_two_facts(folder, tmp_path, jaccard, said):
    run = altered(folder, tmp_path, "consistency", pl.lit(jaccard).alias("jaccard"))
    assert said in Elements(page_of(run)).text("h1")[0]
    assert headline(read_run(run)).endswith("; of two facts, 6.0%")


@pytest.mark.parametrize(("kind", "said"), [("inconsistent", "100%"), ("consistent", "0%")])
def test_the_share_of_inconsistent_facts_follows_their_kinds(folder, tmp_path, kind, said):
    run = altered(folder, tmp_path, "consistency", pl.lit(kind).alias("kind_static"))
    assert answer(run, "inconsistent?")[0] == said


def test_a_null_that_explains_the_agreement_is_said_to(folder, tmp_path):
    assert answer(folder, "relation explains")[0] == "Yes"
    run = altered(folder, tmp_path, "nulls", pl.lit(0.4).alias("p"), pl.col("observed").alias("expected"))
    short, text = answer(run, "relation explains")
    assert short == "No" and "the null explains their agreement" in text
    assert "agree no more than those of different facts" in headings(page_of(run))


def test_noise_of_the_localizer_is_named_where_it_could_be_the_reason(folder, tmp_path):
    assert "noise does not explain" in answer(folder, "relation explains")[1]
    low = [pl.lit(value).alias(name) for name, value in (("jaccard", 0.2), ("low", 0.1), ("high", 0.3))]
    assert "noise may explain" in answer(altered(folder, tmp_path, "noise", *low), "relation explains")[1]


def test_own_neurons_win_only_where_the_paired_difference_excludes_zero(folder, tmp_path):
    short, text = answer(folder, "own neurons")
    assert short == "Yes" and "The difference is larger in inconsistent facts" in text
    swapped = pl.col("set").replace({"own": "neighbour", "neighbour": "own"})
    short, text = answer(altered(folder, tmp_path / "swapped", "mapping", swapped), "own neurons")
    assert short == "No"
    even = altered(folder, tmp_path / "even", "mapping", pl.lit(-0.3).alias("change"))
    short, text = answer(even, "own neurons")
    assert (
        short == "Not shown" and "which includes zero" in text and "than as many random neurons is not shown" in text
    )
    assert "That a query’s own neurons move its answer more than its neighbours’ do is not shown" in headings(
        page_of(even)
    )


def test_own_neurons_that_do_no_more_than_random_ones_are_not_called_the_querys(folder, tmp_path):
    """Neighbours' neurons may do less than own ones, and random ones as much: then nothing is shown."""
    change = pl.when(pl.col("set") == "neighbour").then(0.0).otherwise(-0.3)
    short, text = answer(altered(folder, tmp_path, "mapping", change.alias("change")), "own neurons")
    assert short == "Not shown" and "That they do more than as many random neurons is not shown" in text


def test_sets_without_neurons_are_no_part_of_a_bar(folder, tmp_path):
    zero = pl.when(pl.col("size") == 0).then(0.0).otherwise(pl.col("change")).alias("change")
    run = altered(folder, tmp_path, "mapping", zero)
    assert page_of(run) == page_of(folder)


def test_the_verdict_on_synapses_flips_with_the_columns(folder, tmp_path):
    assert answer(folder, "synapses")[0] == "Yes"
    swapped = pl.col("columns").replace({"own": "irrelevant", "irrelevant": "own"})
    run = altered(folder, tmp_path, "synapses", swapped)
    assert answer(run, "synapses")[0] == "No"
    assert "lose less than without other columns" in headings(page_of(run))


def test_the_first_token_is_named_where_the_effect_hangs_on_it(folder, tmp_path):
    assert "this stays so" in answer(folder, "synapses")[1]
    none = pl.when(pl.col("weighing") == "without the first token").then(0.0).otherwise(pl.col("activation_change"))
    run = altered(folder, tmp_path, "synapses", none.alias("activation_change"))
    assert "this does not stay so" in answer(run, "synapses")[1]


@pytest.mark.slow
def test_the_verdict_on_editing_flips_with_the_sets(folder, tmp_path):
    assert answer(folder, "edit better")[0] in ("Yes", "Partly")
    swapped = pl.col("set").replace({"CAS": "N_g", "N_g": "CAS"})
    assert "worse in" in headings(page_of(altered(folder, tmp_path / "swapped", "edits", swapped)))
    columns = [pl.lit(0.5).alias(name) for name in ("generalisation", "locality", "cloze_change", "text_change")]
    same = altered(folder, tmp_path / "same", "edits", *columns)
    short, text = answer(same, "edit better")
    assert short == "Not shown" and text.count("which includes zero") == 6
    assert "not shown to be better in any of 3 comparisons when erasing and updating" in headings(page_of(same))


def test_without_running_text_perplexity_is_of_other_facts_answers(tmp_path):
    run = fake_run(tmp_path, Truth(facts=6, touched=4, texts=False))
    assert "perplexity of other facts’ answers" in answer(run, "edit better")[1]
    assert "perplexity of running text" not in answer(run, "edit better")[1]


def test_the_share_under_every_localizer_counts_facts_that_all_of_them_scored(folder, tmp_path):
    one = pl.when((pl.col("localizer") == "sig") & (pl.col("fact") == "colour of/0")).then(None)
    kinds = pl.when(pl.col("localizer") == "amig").then(pl.lit("consistent")).otherwise(pl.lit("inconsistent"))
    run = altered(folder, tmp_path, "consistency", one.otherwise(kinds).alias("kind_static"))
    assert "; 0% [0, 0] are so under every one of 3 localizers" in answer(run, "inconsistent?")[1]


@pytest.mark.slow
def test_facts_are_compared_at_equal_numbers_where_the_run_matched_them(folder, tmp_path, page):
    unmatched = pl.when(pl.col("matched")).then(pl.col("cs2")).otherwise(0.77).alias("cs2")
    other = page_of(altered(folder, tmp_path / "a", "consistency", unmatched))
    assert re.findall(r'"violins-0":\{.*?"violins-1"', other) == re.findall(r'"violins-0":\{.*?"violins-1"', page)
    alone = altered(folder, tmp_path / "b", "consistency", pl.lit(False).alias("matched"))
    assert "scored as found, with unequal numbers" in page_of(alone)


def test_the_commands_that_make_the_run_and_the_page_again_are_given(page):
    commands = Elements(page).text("pre")[0].splitlines()
    assert commands[0].startswith("locant run query-localization --model almanac --dtype float32 --data almanac")
    assert " --localizers dai,sig,amig --share 0.2 --static 0.3 " in commands[0]
    assert " --data almanac --relations capital --localizers " in commands[0]
    assert commands[0].endswith("--seed 0 --setting sig.steps=3 --out RUN")
    assert commands[1] == "locant report RUN"


def test_every_setting_of_the_run_is_on_the_page(folder, page):
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    names = Elements(page).text("dt")
    assert {name.replace("_", " ") for name in settings} <= set(names)


# Runs with less in them


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TABLES) - {"betas_by_fact"}))
def test_a_run_without_one_of_its_tables_still_has_a_page(folder, tmp_path, name):
    run = altered(folder, tmp_path, "facts")
    (run / "tables" / f"{name}.parquet").unlink()
    page = page_of(run)
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", page, flags=re.S))


@pytest.mark.slow
def test_a_table_without_rows_is_the_same_as_none(folder, tmp_path):
    run = altered(folder, tmp_path, "facts")
    pl.DataFrame().write_parquet(run / "tables" / "synapses.parquet")
    empty = page_of(run)
    (run / "tables" / "synapses.parquet").unlink()
    assert page_of(run) == empty
    assert "No synapse was touched" in headings(empty)


def test_experiments_that_were_not_made_are_said_not_to_have_been(folder, tmp_path):
    run = altered(folder, tmp_path, "facts")
    for name in TABLES:
        pl.DataFrame().write_parquet(run / "tables" / f"{name}.parquet")
    said = headings(page_of(run))
    for sentence in (
        "No fact could be scored", "No fact was scored", "No activations were kept", "No set of neurons was touched",
        "No synapse was touched", "No fact was edited", "What locating cost was not measured",
    ):  # fmt: skip
        assert sentence in said
    assert {one.short for one in answers(read_run(run))} == {"Not measured"}


@pytest.mark.parametrize("kind", ["consistent", "inconsistent"])
def test_a_run_with_one_kind_of_facts_names_the_other_as_missing(tmp_path, kind):
    run = fake_run(tmp_path, Truth(facts=6, touched=4, kinds=(kind,)))
    other = {"consistent": "inconsistent", "inconsistent": "consistent"}[kind]
    assert f"No {other} fact was touched." in page_of(run)
    assert f"There are no {other} facts to compare with." in answer(run, "own neurons")[1]


def test_one_fact_of_each_kind_is_not_enough_to_show_anything(tmp_path):
    run = fake_run(tmp_path, Truth(facts=6, touched=1))
    for about, said in (("own neurons", "Not shown"), ("synapses", "Too few cases"), ("edit better", "Not shown")):
        short, text = answer(run, about)
        assert short == said and re.search("of (1 fact|2 facts) only", text), (about, short, text)


def test_neurons_of_each_localizer_in_a_file_of_its_own_are_read_as_one_table(folder, tmp_path, page):
    run = altered(folder, tmp_path, "facts")
    whole = run / "tables" / "neurons.parquet"
    for (name,), own in pl.read_parquet(whole).partition_by("localizer", as_dict=True).items():
        own.write_parquet(run / "tables" / f"neurons_{name}.parquet")
    whole.unlink()
    assert page_of(run) == page


# Runs that are refused


def test_a_run_that_is_not_complete_is_refused_in_one_sentence(folder, tmp_path):
    run = altered(folder, tmp_path, "facts")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    with pytest.raises(BadFile, match=r"is not complete \(its status is 'running'\)") as refused:
        page_of(run)
    assert "\n" not in str(refused.value)


def test_other_folders_and_damaged_tables_are_refused(folder, tmp_path):
    with pytest.raises(BadFile, match=r"has no manifest\.json"):
        page_of(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BadFile, match="not a run's manifest"):
        page_of(tmp_path)
    (tmp_path / "manifest.json").write_text('{"recipe": "ask", "status": "complete"}')
    with pytest.raises(BadFile, match="a run of 'ask', not of 'query-localization'"):
        page_of(tmp_path)
    run = altered(folder, tmp_path / "run", "facts")
    pl.DataFrame({"fact": ["a"]}).write_parquet(run / "tables" / "mapping.parquet")
    with pytest.raises(BadFile, match="has no column 'localizer'; it has fact"):
        page_of(run)
    (run / "tables" / "mapping.parquet").write_text("not Parquet")
    with pytest.raises(BadFile, match="cannot be read"):
        page_of(run)


# Figures


def test_labels_at_the_ends_of_lines_do_not_overlap_and_stay_near_them():
    placed = spread([0.5, 0.51, 0.9, 0.505], 0.05)
    assert np.diff(sorted(placed)).min() >= 0.05 - 1e-12
    assert np.argsort(placed).tolist() == [0, 3, 1, 2]
    assert placed == pytest.approx([0.455, 0.555, 0.9, 0.505])
    assert spread([0.1, 0.7], 0.05) == [0.1, 0.7]
    assert spread([1.0, 1.0, 1.0], 0.05, highest=1.0) == pytest.approx([0.9, 0.95, 1.0])


def test_a_cell_of_several_neurons_shows_the_one_farthest_from_zero():
    values = np.random.default_rng(0).standard_normal((3, 23))
    values[1, 5] = np.nan
    winners = strongest(values, 5)
    assert winners.shape == (3, 5)
    for layer in range(3):
        for cell in range(5):
            inside = [n for n in range(5 * cell, min(23, 5 * cell + 5)) if not np.isnan(values[layer, n])]
            assert winners[layer, cell] == max(inside, key=lambda n: abs(values[layer, n]))


@needs_chromium
def test_the_page_opens_without_a_complaint(page, evil):
    opens_without_a_complaint(page)
    opens_without_a_complaint(evil)


@needs_chromium
def test_every_figure_that_is_to_be_seen_is_drawn(evil):
    assert draws_every_figure_that_is_to_be_seen(evil) > 15


@needs_chromium
def test_choosing_a_localizer_shows_its_findings_wherever_it_has_some(page):
    shown = shown_after_choosing(page, '#consistency [data-choose="2"]', "violins-2")
    assert shown == ["consistency2", "mapping0", "editing2"]


@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(evil):
    fits_a_narrow_screen(evil)


def test_the_first_clause_of_each_answer_has_its_figure(folder):
    answers_begin_with_their_figure(folder)
