"""What the edits cost, and how the run was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, caption, details, grid
from locant.reports.editing.names import RANDOM, name_of
from locant.reports.editing.run import Run
from locant.reports.made import cost_bars, cost_section, how_made
from locant.reports.means import number
from locant.reports.numbers import count, score, seconds

_OPTIONS = ("methods", "in_turn", "together", "layers", "tokens", "seed")
"""Settings that are options of the command line."""
UNITS = (
    ("score", "share of queries whose right text has a lower mean NLL of its tokens than the other; 0 to 100%"),
    (
        "first",
        "share of queries whose right text is in all its tokens the first choice, each after the ones before it",
    ),
    ("tokens", "share of the right text’s tokens that are; teacher-forced"),
    ("written", "share of queries after which the model, writing freely, begins with the right text"),
    ("kept", "share of queries whose first token is as before any edit"),
    (
        "KL",
        "of the first token’s distribution before the edit and after it: 64 tokens and all others as one; in nats",
    ),
    ("S", "harmonic mean of the scores of requests, other wordings and neighbours"),
    ("rewrite score", "(P after − P before) / (1 − P before) of the new object; 100% at most"),
    ("R²", "share of the variance of rewrite scores, over facts and layers; 0 to 1"),
    ("perplexity", "exp of the mean NLL of running text’s tokens; here its change, (after − before) / before"),
    ("points", "percentage points: a difference of two shares, paired over cases"),
    ("[low, high]", "95% bootstrap interval of the mean, over cases: a case’s queries are averaged first"),
)
CONTROLS = (
    ("Before", "everything is read of the untouched model too"),
    ("Neighbours", "other facts of the edited relation, which are to stay"),
    ("Unrelated facts", "of other relations"),
    ("Random neurons", "as many as knowledge neurons, of the same layers, edited alike"),
    ("Alone", "the same cases edited alone, beside edits in turn and together"),
    ("Shuffled facts", "facts with the localization effects of other facts"),
    ("The best fixed layer", "of all other facts, beside the layer that localization names"),
    ("Ten cases", "fewer are too few to show anything"),
)


def sections(run: Run) -> Iterator[Section]:
    """The cost; how it was made has a place of its own in the template."""
    timed = run["costs"].filter((pl.col("noted") == "seconds") & pl.col("median").is_finite())
    if timed.is_empty():
        yield cost_section(timed, lambda costs: _costs(run, costs))
        return
    yield Section("cost", "Cost", {None: _costs(run, timed)})


def _costs(run: Run, timed: pl.DataFrame) -> Block:
    rows = {str(row["method"]): row for row in timed.iter_rows(named=True)}
    known = [method for method in run.every if method in rows]
    body = [
        (name_of(method), number(rows[method]["median"]),
         (seconds(number(rows[method]["mean"])), count(rows[method]["n"] or 0), count(rows[method]["refused"] or 0)))
        for method in known
    ]  # fmt: skip
    compared = [one for one, method in zip(body, known, strict=True) if method != RANDOM] or body
    quick, slow = (pick(compared, key=lambda one: one[1]) for pick in (min, max))
    heading = f"An edit takes {seconds(quick[1])} with {quick[0]}"
    heading += f", {seconds(slow[1])} with {slow[0]}" if slow != quick else ""
    table = cost_bars("method", ("median", "mean", "edits", "refused"), body)
    said = (
        "Time of an edit by the clock, without what is read before and after it; statistics that are made once for a "
        "model are in the first edit that needs them, and only in the mean. One run on one machine, no interval and "
        "no control but the methods beside each other. Random neurons are not "
        "located first, knowledge neurons are. Refused: cases that a method cannot edit, or whose edit destroys the "
        "model."
    )
    return Block(heading, table + caption(said) + _ends(run) + _notes(run))


def _ends(run: Run) -> str:
    """What was refused, or destroyed the model, in the methods' own sentences."""
    table = [
        (
            name_of(row["method"]),
            row["made"],
            row["metric"],
            count(row["cases"] or 0),
            row["first"] or "all",
            row["why"],
        )
        for row in run["ended"].iter_rows(named=True)
    ]  # fmt: skip
    if not table:
        return ""
    head = ("method", "edited", "what", "cases", "the first", "what is said of it")
    return details("What was refused, or destroyed the model", grid(head, table, 3))


def _notes(run: Run) -> str:
    """What the methods measured on the way, each in its own units."""
    rows = run["costs"].filter(pl.col("noted") != "seconds")
    table = [
        (name_of(method), row["noted"], *(_plain(number(row[name])) for name in ("median", "mean")),
         count(row["n"] or 0))
        for method in run.every
        for row in rows.filter(pl.col("method") == method).iter_rows(named=True)
    ]  # fmt: skip
    if not table:
        return ""
    return details("What the methods noted", grid(("method", "what", "median", "mean", "n"), table, 2))


def _plain(value: float) -> str:
    return score(value).removeprefix("+") if value == value else "–"


def recipe(run: Run) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    given = run.settings.get("settings")
    own = {
        f"{method}.{name}": value
        for method, settings in (given.items() if isinstance(given, Mapping) else ())
        for name, value in settings.items()
    }
    options = {name: run.settings.get(name) for name in _OPTIONS}
    return how_made(run, {**options, "setting": own}, UNITS, CONTROLS, counts=("cases", "left_out", "texts"))
