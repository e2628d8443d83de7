"""Where each architecture keeps what locant needs, as data.

To add a model type, write one entry: the dotted names below, and let the self-check at load judge them.
Names inside a block are relative to the block; the others are relative to the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from transformers import PretrainedConfig

from locant.errors import UnknownArchitecture
from locant.queries import Kind


def _one(config: PretrainedConfig) -> float:
    return 1.0


def _never(config: PretrainedConfig) -> bool:
    return False


@dataclass(frozen=True)
class Attention:
    """Where heads read the residual stream and where they write to it: what a graph of a model is made of.

    Attributes:
        norm: what stands between the residual stream and the projections.
        query, key, value: the projections; one name where one matrix holds all three.
        output: the projection whose input is all heads' results side by side.
        mlp_norm: what stands between the residual stream and the feed-forward layer; None where it reads what the
            heads read.
        interleaved: a matrix that holds all three has them by head (the first head's query, key and value, then the
            second's), not in three blocks.
        parallel: whether the feed-forward layer reads the residual stream as it is before its own layer's heads.
    """

    norm: str
    query: str
    key: str
    value: str
    output: str
    mlp_norm: str | None
    interleaved: bool = False
    parallel: Callable[[PretrainedConfig], bool] = _never


@dataclass(frozen=True)
class Architecture:
    """Names of modules, and the few constants that stand between them.

    Attributes:
        blocks: list of blocks, whose outputs are the residual stream.
        neurons: the down-projection in a block; its input is the neuron vector.
        gate: the projection in a block whose output goes into the activation function.
        activation: that activation function.
        readout: modules that turn the last residual into logits, in order; `unembedding` stands for the
            model's own output embeddings.
        up: the projection a gated activation is multiplied with; equal to `gate` where one matrix holds
            gate and up side by side; None where there is no gate.
        branch_norm: norm between the down-projection and the residual sum.
        sum_norm: norm after that sum (post-norm models).
        kind: causal (the next token answers), masked (the mask does), seq2seq (the decoder does).
        shares_prefix: the block takes any 4-D attention mask, so that rows can share one prefix.
        branch_scale: factor on what the block adds to the residual.
        hidden_scale: factor on the last residual, before the unembedding.
        logit_scale: factor on the logits.
        logit_cap: soft cap on the logits, or None.
        attention: where heads read and write; None where they do not add up to what a block adds to the residual.
    """

    blocks: str
    neurons: str
    gate: str
    activation: str
    readout: tuple[str, ...]
    up: str | None = None
    branch_norm: str | None = None
    sum_norm: str | None = None
    kind: Kind = "causal"
    shares_prefix: bool = True
    branch_scale: Callable[[PretrainedConfig], float] = _one
    hidden_scale: Callable[[PretrainedConfig], float] = _one
    logit_scale: Callable[[PretrainedConfig], float] = _one
    logit_cap: Callable[[PretrainedConfig], float | None] = lambda config: None
    attention: Attention | None = None


_SPLIT = Attention(
    norm="input_layernorm",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
)
_PARALLEL = replace(_SPLIT, mlp_norm=None, parallel=lambda config: True)


def _fused(attention: Attention, name: str) -> Attention:
    return replace(attention, query=name, key=name, value=name)


def _within(attention: Attention, module: str) -> Attention:
    """The same names, in an attention module that is called otherwise."""

    def moved(name: str) -> str:
        return f"{module}.{name.rpartition('.')[2]}"

    return replace(
        attention,
        query=moved(attention.query),
        key=moved(attention.key),
        value=moved(attention.value),
        output=moved(attention.output),
    )


GPT2 = Architecture(
    blocks="transformer.h",
    neurons="mlp.c_proj",
    gate="mlp.c_fc",
    activation="mlp.act",
    readout=("transformer.ln_f", "unembedding"),
    attention=_fused(replace(_SPLIT, norm="ln_1", output="attn.c_proj", mlp_norm="ln_2"), "attn.c_attn"),
)
GPT_NEOX = Architecture(
    blocks="gpt_neox.layers",
    neurons="mlp.dense_4h_to_h",
    gate="mlp.dense_h_to_4h",
    activation="mlp.act",
    readout=("gpt_neox.final_layer_norm", "unembedding"),
    attention=replace(
        _fused(_SPLIT, "attention.query_key_value"),
        output="attention.dense",
        interleaved=True,
        parallel=lambda config: bool(config.use_parallel_residual),
    ),
)
OPT = Architecture(
    blocks="model.decoder.layers",
    neurons="fc2",
    gate="fc1",
    activation="activation_fn",
    readout=("model.decoder.final_layer_norm", "unembedding"),
    attention=replace(_SPLIT, norm="self_attn_layer_norm", output="self_attn.out_proj", mlp_norm="final_layer_norm"),
)
OPT_POST_NORM = replace(
    OPT, sum_norm="final_layer_norm", readout=("model.decoder.project_out", "unembedding"), attention=None
)  # opt-350m
BLOOM = Architecture(
    blocks="transformer.h",
    neurons="mlp.dense_4h_to_h",
    gate="mlp.dense_h_to_4h",
    activation="mlp.gelu_impl",
    readout=("transformer.ln_f", "unembedding"),
    attention=replace(
        _fused(_SPLIT, "self_attention.query_key_value"), output="self_attention.dense", interleaved=True
    ),
)
LLAMA = Architecture(
    blocks="model.layers",
    neurons="mlp.down_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    activation="mlp.act_fn",
    readout=("model.norm", "unembedding"),
    attention=_SPLIT,
)
PHI = Architecture(
    blocks="model.layers",
    neurons="mlp.fc2",
    gate="mlp.fc1",
    activation="mlp.activation_fn",
    readout=("model.final_layernorm", "unembedding"),
    attention=replace(_PARALLEL, output="self_attn.dense"),
)
GEMMA2 = replace(
    LLAMA,
    branch_norm="post_feedforward_layernorm",
    attention=None,
    logit_cap=lambda config: config.final_logit_softcapping,
)
BERT = Architecture(
    blocks="bert.encoder.layer",
    neurons="output.dense",
    gate="intermediate.dense",
    activation="intermediate.intermediate_act_fn",
    readout=("cls",),
    sum_norm="output.LayerNorm",
    kind="masked",
)
ROBERTA = replace(BERT, blocks="roberta.encoder.layer", readout=("lm_head",))


def _t5_hidden_scale(config: PretrainedConfig) -> float:
    # transformers 5 says so in a field of its own; 4.57 ties it to the embeddings
    scaled = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
    return float(config.d_model**-0.5) if scaled else 1.0


T5 = Architecture(
    blocks="decoder.block",
    neurons="layer.2.DenseReluDense.wo",
    gate="layer.2.DenseReluDense.wi",
    activation="layer.2.DenseReluDense.act",
    readout=("decoder.final_layer_norm", "unembedding"),
    kind="seq2seq",
    hidden_scale=_t5_hidden_scale,
)


def _gated_t5(plain: Architecture) -> Architecture:
    return replace(plain, gate="layer.2.DenseReluDense.wi_0", up="layer.2.DenseReluDense.wi_1")


MT5 = replace(T5, hidden_scale=_one)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": GPT2,
    "gptj": replace(
        GPT2,
        neurons="mlp.fc_out",
        gate="mlp.fc_in",
        attention=_within(replace(_PARALLEL, norm="ln_1", output="out_proj"), "attn"),
    ),
    # Its local attention builds a mask from key and query counts, which rows beside a prefix would upset
    "gpt_neo": replace(
        GPT2,
        shares_prefix=False,
        attention=_within(replace(_SPLIT, norm="ln_1", output="out_proj", mlp_norm="ln_2"), "attn.attention"),
    ),
    "gpt_neox": GPT_NEOX,
    "opt": OPT,
    "bloom": BLOOM,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA2,
    "phi": PHI,
    "phi3": replace(
        LLAMA,
        gate="mlp.gate_up_proj",
        up="mlp.gate_up_proj",
        activation="mlp.activation_fn",
        attention=_fused(_SPLIT, "self_attn.qkv_proj"),
    ),
    "stablelm": LLAMA,
    "olmo2": replace(LLAMA, branch_norm="post_feedforward_layernorm", attention=None),
    "granite": replace(
        LLAMA,
        branch_scale=lambda config: config.residual_multiplier,
        logit_scale=lambda config: 1 / config.logits_scaling,
    ),
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "t5": T5,
    "mt5": MT5,
}


def architecture_of(config: PretrainedConfig) -> Architecture:
    """The entry for a model's configuration.

    Raises:
        UnknownArchitecture: there is no entry for its model type.
    """
    name = config.model_type
    if name not in ARCHITECTURES:
        raise UnknownArchitecture(
            f"no entry for model type {name!r}.\n  Known: {', '.join(sorted(ARCHITECTURES))}\n"
            "  A model whose blocks have no single down-projection (a mixture of experts) has no such neurons;\n"
            "  for any other, add an entry to models/architectures.py: see LLAMA."
        )
    found = ARCHITECTURES[name]
    if name == "opt" and not config.do_layer_norm_before:
        return OPT_POST_NORM
    if name == "stablelm" and config.use_parallel_residual:
        return replace(found, attention=_PARALLEL)
    if name == "bloom" and config.apply_residual_connection_post_layernorm:
        return replace(found, attention=None)
    if name in ("t5", "mt5") and config.is_gated_act:
        return _gated_t5(found)
    return found
