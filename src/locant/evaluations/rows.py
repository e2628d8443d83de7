"""Many sets of neurons on one prompt: it is read once, and every set is one more token beside it.

`locant.evaluations.sets` asks a prompt anew for each set; here each costs one token, in any model whose prompt can be
shared. The others are asked as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.evaluations.letters import letter_ids
from locant.evaluations.sets import Touched, factors_of, letters_by_set
from locant.models import LanguageModel, Run, record
from locant.models.attention import maskable_attention
from locant.models.hooks import at_rest, changing_inputs
from locant.models.language_model import at_least_float32
from locant.models.replay import SharedPrefix
from locant.types import Query

AT_ONCE = 256
"""Rows in one call: they share a square mask."""


@torch.no_grad()
def letters_by_row(
    lm: LanguageModel,
    rows: Sequence[Touched],
    by: float,
    letters: Sequence[str] = ("A", "B", "C", "D"),
    *,
    rest: Float[Tensor, "layer neuron"] | None = None,
) -> Float[Tensor, "row letter"]:
    """The probability of every letter as the answer to each row's query, with the row's neurons scaled there.

    The same as `letters_by_set`, and made for many rows of few queries.

    Args:
        rest: the activations that scaling starts from; zero if not given.

    Raises:
        BadQuery: a letter is not one token after a prompt, or two are the same one.
    """
    places: dict[Query, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.query, []).append(place)
    found = torch.zeros(len(rows), len(letters), dtype=torch.float64)
    for query, own in places.items():
        ids = letter_ids(lm, query, letters)
        tokens = lm.tokens(replace(query, answer=letters[0], alternatives=()))
        run = record(lm, lm.sites([(tokens, tokens.answers[0])]))
        if not isinstance(run.replay, SharedPrefix):
            found[own] = letters_by_set(lm, [rows[place] for place in own], by, letters, rest=rest)
            continue
        for start in range(0, len(own), AT_ONCE):
            some = own[start : start + AT_ONCE]
            logits = _logits(run, [rows[place] for place in some], by, rest)
            found[some] = logits.log_softmax(dim=1)[:, ids].double().cpu().exp()
    return found


def _logits(
    run: Run, rows: Sequence[Touched], by: float, rest: Float[Tensor, "layer neuron"] | None
) -> Float[Tensor, "row vocab"]:
    lm = run.lm
    factors = factors_of(rows, by).to(lm.device)
    changes = [_scaled(own, None if rest is None else rest[layer]) for layer, own in enumerate(factors)]
    with at_rest(lm.model), maskable_attention(lm.model):
        touched = changes[0](run.neurons[0].expand(len(rows), -1))
        # `forward` itself, so that no hook changes the neurons a second time
        state = run.replay.lift(0, run.join(0, lm.downs[0].forward(touched)[None]))
        with changing_inputs(dict(zip(lm.downs[1:], changes[1:], strict=True))):
            for layer in range(1, lm.layers):
                state = run.replay.block(layer, state)
        return at_least_float32(lm.readout(run.replay.lower(state)))[0]


def _scaled(
    factors: Float[Tensor, "row neuron"], rest: Float[Tensor, " neuron"] | None
) -> Callable[[Tensor], Tensor]:
    def change(values: Tensor) -> Tensor:
        # OPT flattens rows before its feed-forward layers
        rows = values.reshape(-1, values.shape[-1])
        by = factors.to(rows)
        scaled = rows * by
        if rest is not None:
            scaled = scaled + rest.to(rows) * (1 - by)
        return scaled.reshape(values.shape)

    return change
