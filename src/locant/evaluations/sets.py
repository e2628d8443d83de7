"""Many interventions at once: each row of a batch is a query with neurons of its own touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.letters import letter_ids
from locant.models import LanguageModel
from locant.models.hooks import changing_inputs
from locant.models.sites import Sites
from locant.types import Query, Selection

AT_ONCE = 64
"""Rows in one batch."""


@dataclass(frozen=True)
class Touched:
    """A query, and the neurons whose activations are scaled while it is asked.

    Attributes:
        others: scale all neurons but the selected ones instead.
    """

    query: Query
    neurons: Selection
    others: bool = False


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
    rows = [Touched(query, one) for one in selections]
    _refuse_others(lm, rows)
    parts = [_read(lm, query, rows[start : start + AT_ONCE], by) for start in range(0, len(rows), AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def letters_by_set(
    lm: LanguageModel,
    rows: Sequence[Touched],
    by: float,
    letters: Sequence[str] = ("A", "B", "C", "D"),
    *,
    rest: Float[Tensor, "layer neuron"] | None = None,
) -> Float[Tensor, "row letter"]:
    """The probability of every letter as the answer to each row's query, with the row's neurons scaled there.

    The same as a `scale` context around `letter_probabilities` for every row.

    Args:
        rest: the activations that scaling starts from: `by` times what a neuron has beyond them, so that with 0
            it is at rest. Zero if not given.

    Raises:
        BadQuery: a letter is not one token after a prompt, or two are the same one.
        UnknownName: a selection is of a model of another size.
    """
    _refuse_others(lm, rows)
    found = torch.zeros(len(rows), len(letters), dtype=torch.float64)
    asked = {row.query: replace(row.query, answer=letters[0], alternatives=()) for row in rows}
    ids = {query: letter_ids(lm, query, letters) for query in asked}
    # Neighbours in length share a batch, so that little of it is padding
    order = sorted(range(len(rows)), key=lambda index: lm.tokens(asked[rows[index].query]).length)
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        some = [rows[index] for index in batch]
        queries = list(dict.fromkeys(row.query for row in some))
        tokens = [lm.tokens(asked[query]) for query in queries]
        one = lm.sites([(each, each.answers[0]) for each in tokens])
        sites = picked(one, torch.tensor([queries.index(row.query) for row in some]))
        logits = _logits(lm, sites, some, by, rest)
        wanted = torch.tensor([ids[row.query] for row in some], device=logits.device)
        each = logits.gather(1, wanted) - logits.logsumexp(dim=1, keepdim=True)
        found[batch] = each.double().cpu().exp()
    return found


def _refuse_others(lm: LanguageModel, rows: Sequence[Touched]) -> None:
    for row in rows:
        if row.neurons.grid != (lm.layers, lm.neurons):
            raise UnknownName(
                f"the selection is of a model with (layers, neurons) {row.neurons.grid}, this one has "
                f"{(lm.layers, lm.neurons)}"
            )


def _read(lm: LanguageModel, query: Query, rows: Sequence[Touched], by: float) -> Float[Tensor, " set"]:
    tokens = lm.tokens(query)
    one = lm.sites([(tokens, answer) for answer in tokens.answers])
    sites = copies(one, len(rows))
    logits = _logits(lm, sites, [row for row in rows for _ in range(len(one.tokens))], by)
    target = sites.target.to(logits.device)[:, None]
    each = (logits.gather(1, target)[:, 0] - logits.logsumexp(dim=1)).double().cpu()
    total = torch.zeros(len(rows), len(tokens.answers), dtype=torch.float64)
    total.index_add_(1, one.query.cpu(), each.reshape(len(rows), -1))
    return total.amax(dim=1).exp()


def _logits(
    lm: LanguageModel,
    sites: Sites,
    rows: Sequence[Touched],
    by: float,
    rest: Float[Tensor, "layer neuron"] | None = None,
) -> Float[Tensor, "site vocab"]:
    """Logits at the sites, with every sequence's own neurons scaled."""
    where, factors = sites.answer_positions, factors_of(rows, by).to(lm.device)
    changes = {
        lm.downs[layer]: _scaled(factors[layer], where, None if rest is None else rest[layer])
        for layer in range(lm.layers)
        if bool((factors[layer] != 1).any())
    }
    with changing_inputs(changes):
        return lm.site_logits(sites)


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


def picked(sites: Sites, indices: Int[Tensor, " row"]) -> Sites:
    """A row for each index, of queries with one site each; a query may have many rows."""
    indices = indices.to(sites.sequence.device)
    sequence = sites.sequence[indices]
    rows = torch.arange(len(indices), device=indices.device)
    return replace(
        sites,
        tokens=sites.tokens[sequence],
        mask=sites.mask[sequence],
        sequence=rows,
        position=sites.position[indices],
        target=sites.target[indices],
        query=rows,
        source=None if sites.source is None else sites.source[sequence],
        source_mask=None if sites.source_mask is None else sites.source_mask[sequence],
    )


def factors_of(rows: Sequence[Touched], by: float) -> Float[Tensor, "layer sequence neuron"]:
    """By what each neuron's activation is multiplied in each row: `by` where it is touched, one elsewhere."""
    layers, neurons = rows[0].neurons.grid
    factors = torch.ones(layers, len(rows), neurons)
    for place, row in enumerate(rows):
        chosen = torch.zeros(layers, neurons, dtype=torch.bool)
        chosen[row.neurons.units[:, 0], row.neurons.units[:, 1]] = True
        factors[:, place][chosen ^ row.others] = by
    return factors


def _scaled(
    factors: Float[Tensor, "sequence neuron"],
    where: Bool[Tensor, "sequence position"],
    rest: Float[Tensor, " neuron"] | None,
) -> Callable[[Tensor], Tensor]:
    def change(values: Tensor) -> Tensor:
        # OPT flattens sequences before its feed-forward layers
        rows = values.reshape(*where.shape, values.shape[-1])
        by = factors[:, None].to(rows)
        scaled = rows * by
        if rest is not None:
            scaled = scaled + rest.to(rows) * (1 - by)
        return torch.where(where.to(rows.device)[..., None], scaled, rows).reshape(values.shape)

    return change
