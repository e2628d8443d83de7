"""Silencing and scaling attention columns: one head looking back at one position."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.models.attention import changing_attention
from locant.selections.columns import ColumnSet


@contextmanager
def scale_columns(lm: LanguageModel, chosen: ColumnSet, by: float, renormalise: bool = False) -> Iterator[None]:
    """Multiply the attention that heads pay to positions, in every row, while the context lasts.

    with scale_columns(lm, chosen, 0.0):
        locant.answer_probability(lm, [chosen.query])

    It acts on every sequence, at the positions of the query that the columns were chosen for: ask one query at a
    time. In an answer of several tokens a masked model's positions after the mask have moved, and are not followed.
    Inside, attention is computed as the model's 'eager' attention does, which differs from its other kernels by
    rounding; so the effect of a change is against `scale_columns(lm, chosen, 1.0)`.

    Args:
        by: 0 suppresses, 2 doubles, 1 changes nothing.
        renormalise: keep what each row pays in all; a row that looked at suppressed columns alone pays nothing.

    Raises:
        UnknownName: the columns are of a model of another size.
        LocantError: this model's attention cannot be reached.

    Source: Chen et al. 2024, arXiv:2405.14117, knowledge synapses; `renormalise` is ours, the paper does not say.
    """
    grid = (lm.layers, lm.config.num_attention_heads)
    if chosen.grid[:2] != grid:
        raise UnknownName(f"the columns are of a model with (layers, heads) {chosen.grid[:2]}, this one has {grid}")
    units = {int(layer): chosen.units[chosen.units[:, 0] == layer, 1:] for layer in chosen.units[:, 0].unique()}

    def change(
        layer: int, weights: Float[Tensor, "sequence head row column"], first: int
    ) -> Float[Tensor, "sequence head row column"]:
        if layer not in units:
            return weights
        head, column = units[layer].T
        there = (column >= first) & (column < first + weights.shape[3])
        if not there.any():
            return weights
        factor = torch.ones(weights.shape[1], weights.shape[3], dtype=weights.dtype)
        factor[head[there], column[there] - first] = by
        changed = weights * factor[:, None].to(weights.device)
        return _with_the_sums_of(weights, changed) if renormalise else changed

    with changing_attention(lm.model, lm.blocks, change):
        yield


def _with_the_sums_of(
    weights: Float[Tensor, "sequence head row column"], changed: Float[Tensor, "sequence head row column"]
) -> Float[Tensor, "sequence head row column"]:
    before, after = (each.sum(dim=3, keepdim=True) for each in (weights, changed))
    return changed * torch.where(after == 0, torch.ones_like(after), before / after)
