"""Demonstrations: whether the heads that they bring into the circuit carry what they add."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.recipes.knowledge_circuits.means import ALL
from locant.recipes.knowledge_circuits.shown import NEW, RANDOM, SHOWN, ZERO_SHOT
from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.knowledge_circuits.means import INTERVALS, gap_of, how_many, judged, n_of, shown, sure
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import Run, interval_in
from locant.reports.means import pooled_difference, values
from locant.reports.numbers import points, portion
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Do the heads that a demonstration brings matter?"
SETS = {
    ZERO_SHOT: ("asked alone", "hollow", ("square-open", "var(--control)")),
    SHOWN: ("after a demonstration", "dot", ("circle", "var(--located)")),
    NEW: ("the new heads cut", "diamond", ("diamond", "var(--unrelated)")),
    RANDOM: ("random heads cut", "square", ("square", "var(--control)")),
}


def probability_of(run: Run, name: str, relation: str = ALL) -> Interval | None:
    """Mean P(answer) of a relation, or of all."""
    return interval_in(_row(run, name, "probability", relation))


def _row(run: Run, name: str, measure: str, relation: str) -> pl.DataFrame:
    level = "all" if relation == ALL else "relation"
    return run.of("demonstrations", relation=relation, level=level, set=name, measure=measure)


def gap(run: Run, one: str, other: str, relation: str = ALL) -> Interval | None:
    """How much higher P(answer) is in one condition than in another, of the same facts."""
    rows = run["shown"] if relation == ALL else run.of("shown", relation=relation)
    return pooled_difference(rows, "probability", "set", one, other, "relation")


def answer(run: Run) -> Answer:
    """Yes if more is surely lost without the new heads than without random ones of their layers."""
    whole, new, random = (probability_of(run, name) for name in (SHOWN, NEW, RANDOM))
    if whole is None or new is None or random is None:
        return Answer(QUESTION, UNMEASURED, "No facts were shown before others were asked.")
    more = gap(run, RANDOM, NEW)
    alone = shown(probability_of(run, ZERO_SHOT))
    text = (
        f"Without the heads that a demonstration brings into the circuit P(answer) is {portion(new)}, and without as "
        f"many random heads of their layers {portion(random)}: difference {gap_of(more)} ({n_of(whole)}). With all "
        f"heads it is {portion(whole)} after a demonstration and {alone} asked alone: difference "
        f"{gap_of(gap(run, SHOWN, ZERO_SHOT))}."
    )
    return Answer(QUESTION, judged(more), text)


def sections(run: Run) -> Iterator[Section]:
    """P(answer) of every relation."""
    if run["demonstrations"].is_empty():
        why = "The table of demonstrations has no rows."
        yield Section("demonstrations", "Demonstrations", {None: absent("No facts were shown before others", why)})
        return
    yield Section("demonstrations", "Demonstrations", {None: _block(run)})


def _block(run: Run) -> Block:
    relations = [ALL, *values(run.of("demonstrations", level="relation"), "relation")]
    marks = [
        Dot(_name(relation), label, found, mark)
        for relation in relations
        for name, (label, _, mark) in SETS.items()
        if (found := probability_of(run, name, relation)) is not None
    ]
    body = legend([(kind, label) for label, kind, _ in SETS.values()])
    body += plot("shown-dots", "P(answer) with and without demonstrations; the table has the numbers")
    said = (
        "Mean probability of the answer’s first token of test facts: asked alone, after one solved example of the "
        "relation, after it with heads cut. New heads are in the circuit of facts after a demonstration (against "
        "another relation’s demonstration) and not in that of the same facts asked alone (against another subject); "
        "they are found on validation facts, and cut from all they feed. Means over facts; "
        f"{INTERVALS}; n in the table. Control: as many heads of the same layers that are not new, at random; there "
        "are fewer where a layer has not as many, and more alike then."
    )
    table = []
    for relation in relations:
        cells = [probability_of(run, name, relation) for name in SETS]
        n = how_many(next((one for one in reversed(cells) if one is not None), None))
        more = gap(run, RANDOM, NEW, relation)
        cut = _row(run, NEW, "probability", relation)["heads"].mean()
        heads = f"{cut:.1f}" if isinstance(cut, float) else "–"
        table.append((_name(relation), *map(shown, cells), shown(more, points), heads, n))
    head = ("relation", *(label for label, _, _ in SETS.values()), "lost more by the new", "heads cut", "n")
    figure = dots(marks, "P(answer)", portion, (0.0, 1.0))
    return Block(_heading(run), body + caption(said) + as_table(head, table), {"shown-dots": figure})


def _name(relation: str) -> str:
    return "all relations" if relation == ALL else relation_of(relation)


def _heading(run: Run) -> str:
    alone, whole, new, random = (probability_of(run, name) for name in (ZERO_SHOT, SHOWN, NEW, RANDOM))
    if whole is None or new is None or random is None:
        return "Facts asked after a demonstration"
    start = f"from {alone.mean:.0%} " if alone is not None else ""
    return (
        f"A demonstration takes P(answer) {start}to {whole.mean:.0%}; without the heads it brings it is "
        f"{new.mean:.0%}, without random ones {random.mean:.0%}{sure(gap(run, RANDOM, NEW))}"
    )
