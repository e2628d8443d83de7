"""Roles of heads, told from their measures by rules.

    roles = head_roles(head_measures(lm, graph, swapped_pairs(lm, queries)))
    roles.named("mover")                                 # ((14, 7), (20, 6)): (layer, head)

The paper's roles are qualitative: a mover looks at the subject, and what it writes holds the answer or what comes of
the subject; a relation head looks at the relation's tokens and writes tokens of the relation's kind; a mixture looks
at both and acts mostly like a mover. The rules and their thresholds are ours:

- a head sees the subject, or the relation, where its attention to it is on average at least `mass`; attention to
  the prompt's first token counts for neither, and prompts whose subject is that token alone tell nothing of it;
- it says something where what it adds (a lift) is on average at least `lift` logits, and more than its layer, by an
  interval above zero: the layer is the median of its other heads, which a few heads with the same role do not move;
- mover: sees the subject and says the answer or the subject; mixture: a mover that sees the relation, too; relation:
  sees the relation and says the relation's other answers, and is none of these.

What a head adds by itself does not show that the model needs it. A role is confirmed where ablation does what the
paper says it does: without a mover the relation's other answers gain more than all else, without a relation head
all else gains more than they. Of a mover the answer must also lose where the head sees another subject; what gains
then is not asked, since the head says that subject's answer. Beside it stands how often the same roles would be
confirmed by chance, were they given to random heads of the same layers.

Source of the roles: Yao et al. 2024, arXiv:2405.17969, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import bootstrap
from torch import Tensor

from locant.errors import LocantError
from locant.evaluations.circuits.heads import LIFTS, HeadMeasures
from locant.types import Provenance, Setting

ROLES = ("mover", "relation", "mixture", "none")


@dataclass(frozen=True)
class Estimates:
    """Means of all heads with their bootstrap intervals; n counts facts, which are resampled; NaN of none."""

    mean: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    n: int


@dataclass(frozen=True)
class HeadRoles:
    """Roles of all heads in one relation, with what they are told by.

    Attributes:
        estimates: of every measure.
        excess: of every lift, how far a head is above its layer on the same query.
        roles: of each layer, of each head: a name in `ROLES`.
        confirmed: whether ablating the head does what its role says.
        by_chance: of heads with a role, the share of their layer's heads that would be confirmed in it, themselves
            included: what sums of `confirmed` would be on average, were roles shuffled within layers; else 0.
    """

    estimates: Mapping[str, Estimates]
    excess: Mapping[str, Estimates]
    roles: tuple[tuple[str, ...], ...]
    confirmed: Bool[Tensor, "layer head"]
    by_chance: Float[Tensor, "layer head"]
    made_by: Provenance

    def named(self, role: str, *, confirmed: bool = False) -> tuple[tuple[int, int], ...]:
        """The heads of a role as (layer, head); if asked for, only those confirmed."""
        return tuple(
            (layer, head)
            for layer, row in enumerate(self.roles)
            for head, name in enumerate(row)
            if name == role and (not confirmed or bool(self.confirmed[layer, head]))
        )


def head_roles(
    measures: HeadMeasures,
    *,
    mass: float = 0.3,
    lift: float = 0.05,
    effect: float = 0.01,
    level: float = 0.95,
    seed: int = 0,
) -> HeadRoles:
    """Tell the role of every head, by the rules above.

    Each head is tested by itself: of heads like the rest of their layer, some (1 - level) / 2 are above it by chance.
    Intervals are over facts. What a head says of a relation hardly differs from one to the next, and they do not tell
    how it would fare in other wordings: give several.

    Args:
        mass: attention from which on a head sees something.
        lift: logits from which on it says something.
        effect: probability that others must gain to confirm, and log-probability (nats) that the answer must lose.
        level: of confidence of the intervals.
        seed: of the bootstrap.

    Raises:
        LocantError: layers have one head, and no others to hold it against.
    """
    facts = [pair.query.fact.uid for pair in measures.pairs]

    def estimate(values: Float[Tensor, "query layer head"]) -> Estimates:
        told = values.isfinite().all(dim=-1).all(dim=-1)
        names = [fact for fact, there in zip(facts, told.tolist(), strict=True) if there]
        return estimates(values[told], names, level=level, seed=seed)

    found = {name: estimate(values) for name, values in measures.values.items()}
    excess = {name: estimate(above_layer(measures[name])) for name in LIFTS}
    sees = {what: found[f"{what}_mass"].mean >= mass for what in ("subject", "relation")}
    says = {name: (found[name].mean >= lift) & (excess[name].low > 0) for name in LIFTS}
    moves = sees["subject"] & (says["answer_lift"] | says["subject_lift"])
    relates = sees["relation"] & says["relation_lift"] & ~moves
    roles = tuple(
        tuple(_role(*each) for each in zip(*rows, strict=True))
        for rows in zip(moves.tolist(), sees["relation"].tolist(), relates.tolist(), strict=True)
    )
    answer, gap = found["answer_swapped"], estimate(measures["others_removed"] - measures["elsewhere_removed"])
    gains = {what: found[f"{what}_removed"].mean >= effect for what in ("others", "elsewhere")}
    as_mover = (answer.mean <= -effect) & (answer.high < 0) & gains["others"] & (gap.low > 0)
    as_relation = gains["elsewhere"] & (gap.high < 0)
    confirmed = (moves & as_mover) | (relates & as_relation)
    shares = [one.double().mean(dim=1, keepdim=True) for one in (as_mover, as_relation)]
    by_chance = moves * shares[0] + relates * shares[1]
    settings: dict[str, Setting] = {"mass": mass, "lift": lift, "effect": effect, "level": level}
    parent = measures.made_by
    made_by = Provenance(
        "head_roles", settings, parent.model, parent.revision, parent.dtype, seed, parents=(parent.digest(),)
    )
    return HeadRoles(found, excess, roles, confirmed, by_chance, made_by)


def above_layer(values: Float[Tensor, "query layer head"]) -> Float[Tensor, "query layer head"]:
    """How far each head is above the median of its layer's other heads.

    Raises:
        LocantError: there are no others.
    """
    heads = values.shape[2]
    if heads < 2:
        raise LocantError("layers have one head each, and no others to hold it against")
    others = torch.stack([torch.cat([values[..., :at], values[..., at + 1 :]], dim=-1) for at in range(heads)], dim=2)
    return values - others.quantile(0.5, dim=-1)


def estimates(
    values: Float[Tensor, "query layer head"], facts: Sequence[str], *, level: float = 0.95, seed: int = 0
) -> Estimates:
    """The mean of every head over facts, with percentile bootstrap intervals over facts.

    Queries of one fact are averaged first, so that a fact with many wordings weighs no more than another.
    """
    names = list(dict.fromkeys(facts))
    if not names:
        nothing = torch.full(values.shape[1:], torch.nan, dtype=torch.float64)
        return Estimates(nothing, nothing, nothing, 0)
    rows = torch.tensor([names.index(fact) for fact in facts])
    means = torch.stack([values[rows == row].double().mean(dim=0) for row in range(len(names))])
    mean = means.mean(dim=0)
    if len(names) == 1:
        return Estimates(mean, mean, mean, 1)
    # Batches: resamples of all heads at once take more memory than a large model's activations
    found = bootstrap(
        (means.numpy(),),
        np.mean,
        axis=0,
        confidence_level=level,
        n_resamples=2000,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimates(mean, torch.from_numpy(found.low), torch.from_numpy(found.high), len(names))


def _role(moves: bool, sees_relation: bool, relates: bool) -> str:
    if moves:
        return "mixture" if sees_relation else "mover"
    return "relation" if relates else "none"
