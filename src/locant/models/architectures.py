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


GPT2 = Architecture(
    blocks="transformer.h",
    neurons="mlp.c_proj",
    gate="mlp.c_fc",
    activation="mlp.act",
    readout=("transformer.ln_f", "unembedding"),
)
GPT_NEOX = Architecture(
    blocks="gpt_neox.layers",
    neurons="mlp.dense_4h_to_h",
    gate="mlp.dense_h_to_4h",
    activation="mlp.act",
    readout=("gpt_neox.final_layer_norm", "unembedding"),
)
OPT = Architecture(
    blocks="model.decoder.layers",
    neurons="fc2",
    gate="fc1",
    activation="activation_fn",
    readout=("model.decoder.final_layer_norm", "unembedding"),
)
OPT_POST_NORM = replace(
    OPT, sum_norm="final_layer_norm", readout=("model.decoder.project_out", "unembedding")
)  # opt-350m
BLOOM = Architecture(
    blocks="transformer.h",
    neurons="mlp.dense_4h_to_h",
    gate="mlp.dense_h_to_4h",
    activation="mlp.gelu_impl",
    readout=("transformer.ln_f", "unembedding"),
)
LLAMA = Architecture(
    blocks="model.layers",
    neurons="mlp.down_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    activation="mlp.act_fn",
    readout=("model.norm", "unembedding"),
)
PHI = Architecture(
    blocks="model.layers",
    neurons="mlp.fc2",
    gate="mlp.fc1",
    activation="mlp.activation_fn",
    readout=("model.final_layernorm", "unembedding"),
)
GEMMA2 = replace(
    LLAMA,
    branch_norm="post_feedforward_layernorm",
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
    "gptj": replace(GPT2, neurons="mlp.fc_out", gate="mlp.fc_in"),
    # Its local attention builds a mask from key and query counts, which rows beside a prefix would upset
    "gpt_neo": replace(GPT2, shares_prefix=False),
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
    "phi3": replace(LLAMA, gate="mlp.gate_up_proj", up="mlp.gate_up_proj", activation="mlp.activation_fn"),
    "stablelm": LLAMA,
    "olmo2": replace(LLAMA, branch_norm="post_feedforward_layernorm"),
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
    if name in ("t5", "mt5") and config.is_gated_act:
        return _gated_t5(found)
    return found
