"""Gradient times activation: the path integral's first-order shortcut."""

from __future__ import annotations

from dataclasses import replace

from locant.attributions.neurons import neurons_of
from locant.attributions.path import path_integral
from locant.attributions.quadrature import riemann_right
from locant.attributions.scores import Scores, target_of
from locant.models import Run


def gradient_x_activation(run: Run, rows: int, *, hook: str = "post", target: str = "probability") -> Scores:
    """The gradient where the activation is, times the activation: `dai` with one point, at the end.

    Args:
        hook: post (the down-projection's input) or pre (before the activation function).
        target: probability, or log_probability (summed over the answer's tokens instead of averaged).
    """
    scores = path_integral(run, neurons_of(run, hook), [riemann_right(1)], target_of(target), rows)
    return replace(scores, completeness_error=None)
