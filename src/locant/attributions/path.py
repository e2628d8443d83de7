"""Integrated gradients of the answer along the neurons' path, all layers and steps at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.neurons import Neurons
from locant.attributions.quadrature import Quadrature
from locant.attributions.scores import Scores, Target
from locant.models import Run


def path_integral(run: Run, neurons: Neurons, nodes: Quadrature, target: Target, rows: int) -> Scores:
    """Credit each neuron of each layer with its part of the answer's probability.

    All neurons of a layer move together from the baseline to their values; other layers follow on their own.

    Args:
        nodes: points and weights on the path.
        rows: how many rows may run at once.

    Returns:
        Units of the target. A layer's sum approaches target(values) - target(baseline).

    Source: Dai et al. 2022, arXiv:2104.08696, knowledge attribution; the quadrature is a choice of ours.
    """
    # A point at the baseline, if the rule has none, tells what the scores must add up to
    points = nodes.points if nodes.points[0] == 0 else (0.0, *nodes.points)
    weights = nodes.weights if nodes.points[0] == 0 else (0.0, *nodes.weights)
    values, errors = [], []
    for layers in _groups(run.lm.layers, max(1, rows // (len(points) * len(run.sites)))):
        gradients, starts = _gradients(run, neurons, layers, points, weights, target)
        for layer, gradient, start in zip(layers, gradients, starts, strict=True):
            credit = neurons.credit(layer, gradient)
            explained = target(run.log_prob).to(start.device) - start
            values.append(credit.cpu())
            errors.append((credit.sum(dim=1).to(start.device) - explained).abs().cpu())
    return Scores(torch.stack(values, dim=1), torch.stack(errors, dim=1))


def _gradients(
    run: Run,
    neurons: Neurons,
    layers: range,
    points: tuple[float, ...],
    weights: tuple[float, ...],
    target: Target,
) -> tuple[list[Float[Tensor, "site axis"]], list[Float[Tensor, " site"]]]:
    """Of each layer: the gradient averaged over the path, and the target at the path's start."""
    with torch.no_grad():
        leaves = {layer: neurons.path(layer, torch.tensor(points, dtype=torch.float64)) for layer in layers}
    with torch.enable_grad():
        for leaf in leaves.values():
            leaf.requires_grad_(True)
        log_prob = run.log_probabilities({layer: neurons.write(layer, leaf) for layer, leaf in leaves.items()})
        reached = target(log_prob)
        slopes = torch.autograd.grad(reached.sum(), list(leaves.values()))
    weigh = torch.tensor(weights, dtype=torch.float64)
    mean = [torch.einsum("bsh,s->bh", slope, weigh.to(slope)) for slope in slopes]
    starts = reached.detach()[:, :: len(points)]
    return mean, list(starts.unbind(dim=1))


def _groups(layers: int, size: int) -> Iterator[range]:
    return (range(first, min(first + size, layers)) for first in range(0, layers, size))
