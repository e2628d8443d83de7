"""Where heads look: attention patterns, and how much of them goes to the subject and to the rest of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from locant.errors import LocantError
from locant.models import LanguageModel, at_least_float32
from locant.models.attention import watching_attention
from locant.models.hooks import at_rest
from locant.models.sites import Sites, lay_out_each
from locant.types import Query

AT_ONCE = 64
"""Prompts in one batch."""


@dataclass(frozen=True)
class Patterns:
    """What heads attend to where the answer's first token is read.

    Attributes:
        weights: 0 to 1, zero beyond a prompt's end.
        lengths: positions of each prompt.
    """

    queries: tuple[Query, ...]
    weights: Float[Tensor, "query layer head position"]
    lengths: Int[Tensor, " query"]


@dataclass(frozen=True)
class Masses:
    """How much of its attention a head pays to parts of a prompt; they add up to 1.

    At the first token heads leave attention that they have no use for (Xiao et al. 2023, arXiv:2309.17453): what
    they pay to it does not tell that they see what stands there.

    Attributes:
        subject: to the subject's tokens but the prompt's first; NaN where the subject has no other.
        relation: to all others but the first.
        first: to the first token, the subject's or not.
    """

    subject: Float[Tensor, "query layer head"]
    relation: Float[Tensor, "query layer head"]
    first: Float[Tensor, "query layer head"]


@torch.no_grad()
def answer_patterns(lm: LanguageModel, queries: Sequence[Query]) -> Patterns:
    """What every head attends to, in the row that predicts the answer's first token.

    Attention is as it is under whatever interventions are in force.

    Raises:
        BadQuery: a query cannot be asked of this model.
        LocantError: there are no queries, the model does not read from left to right, or its attention cannot be
            reached.
    """
    prompts = _prompts(lm, queries)
    # Neighbours in length share a batch, so that little of it is padding
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    longest = len(prompts[order[-1]])
    weights: dict[int, Tensor] = {}
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        whole = _attention(lm, lay_out_each([(prompts[index], (0,)) for index in batch]).to(lm.device))
        for row, index in enumerate(batch):
            own = whole[row, :, :, len(prompts[index]) - 1]
            weights[index] = pad(own, (0, longest - own.shape[-1]))
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return Patterns(tuple(queries), torch.stack([weights[index] for index in range(len(prompts))]), lengths)


@torch.no_grad()
def whole_pattern(lm: LanguageModel, query: Query) -> Float[Tensor, "layer head row column"]:
    """What every head attends to from every position of a prompt; errors as in `answer_patterns`."""
    (prompt,) = _prompts(lm, [query])
    return _attention(lm, lay_out_each([(prompt, (0,))]).to(lm.device))[0]


def masses(lm: LanguageModel, patterns: Patterns) -> Masses:
    """Add attention up over the first token, over the subject's others, and over all others.

    Raises:
        BadQuery: a fact names no subject, or its prompt does not hold it.
    """
    weights = patterns.weights
    subject = torch.zeros(len(weights), weights.shape[-1], dtype=weights.dtype)
    for index, query in enumerate(patterns.queries):
        subject[index, [place for place in lm.subject_positions(query) if place > 0]] = 1
    rest = 1 - subject
    rest[:, 0] = 0
    seen, others = (torch.einsum("qlhp,qp->qlh", weights, part) for part in (subject, rest))
    seen[~subject.any(dim=1)] = torch.nan
    return Masses(seen, others, weights[..., 0])


def _prompts(lm: LanguageModel, queries: Sequence[Query]) -> list[tuple[int, ...]]:
    if not queries:
        raise LocantError("there are no queries to see attention of")
    if lm.architecture.kind != "causal":
        raise LocantError(f"{lm.name} is {lm.architecture.kind}: patterns are of models that read from left to right")
    return [lm.tokens(query).prompt for query in queries]


def _attention(lm: LanguageModel, sites: Sites) -> Float[Tensor, "sequence layer head row column"]:
    seen: dict[int, Tensor] = {}

    def see(layer: int, weights: Float[Tensor, "sequence head row column"]) -> None:
        seen[layer] = at_least_float32(weights).cpu()

    with at_rest(lm.model), watching_attention(lm.model, lm.blocks, see):
        lm.run(sites)
    return torch.stack([seen[layer] for layer in range(lm.layers)], dim=1)
