"""Text that a model makes up: continuations drawn at random, from an explicit seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from locant.errors import LocantError
from locant.models import hooks
from locant.models.language_model import LanguageModel
from locant.models.sites import pad_left


def sample(
    lm: LanguageModel,
    prompts: Sequence[str],
    length: int,
    *,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    batch: int = 256,
) -> list[str]:
    """Draw one continuation of each prompt; the same seed gives the same again, and no other randomness is touched.

        sample(lm, ["The capital of France is"] * 3, 10, seed=0)

    Args:
        prompts: of any lengths; an empty one begins a text.
        length: tokens of a continuation; fewer where the model ends its text.
        temperature: of the softmax.
        top_k: draw from the most probable only; 0 for all.
        batch: prompts in one pass. Other batches draw other texts.

    Raises:
        LocantError: the model is not causal, or has no token to begin a text with.
        BadQuery: a prompt is too long.
    """
    drawn = sample_tokens(lm, prompts, length, seed=seed, temperature=temperature, top_k=top_k, batch=batch)
    return [_text_after(lm, start, whole) for start, whole in drawn]


def sample_tokens(
    lm: LanguageModel,
    prompts: Sequence[str],
    length: int,
    *,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    batch: int = 256,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """As `sample`, in tokens: of each prompt its own, and all up to the end of its continuation."""
    if lm.architecture.kind != "causal":
        raise LocantError(f"{lm.name} is a {lm.architecture.kind} model: only causal models continue a text")
    starts = [lm.prompt_tokens(prompt).prompt if prompt else _beginning(lm) for prompt in prompts]
    longest = max(map(len, starts), default=0)
    if longest + length > lm.context:
        raise LocantError(f"a prompt of {longest} tokens and {length} more pass the model's context of {lm.context}")
    drawn: list[tuple[int, ...]] = []
    devices = {one.device for one in lm.model.parameters() if one.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), hooks.at_rest(lm.model), torch.no_grad():
        torch.manual_seed(seed)
        for first in range(0, len(starts), batch):
            drawn += _continue(lm, starts[first : first + batch], length, temperature, top_k)
    return list(zip(starts, drawn, strict=True))


def _continue(
    lm: LanguageModel, starts: Sequence[tuple[int, ...]], length: int, temperature: float, top_k: int
) -> list[tuple[int, ...]]:
    tokens, mask = pad_left(starts, lm.device)
    end = lm.tokenizer.eos_token_id
    out: Int[Tensor, "prompt token"] = lm.model.generate(
        tokens,
        attention_mask=mask,
        max_new_tokens=length,
        do_sample=True,
        temperature=temperature,
        top_k=top_k,
        # A model's own configuration may cut the distribution
        top_p=1.0,
        repetition_penalty=1.0,
        use_cache=True,
        eos_token_id=end,
        pad_token_id=end or 0,
    )
    new = [tuple(row) for row in out[:, tokens.shape[1] :].tolist()]
    return [start + (row[: row.index(end)] if end in row else row) for start, row in zip(starts, new, strict=True)]


def _beginning(lm: LanguageModel) -> tuple[int, ...]:
    """The token that begins a text; where there is none, the one that ended the text before."""
    own = lm.tokenizer
    found = own.bos_token_id if own.bos_token_id is not None else own.eos_token_id
    if found is None:
        raise LocantError(f"the tokenizer of {lm.name} has no token to begin a text with: give prompts")
    return (found,)


def _text_after(lm: LanguageModel, start: tuple[int, ...], whole: tuple[int, ...]) -> str:
    """The text that follows a start. Decoded alone, some tokenizers' words would lose the space before them."""
    before, text = (str(lm.tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in (start, whole))
    if text.startswith(before):
        return text[len(before) :]
    return str(lm.tokenizer.decode(list(whole[len(start) :]), skip_special_tokens=True))
