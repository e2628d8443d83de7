"""What is known of the facts, by language: what everything else on the page rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.recipes.parallel import FEW
from locant.reports.blocks import Block, Section, absent, as_table, caption, plot, some
from locant.reports.matrice.run import Run
from locant.reports.numbers import count, portion
from locant.reports.rows import Length, lengths
from locant.types import Interval


def sections(run: Run) -> Iterator[Section]:
    """How many queries are answered right in each language."""
    if run["known"].is_empty():
        why = "The table of what is known has no rows."
        yield Section("known", "Known", {None: absent("What is known was not measured", why)})
        return
    yield Section("known", "Known", {None: _block(run)})


def of_several(run: Run) -> int:
    """Facts that are known in two languages or more."""
    return int((run["facts"]["known"].list.len() > 1).sum())


def _block(run: Run) -> Block:
    rows = run["known"].sort("mean", descending=True, maintain_order=True)
    bars = []
    for row in rows.iter_rows(named=True):
        found = Interval(row["mean"], row["low"], row["high"], row["n"])
        bars.append(Length(row["language"], found, portion(found), "var(--unrelated)"))
    facts = run["facts"].with_columns(languages=pl.col("known").list.len())
    table = [
        (row["language"], portion(bar.value), count(row["queries"]), count(_known_in(facts, row["language"])),
         count(row["n"]))
        for row, bar in zip(rows.iter_rows(named=True), bars, strict=True)
    ]  # fmt: skip
    said = (
        "Share of the judging queries whose right answer is the model’s first choice. A fact is known in a language "
        "if most of the locating queries are answered right, a half that judges nothing: only such languages locate, "
        "and only facts known in two languages or more are located. Means over facts with 95% bootstrap intervals; "
        f"languages are each other’s control. {_spread(run, facts)}{_dropped(run)}"
    )
    best, worst = bars[0], bars[-1]
    heading = f"{best.text} of the queries are answered right in {best.row}"
    if worst is not best:
        heading += f", {worst.text} in {worst.row}"
    head = ("language", "right", "queries", "facts known", "facts")
    body = plot("known-bars", "Bars of queries answered right, by language") + caption(said) + as_table(head, table)
    figure = lengths(bars, "queries answered right", 1.0)
    return Block(heading, body, {"known-bars": figure})


def _known_in(facts: pl.DataFrame, language: str) -> int:
    return int(facts["known"].list.contains(language).sum())


def _dropped(run: Run) -> str:
    """How many queries were not asked because they say their own answer; nothing, of a run that does not tell."""
    given = run.manifest.get("dropped")
    if not isinstance(given, Mapping) or not given:
        return ""
    counts = {str(name): int(number) for name, number in given.items()}
    lost = counts.pop(FEW, 0)
    parts = ", ".join(
        f"{count(number)} {name.replace('answer in', 'in the')}" for name, number in counts.items() if number
    )
    said = f" Not asked: {_queries(sum(counts.values()))} of the data that say their own answer"
    said += f" ({parts})" if parts else ""
    return f"{said}, and {some(lost, 'fact')} that had too few others." if lost else f"{said}."


def _queries(number: int) -> str:
    return f"{count(number)} {'query' if number == 1 else 'queries'}"


def _spread(run: Run, facts: pl.DataFrame) -> str:
    """How many facts are known in how many languages."""
    if facts.is_empty():
        return ""
    every = int((facts["languages"] == len(run.languages)).sum())
    none = int((facts["languages"] == 0).sum())
    return (
        f"Of {count(len(facts))} facts, {count(every)} are known in all {len(run.languages)} languages, "
        f"{count(of_several(run))} in two or more, {count(none)} in none."
    )
