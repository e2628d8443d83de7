"""Localization against editability: shares of variance against plain least squares, and constructed cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from locant.errors import UnknownName
from locant.evaluations.editability import explained, followed, rank_correlations

RNG = np.random.default_rng(3)
SCORE, EFFECT = RNG.random((12, 4)), RNG.random((12, 4))


def squares(columns: list[np.ndarray], values: np.ndarray) -> float:
    """R2 of ordinary least squares with a constant."""
    matrix = np.stack([np.ones_like(values), *columns], axis=1)
    rest = values - matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0]
    return float(1 - (rest**2).sum() / ((values - values.mean()) ** 2).sum())


def test_shares_of_variance_equal_least_squares_with_a_column_for_every_layer() -> None:
    found = explained(SCORE, EFFECT)
    layers = [np.tile(np.eye(4)[layer], 12) for layer in range(1, 4)]
    assert found.layer == pytest.approx(squares(layers, SCORE.ravel()))
    assert found.effect == pytest.approx(squares([EFFECT.ravel()], SCORE.ravel()))
    assert found.both == pytest.approx(squares([*layers, EFFECT.ravel()], SCORE.ravel()))
    assert found.added == pytest.approx(found.both - found.layer) and found.facts == 12


def test_an_effect_that_says_where_editing_works_is_told_from_chance() -> None:
    found = explained(EFFECT + 0.05 * SCORE, EFFECT)
    assert found.added > 0.5 and found.p < 0.01 and found.chance < 0.2


def test_an_effect_that_says_nothing_is_not() -> None:
    found = explained(SCORE, EFFECT)
    assert found.p > 0.05 and found.added < 0.2


@pytest.mark.slow
def test_what_whole_facts_have_in_common_by_chance_is_found_no_more_often_than_chance_would() -> None:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(200):
        # Some facts are easier to edit in all layers, some have more effect in all layers: nothing joins the two
        score, effect = (rng.normal(size=(12, 1)) + 0.3 * rng.normal(size=(12, 6)) for _ in range(2))
        found += explained(score, effect, seed=0).p <= 0.05
    assert found / 200 < 0.1


def test_the_layer_alone_explains_scores_that_are_the_same_for_every_fact() -> None:
    found = explained(np.tile([0.1, 0.9, 0.4, 0.2], (12, 1)), EFFECT)
    assert (found.layer, found.both) == (pytest.approx(1), pytest.approx(1))


def test_scores_without_any_spread_are_explained_by_nothing() -> None:
    found = explained(np.ones((5, 3)), np.random.default_rng(0).random((5, 3)))
    assert (found.layer, found.effect, found.both) == (0, 0, 0)


def test_following_localization_takes_each_facts_own_layer_and_the_fixed_one_is_of_other_facts() -> None:
    score = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0.5, 1]])
    found = followed(score, np.array([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]))
    assert found.localized.mean == pytest.approx((1 + 0 + 1 + 1) / 4)
    # Of the others of each fact the second layer is always best
    assert found.fixed.mean == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    assert found.best.mean == 1 and found.anywhere.mean == pytest.approx(score.mean())
    assert found.gain.mean == pytest.approx(found.localized.mean - found.fixed.mean)


def test_rank_correlations_are_spearmans_of_each_layer() -> None:
    found = rank_correlations(SCORE, EFFECT)
    assert found == pytest.approx([spearmanr(SCORE[:, k], EFFECT[:, k]).statistic for k in range(4)])


def test_a_constant_layer_has_no_rank_correlation() -> None:
    constant = SCORE.copy()
    constant[:, 1] = 0.5
    assert np.isnan(rank_correlations(constant, EFFECT)[1])


def test_too_few_facts_are_refused() -> None:
    for compare in (explained, followed, rank_correlations):
        with pytest.raises(UnknownName, match="three facts"):
            compare(SCORE[:2], EFFECT[:2])
