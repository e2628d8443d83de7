"""How a recipe's run was made, and what it cost: the end of its page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl

from locant.reports.blocks import Block, Section, absent
from locant.reports.numbers import seconds
from locant.reports.runs import FinishedRun
from locant.reports.tables import definitions
from locant.reports.text import escape
from locant.reports.values import command, drawn_from, plain_value

Pairs = Iterable[tuple[str, str]]
"""Names and what they stand for; as text."""


def how_made(
    run: FinishedRun, options: Mapping[str, object], units: Pairs, controls: Pairs, counts: Sequence[str] = ()
) -> dict[str, str]:
    """The parts of "How this was made", as HTML.

    Args:
        options: settings that are options of the command line, by their names there.
        counts: what the manifest says behind the data's hash: how much of them there is.
    """
    shown = ("recipe", "model", "revision", "dtype", "source", "data", *counts, "package", "seconds")
    first = [name for name in shown if name in run.manifest]
    rest = [name for name in run.manifest if name not in (*shown, "settings", "status")]
    settings = [(name.replace("_", " "), plain_value(value)) for name, value in run.settings.items()]
    return {
        "about": definitions((name, plain_value(run.manifest[name])) for name in [*first, *rest]),
        "settings": definitions(settings) if settings else "<p>none recorded</p>",
        "units": definitions(units),
        "controls": definitions(controls),
        "command": escape("\n".join(_commands(run, options))),
    }


def _commands(run: FinishedRun, options: Mapping[str, object]) -> tuple[str, str]:
    """The command that makes the run again, and the one that makes this page from its folder."""
    every = {
        **{name: run.manifest.get(name) for name in ("model", "revision", "dtype")},
        "data": run.manifest.get("source"),
        **drawn_from(run.manifest),
        **options,
        "out": "RUN",
    }
    return command(str(run.manifest["recipe"]), every), "locant report RUN"


def cost_section(costs: pl.DataFrame, block: Callable[[pl.DataFrame], Block]) -> Section:
    """What the run cost, out of a table that may have no rows."""
    if costs.is_empty():
        why = "The table of costs has no rows."
        return Section("cost", "Cost", {None: absent("What locating cost was not measured", why)})
    return Section("cost", "Cost", {None: block(costs)})


def cost_bars(what: str, head: Sequence[str], rows: Sequence[tuple[str, float, Sequence[str]]]) -> str:
    """A table of times, each with a bar.

    Args:
        what: took the time, the name of the first column.
        head: names of the columns behind the bar: the time, and what else there is.
        rows: a name, the seconds it took, and the other columns; as text.
    """
    longest = max((own for _, own, _ in rows), default=0.0) or 1.0
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="bar"><i style="width:{100 * own / longest:.1f}%"></i></td>'
        + "".join(f'<td class="number">{escape(one)}</td>' for one in (seconds(own), *rest))
        + "</tr>"
        for name, own, rest in rows
    )
    names = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in head)
    return (
        f'<div class="scroll"><table class="cost"><thead><tr><th scope="col">{escape(what)}</th>'
        f'<th scope="col">time</th>{names}</tr></thead><tbody>{body}</tbody></table></div>'
    )
