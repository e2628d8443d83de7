"""Spans of a prompt's positions: what stands before its subject, the subject, what follows it, and its last token.

Positions of other prompts are not each other's, spans are: an edge that matters at the subject is one edge of all of
them. The answer is read at the last span.

Source: schemas of spans, Haklay et al. 2025, arXiv:2502.04577; this one, the same for all prompts, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from locant.errors import BadQuery, UnknownName
from locant.models.language_model import LanguageModel
from locant.types import Query

SPANS = ("before", "subject", "after", "last")


def spans_of(
    lm: LanguageModel, queries: Sequence[Query], spans: Sequence[str] = SPANS
) -> Int[Tensor, "sequence position"]:
    """Of every position the number of its span; answers, and padding on the right, belong to the last.

    A subject's token that is the prompt's last belongs to the last span; spans may be empty.

    Raises:
        BadQuery: a query names no subject, or its prompt does not hold it.
        UnknownName: these are not the spans there are.
    """
    if tuple(spans) != SPANS:
        raise UnknownName(f"no spans {', '.join(spans)}; there are {', '.join(SPANS)}")
    tokens = [lm.tokens(query) for query in queries]
    longest = max(len(one.prompt) + len(one.answers[0]) - 1 for one in tokens)
    found = torch.full((len(queries), longest), SPANS.index("last"))
    for row, query, own in zip(found, queries, tokens, strict=True):
        subject = _subject(lm, query)
        last = len(own.prompt) - 1
        row[:last] = SPANS.index("after")
        row[: min(last, subject.stop)] = SPANS.index("subject")
        row[: min(last, subject.start)] = SPANS.index("before")
    return found


def _subject(lm: LanguageModel, query: Query) -> range:
    try:
        return lm.subject_positions(query)
    except BadQuery as error:
        raise BadQuery(f"{error}: spans are told by where the subject stands") from error
