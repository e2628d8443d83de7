"""Does taking uncertainty into account find neurons that do more than those taken without it?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, plot
from locant.reports.drawing import Bar, change_bars
from locant.reports.matrice.figures import dots
from locant.reports.matrice.means import beyond, of_set
from locant.reports.matrice.names import (
    MATRICE,
    OWN,
    RANDOM,
    REFERENCES,
    UNCERTAIN,
    colour_of,
    name_of,
    upper,
)
from locant.reports.matrice.run import Run
from locant.reports.means import side
from locant.reports.numbers import change, count, points, portion, probability, relative, share
from locant.reports.query_localization.figures import Dot
from locant.reports.query_localization.means import average, mean
from locant.reports.text import plotly
from locant.types import Interval

QUESTION = "Do they do more than neurons taken without uncertainty?"
COMPARED = (MATRICE, *UNCERTAIN, *REFERENCES, RANDOM)


def answer(run: Run) -> Answer:
    """The set against what it is without its terms; and which set of the same size does most."""
    rows = run.suppressed()
    own = of_set(rows, MATRICE)
    gaps = {name: beyond(rows, MATRICE, name) for name in UNCERTAIN}
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    if own is None or not known:
        return Answer(QUESTION, UNMEASURED, "No set was suppressed beside one taken without uncertainty.")
    signs = [-side(gap) for gap in known.values()]
    text = f"Suppressed, {run.size} change P(answer) by {change(own)}; {_most(rows)}"
    differences = "; ".join(f"{name_of(name)} {points(gap)}" for name, gap in known.items())
    text += f" Differences to the same set {differences} (n = {count(own.n)} facts)."
    if any(sign < 0 for sign in signs):
        text += " What languages or wordings disagree about does much of the work."
    return Answer(QUESTION, verdict(signs), text)


def most(rows: pl.DataFrame) -> tuple[str, Interval] | None:
    """The compared set without which P(answer) falls most."""
    found = {name: of_set(rows, name) for name in COMPARED}
    known = {name: one for name, one in found.items() if one is not None}
    return min(known.items(), key=lambda pair: pair[1].mean) if known else None


def _most(rows: pl.DataFrame) -> str:
    found = most(rows)
    if found is None or found[0] == MATRICE:
        return "no other set of this size changes it as much."
    name, value = found
    gap = beyond(rows, MATRICE, name)
    doubtful = gap is not None and side(gap) == 0
    sure = ", a difference that may be chance" if doubtful else ""
    return f"of all sets of this size, “{name_of(name)}” changes it most, by {change(value)}{sure}."


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
        "without one term, without both, or of one query a language. Blue: the neurons that pass in the most "
        "languages; those with the highest score in any; the model’s neurons for languages as such. Grey, the "
        "control: random neurons of the same layers. The table has doubled activations and unrelated facts too."
    )
    head = ("neurons", "suppressed", "less agnostic", "doubled", "unrelated, suppressed", "n")
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
            *(change(one) if one else "none" for one in others), count(found.n),
        )  # fmt: skip


def variances(run: Run) -> pl.DataFrame:
    """Of each fact and kind of set, the mean share of its neurons' variance that lies between languages."""
    name = pl.col("set")
    kind = (
        pl.when(name.str.starts_with(OWN))
        .then(pl.lit("own of each language"))
        .when(name.str.starts_with(RANDOM))
        .then(pl.lit(RANDOM))
        .otherwise(name)
    )
    rows = run["neurons"].with_columns(set=kind, part=pl.col("between") / (pl.col("between") + pl.col("within")))
    return rows.filter(pl.col("part").is_finite()).group_by("fact", "set", maintain_order=True).agg(pl.mean("part"))


def _variance(parts: pl.DataFrame) -> Block:
    shown = (MATRICE, *UNCERTAIN, "intersection", "union", "own of each language", RANDOM)
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
