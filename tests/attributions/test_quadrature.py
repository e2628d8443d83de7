"""Rules of quadrature: their points as documented, and how far they are exact."""

from __future__ import annotations

import pytest

from locant.attributions import RULES, Quadrature, quadrature
from locant.errors import UnknownName

STEPS = [1, 2, 5, 8, 20]


def integral(nodes: Quadrature, degree: int) -> float:
    """Of t^degree over [0, 1], by the rule."""
    return sum(weight * point**degree for point, weight in zip(nodes.points, nodes.weights, strict=True))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", STEPS)
def test_a_rule_has_as_many_points_as_steps_in_order_on_the_path_and_weights_that_sum_to_one(
    rule: str, steps: int
) -> None:
    (nodes,) = quadrature(rule, steps)
    assert len(nodes.points) == len(nodes.weights) == steps
    assert list(nodes.points) == sorted(set(nodes.points))
    assert nodes.points[0] >= 0 and nodes.points[-1] <= 1
    assert sum(nodes.weights) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("rule", "points"),
    [
        ("riemann-left", (0, 0.25, 0.5, 0.75)),
        ("riemann-right", (0.25, 0.5, 0.75, 1)),
        ("inclusive", (0, 1 / 3, 2 / 3, 1)),
        ("midpoint", (0.125, 0.375, 0.625, 0.875)),
    ],
)
def test_the_even_rules_have_the_points_their_sources_have(rule: str, points: tuple[float, ...]) -> None:
    (nodes,) = quadrature(rule, 4)
    assert nodes.points == pytest.approx(points, abs=1e-15)
    assert nodes.weights == (0.25,) * 4


@pytest.mark.parametrize("steps", STEPS[:4])
def test_gauss_legendre_is_exact_up_to_degree_two_m_minus_one_and_not_beyond(steps: int) -> None:
    (nodes,) = quadrature("gauss-legendre", steps)
    for degree in range(2 * steps):
        assert integral(nodes, degree) == pytest.approx(1 / (degree + 1), abs=1e-14)
    if steps <= 5:
        assert abs(integral(nodes, 2 * steps) - 1 / (2 * steps + 1)) > 1e-8


@pytest.mark.parametrize(("rule", "degree"), [("riemann-left", 0), ("riemann-right", 0), ("midpoint", 1)])
def test_the_even_rules_are_exact_up_to_their_degree_and_not_beyond(rule: str, degree: int) -> None:
    (nodes,) = quadrature(rule, 20)
    assert integral(nodes, degree) == pytest.approx(1 / (degree + 1), abs=1e-14)
    assert abs(integral(nodes, degree + 1) - 1 / (degree + 2)) > 1e-4


def test_both_ends_counted_in_full_are_off_by_a_term_of_order_one_over_m() -> None:
    # For t^2 the rule gives (2m - 1) / (6 (m - 1)): 1/3 + 1 / (6 (m - 1))
    for steps in (10, 100, 1000):
        (nodes,) = quadrature("inclusive", steps)
        assert integral(nodes, 2) - 1 / 3 == pytest.approx(1 / (6 * (steps - 1)))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "gauss-legendre"])
def test_without_a_number_of_steps_an_even_rule_has_the_papers_twenty(rule: str) -> None:
    assert quadrature(rule) == quadrature(rule, 20)


def test_without_a_number_of_steps_gauss_legendre_climbs_from_eight_by_doubling() -> None:
    rungs = quadrature()
    assert rungs == quadrature("gauss-legendre")
    assert rungs == tuple(nodes for steps in (8, 16, 32, 64, 128) for nodes in quadrature("gauss-legendre", steps))


def test_a_rule_that_does_not_exist_is_told_which_do() -> None:
    with pytest.raises(UnknownName, match=r"no rule 'simpson'; there are riemann-left, .*, gauss-legendre$"):
        quadrature("simpson")


@pytest.mark.parametrize("steps", [0, -1])
@pytest.mark.parametrize("rule", RULES)
def test_less_than_one_step_is_refused(rule: str, steps: int) -> None:
    with pytest.raises(UnknownName, match=f"a rule needs at least 1 step, not {steps}"):
        quadrature(rule, steps)
