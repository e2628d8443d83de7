"""What was edited: how many cases there are, and how a few of them went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, absent, caption, details, grid, some
from locant.reports.editing.names import name_of
from locant.reports.editing.run import Run
from locant.reports.numbers import count, share
from locant.reports.text import upper

SHOWN = 8
"""Cases that are shown; more can be unfolded."""
MOST = 100


def sections(run: Run) -> Iterator[Section]:
    """Cases and what became of them."""
    if run["cases"].is_empty():
        why = "The table of cases has no rows."
        yield Section("cases", "Cases", {None: absent("What was edited is not recorded", why)})
        return
    yield Section("cases", "Cases", {None: _block(run)})


def left_out(run: Run) -> str:
    """Why cases of the data were not edited, or not with others, in a sentence or two; '' if all were."""
    given = run.manifest.get("left_out")
    reasons = given if isinstance(given, Mapping) else {}
    told = [f"{why}: {count(number)}" for why, number in reasons.items() if isinstance(number, int) and number]
    text = f"Not edited: {'; '.join(told)}." if told else ""
    clashes = run.manifest.get("in_conflict")
    if isinstance(clashes, int) and clashes:
        text += f" Edited alone only, as another case asks for another object: {some(clashes, 'case')}."
    return text


def _block(run: Run) -> Block:
    table = list(_rows(run))
    head = ("edit", "old → new", *map(name_of, run.every))
    said = (
        "Each case’s prompt, its object and the new one; by method, whether the new object is the model’s first "
        "choice afterwards (yes, no, or the share of several requests), and of how many neighbours the first token "
        f"stays. Single cases: no interval. {_control(run)}{left_out(run)}"
    )
    body = grid(head, table[:SHOWN], 2) + caption(said)
    if len(table) > SHOWN:
        rest = table[SHOWN:MOST]
        body += details(f"{some(len(rest), 'further case')} of {count(len(table))}", grid(head, rest, 2))
    return Block(_heading(run), body)


def _control(run: Run) -> str:
    before = run.single("request", "first").filter(pl.col("before") > 0)["fact"].n_unique()
    return f"Control: before any edit the new object is the first choice in {some(before, 'case')}. "


def _heading(run: Run) -> str:
    relations = run["cases"]["relation"].n_unique()
    cases, taken = some(len(run["cases"]), "case"), _taken(run)
    beside = f"; {taken} take with every method" if taken else ""
    return upper(f"{cases} of {some(relations, 'relation')} were edited{beside}")


def _taken(run: Run) -> str:
    """How many cases take with all methods."""
    rows = run.single("request", "first").filter(pl.col("method").is_in(run.methods))
    if rows.is_empty() or len(run.methods) < 2:
        return ""
    each = rows.group_by("fact").agg(pl.col("after").min(), pl.len())
    return count(len(each.filter((pl.col("after") >= 1) & (pl.col("len") == len(run.methods)))))


def _rows(run: Run) -> Iterator[tuple[str, ...]]:
    found = {
        (row["method"], row["fact"], row["metric"]): row["after"]
        for asked, metric in (("request", "first"), ("neighbour", "kept"))
        for row in run.single(asked, metric).iter_rows(named=True)
    }
    for row in run["cases"].iter_rows(named=True):
        cells = [
            _cell(found.get((method, row["case"], "first")), found.get((method, row["case"], "kept")))
            for method in run.every
        ]
        change = f"{row['old'] or 'not given'} → {row['new']}"
        yield row["prompt"] or "", change, *cells


def _cell(first: float | None, kept: float | None) -> str:
    if first is None or first != first:
        return "–"
    said = {1.0: "yes", 0.0: "no"}.get(first, share(first))
    return f"{said}\u00a0[{kept:.0%} kept]" if kept is not None and kept == kept else said
