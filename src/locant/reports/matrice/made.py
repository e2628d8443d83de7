"""What the run cost, and how it was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import polars as pl

from locant.reports.blocks import Block, Section, caption, grid
from locant.reports.made import cost_section, how_made
from locant.reports.matrice.run import Run
from locant.reports.numbers import count, seconds

_OPTIONS = (
    "localizer", "lambda_q", "lambda_l", "rule", "weights", "share", "size", "draws", "random_sets", "edited",
    "injected", "enhanced", "paired", "sources", "lambda1", "lambda2", "steps", "rate", "seed",
)  # fmt: skip
"""Settings that are options of the command line."""
UNITS = (
    ("P(answer)", "probability of all the answer’s tokens, each after the ones before it; 0 to 100%"),
    ("relative change", "(after − before) / before; −100% is all lost, ×2 is doubled"),
    ("points", "percentage points: a difference of two shares or of two relative changes"),
    ("[low, high]", "95% bootstrap interval of the mean, over facts: a fact’s queries are averaged first"),
    ("known", "in a language, a fact most of whose locating queries are answered right"),
    ("score", "of no unit: a query’s attribution as a part of its highest; mean less deviations"),
    ("Jaccard", "neurons of both sets / neurons of either; no unit"),
    ("AUC", "how often a right statement scores above a wrong one; 0.5 by chance"),
)
CONTROLS = (
    ("Half of the queries", "of each fact and language locate, the other half judge"),
    ("Random neurons", "as many as the set has in each layer, none of them in it; or as many as the union has"),
    ("Another fact’s", "the set of another fact of the relation, known in the same languages"),
    ("Held out", "a language that had no part in locating, in which the others’ neurons are suppressed"),
    ("Ten facts", "fewer are too few to show anything"),
    ("Unrelated facts", "of other relations, that share no name with the fact"),
    ("Neighbours", "other facts of the relation, which a change is to leave alone"),
    ("Equal size", "every set that is compared is cut to one size"),
    ("One string", "answers that are the same string in two languages are told apart from others"),
)


def sections(run: Run) -> Iterator[Section]:
    """The cost; how it was made has a place of its own in the template."""
    yield cost_section(run["costs"].filter(pl.col("queries") > 0), partial(_costs, run))


def _costs(run: Run, costs: pl.DataFrame) -> Block:
    table = [
        (row["stage"], seconds(row["seconds"]), seconds(row["seconds"] / row["queries"]),
         seconds(row["seconds"] / max(row["facts"], 1)), count(row["queries"]), count(row["facts"]))
        for row in costs.iter_rows(named=True)
    ]  # fmt: skip
    first = costs.row(0, named=True)
    queries, each = first["queries"] / max(first["facts"], 1), first["seconds"] / first["queries"]
    heading = f"A fact takes {seconds(each * queries)}: {queries:.0f} queries, {seconds(each)} each"
    said = (
        "Time by the clock; one run on one machine, no interval and no control. A fact in one language with one "
        f"query would take {seconds(each)}: the rest is the price of wordings and of {len(run.languages)} languages."
    )
    head = ("stage", "time", "a query", "a fact", "queries", "facts")
    return Block(heading, grid(head, table) + caption(said))


def recipe(run: Run) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    options = {name: run.settings.get(name) for name in _OPTIONS}
    return how_made(run, {**options, "setting": _of_localizer(run.settings)}, UNITS, CONTROLS)


def _of_localizer(settings: Mapping[str, object]) -> dict[str, object]:
    """The localizer's own settings, by its name and theirs."""
    given = settings.get("settings")
    return (
        {f"{settings.get('localizer')}.{key}": value for key, value in given.items()}
        if isinstance(given, Mapping)
        else {}
    )
