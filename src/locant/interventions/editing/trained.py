"""What every editing method that trains shares: its schedule for some requests, and what it notes of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import nn

from locant.interventions.editing.editor import Note
from locant.interventions.tuning import Losses, Schedule
from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.rewriting import Weights
from locant.types import EditRequest


def in_passes(schedule: Schedule, requests: Sequence[EditRequest]) -> Schedule:
    """A schedule whose steps are passes over the requests, in batches: of the batches, one step each."""
    return replace(schedule, steps=schedule.steps * math.ceil(len(requests) / schedule.batch))


def losses_after(
    lm: LanguageModel, requests: Sequence[EditRequest], losses_of: Losses, batch: int
) -> tuple[float, ...]:
    """What each request has of a loss, with the weights as they are."""
    tokens = [lm.tokens(one.asked) for one in requests]
    with torch.no_grad(), hooks.at_rest(lm.model):
        parts = [losses_of(lm, tokens[first : first + batch]) for first in range(0, len(tokens), batch)]
    return tuple(float(loss) for part in parts for loss in part)


def noted(
    lm: LanguageModel, requests: Sequence[EditRequest], weights: Weights, losses: Sequence[float], steps: int
) -> list[Note]:
    """A note for each request: its loss, the steps that were taken and how far all weights moved together.

    Args:
        weights: the new ones; the model has the old.
    """
    change = math.sqrt(
        sum(
            float((at_least_float32(new) - at_least_float32(lm.model.get_parameter(name).detach())).square().sum())
            for name, new in weights.items()
        )
    )
    return [
        {"uid": one.uid, "loss": loss, "steps": steps, "change": change}
        for one, loss in zip(requests, losses, strict=True)
    ]


def feed_forward(lm: LanguageModel, layers: Iterable[int]) -> list[nn.Module]:
    """All that neurons of some layers read and write through, each once."""
    spec = lm.architecture
    names = dict.fromkeys(name for name in (spec.up, spec.gate, spec.neurons) if name is not None)
    return [lm.blocks[layer].get_submodule(name) for layer in layers for name in names]
