"""Before and after, relative changes, and intervals over facts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import locant
from families import WORDS, tiny
from locant.errors import UnknownName
from locant.types import Outcome, Provenance

MADE_BY = Provenance("by hand")


def test_every_metric_is_measured_before_and_inside() -> None:
    lm = tiny("llama")
    chosen = locant.select(locant.attribute(lm, WORDS.all), k=30)
    outcomes = locant.measure(
        lm,
        WORDS.all,
        locant.suppress(lm, chosen),
        operation="suppress",
        touched="located",
        asked="own",
        made_by=MADE_BY,
    )
    read = {
        "probability": locant.answer_probability,
        "log-probability": locant.answer_log_probability,
        "rank": lambda lm, queries: locant.answer_rank(lm, queries).double(),
    }
    assert [one.metric for one in outcomes] == list(read)
    before = {name: of(lm, WORDS.all) for name, of in read.items()}
    with locant.suppress(lm, chosen):
        after = {name: of(lm, WORDS.all) for name, of in read.items()}
    for one in outcomes:
        assert torch.equal(one.before, before[one.metric]) and torch.equal(one.after, after[one.metric])
        assert (one.operation, one.touched, one.asked, one.queries) == ("suppress", "located", "own", WORDS.all)
        assert not torch.equal(one.before, one.after)


def test_answers_that_are_known_already_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    known = locant.evaluations.read_answers(lm, WORDS.all)
    asked: list[object] = []

    def counting(lm: object, queries: object) -> object:
        asked.append(queries)
        return known

    monkeypatch.setattr("locant.evaluations.outcomes.read_answers", counting)
    nothing = locant.scale(lm, locant.select(locant.attribute(lm, [WORDS.short]), k=1), 1.0)
    names = {"operation": "scale", "touched": "located", "asked": "own", "made_by": MADE_BY}
    locant.measure(lm, WORDS.all, nothing, before=known, **names)
    assert len(asked) == 1


def test_a_relative_change_is_minus_one_where_all_is_lost_and_one_where_it_doubled() -> None:
    before, after = torch.tensor([0.5, 0.4, 0.2, 0.1]), torch.tensor([0.0, 0.4, 0.4, 0.15])
    outcome = Outcome("probability", "suppress", "located", "own", (), before, after, MADE_BY)
    assert locant.relative_change(outcome).tolist() == pytest.approx([-1, 0, 1, 0.5], abs=1e-6)
    assert locant.relative_change(replace(outcome, after=before)).tolist() == [0, 0, 0, 0]


def draws(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 3


def names(n: int) -> list[str]:
    return [f"fact {index}" for index in range(n)]


def test_an_interval_has_the_mean_inside_and_is_about_as_wide_as_theory_says() -> None:
    values = draws(100)
    found = locant.interval(values, names(100))
    assert found.n == 100
    assert found.mean == pytest.approx(float(values.mean()), abs=1e-12)
    assert found.low < found.mean < found.high
    theory = 2 * 1.96 * float(values.std()) / math.sqrt(100)
    assert found.high - found.low == pytest.approx(theory, rel=0.1)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    found = [locant.interval(draws(40, seed), names(40), level=0.8, resamples=300) for seed in range(200)]
    covered = np.mean([one.low <= 3 <= one.high for one in found])
    # 0.8 with a standard deviation of 0.03, and percentile intervals of 40 values are a little narrow
    assert 0.68 < covered < 0.9


def test_an_interval_is_the_same_for_a_seed_and_another_for_another() -> None:
    values = draws(30)
    first = locant.interval(values, names(30), seed=1)
    assert first == locant.interval(values, names(30), seed=1)
    other = locant.interval(values, names(30), seed=2)
    assert (first.low, first.high) != (other.low, other.high) and first.mean == other.mean


def test_more_confidence_is_wider() -> None:
    narrow, wide = (locant.interval(draws(30), names(30), level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_fact_with_many_wordings_weighs_as_one() -> None:
    one_each = locant.interval(torch.tensor([1.0, 2.0, 6.0]), ["a", "b", "c"])
    many = locant.interval(torch.tensor([0.0, 2.0, 1.0, 1.0, 2.0, 6.0]), ["a", "a", "a", "a", "b", "c"])
    assert many == one_each
    assert (many.mean, many.n) == (3.0, 3)


@pytest.mark.parametrize(("values", "n"), [([0.5], 1), ([0.5, 0.5, 0.5], 3)])
def test_where_nothing_varies_the_interval_is_the_mean(values: list[float], n: int) -> None:
    found = locant.interval(torch.tensor(values), names(n))
    assert (found.mean, found.low, found.high, found.n) == (0.5, 0.5, 0.5, n)


def test_an_interval_needs_values_and_a_fact_for_each() -> None:
    with pytest.raises(UnknownName, match="an interval needs values"):
        locant.interval(torch.zeros(0), [])
    with pytest.raises(ValueError, match="zip"):
        locant.interval(torch.zeros(2), ["a"])
