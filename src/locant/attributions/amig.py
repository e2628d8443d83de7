"""Architecture-adapted multilingual integrated gradients: a baseline from the prompt with tokens replaced."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.masked_tokens import mean_over_tokens, mean_start
from locant.attributions.neurons import Starts, neurons_from
from locant.attributions.path import Integral, integrate, path_integral
from locant.attributions.quadrature import quadrature
from locant.attributions.scores import Scores, target_of
from locant.errors import UnknownName, nearest
from locant.models import Run

OWN_RULE: dict[str, tuple[str, int | None]] = {
    "code": ("riemann-left", 10),
    "paper": ("riemann-right", 10),
    "corrected": ("gauss-legendre", None),
}
"""Of each mode, the rule and the steps if none are given."""

CANCELLED = 1e-6
"""Share of their absolute sum below which a layer's credits cancel, and cannot be normalised."""


def amig(
    run: Run,
    rows: int,
    *,
    mode: str = "corrected",
    rule: str = "own",
    steps: int | None = None,
    hook: str = "post",
    target: str = "probability",
    tolerance: float = 0.01,
) -> Scores:
    """Integrated gradients from the mean activation with one token replaced; as printed, as released, or complete.

    With w the activations, b_i those with the i-th token replaced and b the mean of b_i over the prompt's tokens:
    - corrected: (w - b) times the integral of the gradient from b to w. A layer's scores add up to
      target(w) - target(b); the other modes promise no such thing.
    - code: the same path, but w in the place of w - b, and special tokens are replaced too.
    - paper (equations 4 and 5): a path from each b_i, and w in the place of w - b_i; summed over i, then divided
      by the layer's sum over its neurons. Where that sum is negative all signs turn; a layer whose credits
      cancel to a millionth of their absolute sum has zero scores. It takes as long as `sig`.

    Args:
        mode: corrected, code or paper.
        rule: riemann-left, riemann-right, inclusive, midpoint, gauss-legendre, or own: the mode's, which is
            gauss-legendre (corrected), riemann-left (code), riemann-right (paper).
        steps: points of the rule; if not given 10, but for corrected as in `dai`.
        hook: post (the down-projection's input) or pre (before the activation function).
        target: probability, or log_probability (summed over the answer's tokens instead of averaged).
        tolerance: completeness error that gauss-legendre leaves in mode corrected, as in `dai`.

    Raises:
        UnknownName: no such mode.
        BadQuery: a prompt has no token to replace.
        LocantError: the tokenizer has no token to put in its place.

    Source: Chen et al. 2024, arXiv:2308.13198, section on knowledge localization, and its released code.
    """
    if mode not in OWN_RULE:
        raise UnknownName(f"no mode {mode!r}{nearest(mode, OWN_RULE)}; there are {', '.join(OWN_RULE)}")
    own_rule, own_steps = OWN_RULE[mode]
    rungs = quadrature(own_rule if rule == "own" else rule, own_steps if steps is None else steps)
    of = target_of(target)
    if mode == "paper":

        def printed(starts: Starts) -> Integral:
            return integrate(run, neurons_from(run, hook, starts, credit_from_zero=True), rungs, of, rows)

        return Scores(per_layer(mean_over_tokens(run, hook, False, printed).scores))
    neurons = neurons_from(run, hook, mean_start(run, hook, mode == "code"), credit_from_zero=mode == "code")
    scores = path_integral(run, neurons, rungs, of, rows, tolerance)
    return scores if mode == "corrected" else replace(scores, completeness_error=None)


def per_layer(credit: Float[Tensor, "site layer neuron"]) -> Float[Tensor, "site layer neuron"]:
    """Credit as a share of the sum over the layer's neurons; zero where that sum is as good as zero."""
    total = credit.sum(dim=2, keepdim=True)
    cancelled = total.abs() <= CANCELLED * credit.abs().sum(dim=2, keepdim=True)
    return torch.where(cancelled, 0, credit / total)
