"""What the run cost, and how it was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from locant.reports.blocks import Block, Section, caption
from locant.reports.made import cost_bars, cost_section, how_made
from locant.reports.means import number
from locant.reports.numbers import count, seconds
from locant.reports.qrnca.run import Run
from locant.reports.text import upper

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
    yield cost_section(run["costs"].filter((pl.col("questions") > 0) & pl.col("seconds").is_finite()), _costs)


def _costs(costs: pl.DataFrame) -> Block:
    rows = costs.rows(named=True)
    each = [row["seconds"] / row["questions"] for row in rows]
    length = number(rows[0]["tokens"])
    prompts = f", in prompts of {length:,.0f} tokens" if length == length else ""
    heading = f"{upper(rows[0]['stage'] or 'Locating')} takes {seconds(each[0])} a question{prompts}"
    body = [
        (row["stage"] or "", own,
         (seconds(row["seconds"]), count(row["questions"]), count(row["prompts"] or 0), _tokens(row)))
        for row, own in zip(rows, each, strict=True)
    ]  # fmt: skip
    table = cost_bars("stage", ("a question", "in all", "questions", "prompts", "tokens a prompt"), body)
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
    given = run.settings.get("settings")
    options = {
        **{_NAMES.get(name, name): run.settings.get(name) for name in _OPTIONS},
        "setting": {f"dai.{name}": value for name, value in given.items()} if isinstance(given, Mapping) else None,
    }
    return how_made(run, options, UNITS, CONTROLS, counts=("questions", "prompts"))
