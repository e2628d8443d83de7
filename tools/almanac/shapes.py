"""The three architectures, and their files as from_pretrained of transformers 4 and 5 alike can read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from locant.files import write_text
from tools.almanac.tokenizer import BOS, BOS_ID, CONTEXT, EOS, EOS_ID, MASK, PAD, PAD_ID, start_texts


@dataclass(frozen=True)
class Size:
    layers: int
    width: int
    neurons: int
    heads: int


@dataclass(frozen=True)
class Shape:
    """An architecture: how its model is made, and the keys of its config that the file needs.

    Attributes:
        body: the part of the model that gives hidden states.
        head: the part that turns them into logits.
    """

    make: Callable[[Size, int], PreTrainedModel]
    size: Size
    masked: bool
    keys: tuple[str, ...]
    body: Callable[[PreTrainedModel], torch.nn.Module]
    head: Callable[[PreTrainedModel], torch.nn.Module]


def _llama(size: Size, vocabulary: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            **_sizes(size, vocabulary),
            num_key_value_heads=size.heads // 2,
            tie_word_embeddings=True,
            **_common(),
        )
    )


def _gpt2(size: Size, vocabulary: int) -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=CONTEXT,
            n_embd=size.width,
            n_inner=size.neurons,
            n_layer=size.layers,
            n_head=size.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **_common(),
        )
    )


def _bert(size: Size, vocabulary: int) -> PreTrainedModel:
    return BertForMaskedLM(
        BertConfig(
            **_sizes(size, vocabulary),
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **_common(),
        )
    )


def _sizes(size: Size, vocabulary: int) -> dict[str, int]:
    """Sizes under the names that most configs of transformers have, GPT-2's excepted."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": size.width,
        "intermediate_size": size.neurons,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "max_position_embeddings": CONTEXT,
    }


def _common() -> dict[str, int | float | str]:
    return {"initializer_range": 0.04, "attn_implementation": "eager", **_special()}


def _special() -> dict[str, int]:
    return {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}


SHAPES = {
    "almanac": Shape(
        make=_llama,
        size=Size(layers=6, width=192, neurons=640, heads=6),
        masked=False,
        keys=(
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps",
        ),
        body=lambda model: model.model,
        head=lambda model: model.lm_head,
    ),
    "almanac-gpt2": Shape(
        make=_gpt2,
        size=Size(layers=6, width=192, neurons=640, heads=6),
        masked=False,
        keys=("n_positions", "n_embd", "n_inner", "n_layer", "n_head", "activation_function", "layer_norm_epsilon"),
        body=lambda model: model.transformer,
        head=lambda model: model.lm_head,
    ),
    "almanac-bert": Shape(
        make=_bert,
        size=Size(layers=6, width=192, neurons=640, heads=6),
        masked=True,
        keys=(
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
            "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
        ),
        body=lambda model: model.bert,
        head=lambda model: model.cls,
    ),
}  # fmt: skip


def write_model(model: PreTrainedModel, shape: Shape, tokenizer: Tokenizer, place: Path) -> None:
    """Write weights in float16, config and tokenizer; special tokens by names that both releases know."""
    place.mkdir(parents=True)
    tied = _tied(model)
    # Copies, because save_file refuses tensors that share memory.
    weights = {
        name: weight.detach().to(torch.float16).clone()
        for name, weight in model.state_dict().items()
        if name not in tied and weight.is_floating_point()
    }
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    write_json(place / "config.json", config_of(model.config, shape, type(model).__name__))
    if not shape.masked:
        write_json(place / "generation_config.json", _special())
    start_texts(tokenizer, shape.masked).save(str(place / "tokenizer.json"))
    ends = {"cls_token": BOS, "sep_token": EOS} if shape.masked else {"bos_token": BOS, "eos_token": EOS}
    write_json(
        place / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **ends,
            "pad_token": PAD,
            **({"mask_token": MASK} if shape.masked else {}),
            "clean_up_tokenization_spaces": False,
            # Without this line transformers 4 hands out token_type_ids, which Llama refuses.
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": CONTEXT,
        },
    )


def config_of(config: PretrainedConfig, shape: Shape, architecture: str) -> dict[str, object]:
    """Only what the architecture needs: a release's own defaults do not belong into the file."""
    found: dict[str, object] = {"architectures": [architecture], "model_type": config.model_type}
    found |= {"vocab_size": config.vocab_size} | {key: getattr(config, key) for key in shape.keys}
    if config.model_type == "llama":
        found["rope_theta"] = 10000.0
    return found | {"tie_word_embeddings": config.tie_word_embeddings, "torch_dtype": "float16"} | _special()


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _tied(model: PreTrainedModel) -> list[str]:
    """Names of the weights that repeat another one."""
    seen: dict[int, str] = {}
    repeated = []
    for name, weight in model.state_dict().items():
        if weight.data_ptr() in seen:
            repeated.append(name)
        seen.setdefault(weight.data_ptr(), name)
    return repeated
