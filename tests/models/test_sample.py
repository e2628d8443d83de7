"""Sampled text: the same from the same seed, and nothing else touched."""

from __future__ import annotations

import pytest
import torch

from families import tiny
from locant.errors import LocantError
from locant.models import LanguageModel, sample
from locant.models.sample import sample_tokens

PROMPTS = ["The capital of France is", "Question: what is the capital of Italy? Answer:", "Peru"]


def test_one_seed_draws_the_same_twice_and_another_draws_otherwise(almanac_lm: LanguageModel) -> None:
    drawn = sample(almanac_lm, PROMPTS, 8, seed=1)
    assert sample(almanac_lm, PROMPTS, 8, seed=1) == drawn
    assert sample(almanac_lm, PROMPTS, 8, seed=2) != drawn


def test_the_randomness_of_others_is_left_as_it_was(almanac_lm: LanguageModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    sample(almanac_lm, PROMPTS, 4, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_drawing_from_one_token_is_greedy_whatever_stands_beside_a_prompt(almanac_lm: LanguageModel) -> None:
    drawn = sample(almanac_lm, PROMPTS, 6, seed=0, top_k=1)
    assert drawn == [almanac_lm.generate(prompt, 6) for prompt in PROMPTS]


def test_the_batch_does_not_change_what_is_certain(almanac_lm: LanguageModel) -> None:
    assert sample(almanac_lm, PROMPTS, 6, seed=0, top_k=1, batch=2) == sample(almanac_lm, PROMPTS, 6, seed=0, top_k=1)


def test_an_empty_prompt_begins_a_text(almanac_lm: LanguageModel) -> None:
    ((start, whole),) = sample_tokens(almanac_lm, [""], 5, seed=0)
    assert start == (almanac_lm.tokenizer.bos_token_id,) and whole[:1] == start and len(whole) == 6


def test_a_low_temperature_draws_what_is_most_probable(almanac_lm: LanguageModel) -> None:
    assert sample(almanac_lm, PROMPTS, 4, seed=0, temperature=1e-4) == sample(almanac_lm, PROMPTS, 4, seed=0, top_k=1)


def test_text_ends_where_the_model_ends_it() -> None:
    lm = tiny("llama")
    drawn = sample_tokens(lm, ["w1 w2"] * 200, 20, seed=0)
    assert not any(lm.tokenizer.eos_token_id in whole for _, whole in drawn)
    assert {len(whole) for _, whole in drawn} > {22}


def test_a_model_that_is_not_causal_and_a_text_too_long_are_refused() -> None:
    with pytest.raises(LocantError, match="causal"):
        sample(tiny("bert"), ["w1"], 3, seed=0)
    with pytest.raises(LocantError, match="64"):
        sample(tiny("llama"), ["w1 w2"], 63, seed=0)
