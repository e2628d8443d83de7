"""The page of a QRNCA run: what it says follows the data, and nothing of the data is markup."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import polars as pl
import pytest
from chromium import needs_chromium
from elements import Elements
from fake_qrnca import METHODS, Truth, fake_run
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
    shown_after_choosing,
)

from locant.errors import BadFile
from locant.reports.qrnca import answers_of, page_of
from locant.reports.qrnca.finding import headline
from locant.reports.qrnca.neurons import overlaps
from locant.reports.qrnca.run import TABLES, read_run
from locant.reports.qrnca.terms import Terms, ratio_above
from locant.types import Interval

HELD = "held-out question"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("small"), Truth(groups=("arts", "law"), questions=3))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("evil"), Truth(hostile=EVIL, questions=6)))


def found_by(ratio: tuple[float, float, float], related: tuple[float, float, float], **more: object) -> Terms:
    given = {"operation": "boost", "kind": "finite", "is_bounded": True, "n": 20} | more
    n = given.pop("n")
    unrelated = Interval(0.05, 0.01, 0.09, n)
    return Terms(related=Interval(*related, n), unrelated=unrelated, ratio=Interval(*ratio, n), **given)


# One file, and safe


def test_every_figure_has_an_element_and_a_table_with_its_numbers(page):
    assert every_figure_has_an_element_and_a_table(page) > 30


def test_every_figure_states_its_n_its_interval_and_its_control(page):
    findings = Elements(page.partition('<section id="made"')[0])
    captions = findings.text("p", **{"class": "caption"})
    assert len(captions) > 10
    for text in captions:
        assert re.search(r"\binterval", text) and re.search(r"[Cc]ontrol|References", text), text


def test_nothing_is_fetched_from_anywhere_and_links_lead_into_the_page(evil):
    nothing_is_fetched_and_links_lead_into_the_page(evil)


def test_markup_in_groups_tokens_and_the_model_stays_text(evil):
    markup_stays_text(evil, "QRNCA: almanac", "td", "bdi", "dd")
    figures_take_markup_as_text(evil)


# What it says is what the data say


def test_equal_runs_give_equal_bytes(page, tmp_path):
    assert page_of(fake_run(tmp_path / "another place")) == page


def test_the_title_has_both_changes_of_the_table(folder):
    ratios = pl.read_parquet(folder / "tables" / "ratios.parquet")
    row = ratios.filter(
        (pl.col("method") == "qrnca") & (pl.col("group") == "all") & (pl.col("evaluation") == HELD)
        & (pl.col("operation") == "boost")
    ).row(0, named=True)  # fmt: skip
    assert headline(read_run(folder)) == (
        f"On held-out questions, boosting the neurons changes related answers by +{100 * row['related']:.0f}%, "
        f"unrelated ones by +{100 * row['unrelated']:.0f}%"
    )


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pl.lit(0.3).alias("mass"), "they have 30% of the probability"),
        ((pl.col("letter") == "A").alias("right"), "are right, chance is 25%"),
    ],
)
def test_a_model_that_does_not_answer_in_letters_is_named_as_one(folder, tmp_path, column, why):
    assert answer(folder, "in letters")[0] == "Yes"
    run = altered(folder, tmp_path, "prompts", column)
    assert answer(run, "in letters")[0] == "No"
    title = Elements(page_of(run)).text("h1")[0]
    assert title.startswith("The model does not answer in letters") and why in title


def test_moving_related_answers_more_takes_a_ratio_above_one_and_the_right_direction():
    up, down, none = (0.3, 0.2, 0.4), (-0.3, -0.4, -0.2), (0.1, -0.1, 0.3)
    high, low, wide = (6.0, 2.0, 9.0), (0.4, 0.2, 0.8), (2.0, 0.5, 4.0)
    assert found_by(high, up).sign == 1
    assert found_by(wide, up).sign == found_by(high, none).sign == 0
    assert found_by(high, down).sign == -1
    assert found_by(high, down, operation="suppress").sign == 1
    assert found_by(low, up).sign == -1
    assert found_by(low, up, is_bounded=False).sign == 0
    assert found_by(high, up, n=5).sign == 0
    assert found_by((math.nan,) * 3, up, kind="undefined").sign == 0


def test_a_ratio_without_a_limit_is_said_to_have_none():
    plain = found_by((4.4, 2.1, 9.0), (0.3, 0.2, 0.4))
    assert plain.ratio_text == "4.4\u00a0[2.1,\u00a09.0]"
    assert found_by((41.2, 3.2, 900.0), (0.3, 0.2, 0.4), is_bounded=False).ratio_text.endswith("no upper limit]")
    endless = found_by((math.inf, 3.0, math.inf), (0.3, 0.2, 0.4), kind="infinite")
    assert endless.ratio_text == "infinite\u00a0[3.0,\u00a0no upper limit]"
    assert found_by((math.nan,) * 3, (0.0, 0.0, 0.0), kind="undefined").ratio_text == "undefined"
    assert "related" in plain.in_words() and "unrelated" in plain.in_words()


def test_the_ratio_never_stands_without_its_terms(page):
    for table in re.findall(r"<table>.*?</table>", page, flags=re.S):
        names = re.findall(r"<th[^>]*>([^<]*)</th>", table)
        assert "ratio" not in names or {"related", "unrelated"} <= set(names)


def test_the_verdict_on_related_answers_flips_with_who_is_asked(folder, tmp_path):
    assert answer(folder, "move related")[0] == "Yes"
    swapped = [
        pl.col(f"{name}{end}").alias(f"{other}{end}")
        for name, other in (("related", "unrelated"), ("unrelated", "related"))
        for end in ("", "_low", "_high")
    ]
    ends = {"ratio": "ratio", "ratio_low": "ratio_high", "ratio_high": "ratio_low"}
    inverse = [(1 / pl.col(name)).alias(other) for name, other in ends.items()]
    run = altered(folder, tmp_path, "ratios", *swapped, *inverse, pl.lit(True).alias("bounded"))
    assert answer(run, "move related")[0] == "No"


def test_only_what_is_held_out_answers(folder, tmp_path):
    run = altered(folder, tmp_path, "ratios", pl.lit("in-sample").alias("evaluation"))
    short, text = answer(run, "move related")
    assert short == "Not measured" and "In sample" in text


def test_being_ahead_is_judged_over_the_same_questions(folder, tmp_path):
    run = read_run(folder)
    assert ratio_above(run, HELD, "boost", "qrnca without ICA") == 1
    assert ratio_above(run, HELD, "boost", "qrnca") == 0
    assert ratio_above(run, HELD, "boost", "no such method") is None
    names = {"qrnca": "knowledge neurons", "knowledge neurons": "qrnca"}
    swapped = read_run(altered(folder, tmp_path, "changes", pl.col("method").replace(names)))
    assert ratio_above(swapped, HELD, "boost", "knowledge neurons") == -1


def test_a_method_that_is_as_good_is_not_said_to_be_beaten(tmp_path):
    alike = dict.fromkeys(METHODS, 0.1)
    short, text = answer(fake_run(tmp_path, Truth(spill=alike)), "beat")
    assert short == "Partly"
    assert "itself without ICA" in text and "not shown:" in text


def test_pairs_are_marked_that_differ_from_shuffled_blocks_over_all_of_them(folder, tmp_path, page):
    assert [one.sign for one in overlaps(read_run(folder))].count(-1) == 12
    assert [one.sign for one in overlaps(read_run(folder), null="questions")].count(-1) == 15
    short, text = answer(folder, "of their own")
    assert short == "Partly" and "12 of 15 pairs of groups share fewer neurons than shuffled relations" in text
    assert "Against questions shuffled one by one it would be 15." in text
    assert "a difference of +0.030, shuffled relations +0.001 [−0.010, +0.010], p = 0.002" in text
    figure = figures_of(page)["overlap-matrix"]
    assert json.dumps(figure, ensure_ascii=False).count("▼") == 24
    # One p of 0.04 among fifteen is what chance gives
    p = (
        pl.when(pl.col("first").str.starts_with("biology") & (pl.col("second") == "physics"))
        .then(0.04)
        .otherwise(0.6)
    )
    assert answer(altered(folder, tmp_path, "overlap", p.alias("p")), "of their own")[0] == "Not shown"


def test_where_there_are_only_questions_to_shuffle_the_verdict_is_of_these_and_says_so(tmp_path):
    run = fake_run(tmp_path, Truth(blocks=False))
    short, text = answer(run, "of their own")
    assert short == "Yes" and "than shuffled questions" in text and "one by one" not in text
    assert "nothing but questions to shuffle (no relation within the groups is known)" in text
    assert "nothing but questions to shuffle" in page_of(run)


def test_random_neurons_of_other_layers_are_told_of(folder, page, tmp_path):
    assert "have not as many others" not in page
    other = pl.col("matched") & ~(pl.col("question").str.ends_with("/1") & (pl.col("method") == "random"))
    assert "of any layer for 6 questions" in page_of(altered(folder, tmp_path, "changes", other))


def test_chance_comes_from_the_number_of_options_and_not_from_the_letters_that_were_seen(folder, tmp_path):
    assert "chance is 25%" in answer(folder, "in letters")[1]
    run = altered(folder, tmp_path, "prompts", pl.lit(5).alias("options"))
    assert "5 letters" in answer(run, "in letters")[1] and "chance is 20%" in answer(run, "in letters")[1]


def test_flipping_unrelated_answers_as_often_is_not_called_flipping(folder, tmp_path):
    assert answer(folder, "flipped")[0] == "Yes"
    rows = pl.read_parquet(folder / "tables" / "editing.parquet")
    related = rows.filter(pl.col("asked") == "related")
    both = pl.concat([related, related.with_columns(asked=pl.lit("unrelated"))])
    run = altered(folder, tmp_path, "questions")
    both.write_parquet(run / "tables" / "editing.parquet")
    short, text = answer(run, "flipped")
    assert short == "Not shown" and "of unrelated ones" in text


def test_flipping_no_more_than_random_neurons_is_not_called_flipping(folder, tmp_path):
    assert answer(folder, "flipped")[0] == "Yes"
    same = [pl.lit(value).alias(name) for name, value in (("share", 0.02), ("low", 0.0), ("high", 0.05))]
    short, text = answer(altered(folder, tmp_path, "editing", *same), "flipped")
    assert short == "Not shown" and "is not shown" in text


def test_prediction_is_held_against_random_neurons_and_another_groups(folder, tmp_path):
    short, text = answer(folder, "predict answers")
    assert short == "Partly"
    assert "value vectors (a) 50% [44, 56] (no neurons 25% [19, 31], random neurons 30% [24, 36]" in text
    assert "+20 points [+12, +28] beyond random neurons" in text
    # Above chance by far, and yet no more than with anybody's neurons
    assert answer(fake_run(tmp_path / "same", Truth(predicted=0.9, gain=0.0)), "predict answers")[0] == "Not shown"
    one = pl.when(pl.col("against") == "random").then(pl.col("low")).otherwise(-0.1).alias("low")
    assert answer(altered(folder, tmp_path / "one", "gains", one), "predict answers")[0] == "Not shown"
    less = [pl.lit(value).alias(name) for name, value in (("gain", -0.2), ("low", -0.3), ("high", -0.1))]
    assert answer(altered(folder, tmp_path / "less", "gains", *less), "predict answers")[0] == "No"


def test_every_control_of_a_prediction_is_in_its_figure(page):
    figures = figures_of(page)
    told = json.dumps(figures["prediction-0"], ensure_ascii=False)
    for whose in ("the group’s:", "no neurons:", "random neurons:", "another group’s:"):
        assert told.count(whose) == 4, whose


def test_commands_and_every_setting_are_given(folder, page):
    commands = Elements(page).text("pre")[0].splitlines()
    assert commands[0].startswith(
        "locant run qrnca --model almanac --dtype float32 --data almanac "
        "--groups biology,geography --limit 30 --known-only --mode paper --wrong-answers"
    )
    assert commands[0].endswith("--seed 0 --setting dai.steps=16 --out RUN") and commands[1] == "locant report RUN"
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert {name.replace("_", " ") for name in settings} <= set(Elements(page).text("dt"))


# Runs with less in them


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_run_without_one_of_its_tables_still_has_a_page(small, tmp_path, name):
    run = altered(small, tmp_path, "questions")
    (run / "tables" / f"{name}.parquet").unlink()
    page = page_of(run)
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S))


def test_experiments_that_were_not_made_are_said_not_to_have_been(folder, tmp_path):
    run = altered(folder, tmp_path, "questions")
    for name in TABLES:
        pl.DataFrame().write_parquet(run / "tables" / f"{name}.parquet")
    text = headings(page_of(run))
    for sentence in (
        "How the model answers was not measured", "No neurons were touched", "Whether answers flip was not measured",
        "No answer was predicted from neurons alone", "No neurons were counted", "What groups share was not measured",
        "In which layers neurons are was not counted", "No neuron is common", "What locating cost was not measured",
    ):  # fmt: skip
        assert sentence in text
    assert {one.short for one in answers_of(run)} == {"Not measured"}


def test_one_group_of_few_questions_shows_nothing(tmp_path):
    run = fake_run(tmp_path, Truth(groups=("arts",), questions=3))
    assert answer(run, "move related")[0] == answer(run, "beat")[0] == "Not shown"
    assert answer(run, "of their own")[0] == "Not measured"
    assert page_of(run)


def test_other_runs_and_incomplete_ones_are_refused(folder, tmp_path):
    with pytest.raises(BadFile, match=r"is not complete \(its status is 'running'\)"):
        page_of(fake_run(tmp_path / "running", Truth(groups=("arts", "law"), questions=2, status="running")))
    run = altered(folder, tmp_path / "run", "questions")
    pl.DataFrame({"group": ["a"]}).write_parquet(run / "tables" / "ratios.parquet")
    with pytest.raises(BadFile, match="has no column 'method'; it has group"):
        page_of(run)
    (run / "manifest.json").write_text('{"recipe": "ask", "status": "complete"}')
    with pytest.raises(BadFile, match="a run of 'ask', not of 'qrnca'"):
        page_of(run)


# In a browser


@needs_chromium
def test_the_page_opens_without_a_complaint(evil):
    opens_without_a_complaint(evil)


@needs_chromium
def test_every_figure_that_is_to_be_seen_is_drawn(evil):
    assert draws_every_figure_that_is_to_be_seen(evil) > 15


@needs_chromium
def test_choosing_an_evaluation_shows_it_wherever_there_is_one(page):
    shown = shown_after_choosing(page, '#change [data-choose="2"]', "change-2-boost")
    assert shown == ["change2", "change-groups2", "editing2"]


@pytest.mark.slow
@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(evil):
    fits_a_narrow_screen(evil)


def test_the_first_clause_of_each_answer_has_its_figure(folder):
    answers_begin_with_their_figure(folder)
