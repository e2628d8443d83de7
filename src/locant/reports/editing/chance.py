"""Do knowledge neurons do more than random neurons of the same layers, edited alike?"""

from __future__ import annotations

from collections.abc import Iterator

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.editing.means import LEAST, cases_of, few, gap_of, shown
from locant.reports.editing.names import RANDOM
from locant.reports.editing.run import Run
from locant.reports.means import side
from locant.reports.numbers import count, points, portion
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Do knowledge neurons beat random ones?"
KN = "kn"
_ROWS = {
    ("request", "score"): "requests: more probable than the old",
    ("request", "first"): "requests: first choice",
    ("paraphrase", "score"): "other wordings: more probable than the old",
    ("paraphrase", "first"): "other wordings: first choice",
    ("neighbour", "kept"): "neighbours kept",
    ("unrelated", "kept"): "unrelated kept",
}
_JUDGED = (("request", "score"), ("request", "first"))
_MARKS = ((KN, "knowledge neurons", "dot", ("circle", "var(--located)")),
          (RANDOM, "random neurons", "square", ("square", "var(--control)")))  # fmt: skip


def gaps(run: Run) -> dict[tuple[str, str], Interval]:
    """Knowledge neurons less random ones, of the same cases, by what is measured."""
    found = {pair: run.gap(*pair, KN, RANDOM) for pair in _ROWS}
    return {pair: one for pair, one in found.items() if one is not None}


def answer(run: Run) -> Answer:
    """Whether requests take more often with knowledge neurons than with random ones, and what either costs."""
    found = gaps(run)
    if not found.keys() >= set(_JUDGED):
        return Answer(QUESTION, UNMEASURED, _why(run))
    told = [found[pair] for pair in _JUDGED]
    parts = [
        f"{_ROWS[pair].partition(': ')[2] or _ROWS[pair]} {shown(run.mean(KN, *pair))} against "
        f"{shown(run.mean(RANDOM, *pair))}: difference {gap_of(found[pair])}"
        for pair in _JUDGED
    ]
    text = f"Of requests, with as many neurons edited alike: {'; '.join(parts)}; {cases_of(found[_JUDGED[0]])}."
    cost = found.get(("neighbour", "kept"))
    text += f" Neighbours kept: difference {gap_of(cost)}." if cost is not None else ""
    return Answer(QUESTION, verdict([side(one, LEAST) for one in told], few(told)), text)


def _why(run: Run) -> str:
    if KN not in run.methods:
        return "Knowledge neurons are not among the methods."
    return "No random neurons stand beside them: their old objects are not all given, or no case was edited alone."


def sections(run: Run) -> Iterator[Section]:
    """Both beside each other."""
    found = gaps(run)
    if not found:
        block = absent("Knowledge neurons were not held against random ones", _why(run))
        yield Section("chance", "Random neurons", {None: block})
        return
    yield Section("chance", "Random neurons", {None: _block(run, found)})


def _block(run: Run, found: dict[tuple[str, str], Interval]) -> Block:
    marks = [
        Dot(_ROWS[pair], name, one, mark)
        for pair in found
        for method, name, _, mark in _MARKS
        if (one := run.mean(method, *pair)) is not None
    ]
    said = (
        "Knowledge neurons of each request, located in the untouched model, and as many random neurons of the same "
        "layers, their value vectors edited alike. Means over cases, each edited alone, with 95% bootstrap "
        "intervals; the difference, paired over cases, and n in the table. Control, in grey: the random neurons. "
        "What they do as well is the edit’s doing and not the place’s."
    )
    table = [
        (_ROWS[pair], shown(run.mean(KN, *pair)), shown(run.mean(RANDOM, *pair)), points(gap), count(gap.n))
        for pair, gap in found.items()
    ]
    head = ("share", "knowledge neurons", "random neurons", "difference", "n")
    body = legend([(kind, name) for _, name, kind, _ in _MARKS])
    body += plot("chance-dots", "Knowledge neurons beside random ones; the table has the numbers")
    body += caption(said) + as_table(head, table)
    return Block(_heading(found), body, {"chance-dots": dots(marks, "share", portion, (0.0, 1.0))})


def _heading(found: dict[tuple[str, str], Interval]) -> str:
    gap = found.get(("request", "first"))
    if gap is None:
        return "Knowledge neurons beside random ones"
    sure = "" if side(gap, LEAST) else ", a difference that may be chance"
    size = f"{abs(100 * gap.mean):.0f} points {'more' if gap.mean >= 0 else 'less'}"
    return f"Edits of knowledge neurons take {size} often than those of random neurons{sure}"
