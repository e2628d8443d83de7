"""One query under many interventions at once: each set of neurons is touched in a row of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.models.hooks import changing_inputs
from locant.models.sites import Sites
from locant.types import Query, Selection

AT_ONCE = 64
"""Sets in one batch."""


def probability_by_set(
    lm: LanguageModel, query: Query, selections: Sequence[Selection], by: float
) -> Float[Tensor, " set"]:
    """P(answer) with each set's activations multiplied by a factor where answer tokens are predicted.

    The same as a `scale` context around `answer_probability` for every set, in a batch with a copy of the query
    for each.

    Raises:
        BadQuery: the query cannot be asked of this model.
        UnknownName: a selection is of a model of another size.
    """
    for one in selections:
        if one.grid != (lm.layers, lm.neurons):
            raise UnknownName(
                f"the selection is of a model with (layers, neurons) {one.grid}, this one has "
                f"{(lm.layers, lm.neurons)}"
            )
    parts = [
        _read(lm, query, selections[start : start + AT_ONCE], by) for start in range(0, len(selections), AT_ONCE)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _read(lm: LanguageModel, query: Query, selections: Sequence[Selection], by: float) -> Float[Tensor, " set"]:
    tokens = lm.tokens(query)
    one = lm.sites([(tokens, answer) for answer in tokens.answers])
    sites = copies(one, len(selections))
    where = sites.answer_positions
    factors = _factors(selections, by).to(lm.device)
    rows = torch.arange(len(selections), device=lm.device).repeat_interleave(len(one.tokens))
    changes = {
        lm.downs[layer]: _scaled(factors[layer][rows], where)
        for layer in sorted({int(layer) for chosen in selections for layer in chosen.by_layer()})
    }
    with changing_inputs(changes):
        logits = lm.site_logits(sites)
    target = sites.target.to(logits.device)[:, None]
    each = (logits.gather(1, target)[:, 0] - logits.logsumexp(dim=1)).double().cpu()
    total = torch.zeros(len(selections), len(tokens.answers), dtype=torch.float64)
    total.index_add_(1, one.query.cpu(), each.reshape(len(selections), -1))
    return total.amax(dim=1).exp()


def copies(sites: Sites, count: int) -> Sites:
    """The sites of one query, once for every set: all of the first copy, then all of the second."""
    sequences = len(sites.tokens)
    shift = (torch.arange(count, device=sites.sequence.device) * sequences).repeat_interleave(len(sites))
    return replace(
        sites,
        tokens=sites.tokens.repeat(count, 1),
        mask=sites.mask.repeat(count, 1),
        sequence=sites.sequence.repeat(count) + shift,
        position=sites.position.repeat(count),
        target=sites.target.repeat(count),
        query=sites.query.repeat(count),
        source=None if sites.source is None else sites.source.repeat(count, 1),
        source_mask=None if sites.source_mask is None else sites.source_mask.repeat(count, 1),
    )


def _factors(selections: Sequence[Selection], by: float) -> Float[Tensor, "layer set neuron"]:
    layers, neurons = selections[0].grid
    factors = torch.ones(layers, len(selections), neurons)
    for row, chosen in enumerate(selections):
        factors[chosen.units[:, 0], row, chosen.units[:, 1]] = by
    return factors


def _scaled(factors: Float[Tensor, "sequence neuron"], where: Tensor) -> Callable[[Tensor], Tensor]:
    def change(values: Tensor) -> Tensor:
        # OPT flattens sequences before its feed-forward layers
        rows = values.reshape(*where.shape, values.shape[-1])
        scaled = rows * factors[:, None].to(rows)
        return torch.where(where.to(rows.device)[..., None], scaled, rows).reshape(values.shape)

    return change
