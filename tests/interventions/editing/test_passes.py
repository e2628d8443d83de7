"""A pass with something added at one position says what the whole model says with a hook there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
from families import FAMILIES, MASKED, SEQ2SEQ, tiny
from locant.interventions.editing.contexts import Asked, Placed, ask
from locant.interventions.editing.passes import ShiftedPasses
from locant.models import LanguageModel
from locant.models.hooks import at_rest
from plain import at_position

CAUSAL = sorted(set(FAMILIES) - MASKED - SEQ2SEQ)
REQUESTS = [
    locant.edit_request("w3 w5 w6 w7 w8", "w5 w6", "w11 w12"),
    locant.edit_request("w5 w7 w1 w2 w3 w4 w9 w10", "w1", "w11"),
    locant.edit_request("w5 w7", "w5", "w13"),
]


def asked_of(lm: LanguageModel, at: str) -> list[Asked]:
    return [ask(lm, one, ("w20 w21 w22 w23 w24 w25", "w30"), "{} w1 w2", at) for one in REQUESTS]


def log_probs(lm: LanguageModel, module: torch.nn.Module, one: Placed, shift: Tensor) -> Tensor:
    """Of a whole sequence, with its answer if it has one, run alone."""
    answer = one.tokens.answers[0] if one.tokens.answers else ()
    ids = torch.tensor([one.tokens.prompt + answer[:-1]])
    with at_rest(lm.model), at_position(module, one.position, lambda values: values + shift, output=True):
        return lm.model(ids).logits[0].log_softmax(-1)


def surprise(lm: LanguageModel, module: torch.nn.Module, request: Asked, shift: Tensor) -> Tensor:
    each = []
    for one in request.contexts:
        (answer,), last = one.tokens.answers, len(one.tokens.prompt) - 1
        said = log_probs(lm, module, one, shift)
        each.append(-sum(said[last + k, token] for k, token in enumerate(answer)) / len(answer))
    return sum(each) / len(each)


@pytest.mark.slow  # every causal family, with gradients
@pytest.mark.parametrize("at", ["subject", "last"])
@pytest.mark.parametrize("of_block", [False, True])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_shifted_pass_is_the_whole_models(family: str, of_block: bool, at: str) -> None:
    lm = tiny(family)
    asked = asked_of(lm, at)
    passes = ShiftedPasses(lm, 1, asked, of_block)
    generator = torch.Generator().manual_seed(0)
    shift = torch.randn(passes.written.shape, generator=generator).requires_grad_()
    said = passes.run(shift)
    module = lm.blocks[1] if of_block else lm.downs[1]
    plain = torch.stack([surprise(lm, module, one, shift[index]) for index, one in enumerate(asked)])
    torch.testing.assert_close(said.surprise, plain, rtol=1e-4, atol=1e-5)
    essence = [
        log_probs(lm, module, one.essence, shift[index])[one.essence.position] for index, one in enumerate(asked)
    ]
    torch.testing.assert_close(said.essence, torch.stack(essence), rtol=1e-3, atol=1e-4)
    (slope,) = torch.autograd.grad(said.surprise.sum(), shift)
    (expected,) = torch.autograd.grad(plain.sum(), shift)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-5)


def test_running_twice_says_the_same() -> None:
    lm = tiny("llama")
    passes = ShiftedPasses(lm, 1, asked_of(lm, "subject"), of_block=True)
    shift = torch.ones_like(passes.written)
    assert torch.equal(passes.run(shift).essence, passes.run(shift).essence)


def test_no_shift_says_what_was_said_unshifted() -> None:
    lm = tiny("gpt2")
    passes = ShiftedPasses(lm, 1, asked_of(lm, "last"), of_block=False)
    said = passes.run(torch.zeros_like(passes.written))
    torch.testing.assert_close(said.surprise, passes.unshifted.surprise, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said.probability, passes.unshifted.probability, rtol=1e-4, atol=1e-6)
