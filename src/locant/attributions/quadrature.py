"""Points and weights on the path from the baseline (0) to the activation (1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from locant.errors import UnknownName, nearest


@dataclass(frozen=True)
class Quadrature:
    """Integral over [0, 1] as a weighted sum: points ascending, one weight each."""

    points: tuple[float, ...]
    weights: tuple[float, ...]


def riemann_left(steps: int) -> Quadrature:
    """k/m for k = 0..m-1: the released code of Dai et al. 2022 (arXiv:2104.08696)."""
    return _even(np.arange(steps) / steps)


def riemann_right(steps: int) -> Quadrature:
    """k/m for k = 1..m: the formula printed in Dai et al. 2022."""
    return _even(np.arange(1, steps + 1) / steps)


def inclusive(steps: int) -> Quadrature:
    """m points with both ends, still divided by m: EleutherAI/knowledge-neurons. It does not converge fast:
    the ends count in full, so scores are off by a term of order 1/m."""
    return _even(np.linspace(0, 1, steps))


def midpoint(steps: int) -> Quadrature:
    """(k - 1/2)/m for k = 1..m."""
    return _even((np.arange(steps) + 0.5) / steps)


def gauss_legendre(steps: int) -> Quadrature:
    """Exact for polynomials of degree up to 2m - 1."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return Quadrature(tuple(map(float, (points + 1) / 2)), tuple(map(float, weights / 2)))


RULES = {
    "riemann-left": riemann_left,
    "riemann-right": riemann_right,
    "inclusive": inclusive,
    "midpoint": midpoint,
    "gauss-legendre": gauss_legendre,
}


def quadrature(rule: str = "gauss-legendre", steps: int | None = None) -> tuple[Quadrature, ...]:
    """A rule by name: with a number of steps, that one alone; without, the rungs to climb where it is too coarse.

    Riemann rules have 20 steps, the papers' number. Gauss-Legendre starts with 8 and doubles to 128: on most
    layers' paths 8 leave nothing to wish for, but where the answer appears all at once they may miss the place.

    Raises:
        UnknownName: no such rule, or fewer than one step.
    """
    if rule not in RULES:
        raise UnknownName(f"no rule {rule!r}{nearest(rule, RULES)}; there are {', '.join(RULES)}")
    if steps is not None and steps < 1:
        raise UnknownName(f"a rule needs at least 1 step, not {steps}")
    if steps is not None:
        return (RULES[rule](steps),)
    return tuple(RULES[rule](count) for count in ((8, 16, 32, 64, 128) if rule == "gauss-legendre" else (20,)))


def _even(points: np.ndarray) -> Quadrature:
    return Quadrature(tuple(map(float, points)), (1 / len(points),) * len(points))
