"""Does taking uncertainty into account find neurons that do more than those taken without it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, plot
from locant.reports.drawing import Bar, change_bars
from locant.reports.matrice.means import beyond, gap_of, of_set, side, too_few
from locant.reports.matrice.names import (
    ALTERNATIVES,
    LIKE_UNION,
    MATRICE,
    OWN,
    RANDOM,
    REFERENCES,
    UNCERTAIN,
    colour_of,
    kind_of,
    name_of,
)
from locant.reports.matrice.run import Run
from locant.reports.means import average, mean
from locant.reports.numbers import change, count, points, portion, probability, relative, share
from locant.reports.rows import Dot, dots
from locant.reports.text import plotly, upper
from locant.types import Interval

QUESTION = "Do they do more than neurons taken without uncertainty?"
NAMED = "no uncertainty"
"""The set that the verdict is about, named before any was looked at; the other comparisons are said beside it."""
COMPARED = (MATRICE, *UNCERTAIN, *ALTERNATIVES, *REFERENCES, RANDOM, LIKE_UNION)


def answer(run: Run) -> Answer:
    """The set against the same without both its terms; without one of them, and by other rules, beside."""
    rows = run.suppressed()
    own, gap = of_set(rows, MATRICE), beyond(rows, MATRICE, NAMED)
    if own is None or gap is None:
        return Answer(QUESTION, UNMEASURED, "No set was suppressed beside one taken without uncertainty.")
    text = f"Suppressed, {run.size} change P(answer) by {change(own)}; to the same {name_of(NAMED)}: {gap_of(gap)}."
    text += _beside(rows, [name for name in UNCERTAIN if name != NAMED], "Without one of its terms")
    text += _beside(rows, ALTERNATIVES, "By another rule over languages") + f" Of all, {_most(rows)}"
    return Answer(QUESTION, verdict([-side(gap)], too_few(gap)), text + _lacking(run))


def _beside(rows: pl.DataFrame, names: Sequence[str], what: str) -> str:
    """Differences to other sets, of which none is a verdict: with so many, one may lie apart by chance."""
    found = {name: gap for name in names if (gap := beyond(rows, MATRICE, name)) is not None}
    if not found:
        return ""
    return f" {what}, differences: {'; '.join(f'{name_of(name)} {points(gap)}' for name, gap in found.items())}."


def _lacking(run: Run) -> str:
    """In how many facts there is no set, and how many of its neurons have a score above zero."""
    rows = run["sizes"].filter(pl.col("set") == MATRICE)
    if rows.is_empty():
        return ""
    own = rows.row(0, named=True)
    text = f" {share(own['without'])} of {count(own['facts'])} facts have no such set"
    return f"{text}; the others’ have {own['mean']:.1f} neurons with a score above zero on average, of {run.size}."


def most(rows: pl.DataFrame) -> tuple[str, Interval] | None:
    """The compared set without which P(answer) falls most."""
    found = {name: of_set(rows, name) for name in COMPARED}
    known = {name: one for name, one in found.items() if one is not None}
    return min(known.items(), key=lambda pair: pair[1].mean) if known else None


def _most(rows: pl.DataFrame) -> str:
    found = most(rows)
    if found is None or found[0] == MATRICE:
        return "no set of this size changes it as much."
    name, value = found
    gap = beyond(rows, MATRICE, name)
    doubtful = gap is not None and side(gap) == 0
    sure = ", a difference that may be chance" if doubtful else ""
    return f"“{name_of(name)}” changes it most, by {change(value)}{sure}."


def sections(run: Run) -> Iterator[Section]:
    """Every set of one size, suppressed; and where the scores of its neurons vary."""
    if of_set(run.suppressed(), MATRICE) is None:
        why = "The table of suppressed neurons has no rows of the language-agnostic set."
        yield Section("uncertainty", "Uncertainty", {None: absent("No sets of one size were compared", why)})
    else:
        yield Section("uncertainty", "Uncertainty", {None: _sets(run)})
    parts = variances(run)
    if not parts.is_empty():
        yield Section("variance", "", {None: _variance(parts)})


def _sets(run: Run) -> Block:
    rows, bars = run.suppressed(), []
    for name in COMPARED:
        found = of_set(rows, name)
        if found is None:
            continue
        own = rows.filter(pl.col("set") == name)
        before, after = (probability(average(own, column)) for column in ("before", "after"))
        label = plotly(upper(name_of(name)))
        hover = f"{label}<br>{change(found)}<br>mean P {before} → {after}<br>n = {found.n} facts"
        bars.append(Bar(label, found, f"var(--{colour_of(name)})", hover))
    said = (
        f"Relative change of P(answer) when {run.size} are set to zero, whatever set they are of: queries that "
        "located nothing, in the languages that the fact is known in; means over facts with 95% bootstrap intervals. "
        "Orange: the mean over queries less λq deviations, and over languages less λl deviations. Green: the same "
        "without one term, without both, or of one query a language; and by other rules over languages, which are "
        "alternatives to it. Blue: the neurons that pass in the most languages; those with the highest score in any; "
        "the model’s neurons for languages as such; the set of another fact of the relation. Grey, the control: "
        "random neurons of the same layers, and of the union’s. Means are over the facts that have such a set; "
        "differences are of the same facts. The table has doubled activations, unrelated facts and the sets’ sizes "
        f"too{_left_out(run)}."
    )
    head = (
        "neurons",
        "suppressed",
        "less agnostic",
        "doubled",
        "unrelated, suppressed",
        "facts without",
        "above zero",
        "n",
    )
    body = plot("uncertainty-bars", "Bars of relative change by set") + caption(said)
    body += as_table(head, list(_table(run)))
    return Block(_heading(rows), body, {"uncertainty-bars": change_bars(bars, down=True, row=44)})


def _heading(rows: pl.DataFrame) -> str:
    highest, own = most(rows), of_set(rows, MATRICE)
    assert highest is not None and own is not None
    name, value = highest
    if name == MATRICE:
        return f"At equal size, the language-agnostic set does most: {relative(own.mean)}"
    said = f"At equal size, “{name_of(name)}” does more: {relative(value.mean)} against {relative(own.mean)}"
    sure = side(beyond(rows, MATRICE, name))
    return f"{said} of the language-agnostic set{'' if sure else ', a difference that may be chance'}"


def _table(run: Run) -> Iterator[tuple[str, ...]]:
    rows, unrelated = run.suppressed(), run.suppressed("unrelated")
    doubled = run.changes.filter((pl.col("operation") == "enhance") & (pl.col("asked") == "related"))
    for name in (*COMPARED, *(one for one in rows["set"].unique(maintain_order=True) if one.startswith(OWN))):
        found = of_set(rows, name)
        if found is None:
            continue
        gap = None if name == MATRICE else beyond(rows, name, MATRICE)
        others = [of_set(part, name) for part in (doubled, unrelated)]
        yield (
            name_of(name), change(found), points(gap) if gap else "–",
            *(change(one) if one else "none" for one in others), *_size(run, name), count(found.n),
        )  # fmt: skip


def _size(run: Run, which: str) -> tuple[str, str]:
    """Of a kind of set, the share of facts without a neuron, and the mean number with a score above zero."""
    rows = run["sizes"].filter(pl.col("set") == ("own of each language" if which.startswith(OWN) else which))
    if rows.is_empty():
        return "–", "–"
    own = rows.row(0, named=True)
    return share(own["without"]), "–" if own["mean"] is None else f"{own['mean']:.1f}"


def _left_out(run: Run) -> str:
    rows = run["left_out"].iter_rows(named=True)
    return "".join(f"; left out: {name_of(row['set'])} ({row['why']})" for row in rows)


def variances(run: Run) -> pl.DataFrame:
    """Of each fact and kind of set, the mean share of its neurons' variance that lies between languages."""
    name = pl.col("set")
    drawn = name.map_elements(kind_of, return_dtype=pl.String)
    kind = pl.when(name.str.starts_with(OWN)).then(pl.lit("own of each language")).otherwise(drawn)
    rows = run["neurons"].with_columns(set=kind, part=pl.col("between") / (pl.col("between") + pl.col("within")))
    return rows.filter(pl.col("part").is_finite()).group_by("fact", "set", maintain_order=True).agg(pl.mean("part"))


def _variance(parts: pl.DataFrame) -> Block:
    shown = (MATRICE, *UNCERTAIN, *ALTERNATIVES, "intersection", "union", "own of each language", RANDOM)
    found = {name: mean(parts.filter(pl.col("set") == name), "part") for name in shown}
    known = {name: one for name, one in found.items() if one is not None}
    marks = [
        Dot(upper(name_of(name)), "between languages", one, ("circle", f"var(--{colour_of(name)})"))
        for name, one in known.items()
    ]
    said = (
        "A neuron’s score varies over the wordings of a language, and its mean varies over languages; shown is the "
        "second variance as a share of both, for the neurons of each set: 0% if only wordings differ, 100% if only "
        "languages do. Means over facts with 95% bootstrap intervals. Control: random neurons of the same layers."
    )
    table = [(name_of(name), portion(one), count(one.n)) for name, one in known.items()]
    first = known.get(MATRICE)
    heading = "Where scores vary: between languages, or between the wordings of one"
    if first is not None:
        heading = f"Of what the language-agnostic neurons’ scores vary, {share(first.mean)} is between languages"
    body = plot("variance-dots", "Share of the variance between languages, by set") + caption(said)
    body += as_table(("neurons", "between languages", "n"), table)
    figure = dots(marks, "share of the variance between languages", portion, (0.0, 1.0))
    return Block(heading, body, {"variance-dots": figure})
