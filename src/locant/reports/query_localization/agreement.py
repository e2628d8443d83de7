"""Is the agreement of wordings more than chance, less than a localizer's with itself, and are there two kinds?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, caption, details, grid, legend, note, plot
from locant.reports.means import mean
from locant.reports.numbers import count, decimal, p_value, portion
from locant.reports.query_localization.blocks import name_of
from locant.reports.query_localization.figures import scale
from locant.reports.query_localization.run import OTHER, SAME, Run
from locant.reports.rows import Dot
from locant.types import Interval

MEASURES = {"cs1": "CS1", "cs2": "CS2", "jaccard": "Jaccard"}


def agreement(run: Run) -> Block:
    """Against shuffled facts on one side, and the localizer's own noise on the other."""
    dots = list(_dots(run))
    head = ("localizer", "null", "measure", "observed", "expected", "p", "draws", "facts")
    nulls = [
        (
            name_of(row["localizer"]), row["null"], MEASURES.get(row["measure"], row["measure"]),
            f"{row['observed']:.3f}", decimal(Interval(row["expected"], row["low"], row["high"], row["draws"])),
            _p(row["p"]), count(row["draws"]), count(row["facts"]),
        )
        for row in run["nulls"].iter_rows(named=True)
    ]  # fmt: skip
    noise = [
        (name_of(row["localizer"]), row["what"], decimal(Interval(row["jaccard"], row["low"], row["high"], row["n"])),
         count(row["n"]))
        for row in run["noise"].iter_rows(named=True)
    ]  # fmt: skip
    said = (
        "Jaccard index of two sets of neurons: those that both hold, of those that either holds; no unit, mean over "
        "pairs of queries, then over facts; whiskers are 95% bootstrap intervals over facts. Controls on both "
        "sides: squares are pseudo-facts made of queries of different facts, with the central 95% of the draws; the "
        "diamond is one query located twice, at other settings of the same localizer. Jaccard is used here because "
        "it does not grow with the number of queries."
    )
    marks = [("square hollow", "other relations"), ("square", "other facts of the relation"),
             ("dot", "wordings of one fact"), ("diamond", "the same query twice")]  # fmt: skip
    tables = ""
    if nulls:
        tables += details("The nulls as a table", grid(head, nulls, 3))
    if noise:
        tables += details(
            "The localizers’ own noise as a table", grid(("localizer", "what", "Jaccard", "n"), noise, 2)
        )
    lacking = "" if nulls else note("No null was drawn: there are fewer facts or relations than a fact has queries.")
    body = legend(marks) + plot("scale", "Agreement between wordings, of chance and of a localizer with itself")
    figure = scale(dots, "Jaccard index")
    return Block(_where_it_lies(run), body + lacking + caption(said) + tables, {"scale": figure})


def _dots(run: Run) -> Iterator[Dot]:
    for localizer in run.localizers:
        row = name_of(localizer)
        for null, symbol, colour in ((OTHER, "square-open", "var(--control)"), (SAME, "square", "var(--control)")):
            found = run.null(localizer, null, "jaccard")
            if found:
                expected = Interval(found["expected"], found["low"], found["high"], 2)
                yield Dot(row, f"queries of {null.removeprefix('queries of ')}", expected, (symbol, colour))
        own = mean(run.scores(localizer), "jaccard")
        if own:
            yield Dot(row, "wordings of one fact", own, ("circle", "var(--located)"))
        for what, value, low, high, n in run.of("noise", localizer=localizer).drop("localizer").iter_rows():
            yield Dot(row, what, Interval(value, low, high, n), ("diamond", "var(--unrelated)"))


def _where_it_lies(run: Run) -> str:
    localizer = next(name for name in run.localizers if not run.scores(name).is_empty())
    null, who = run.null(localizer), name_of(localizer)
    if null is None:
        return f"{who}: how far shuffled facts would agree was not measured"
    if null["p"] <= 0.05:
        return f"{who}: wordings of one fact agree more than those of different facts of its relation"
    return f"{who}: wordings of one fact agree no more than those of different facts of its relation"


def kinds(run: Run) -> Block:
    """Every localizer's means, and tests of whether there are two kinds of facts."""
    head = ("localizer", "numbers", "facts", "neurons a query", "CS1", "CS2", "Jaccard", "below static", "below Otsu")
    table = [
        _summary(run, localizer, matched)
        for localizer in run.localizers
        for matched in (True, False)
        if not run.scores(localizer, matched).is_empty()
    ]
    body = grid(head, table, 2) + caption(
        "Means over facts with 95% bootstrap intervals. “Equal” numbers are the same number of queries and of "
        "neurons for every fact; facts that have fewer are left out. Both thresholds are held against CS2. The "
        "localizers are each other’s control."
    )
    tests = [
        (
            name_of(row["localizer"]), row["test"], _real(row["statistic"], ".2f"), _p(row["p"]),
            decimal(Interval(_number(row["effect"]), _number(row["low"]), _number(row["high"]), row["n"]))
            if row["effect"] is not None else "none",
            count(row["n"]),
        )
        for row in run["tests"].iter_rows(named=True)
    ]  # fmt: skip
    if tests:
        columns = ("localizer", "test", "statistic", "p", "Hedges’ g", "n")
        body += "<h3>Are they two kinds of facts?</h3>" + grid(columns, tests, 2) + caption(
            "The paper tests the scores that its threshold has just parted: whatever is parted, 100 random numbers "
            "too, then differs with p < 10⁻²⁵, so that this test says nothing. The tests of the second half of the "
            "queries do: facts are sorted by one half and compared by the other, where noise has no difference left. "
            "Within relations: with the mean of its relation taken off every fact’s score, in either half. g is in "
            "pooled standard deviations, with its 95% bootstrap interval; the permutation’s statistic is a "
            "difference of means of CS2, the rank correlation’s is Spearman’s, over facts and without a threshold."
        )  # fmt: skip
    else:
        body += note("No test was made: a side had fewer than two facts, or facts fewer than four queries.")
    return Block(_kinds_hold(run), body)


def _summary(run: Run, localizer: str, matched: bool) -> tuple[str, ...]:
    rows = run.scores(localizer, matched)
    found = [mean(rows, name) for name in MEASURES]
    below = [
        mean(rows.with_columns((pl.col("cs2") < border).cast(pl.Float64).alias("below")), "below")
        if math.isfinite(border)
        else None
        for border in (run.static, run.otsu(localizer))
    ]
    size = mean(rows, "size")
    return (
        name_of(localizer),
        "equal" if matched else "as found",
        count(rows["fact"].n_unique()),
        f"{size.mean:.1f}" if size else "none",
        *(decimal(one) if one else "none" for one in found),
        *(portion(one) if one else "none" for one in below),
    )


def _kinds_hold(run: Run) -> str:
    """Whether a split by half of the queries holds in the other half, by the first localizer that was tested so."""
    # Of these tests, the permutation presupposes least, and within relations it cannot be theirs
    rows = run["tests"].filter(pl.col("test").str.starts_with("permutation"))
    for localizer in run.localizers:
        own = rows.filter(pl.col("localizer") == localizer)
        own = own.sort(pl.col("test").str.ends_with("within relations"), descending=True)
        if not own.is_empty():
            p = p_value(_number(own["p"][0]))
            if _number(own["p"][0]) <= 0.05:
                return (
                    f"{name_of(localizer)}: facts that half of their queries call consistent are so by the rest ({p})"
                )
            return (
                f"{name_of(localizer)}: what half of a fact’s queries say of its kind, the rest do not bear out ({p})"
            )
    return "Whether there are two kinds of facts was not tested on queries that did not sort them"


def _p(value: float | None) -> str:
    return "none" if value is None else p_value(_number(value)).removeprefix("p ").removeprefix("= ")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _real(value: float | None, form: str) -> str:
    return "none" if value is None else f"{value:{form}}".replace("-", "−")
