"""Where a subject stands in a prompt, in tokens."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from locant.errors import BadQuery
from locant.types import Query


def last_subject_token(query: Query, tokenizer: PreTrainedTokenizerBase) -> int:
    """The position of the last token of the subject, as it stands last in the prompt.

    A causal model has read the whole subject there, and nothing of what follows: editors call it the key's position.

    Raises:
        BadQuery: the fact names no subject, or the prompt does not hold it.
    """
    subject, prompt = query.fact.subject, query.prompt
    start = prompt.rfind(subject) if subject else -1
    if start < 0:
        lacks = f"its subject {subject!r} is not in its prompt {prompt!r}" if subject else "it names no subject"
        raise BadQuery(f"query {query.uid!r}: {lacks}")
    end = start + len(subject)
    if not tokenizer.is_fast:
        return len(tokenizer(prompt[:end], add_special_tokens=False)["input_ids"]) + _leading(tokenizer) - 1
    spans = tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    return max(place for place, (first, last) in enumerate(spans) if first < end and last > start)


def _leading(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens stand before a text."""
    ids = tokenizer("a")["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    return next(place for place in range(len(ids)) if ids[place : place + len(plain)] == plain)
