"""MQuAKE as published: facts to be edited, and questions whose answer follows from all of them."""

from __future__ import annotations

from pathlib import Path

from locant.queries.edit_cases import CaseSet, EditCase, fault, sift
from locant.queries.records import Record, read_records
from locant.queries.subjects import fill
from locant.types import EditRequest, Fact, Query


def read_mquake(path: str | Path) -> CaseSet:
    """Read MQuAKE: one or more facts to be edited together, and questions of several steps over them.

    Every `requested_rewrite` is a request of the case, and its `question` a paraphrase of it. Portability is asked by
    `questions`: their answer is `new_answer` or one of `new_answer_alias`, and before the edit it was `answer`.

    Returns:
        Cases in order, their uid mquake/case_id. Records are left out if the prompt of one of their rewrites does not
        hold its subject, or its new object is the old one or empty.

    Raises:
        BadFile: no such file, or one of another form.

    Source: Zhong et al. 2023, arXiv:2305.14795; github.com/princeton-nlp/MQuAKE.
    """
    return sift(map(_case, read_records(path)))


def _case(record: Record) -> EditCase | str:
    uid = f"mquake/{record.values.get('case_id', record.where)}"
    rewrites = record.inners("requested_rewrite")
    requests = [_request(f"{uid}/{at}" if at else uid, one) for at, one in enumerate(rewrites)]
    wrong = next(filter(None, map(fault, requests)), None)
    after = record.text("new_answer")
    chain = Fact(f"{uid}/chain", requests[0].subject, object=record.text("answer"))
    aliases = tuple(text for text in record.texts("new_answer_alias") if text != after)
    return wrong or EditCase(
        requests[0],
        more=tuple(requests[1:]),
        paraphrases=tuple(
            Query(f"{one.uid}/question", one.query.fact, rewrite.text("question"), one.query.answer)
            for one, rewrite in zip(requests, rewrites, strict=True)
        ),
        portability=tuple(
            Query(f"{chain.uid}/{at}", chain, question, after, aliases)
            for at, question in enumerate(record.texts("questions"))
        ),
    )


def _request(uid: str, rewrite: Record) -> EditRequest:
    subject, old = rewrite.text("subject"), rewrite.inner("target_true").text("str")
    fact = Fact(uid, subject, rewrite.text("relation_id"), old)
    prompt, place = fill(rewrite.text("prompt"), subject)
    query = Query(uid, fact, prompt, old, subject_at=place)
    return EditRequest(query, rewrite.inner("target_new").text("str"))
