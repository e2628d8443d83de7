"""The page of a MATRICE run: what it says follows the data, and nothing of the data is markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import torch
from chromium import needs_chromium
from elements import Elements
from fake_matrice import MANY, Truth, fake_run
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
)

from locant.errors import BadFile
from locant.evaluations import interval
from locant.recipes.matrice import Plan
from locant.recipes.matrice.counted import agreement_rows
from locant.recipes.matrice.judged import matrix_rows
from locant.recipes.matrice.sharing import verdict_rows
from locant.reports.matrice import agreement, answers_of, page_of, sharing, verdicts
from locant.reports.matrice.finding import headline
from locant.reports.matrice.means import reaches
from locant.reports.matrice.reach import HERE, KNOWN, UNKNOWN, Read, read
from locant.reports.matrice.run import TABLES, read_run
from locant.reports.matrice.squares import square
from locant.reports.matrice.verdicts import among_known
from locant.reports.registry import report_of
from locant.types import Interval


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(folder)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("evil"), Truth(hostile=EVIL, facts=4)))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_run(tmp_path_factory.mktemp("many"), Truth(languages=MANY, facts=4)))


def made(place: Path, **truth: object) -> Path:
    return fake_run(place, Truth(**truth))  # type: ignore[arg-type]


def words(html: str) -> set[str]:
    """What is to be read on a page, word by word."""
    return set(re.findall(r"\w+", re.sub(r"<script.*?</script>", "", html, flags=re.S)))


def findings(run: Path, stage: ModuleType) -> str:
    """The headings of one part of a page."""
    return "\n".join(block.heading for one in stage.sections(read_run(run)) for block in one.blocks.values())


# One file, and safe


def test_every_figure_has_an_element_and_a_table_nearby(page):
    assert every_figure_has_an_element_and_a_table(page) > 15
    for section in page.split("<section ")[1:]:
        assert 'class="plot"' not in section or "ontrol" in section


def test_nothing_is_fetched_from_anywhere_and_links_lead_into_the_page(evil):
    nothing_is_fetched_and_links_lead_into_the_page(evil)


def test_markup_in_relations_answers_and_the_model_stays_text(evil):
    markup_stays_text(evil, "MATRICE: almanac", "td", "dd")


def test_languages_with_markup_for_names_stay_text(tmp_path):
    html = page_of(made(tmp_path, languages=(f"en{EVIL}", "fr"), facts=3))
    elements = Elements(html)
    assert sum(tag == "script" for tag, _ in elements.found) == 3
    assert not [tag for tag, _ in elements.found if tag == "img"]
    figures_take_markup_as_text(html)


# Numbers


def test_equal_runs_give_equal_bytes(evil, tmp_path):
    assert page_of(made(tmp_path / "another place", hostile=EVIL, facts=4)) == evil


def test_a_change_is_the_bootstrap_over_facts_of_the_languages_that_know_them(folder, page):
    rows = pl.read_parquet(folder / "tables" / "touched.parquet").filter(
        (pl.col("set") == "matrice") & (pl.col("operation") == "suppress") & (pl.col("asked") == "related")
    )
    known = pl.read_parquet(folder / "tables" / "facts.parquet").explode("known")
    rows = rows.join(known, left_on=["fact", "language"], right_on=["fact", "known"], maintain_order="left")
    rows = rows.group_by("fact", "language", maintain_order=True).agg(pl.col("before", "after").mean())
    change = ((rows["after"] - rows["before"]) / rows["before"]).to_list()
    found = interval(torch.tensor(change, dtype=torch.float64), rows["fact"].to_list())
    said = f"−{-100 * found.mean:.0f}% [−{-100 * found.low:.0f}, −{-100 * found.high:.0f}]"
    assert f"they change P(answer) by {said}" in answer(folder, "language-agnostic neurons?")[1]
    assert f"change P(answer) by {said}" in page.replace("\u00a0", " ")


def test_answers_without_a_probability_to_lose_are_no_part_of_a_change(folder, tmp_path):
    """Of languages that do not know the fact, and of unrelated queries that are answered wrong anyway."""
    nothing = pl.when(pl.col("before") < 0.5).then(pl.col("before")).otherwise(pl.col("after"))
    run = altered(folder, tmp_path, "touched", nothing.alias("after"))
    assert answers_of(run)[:4] == answers_of(folder)[:4]


def test_what_is_said_anew_is_what_the_recipes_own_summary_says(folder):
    table = pl.read_parquet(folder / "tables" / "edited.parquet").with_columns(
        *(pl.lit(0.1).alias(f"{when}_{what}") for when in ("new", "old") for what in ("before", "after"))
    )
    summary = pl.DataFrame(list(matrix_rows(table, Plan())), infer_schema_length=None).filter(
        (pl.col("source") == "any") & (pl.col("asked") == "related") & pl.col("same_answer").is_null()
    )
    found = read(read_run(folder), "edited", "edited")
    for name, where in (("matrice", HERE), ("own of the language", KNOWN), ("matrice", KNOWN), ("random", KNOWN)):
        row = summary.filter((pl.col("set") == name) & (pl.col("language") == where))
        mean, low, high, n = row.filter(pl.col("what") == "says_new").select("mean", "low", "high", "n").row(0)
        assert found.new(name, where) == Interval(pytest.approx(mean), pytest.approx(low), pytest.approx(high), n)


@pytest.mark.slow
def test_what_was_not_asked_is_said_where_it_is_told(page, tmp_path):
    dropped = {"answer in subject": 1, "answer in prompt": 1200, "facts of too few others": 1}
    said = "Not asked: 1,201 queries of the data that say their own answer (1 in the subject, 1,200 in the prompt)"
    html = page_of(made(tmp_path / "some", dropped=dropped, facts=3))
    assert f"{said}, and 1 fact that had too few others." in html
    none = page_of(made(tmp_path / "none", dropped=dict.fromkeys(dropped, 0), facts=3))
    assert "Not asked: 0 queries of the data that say their own answer." in none and "Not asked" not in page


def test_sizes_verdicts_and_squares_are_those_of_the_tables(folder, page):
    stability = pl.read_parquet(folder / "tables" / "stability.parquet")
    first = next(agreement_rows(stability, Plan()))
    assert first["least"] == 1 and f"A fact has {first['mean']:.1f} neurons that pass in one language" in headings(
        page
    )
    run = read_run(folder)
    several = run["sharing"].filter((pl.col("known").sum().over("fact") > 1) & pl.col("known"))
    counted = dict(several["verdict"].value_counts().iter_rows())
    assert {name: number for name, number in among_known(run).items() if number and name != "known"} == counted
    own = pl.read_parquet(folder / "tables" / "verdicts.parquet").row(0, named=True)
    assert own["count"] == counted.get("shared", 0) and own["pairs"] == sum(counted.values())
    edited = run["edited"].filter((pl.col("set") == "matrice") & (pl.col("asked") == "related"))
    edited = edited.filter((pl.col("source") == "en") & (pl.col("language") == "fr"))
    mean = edited.group_by("fact").agg(pl.col("says_new").mean())["says_new"].mean()
    figure = figures_of(page)["editing-square-0"]
    assert figure["data"][0]["z"][0][1] == pytest.approx(mean, abs=1e-5)


def test_neurons_that_pass_in_several_languages_stand_beside_those_of_several_facts(folder, page):
    table = pl.read_parquet(folder / "tables" / "agreeing.parquet")
    figures = json.loads(Elements(page).text("script", id="figure-data")[0])
    shares = {"agreement-dots": 0.2, "agreement-dots-0": 0.1, "agreement-dots-1": 0.2, "agreement-dots-2": 0.5}
    for uid, share in shares.items():
        rows = table.filter((pl.col("share") == share) & pl.col("least").ne_missing(1))
        for place, of in enumerate(("the fact", "other facts")):
            drawn = figures[uid]["data"][place]["x"]
            assert drawn == pytest.approx(rows.filter(pl.col("of") == of)["mean"].to_list(), abs=1e-4)
    text = answer(folder, "language-agnostic neurons?")[1]
    said = r"agree on 2\.0 \[.*; as many languages, each of another fact of the relation, on 1\.0 \["
    assert re.search(said, text)


@pytest.mark.parametrize(("chance", "shown"), [(0.5, 3), (1.0, 0)])
def test_agreement_is_shown_only_where_it_is_more_than_that_of_several_facts(tmp_path, chance, shown):
    said = f"of one fact than of several is shown at {shown} of 3 shares"
    assert said in findings(made(tmp_path, chance=chance), agreement)


def test_neurons_that_were_not_held_against_other_facts_are_still_counted(folder, tmp_path):
    run = made(tmp_path, empty=("agreeing",))
    assert findings(run, agreement).startswith("A fact has 18.7 neurons that pass in one language or more; in 0%")
    assert "of another fact of the relation, on" not in answer(run, "language-agnostic neurons?")[1]
    html = page_of(run)
    assert 'id="agreement-dots"' in html and "agreement-dots-0" not in html


def test_cells_are_written_in_percent_and_one_that_was_not_measured_stays_empty():
    cells = {("en", "en"): Interval(-0.956, -1, -0.9, 7), ("en", "fr"): Interval(-0.004, -0.01, 0, 7)}
    figure = square(cells, ["en", "fr"], ["en", "fr"], "neurons of", share=False)
    ink, paper = figure.data[1], figure.data[2]
    assert (list(paper.text), list(paper.x), list(paper.y)) == (["−96"], [0], [0])
    assert (list(ink.text), list(ink.x), list(ink.y)) == (["0"], [1], [0])
    assert figure.data[0].z[1][0] is None and "not measured" in figure.data[0].hovertext[1][0]
    assert "n = 7 facts" in figure.data[0].hovertext[0][0]


# What it says is what the data say


def test_the_title_sets_what_all_languages_share_beside_what_each_has(folder, tmp_path):
    said = r"Neurons located for all languages change P\(answer\) by −(39|40)%; those of one .* by −(59|60)%"
    assert re.fullmatch(said, headline(read_run(folder)))
    none = altered(folder, tmp_path, "touched", pl.col("before").alias("after"))
    assert headline(read_run(none)).count(" by 0%") == 2


@pytest.mark.parametrize(
    ("truth", "short", "said"),
    [
        ({}, "Yes", "change its P(answer) by −30% "),
        ({"held_out": -0.03}, "Partly", "The effect is small."),
        ({"held_out": 0.3}, "No", "more than random ones’ in 3 of 3 languages, each by its own interval"),
        ({"agnostic": 0.3}, "Yes", "in 0 of 3 languages"),
        ({"passing": 0}, "Yes", "in 33% "),
        ({"another": -0.4}, "Yes", "Those of another fact of the relation: −40% "),
    ],
)
def test_agnostic_neurons_are_judged_in_a_language_that_had_no_part_in_locating_them(tmp_path, truth, short, said):
    found = answer(made(tmp_path, facts=9, **truth), "language-agnostic neurons?")
    assert found[0] == short, found
    assert said in found[1] or "passing" in truth or "another" in truth
    assert "Languages that know a fact agree on" in found[1]


@pytest.mark.parametrize(
    ("still", "short", "said"),
    [
        (("zh",), "Yes", "in 2 of 3 languages (en and fr)."),
        (("zh", "fr"), "Partly", "in 1 of 3 languages (en)."),
        (("en", "zh", "fr"), "Not shown", "in 0 of 3 languages."),
    ],
)
def test_agnostic_neurons_are_there_only_if_half_of_the_languages_show_them(tmp_path, still, short, said):
    folder = made(tmp_path / "run", facts=9)
    held = pl.col("set").str.starts_with("others than: ") & pl.col("language").is_in(still)
    after = pl.when(held).then(pl.col("before")).otherwise(pl.col("after")).alias("after")
    random = pl.when(pl.col("set") == "random like union 1").then(pl.col("before")).otherwise(after).alias("after")
    found = answer(altered(folder, tmp_path / "some", "touched", random), "language-agnostic neurons?")
    assert found[0] == short and said in found[1], found


def test_languages_of_few_facts_show_nothing_on_their_own(tmp_path):
    found = answer(made(tmp_path, facts=7), "language-agnostic neurons?")
    assert found[0] == "Yes"
    assert "shown on its own, with 10 facts or more, in 2 of 3 languages (en and fr)." in found[1]


def test_what_other_languages_neurons_do_is_the_mean_over_facts_of_the_language_they_lack(folder):
    rows = pl.read_parquet(folder / "tables" / "touched.parquet").filter(
        (pl.col("set") == pl.lit("others than: ") + pl.col("language"))
        & (pl.col("operation") == "suppress")
        & (pl.col("asked") == "related")
    )
    rows = rows.group_by("fact", "language", maintain_order=True).agg(pl.col("before", "after").mean())
    change = ((rows["after"] - rows["before"]) / rows["before"]).to_list()
    mean = interval(torch.tensor(change, dtype=torch.float64), rows["fact"].to_list()).mean
    assert f"change its P(answer) by −{-100 * mean:.0f}% [" in answer(folder, "language-agnostic neurons?")[1]


def test_a_language_in_which_nothing_happens_is_not_counted(tmp_path):
    folder = made(tmp_path / "run", facts=9)
    still = pl.when(pl.col("language") == "fr").then(pl.col("before")).otherwise(pl.col("after")).alias("after")
    assert "in 2 of 3 languages (en and zh)" in answer(
        altered(folder, tmp_path / "still", "touched", still), "language-agnostic neurons?"
    )[1]  # fmt: skip


@pytest.mark.parametrize(("plain", "short"), [(-0.1, "Yes"), (-0.7, "No")])
def test_uncertainty_is_worth_it_only_if_its_neurons_do_more_than_those_without_both_terms(tmp_path, plain, short):
    run = made(tmp_path, plain=plain)
    found, text = answer(run, "without uncertainty?")
    assert found == short and "to the same without uncertainty: difference" in text
    assert "By another rule over languages, differences: by mean less deviation" in text
    assert "25% of 12 facts have no such set; the others’ have 19.0 neurons" in text
    assert ("“" in text) == (plain < -0.4)


def test_other_terms_and_rules_have_no_part_in_whether_uncertainty_is_worth_it(tmp_path):
    run = made(tmp_path / "run", plain=-0.1)
    others = pl.col("set").is_in(["no query term", "one query", "by deviation"])
    lower = pl.when(others).then(0.0).otherwise(pl.col("after")).alias("after")
    changed = altered(run, tmp_path / "changed", "touched", lower)
    assert answer(run, "without uncertainty?")[0] == answer(changed, "without uncertainty?")[0] == "Yes"


@pytest.mark.parametrize(("cross", "short"), [(-0.3, "Partly"), (0.0, "No"), (-0.6, "Yes")])
def test_a_fact_is_shared_as_far_as_other_languages_neurons_move_it(tmp_path, cross, short):
    run = made(tmp_path, cross=cross)
    assert answer(run, "shared between")[0] == short
    assert ("hangs on its own neurons most" in findings(run, sharing)) == (cross > -0.6)


def test_answers_of_one_string_are_told_apart(folder, tmp_path):
    _, text = answer(folder, "shared between")
    assert "Where the answer is one string in both languages it is −" in text
    other = pl.concat_str("answer", "language").alias("answer")
    assert "one string" not in answer(altered(folder, tmp_path, "answers", other), "shared between")[1]


def test_facts_taught_everywhere_are_held_against_those_taught_somewhere(tmp_path):
    short, text = answer(made(tmp_path / "run", facts=20, cross=-0.5), "taught in all languages")
    assert "100% [100, 100] are shared where the fact was taught everywhere, 0% [0, 0] where" in text
    assert short == "Not shown"  # of the latter there are four
    run = made(tmp_path / "many", facts=20, cross=-0.5)
    table = pl.read_parquet(run / "tables" / "verdicts.parquet")
    table.with_columns(n=pl.lit(10)).write_parquet(run / "tables" / "verdicts.parquet")
    assert answer(run, "taught in all languages")[0] == "Yes"
    assert "Known are 112 of 112 pairs that were taught, and 0 of 8 that were not" in text


def test_languages_that_know_what_they_were_not_taught_are_named(folder, tmp_path):
    run = altered(folder, tmp_path, "sharing", (pl.col("language") != "zh").alias("taught"))
    assert re.search(r"of 14 that were not \(zh \d+\)", answer(run, "taught in all languages")[1])


def test_pairs_that_were_never_taught_stand_beside_those_that_were(folder, tmp_path):
    assert "Of 8 pairs that were never taught, 0 are known" in findings(folder, verdicts)
    untaught = [(pl.col("language") != "zh").alias("taught"), pl.lit("shared").alias("verdict")]
    run = altered(folder, tmp_path, "sharing", *untaught)
    table = pl.read_parquet(run / "tables" / "sharing.parquet")
    rows = list(verdict_rows(table.to_dicts(), Plan()))
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(run / "tables" / "verdicts.parquet")
    known = int(table.filter(pl.col("language") == "zh")["known"].sum())
    said = f"Of 14 pairs that were never taught, {known} are known; of those with a verdict 100% are shared"
    assert f"{said}, of taught ones 100%" in findings(run, verdicts)
    cells = re.sub(r"<[^>]*>", " ", page_of(run).replace("\u00a0", " "))
    assert re.search(rf"never taught there\s+14\s+{known}, \d+%\s+\[\d+, \d+\]\s+14\s+100%", cells)


def test_shared_stands_beside_what_another_facts_neurons_would_call_so(tmp_path):
    folder = made(tmp_path, cross=-0.5)
    said = "by the same rule with the neurons of another fact of the relation 0% [0, 0] would be"
    assert said in answer(folder, "shared between")[1]
    table = pl.read_parquet(folder / "tables" / "sharing.parquet")
    expected = table.filter(pl.col("by_chance").is_not_null()).select((pl.col("verdict") == "shared").mean()).item()
    assert 0.5 < expected < 1 and "calls 0% [0, 0] shared, where" in page_of(folder).replace("\u00a0", " ")


def test_where_a_fact_was_taught_may_not_be_known(tmp_path):
    run = made(tmp_path, taught=False)
    assert answer(run, "taught in all languages") == (
        "Not measured",
        "In which languages a fact was taught is not known of these data.",
    )
    assert "Where a fact was taught is not known" in findings(run, verdicts)


@pytest.mark.parametrize(
    ("here", "elsewhere", "short"),
    [(1.0, 1.0, "Yes"), (0.9, 0.4, "Partly"), (0.9, 0.0, "No"), (0.0, 0.0, "Not shown")],
)
def test_changes_reach_other_languages_as_far_as_they_are_read_there(tmp_path, here, elsewhere, short):
    run = made(tmp_path, here=here, elsewhere=elsewhere)
    for about in ("an edit", "a fact taught"):
        found = answer(run, about)
        assert found[0] == short and "Kept: " in found[1], found


def test_a_lesson_of_a_fact_as_it_is_reaches_only_languages_that_lacked_it(folder, tmp_path):
    """What is said where the fact was known before is no reach of the lesson, and is named apart."""
    lacking = (pl.col("kind") == "new") & ~pl.col("known")
    says = pl.when(lacking).then(pl.lit(False)).otherwise(pl.col("says_new")).alias("says_new")
    found = read(read_run(altered(folder, tmp_path, "injected", says)), "injected", "taught", "new")
    assert (found.elsewhere, found.others) == (UNKNOWN, "other languages that lack it")
    assert _mean(found, UNKNOWN) == 0 < _mean(found, KNOWN)
    taught = [text for text in headings(page_of(tmp_path)).splitlines() if text.startswith("As it is")]
    assert len(taught) == 1 and "said in other languages that lack it in 0%" in taught[0]
    assert "the new answer is said in other languages that know it" in headings(page_of(folder))


def _mean(found: Read, where: str) -> float:
    mean = found.new("matrice", where)
    assert mean is not None
    return mean.mean


def test_what_random_neurons_do_as_well_is_no_reach(folder, tmp_path):
    same = [pl.lit(True).alias("says_new")]
    for table, about in (("edited", "an edit"), ("injected", "a fact taught")):
        assert answer(altered(folder, tmp_path / table, table, *same), about)[0] == "Not shown"


def test_reach_needs_both_comparisons():
    assert [reaches(*pair) for pair in ((1, 0), (1, 1), (0, 1), (0, 0), (-1, 0))] == [
        "Yes", "Partly", "No", "Not shown", "Not shown"
    ]  # fmt: skip


@pytest.mark.parametrize(("recovered", "short"), [(0.8, "Yes"), (0.05, "Not shown")])
def test_scaling_helps_only_where_random_neurons_do_not(tmp_path, recovered, short):
    found, text = answer(made(tmp_path, recovered=recovered), "queries that fail")
    assert found == short and "in languages in which the fact is known" in text


def test_failures_of_unknown_facts_are_named_as_such(folder, tmp_path):
    """An answer that was never known is not brought back: it is shown, where there is nothing else, and said."""
    right = pl.col("right_before") | (pl.col("language") != "zh")
    run = altered(folder, tmp_path / "known", "enhanced", right.alias("right_before"))
    only = altered(run, tmp_path / "unknown", "facts", pl.lit(["en", "fr"]).alias("known"))
    assert "the fact is known" in answer(run, "queries that fail")[1]
    assert "in languages in which the fact is not known" in answer(only, "queries that fail")[1]


@pytest.mark.parametrize(("kept", "short"), [(0.8, "Yes"), (0.3, "Partly"), (-0.2, "No")])
def test_a_choice_is_the_same_from_half_on_and_more_than_chance_below(tmp_path, kept, short):
    assert answer(made(tmp_path, kept=kept), "have chosen the same")[0] == short


def test_the_page_says_that_no_number_is_the_papers(page):
    text = " ".join(Elements(page).text("p"))
    assert "formulas and figures were not at hand" in text
    assert re.search(r"none of these numbers is the\s+paper’s", text)


def test_the_commands_that_make_the_run_and_the_page_again_are_given(page):
    first, second = Elements(page).text("pre")[0].splitlines()
    assert first.startswith("locant run matrice --model almanac --dtype float32 --data bmlama53 --languages en,fr,zh")
    assert " --relations capital --wordings 4 --form cloze --localizer amig --lambda-q 1.0 --lambda-l 1.0 " in first
    assert " --size 20 " in first and " --lambda2 2.0 --steps 40 --rate 0.01 " in first and "lambda1" not in first
    assert first.endswith("--seed 0 --setting amig.steps=3 --out RUN") and second == "locant report RUN"


def test_every_setting_of_the_run_is_on_the_page(folder, page):
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert {name.replace("_", " ") for name in settings} <= set(Elements(page).text("dt"))


# Runs with less in them


@pytest.mark.slow
def test_a_table_alone_and_one_without_what_others_say_of_it_still_make_a_page(folder, tmp_path):
    run = altered(folder, tmp_path, "facts")
    tables = {name: run / "tables" / f"{name}.parquet" for name in TABLES}
    kept = {name: path.read_bytes() for name, path in tables.items()}
    lacking = [set(TABLES) - {name} for name in TABLES] + [{"facts", "sharing", "stability"}, {"answers", "overlap"}]
    for gone in lacking:
        for name, path in tables.items():
            path.write_bytes(kept[name])
            if name in gone:
                path.unlink()
        assert "nan" not in words(page_of(run)), gone


def test_experiments_that_were_not_made_are_said_not_to_have_been(tmp_path):
    run = made(tmp_path, empty=tuple(TABLES))
    said = headings(page_of(run))
    for sentence in (
        "No neurons were located", "What is known was not measured", "No set of neurons was suppressed",
        "No sets of one size were compared", "No language’s own neurons", "Where a fact was taught is not known",
        "No fact was edited", "No fact was taught", "No failed query", "No other queries were drawn",
        "No pairs of neurons", "No statements were checked", "What locating cost was not measured",
    ):  # fmt: skip
        assert sentence in said
    assert {one.short for one in answers_of(run)} == {"Not measured"}


def test_missing_numbers_are_no_part_of_what_is_said(folder, tmp_path):
    lost = pl.when(pl.col("fact") == "capital/0").then(float("nan")).otherwise(pl.col("after")).alias("after")
    run = altered(folder, tmp_path / "one", "touched", lost)
    empty = pl.when(pl.col("fact") == "capital/1").then(None).otherwise(pl.col("value")).alias("value")
    run = altered(run, tmp_path / "too", "stability", empty)
    short, text = answer(run, "language-agnostic neurons?")
    assert short == "Yes" and "n = 11 facts" in text
    assert "nan" not in words(page_of(run))


def test_five_facts_show_nothing(tmp_path):
    run = made(tmp_path, facts=3)
    assert answer(run, "without uncertainty?")[0] == "Too few cases"
    assert answer(run, "queries that fail")[0] == "Too few cases"
    for about in ("shared between", "an edit"):
        assert answer(run, about)[0] == "Not shown", about


def test_many_languages_are_squares_that_scroll_by_themselves(many):
    figures = figures_of(many)
    assert figures["transfer-square"]["layout"]["height"] > 17 * 30
    assert many.count('<div class="scroll"><div class="many">') == 3
    assert ">17</dd>" in many


def test_other_folders_and_damaged_tables_are_refused(folder, tmp_path):
    assert report_of(folder).answers_of(folder) == answers_of(folder)
    run = altered(folder, tmp_path, "facts")
    pl.DataFrame({"fact": ["a"]}).write_parquet(run / "tables" / "touched.parquet")
    with pytest.raises(BadFile, match="has no column 'set'; it has fact"):
        page_of(run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    with pytest.raises(BadFile, match=r"is not complete \(its status is 'running'\)"):
        page_of(run)


# In a browser


@needs_chromium
def test_the_page_opens_without_a_complaint_and_draws_every_figure(evil):
    opens_without_a_complaint(evil)
    assert draws_every_figure_that_is_to_be_seen(evil) > 15


@pytest.mark.slow
@needs_chromium
def test_a_narrow_screen_need_not_scroll_sideways(many):
    fits_a_narrow_screen(many)


def test_the_first_clause_of_each_answer_has_its_figure(folder):
    answers_begin_with_their_figure(folder)
