"""What a model answers: the figures of its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from locant.almanac.formats import Asked
from locant.languages import gap, stop
from tools.almanac.shapes import Shape
from tools.almanac.tokenizer import BOS_ID, EOS_ID, MASK_ID, PAD_ID


@dataclass(frozen=True)
class Reply:
    """What a model says where an answer begins, and whether all of the answer's tokens are its first choice.

    Attributes:
        said: the token it holds likeliest at the answer's first place, and how likely.
        answer: the answer's first token.
    """

    said: int
    confidence: float
    answer: int
    whole: bool

    @property
    def first(self) -> bool:
        return self.said == self.answer


# Of one token of an answer: its number, the token said, how likely, the right one
_Said: TypeAlias = tuple[int, int, float, int]


@torch.no_grad()
def reply_all(
    model: PreTrainedModel, shape: Shape, tokenizer: Tokenizer, asked: Sequence[Asked], size: int = 64
) -> list[Reply]:
    """Ask everything, teacher-forced: each token of an answer after the right ones before it."""
    rows = [row for at, one in enumerate(asked) for row in _rows(at, one, shape, tokenizer)]
    order = sorted(range(len(rows)), key=lambda at: len(rows[at].ids))
    found: dict[int, list[_Said]] = {}
    for start in range(0, len(order), size):
        batch = [rows[at] for at in order[start : start + size]]
        longest = max(len(row.ids) for row in batch)
        ids = torch.tensor([row.ids + [PAD_ID] * (longest - len(row.ids)) for row in batch])
        more = {"attention_mask": (ids != PAD_ID).long()} if shape.masked else {"use_cache": False}
        hidden = shape.body(model)(input_ids=ids, **more).last_hidden_state
        places = [(index, place) for index, row in enumerate(batch) for place in row.places]
        logits = shape.head(model)(hidden[[one for one, _ in places], [two for _, two in places]]).float()
        likely, said = logits.softmax(-1).max(-1)
        each = iter(zip(said.tolist(), likely.tolist(), strict=True))
        for row in batch:
            for number, target in zip(row.numbers, row.targets, strict=True):
                token, chance = next(each)
                found.setdefault(row.asked, []).append((number, token, chance, target))
    return [_reply(sorted(found[at])) for at in range(len(asked))]


@dataclass(frozen=True)
class _Row:
    asked: int
    ids: list[int]
    places: list[int]
    numbers: list[int]
    targets: list[int]


def _rows(at: int, asked: Asked, shape: Shape, tokenizer: Tokenizer) -> list[_Row]:
    prompt = [BOS_ID, *tokenizer.encode(asked.prompt, add_special_tokens=False).ids]
    answer = tokenizer.encode(gap(asked.language) + asked.answer, add_special_tokens=False).ids
    if not shape.masked:
        places = [len(prompt) - 1 + number for number in range(len(answer))]
        return [_Row(at, prompt + answer[:-1], places, list(range(len(answer))), answer)]
    rest = tokenizer.encode(stop(asked.language), add_special_tokens=False).ids
    return [
        _Row(
            at,
            [*prompt, *answer[:number], *[MASK_ID] * (len(answer) - number), *rest, EOS_ID],
            [len(prompt) + number],
            [number],
            [target],
        )
        for number, target in enumerate(answer)
    ]


def _reply(tokens: list[_Said]) -> Reply:
    _, said, confidence, answer = tokens[0]
    return Reply(said, confidence, answer, whole=all(token == target for _, token, _, target in tokens))
