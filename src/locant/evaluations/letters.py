"""Answers by a letter: how probable each is, in one pass for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import BadQuery, UnknownName
from locant.models import LanguageModel
from locant.queries import Tokens
from locant.types import Query

AT_ONCE = 64
"""Prompts in one batch."""


def letter_probabilities(
    lm: LanguageModel, queries: Sequence[Query], letters: Sequence[str] = ("A", "B", "C", "D")
) -> Float[Tensor, "query letter"]:
    """The probability of every letter as the answer to each prompt, in one pass, whatever the queries expect.

    A letter is the token that the model's own tokenizer makes of it after the prompt (with a leading space, where
    the language and the tokenizer have one). Probabilities are of the whole vocabulary: what they lack to 1 is
    what the model would rather say than a letter (see `letter_mass`).

    Raises:
        BadQuery: a letter is not one token after a prompt, or two are the same one.
        UnknownName: there are no letters.
    """
    if not letters:
        raise UnknownName("there are no letters to read")
    tokens = [letter_ids(lm, query, letters) for query in queries]
    prompts = [_asked(lm, query, letters[0]) for query in queries]
    found = torch.zeros(len(queries), len(letters), dtype=torch.float64)
    # Neighbours in length share a batch, so that little of it is padding
    order = sorted(range(len(prompts)), key=lambda index: prompts[index].length)
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        logits = lm.site_logits(lm.sites([(prompts[index], prompts[index].answers[0]) for index in batch]))
        ids = torch.tensor([tokens[index] for index in batch], device=logits.device)
        each = logits.gather(1, ids) - logits.logsumexp(dim=1, keepdim=True)
        found[batch] = each.double().cpu().exp()
    return found


def letter_mass(probabilities: Float[Tensor, "query letter"]) -> Float[Tensor, " query"]:
    """How probable it is that the model answers with any of the letters: near 0, it does not answer in letters."""
    return probabilities.sum(dim=1)


def _asked(lm: LanguageModel, query: Query, letter: str) -> Tokens:
    return lm.tokens(replace(query, answer=letter, alternatives=()))


def letter_ids(lm: LanguageModel, query: Query, letters: Sequence[str]) -> list[int]:
    """The token of every letter, as it would stand after the query's prompt.

    Raises:
        BadQuery: a letter is not one token after this prompt, or two are the same one.
    """
    answers = {letter: _asked(lm, query, letter).answers[0] for letter in letters}
    for letter, answer in answers.items():
        if len(answer) != 1:
            raise BadQuery(
                f"query {query.uid!r}: the letter {letter!r} is {len(answer)} tokens after this prompt, not 1"
            )
    ids = [answers[letter][0] for letter in letters]
    double = next((letters[at] for at, one in enumerate(ids) if one in ids[:at]), None)
    if double is not None:
        raise BadQuery(f"query {query.uid!r}: the letter {double!r} is the same token as another of {list(letters)}")
    return ids
