"""Integrated gradients of the answer along the neurons' path, all layers and steps at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.neurons import Neurons
from locant.attributions.quadrature import Quadrature
from locant.attributions.scores import Scores, Target
from locant.models import Run


@dataclass(frozen=True)
class Integral:
    """Scores along a path, and what a layer's must add up to: target(values) - target(start of the path)."""

    scores: Float[Tensor, "site layer neuron"]
    explained: Float[Tensor, "site layer"]

    @property
    def error(self) -> Float[Tensor, "site layer"]:
        return (self.scores.sum(dim=-1) - self.explained).abs()


def path_integral(
    run: Run, neurons: Neurons, rungs: Sequence[Quadrature], target: Target, rows: int, tolerance: float = 0.0
) -> Scores:
    """`integrate`, with the completeness error that is left."""
    found = integrate(run, neurons, rungs, target, rows, tolerance)
    return Scores(found.scores, found.error)


def integrate(
    run: Run, neurons: Neurons, rungs: Sequence[Quadrature], target: Target, rows: int, tolerance: float = 0.0
) -> Integral:
    """Credit each neuron of each layer with its part of the answer's probability.

    All neurons of a layer move together from the baseline to their values; other layers follow on their own.
    Where a layer's scores of a site miss what they must add up to by more than the tolerance, the layer is
    integrated again with the next rung, and that site takes the result if it misses by less.

    Args:
        rungs: points and weights on the path, coarse to fine.
        rows: how many rows may run at once.
        tolerance: share of the answer's target, or of what the layer explains if that is more.

    Returns:
        Units of the target. A layer's sum approaches target(values) - target(baseline).

    Source: Dai et al. 2022, arXiv:2104.08696, knowledge attribution; quadrature and refinement are ours.
    """
    found = Integral(*_integrate(run, neurons, range(run.lm.layers), rungs[0], target, rows))
    scores, errors, explained = found.scores, found.error, found.explained
    allowed = tolerance * torch.maximum(explained.abs(), target(run.log_prob).abs().cpu()[:, None])
    coarse = errors > allowed
    for finer in rungs[1:]:
        layers = coarse.any(dim=0).nonzero()[:, 0].tolist()
        if not layers:
            break
        again = Integral(*_integrate(run, neurons, layers, finer, target, rows))
        closer = coarse[:, layers] & (again.error < errors[:, layers])
        scores[:, layers] = torch.where(closer[..., None], again.scores, scores[:, layers])
        errors[:, layers] = torch.where(closer, again.error, errors[:, layers])
        coarse &= errors > allowed
    return found


def _integrate(
    run: Run, neurons: Neurons, layers: Sequence[int], nodes: Quadrature, target: Target, rows: int
) -> tuple[Float[Tensor, "site layer neuron"], Float[Tensor, "site layer"]]:
    """Of each layer: its scores, and what its neurons explain."""
    end = target(run.log_prob)
    scores, explained = [], []
    for layer, gradient, start in _gradients(run, neurons, layers, nodes, target, rows):
        scores.append(neurons.credit(layer, gradient).cpu())
        explained.append((end.to(start.device) - start).cpu())
    return torch.stack(scores, dim=1), torch.stack(explained, dim=1)


def _gradients(
    run: Run, neurons: Neurons, layers: Sequence[int], nodes: Quadrature, target: Target, rows: int
) -> Iterator[tuple[int, Float[Tensor, "site axis"], Float[Tensor, " site"]]]:
    """Of each layer: the gradient averaged over the path, and the target at the path's start."""
    points, weights = list(nodes.points), list(nodes.weights)
    if points[0] != 0:
        # A point at the baseline, without weight, tells what the scores must add up to
        points, weights = [0.0, *points], [0.0, *weights]
    work = [(layer, step) for layer in layers for step in range(len(points))]
    size = max(1, rows // len(run.sites))
    sums: dict[int, Tensor] = {}
    starts: dict[int, Tensor] = {}
    for begin in range(0, len(work), size):
        chunk = {
            layer: [step for _, step in steps]
            for layer, steps in groupby(work[begin : begin + size], key=lambda one: one[0])
        }
        slopes = _slopes(run, neurons, {layer: [points[step] for step in chunk[layer]] for layer in chunk}, target)
        for layer, (slope, reached) in slopes.items():
            weigh = torch.tensor([weights[step] for step in chunk[layer]], dtype=torch.float64)
            part = torch.einsum("bsh,s->bh", slope, weigh.to(slope))
            sums[layer] = sums[layer] + part if layer in sums else part
            if chunk[layer][0] == 0:
                starts[layer] = reached[:, 0]
            if chunk[layer][-1] == len(points) - 1:
                yield layer, sums.pop(layer), starts.pop(layer)


def _slopes(
    run: Run, neurons: Neurons, points: dict[int, list[float]], target: Target
) -> dict[int, tuple[Float[Tensor, "site step axis"], Float[Tensor, "site step"]]]:
    """At points on each layer's path: the target's gradient, and the target."""
    with torch.no_grad():
        leaves = {layer: neurons.path(layer, torch.tensor(at, dtype=torch.float64)) for layer, at in points.items()}
    with torch.enable_grad():
        for leaf in leaves.values():
            leaf.requires_grad_(True)
        writes = {layer: neurons.write(layer, leaf) for layer, leaf in leaves.items()}
        log_prob = run.log_probabilities(writes)
        # Of the logarithm, then scaled: in half precision the gradient of a small probability would vanish
        slopes = torch.autograd.grad(log_prob.sum(), list(leaves.values()))
        free = log_prob.detach().requires_grad_(True)
        reached = target(free)
        (rates,) = torch.autograd.grad(reached.sum(), free)
    counts = [len(at) for at in points.values()]
    parts = zip(slopes, rates.split(counts, dim=1), reached.detach().split(counts, dim=1), strict=True)
    scaled = [(slope * rate[..., None].to(slope), value) for slope, rate, value in parts]
    return dict(zip(points, scaled, strict=True))
