"""The size of activations: what a gradient-free look would pick."""

from __future__ import annotations

import torch

from locant.attributions.neurons import neurons_of
from locant.attributions.scores import Scores
from locant.models import Run, at_least_float32


@torch.no_grad()
def activation(run: Run, rows: int, *, hook: str = "post", value_norm: bool = False) -> Scores:
    """|activation|, or |activation| times the length of the neuron's value vector.

    Args:
        hook: post (the down-projection's input) or pre (before the activation function).
        value_norm: weigh each neuron by the length of its value vector.
    """
    neurons = neurons_of(run, hook)
    sizes = [neurons.values(layer).abs().cpu() for layer in range(run.lm.layers)]
    if value_norm:
        lengths = [at_least_float32(run.lm.value_vectors(layer)).norm(dim=1) for layer in range(run.lm.layers)]
        sizes = [size * length.cpu() for size, length in zip(sizes, lengths, strict=True)]
    return Scores(torch.stack(sizes, dim=1))
