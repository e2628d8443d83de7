"""Letters against plain passes of the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import locant
import plain
from families import WORDS, tiny
from locant.errors import BadQuery, UnknownName
from locant.evaluations.letters import letter_mass, letter_probabilities
from locant.models import LanguageModel

FOUR = ("w30", "w41", "w52", "w63")


def prompts(count: int) -> list[locant.Query]:
    """Prompts of several lengths."""
    return [
        locant.query(" ".join(f"w{(7 * at + word) % 90}" for word in range(2 + at % 5)), f"w{at % 90}", uid=f"q{at}")
        for at in range(count)
    ]


def test_letters_have_the_probability_of_a_plain_pass(family: str, lm: LanguageModel) -> None:
    queries = [*prompts(7), WORDS.double, replace(WORDS.short, alternatives=("w8 w9",))]
    found = letter_probabilities(lm, queries, FOUR)
    for query, row in zip(queries, found.tolist(), strict=True):
        for letter, value in zip(FOUR, row, strict=True):
            ((inputs, position, token),) = plain.read(family, lm, replace(query, answer=letter))
            with torch.no_grad():
                assert value == pytest.approx(float(plain.probability(lm, inputs, position, token)), rel=1e-4)
    assert letter_mass(found).tolist() == pytest.approx([sum(row) for row in found.tolist()])


def test_all_letters_of_many_prompts_take_one_pass_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    queries = prompts(23)
    alone = torch.cat([letter_probabilities(lm, [query], FOUR) for query in queries])
    passes: list[int] = []
    inner = lm.blocks[0].register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    monkeypatch.setattr("locant.evaluations.letters.AT_ONCE", 10)
    try:
        together = letter_probabilities(lm, queries, FOUR)
    finally:
        inner.remove()
    assert passes == [10, 10, 3]
    assert torch.allclose(together, alone, atol=1e-6)


def test_the_mass_of_all_words_is_all_but_that_of_the_special_tokens() -> None:
    lm = tiny("llama")
    everything = tuple(f"w{number}" for number in range(90))
    mass = letter_mass(letter_probabilities(lm, [WORDS.short], everything))
    with torch.no_grad():
        logits = lm.model(torch.tensor([[1, 2, 3]])).logits[0, -1]
    assert float(mass) == pytest.approx(float(logits.softmax(-1)[:90].sum()), rel=1e-5)


def test_interventions_in_force_are_seen_where_letters_are_read() -> None:
    lm = tiny("llama")
    chosen = locant.select(locant.attribute(lm, [WORDS.short]), k=40)
    query = replace(WORDS.short, answer=FOUR[2])
    before = letter_probabilities(lm, [query], FOUR)
    with locant.suppress(lm, chosen):
        inside = letter_probabilities(lm, [query], FOUR)
        expected = float(locant.answer_probability(lm, [query]))
    assert float(inside[0, 2]) == pytest.approx(expected, rel=1e-5)
    assert not torch.allclose(inside, before, rtol=1e-2)
    assert torch.equal(letter_probabilities(lm, [query], FOUR), before)


def test_no_prompts_have_no_letters() -> None:
    assert letter_probabilities(tiny("llama"), [], FOUR).shape == (0, 4)


def test_letters_that_are_not_one_token_each_are_refused() -> None:
    lm = tiny("llama")
    with pytest.raises(BadQuery, match=r"'short': the letter 'w8 w9' is 2 tokens after this prompt, not 1"):
        letter_probabilities(lm, [WORDS.short], ("w7", "w8 w9"))
    with pytest.raises(
        BadQuery, match=r"'short': the letter 'w7' is the same token as another of \['w7', 'w8', 'w7'\]"
    ):
        letter_probabilities(lm, [WORDS.short], ("w7", "w8", "w7"))
    with pytest.raises(BadQuery, match="no tokens for the answer 'A'"):
        letter_probabilities(lm, [WORDS.short])
    with pytest.raises(UnknownName, match="there are no letters to read"):
        letter_probabilities(lm, [WORDS.short], ())


def lettered() -> LanguageModel:
    """A random tiny Llama whose tokenizer has each letter twice: after a space, as in a prompt, and bare."""
    tokens = ["<unk>", "</s>", "▁", "▁Response", ":", "▁A", "▁B", "▁C", "▁D", "A", "B", "C", "D", "▁回答"]
    raw = Tokenizer(models.Unigram([(token, -float(len(tokens) - at)) for at, token in enumerate(tokens)], unk_id=0))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokens), max_position_embeddings=32, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return locant.load(model, tokenizer=tokenizer)


def test_a_letter_is_the_token_that_follows_the_cue_and_not_the_bare_one() -> None:
    lm = lettered()
    ids = lm.tokenizer.convert_tokens_to_ids
    query = locant.query("Response:", "B", uid="cue")
    (found,) = letter_probabilities(lm, [query]).tolist()
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids(["▁Response", ":"])])).logits[0, -1]
    chances = logits.double().softmax(-1)
    spaced, bare = ([float(chances[ids(mark + letter)]) for letter in "ABCD"] for mark in ("▁", ""))
    assert found == pytest.approx(spaced, rel=1e-5)
    assert found != pytest.approx(bare, rel=1e-2)


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_where_words_have_no_space_between_them_a_letter_is_the_bare_one(language: str) -> None:
    lm = lettered()
    ids = lm.tokenizer.convert_tokens_to_ids
    query = locant.query("回答:", "B", uid="cue", language=language)
    (found,) = letter_probabilities(lm, [query]).tolist()
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids(["▁回答", ":"])])).logits[0, -1]
    chances = logits.double().softmax(-1)
    bare, spaced = ([float(chances[ids(mark + letter)]) for letter in "ABCD"] for mark in ("", "▁"))
    assert found == pytest.approx(bare, rel=1e-5)
    assert found != pytest.approx(spaced, rel=1e-2)
