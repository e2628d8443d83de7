"""What a run says to a paper's questions: a word or two, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from locant.reports.text import escape

YES, NO, PARTLY, UNSHOWN, UNMEASURED = "Yes", "No", "Partly", "Not shown", "Not measured"


@dataclass(frozen=True)
class Answer:
    """One of the paper's questions, its answer in a word or two, and the numbers behind it."""

    question: str
    short: str
    text: str


def verdict(signs: Sequence[int]) -> str:
    """One word for several comparisons: 1 where the claim holds, -1 where its opposite does, 0 where neither."""
    if all(sign > 0 for sign in signs):
        return YES
    if all(sign == 0 for sign in signs):
        return UNSHOWN
    return PARTLY if any(sign > 0 for sign in signs) else NO


def answer_list(answers: Iterable[Answer]) -> str:
    """Answers as HTML, for a list of definitions."""
    return "".join(map(_answer, answers))


def _answer(answer: Answer) -> str:
    tone = " yes" if answer.short == YES else " open" if answer.short.startswith("Not") else ""
    label = "not shown: an interval includes zero" if answer.short == UNSHOWN else answer.short
    return (
        f'<div class="answer{tone}"><dt>{escape(answer.question)}</dt>'
        f'<dd><b title="{escape(label)}">{escape(answer.short)}</b><span>{escape(answer.text)}</span></dd></div>'
    )
