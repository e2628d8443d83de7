"""Facts erased and updated in the weights: the value vectors of selected neurons, rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import BadQuery, LocantError, UnknownName
from locant.models import LanguageModel, at_least_float32
from locant.models.weights import changing_value_vectors
from locant.types import Query, Selection


def erase(lm: LanguageModel, selection: Selection) -> AbstractContextManager[None]:
    """Make neurons write nothing while the context lasts: v <- 0.

    with erase(lm, selection):
        locant.answer_probability(lm, queries)

    The same as suppressing them at all positions, but in the weights: it needs no hooks, and it can be saved.
    Edits nest, and undo exactly; the inner one must end first.

    Raises:
        UnknownName: the selection is of a model of another size, or not of neurons.
        LocantError: the weights are quantised or offloaded.

    Source: Dai et al. 2022, arXiv:2104.08696, section 5.2 (there, of a relation's most frequent neurons).
    """
    return _rewriting(lm, selection, lambda vectors, layer, neurons: torch.zeros_like(vectors))


def update(
    lm: LanguageModel,
    selection: Selection,
    query: Query,
    new: str,
    *,
    embeddings: Literal["input", "output"] = "output",
    lambda1: float = 1.0,
    lambda2: float = 8.0,
    scaled: bool = True,
    activations: Float[Tensor, "layer neuron"] | None = None,
) -> AbstractContextManager[None]:
    """Make neurons write another answer while the context lasts: v <- v - lambda1 E(old) + lambda2 E(new).

    with update(lm, selection, query, "Lyon"):
        lm.generate(query.prompt)

    E is the embedding of an answer's first token. Both answers are put into tokens after the query's own prompt,
    so that they are the tokens the model itself would say there (with the space that leads a word, if any).

    A neuron with a negative activation takes away what it writes, so that this edit makes it take away the new
    answer. The paper's BERT hardly has such neurons. Gated layers (Llama's and most since) have them as often as
    not, and there `activations` should be given: the step of a negative neuron is then turned round.

    Args:
        query: the fact as it is known; its answer is the old one.
        new: the text of the answer to say instead.
        embeddings: whose rows E are; of untied models the paper does not say. Reading the value vector out
            takes the output's; Dai's own (tied) code takes the input's.
        scaled: multiply each lambda by |v| / |E|, so that it counts in lengths of the value vector itself;
            otherwise embeddings are added as they are.
        activations: of the query's neurons, for their signs: `attribution.activations[0]`. None takes every
            neuron for a positive one, as the paper does.

    Raises:
        BadQuery: one of the answers cannot be said here, or both begin with the same token.
        LocantError: embeddings are narrower than the residual stream (opt-350m), or weights are quantised or
            offloaded.
        UnknownName: as for `erase`.

    Source: Dai et al. 2022, arXiv:2104.08696, section 5.1, and its code for the scaling.
    """
    old_id, new_id = (lm.tokens(one).answers[0][0] for one in (query, replace(query, answer=new, alternatives=())))
    if old_id == new_id:
        raise BadQuery(
            f"query {query.uid!r}: {query.answer!r} and {new!r} begin with the same token, {lm.text_of([old_id])!r}, "
            "and an edit knows answers by their first"
        )
    return move(
        lm,
        selection,
        [old_id],
        [new_id],
        embeddings=embeddings,
        lambda1=lambda1,
        lambda2=lambda2,
        scaled=scaled,
        activations=activations,
    )


def move(
    lm: LanguageModel,
    selection: Selection,
    away: Sequence[int],
    towards: Sequence[int],
    *,
    embeddings: str,
    lambda1: float,
    lambda2: float,
    scaled: bool,
    activations: Float[Tensor, "layer neuron"] | None,
) -> AbstractContextManager[None]:
    """What `update` does, for answers that are given in tokens: v <- v - lambda1 E(away) + lambda2 E(towards).

    Args:
        away, towards: of several tokens, E is the sum of each one's embedding, once.
        embeddings, lambda1, lambda2, scaled, activations: as for `update`.

    Raises:
        LocantError, UnknownName: as for `update`.
    """
    old_row, new_row = (_embedding(lm, tokens, embeddings) for tokens in (away, towards))
    if scaled:
        old_row, new_row = old_row / old_row.norm(), new_row / new_row.norm()
    step = lambda2 * new_row - lambda1 * old_row

    def rewrite(vectors: Tensor, layer: int, neurons: Tensor) -> Tensor:
        values = at_least_float32(vectors)
        factor = values.norm(dim=1, keepdim=True) if scaled else torch.ones_like(values[:, :1])
        if activations is not None:
            factor = factor * activations[layer, neurons].sign()[:, None].to(factor)
        return values + factor * step.to(values.device)

    return _rewriting(lm, selection, rewrite)


@contextmanager
def _rewriting(lm: LanguageModel, selection: Selection, rewrite: Callable[..., Tensor]) -> Iterator[None]:
    grid = (lm.layers, lm.neurons)
    if selection.kind != "neuron":
        raise UnknownName(f"only neurons have value vectors to edit; this is a selection of kind {selection.kind!r}")
    if selection.grid != grid:
        raise UnknownName(f"the selection is of a model with (layers, neurons) {selection.grid}, this one has {grid}")
    changes = {
        lm.downs[layer]: (neurons, partial(rewrite, layer=layer, neurons=neurons))
        for layer, neurons in selection.by_layer().items()
    }
    with changing_value_vectors(changes):
        yield


def _embedding(lm: LanguageModel, tokens: Sequence[int], which: str) -> Float[Tensor, " hidden"]:
    """The sum of some tokens' embeddings, at least in float32."""
    if which not in ("input", "output"):
        raise UnknownName(f"no embeddings {which!r}; there are input, output")
    table = lm.model.get_input_embeddings() if which == "input" else lm.model.get_output_embeddings()
    rows = table.weight
    if rows.is_meta or not rows.is_floating_point():
        raise LocantError(f"{lm.name}: its {which} embeddings are offloaded or quantised: load it whole")
    if rows.shape[1] != lm.hidden:
        raise LocantError(
            f"{lm.name}: its {which} embeddings are {rows.shape[1]} wide and its residual stream {lm.hidden}, "
            "so no embedding can be added to a value vector; it can be erased only"
        )
    return at_least_float32(rows[list(tokens)].detach()).sum(dim=0)
