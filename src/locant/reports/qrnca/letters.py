"""Does the model answer in letters, and how often is the letter right?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, panels, plot
from locant.reports.means import LEAST, mean_over
from locant.reports.numbers import count, portion, share
from locant.reports.qrnca.figures import Mark, Row, scale
from locant.reports.qrnca.run import Run
from locant.types import Interval

HALF = 0.5
"""Mean probability of all letters below which a model is said not to answer in letters."""


def sections(run: Run) -> Iterator[Section]:
    """How the model answers."""
    if right_of(run["prompts"]) is None or mass_of(run["prompts"]) is None:
        why = "The table of prompts has no rows: no question was asked."
        yield Section("letters", "Answers", {None: absent("How the model answers was not measured", why)})
        return
    yield Section("letters", "Answers", {None: _block(run)})


def right_of(prompts: pl.DataFrame) -> Interval | None:
    """The share of prompts whose most probable letter is the right one, over facts."""
    known = prompts.filter(pl.col("right").is_not_null()).with_columns(pl.col("right").cast(pl.Float64))
    return mean_over(known, "right", "fact")


def mass_of(prompts: pl.DataFrame) -> Interval | None:
    """The probability of all letters together, over facts."""
    return mean_over(prompts, "mass", "fact")


def chance_of(run: Run) -> float:
    """How often one of the options, drawn at random, is right."""
    return 1 / max(1, run.options)


def does_answer(run: Run) -> bool | None:
    """Whether the model answers in letters, and better than chance; None if that was not measured."""
    right, mass = right_of(run["prompts"]), mass_of(run["prompts"])
    if right is None or mass is None:
        return None
    return mass.mean >= HALF and right.n >= LEAST and right.low > chance_of(run)


def _block(run: Run) -> Block:
    prompts, chance = run["prompts"], chance_of(run)
    found = []
    for group in run.groups:
        own = prompts.filter(pl.col("group") == group)
        right, mass = right_of(own), mass_of(own)
        if right is not None and mass is not None:
            found.append((group, right, mass, own))
    rights = [
        Row(group, [Mark(portion(right), right, "var(--located)")], portion(right)) for group, right, *_ in found
    ]
    masses = [
        Row(group, [Mark(portion(mass), mass, "var(--unrelated)")], portion(mass)) for group, _, mass, _ in found
    ]
    line = {f"chance {chance:.0%}": (chance, "dash")}
    figures = {
        "letters-right": scale(rights, "share of prompts answered right", line),
        "letters-mass": scale(masses, "P(any of the letters)", {"one half": (HALF, "dash")}),
    }  # fmt: skip
    parts = [
        ("Answered right", plot("letters-right", "Share answered right by group; the table has the numbers")),
        ("Probability of all letters", plot("letters-mass", "Letter mass by group; the table has the numbers")),
    ]
    said = (
        "Left: share of prompts whose most probable letter is the right one. Right: the probability that the next "
        f"token is any of the {run.options} letters, in percent of the whole vocabulary; the rest is what the model "
        "would rather say. Dots are means over facts, each fact’s questions and templates averaged first; whiskers "
        f"are 95% bootstrap intervals over facts, n in the table ({count(prompts['fact'].n_unique())} in all). "
        "Control: the dashed lines, chance on the left and, on the right, one half, below which a model is said not "
        "to answer in letters."
    )
    head = ("group", "answered right", "letter mass", "P(right letter)", "prompt tokens", "prompts", "n")
    table = []
    for group, right, mass, own in found:
        p = mean_over(own, "probability", "fact")
        length = mean_over(own, "length", "fact")
        table.append(
            (group, portion(right), portion(mass), portion(p) if p else "none",
             f"{length.mean:,.0f}" if length else "none", count(len(own)), count(right.n))
        )  # fmt: skip
    return Block(_heading(found, chance), panels(parts) + caption(said) + as_table(head, table), figures)


def _heading(found: list[tuple[str, Interval, Interval, pl.DataFrame]], chance: float) -> str:
    judged = [right for _, right, _, _ in found if right.n >= LEAST]
    above = [right for right in judged if right.low > chance]
    rights = [right.mean for _, right, _, _ in found]
    span = f"{share(min(rights))} to {share(max(rights))}" if len(rights) > 1 else share(rights[0])
    low = [group for group, _, mass, _ in found if mass.mean < HALF]
    silent = f"; in {len(low)} the letters have less than half of the probability" if low else ""
    groups = "groups" if len(judged) > 1 else "group"
    said = (
        f"above chance in {len(above)} of {len(judged)} {groups}" if judged else f"each of fewer than {LEAST} facts"
    )
    few = f" of {LEAST} facts or more" if 0 < len(judged) < len(found) else ""
    return f"Right answers: {span} by group, {said}{few}{silent}"
