"""What methods return, and the quantity that gradients and ablations are taken of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName, nearest


@dataclass(frozen=True)
class Scores:
    """A method's scores at each site.

    Attributes:
        completeness_error: |sum of a layer's scores - what its neurons change|, or None.
    """

    values: Float[Tensor, "site layer neuron"]
    completeness_error: Float[Tensor, "site layer"] | None = None


Target: TypeAlias = Callable[[Tensor], Tensor]

TARGETS: dict[str, Target] = {"probability": torch.exp, "log_probability": lambda log_prob: log_prob}


def target_of(name: str) -> Target:
    """The function of an answer token's log-probability that scores add up to.

    Raises:
        UnknownName: it is neither 'probability' nor 'log_probability'.
    """
    if name not in TARGETS:
        raise UnknownName(f"no target {name!r}{nearest(name, TARGETS)}; there are {', '.join(TARGETS)}")
    return TARGETS[name]
