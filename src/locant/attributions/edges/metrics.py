"""What is measured of a circuit's logits. Of each query one number, the higher the better."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.edges.pairs import PairSites
from locant.errors import UnknownName, nearest
from locant.models import LanguageModel
from locant.models.circuit_run import Metric

MakeMetric: TypeAlias = Callable[[LanguageModel, PairSites], Metric]


def log_probability(lm: LanguageModel, pairs: PairSites) -> Metric:
    """Log-probability of the answer, of all its tokens, in nats."""
    target = pairs.clean.target

    def measure(logits: Float[Tensor, "site row vocab"]) -> Float[Tensor, "query row"]:
        chosen = target.to(logits.device)[:, None, None].expand(-1, logits.shape[1], 1)
        return pairs.sums(logits.gather(2, chosen)[..., 0] - logits.logsumexp(dim=-1))

    return measure


def first_log_probability(lm: LanguageModel, pairs: PairSites) -> Metric:
    """Log-probability of the answer's first token, in nats."""

    def measure(logits: Float[Tensor, "site row vocab"]) -> Float[Tensor, "query row"]:
        first = logits[pairs.first.to(logits.device)]
        target = pairs.clean.target[pairs.first].to(logits.device)[:, None, None].expand(-1, logits.shape[1], 1)
        return first.gather(2, target)[..., 0] - first.logsumexp(dim=-1)

    return measure


def logit_difference(lm: LanguageModel, pairs: PairSites) -> Metric:
    """How far the logit of the answer's first token is above that of the counterfactual's answer."""

    def measure(logits: Float[Tensor, "site row vocab"]) -> Float[Tensor, "query row"]:
        at = torch.arange(len(pairs.first), device=logits.device)
        first = logits[pairs.first.to(logits.device)]
        target = pairs.clean.target[pairs.first].to(logits.device)
        return first[at, :, target] - first[at, :, pairs.foil.to(logits.device)]

    return measure


def kl(lm: LanguageModel, pairs: PairSites) -> Metric:
    """Minus the divergence KL(untouched model | circuit), added up over the answer's tokens, in nats.

    Its gradient at the untouched model is zero: methods that take it there alone find nothing.
    """
    own = lm.site_logits(pairs.clean).log_softmax(dim=-1)[:, None]

    def measure(logits: Float[Tensor, "site row vocab"]) -> Float[Tensor, "query row"]:
        return pairs.sums((own.exp() * (logits.log_softmax(dim=-1) - own)).sum(dim=-1))

    return measure


METRICS: dict[str, MakeMetric] = {
    "log_probability": log_probability,
    "first_log_probability": first_log_probability,
    "logit_difference": logit_difference,
    "kl": kl,
}

UNITS = {"logit_difference": "logits", "log_probability": "nats", "first_log_probability": "nats", "kl": "nats"}
"""What metrics are measured in."""


def metric_of(name: str) -> MakeMetric:
    """A metric by name.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in METRICS:
        raise UnknownName(f"no metric {name!r}{nearest(name, METRICS)}; there are {', '.join(METRICS)}")
    return METRICS[name]
