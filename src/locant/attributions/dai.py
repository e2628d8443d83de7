"""Knowledge attribution: integrated gradients of the answer's probability, per neuron."""

from __future__ import annotations

from locant.attributions.neurons import Baseline, neurons_of
from locant.attributions.path import path_integral
from locant.attributions.quadrature import quadrature
from locant.attributions.scores import Scores, target_of
from locant.models import Run


def dai(
    run: Run,
    rows: int,
    *,
    rule: str = "gauss-legendre",
    steps: int | None = None,
    hook: str = "post",
    target: str = "probability",
    tolerance: float = 0.01,
    baseline: Baseline | None = None,
) -> Scores:
    """Integrated gradients from the baseline to the activation, all neurons of a layer together.

    Args:
        rule: riemann-left and riemann-right (the paper's code and print), inclusive (as another release has
            it), midpoint, gauss-legendre.
        steps: points of the rule; if not given 20, but for gauss-legendre 8 and more where these do not do.
        hook: post (the down-projection's input) or pre (before the activation function).
        target: probability, or log_probability (summed over the answer's tokens instead of averaged).
        tolerance: completeness error that gauss-legendre leaves, as a share of the answer's target or of
            what the layer explains, whichever is more.
        baseline: where the path starts; zero if not given.

    Source: Dai et al. 2022, arXiv:2104.08696, equation 2.
    """
    neurons = neurons_of(run, hook, baseline)
    return path_integral(run, neurons, quadrature(rule, steps), target_of(target), rows, tolerance)
