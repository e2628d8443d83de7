"""A model's graph is held against the model, and models that have none are told why."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

import locant
from families import FAMILIES, tiny, tokenizer
from locant.errors import LocantError, SelfCheckFailed
from locant.models import Graph, LanguageModel, graph_of
from plain_circuits import PARALLEL, SERVED


def with_attention(family: str, **changes: object) -> LanguageModel:
    """A tiny model whose entry says something else of its heads."""
    lm = copy.copy(tiny(family))
    assert lm.architecture.attention is not None
    lm.architecture = replace(lm.architecture, attention=replace(lm.architecture.attention, **changes))
    return lm


@pytest.mark.parametrize("family", sorted(SERVED))
def test_a_graph_has_the_sizes_of_its_model(family: str) -> None:
    groups = getattr(tiny(family).config, "num_key_value_heads", None) or 4
    assert graph_of(tiny(family)) == Graph.of_sizes(3, 4, groups, parallel=family in PARALLEL)
    assert graph_of(tiny(family), split=False).groups == 4


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(SERVED)))
def test_models_whose_heads_do_not_add_up_are_refused_with_the_reason(family: str) -> None:
    post = {"gemma2", "gemma3", "olmo2", "opt post-norm"}
    with pytest.raises(LocantError, match="passes a norm on its way" if family in post else "from left to right"):
        graph_of(tiny(family))


def test_a_bloom_that_adds_its_branches_to_the_normed_stream_is_refused() -> None:
    model = copy.deepcopy(tiny("bloom").model)
    model.config.apply_residual_connection_post_layernorm = True
    for block in model.transformer.h:
        block.apply_residual_connection_post_layernorm = True
    with pytest.raises(LocantError, match="heads do not add up"):
        graph_of(locant.load(model, tokenizer=tokenizer()))


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("gpt2", {"interleaved": True}, "q of layer 0's last head"),
        ("gpt_neox", {"interleaved": False}, "k of layer 0's last head"),
        ("opt", {"query": "self_attn.k_proj", "key": "self_attn.q_proj"}, "q of layer 0's last head"),
        ("opt", {"key": "self_attn.v_proj", "value": "self_attn.k_proj"}, "v of layer 0's last head"),
        ("llama", {"norm": "post_attention_layernorm"}, "layer 0's q"),
        ("gpt2", {"mlp_norm": "ln_1"}, "before layer 0's MLP"),
        ("gpt2", {"parallel": lambda config: True}, "before layer 0's MLP"),
        ("llama", {"output": "self_attn.q_proj"}, "layer"),
        ("llama", {"output": "self_attn.no_proj"}, "does not fit"),
    ],
)
def test_an_entry_that_does_not_describe_the_heads_is_found_out(
    family: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(SelfCheckFailed, match=said):
        graph_of(with_attention(family, **changes))


def test_half_precision_and_unscaled_models_pass_the_check() -> None:
    assert graph_of(tiny("granite", torch.bfloat16)) == graph_of(tiny("granite"))
