"""The descent: as far as it must, no farther than the clamp, and the same beside other requests."""

from __future__ import annotations

import pytest
import torch

import locant
from families import tiny
from locant.errors import LocantError, UnknownName
from locant.interventions.editing import target as module
from locant.interventions.editing.contexts import ask
from locant.interventions.editing.passes import ShiftedPasses
from locant.interventions.editing.target import Descent, find_targets
from locant.models import LanguageModel
from locant.types import EditRequest

HOW = Descent(steps=15, rate=0.2, unit="residual", clamp=8.0)
REQUESTS = [
    locant.edit_request("The capital of France is", "France", "Rome"),
    locant.edit_request("Question: what is the capital of Italy? Answer:", "Italy", "Berlin"),
    locant.edit_request("The author of Emma is", "Emma", "Charles Dickens"),
    locant.edit_request("The capital of Peru is", "Peru", "Lima"),
]


def found(lm: LanguageModel, requests: list[EditRequest], how: Descent = HOW) -> list[module.Target]:
    asked = [ask(lm, one, ("In the morning",), "{} is a", "last") for one in requests]
    return find_targets(lm, 1, asked, how, of_block=True)


def test_requests_beside_one_another_are_found_as_alone(almanac_lm: LanguageModel) -> None:
    together = found(almanac_lm, REQUESTS)
    for one, request in zip(together, REQUESTS, strict=True):
        (alone,) = found(almanac_lm, [request])
        assert alone.note["steps"] == one.note["steps"]
        torch.testing.assert_close(alone.value, one.value, rtol=1e-2, atol=1e-1)


def test_requests_that_do_not_fit_one_pass_are_found_in_parts(
    almanac_lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = found(almanac_lm, REQUESTS)
    monkeypatch.setattr(module, "MEMORY", 1)
    for one, other in zip(together, found(almanac_lm, REQUESTS), strict=True):
        torch.testing.assert_close(one.value, other.value, rtol=1e-2, atol=1e-1)


def test_the_new_object_becomes_probable(almanac_lm: LanguageModel) -> None:
    for one, request in zip(found(almanac_lm, REQUESTS), REQUESTS, strict=True):
        before = float(locant.answer_probability(almanac_lm, [request.asked])[0])
        assert one.note["probability"] > max(0.5, before - 0.1)


def test_what_is_said_already_is_left_as_it_was(almanac_lm: LanguageModel) -> None:
    (one,) = find_targets(almanac_lm, 1, [ask(almanac_lm, REQUESTS[3], (), "{} is a", "last")], HOW, of_block=True)
    assert one.note["steps"] == 1 and one.note["shift"] == 0


def test_a_shift_is_no_longer_than_the_clamp(almanac_lm: LanguageModel) -> None:
    asked = [ask(almanac_lm, one, (), "{} is a", "last") for one in REQUESTS[:2]]
    size = ShiftedPasses(almanac_lm, 1, asked, of_block=True).written.norm(dim=1)
    clamped = find_targets(almanac_lm, 1, asked, HOW.but(clamp=0.3), of_block=True)
    for one, most in zip(clamped, (0.3 * size).tolist(), strict=True):
        assert one.note["shift"] == pytest.approx(most, rel=1e-4)


def test_a_step_moves_each_coordinate_by_the_rate_in_the_unit(almanac_lm: LanguageModel) -> None:
    asked = [ask(almanac_lm, REQUESTS[0], (), "{} is a", "last")]
    residual = ShiftedPasses(almanac_lm, 1, asked, of_block=True).residual[0]
    for unit, size in (("one", 1.0), ("residual", float(residual.square().mean().sqrt()))):
        how = HOW.but(steps=2, rate=0.1, unit=unit)
        (one,) = find_targets(almanac_lm, 1, asked, how, of_block=True)
        moved = (one.value - residual.double()).abs()
        # Adam's first step has the size of its rate
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * size), rtol=1e-2, atol=1e-4)


def test_the_divergence_holds_back_what_is_said_of_the_essence(almanac_lm: LanguageModel) -> None:
    asked = [ask(almanac_lm, REQUESTS[0], (), "{} is a", "last")]
    moved = []
    for kl in (0.0, 5.0):
        how = HOW.but(kl=kl, stop_at=1e-9)
        (one,) = find_targets(almanac_lm, 1, asked, how, of_block=True)
        passes = ShiftedPasses(almanac_lm, 1, asked, of_block=True)
        after = passes.run((one.value - passes.written[0].double()).float()[None]).essence
        moved.append(float((after.exp() * (after - passes.unshifted.essence)).sum().detach()))
    assert moved[1] < 0.5 * moved[0]


def test_a_loss_that_is_no_number_is_refused() -> None:
    lm = tiny("gpt2", torch.float16)
    asked = [ask(lm, locant.edit_request("w3 w5 w7", "w5", "w11"), (), "{} w1", "last")]
    with pytest.raises(LocantError, match="no number"):
        find_targets(lm, 1, asked, HOW.but(rate=1e6, clamp=1e6), of_block=True)


def test_a_descent_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"steps": 0}, {"rate": 0.0}, {"clamp": -1.0}, {"unit": "two"}):
        with pytest.raises(UnknownName):
            HOW.but(**wrong)
