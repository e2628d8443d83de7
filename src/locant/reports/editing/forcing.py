"""Does teacher forcing flatter: tokens that are right after the right ones before them, against what is written."""

from __future__ import annotations

from collections.abc import Iterator

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.editing.means import LEAST, cases_of, few, gap_of, range_of, shown, tally
from locant.reports.editing.names import name_of
from locant.reports.editing.run import Run
from locant.reports.means import difference, side
from locant.reports.numbers import count, points, portion
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Does teacher forcing flatter?"
WRITTEN = "written"
OF = {"request": "requests", "paraphrase": "other wordings", "portability": "portability"}
_MARKS = {
    "tokens": ("tokens, teacher-forced", "square score", ("square", "var(--shared)")),
    "first": ("first choice", "dot", ("circle", "var(--located)")),
    WRITTEN: ("written freely", "diamond", ("diamond", "var(--unrelated)")),
}


def flattery(run: Run, method: str, asked: str = "request") -> Interval | None:
    """How much higher the share of right tokens is than that of what is written, of the same cases."""
    rows = run.of("alone", method=method, asked=asked)
    return difference(rows, "after", "metric", "tokens", WRITTEN, pairs=("fact",))


def answer(run: Run) -> Answer:
    """With how many methods more tokens are right than is written."""
    found = {name: one for name in run.methods if (one := flattery(run, name)) is not None}
    if not found:
        why = "No case has both: a masked model writes nothing freely, or none was edited alone."
        return Answer(QUESTION, UNMEASURED, why)
    most = max(found, key=lambda name: found[name].mean)
    tokens, freely = (run.mean(most, "request", metric) for metric in ("tokens", WRITTEN))
    said = f"{shown(tokens)} of the new object’s tokens are right, {shown(freely)} are written freely"
    text = f"Most with {name_of(most)}: {said}: difference {gap_of(found[most])} ({cases_of(found[most])})."
    others = range_of(found, most, points)
    text += (
        f" With the other {'methods' if len(found) > 2 else 'method'} the difference is {others}." if others else ""
    )
    signs = [side(one, LEAST) for one in found.values()]
    return Answer(QUESTION, verdict(signs, few(found.values())), f"{text} {tally(signs, 'Surely above zero')}.")


def sections(run: Run) -> Iterator[Section]:
    """What each way of reading says of the same edits."""
    known = [name for name in run.every if run.mean(name, "request", "tokens") is not None]
    if not known:
        why = "The table of methods has no tokens of requests."
        yield Section("forcing", "Teacher forcing", {None: absent("What teacher forcing says was not measured", why)})
        return
    yield Section("forcing", "Teacher forcing", {None: _block(run, known)})


def _block(run: Run, known: list[str]) -> Block:
    marks = [
        Dot(name_of(method), label, one, mark)
        for method in known
        for metric, (label, _, mark) in _MARKS.items()
        if (one := run.mean(method, "request", metric)) is not None
    ]
    there = {mark.name for mark in marks}
    signs = legend([(kind, label) for label, kind, _ in _MARKS.values() if label in there])
    said = (
        "The same requests read in three ways. Green: the share of the new object’s tokens that are the model’s "
        "first choice, each after the right ones before it (teacher forcing: what EasyEdit calls reliability). "
        "Orange: all of them are. Blue: the model, writing freely, begins with the new object. Of an object of one "
        "token, green and orange are one by their making. Means over cases with 95% bootstrap intervals; n and the "
        "difference of green and blue, paired over cases, in the table. Control: writing freely, in which "
        "nothing right is given."
    )
    table = []
    for method in known:
        for asked, name in OF.items():
            cells = [run.mean(method, asked, metric) for metric in _MARKS]
            if cells[0] is not None:
                gap = flattery(run, method, asked)
                table.append((name_of(method), name, *map(shown, cells), shown(gap, points), count(cells[0].n)))
    head = ("method", "asked", *(label for label, _, _ in _MARKS.values()), "tokens − written", "n")
    body = signs + plot("forcing-dots", "Three readings of requests, by method; the table has the numbers")
    body += caption(said) + as_table(head, table, 2)
    return Block(_heading(run), body, {"forcing-dots": dots(marks, "share of requests", portion, (0.0, 1.0))})


def _heading(run: Run) -> str:
    found = {name: one for name in run.methods if (one := flattery(run, name)) is not None}
    if not found:
        return "What is written freely was not read beside teacher-forced tokens"
    most = max(found, key=lambda name: found[name].mean)
    sure = "" if side(found[most], LEAST) else ", a difference that may be chance"
    return f"Teacher-forced tokens stand up to {_plain(found[most])} above what is written ({name_of(most)}){sure}"


def _plain(found: Interval) -> str:
    return f"{100 * found.mean:.0f} points".replace("-", "−")
