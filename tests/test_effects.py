"""On the embedded model, which really knows facts: what is located carries them, and controls do not."""

from __future__ import annotations

import random

import pytest
import torch

import locant
from locant import almanac
from locant.models import LanguageModel

FACTS = 24
DRAWS = 8


def chosen_facts() -> list[locant.Query]:
    """One wording each of some facts, of every relation alike."""
    wordings = {query.fact.uid: query for query in almanac.queries(language="en", held_out=False)}
    numbers = random.Random(0)
    relations = sorted({query.relation for query in wordings.values()})
    by_relation = [[query for query in wordings.values() if query.relation == one] for one in relations]
    return [numbers.choice(by_relation[index % len(relations)]) for index in range(FACTS)]


def lost(lm: LanguageModel, units: locant.Selection, asked: list[locant.Query]) -> torch.Tensor:
    """How much log-probability the answers lose when neurons are silenced."""
    before = locant.answer_log_probability(lm, asked)
    with locant.suppress(lm, units):
        return before - locant.answer_log_probability(lm, asked)


@pytest.fixture(scope="module")
def losses() -> dict[str, torch.Tensor]:
    """Of each fact, what silencing takes from it and from facts of other relations."""
    lm = locant.load("almanac")
    facts = chosen_facts()
    found: dict[str, list[torch.Tensor]] = {"own": [], "random": [], "unrelated": []}
    for query, one in zip(facts, locant.attribute(lm, facts), strict=True):
        units = locant.select(one, "top", k=20)
        others = [other for other in facts if other.relation != query.relation]
        draws = [locant.random_set(units, seed) for seed in range(DRAWS)]
        found["own"].append(lost(lm, units, [query]).mean())
        found["random"].append(torch.stack([lost(lm, draw, [query]) for draw in draws]).mean())
        found["unrelated"].append(lost(lm, units, others).mean())
    return {name: torch.stack(values) for name, values in found.items()}


@pytest.mark.parametrize("control", ["random", "unrelated"])
def test_silencing_what_was_located_hurts_its_fact_more_than_the_control(
    losses: dict[str, torch.Tensor], control: str
) -> None:
    names = [f"{index}" for index in range(FACTS)]
    difference = locant.interval(losses["own"] - losses[control], names)
    assert difference.n == FACTS
    assert difference.low > 0
    assert float(losses["own"].mean()) > 1
    assert float(losses["own"].mean()) > 3 * float(losses[control].mean())


def test_eight_gauss_legendre_points_miss_a_tenth_of_what_twenty_even_ones_do(almanac_lm: LanguageModel) -> None:
    facts = chosen_facts()

    def error(rule: str, steps: int) -> float:
        found = locant.attribute(almanac_lm, facts, rule=rule, steps=steps).completeness_error
        return float(found.median())

    fine = error("gauss-legendre", 8)
    assert fine <= error("riemann-left", 20) / 10
    assert fine <= error("riemann-right", 20) / 10
