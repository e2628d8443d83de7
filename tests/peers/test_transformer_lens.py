"""Edge attribution patching agrees with the same computed through TransformerLens' hooks, where that is installed.

    pip install transformer_lens && pytest -m slow tests/peers

It is no dependency: the model is a random tiny GPT-2, given to it without processing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import locant
from families import tiny
from locant.attributions.edges import Pair, PairSites, eap, lay_out_pairs
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.models.graph_of import graph_of

pytestmark = pytest.mark.slow
lens = pytest.importorskip("transformer_lens", exc_type=ImportError)

QUERIES = (("w1 w2 w3 w9", "w5"), ("w1 w7 w3 w4", "w8"), ("w21 w2 w13 w14", "w30"))


def hooked(lm: LanguageModel) -> torch.nn.Module:
    """The same model in TransformerLens, with every edge's two ends at a hook."""
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = lens.HookedTransformerConfig(
        n_layers=3,
        d_model=32,
        d_head=8,
        n_heads=4,
        d_mlp=48,
        n_ctx=64,
        d_vocab=97,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=lm.config.layer_norm_epsilon,
        use_attn_result=True,
        use_split_qkv_input=True,
        use_hook_mlp_in=True,
        device="cpu",
    )
    model = lens.HookedTransformer(config)
    model.load_state_dict(convert_gpt2_weights(lm.model, config), strict=False)
    return model


def senders(values: dict[str, Tensor]) -> Tensor:
    """What every sender writes [sender query position hidden]."""
    written = [values["blocks.0.hook_resid_pre"]]
    for layer in range(3):
        written += values[f"blocks.{layer}.attn.hook_result"].unbind(2)
        written.append(values[f"blocks.{layer}.hook_mlp_out"])
    return torch.stack(written)


def receivers(values: dict[str, Tensor]) -> Tensor:
    """Of what every receiver reads [receiver query position hidden]."""
    read = []
    for layer in range(3):
        for part in "qkv":
            read += values[f"blocks.{layer}.hook_{part}_input"].unbind(2)
        read.append(values[f"blocks.{layer}.hook_mlp_in"])
    return torch.stack([*read, values["blocks.2.hook_resid_post"]])


def through_hooks(model: torch.nn.Module, graph: Graph, batch: PairSites) -> Tensor:
    """What senders write less than in the counterfactual, times the gradient by what receivers read."""
    values: dict[str, Tensor] = {}
    slopes: dict[str, Tensor] = {}

    def watched(name: str) -> bool:
        ends = ("resid_pre", "result", "mlp_out", "_input", "mlp_in", "resid_post")
        return name.endswith(ends)

    def keep(into: dict[str, Tensor]) -> Callable[..., None]:
        return lambda value, hook: into.__setitem__(hook.name, value.detach())

    with model.hooks(fwd_hooks=[(watched, keep(values))]), torch.no_grad():
        model(batch.other.tokens)
    ablated = senders(values)
    with model.hooks(fwd_hooks=[(watched, keep(values))], bwd_hooks=[(watched, keep(slopes))]):
        logits = model(batch.clean.tokens)[:, -1]
        at = torch.arange(len(logits))
        (logits[at, batch.clean.target] - logits[at, batch.foil]).sum().backward()
    scores = torch.einsum("sqpd,rqpd->sr", senders(values) - ablated, receivers(slopes))
    return (scores * graph.edges).double() / len(logits)


def test_scores_are_those_computed_through_transformer_lens_hooks() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    asked = [locant.query(prompt, answer, uid=prompt) for prompt, answer in QUERIES]
    pairs = [Pair(asked[0], asked[1]), Pair(asked[1], asked[2]), Pair(asked[2], asked[0])]
    batch = lay_out_pairs(lm, pairs)
    model = hooked(lm)
    assert torch.allclose(model(batch.clean.tokens)[:, -1], lm.site_logits(batch.clean), atol=1e-4)
    expected = through_hooks(model, graph, batch)
    found = eap(lm, graph, pairs).values
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
