"""Probabilities and ranks against a softmax and a greedy decoding by hand, and words against a matrix product."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import locant
import plain
from families import WORDS, tiny
from locant import almanac
from locant.evaluations import first_tokens, read_answers, value_words
from locant.models import LanguageModel


def by_hand(family: str, lm: LanguageModel, query: locant.Query) -> tuple[float, int]:
    """Log-probability of the whole answer, and the worst rank of its tokens; one plain pass per token."""
    total, worst = 0.0, 1
    for inputs, position, token in plain.read(family, lm, query):
        with torch.no_grad():
            chances = lm.model(**inputs).logits[0, position].double().softmax(-1)
        total += float(chances[token].log())
        worst = max(worst, 1 + sum(chance > float(chances[token]) for chance in chances.tolist()))
    return total, worst


def test_probability_and_rank_equal_a_softmax_by_hand(family: str, lm: LanguageModel) -> None:
    expected = [by_hand(family, lm, query) for query in WORDS.all]
    logs = [total for total, _ in expected]
    assert locant.answer_log_probability(lm, WORDS.all).tolist() == pytest.approx(logs, abs=1e-5)
    chances = torch.tensor(logs, dtype=torch.float64).exp().tolist()
    assert locant.answer_probability(lm, WORDS.all).tolist() == pytest.approx(chances, rel=1e-5)
    assert locant.answer_rank(lm, WORDS.all).tolist() == [worst for _, worst in expected]


def test_what_is_said_is_the_likeliest_token_where_the_answer_begins(family: str, lm: LanguageModel) -> None:
    asked = (*WORDS.all, replace(WORDS.short, alternatives=("w5 w6", "w7")))
    expected = []
    for query in asked:
        inputs, position, _ = next(iter(plain.read(family, lm, query)))
        with torch.no_grad():
            expected.append(int(lm.model(**inputs).logits[0, position].argmax()))
    assert read_answers(lm, asked).said.tolist() == expected


def test_choices_are_the_likeliest_tokens_where_each_token_of_the_answer_stands(
    family: str, lm: LanguageModel
) -> None:
    asked = (*WORDS.all, replace(WORDS.double, answer="w25 w26 w27"))
    found = read_answers(lm, asked)
    for query, choices, agreement in zip(asked, found.choices, found.agreement.tolist(), strict=True):
        expected, right = [], []
        for inputs, position, token in plain.read(family, lm, query):
            with torch.no_grad():
                expected.append(int(lm.model(**inputs).logits[0, position].argmax()))
            right.append(expected[-1] == token)
        assert list(choices) == expected
        assert agreement == pytest.approx(sum(right) / len(right))


def test_agreement_counts_the_tokens_that_greedy_decoding_would_take() -> None:
    lm = tiny("llama")
    said = lm.generate("w1 w2", 3)
    first, second, third = said.split()
    other = "w0" if third != "w0" else "w1"
    found = read_answers(lm, [locant.query("w1 w2", text) for text in (said, f"{first} {second} {other}", other)])
    assert found.agreement.tolist() == pytest.approx([1, 2 / 3, float(other == first)])


def test_of_alternatives_the_most_probable_counts_wherever_it_stands(family: str, lm: LanguageModel) -> None:
    texts = ("w4", "w50", "w51 w52", "w60")
    alone = [by_hand(family, lm, locant.query("w1 w2 w3", text)) for text in texts]
    best = max(alone)
    for index, text in enumerate(texts):
        others = texts[:index] + texts[index + 1 :]
        asked = [locant.query("w1 w2 w3", text, alternatives=others), WORDS.long]
        assert float(locant.answer_log_probability(lm, asked)[0]) == pytest.approx(best[0], abs=1e-5)
        assert int(locant.answer_rank(lm, asked)[0]) == best[1]


def test_many_queries_at_once_give_what_each_gives_alone(
    family: str, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = random.Random(0)
    queries = [
        locant.query(
            " ".join(f"w{numbers.randrange(90)}" for _ in range(numbers.randrange(2, 9))),
            " ".join(f"w{numbers.randrange(90)}" for _ in range(numbers.randrange(1, 4))),
        )
        for _ in range(20)
    ]
    monkeypatch.setattr("locant.evaluations.answers.AT_ONCE", 7)
    together = locant.answer_log_probability(lm, queries)
    alone = torch.cat([locant.answer_log_probability(lm, [query]) for query in queries])
    assert torch.allclose(together, alone, atol=2e-5)


def test_no_query_gives_no_answer() -> None:
    assert locant.answer_probability(tiny("llama"), []).tolist() == []


def test_the_rank_is_one_exactly_where_greedy_decoding_gives_the_answer(family: str, lm: LanguageModel) -> None:
    prompt, first, second = next(_said_in_words(family, lm))
    asked = [locant.query(prompt, f"w{first} w{token}") for token in range(0, 90, 9)]
    asked += [locant.query(prompt, f"w{first} w{second}"), locant.query(prompt, f"w{first}")]
    asked += [locant.query(prompt, f"w{token} w{second}") for token in range(90) if token != first][::9]
    greedy = {f"w{first}", f"w{first} w{second}"}
    for query, rank in zip(asked, locant.answer_rank(lm, asked).tolist(), strict=True):
        assert (rank == 1) == (query.answer in greedy), query.answer


def _said_in_words(family: str, lm: LanguageModel) -> Iterator[tuple[str, int, int]]:
    """Prompts with the model's own next two tokens, where both are words."""
    for start in range(1, 80):
        prompt = f"w{start} w{start + 1} w{start + 2}"
        first = _greedy(family, lm, prompt, "")
        if first < 90 and (second := _greedy(family, lm, prompt, f"w{first}")) < 90:
            yield prompt, first, second


def _greedy(family: str, lm: LanguageModel, prompt: str, said: str) -> int:
    readings = plain.read(family, lm, locant.query(prompt, f"{said} w0".strip()))
    inputs, position, _ = readings[-1]
    with torch.no_grad():
        return int(lm.model(**inputs).logits[0, position].argmax())


@pytest.mark.slow
def test_on_real_prompts_the_rank_is_one_exactly_where_the_model_says_the_answer(almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    known = [replace(one, uid=str(n)) for n, one in enumerate(random.Random(1).sample(almanac.queries(), 40))]
    # Answers of other facts, which the model does not give
    swapped = [replace(one, answer=other.answer) for one, other in pairwise(known)]
    ranks = locant.answer_rank(lm, known + swapped).tolist()
    assert 10 < ranks.count(1) < 70
    for query, rank in zip(known + swapped, ranks, strict=True):
        tokens = lm.tokens(query)
        (answer,) = tokens.answers
        ids = torch.tensor([tokens.prompt])
        out = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=len(answer),
            do_sample=False,
            pad_token_id=0,
        )
        said = tuple(out[0, len(tokens.prompt) :].tolist())
        assert (rank == 1) == (said == answer), query.prompt


def test_the_first_tokens_are_the_models_own_whatever_is_expected(family: str, lm: LanguageModel) -> None:
    expected = [lm.text_of([_greedy(family, lm, query.prompt, "")]) for query in WORDS.all]
    assert first_tokens(lm, WORDS.all) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_read_with_logits_of_float32(dtype: torch.dtype) -> None:
    lm = tiny("llama", dtype)
    found = locant.answer_probability(lm, WORDS.all)
    assert found.tolist() == pytest.approx(locant.answer_probability(tiny("llama"), WORDS.all).tolist(), rel=0.1)
    assert all(float(p) != float(p.to(dtype)) for p in found)


# What neurons say


def test_the_words_of_a_neuron_are_the_unembeddings_product_with_its_value_vector(
    family: str, lm: LanguageModel
) -> None:
    chosen = locant.select(locant.attribute(lm, [WORDS.short]), k=5)
    words = value_words(lm, chosen, k=4)
    weight = lm.model.get_output_embeddings().weight
    for (layer, neuron), found in zip(chosen.units.tolist(), words, strict=True):
        vector = lm.value_vectors(layer)[neuron]
        if family == "opt post-norm":  # opt-350m's embeddings are narrower than its residual stream
            vector = lm.model.get_submodule("model.decoder.project_out").weight @ vector
        order = (weight @ vector)[: len(lm.tokenizer)].argsort(descending=True).tolist()
        assert found.promoted == tuple(lm.text_of([token]) for token in order[:4])
        assert found.demoted == tuple(lm.text_of([token]) for token in order[::-1][:4])
