"""Can located neurons, scaled up, help queries that fail although their fact is known?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, panels, plot
from locant.reports.lines import Line, sweep
from locant.reports.matrice.means import gap_of, side, too_few
from locant.reports.matrice.names import MATRICE, OWN_ONE, PEER, RANDOM, kind_of, name_of
from locant.reports.matrice.run import Run
from locant.reports.means import difference, mean
from locant.reports.numbers import count, portion, share
from locant.types import Interval

QUESTION = "Can they help queries that fail?"
NAMED = 2.0
"""The factor that the verdict is about, that of the enhancing above; all are shown."""
_LINES = {MATRICE: ("agnostic", "located", "solid"), OWN_ONE: ("one’s own", "unrelated", "solid"),
          PEER: ("another fact’s", "fourth", "solid"), RANDOM: ("random", "control", "dash")}  # fmt: skip


@dataclass(frozen=True)
class Turned:
    """Queries asked with scaled neurons, and whether their answer turned from wrong to right, or from right to wrong.

    Attributes:
        rows: of related queries, those of the languages that `known` says; and those of unrelated facts.
        known: whether related queries are of the languages in which the fact is known.
    """

    rows: pl.DataFrame
    known: bool

    @cached_property
    def factors(self) -> list[float]:
        return sorted(self.rows["factor"].unique().to_list())

    @property
    def failed(self) -> pl.DataFrame:
        return self.rows.filter((pl.col("asked") == "related") & ~pl.col("right_before"))

    @property
    def whose(self) -> str:
        return f"in languages in which the fact is {'' if self.known else 'not '}known"

    def recovered(self, which: str, factor: float) -> Interval | None:
        """The share of a fact's failed queries that come right."""
        return mean(self.failed.filter((pl.col("set") == which) & (pl.col("factor") == factor)), "turned")

    def spoiled(self, which: str, factor: float, asked: str = "related") -> Interval | None:
        """The share of right queries that are lost, of the fact or of unrelated ones."""
        own = (pl.col("set") == which) & (pl.col("asked") == asked) & (pl.col("factor") == factor)
        return mean(self.rows.filter(own & pl.col("right_before")), "turned")

    def beyond_random(self, factor: float) -> Interval | None:
        """How many more of the failed queries come right than with random neurons."""
        rows = self.failed.filter(pl.col("factor") == factor)
        return difference(rows, "turned", "set", MATRICE, RANDOM, pairs=("fact", "language"))


def turned(run: Run, known: bool) -> Turned:
    """What was asked in the languages in which the fact is known, or in the others."""
    rows = run["enhanced"].with_columns(
        set=pl.col("set").map_elements(kind_of, return_dtype=pl.String),
        turned=(pl.col("right_before") != pl.col("right_after")).cast(pl.Float64),
    )
    related, unrelated = (rows.filter(pl.col("asked") == asked) for asked in ("related", "unrelated"))
    there = run.where_known(related)
    return Turned(pl.concat([there if known else related.join(there, on=rows.columns, how="anti"), unrelated]), known)


def answer(run: Run) -> Answer:
    """Whether failed queries come right by scaling, more than with random neurons; and what is lost by it."""
    found = _most_telling(run)
    gap = found.beyond_random(NAMED)
    right, lost = found.recovered(MATRICE, NAMED), found.spoiled(MATRICE, NAMED)
    if gap is None or right is None:
        return Answer(QUESTION, UNMEASURED, "No failed query was tried with these neurons and with random ones.")
    text = (
        f"Scaled by {NAMED:g}, the language-agnostic set brings {portion(right)} of the failed queries right "
        f"{found.whose} (to random neurons: {gap_of(gap)})"
    )
    text += f"; {portion(lost)} of the right ones are lost." if lost is not None else "."
    sure = [factor for factor in found.factors if side(found.beyond_random(factor)) > 0]
    text += f" The gain is above zero at {len(sure)} of {len(found.factors)} factors, each by its own interval."
    own = found.recovered(OWN_ONE, NAMED)
    if own is not None:
        text += f" One language’s own neurons: {portion(own)}."
    return Answer(QUESTION, verdict([side(gap)], too_few(gap)), text)


def _most_telling(run: Run) -> Turned:
    """Failed queries of languages in which the fact is known; of others, where there are none."""
    known = turned(run, known=True)
    return known if len(known.failed) else turned(run, known=False)


def sections(run: Run) -> Iterator[Section]:
    """What comes right and what is lost, by factor."""
    found = _most_telling(run)
    if found.failed.is_empty():
        why = "No query failed, or none was tried."
        yield Section("recovery", "Recovery", {None: absent("No failed query was helped", why)})
        return
    yield Section("recovery", "Recovery", {None: _block(run, found)})


def _block(run: Run, found: Turned) -> Block:
    figures: dict[str, go.Figure] = {}
    parts = []
    for name, title in (("recovered", "Failed queries that come right"), ("lost", "Right queries that are lost")):
        uid = f"recovery-{name}"
        figures[uid] = sweep(_lines(found, name), "activations times", "share of queries")
        parts.append((title, plot(uid, f"{title}, by factor; the table has the numbers")))
    said = (
        "Activations of the located neurons times a factor, where the answer is predicted; judging queries "
        f"{found.whose}. Left: of queries whose answer is not the model’s first choice, those for which it then is. "
        "Right: of right ones, those that are lost. Means over facts, bands are 95% bootstrap intervals, n in the "
        "table, with the languages in which the fact is not known apart: there an answer is not brought back, but "
        "brought. Control, dashed: random neurons of the same layers."
    )
    rows = [*_table(turned(run, known=True)), *_table(turned(run, known=False))]
    head = ("neurons", "languages", "factor", "come right", "lost", "unrelated lost", "n failed")
    return Block(_heading(found), panels(parts) + caption(said) + as_table(head, rows, 2), figures)


def _table(found: Turned) -> Iterator[tuple[str, ...]]:
    for name in _LINES:
        for factor in found.factors:
            right = found.recovered(name, factor)
            cells = [right, found.spoiled(name, factor), found.spoiled(name, factor, "unrelated")]
            if right is not None:
                shown = [portion(one) if one is not None else "none" for one in cells]
                where = "known" if found.known else "not known"
                yield name_of(name), where, f"{factor:g}", *shown, count(right.n)


def _lines(found: Turned, what: str) -> list[Line]:
    lines = []
    measure = found.recovered if what == "recovered" else found.spoiled
    for name, (label, colour, dash) in _LINES.items():
        known = [(factor, one) for factor in found.factors if (one := measure(name, factor)) is not None]
        if known:
            x, means = [factor for factor, _ in known], [one for _, one in known]
            low, high = [one.low for one in means], [one.high for one in means]
            lines.append(Line(label, x, [one.mean for one in means], colour, low, high, dash))
    return lines


def _heading(found: Turned) -> str:
    own, random = found.recovered(MATRICE, NAMED), found.recovered(RANDOM, NAMED)
    if own is None or random is None:
        return "Failed queries were not tried with random neurons beside"
    sure = "" if side(found.beyond_random(NAMED)) else ", a difference that may be chance"
    return (
        f"Scaled by {NAMED:g}, the language-agnostic set brings {share(own.mean)} of failed queries right, random "
        f"neurons {share(random.mean)}, {found.whose}{sure}"
    )
