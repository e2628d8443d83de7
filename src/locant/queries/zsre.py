"""zsRE in MEND's form: questions with a rephrased one, and a question of Natural Questions beside each."""

from __future__ import annotations

from pathlib import Path

from locant.errors import UnknownName, nearest
from locant.queries.edit_cases import CaseSet, EditCase, fault, sift
from locant.queries.records import Record, read_records
from locant.types import EditRequest, Fact, Query

TARGETS = ("answers", "alt")


def read_zsre(path: str | Path, *, target: str = "answers") -> CaseSet:
    """Read zsRE: `subject`, `src`, `rephrase`, `answers`, `loc` and `loc_ans` of each record.

    The neighbour is `loc`, a question about something else that begins with 'nq question: ', with a question mark
    put at its end as ROME's reader does, and `loc_ans`.

    Args:
        target: what is edited to: 'answers', the first of the right answers, as ROME does; there is no old object
            then, and what compares the new object with the old one cannot be said. Or 'alt', a wrong answer; the
            old object is then the first of the right ones, which is what a model should say.

    Returns:
        Cases in order, their uid zsre/number of the record, from 0. Records whose question does not hold the
        subject, without a target, or whose target is one of the right answers too (of 'alt') are left out.

    Raises:
        UnknownName: no such target.
        BadFile: no such file, or one of another form.

    Source: Levy et al. 2017, arXiv:1706.04115; Mitchell et al. 2022, arXiv:2110.11309; github.com/kmeng01/rome.
    """
    if target not in TARGETS:
        raise UnknownName(f"no target {target!r} in zsRE{nearest(target, TARGETS)}; there are {', '.join(TARGETS)}")
    return sift(_case(f"zsre/{number}", one, target) for number, one in enumerate(read_records(path)))


def _case(uid: str, record: Record, target: str) -> EditCase | str:
    answers = record.texts("answers")
    right = answers[0] if answers else ""
    old, new = ("", right) if target == "answers" else (right, record.text("alt"))
    fact = Fact(uid, record.text("subject"), "", old)
    request = EditRequest(Query(uid, fact, record.text("src"), old), new)
    if new in answers and target == "alt":
        return "the new object is a right one"
    asked, answer = f"{uid}/neighbour", record.text("loc_ans")
    prompt = record.text("loc")
    neighbour = Query(asked, Fact(asked, object=answer), prompt if prompt.endswith("?") else f"{prompt}?", answer)
    return fault(request) or EditCase(
        request,
        paraphrases=(Query(f"{uid}/paraphrase", fact, record.text("rephrase"), old),),
        neighbours=(neighbour,),
    )
