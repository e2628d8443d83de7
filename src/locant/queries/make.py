"""One query, or one request to edit a fact, from its words."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from locant.queries.subjects import fill
from locant.types import EditRequest, Fact, Query


def query(
    prompt: str,
    answer: str,
    *,
    alternatives: tuple[str, ...] = (),
    subject: str = "",
    relation: str = "",
    object: str = "",
    language: str = "en",
    template: str = "",
    fact: str = "",
    uid: str = "",
) -> Query:
    """Make a query; whatever is not said is derived from the prompt and the answer.

    Args:
        prompt: text that ends where the answer begins, or holds `[MASK]` for masked models.
        answer: the expected text, without the space before it.
        alternatives: other texts that count as the same answer.
        object: the fact's object; the answer, if not given.
        fact: uid of the fact, shared by its queries; derived from subject and relation if these are given.
        uid: unique name of this query; errors name it.
    """
    name = fact or (f"{relation}/{subject}" if relation and subject else _hash(prompt, answer))
    known = Fact(uid=name, subject=subject, relation=relation, object=object or answer, language=language)
    return Query(
        uid=uid or _hash(prompt, answer),
        fact=known,
        prompt=prompt,
        answer=answer,
        alternatives=tuple(alternatives),
        template=template,
    )


def edit_request(
    prompt: str, subject: str, new: str, *, old: str = "", relation: str = "", language: str = "en", uid: str = ""
) -> EditRequest:
    """Make a request to edit a fact.

    Args:
        prompt: text that holds the subject, or {} for it, and ends where the object begins. With {} the subject is
            found where it stands, even if the prompt has its letters elsewhere too.
        new: the object to say instead of `old`.
        old: the fact's object as it is known; methods that locate it need it.
    """
    prompt, place = fill(prompt, subject)
    asked = query(prompt, old, subject=subject, relation=relation, language=language, uid=uid or _hash(prompt, new))
    return EditRequest(replace(asked, subject_at=place), new)


def _hash(prompt: str, answer: str) -> str:
    return hashlib.sha256(f"{prompt}\x1f{answer}".encode()).hexdigest()[:12]
