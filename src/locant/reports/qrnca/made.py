"""What the run cost, and how it was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, absent, caption
from locant.reports.numbers import count, seconds
from locant.reports.qrnca.names import upper
from locant.reports.qrnca.run import RECIPE, Run, number
from locant.reports.tables import definitions
from locant.reports.text import escape
from locant.reports.values import command, drawn_from, plain_value

_SHOWN = ("recipe", "model", "revision", "dtype", "source", "data", "questions", "prompts", "package", "seconds")
_OPTIONS = ("mode", "decimals", "contrast", "wrong", "share", "common", "top", "aggregate", "seed")
_NAMES = {"wrong": "wrong_answers"}
"""Settings that are options of the command line, and those that are called otherwise there."""
UNITS = (
    ("P(right letter)", "probability that the next token is the right option’s letter; 0 to 100%"),
    ("letter mass", "probability of all letters together; 0 to 100%"),
    ("relative change", "(after − before) / before; −100% is all lost, ×2 is doubled"),
    ("ratio", "|related change| / |unrelated change|, the paper’s PCR; no unit"),
    ("[low, high]", "95% interval, over facts: a fact’s questions and their templates are averaged first"),
    ("score", "attribution to P(right letter), as a share of all, times inverse cluster attribution"),
    ("Jaccard", "neurons of both groups / neurons of either; no unit"),
    ("Dice", "neurons of both groups / the mean of their numbers; no unit"),
)
CONTROLS = (
    ("Unrelated questions", "of other groups and other facts, with the same neurons touched"),
    ("Held-out template", "neurons located without a template, judged by it, each in turn"),
    ("Seen templates", "the same neurons, judged by the templates that located them"),
    ("Held-out question", "neurons of a group located with one half of its questions, judged by the other"),
    ("Known question", "the same neurons, judged by the half that located them"),
    ("Without ICA", "the attribution alone, not weighed by how few clusters share the neuron"),
    ("With common neurons", "neurons of many clusters are left in"),
    ("Knowledge neurons", "after Dai et al. 2022: credited in every template"),
    ("Its strongest", "of QRNCA’s neurons as few as there are knowledge neurons"),
    ("Activation", "the highest |activation|, as many as QRNCA’s"),
    ("Random neurons", "as many as QRNCA’s, of the same layers; of a group three sets"),
    ("Shuffled questions", "groups of the same sizes, drawn from all questions"),
    ("Shuffled blocks", "groups of other relations, or a fact’s questions among its groups"),
    ("Pools", "no neurons, random ones, or another group’s, in the place of a group’s own"),
)


def sections(run: Run) -> Iterator[Section]:
    """The cost; how it was made has a place of its own in the template."""
    costs = run["costs"].filter((pl.col("questions") > 0) & pl.col("seconds").is_finite())
    if costs.is_empty():
        why = "The table of costs has no rows."
        yield Section("cost", "Cost", {None: absent("What locating cost was not measured", why)})
        return
    yield Section("cost", "Cost", {None: _costs(costs)})


def _costs(costs: pl.DataFrame) -> Block:
    rows = costs.rows(named=True)
    each = [row["seconds"] / row["questions"] for row in rows]
    length = number(rows[0]["tokens"])
    prompts = f", in prompts of {length:,.0f} tokens" if length == length else ""
    heading = f"{upper(rows[0]['stage'] or 'Locating')} takes {seconds(each[0])} a question{prompts}"
    longest = max(each) or 1.0
    body = "".join(
        f'<tr><th scope="row">{escape(row["stage"] or "")}</th>'
        f'<td class="bar"><i style="width:{100 * own / longest:.1f}%"></i></td>'
        f'<td class="number">{seconds(own)}</td><td class="number">{seconds(row["seconds"])}</td>'
        f'<td class="number">{count(row["questions"])}</td><td class="number">{count(row["prompts"] or 0)}</td>'
        f'<td class="number">{_tokens(row)}</td></tr>'
        for row, own in zip(rows, each, strict=True)
    )
    names = ("a question", "in all", "questions", "prompts", "tokens a prompt")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in names)
    table = (
        '<div class="scroll"><table class="cost"><thead><tr><th scope="col">stage</th><th scope="col">time</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    said = (
        "Time by the clock in seconds, for each question with all its templates; prompts’ mean length in tokens. One "
        "run on one machine, no interval and no control but the stages beside each other."
    )
    return Block(heading, table + caption(said))


def _tokens(row: Mapping[str, object]) -> str:
    length = number(row["tokens"])
    return f"{length:,.0f}" if length == length else "not known"


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
    given = run.settings.get("settings")
    options = {
        "model": run.manifest.get("model"),
        "revision": run.manifest.get("revision"),
        "dtype": run.manifest.get("dtype"),
        "data": run.manifest.get("source"),
        **drawn_from(run.manifest),
        **{_NAMES.get(name, name): run.settings.get(name) for name in _OPTIONS},
        "setting": {f"dai.{name}": value for name, value in given.items()} if isinstance(given, Mapping) else None,
        "out": "RUN",
    }
    return command(RECIPE, options), "locant report RUN"
