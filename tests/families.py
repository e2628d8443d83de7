"""One random tiny model per architecture, with a tokenizer of numbered words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

import locant
from locant.models import LanguageModel

VOCABULARY = 97
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "n_inner": 48}
GROUPED = SIZES | {"num_key_value_heads": 2, "pad_token_id": 0}
GEMMA = GROUPED | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
OPT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
}

FAMILIES: dict[str, Callable[[], hf.PretrainedConfig]] = {
    "gpt2": lambda: hf.GPT2Config(**GPT),
    "gptj": lambda: hf.GPTJConfig(**GPT, rotary_dim=4),
    "gpt_neo": lambda: hf.GPTNeoConfig(
        **{name: value for name, value in SIZES.items() if not name.startswith("num_")},
        num_layers=3,
        num_heads=4,
        window_size=4,
        attention_types=[[["global", "local", "global"], 1]],
    ),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**SIZES),
    "opt": lambda: hf.OPTConfig(**OPT, word_embed_proj_dim=32),
    "opt post-norm": lambda: hf.OPTConfig(**OPT, word_embed_proj_dim=16, do_layer_norm_before=False),
    "bloom": lambda: hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4),
    "llama": lambda: hf.LlamaConfig(**GROUPED),
    "mistral": lambda: hf.MistralConfig(**GROUPED, head_dim=8, sliding_window=4),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen3": lambda: hf.Qwen3Config(**GROUPED, head_dim=8),
    "gemma": lambda: hf.GemmaConfig(**GROUPED, head_dim=8),
    "gemma2": lambda: hf.Gemma2Config(**GEMMA),
    "gemma3": lambda: hf.Gemma3TextConfig(
        **GEMMA, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    ),
    "phi": lambda: hf.PhiConfig(**SIZES),
    "phi3": lambda: hf.Phi3Config(**GROUPED),
    "stablelm": lambda: hf.StableLmConfig(**GROUPED),
    "stablelm parallel": lambda: hf.StableLmConfig(**GROUPED, use_parallel_residual=True),
    "olmo2": lambda: hf.Olmo2Config(**GROUPED),
    "granite": lambda: hf.GraniteConfig(
        **GROUPED,
        residual_multiplier=0.3,
        logits_scaling=4.0,
        embedding_multiplier=2.0,
        attention_multiplier=0.2,
    ),
    "bert": lambda: hf.BertConfig(**SIZES),
    "roberta": lambda: hf.RobertaConfig(**SIZES),
    "xlm-roberta": lambda: hf.XLMRobertaConfig(**SIZES),
    "t5": lambda: hf.T5Config(**T5),
    "t5 gated": lambda: hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": lambda: hf.MT5Config(**T5),
}

MASKED = {"bert", "roberta", "xlm-roberta"}
SEQ2SEQ = {"t5", "t5 gated", "mt5"}


def tokenizer() -> hf.PreTrainedTokenizerFast:
    """Words w0..w89 are their own tokens."""
    special = {"<unk>": 90, "<pad>": 91, "<mask>": 92, "</s>": 93, ".": 94}
    words = {f"w{number}": number for number in range(90)}
    raw = Tokenizer(models.WordLevel(words | special, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", eos_token="</s>"
    )


@cache
def tiny(family: str, dtype: torch.dtype = torch.float32, kernel: str | None = None) -> LanguageModel:
    """A random tiny model with weights large enough that every neuron has an effect; made once, shared."""
    config = FAMILIES[family]()
    auto = hf.AutoModelForCausalLM
    auto = hf.AutoModelForMaskedLM if family in MASKED else auto
    auto = hf.AutoModelForSeq2SeqLM if family in SEQ2SEQ else auto
    model = auto.from_config(config, **({"attn_implementation": kernel} if kernel else {}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            parameter.copy_(parameter + noise if parameter.ndim == 1 else noise)
    return locant.load(model.to(dtype).eval(), tokenizer=tokenizer())


class WORDS:
    """Queries over numbered words, of several lengths, one with an answer of two tokens."""

    short = locant.query("w1 w2 w3", "w4", uid="short")
    long = locant.query("w5 w6 w7 w8 w9 w10 w11 w12 w13", "w14", uid="long")
    double = locant.query("w20 w21 w22 w23 w24", "w25 w26", uid="double")
    all = (short, long, double)
