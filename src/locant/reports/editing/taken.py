"""Do edits take, do other wordings follow, and does what follows from them: shares of what is right afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, legend, plot
from locant.reports.editing.means import (
    HALF,
    alike,
    best_of,
    cases_of,
    few,
    gap_of,
    lead_of,
    others_of,
    over,
    range_of,
    shown,
    tally,
)
from locant.reports.editing.names import name_of
from locant.reports.editing.run import Run
from locant.reports.means import mean, values
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

MARKS = {
    "before": ("first choice before", "hollow", ("square-open", "var(--control)")),
    "score": ("more probable than the old", "square score", ("square", "var(--shared)")),
    "first": ("first choice", "dot", ("circle", "var(--located)")),
    "written": ("written freely", "diamond", ("diamond", "var(--unrelated)")),
}
"""Of each measure: what it is called, the class of its mark in a legend, and its mark in a figure."""
_MEASURES = (
    "Green: the new object is more probable than the old one, by the mean over their tokens; which need not be what "
    "the model says. Orange: every token of it is the model’s first choice. Blue: the model, writing freely, begins "
    "with it. Means over cases, each edited alone in the untouched model, with 95% bootstrap intervals; n in the "
    "table. Control: the first choice before the edit, in grey{}."
)


@dataclass(frozen=True)
class Asked:
    """What is asked of the edited model, and how it is spoken of.

    Attributes:
        asked: as tables have it.
        uid, kicker: of the section.
        question: that the run answers.
        whose: where the right answer is looked for, in a sentence.
        what: the right answer, in a sentence.
        old: what it is compared with.
        about: of the queries, before what is measured.
    """

    asked: str
    uid: str
    kicker: str
    question: str
    whose: str
    what: str
    old: str
    about: str


REQUESTS = Asked(
    "request", "requests", "Requests", "Do the edits take?", "of the requests", "the new object", "the old one",
    "Requests: the prompts that the edits were made for.",
)  # fmt: skip
WORDINGS = Asked(
    "paraphrase", "wordings", "Other wordings", "Do other wordings follow?", "of other wordings", "the new object",
    "the old one", "Other wordings of the requests, which no method has seen.",
)  # fmt: skip
FOLLOWING = Asked(
    "portability", "portability", "Portability", "Does what follows from the edit follow?",
    "of questions that hang on the edit", "what follows from the new object", "what followed from the old one",
    "Questions whose right answer is another once the fact is, as the country of a city that was moved; most edits "
    "were not made for them.",
)  # fmt: skip
ALL = (REQUESTS, WORDINGS, FOLLOWING)


def answers(run: Run) -> list[Answer]:
    """Of requests, other wordings and portability, in this order."""
    return [_answer(run, one) for one in ALL]


def sections(run: Run) -> Iterator[Section]:
    """Requests and other wordings."""
    for one in (REQUESTS, WORDINGS):
        yield Section(one.uid, one.kicker, {None: _block(run, one)})


def portability(run: Run) -> Iterator[Section]:
    """What follows from edits."""
    yield Section(FOLLOWING.uid, FOLLOWING.kicker, {None: _block(run, FOLLOWING)})


def firsts(run: Run, asked: str) -> dict[str, Interval]:
    """By method, how often what is right is the model's first choice."""
    found = {name: run.mean(name, asked, "first") for name in run.methods}
    return {name: one for name, one in found.items() if one is not None}


def takes(run: Run, method: str) -> int:
    """1 if a method's edits surely take in more than half of the cases, -1 if in fewer, 0 if neither is shown."""
    return over(run.mean(method, "request", "first"), HALF)


def _answer(run: Run, of: Asked) -> Answer:
    found = firsts(run, of.asked)
    if not found:
        return Answer(of.question, UNMEASURED, "No case was edited alone, or no queries of this kind were asked.")
    best = best_of(found)
    signs = [over(one, HALF) for one in found.values()]
    text = f"{_with(run, of, best, found)}{_ahead(run, of, best, found)}"
    text += others_of(found, best)
    return Answer(
        of.question, verdict(signs, few(found.values())), f"{text} {tally(signs, 'Surely in more than half')}."
    )


def _with(run: Run, of: Asked, method: str, found: dict[str, Interval]) -> str:
    """The measures of one method, in a sentence."""
    own = found[method]
    before = run.mean(method, of.asked, "first", "before")
    was = f" (before the edit: {portion(before)})" if before is not None else ""
    text = f"{upper(lead_of(found, method))} {of.what} is the first choice in {portion(own)} {of.whose}{was}"
    score, freely = (run.mean(method, of.asked, metric) for metric in ("score", "written"))
    text += f", more probable than {of.old} in {portion(score)}" if score is not None else ""
    text += f", and written freely in {portion(freely)}" if freely is not None else ""
    return f"{text}; {cases_of(own)}."


def _ahead(run: Run, of: Asked, best: str, found: dict[str, Interval]) -> str:
    """How much the best has over the next, of the same cases."""
    rest = {name: one for name, one in found.items() if name != best}
    if not rest or alike(found, best):
        return ""
    gap = run.gap(of.asked, "first", best, best_of(rest))
    return f" Over {name_of(best_of(rest))}, the next: {gap_of(gap)}." if gap is not None else ""


def _block(run: Run, of: Asked) -> Block:
    found = firsts(run, of.asked)
    if not found:
        return absent(f"Nothing was asked {of.whose}", "The table of methods has no such rows.")
    marks, table = [], []
    for method in run.every:
        cells = {name: _measure(run, method, of.asked, name) for name in MARKS}
        marks += [Dot(name_of(method), MARKS[name][0], one, MARKS[name][2]) for name, one in cells.items() if one]
        first = cells["first"]
        if first is not None:
            table.append((name_of(method), *(shown(cells[name]) for name in MARKS), count(first.n)))
    there = {mark.name for mark in marks}
    signs = [(kind, label) for label, kind, _ in MARKS.values() if label in there]
    uid = f"{of.uid}-dots"
    beside = ", and random neurons edited as knowledge neurons (KN) are" if len(run.every) > len(run.methods) else ""
    body = legend(signs) + plot(uid, f"Shares {of.whose}, by method; the table has the numbers")
    body += caption(f"{of.about} {_MEASURES.format(beside)}{_refusals(run) if of is REQUESTS else ''}")
    body += as_table(("method", *(label for label, _, _ in MARKS.values()), "n"), table) + _relations(run, of)
    figure = dots(marks, "share of queries", portion, (0.0, 1.0))
    return Block(_heading(of, found), body, {uid: figure})


def _measure(run: Run, method: str, asked: str, name: str) -> Interval | None:
    return run.mean(method, asked, "first", "before") if name == "before" else run.mean(method, asked, name)


def _heading(of: Asked, found: dict[str, Interval]) -> str:
    best = best_of(found)
    said = f"{upper(of.what)} is the first choice in {share(found[best].mean)} {of.whose} with {name_of(best)}"
    others = range_of(found, best, lambda one: share(one.mean))
    return f"{said}, in {others} with the other{'s' if len(found) > 2 else ''}" if others else said


def _refusals(run: Run) -> str:
    some = [f"{count(number)} by {name_of(name)}" for name in run.every if (number := run.refused(name))]
    return f" Cases that a method cannot edit are not among its own: {', '.join(some)}." if some else ""


def _relations(run: Run, of: Asked) -> str:
    """First choices by relation, for those that ask which facts are hard."""
    rows = run.single(of.asked, "first")
    relations = values(rows, "relation")
    if len(relations) < 2:
        return ""
    table = []
    for relation in relations:
        own = rows.filter(pl.col("relation") == relation)
        cells = [shown(mean(own.filter(pl.col("method") == method), "after")) for method in run.every]
        table.append((relation or "none", count(own["fact"].n_unique()), *cells))
    head: Sequence[str] = ("relation", "cases", *map(name_of, run.every))
    return details("First choices by relation", grid(head, table))
