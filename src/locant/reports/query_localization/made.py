"""What the run cost, and how it was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, absent, caption
from locant.reports.numbers import count, seconds
from locant.reports.query_localization.blocks import name_of
from locant.reports.query_localization.run import RECIPE, Run
from locant.reports.tables import definitions
from locant.reports.text import escape
from locant.reports.values import command, drawn_from, plain_value

_SHOWN = ("recipe", "model", "revision", "dtype", "source", "data", "package", "seconds")
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
    costs = run["costs"].filter(pl.col("queries") > 0)
    if costs.is_empty():
        why = "The table of costs has no rows."
        yield Section("cost", "Cost", {None: absent("What locating cost was not measured", why)})
        return
    yield Section("cost", "Cost", {None: _costs(costs)})


def _costs(costs: pl.DataFrame) -> Block:
    each = costs.with_columns(
        pl.col("seconds") / pl.col("queries"), (pl.col("passes") / pl.col("queries")).alias("passes")
    ).rows(named=True)
    least, most = (pick(each, key=lambda row: row["seconds"]) for pick in (min, max))
    heading = f"{name_of(least['localizer'])} takes {seconds(least['seconds'])} a query"
    if least is not most:
        heading += f", {name_of(most['localizer'])} {seconds(most['seconds'])}"
    longest = most["seconds"] or 1.0
    rows = "".join(
        f'<tr><th scope="row">{escape(name_of(row["localizer"]))}</th>'
        f'<td class="bar"><i style="width:{100 * row["seconds"] / longest:.1f}%"></i></td>'
        f'<td class="number">{seconds(row["seconds"])}</td><td class="number">{row["passes"]:,.1f}</td>'
        f'<td class="number">{row["peak_mb"]:,.0f} MB</td><td class="number">{count(row["queries"])}</td></tr>'
        for row in each
    )
    names = ("a query", "passes a query", "peak memory", "queries")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in names)
    table = (
        '<div class="scroll"><table class="cost"><thead><tr><th scope="col">localizer</th><th scope="col">time</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    said = (
        "Time by the clock and passes for each query located; memory is the most that the process held. One run on "
        "one machine, no interval; the localizers are each other’s control. A fact needs one query in the old view, "
        "and all of its queries in this one."
    )
    return Block(heading, table + caption(said))


def recipe(run: Run) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    about = [(name, plain_value(run.manifest[name])) for name in _SHOWN if name in run.manifest]
    rest = [
        (name, plain_value(value))
        for name, value in run.manifest.items()
        if name not in (*_SHOWN, "settings", "status")
    ]
    settings = [(name.replace("_", " "), plain_value(value)) for name, value in run.settings.items()]
    return {
        "about": definitions(about + rest),
        "settings": definitions(settings) if settings else "<p>none recorded</p>",
        "units": definitions(UNITS),
        "controls": definitions(CONTROLS),
        "command": escape("\n".join(commands(run))),
    }


def commands(run: Run) -> tuple[str, str]:
    """The command that makes the run again, and the one that makes this page from its folder."""
    options = {
        "model": run.manifest.get("model"),
        "revision": run.manifest.get("revision"),
        "dtype": run.manifest.get("dtype"),
        "data": run.manifest.get("source"),
        **drawn_from(run.manifest),
        **{name: run.settings.get(name) for name in _OPTIONS},
        "setting": _by_localizer(run.settings.get("settings")),
        "out": "RUN",
    }
    return command(RECIPE, options), "locant report RUN"


def _by_localizer(given: object) -> dict[str, object]:
    """Each localizer's own settings, by its name and theirs."""
    if not isinstance(given, Mapping):
        return {}
    return {f"{name}.{key}": value for name, own in given.items() for key, value in own.items()}
