"""How many neurons a question has, and whether groups of questions have neurons of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from scipy.stats import false_discovery_control

from locant.reports.blocks import Block, Section, absent, as_table, caption, grid, plot
from locant.reports.means import in_order, mean_over, number, spread
from locant.reports.numbers import count, decimal, p_value
from locant.reports.qrnca.figures import Mark, Row, matrix, scale
from locant.reports.qrnca.names import METHODS, QRNCA, colour_of, name_of
from locant.reports.qrnca.run import Run
from locant.reports.text import plotly
from locant.types import Interval

LEVEL = 0.05
"""Of the expected share of false ones among the overlaps that are called different from the null."""
BELOW, ABOVE = "▼", "▲"


@dataclass(frozen=True)
class Overlap:
    """What two groups share, beside what shuffled groups do.

    Attributes:
        sign: -1 if it is surely less than of shuffled groups, 1 if more, else 0.
    """

    first: str
    second: str
    observed: float
    expected: float
    low: float
    high: float
    p: float
    sign: int


def sections(run: Run) -> Iterator[Section]:
    """The numbers of neurons, and the overlaps."""
    if run.of("counts", method=QRNCA).is_empty():
        why = "The table of counts has no rows of QRNCA."
        yield Section("neurons", "Neurons", {None: absent("No neurons were counted", why)})
    else:
        yield Section("neurons", "Neurons", {None: _counts(run)})
    if overlaps(run):
        yield Section("overlap", "", {None: _overlap(run)})
    else:
        why = "The table of overlap has no rows: that takes two groups of questions with neurons."
        yield Section("overlap", "", {None: absent("What groups share was not measured", why)})
    if len(run["wrong"]):
        yield Section("wrong", "", {None: _wrong(run)})


def has_blocks(run: Run) -> bool:
    """Whether overlaps were compared with groups of shuffled blocks."""
    return bool(run.of("overlap", null="blocks")["observed"].is_finite().any())


def shuffled_in(run: Run) -> str:
    """What the null of a run's verdict shuffles."""
    rows = run.of("overlap", null="blocks" if has_blocks(run) else "questions")
    return str(rows["shuffled"][0]) if len(rows) else "questions"


def why_questions(run: Run) -> str:
    """Why there is no better null than shuffled questions; nothing if there is."""
    rows = run.of("overlap", null="blocks")
    if has_blocks(run):
        return ""
    why = f" ({rows['why'][0]})" if len(rows) and rows["why"][0] else ""
    return (
        f"There was nothing but questions to shuffle{why}: what questions of one relation share by their wording "
        "counts as their group’s own here."
    )


def overlaps(run: Run, measure: str = "jaccard", null: str | None = None) -> list[Overlap]:
    """Every two groups once; which differ from the null is judged over all of them.

    Args:
        null: 'questions' or 'blocks'; if not given, blocks where there are any.
    """
    which = null or ("blocks" if has_blocks(run) else "questions")
    rows = run.of("overlap", measure=measure, null=which).filter(
        (pl.col("first") != pl.col("second")) & pl.col("observed").is_finite()
    )
    # A matrix may have been written whole
    found = {frozenset((row["first"], row["second"])): row for row in reversed(rows.rows(named=True))}
    known = list(reversed(found.values()))
    ps = [number(row["p"]) for row in known]
    tested = [min(1.0, p) if math.isfinite(p) else 1.0 for p in ps]
    adjusted = false_discovery_control(tested).tolist() if tested else []
    return [_pair(row, q) for row, q in zip(known, adjusted, strict=True)]


def _pair(row: Mapping[str, object], q: float) -> Overlap:
    """A row of the table; q is its p, adjusted for there being many pairs."""
    observed, expected, low, high, p = (number(row[name]) for name in ("observed", "expected", "low", "high", "p"))
    sign = 0 if q > LEVEL else 1 if observed > expected else -1
    return Overlap(str(row["first"]), str(row["second"]), observed, expected, low, high, p, sign)


def _counts(run: Run) -> Block:
    own = run.of("counts", method=QRNCA)
    found = {str(row["group"]): spread(row, "neurons") for row in own.iter_rows(named=True)}
    rows = [Row(name, [Mark(_many(one), one, colour_of(QRNCA))], _many(one)) for name, one in found.items()]
    ends = [end for one in found.values() for end in (one.mean, one.high) if math.isfinite(end)]
    top = run.settings.get("top")
    most = float(top) if isinstance(top, int | float) and top >= max(ends, default=0) else max(ends, default=1.0)
    means = [one.mean for one in found.values()]
    heading = f"QRNCA finds {min(means):.1f} to {max(means):.1f} neurons a question"
    if len(means) == 1:
        heading = f"QRNCA finds {means[0]:.1f} neurons a question"
    limit = f" {count(int(most))} at most, where the scale ends: common ones are taken out of these." if top else ""
    said = (
        "Query-relevant neurons of a question, mean over the group’s questions with its 95% bootstrap interval over "
        f"questions; n in the table.{limit} No control: the number is the method’s own, and random and the most "
        "active neurons are taken as many; the table has every method."
    )
    head = ("method", "group", "neurons a question", "n")
    everywhere = run["counts"].rows(named=True)
    table = [
        (name_of(method), row["group"], _many(spread(row, "neurons")), count(row["n"] or 0))
        for method in in_order([row["method"] for row in everywhere], tuple(METHODS))
        for row in everywhere
        if row["method"] == method
    ]
    table = list(dict.fromkeys(table))
    body = plot("counts", "Neurons a question by group; the table has the numbers")
    return Block(
        heading,
        body + caption(said) + as_table(head, table, 2),
        {"counts": scale(rows, "neurons", {}, most or 1.0, counts=True)},
    )


def _many(found: Interval) -> str:
    if found.n < 2 or not math.isfinite(found.low):
        return f"{found.mean:.1f}"
    return f"{found.mean:.1f}\u00a0[{found.low:.1f},\u00a0{found.high:.1f}]"


def _overlap(run: Run) -> Block:
    found = overlaps(run)
    groups = in_order([name for one in found for name in (one.first, one.second)], run.groups)
    cells: dict[tuple[str, str], tuple[float, str, str]] = {}
    for one in found:
        said = (
            f"{plotly(one.first)} and {plotly(one.second)}<br>Jaccard {one.observed:.3f}<br>shuffled "
            f"{one.expected:.3f} [{one.low:.3f}, {one.high:.3f}]<br>{p_value(one.p)}"
        )
        cell = (one.observed, {-1: BELOW, 1: ABOVE}.get(one.sign, ""), said)
        cells |= {(one.first, one.second): cell, (one.second, one.first): cell}
    said = (
        "Jaccard index of two groups’ neurons, a group’s being those that QRNCA finds for any of its questions: "
        "those that both have, of those that either has; no unit, from 0 to 1. The paper does not say what it "
        f"divides by; the table has Dice as well. Control: the marks are against shuffled {shuffled_in(run)}; the "
        "table has the central 95% of the shuffles, and those of questions shuffled one by one, which part what a "
        f"relation’s wording holds together. {BELOW} less than shuffled: the groups have neurons of their own. "
        f"{ABOVE} more. No mark: it cannot be told apart. Over all pairs, {LEVEL:.0%} of the marks are expected to "
        "be false (Benjamini and Hochberg). An overlap has no interval of its own; n is the number of questions, "
        f"{count(len(run['questions']))} in {count(len(groups))} groups. {why_questions(run)}"
    )
    head = ("groups", "measure", "null", "observed", "shuffled", "p", "against shuffled")
    table = [
        (f"{one.first} – {one.second}", measure.capitalize(), null, f"{one.observed:.3f}",
         f"{one.expected:.3f}\u00a0[{one.low:.3f},\u00a0{one.high:.3f}]",
         p_value(one.p).removeprefix("p ").removeprefix("= "), ("no different", "more", "less")[one.sign])
        for measure in in_order(list(dict.fromkeys(run["overlap"]["measure"].to_list())), ("jaccard", "dice"))
        for null in ("blocks", "questions")
        for one in overlaps(run, measure, null)
    ]  # fmt: skip
    drawn = plot("overlap-matrix", "Overlap of every two groups; the table has the numbers")
    body = f'<div class="matrix">{drawn}</div>'
    return Block(
        _heading(run, found),
        body + caption(said) + as_table(head, table, 3) + _pairs(run),
        {"overlap-matrix": matrix(groups, cells)},
    )


def likeness(run: Run) -> dict[str, Mapping[str, object]]:
    """What pairs of questions share, by kind; under 'gap' that of one group's less that of two groups'."""
    return {str(row["kind"]): row for row in run["likeness"].iter_rows(named=True)}


def gap_in_words(run: Run) -> str:
    """Whether two questions of one group share more than two of different groups; nothing if that is not known."""
    known = likeness(run)
    gap = known.get("gap")
    if gap is None or not math.isfinite(number(gap["jaccard"])):
        return ""
    own, other = (number(known[f"other block, {kind} group"]["jaccard"]) for kind in ("same", "other"))
    return (
        f"Two questions of one group share {own:.3f} of their neurons (mean Jaccard of pairs), two of different "
        f"groups {other:.3f}: a difference of {_signed(gap['jaccard'])}, shuffled {gap['shuffled']} "
        f"{_signed(gap['expected'])} [{_signed(gap['low'])}, {_signed(gap['high'])}], {p_value(number(gap['p']))}."
    )


def _signed(value: object) -> str:
    return f"{round(number(value), 3) + 0.0:+.3f}".replace("-", "\u2212")


def _pairs(run: Run) -> str:
    """Pairs of questions by kind, which no number of questions has a part in."""
    known = [row for kind, row in likeness(run).items() if kind != "gap"]
    if not known:
        return ""
    of_facts = "fact" in str(known[0]["shuffled"])
    words = "fact" if of_facts else "relation"
    rows = [
        (str(row["kind"]).replace("block", words), f"{number(row['jaccard']):.3f}", count(int(number(row["pairs"]))))
        for row in known
    ]
    said = (
        "Mean Jaccard index of two questions’ neurons over pairs of each kind, which does not grow with the number "
        f"of questions; n in the table. Control and interval: groups shuffled. {gap_in_words(run)}"
    )
    return grid(("pairs of questions", "Jaccard", "pairs"), rows) + caption(said)


def _wrong(run: Run) -> Block:
    """What the right letter's cluster shares with the wrong letters'."""
    own, other = (mean_over(run["wrong"], name, "question") for name in ("jaccard", "another"))
    named = (("the question’s own wrong letters", own), ("those of another question of its group", other))
    rows = [(name, decimal(one), count(one.n)) for name, one in named if one is not None]
    said = (
        "Jaccard index of the right letter’s cluster and those of the wrong letters, each attributed by itself; mean "
        "over questions with its 95% bootstrap interval, n in the table. Control: wrong letters of another question. "
        "Where letters have nearly all of the probability, what raises one lowers the others, and few neurons can be "
        "in both clusters."
    )
    heading = "Right and wrong letters have no clusters to compare"
    if own is not None:
        beside = f", with another question’s {decimal(other)}" if other is not None else ""
        heading = f"A right letter shares {decimal(own)} of its neurons with the wrong ones{beside}"
    return Block(heading, grid(("right letter, and", "Jaccard", "n"), rows) + caption(said))


def _heading(run: Run, found: list[Overlap]) -> str:
    observed, expected = (sum(getattr(one, name) for one in found) / len(found) for name in ("observed", "expected"))
    less, more = (sum(one.sign == sign for one in found) for sign in (-1, 1))
    pairs = f"{count(less)} of {count(len(found))} {'pair' if len(found) == 1 else 'pairs'} of groups"
    beside = f"; {count(more)} more" if more else ""
    return (
        f"{pairs} share fewer neurons than shuffled {shuffled_in(run)} would{beside}: "
        f"Jaccard {observed:.2f} on average, shuffled {expected:.2f}"
    )
