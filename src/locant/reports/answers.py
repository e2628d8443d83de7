"""What a run says to a paper's questions: a word or two, and the numbers behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from locant.reports.text import escape

YES, NO, PARTLY, UNSHOWN, UNMEASURED = "Yes", "No", "Partly", "Not shown", "Not measured"
FEW = "Too few cases"
_OPEN = {
    UNSHOWN: "not shown: an interval includes zero",
    FEW: "too few cases to show anything",
    UNMEASURED: UNMEASURED,
}
"""Short answers that leave a question open, in words."""
_ASIDE = re.compile(r" \((?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True)
class Answer:
    """One of the paper's questions, its answer in a word or two, and the numbers behind it.

    The text's first clause is the figure that the answer rests on; what comes after it is for the page.
    """

    question: str
    short: str
    text: str

    @property
    def brief(self) -> str:
        """The first clause of the text, without what it has in parentheses: enough for a line on a terminal."""
        return re.split(r";|\.(?= |$)", _ASIDE.sub("", self.text), maxsplit=1)[0]


def verdict(signs: Sequence[int], few: bool = False) -> str:
    """One word for several comparisons: 1 where the claim holds, -1 where its opposite does, 0 where neither.

    Args:
        few: there are too few cases for any of them to show anything.
    """
    if all(sign > 0 for sign in signs):
        return YES
    if all(sign == 0 for sign in signs):
        return FEW if few else UNSHOWN
    return PARTLY if any(sign > 0 for sign in signs) else NO


def answer_list(answers: Iterable[Answer]) -> str:
    """Answers as HTML, for a list of definitions."""
    return "".join(map(_answer, answers))


def _answer(answer: Answer) -> str:
    tone = " yes" if answer.short == YES else " open" if answer.short in _OPEN else ""
    label = _OPEN.get(answer.short, answer.short)
    return (
        f'<div class="answer{tone}"><dt>{escape(answer.question)}</dt>'
        f'<dd><b title="{escape(label)}">{escape(answer.short)}</b><span>{escape(answer.text)}</span></dd></div>'
    )
