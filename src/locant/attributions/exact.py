"""Exact ablation of every single neuron: the reference that approximate methods are judged by."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.neurons import Baseline, Neurons, neurons_of
from locant.attributions.scores import Scores, Target, target_of
from locant.models import Run


@torch.no_grad()
def exact(
    run: Run,
    rows: int,
    *,
    hook: str = "post",
    target: str = "probability",
    baseline: Baseline | None = None,
) -> Scores:
    """What the answer loses when one neuron is silenced and nothing else, measured for every neuron.

    Args:
        hook: post (the down-projection's input) or pre (before the activation function).
        target: probability, or log_probability (summed over the answer's tokens instead of averaged).
        baseline: the value a silenced neuron is set to; zero if not given.

    Returns:
        target(untouched) - target(neuron at its baseline).
    """
    neurons = neurons_of(run, hook, baseline)
    layers = [_layer(run, neurons, layer, target_of(target), rows) for layer in range(run.lm.layers)]
    return Scores(torch.stack(layers, dim=1))


def _layer(run: Run, neurons: Neurons, layer: int, target: Target, rows: int) -> Float[Tensor, "site neuron"]:
    vectors = run.lm.value_vectors(layer)
    written = run.written[layer][:, None]
    change = neurons.ablated(layer) - run.neurons[layer]
    losses = []
    for part in torch.arange(run.lm.neurons).split(max(1, rows // len(run.sites))):
        ablated = (written + change[:, part, None] * vectors[None, part]).to(written.dtype)
        left = target(run.log_probabilities({layer: ablated}))
        losses.append((target(run.log_prob)[:, None].to(left.device) - left).cpu())
    return torch.cat(losses, dim=1)
