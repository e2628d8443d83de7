"""Whole weights are written to as often as one likes; what they held at first is kept, and comes back."""

from __future__ import annotations

import pytest
import torch

from families import tiny
from locant.errors import LocantError
from locant.models.rewriting import held, names_of, rewriting


def test_what_a_parameter_held_before_the_first_of_several_writes_is_kept() -> None:
    lm = tiny("gpt2")
    names = names_of(lm.model, [lm.downs[1]])
    first = held(lm.model, names)
    with rewriting(lm.model) as weights:
        for _ in range(2):
            weights.write({names[0]: held(lm.model, names)[names[0]] + 1})
        assert list(weights.before) == names[:1]
        assert torch.equal(weights.before[names[0]], first[names[0]])
        assert torch.equal(held(lm.model, names)[names[0]], first[names[0]] + 1 + 1)
    assert all(torch.equal(held(lm.model, [name])[name], first[name]) for name in names)


def test_nothing_is_written_when_one_of_several_values_does_not_fit() -> None:
    lm = tiny("gpt2")
    weight, bias = names_of(lm.model, [lm.downs[1]])
    first = held(lm.model, [weight])[weight]
    with rewriting(lm.model) as weights:
        with pytest.raises(LocantError, match="shape"):
            weights.write({weight: first + 1, bias: torch.zeros(1)})
        assert weights.before == {} and torch.equal(held(lm.model, [weight])[weight], first)


def test_the_names_of_projections_are_of_their_weights_and_biases_in_order() -> None:
    lm = tiny("gpt2")
    own = [f"transformer.h.{layer}.mlp.c_proj.{what}" for layer in (2, 0) for what in ("weight", "bias")]
    assert names_of(lm.model, [lm.downs[2], lm.downs[0]]) == own
