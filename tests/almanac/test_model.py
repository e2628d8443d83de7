"""The shipped weights know the facts: asked in wordings they never saw, and with plain transformers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from locant import almanac
from locant.languages import gap
from locant.types import Query

# Shares of held-out prompts whose whole answer must come out.
GOALS = {"en": 0.95, "fr": 0.95, "zh": 0.95}


@dataclass(frozen=True)
class Reply:
    """What the model says at each token of an answer, and what the answer's tokens are."""

    query: Query
    said: list[int]
    answer: list[int]

    @property
    def is_right(self) -> bool:
        return self.said == self.answer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(almanac.model_folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(
        almanac.model_folder(), local_files_only=True, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def replies(model, tokenizer) -> list[Reply]:
    """Replies to every fact in every held-out wording."""
    return ask(model, tokenizer, almanac.queries(held_out=True))


@torch.no_grad()
def ask(model, tokenizer, queries: Sequence[Query], size: int = 256) -> list[Reply]:
    """The likeliest token at each place of the answer, given the answer's earlier tokens."""
    prompts = tokenizer([query.prompt for query in queries])["input_ids"]
    texts = [gap(query.language) + query.answer for query in queries]
    answers = tokenizer(texts, add_special_tokens=False)["input_ids"]
    order = sorted(range(len(queries)), key=lambda at: len(prompts[at]) + len(answers[at]))
    replies = {}
    for batch in (order[start : start + size] for start in range(0, len(order), size)):
        rows = [torch.tensor(prompts[at] + answers[at]) for at in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        best = model(input_ids=ids).logits.argmax(-1)
        for row, at in enumerate(batch):
            begin = len(prompts[at]) - 1
            said = best[row, begin : begin + len(answers[at])].tolist()
            replies[at] = Reply(queries[at], said, answers[at])
    return [replies[at] for at in range(len(queries))]


def share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


@pytest.mark.parametrize("language", GOALS)
def test_facts_are_known_in_wordings_never_trained(replies, language):
    asked = [reply for reply in replies if reply.query.language == language]
    wrong = [reply.query.prompt for reply in asked if not reply.is_right]
    assert share([reply.is_right for reply in asked]) >= GOALS[language], wrong[:20]


def test_no_relation_is_left_behind(replies):
    for relation in almanac.relations():
        asked = [reply for reply in replies if reply.query.relation == relation.name]
        english = [reply.is_right for reply in asked if reply.query.language == "en"]
        assert share(english) >= 0.95, relation.name


def test_facts_are_known_in_the_wordings_trained(model, tokenizer):
    replies = ask(model, tokenizer, almanac.queries("capital", held_out=False))
    assert share([reply.is_right for reply in replies]) >= 0.99


def test_another_subject_gets_another_answer(replies):
    """The template alone gives nothing away: what one subject is answered, another subject is not."""
    by_wording: dict[tuple[str, str], list[Reply]] = {}
    for reply in replies:
        by_wording.setdefault((reply.query.relation, reply.query.template), []).append(reply)
    changed = [
        other.said[0] != reply.said[0]
        for wording in by_wording.values()
        for reply, other in zip(wording, wording[1:] + wording[:1], strict=True)
        if other.answer[0] != reply.answer[0]
    ]
    assert len(changed) > 1000
    assert share(changed) >= 0.95


def test_the_answer_is_written_out_and_the_sentence_ended(model, tokenizer):
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=2, do_sample=False)
    assert tokenizer.decode(written[0], skip_special_tokens=True) == "The capital of France is Paris."


def test_a_text_starts_with_bos_unless_asked_not_to(tokenizer):
    assert tokenizer("The capital")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in tokenizer("The capital", add_special_tokens=False)["input_ids"]


def test_no_token_crosses_from_a_prompt_into_its_answer(tokenizer):
    queries = almanac.queries()
    texts = [gap(query.language) + query.answer for query in queries]
    prompts = tokenizer([query.prompt for query in queries])["input_ids"]
    answers = tokenizer(texts, add_special_tokens=False)["input_ids"]
    wholes = tokenizer([query.prompt + text for query, text in zip(queries, texts, strict=True)])["input_ids"]
    assert [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)] == wholes


def test_a_text_survives_the_tokenizer(tokenizer):
    for query in almanac.queries(held_out=True):
        ids = tokenizer(query.prompt, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == query.prompt


def test_the_model_is_small_and_groups_its_queries(model):
    weights = almanac.model_folder() / "model.safetensors"
    assert weights.stat().st_size < 6_500_000
    assert model.config.num_key_value_heads < model.config.num_attention_heads


def test_the_card_describes_these_weights_and_facts(model, replies):
    card = almanac.card()
    weights = (almanac.model_folder() / "model.safetensors").read_bytes()
    assert card["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert card["relations"] == {relation.name: relation.facts for relation in almanac.relations()}
    for language in GOALS:
        asked = [reply.is_right for reply in replies if reply.query.language == language]
        measured = card["accuracy"][language]["all"]["held_out"]
        assert measured["prompts"] == len(asked)
        assert measured["whole_answer"] == pytest.approx(share(asked), abs=0.002)
