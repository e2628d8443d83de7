"""A gated neuron has one score, whichever of its factors the path runs through, while the other is held."""

from __future__ import annotations

import pytest
import torch

import locant
from families import WORDS, tiny
from locant.models import LanguageModel
from locant.types import Query

STEPS = 6


def credit_at(lm: LanguageModel, query: Query, module: torch.nn.Module, share: float) -> torch.Tensor:
    """A factor's value times the slope of P(answer), with the factor scaled down where the answer is predicted."""
    tokens = lm.tokens(query)
    seen: list[torch.Tensor] = []

    def scale(module: object, args: object, output: torch.Tensor) -> torch.Tensor:
        value = output[0, -1].detach()
        leaf = (value * share).requires_grad_(True)
        seen.extend((value, leaf))
        changed = output.detach().clone()
        changed[0, -1] = leaf
        return changed

    handle = module.register_forward_hook(scale)
    try:
        logits = lm.model(torch.tensor([tokens.prompt])).logits[0, -1]
    finally:
        handle.remove()
    value, leaf = seen
    (slope,) = torch.autograd.grad(logits.softmax(-1)[tokens.answers[0][0]], leaf)
    return value * slope


@pytest.mark.parametrize("factor", ["up_proj", "act_fn"])
def test_paths_of_the_up_projection_and_of_the_activated_gate_score_as_the_product_does(factor: str) -> None:
    lm = tiny("llama", torch.float64)
    expected = locant.attribute(lm, [WORDS.long], "dai", rule="midpoint", steps=STEPS).scores[0]
    for layer in range(lm.layers):
        module = getattr(lm.model.model.layers[layer].mlp, factor)
        found = sum(credit_at(lm, WORDS.long, module, (step + 0.5) / STEPS) for step in range(STEPS)) / STEPS
        # Llama's norms go down to float32
        assert torch.allclose(found, expected[layer].double(), rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 1e-3
