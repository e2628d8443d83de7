"""What the run cost, and how it was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, caption
from locant.reports.made import cost_bars, cost_section, how_made
from locant.reports.numbers import count, seconds
from locant.reports.query_localization.blocks import name_of
from locant.reports.query_localization.run import Run

_OPTIONS = (
    "localizers", "share", "static", "touched", "edited", "alpha", "renormalise", "beta1", "beta2", "cas_values",
    "lambda1", "lambda2", "embeddings", "seed",
)  # fmt: skip
"""Settings that are options of the command line."""
UNITS = (
    ("P(answer)", "probability of all the answer’s tokens, each after the ones before it; 0 to 100%"),
    ("relative change", "(after − before) / before; −100% is all lost, ×2 is doubled"),
    ("points", "percentage points: a difference of two shares or of two relative changes"),
    ("[low, high]", "95% bootstrap interval of the mean, over facts: a fact’s queries are averaged first"),
    ("CS1", "neurons of every query’s set / neurons of any; no unit"),
    ("CS2", "neurons of two queries’ sets or more / neurons of any; no unit"),
    ("Jaccard", "neurons of both sets / neurons of either, mean over pairs of queries; no unit"),
    ("synapse", "an attention column: one head looking back at one position, in every row"),
    ("pass", "one forward pass of the whole prompt, in equivalents"),
)
CONTROLS = (
    ("Shuffled facts", "pseudo-facts composed of queries of different facts, of one relation or of several"),
    ("The localizer itself", "the same query located at other settings, which should find the same neurons"),
    ("Random neurons", "as many as the set has, none of them in it"),
    ("Unrelated neurons", "those of a query of another relation"),
    ("Irrelevant columns", "as many of the same layers, none of them chosen"),
    ("Equal size", "sets cut to one size before they are edited"),
)


def sections(run: Run) -> Iterator[Section]:
    """The cost; how it was made has a place of its own in the template."""
    yield cost_section(run["costs"].filter(pl.col("queries") > 0), _costs)


def _costs(costs: pl.DataFrame) -> Block:
    each = costs.with_columns(
        pl.col("seconds") / pl.col("queries"), (pl.col("passes") / pl.col("queries")).alias("passes")
    ).rows(named=True)
    least, most = (pick(each, key=lambda row: row["seconds"]) for pick in (min, max))
    heading = f"{name_of(least['localizer'])} takes {seconds(least['seconds'])} a query"
    if least is not most:
        heading += f", {name_of(most['localizer'])} {seconds(most['seconds'])}"
    rows = [
        (name_of(row["localizer"]), row["seconds"],
         (f"{row['passes']:,.1f}", f"{row['peak_mb']:,.0f} MB", count(row["queries"])))
        for row in each
    ]  # fmt: skip
    table = cost_bars("localizer", ("a query", "passes a query", "peak memory", "queries"), rows)
    said = (
        "Time by the clock and passes for each query located; memory is the most that the process held. One run on "
        "one machine, no interval; the localizers are each other’s control. A fact needs one query in the old view, "
        "and all of its queries in this one."
    )
    return Block(heading, table + caption(said))


def recipe(run: Run) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    options = {name: run.settings.get(name) for name in _OPTIONS}
    return how_made(run, {**options, "setting": _by_localizer(run.settings.get("settings"))}, UNITS, CONTROLS)


def _by_localizer(given: object) -> dict[str, object]:
    """Each localizer's own settings, by its name and theirs."""
    if not isinstance(given, Mapping):
        return {}
    return {f"{name}.{key}": value for name, own in given.items() for key, value in own.items()}
