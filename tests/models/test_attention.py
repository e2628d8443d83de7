"""Attention is seen and changed as the model itself computes it, and afterwards nothing remembers that it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import locant
from attended import ONE_STACK, attended
from families import tiny
from locant.models import LanguageModel, hooks
from locant.models.attention import (
    ChangeAttention,
    changing_attention,
    has_changed_attention,
    maskable_attention,
    watching_attention,
)

KINDS = ["llama", "gpt2", "mistral", "bert", "bloom", "gptj", "gpt_neo"]
IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 0, 0, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}


class Stop(Exception):
    """Raised by tests in the middle of something."""


def same(layer: int, weights: Tensor, first: int) -> Tensor:
    return weights


def doubled(layer: int, weights: Tensor, first: int) -> Tensor:
    return weights * 2


def stop(*args: object) -> Tensor:
    raise Stop


@torch.no_grad()
def logits(lm: LanguageModel) -> Tensor:
    return lm.model(**BATCH).logits[BATCH["attention_mask"].bool()]


def traces(lm: LanguageModel) -> dict[str, object]:
    """What a context might leave behind."""
    return {
        "kernels": [module.config._attn_implementation for module in lm.model.modules() if hasattr(module, "config")],
        "attention": ALL_ATTENTION_FUNCTIONS.valid_keys(),
        "masks": ALL_MASK_ATTENTION_FUNCTIONS.valid_keys(),
        "hooks": [name for name, module in lm.model.named_modules() if module._forward_hooks],
        "output": logits(lm).numpy().tobytes(),
    }


@pytest.mark.parametrize("name", ONE_STACK)
@pytest.mark.parametrize("change", [same, lambda layer, weights, first: weights * 1.0], ids=["kept", "times one"])
def test_attention_that_stays_what_it_is_gives_the_models_own_eager_output_bit_for_bit(
    name: str, change: ChangeAttention
) -> None:
    lm = attended(name)
    with changing_attention(lm.model, lm.blocks, change):
        found = logits(lm)
    assert torch.equal(found, logits(tiny(name, kernel="eager")))


@pytest.mark.parametrize("name", ONE_STACK)
@torch.no_grad()
def test_every_layer_shows_the_weights_that_the_eager_model_returns(name: str) -> None:
    lm, eager = attended(name), tiny(name, kernel="eager")
    seen: dict[int, Tensor] = {}
    with watching_attention(lm.model, lm.blocks, seen.__setitem__):
        lm.model(**BATCH)
    expected = eager.model(**BATCH, output_attentions=True).attentions
    assert len(expected) == lm.layers
    assert all(torch.equal(seen[layer], weights) for layer, weights in enumerate(expected))


@pytest.mark.parametrize("name", ONE_STACK)
@torch.no_grad()
def test_a_change_reaches_its_own_layer_and_those_above_it(name: str) -> None:
    lm = attended(name)

    def residuals(change: ChangeAttention) -> dict[int, Tensor]:
        kept: dict[int, Tensor] = {}
        changing = changing_attention(lm.model, lm.blocks, change)
        with changing, hooks.watching_outputs(lm.blocks, kept.__setitem__):
            lm.model(**BATCH)
        return kept

    before = residuals(same)
    after = residuals(lambda layer, weights, first: weights * 2 if layer == 1 else weights)
    assert [torch.equal(before[layer], after[layer]) for layer in range(3)] == [True, False, False]


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_changes_nest_and_what_is_watched_inside_is_changed_already(name: str) -> None:
    lm = attended(name)
    outer: dict[int, Tensor] = {}
    inner: dict[int, Tensor] = {}
    with (
        watching_attention(lm.model, lm.blocks, outer.__setitem__),
        changing_attention(lm.model, lm.blocks, doubled),
        changing_attention(lm.model, lm.blocks, doubled),
        watching_attention(lm.model, lm.blocks, inner.__setitem__),
    ):
        twice = logits(lm)
    with changing_attention(lm.model, lm.blocks, lambda layer, weights, first: weights * 4):
        assert torch.equal(twice, logits(lm))
    assert not torch.equal(twice, logits(lm))
    assert torch.equal(inner[0], 4 * outer[0])


@pytest.mark.parametrize("name", ONE_STACK)
def test_nothing_is_left_behind_after_any_exit(name: str) -> None:
    lm = attended(name)
    before = traces(lm)
    with changing_attention(lm.model, lm.blocks, doubled):
        assert has_changed_attention(lm.model)
        assert traces(lm) != before
        with watching_attention(lm.model, lm.blocks, lambda layer, weights: None):
            logits(lm)
    assert traces(lm) == before
    with pytest.raises(Stop), changing_attention(lm.model, lm.blocks, doubled):
        raise Stop
    assert traces(lm) == before
    with pytest.raises(Stop), changing_attention(lm.model, lm.blocks, stop):
        logits(lm)
    assert traces(lm) == before
    assert not has_changed_attention(lm.model)


def test_two_models_at_once_each_keep_their_own_change() -> None:
    one, other = attended("llama"), attended("mistral")
    alone = logits(other)
    with changing_attention(one.model, one.blocks, doubled):
        changed = logits(one)
        assert torch.equal(logits(other), alone)
        with changing_attention(other.model, other.blocks, same):
            assert torch.equal(logits(one), changed)


@pytest.mark.parametrize("kernel", ["sdpa", "flex_attention"])
def test_whatever_kernel_was_in_use_is_in_use_again(kernel: str) -> None:
    lm = tiny("mistral", kernel=kernel)
    with changing_attention(lm.model, lm.blocks, doubled), maskable_attention(lm.model):
        assert has_changed_attention(lm.model)
    assert lm.model.config._attn_implementation == kernel


def test_a_model_with_an_encoder_is_refused() -> None:
    lm = tiny("t5")
    before = lm.model.config._attn_implementation
    with pytest.raises(locant.LocantError) as caught, changing_attention(lm.model, lm.blocks, same):
        pytest.fail("nothing may run under it")
    assert str(caught.value) == "a t5 has an encoder; attention is changed in models without one"
    assert lm.model.config._attn_implementation == before


def with_another_kernel(lm: LanguageModel) -> list[nn.Module]:
    lm.model.config._attn_implementation = "flash_attention_2"
    return lm.blocks


def without_a_known_module(lm: LanguageModel) -> list[nn.Module]:
    return [nn.Linear(2, 2)]


REFUSED = [
    (with_another_kernel, "(kernel 'flash_attention_2'); load it with attn_implementation='eager'"),
    (without_a_known_module, "block 0 has 0 modules named attn_dropout, attention_dropout, self.dropout"),
]


@pytest.mark.parametrize(("spoil", "said"), REFUSED, ids=["kernel", "module"])
def test_a_model_whose_weights_cannot_be_reached_is_refused(
    spoil: Callable[[LanguageModel], list[nn.Module]], said: str
) -> None:
    lm = attended("gptj")
    lm = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, lm.architecture, lm.name)
    blocks = spoil(lm)
    with pytest.raises(locant.LocantError) as caught, changing_attention(lm.model, blocks, same):
        pytest.fail("nothing may run under it")
    assert said in str(caught.value)
    assert not has_changed_attention(lm.model)
