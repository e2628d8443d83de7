"""A prompt with its answer in place, as a page's title says it."""

from __future__ import annotations

import unicodedata

from locant.languages import UNSPACED
from locant.queries import MASK
from locant.reports.text import escape
from locant.types import Query


def around_the_answer(query: Query) -> tuple[str, str, str]:
    """The prompt before the answer, the space between them, and the prompt after it."""
    if MASK in query.prompt:
        before, _, after = query.prompt.partition(MASK)
        return before, "", after
    unspaced = query.language in UNSPACED or _is_wide(query.answer[:1])
    return query.prompt.rstrip(), "" if unspaced else " ", ""


def with_answer(query: Query) -> str:
    """A prompt and its answer, as text."""
    before, space, after = around_the_answer(query)
    return f"{before}{space}{query.answer}{after}"


def with_answer_marked(query: Query) -> str:
    """A prompt and its answer, as HTML."""
    before, space, after = around_the_answer(query)
    return f"<bdi>{escape(before)}</bdi>{space}<mark><bdi>{escape(query.answer)}</bdi></mark>{escape(after)}"


def _is_wide(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF"
