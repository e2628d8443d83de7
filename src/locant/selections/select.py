"""Rules that turn scores into a set of neurons."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.types import Attribution, Provenance, Selection

Grid = Float[Tensor, "layer neuron"]
Chosen = Bool[Tensor, "layer neuron"]


def top(scores: Grid, k: int, share: float) -> Chosen:
    """The k highest scores of the model."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen.view(-1)[scores.flatten().topk(k).indices] = True
    return chosen


def top_per_layer(scores: Grid, k: int, share: float) -> Chosen:
    """The k highest scores of each layer."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    return chosen.scatter(1, scores.topk(k, dim=1).indices, True)


def share_of_maximum(scores: Grid, k: int, share: float) -> Chosen:
    """Scores of at least a share of the highest (Dai et al. 2022, arXiv:2104.08696, with share 0.2)."""
    highest = scores.max()
    return (scores >= share * highest) & (highest > 0)


RULES: dict[str, Callable[[Grid, int, float], Chosen]] = {
    "top": top,
    "top-per-layer": top_per_layer,
    "share": share_of_maximum,
}


def select(attribution: Attribution, rule: str = "top", *, k: int = 20, share: float = 0.2) -> Selection:
    """Choose neurons by their scores; of several queries, by the mean over them.

    Args:
        rule: 'top' (k of the model), 'top-per-layer' (k of each layer) or 'share' (of the highest score).

    Raises:
        UnknownName: no such rule, or k or share make no sense for this model.
    """
    if rule not in RULES:
        raise UnknownName(f"no rule {rule!r}{nearest(rule, RULES)}; there are {', '.join(RULES)}")
    scores = attribution.scores.mean(dim=0)
    layers, neurons = scores.shape
    most = neurons if rule == "top-per-layer" else layers * neurons
    if rule != "share" and not 1 <= k <= most:
        raise UnknownName(f"cannot take the top {k}: there are 1 to {most} neurons to take")
    if rule == "share" and not 0 < share <= 1:
        raise UnknownName(f"a share is more than 0 and at most 1, not {share}")
    chosen = RULES[rule](scores, k, share)
    units = chosen.nonzero()
    setting = {"share": share} if rule == "share" else {"k": k}
    made_by = Provenance(f"select:{rule}", {**setting}, parents=(attribution.made_by.digest(),))
    return Selection(attribution.queries, units, scores[chosen], (layers, neurons), made_by)
