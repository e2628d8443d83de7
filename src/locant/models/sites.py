"""Queries as the model sees them: padded sequences, and the sites in them where answer tokens are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from locant.errors import LocantError
from locant.queries import Kind, Tokens


@dataclass(frozen=True)
class Places:
    """Positions of sequences."""

    sequence: Int[Tensor, " place"]
    position: Int[Tensor, " place"]


@dataclass(frozen=True)
class Sites:
    """A batch of sequences and where in them answers are read.

    A site is one answer token of one query: a sequence, the position whose logits predict the token, and the
    token. An answer of n tokens has n sites, teacher-forced: causal models read them all in one sequence,
    masked models one per sequence, with the tokens before it filled in.

    Attributes:
        tokens: what the model reads; the decoder's side of it for seq2seq models.
        mask: true at real tokens; padding is on the right.
        source: the encoder's side (seq2seq models only), with `source_mask`.
        span: of each position the number of its span, where a graph tells them apart (`locant.models.spans`).
        query: of each site, the index of its query in the batch.
    """

    tokens: Int[Tensor, "sequence position"]
    mask: Bool[Tensor, "sequence position"]
    sequence: Int[Tensor, " site"]
    position: Int[Tensor, " site"]
    target: Int[Tensor, " site"]
    query: Int[Tensor, " site"]
    source: Int[Tensor, "sequence source"] | None = None
    source_mask: Bool[Tensor, "sequence source"] | None = None
    span: Int[Tensor, "sequence position"] | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def answer_positions(self) -> Bool[Tensor, "sequence position"]:
        """True where an answer token is read."""
        marked = torch.zeros_like(self.mask)
        marked[self.sequence, self.position] = True
        return marked

    @property
    def told_spans(self) -> Int[Tensor, "sequence position"]:
        """Of each position the number of its span.

        Raises:
            LocantError: they are not known.
        """
        if self.span is None:
            raise LocantError("a graph with spans needs to know where they are: lay prompts out with its spans")
        return self.span

    def of_span(self, span: int) -> Places:
        """Where the positions of a span are; raises as `told_spans`."""
        return Places(*(self.told_spans == span).nonzero(as_tuple=True))

    def to(self, device: torch.device) -> Sites:
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Sites(**moved)


def pad_left(
    sequences: Sequence[tuple[int, ...]], device: torch.device
) -> tuple[Int[Tensor, "sequence position"], Int[Tensor, "sequence position"]]:
    """Beginnings of texts as one batch, and 1 at their real tokens: all are continued in the same column."""
    width = max(map(len, sequences))
    tokens = [(0,) * (width - len(one)) + one for one in sequences]
    mask = [(0,) * (width - len(one)) + (1,) * len(one) for one in sequences]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


@dataclass(frozen=True)
class _Site:
    sequence: tuple[int, ...]
    position: int
    target: int
    query: int
    source: tuple[int, ...] = ()


def lay_out(queries: Sequence[tuple[Tokens, tuple[int, ...]]], kind: Kind, mask_id: int | None) -> Sites:
    """Lay out each query with one of its answers.

    Args:
        queries: the tokens of a query, and the ids of the answer to read.
        mask_id: the tokenizer's mask token (masked models).
    """
    sites = [
        site for index, (tokens, answer) in enumerate(queries) for site in _FOR[kind](index, tokens, answer, mask_id)
    ]
    sequences = list(dict.fromkeys((site.sequence, site.source) for site in sites))
    row = {sequence: index for index, sequence in enumerate(sequences)}
    tokens, mask = _pad([sequence for sequence, _ in sequences])
    source, source_mask = _pad([source for _, source in sequences]) if kind == "seq2seq" else (None, None)
    return Sites(
        tokens=tokens,
        mask=mask,
        sequence=torch.tensor([row[site.sequence, site.source] for site in sites]),
        position=torch.tensor([site.position for site in sites]),
        target=torch.tensor([site.target for site in sites]),
        query=torch.tensor([site.query for site in sites]),
        source=source,
        source_mask=source_mask,
    )


def lay_out_each(prompts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Sites:
    """Lay out prompts with their answers, for a causal model; each is a sequence, though it be another's like.

    Args:
        prompts: ids of a prompt, and of the answer to read.
    """
    sites = [
        (index, len(prompt) - 1 + k, target)
        for index, (prompt, answer) in enumerate(prompts)
        for k, target in enumerate(answer)
    ]
    tokens, mask = _pad([prompt + answer[:-1] for prompt, answer in prompts])
    sequence, position, target = (torch.tensor(axis) for axis in zip(*sites, strict=True))
    return Sites(tokens=tokens, mask=mask, sequence=sequence, position=position, target=target, query=sequence)


def _causal(index: int, tokens: Tokens, answer: tuple[int, ...], mask_id: int | None) -> list[_Site]:
    sequence = tokens.prompt + answer[:-1]
    last = len(tokens.prompt) - 1
    return [_Site(sequence, last + k, target, index) for k, target in enumerate(answer)]


def _seq2seq(index: int, tokens: Tokens, answer: tuple[int, ...], mask_id: int | None) -> list[_Site]:
    sequence = tokens.start + answer[:-1]
    last = len(tokens.start) - 1
    return [_Site(sequence, last + k, target, index, tokens.prompt) for k, target in enumerate(answer)]


def _masked(index: int, tokens: Tokens, answer: tuple[int, ...], mask_id: int | None) -> list[_Site]:
    assert mask_id is not None  # `resolve` refuses a tokenizer without one
    return [
        _Site(
            tokens.prompt + answer[:k] + (mask_id,) * (len(answer) - k) + tokens.suffix,
            len(tokens.prompt) + k,
            target,
            index,
        )
        for k, target in enumerate(answer)
    ]


_FOR = {"causal": _causal, "masked": _masked, "seq2seq": _seq2seq}


def _pad(
    sequences: Sequence[tuple[int, ...]],
) -> tuple[Int[Tensor, "sequence position"], Bool[Tensor, "sequence position"]]:
    """Pad on the right with token 0, which the mask hides."""
    length = max(map(len, sequences))
    tokens = torch.tensor([sequence + (0,) * (length - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[at < len(sequence) for at in range(length)] for sequence in sequences])
    return tokens, mask
