"""How many neurons a question has, and whether groups of questions have neurons of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from scipy.stats import false_discovery_control

from locant.reports.blocks import Block, Section, absent, as_table, caption, plot
from locant.reports.numbers import count, p_value
from locant.reports.qrnca.figures import Mark, Row, matrix, scale
from locant.reports.qrnca.names import METHODS, QRNCA, colour_of, name_of
from locant.reports.qrnca.run import Run, in_order, number, spread
from locant.reports.text import plotly
from locant.types import Interval

LEVEL = 0.05
"""Of the expected share of false ones among the overlaps that are called different from the null."""
BELOW, ABOVE = "▼", "▲"


@dataclass(frozen=True)
class Overlap:
    """What two groups share, beside what shuffled questions do.

    Attributes:
        sign: -1 if it is surely less than of shuffled questions, 1 if more, else 0.
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


def overlaps(run: Run, measure: str = "jaccard") -> list[Overlap]:
    """Every two groups once; which differ from the null is judged over all of them."""
    rows = run.of("overlap", measure=measure).filter(
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
            f"{plotly(one.first)} and {plotly(one.second)}<br>Jaccard {one.observed:.3f}<br>shuffled questions "
            f"{one.expected:.3f} [{one.low:.3f}, {one.high:.3f}]<br>{p_value(one.p)}"
        )
        cell = (one.observed, {-1: BELOW, 1: ABOVE}.get(one.sign, ""), said)
        cells |= {(one.first, one.second): cell, (one.second, one.first): cell}
    said = (
        "Jaccard index of two groups’ neurons, a group’s being those that QRNCA finds for any of its questions: "
        "those that both have, of those that either has; no unit, from 0 to 1. The paper does not say what it "
        "divides by; the table has Dice as well. Control: questions shuffled over groups of the same sizes, with the "
        f"central 95% of the shuffles in the table. {BELOW} less than of shuffled questions: the groups have neurons "
        f"of their own. {ABOVE} more. No mark: it cannot be told apart. Over all pairs, {LEVEL:.0%} of the marks are "
        "expected to be false (Benjamini and Hochberg). An overlap has no interval of its own; n is the number of "
        f"questions, {count(len(run['questions']))} in {count(len(groups))} groups."
    )
    head = ("groups", "measure", "observed", "shuffled", "p", "against shuffled")
    table = [
        (f"{one.first} – {one.second}", measure.capitalize(), f"{one.observed:.3f}",
         f"{one.expected:.3f}\u00a0[{one.low:.3f},\u00a0{one.high:.3f}]",
         p_value(one.p).removeprefix("p ").removeprefix("= "), ("no different", "more", "less")[one.sign])
        for measure in in_order(list(dict.fromkeys(run["overlap"]["measure"].to_list())), ("jaccard", "dice"))
        for one in overlaps(run, measure)
    ]  # fmt: skip
    drawn = plot("overlap-matrix", "Overlap of every two groups; the table has the numbers")
    body = f'<div class="matrix">{drawn}</div>'
    return Block(
        _heading(found), body + caption(said) + as_table(head, table, 2), {"overlap-matrix": matrix(groups, cells)}
    )


def _heading(found: list[Overlap]) -> str:
    observed, expected = (sum(getattr(one, name) for one in found) / len(found) for name in ("observed", "expected"))
    less, more = (sum(one.sign == sign for one in found) for sign in (-1, 1))
    pairs = f"{count(less)} of {count(len(found))} {'pair' if len(found) == 1 else 'pairs'} of groups"
    beside = f"; {count(more)} more" if more else ""
    return (
        f"{pairs} share fewer neurons than shuffled questions would{beside}: "
        f"Jaccard {observed:.2f} on average, shuffled {expected:.2f}"
    )
