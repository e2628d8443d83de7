"""How much attention each column of a prompt draws: what knowledge synapses are chosen by.

A column is one head looking back at one position: a unit (layer, head, column).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from locant.errors import UnknownName
from locant.models import LanguageModel, at_least_float32
from locant.models.attention import watching_attention
from locant.models.hooks import at_rest
from locant.models.sites import Sites
from locant.types import Provenance, Query

AT_ONCE = 64
"""Prompts in one batch."""


@dataclass(frozen=True)
class Columns:
    """The attention that each column of each prompt draws.

    Attributes:
        sums: attention over the rows of a prompt, in rows (each row gives 1 in all); normalised: in shares of the
            rows that see the column, 0 to 1. Zero beyond a prompt's end.
        lengths: positions of each prompt.
    """

    queries: tuple[Query, ...]
    sums: Float[Tensor, "query layer head column"]
    lengths: Int[Tensor, " query"]
    made_by: Provenance

    def __len__(self) -> int:
        return len(self.queries)

    def of(self, index: int) -> Float[Tensor, "layer head column"]:
        """The columns of one prompt, as many as it has positions."""
        return self.sums[index, :, :, : int(self.lengths[index])]


@torch.no_grad()
def column_sums(
    lm: LanguageModel, queries: Sequence[Query], *, normalised: bool = False, first_token: bool = True
) -> Columns:
    """Sum every head's attention to every position, over the rows of the prompt.

    Rows are the prompt's own tokens, up to the one that predicts the answer's first token; of a masked model the
    whole sequence, with one mask. Attention is as it is under whatever interventions are in force.

    Args:
        normalised: divide by the rows that see the column: causal models let fewer rows see a later one. A row sees
            a column if any head of the layer gives it attention there.
        first_token: count the first position, where many heads leave attention that they have no use for;
            otherwise its columns are zero.

    Raises:
        BadQuery: a query cannot be asked of this model.
        LocantError: there are no queries, or this model's attention cannot be reached.

    Source: Chen et al. 2024, arXiv:2405.14117, knowledge synapses; `normalised` and `first_token` are ours.
    """
    if not queries:
        raise UnknownName("there are no queries to sum attention for")
    tokens = [lm.tokens(query) for query in queries]
    # Neighbours in length share a batch, so that little of it is padding
    order = sorted(range(len(tokens)), key=lambda index: tokens[index].length)
    found: dict[int, Tensor] = {}
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        sites = lm.sites([(tokens[index], tokens[index].answers[0][:1]) for index in batch])
        sums = _sums(lm, sites, normalised)
        for index, sequence in zip(batch, sites.sequence.tolist(), strict=True):
            found[index] = sums[sequence, :, :, : int(sites.mask[sequence].sum())]
    lengths = [found[index].shape[2] for index in range(len(queries))]
    padded = torch.stack([pad(found[index], (0, max(lengths) - length)) for index, length in enumerate(lengths)])
    if not first_token:
        padded[..., 0] = 0
    made_by = lm.provenance("column_sums", {"normalised": normalised, "first_token": first_token})
    return Columns(tuple(queries), padded, torch.tensor(lengths), made_by)


def _sums(lm: LanguageModel, sites: Sites, normalised: bool) -> Float[Tensor, "sequence layer head column"]:
    """The sums of a batch; columns of padding are zero."""
    sums: dict[int, Tensor] = {}

    def see(layer: int, weights: Float[Tensor, "sequence head row column"]) -> None:
        real = at_least_float32(weights) * sites.mask.to(weights.device)[:, None, :, None]
        total = real.sum(dim=2)
        if normalised:
            seen_by = (real > 0).any(dim=1).sum(dim=1)
            total = total / seen_by.clamp(min=1)[:, None]
        sums[layer] = total.cpu()

    with at_rest(lm.model), watching_attention(lm.model, lm.blocks, see):
        lm.run(sites)
    return torch.stack([sums[layer] for layer in range(lm.layers)], dim=1)
