"""Does an edit of value vectors made in one language reach the others?"""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, panels, plot
from locant.reports.matrice.names import MATRICE, OWN_HERE, name_of
from locant.reports.matrice.reach import (
    HERE,
    Read,
    reach_answer,
    reach_head,
    reach_heading,
    reach_panels,
    reach_table,
    read,
)
from locant.reports.matrice.run import Run
from locant.reports.matrice.squares import square, wide
from locant.reports.means import mean
from locant.reports.numbers import count, portion, share
from locant.reports.text import upper
from locant.types import Interval

QUESTION = "Does an edit made in one language reach others?"
_SHOWN = (MATRICE, OWN_HERE)


def answer(run: Run) -> Answer:
    """What an edit in one language makes the model say there, and in the others."""
    return reach_answer(read(run, "edited", "edited"), QUESTION)


def sections(run: Run) -> Iterator[Section]:
    """The square of languages, and every set's reach and cost."""
    if run["edited"].is_empty():
        why = "The table of edits has no rows."
        yield Section("editing", "Editing", {None: absent("No fact was edited", why)})
        return
    found = read(run, "edited", "edited")
    yield Section("editing", "Editing", {None: _squares(run, found)})
    yield Section("editing-sets", "", {None: _sets(run, found)})


def _squares(run: Run, found: Read) -> Block:
    parts, table = [], []
    figures: dict[str, go.Figure] = {}
    for place, name in enumerate(_SHOWN):
        cells = _cells(found, name)
        sources = [one for one in run.languages if any(source == one for source, _ in cells)]
        uid = f"editing-square-{place}"
        if not cells:
            continue
        figures[uid] = square(cells, sources, run.languages, "edited in", share=True)
        drawn = f'<div class="scroll"><div class="{wide(len(run.languages))}">'
        drawn += plot(uid, f"Heat map of edits, {name_of(name)}; the table has the numbers") + "</div></div>"
        facts = found.related(name)["fact"].n_unique()
        parts.append((f"{upper(name_of(name))}, n = {count(facts)} facts", drawn))
        table += [
            (name_of(name), source, language, portion(cell), count(cell.n))
            for (source, language), cell in cells.items()
        ]
    said = (
        "Share of judging queries, in percent, whose first choice is the new answer after the fact’s value vectors "
        f"were rewritten in one language (down the side), by where it is read (across); {run.size}. Framed: the "
        "language of the edit. Means over facts; intervals and n are in the table, and where a cell is pointed at. "
        "Only languages in which the fact is known are edited; all are read, here also those that do not know it. "
        "Controls are below: random neurons, and what other facts keep."
    )
    body = panels(parts) + caption(said) + as_table(("neurons", "edited in", "read in", "new answer", "n"), table, 3)
    return Block(_heading(found), body, figures)


def _cells(found: Read, which: str) -> dict[tuple[str, str], Interval]:
    groups = found.related(which).partition_by("source", "language", as_dict=True, maintain_order=True)
    cells = {(str(one), str(other)): mean(rows, "says_new") for (one, other), rows in groups.items()}
    return {pair: cell for pair, cell in cells.items() if cell is not None}


def _heading(found: Read) -> str:
    here, there = (found.new(MATRICE, where) for where in (HERE, found.elsewhere))
    if here is None or there is None:
        return "The language-agnostic set was not edited in one language and read in others"
    said = f"Edited in one language, the language-agnostic set says the new answer in {share(here.mean)} of queries"
    return f"{said} there, in {share(there.mean)} in {found.others}"


def _sets(run: Run, found: Read) -> Block:
    names = {name: upper(name_of(name)) for name in found.sets}
    body, figures = reach_panels(found, "editing", names)
    said = (
        "Left: share of judging queries whose first choice is the new answer, in the language of the edit and in the "
        "others that know the fact; those that lack it are in the table. “In turn”: the fact is edited in one "
        "known language after another. Right: share of queries of other "
        "facts, of the same relation and of other ones, in all languages, whose first token stays as it was. Means "
        "over facts with 95% bootstrap intervals, n in the table. Controls: random neurons of the same layers, and "
        "of "
        f"the union’s, and the set of another fact, edited alike.{_chosen(run)}"
    )
    body += caption(said) + as_table(reach_head(found), list(reach_table(found))) + _sizes(run)
    return Block(reach_heading(found), body, figures)


def _chosen(run: Run) -> str:
    """How large the edits are, and by which facts that was chosen."""
    if run["chosen"].is_empty():
        return ""
    row = run["chosen"].row(0, named=True)
    text = f" λ₁ = {row['lambda1']:g}, λ₂ = {row['lambda2']:g}"
    if row["how"] != "swept":
        return f"{text}, {row['how']}."
    whose = (
        "facts that are not edited here" if row["apart"] else "facts that are edited here too, there being too few"
    )
    return f"{text}, chosen by the locating queries of {count(row['facts'])} {whose}."


def _sizes(run: Run) -> str:
    """What each size of an update wins and costs in its own language."""
    rows = run["lambdas"].filter(pl.col("language") == pl.col("source"))
    if rows.is_empty():
        return ""
    real = [pl.col(name).cast(pl.Float64) for name in ("says_new", "kept")]
    table = []
    for (size,), own in rows.with_columns(*real).sort("lambda").partition_by("lambda", as_dict=True).items():
        cells = [
            mean(own.filter(pl.col("asked") == asked), column)
            for asked, column in (("related", "says_new"), ("neighbour", "kept"), ("unrelated", "kept"))
        ]
        shown = [portion(cell) if cell is not None else "none" for cell in cells]
        table.append((f"{size:g}", *shown, count(own["fact"].n_unique())))
    said = (
        "An update subtracts λ₁ times the old answer’s embedding from each value vector and adds λ₂ times the new "
        "one’s, in lengths of the value vector. Where the run was given no λ, the size that does best here is taken "
        "for all sets: what is said anew and what is kept of other facts count alike, with a language’s own neurons, "
        f"in that language, by the queries that locate.{_chosen(run)}"
    )
    head = ("λ₁ = λ₂", "new answer", "neighbours kept", "unrelated kept", "n")
    return details("How large an edit is", grid(head, table) + caption(said))
