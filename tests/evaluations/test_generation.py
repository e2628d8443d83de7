"""Texts against greedy decoding one prompt at a time, and their measures against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from families import MASKED, tiny
from locant.errors import LocantError, UnknownName
from locant.evaluations.generation import (
    begins_with,
    continue_greedily,
    fluency,
    inverse_frequencies,
    ngram_entropy,
    reference_score,
)
from locant.models import LanguageModel

PROMPTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11", "w12 w13", "w4"]


def by_hand(lm: LanguageModel, prompt: str, tokens: int) -> str:
    """The likeliest token after all before it, again and again; one plain pass each."""
    ids = lm.tokenizer(prompt)["input_ids"]
    said: list[int] = []
    # The default configurations of some families end texts at a word
    while len(said) < tokens and lm.model.generation_config.eos_token_id not in said:
        given = {"input_ids": torch.tensor([ids + said])}
        if lm.architecture.kind == "seq2seq":
            start = [lm.tokenizer.pad_token_id]
            given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([start + said])}
        with torch.no_grad():
            said.append(int(lm.model(**given).logits[0, -1].argmax()))
    return str(lm.tokenizer.decode(said, skip_special_tokens=True))


def test_prompts_of_several_lengths_are_continued_as_each_alone(
    family: str, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family in MASKED:
        with pytest.raises(LocantError, match="a masked model, which writes no text"):
            continue_greedily(lm, PROMPTS, 6)
        return
    monkeypatch.setattr("locant.evaluations.generation.AT_ONCE", 3)
    alone = [by_hand(lm, prompt, 6) for prompt in PROMPTS]
    assert continue_greedily(lm, PROMPTS, 6) == alone
    assert len(set(alone)) > 1


def test_a_models_own_rules_against_repetition_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("gpt2")
    expected = continue_greedily(lm, PROMPTS, 12)
    monkeypatch.setattr(lm.model.generation_config, "repetition_penalty", 5.0)
    monkeypatch.setattr(lm.model.generation_config, "no_repeat_ngram_size", 1)
    assert continue_greedily(lm, PROMPTS, 12) == expected


def test_the_almanac_says_in_a_batch_what_it_says_alone(almanac_lm: LanguageModel) -> None:
    prompts = ["The capital of France is", "Q: What is the capital of Burkina Faso? A:", "Ice is"]
    assert continue_greedily(almanac_lm, prompts, 8) == [almanac_lm.generate(prompt, 8) for prompt in prompts]


def test_no_prompts_have_no_continuations() -> None:
    assert continue_greedily(tiny("llama"), [], 5) == []


def test_a_text_ends_where_the_context_does() -> None:
    lm = tiny("gpt2")
    prompt = " ".join(["w1"] * (lm.context - 2))
    assert len(continue_greedily(lm, [prompt], 10)[0].split()) <= 2


@pytest.mark.parametrize(
    ("text", "answers", "language", "expected"),
    [
        (" Rome. It is", ["Rome"], "en", True),
        ("\n“ROME” it is", ["Rome"], "en", True),
        (" Romeo and", ["Rome"], "en", False),
        (" the city of Rome", ["Rome"], "en", False),
        (" New  York City", ["New York"], "en", True),
        (" NYC, they", ["New York", "NYC"], "en", True),
        (" St. Louis", ["St."], "en", True),
        ("ローマです", ["ローマ"], "ja", True),
        ("ローマです", ["ローマ"], "en", False),
        ("", ["Rome"], "en", False),
        (" Rome", [""], "en", False),
    ],
)
def test_a_text_begins_with_whole_words_of_an_answer(
    text: str, answers: list[str], language: str, expected: bool
) -> None:
    assert begins_with(text, answers, language) is expected


def test_entropy_is_that_of_the_counts() -> None:
    # a b, b a, a b, b c: one twice, two once
    assert ngram_entropy(["a", "b", "a", "b", "c"], 2) == pytest.approx(1.5)
    assert ngram_entropy(["a", "b", "a", "b", "c"], 3) == pytest.approx(math.log2(3))
    assert ngram_entropy(["a", "a", "a", "a"], 2) == 0
    assert ngram_entropy(["a"], 2) == 0


def test_fluency_is_a_hundred_times_the_weighted_mean_of_both_entropies() -> None:
    first = (2 / 3 * 1.5 + 4 / 3 * math.log2(3)) / 2
    assert fluency(["a b a b c"]) == pytest.approx(100 * first)
    assert fluency(["a b a b c", "a a a a"]) == pytest.approx(50 * first)
    with pytest.raises(UnknownName, match="there are none"):
        fluency([])


def test_signs_are_words_and_unspaced_scripts_are_read_by_character() -> None:
    assert fluency(["a, b."]) == fluency(["a x b y"])
    assert fluency(["東京東京都"], "ja") == fluency(["a b a b c"])
    assert fluency(["東京東京都"]) == 0


def test_consistency_is_a_cosine_of_weighted_counts() -> None:
    weights = inverse_frequencies(["red wine", "red house"])
    assert weights == pytest.approx({"red": 1.0, "wine": math.log(1.5) + 1, "house": math.log(1.5) + 1})
    rare = math.log(1.5) + 1
    assert reference_score("red red wine", "Red house!", weights) == pytest.approx(
        2 / (math.hypot(2, rare) * math.hypot(1, rare))
    )
    assert reference_score("wine", "wine unknown", weights) == pytest.approx(1)
    assert reference_score("wine", "house", weights) == 0
    assert reference_score("unknown", "house", weights) == 0
