"""Would other wordings or other languages have chosen the same neurons; and in which layers do they lie?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.answers import PARTLY, UNMEASURED, YES, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.matrice.means import LEAST, doubt, side
from locant.reports.matrice.names import ALTERNATIVES, LIKE_UNION, MATRICE, RANDOM, REFERENCES, UNCERTAIN, name_of
from locant.reports.matrice.run import Run
from locant.reports.matrice.squares import sheet
from locant.reports.means import difference, mean
from locant.reports.numbers import count, decimal
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

QUESTION = "Would other wordings or other languages have chosen the same?"
OVER = {"queries": "other wordings", "languages": "other languages"}
SAME = 0.5
"""Jaccard index from which a choice is called the same: two thirds of each of two equal sets are in both."""


def answer(run: Run) -> Answer:
    """How much of the chosen set is kept when its queries, or its languages, are drawn anew."""
    found = {
        over: (index(run, over, "jaccard"), index(run, over, "expected"), above_chance(run, over)) for over in OVER
    }
    signs, parts = [], []
    for over, (own, chance, gap) in found.items():
        if own is None or chance is None or gap is None:
            continue
        signs.append(2 if own.low > SAME and own.n >= LEAST else side(gap))
        parts.append(f"{decimal(own)} by {OVER[over]}, {decimal(chance)} by chance{doubt(gap)}")
    if not parts:
        return Answer(QUESTION, UNMEASURED, "No other queries or languages were drawn.")
    short = YES if min(signs) == 2 else verdict([min(sign, 1) for sign in signs])
    short = PARTLY if short == YES and min(signs) < 2 else short
    facts = run["stability"]["fact"].n_unique()
    text = f"Jaccard index of the set with one chosen {'; '.join(parts)} (n = {count(facts)} facts)."
    text += f" It is called the same from {SAME:g} on."
    return Answer(QUESTION, short, text)


def index(run: Run, over: str, what: str) -> Interval | None:
    """A mean index over facts: of 'jaccard', or what is 'expected' of random sets."""
    return mean(run["stability"].filter(pl.col("what") == f"{over}: {what}"), "value")


def above_chance(run: Run, over: str) -> Interval | None:
    return difference(run["stability"], "value", "what", f"{over}: jaccard", f"{over}: expected", pairs=("fact",))


def sections(run: Run) -> Iterator[Section]:
    """Bootstraps of the choice, and the layers of what was chosen."""
    if not any(index(run, over, "jaccard") for over in OVER):
        why = "The table of stability has no rows."
        yield Section("stability", "Stability", {None: absent("No other queries were drawn", why)})
    else:
        yield Section("stability", "Stability", {None: _drawn(run)})
    if not run["layers"].is_empty():
        yield Section("layers", "Layers", {None: _layers(run["layers"])})


def _drawn(run: Run) -> Block:
    marks, table, parts = [], [], []
    for over, name in OVER.items():
        own, chance = index(run, over, "jaccard"), index(run, over, "expected")
        if own is None or chance is None:
            continue
        ends = [index(run, over, end) for end in ("low", "high")]
        marks += [
            Dot(upper(name), "drawn anew", own, ("circle", "var(--located)")),
            Dot(upper(name), "random sets", chance, ("square", "var(--control)")),
        ]
        spread = " to ".join(f"{end.mean:.2f}" for end in ends if end is not None)
        table.append((name, decimal(own), decimal(chance), spread or "–", count(own.n)))
        parts.append(f"Jaccard {own.mean:.2f} with {name}")
    draws = run.settings.get("draws")
    said = (
        "A fact’s queries, or its languages, are drawn anew from themselves with replacement, the language-agnostic "
        f"set is chosen again, and both sets compared: neurons of both / neurons of either, no unit; "
        f"{draws if isinstance(draws, int) else 'several'} draws a fact. Means over facts with 95% bootstrap "
        "intervals; “of a fact” in the table is the mean range of the central 95% of its draws. Control: random "
        "sets with as many neurons in each layer, a low bar, since sets of two facts share more."
    )
    body = legend([("dot", "drawn anew"), ("square", "random sets of the same layers")])
    body += plot("stability-dots", "Jaccard index with the chosen set") + caption(said)
    body += as_table(("drawn", "Jaccard", "random", "of a fact", "n"), table)
    heading = f"Chosen again, the set keeps {' and '.join(parts)}"
    return Block(heading, body, {"stability-dots": dots(marks, "Jaccard index", decimal, (0.0, 1.0), ".1f")})


def _layers(rows: pl.DataFrame) -> Block:
    order = (
        MATRICE, *UNCERTAIN, *ALTERNATIVES, *REFERENCES, "own of each language", "all languages but one", RANDOM,
        LIKE_UNION,
    )  # fmt: skip
    known = set(rows["set"])
    sets = [*(name for name in order if name in known), *sorted(known - set(order))]
    layers = sorted(rows["layer"].unique().to_list())
    held = {(name, layer): neurons for name, layer, neurons in rows.select("set", "layer", "neurons").iter_rows()}
    values = [[held.get((name, layer), 0.0) for layer in layers] for name in sets]
    facts = int(rows["facts"].to_numpy().max())
    said = (
        f"Neurons of a fact’s set in each layer, from 0, the mean over {count(facts)} facts and, where there are "
        "several, over languages or draws; cells with less than 0.05 are empty. A description without an interval. "
        "Controls: random neurons are of the same layers as the language-agnostic set, and must look like it; "
        "language neurons belong to no fact."
    )
    table = [(name_of(name), *(f"{value:.2f}" for value in own)) for name, own in zip(sets, values, strict=True)]
    body = plot("layers-sheet", "Heat map of neurons by set and layer; the table has the numbers") + caption(said)
    body += as_table(("neurons", *map(str, layers)), table)
    figure = sheet(values, [upper(name_of(name)) for name in sets], layers, "layer")
    return Block(_heading(sets, layers, values), body, {"layers-sheet": figure})


def _heading(sets: list[str], layers: list[int], values: list[list[float]]) -> str:
    first = values[0]
    whole = sum(first) or 1.0
    top = max(range(len(layers)), key=lambda place: first[place])
    return f"Layer {layers[top]} holds {first[top] / whole:.0%} of the neurons of the set “{name_of(sets[0])}”"
