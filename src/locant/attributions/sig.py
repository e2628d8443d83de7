"""Sequential integrated gradients: paths that begin where one token of the prompt is replaced."""

from __future__ import annotations

from locant.attributions.masked_tokens import mean_over_tokens
from locant.attributions.neurons import neurons_from
from locant.attributions.path import integrate
from locant.attributions.quadrature import quadrature
from locant.attributions.scores import Scores, target_of
from locant.models import Run


def sig(
    run: Run,
    rows: int,
    *,
    rule: str = "gauss-legendre",
    steps: int | None = None,
    hook: str = "post",
    target: str = "probability",
    tolerance: float = 0.01,
) -> Scores:
    """Integrated gradients from the activation with one token replaced, averaged over the prompt's tokens.

    With w the activations and b_i those with the i-th of m tokens replaced, a neuron's score is the mean over i
    of (w - b_i) times the integral of the target's gradient from b_i to w. A layer's scores add up to
    target(w) - mean of target(b_i). Special tokens are not replaced. It takes m times as long as `dai`.

    Args:
        rule: riemann-left, riemann-right, inclusive, midpoint, gauss-legendre.
        steps: points of the rule; if not given 20, but for gauss-legendre 8 and more where these do not do.
        hook: post (the down-projection's input) or pre (before the activation function).
        target: probability, or log_probability (summed over the answer's tokens instead of averaged).
        tolerance: completeness error that gauss-legendre leaves on each path, as in `dai`.

    Raises:
        BadQuery: a prompt has no token to replace.
        LocantError: the tokenizer has no token to put in its place.

    Source: Enguehard 2023, arXiv:2305.15853, which attributes to tokens; the adaptation to neurons is ours.
    """
    rungs, of = quadrature(rule, steps), target_of(target)
    found = mean_over_tokens(
        run,
        hook,
        special=False,
        integrate=lambda starts: integrate(run, neurons_from(run, hook, starts), rungs, of, rows, tolerance),
    )
    return Scores(found.scores, found.error)
