"""Queries in, attributions out: batching by memory, and answers of several tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.activation import activation
from locant.attributions.amig import amig
from locant.attributions.dai import dai
from locant.attributions.exact import exact
from locant.attributions.gradient_x_activation import gradient_x_activation
from locant.attributions.random import random
from locant.attributions.scores import Scores
from locant.attributions.sig import sig
from locant.errors import UnknownName, nearest
from locant.models import LanguageModel, at_least_float32, record
from locant.models.attention import maskable_attention
from locant.models.engine import rows_within
from locant.models.hooks import at_rest
from locant.queries import Tokens
from locant.types import Attribution, Query, Setting, hash_of

Method: TypeAlias = Callable[..., Scores]
Asked: TypeAlias = tuple[Tokens, tuple[int, ...]]
"""A query in tokens, and the answer to score."""

METHODS: dict[str, Method] = {
    "dai": dai,
    "exact": exact,
    "sig": sig,
    "amig": amig,
    "gradient_x_activation": gradient_x_activation,
    "activation": activation,
    "random": random,
}

MEMORY = 1 << 30
"""Bytes that rows may take at once, by default."""


def settings_of(method: str) -> dict[str, Parameter]:
    """The keyword-only parameters of a method: its settings, with their defaults.

    Raises:
        UnknownName: no such method.
    """
    if method not in METHODS:
        raise UnknownName(f"no method {method!r}{nearest(method, METHODS)}; there are {', '.join(METHODS)}")
    parameters = inspect.signature(METHODS[method]).parameters
    return {name: one for name, one in parameters.items() if one.kind is Parameter.KEYWORD_ONLY}


def attribute(
    lm: LanguageModel,
    queries: Sequence[Query],
    method: str = "dai",
    *,
    memory: int = MEMORY,
    done: Callable[[int], None] = lambda queries: None,
    **settings: Setting | Tensor,
) -> Attribution:
    """Score every neuron of a model for every query.

    Of a query with alternatives, the one the model finds most probable is scored. Scores of an answer of
    several tokens are the mean of its teacher-forced tokens' (their sum, with target='log_probability').

    Args:
        method: a name in `METHODS`.
        memory: bytes that rows may take at once; more is not always faster.
        done: called with the number of queries finished since the last call.
        settings: the method's own keyword-only parameters.

    Raises:
        BadQuery: a query cannot be asked of this model; nothing has been computed then.
        UnknownName: no such method or setting.
    """
    resolved = resolved_settings(method, settings)
    if not queries:
        raise UnknownName("there are no queries to attribute")
    asked = [_likeliest(lm, lm.tokens(query)) for query in queries]
    gradient = method in ("dai", "sig", "amig", "gradient_x_activation")
    rows = rows_within(lm, memory, gradient, max(tokens.length for tokens, _ in asked))
    parts: dict[int, _Part] = {}
    # Neighbours in length share a batch, so that little of it is padding
    order = sorted(range(len(asked)), key=lambda index: asked[index][0].length)
    for batch in _batches(order, asked, _sites_at_once(lm, method, settings, rows)):
        parts |= _attribute(lm, method, settings, rows, {index: asked[index] for index in batch})
        done(len(batch))
    ordered = [parts[index] for index in range(len(queries))]
    errors = [part.completeness_error for part in ordered]
    return Attribution(
        queries=tuple(queries),
        scores=torch.stack([part.scores for part in ordered]),
        activations=torch.stack([part.activations for part in ordered]),
        answer_prob=torch.stack([part.answer_prob for part in ordered]),
        completeness_error=torch.stack([e for e in errors if e is not None]) if errors[0] is not None else None,
        made_by=lm.provenance(method, resolved),
    )


@dataclass(frozen=True)
class _Part:
    """One query's share of an attribution."""

    scores: Float[Tensor, "layer neuron"]
    activations: Float[Tensor, "layer neuron"]
    answer_prob: Float[Tensor, ""]
    completeness_error: Float[Tensor, " layer"] | None


def _attribute(
    lm: LanguageModel,
    method: str,
    settings: dict[str, Setting | Tensor],
    rows: int,
    asked: dict[int, Asked],
) -> dict[int, _Part]:
    """A batch of queries, each by its index."""
    sites = lm.sites(list(asked.values()))
    with at_rest(lm.model), maskable_attention(lm.model):
        run = record(lm, sites, gates=settings.get("hook") == "pre")
        scores = METHODS[method](run, rows, **settings)
    activations = torch.stack([at_least_float32(layer).cpu() for layer in run.neurons], dim=1)
    log_prob, query = run.log_prob.cpu(), sites.query.cpu()
    summed = settings.get("target") == "log_probability"

    def over_tokens(values: Tensor, mine: Tensor) -> Tensor:
        return values[mine].sum(dim=0) if summed else values[mine].mean(dim=0)

    parts = {}
    for place, index in enumerate(asked):
        mine = query == place
        error = scores.completeness_error
        parts[index] = _Part(
            scores=over_tokens(scores.values, mine),
            activations=activations[mine].mean(dim=0),
            answer_prob=log_prob[mine].sum().exp(),
            completeness_error=None if error is None else over_tokens(error, mine),
        )
    return parts


def _likeliest(lm: LanguageModel, tokens: Tokens) -> Asked:
    """A query's tokens with that answer, of its alternatives, which the model finds most probable."""
    if len(tokens.answers) == 1:
        return tokens, tokens.answers[0]
    sites = lm.sites([(tokens, answer) for answer in tokens.answers])
    logits = lm.site_logits(sites)
    each = logits.log_softmax(dim=-1).gather(1, sites.target.to(logits.device)[:, None])[:, 0]
    totals = torch.zeros(len(tokens.answers), dtype=each.dtype, device=each.device)
    best = int(totals.index_add(0, sites.query.to(each.device), each).argmax())
    return tokens, tokens.answers[best]


def _sites_at_once(lm: LanguageModel, method: str, settings: dict[str, Setting | Tensor], rows: int) -> int:
    """How many sites share a batch: as many as fill the rows, for methods that need few for each."""
    if method == "exact":
        return max(1, rows // lm.neurons)
    steps = settings.get("steps")
    points = 1 + (steps if isinstance(steps, int) else 20)
    return max(1, min(64, rows // (lm.layers * points)))


def _batches(order: list[int], asked: Sequence[Asked], size: int) -> Iterator[list[int]]:
    """Queries in runs of at most `size` sites; a query is never split."""
    batch: list[int] = []
    sites = 0
    for index in order:
        more = len(asked[index][1])
        if batch and sites + more > size:
            yield batch
            batch, sites = [], 0
        batch.append(index)
        sites += more
    yield batch


def resolved_settings(method: str, given: Mapping[str, Setting | Tensor]) -> dict[str, Setting]:
    """Every setting of a method with its value; a tensor by its hash.

    Raises:
        UnknownName: no such method, or one of the given settings is not its own.
    """
    known = settings_of(method)
    for name in given:
        if name not in known:
            raise UnknownName(
                f"{method} has no setting {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}"
            )
    values = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    return {name: hash_of(value) if isinstance(value, Tensor) else value for name, value in values.items()}
