"""Scores equal Captum's layer integrated gradients, an implementation of others, at the same rule."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

import locant
import plain
from families import WORDS, tiny
from locant.models import LanguageModel

RULES = {
    "riemann-left": "riemann_left",
    "riemann-right": "riemann_right",
    "midpoint": "riemann_middle",
    "gauss-legendre": "gausslegendre",
}


class AtAnswer(nn.Module):
    """A down-projection whose neurons at one position pass through a module of their own, `seen`.

    They are multiplied with `gate` first: Captum's baseline is what the layer gives at the baseline of the
    model's inputs, so with the gate as the input, 1 gives the neurons and 0 the zero baseline.
    """

    def __init__(self, down: nn.Module, position: int) -> None:
        super().__init__()
        self.down = down
        self.position = position
        self.seen = nn.Identity()
        self.gate: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(values)
        at = self.position
        mine = self.seen(values[:, at] * self.gate)
        return self.down(torch.cat([values[:, :at], mine[:, None], values[:, at + 1 :]], dim=1))


@contextmanager
def float64_throughout() -> Iterator[None]:
    """Captum keeps its points and weights in the default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with plain.DoubleThroughout():
            yield
    finally:
        torch.set_default_dtype(before)


def captum_scores(lm: LanguageModel, layer: int, method: str, steps: int) -> Tensor:
    ((inputs, position, token),) = plain.read("", lm, WORDS.long)
    model = copy.deepcopy(lm.model)
    name = f"{lm.architecture.blocks}.{layer}.{lm.architecture.neurons}"
    part = AtAnswer(model.get_submodule(name), position)
    model.set_submodule(name, part)

    def probability(gate: Tensor, ids: Tensor) -> Tensor:
        part.gate = gate
        return model(input_ids=ids.expand(len(gate), -1)).logits[:, position].softmax(dim=-1)[:, token]

    return LayerIntegratedGradients(probability, part.seen).attribute(
        torch.ones(1, 1),
        baselines=torch.zeros(1, 1),
        additional_forward_args=(inputs["input_ids"],),
        method=method,
        n_steps=steps,
    )[0]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [3, 20])
def test_scores_equal_captums_layer_integrated_gradients(name: str, rule: str, steps: int) -> None:
    lm = tiny(name, torch.float64)
    with float64_throughout():
        found = locant.attribute(lm, [WORDS.long], rule=rule, steps=steps).scores[0]
        expected = torch.stack([captum_scores(lm, layer, RULES[rule], steps) for layer in range(lm.layers)])
    assert float((found - expected).abs().max()) < 1e-8 * float(expected.abs().max())
