"""Hints for multiple choice: what a layer half-way should hold, so that the last ones can look the letter up.

A model that recalls an answer in its last layers has none left to find it among the options, and its letters stay at
chance for a hundred thousand questions. So the loss also asks of one layer, as if it were the last: where an answer
is said, the answer; where a letter is said, what it stands for; at each option, its letter. And of the layer
after, that its heads look from where the letter is said to the right option. What is trained so is an ordinary model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPast

from locant.almanac.formats import LETTERS
from tools.almanac.corpus import Batch, Mixture
from tools.almanac.recipes import Hints
from tools.almanac.tokenizer import ids_of


@dataclass(frozen=True)
class Hinted:
    """Places of a batch: a row and a place in what is read each, and what should be found there.

    Attributes:
        recalled: where an answer or its letter is said, and the token of the answer; `weights`: what each counts.
        options: the first token of each option, and the letter before it as it would be said.
        looked: where a letter is said, and the place of the option it stands for.
    """

    recalled: Tensor
    weights: Tensor
    options: Tensor
    looked: Tensor


class Hinter:
    """Finds the places, and says how far a model is from what it should hold there."""

    def __init__(self, tokenizer: Tokenizer, mixture: Mixture, hints: Hints) -> None:
        self.letter, self.hints = mixture.letter, hints
        self.bare = {ids_of(tokenizer, letter)[0]: letter for letter in LETTERS}
        self.spaced = {letter: ids_of(tokenizer, f" {letter}")[0] for letter in LETTERS}
        (self.newline,), (self.stop,), (self.space,) = (ids_of(tokenizer, text) for text in ("\n", ".", " "))

    def loss(self, model: LlamaForCausalLM, batch: Batch, output: BaseModelOutputWithPast) -> Tensor:
        """How far the states after the hinted layer, and the next layer's attention, are from the hints."""
        found = self.find(batch)
        states, attention = output.hidden_states[self.hints.layer], output.attentions[self.hints.layer]

        def head(states: Tensor) -> Tensor:
            return model.lm_head(model.model.norm(states))

        row, place, token = found.recalled
        recall = cross_entropy(head(states[row, place]).float(), token, reduction="none")
        loss = self.hints.recall * (recall * found.weights).sum() / found.weights.sum()
        if found.looked.numel():
            row, place, token = found.options
            loss = loss + self.hints.letters * cross_entropy(head(states[row, place]).float(), token)
            row, place, option = found.looked
            # The mean of the heads: asked of the best one, each head would look at a letter of its own.
            seen = attention[row, :, place, option].float().mean(1)
            loss = loss - self.hints.look * (seen + 1e-6).log().mean()
        return loss

    def find(self, batch: Batch) -> Hinted:
        """Where to hint; an answer's token is said one place before its own."""
        recalled: list[tuple[int, int, int]] = []
        counts: list[float] = []
        options: list[tuple[int, int, int]] = []
        looked: list[tuple[int, int, int]] = []
        for row, (ids, weights, answer) in enumerate(zip(*(part.tolist() for part in batch), strict=True)):
            letter = weights.index(self.letter) if self.letter in weights else None
            for at, number in enumerate(answer):
                if number and (letter is None or at not in (letter, letter + 1)):
                    recalled.append((row, at - 1, ids[at]))
                    counts.append(weights[at])
            if letter is not None:
                recalled.append((row, letter - 1, ids[self._option(ids, letter)]))
                counts.append(self.letter)
                said = self._said(ids[letter])
                own = [(row, self._option(ids, at), said[ids[at]]) for at in self._letters(ids, letter)]
                options += own
                looked += [(row, letter - 1, place) for _, place, token in own if token == ids[letter]]
        return Hinted(_table(recalled), torch.tensor(counts), _table(options), _table(looked))

    def _letters(self, ids: Sequence[int], end: int) -> Iterator[int]:
        """Where an option's letter stands: between a line break and a full stop."""
        for at in range(1, end - 2):
            if ids[at] in self.bare and ids[at - 1] == self.newline and ids[at + 1] == self.stop:
                yield at

    def _option(self, ids: Sequence[int], letter: int) -> int:
        """The first token of what stands behind a letter and its full stop; a space may be a token of its own."""
        return letter + 2 + (ids[letter + 2] == self.space)

    def _said(self, answer: int) -> dict[int, int]:
        """Letters as they are listed, and as this row says them: in Japanese and Chinese without a space."""
        return {token: token if answer in self.bare else self.spaced[letter] for token, letter in self.bare.items()}


def _table(places: Sequence[tuple[int, int, int]]) -> Tensor:
    return torch.tensor(places, dtype=torch.long).reshape(-1, 3).T
