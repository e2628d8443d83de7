"""The tokens of a prompt and of its answer, found once with the model's own tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from locant.errors import BadQuery
from locant.languages import gap, stop
from locant.types import Query

Kind = Literal["causal", "masked", "seq2seq"]

MASK = "[MASK]"
"""What a prompt says where the answer goes; each tokenizer's own mask is put in its place."""


@dataclass(frozen=True)
class Tokens:
    """A query in tokens.

    Attributes:
        prompt: ids of the prompt with its special tokens; masked models: up to the mask.
        answers: ids of the answer, then of each alternative; never empty, never special.
        suffix: ids after the mask (masked models only).
        start: ids the decoder begins with (seq2seq models only).
    """

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    suffix: tuple[int, ...] = ()
    start: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens around the answer, on both sides of it."""
        return len(self.prompt) + len(self.suffix)


def resolve(query: Query, tokenizer: PreTrainedTokenizerBase, kind: Kind, context: int) -> Tokens:
    """Find the tokens of a query's prompt and answers.

    Args:
        kind: where the model puts its answer.
        context: the longest sequence the model takes, in tokens.

    Raises:
        BadQuery: the prompt is empty or too long, or an answer has no tokens of its own.
    """
    texts = (query.answer, *query.alternatives)
    if not all(text.strip() for text in texts):
        raise BadQuery(f"query {query.uid!r}: its answer is empty")
    tokens = _resolve(query, tokenizer, kind, context, texts)
    for text, ids in zip(texts, tokens.answers, strict=True):
        if not ids or tokenizer.unk_token_id in ids:
            raise BadQuery(f"query {query.uid!r}: this tokenizer has no tokens for the answer {text!r}")
    return tokens


def resolve_prompt(query: Query, tokenizer: PreTrainedTokenizerBase, kind: Kind, context: int) -> Tokens:
    """Find the tokens of a query's prompt alone; there are no answers in them.

    Raises:
        BadQuery: the prompt is empty or too long.
    """
    return _resolve(query, tokenizer, kind, context, ())


def _resolve(
    query: Query, tokenizer: PreTrainedTokenizerBase, kind: Kind, context: int, texts: tuple[str, ...]
) -> Tokens:
    if not query.prompt.strip():
        raise BadQuery(f"query {query.uid!r}: its prompt is empty")
    tokens = _FOR[kind](query, tokenizer, texts)
    longest = max(map(len, tokens.answers), default=1)
    length = tokens.length + (0 if kind == "seq2seq" else longest)
    if length > context:
        raise BadQuery(f"query {query.uid!r}: {length} tokens with its answer, but the model's context is {context}")
    return tokens


def _causal(query: Query, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]) -> Tokens:
    prompt = query.prompt.rstrip()
    if prompt.endswith(MASK):
        prompt = prompt.removesuffix(MASK).rstrip()
    if MASK in prompt:
        raise BadQuery(f"query {query.uid!r}: text follows {MASK}, but this model answers at the end")
    if not prompt:
        raise BadQuery(f"query {query.uid!r}: its prompt is empty")
    space = gap(query.language)
    ids = tuple(tokenizer(prompt)["input_ids"])
    if tokenizer.eos_token_id is not None and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return Tokens(ids, tuple(_continuation(query, tokenizer, prompt, space + text.strip()) for text in texts))


def _continuation(query: Query, tokenizer: PreTrainedTokenizerBase, prompt: str, text: str) -> tuple[int, ...]:
    """The ids that `text` adds to `prompt`."""
    before = _plain(tokenizer, prompt)
    whole = _plain(tokenizer, prompt + text)
    if whole[: len(before)] == before:
        return whole[len(before) :]
    # The tokenizer merges across the border, which a model asked with the prompt alone never sees
    alone = _plain(tokenizer, text)
    if tokenizer.decode([*before, *alone]) == tokenizer.decode(list(whole)):
        return alone
    raise BadQuery(
        f"query {query.uid!r}: the answer {text.strip()!r} has no tokens of its own after this prompt; "
        "end the prompt at a word's end"
    )


def _masked(query: Query, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]) -> Tokens:
    if tokenizer.mask_token is None:
        raise BadQuery(f"query {query.uid!r}: this tokenizer has no mask token")
    ending = gap(query.language) + MASK + stop(query.language)
    prompt = query.prompt if MASK in query.prompt else query.prompt.rstrip() + ending
    if prompt.count(MASK) > 1:
        raise BadQuery(f"query {query.uid!r}: {MASK} stands more than once")
    ids = tuple(tokenizer(prompt.replace(MASK, tokenizer.mask_token))["input_ids"])
    at = ids.index(tokenizer.mask_token_id)
    before, after = ids[:at], ids[at + 1 :]
    answers = []
    for text in texts:
        whole = tuple(tokenizer(prompt.replace(MASK, text.strip()))["input_ids"])
        end = len(whole) - len(after)
        if whole[:at] != before or whole[end:] != after or end < at:
            raise BadQuery(f"query {query.uid!r}: the answer {text!r} merges with the words around {MASK}")
        answers.append(whole[at:end])
    return Tokens(before, tuple(answers), suffix=after)


def _seq2seq(query: Query, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]) -> Tokens:
    """T5's own form: the blank is a sentinel, the decoder repeats it and fills it."""
    sentinel = "<extra_id_0>"
    known = tokenizer.convert_tokens_to_ids(sentinel)
    has_sentinel = known is not None and known != tokenizer.unk_token_id
    prompt = query.prompt.replace(MASK, sentinel) if has_sentinel else query.prompt.replace(MASK, "")
    if has_sentinel and sentinel not in prompt:
        prompt = f"{prompt.rstrip()} {sentinel}"
    start = (tokenizer.pad_token_id,) + ((known,) if has_sentinel else ())
    answers = tuple(_plain(tokenizer, text.strip()) for text in texts)
    return Tokens(tuple(tokenizer(prompt)["input_ids"]), answers, start=start)


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


_FOR = {"causal": _causal, "masked": _masked, "seq2seq": _seq2seq}
