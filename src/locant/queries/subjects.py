"""Where a subject stands in a prompt, in tokens."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from locant.errors import BadQuery
from locant.languages import UNSPACED
from locant.types import Query

SLOT = "{}"
"""Where wordings have their subject."""


def fill(wording: str, subject: str) -> tuple[str, int | None]:
    """A wording with its subject in place, and the character at which it stands last; None if there is no slot."""
    before, slot, _ = wording.rpartition(SLOT)
    return wording.replace(SLOT, subject), len(before.replace(SLOT, subject)) if slot else None


def subject_tokens(query: Query, tokenizer: PreTrainedTokenizerBase) -> range:
    """The positions of the subject's tokens: where the wording puts it, or else as it stands last in the prompt.

    At its last token a causal model has read the whole subject, and nothing of what follows.

    Raises:
        BadQuery: the fact names no subject, or the prompt does not hold it.
    """
    subject, prompt = query.fact.subject, query.prompt
    start = _start(query) if subject else -1
    if start < 0:
        lacks = f"its subject {subject!r} is not in its prompt {prompt!r}" if subject else "it names no subject"
        raise BadQuery(f"query {query.uid!r}: {lacks}")
    end = start + len(subject)
    if not tokenizer.is_fast:
        first, last = (len(_plain(tokenizer, prompt[:border].rstrip())) for border in (start, end))
        leading = _leading(tokenizer)
        return range(leading + first, leading + last)
    spans = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    places = [place for place, (first, last) in enumerate(spans) if first < end and last > start]
    return range(places[0], places[-1] + 1)


def _start(query: Query) -> int:
    """The character at which the subject begins; -1 if the prompt does not hold it."""
    subject, prompt, place = query.fact.subject, query.prompt, query.subject_at
    if place is not None and prompt.startswith(subject, place):
        return place
    if query.language not in UNSPACED:
        # As a word: Iran is not what "Iranian" begins with
        before, after = (
            r"(?<![^\W_])" if subject[0].isalnum() else "",
            r"(?![^\W_])" if subject[-1].isalnum() else "",
        )
        words = [found.start() for found in re.finditer(before + re.escape(subject) + after, prompt)]
        if words:
            return words[-1]
    return prompt.rfind(subject)


def _leading(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens stand before a text."""
    ids, plain = tokenizer("a")["input_ids"], _plain(tokenizer, "a")
    return next(place for place in range(len(ids)) if ids[place : place + len(plain)] == plain)


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
