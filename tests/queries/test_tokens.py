"""Answers in tokens, with the tokenizers of GPT-2, BERT and Llama and with one of numbered words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import transformers as hf
from tokenizers import processors

import families
import locant
from locant.errors import BadQuery
from locant.queries import Tokens, resolve

TOKENIZERS = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
CAPITAL = "The capital of France is"


@cache
def real(name: str) -> hf.PreTrainedTokenizerBase:
    """A published tokenizer, from files of it that lie beside the repository."""
    folder = TOKENIZERS / name
    if not folder.is_dir():
        pytest.skip(f"no tokenizer files in {folder}")
    if name == "llama":
        return hf.LlamaTokenizerFast.from_pretrained(folder, add_bos_token=True)
    return {"gpt2": hf.GPT2TokenizerFast, "bert-base-uncased": hf.BertTokenizerFast}[name].from_pretrained(folder)


def causal(name: str, prompt: str, answer: str, language: str = "en", alternatives: tuple[str, ...] = ()) -> Tokens:
    asked = locant.query(prompt, answer, language=language, alternatives=alternatives)
    return resolve(asked, real(name), "causal", 512)


def masked(prompt: str, answer: str, language: str = "en", alternatives: tuple[str, ...] = ()) -> Tokens:
    asked = locant.query(prompt, answer, language=language, alternatives=alternatives)
    return resolve(asked, real("bert-base-uncased"), "masked", 512)


def refused(asked: locant.Query, tokenizer: hf.PreTrainedTokenizerBase, kind: str, context: int = 64) -> str:
    """What a query is refused with; it names the query."""
    with pytest.raises(BadQuery) as caught:
        resolve(asked, tokenizer, kind, context)  # type: ignore[arg-type]
    assert f"query {asked.uid!r}: " in str(caught.value)
    return str(caught.value)


# Models that answer at the end


@pytest.mark.parametrize(("name", "paris"), [("gpt2", 6342), ("llama", 3681)])
def test_an_answer_takes_the_space_before_it_and_no_special_token(name: str, paris: int) -> None:
    found = causal(name, CAPITAL, "Paris")
    assert found.answers == ((paris,),)
    assert real(name).decode([paris]).strip() == "Paris"
    assert found.suffix == found.start == ()


def test_the_prompt_has_the_special_tokens_its_model_was_trained_with() -> None:
    assert causal("llama", CAPITAL, "Paris").prompt == (1, 450, 7483, 310, 3444, 338)
    assert causal("gpt2", CAPITAL, "Paris").prompt == (464, 3139, 286, 4881, 318)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("prompt", [f"{CAPITAL} ", f"{CAPITAL} [MASK]", f"{CAPITAL}[MASK] ", f"{CAPITAL}\n"])
def test_space_or_a_mask_at_the_end_of_a_prompt_changes_nothing(name: str, prompt: str) -> None:
    assert causal(name, prompt, " Paris ") == causal(name, CAPITAL, "Paris")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_prompt_and_answer_together_are_the_tokens_of_the_whole_sentence(name: str) -> None:
    found = causal(name, "The capital of Malaysia is", "Kuala Lumpur")
    whole = real(name)("The capital of Malaysia is Kuala Lumpur")["input_ids"]
    assert len(found.answers[0]) >= 2
    assert [*found.prompt, *found.answers[0]] == whole


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_alternatives_follow_the_answer_in_their_order(name: str) -> None:
    found = causal(name, CAPITAL, "Paris", alternatives=("Lutetia", "Rome"))
    assert found.answers == tuple(causal(name, CAPITAL, text).answers[0] for text in ("Paris", "Lutetia", "Rome"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_chinese_answers_stand_beside_the_prompt_without_a_space(name: str) -> None:
    found = causal(name, "法国的首都是", "巴黎", "zh")
    assert [*found.prompt, *found.answers[0]] == real(name)("法国的首都是巴黎")["input_ids"]
    assert real(name).decode(found.answers[0]) == "巴黎"


def test_an_answer_that_would_merge_with_the_prompt_keeps_its_own_tokens() -> None:
    tokenizer = real("gpt2")
    assert len(tokenizer("37")["input_ids"]) == 1
    found = causal("gpt2", "The number is 3", "7", "zh")
    assert found.prompt == tuple(tokenizer("The number is 3")["input_ids"])
    assert found.answers == (tuple(tokenizer("7")["input_ids"]),)


def test_an_answer_that_has_no_tokens_of_its_own_is_refused() -> None:
    said = refused(locant.query("Say hel", "lo", language="zh", uid="inside"), real("llama"), "causal")
    assert said.endswith("the answer 'lo' has no tokens of its own after this prompt; end the prompt at a word's end")


def test_a_mask_before_the_end_is_refused_where_models_answer_at_the_end() -> None:
    said = refused(locant.query("[MASK] is in France", "Paris", uid="m"), real("gpt2"), "causal")
    assert said == "query 'm': text follows [MASK], but this model answers at the end"


def test_a_token_that_ends_every_text_is_not_part_of_a_prompt() -> None:
    tokenizer = families.tokenizer()
    plain = resolve(locant.query("w1 w2", "w3"), tokenizer, "causal", 64)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 93)]
    )
    assert tokenizer("w1 w2")["input_ids"] == [1, 2, 93]
    assert resolve(locant.query("w1 w2", "w3"), tokenizer, "causal", 64) == plain == Tokens((1, 2), ((3,),))


# Models that fill a mask


def test_a_masked_prompt_is_parted_at_its_mask() -> None:
    found = masked("The city of [MASK] is in France.", "Paris", alternatives=("Lyon",))
    tokenizer = real("bert-base-uncased")
    whole = tokenizer("The city of [MASK] is in France.")["input_ids"]
    assert [*found.prompt, tokenizer.mask_token_id, *found.suffix] == whole
    assert [tokenizer.decode(answer) for answer in found.answers] == ["paris", "lyon"]


def test_a_prompt_without_a_mask_gets_one_and_a_full_stop() -> None:
    assert masked(CAPITAL, "Paris") == masked(f"{CAPITAL} [MASK].", "Paris")
    assert masked("法 国 是", "一", "zh") == masked("法 国 是[MASK]。", "一", "zh")


def test_an_answer_of_several_pieces_is_all_of_them() -> None:
    (answer,) = masked(CAPITAL, "Ouagadougou").answers
    assert len(answer) > 2
    assert real("bert-base-uncased").decode(answer) == "ouagadougou"


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("[MASK] is [MASK].", "Paris", "[MASK] stands more than once"),
        ("The [MASK]s of Paris.", "citizen", "the answer 'citizen' merges with the words around [MASK]"),
        (CAPITAL, "☃", "this tokenizer has no tokens for the answer '☃'"),
    ],
)
def test_what_cannot_fill_a_mask_is_refused(prompt: str, answer: str, said: str) -> None:
    assert refused(locant.query(prompt, answer, uid="m"), real("bert-base-uncased"), "masked") == f"query 'm': {said}"


def test_a_masked_model_needs_a_tokenizer_with_a_mask() -> None:
    said = refused(locant.query(CAPITAL, "Paris", uid="m"), real("gpt2"), "masked")
    assert said == "query 'm': this tokenizer has no mask token"


# Models whose decoder answers


def test_a_decoder_begins_as_t5_does_with_its_sentinel_where_there_is_one() -> None:
    plain = families.tokenizer()
    assert resolve(locant.query("w1 w2", "w3 w4"), plain, "seq2seq", 64) == Tokens((1, 2), ((3, 4),), start=(91,))
    plain.add_tokens("<extra_id_0>", special_tokens=True)
    blank = plain.convert_tokens_to_ids("<extra_id_0>")
    assert resolve(locant.query("w1 [MASK] w2", "w3"), plain, "seq2seq", 64) == Tokens(
        (1, blank, 2), ((3,),), start=(91, blank)
    )
    assert resolve(locant.query("w1 w2", "w3"), plain, "seq2seq", 64).prompt == (1, 2, blank)


# What no model can be asked


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq"])
@pytest.mark.parametrize(
    ("prompt", "answer", "alternatives", "said"),
    [
        ("  ", "w1", (), "its prompt is empty"),
        ("w1", " ", (), "its answer is empty"),
        ("w1", "w2", ("",), "its answer is empty"),
        ("w1", "zebra", (), "this tokenizer has no tokens for the answer 'zebra'"),
        ("w1", "w2", ("zebra",), "this tokenizer has no tokens for the answer 'zebra'"),
    ],
)
def test_what_no_model_can_be_asked_is_refused_by_the_querys_uid(
    kind: str, prompt: str, answer: str, alternatives: tuple[str, ...], said: str
) -> None:
    asked = locant.query(prompt, answer, alternatives=alternatives, uid="the one")
    assert refused(asked, families.tokenizer(), kind) == f"query 'the one': {said}"


@pytest.mark.parametrize("prompt", ["[MASK]", " [MASK] "])
def test_a_mask_alone_is_an_empty_prompt_where_models_answer_at_the_end(prompt: str) -> None:
    asked = locant.query(prompt, "w1", uid="m")
    assert refused(asked, families.tokenizer(), "causal") == "query 'm': its prompt is empty"


@pytest.mark.parametrize(("kind", "length"), [("causal", 7), ("masked", 8)])
def test_a_prompt_may_fill_the_context_with_its_longest_answer_and_no_more(kind: str, length: int) -> None:
    asked = locant.query("w1 w2 w3 w4 w5", "w6", alternatives=("w7 w8",), uid="long")
    tokenizer = families.tokenizer()
    found = resolve(asked, tokenizer, kind, length)  # type: ignore[arg-type]
    assert found.answers == ((6,), (7, 8))
    assert refused(asked, tokenizer, kind, length - 1) == (
        f"query 'long': {length} tokens with its answer, but the model's context is {length - 1}"
    )


def test_every_function_that_asks_refuses_what_cannot_be_asked_before_computing(family: str) -> None:
    lm = families.tiny(family)
    asked = [families.WORDS.short, locant.query("w1", "zebra", uid="the one")]
    for ask in (locant.attribute, locant.answer_probability):
        with pytest.raises(BadQuery, match="query 'the one': this tokenizer has no tokens for the answer 'zebra'"):
            ask(lm, asked)
