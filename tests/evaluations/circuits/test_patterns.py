"""Attention where answers are read is the attention that the model returns."""

from __future__ import annotations

import pytest
import torch

import locant
from attended import attended
from families import WORDS, tiny
from locant.evaluations.circuits.patterns import answer_patterns, masses, whole_pattern

QUERIES = [
    locant.query("w1 w2 w3 w4", "w9", subject="w2 w3", uid="inside"),
    locant.query("w5 w6 w7 w8 w9 w10", "w8", subject="w5", uid="first"),
    locant.query("w1 w2", "w8", subject="w2", uid="short"),
]


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "bloom"])
def test_patterns_are_those_the_eager_model_returns(family: str) -> None:
    eager = tiny(family, kernel="eager")
    found = answer_patterns(attended(family), WORDS.all)
    assert found.lengths.tolist() == [3, 9, 5]
    for index, query in enumerate(WORDS.all):
        layers = eager.model(torch.tensor([eager.tokens(query).prompt]), output_attentions=True).attentions
        expected = torch.cat(layers)
        torch.testing.assert_close(whole_pattern(attended(family), query), expected, atol=1e-5, rtol=0)
        length = expected.shape[-1]
        torch.testing.assert_close(found.weights[index, :, :, :length], expected[:, :, -1], atol=1e-5, rtol=0)
        assert not found.weights[index, :, :, length:].any()


def test_masses_are_sums_over_the_parts_of_a_prompt() -> None:
    lm = attended("llama")
    patterns = answer_patterns(lm, QUERIES)
    found = masses(lm, patterns)
    weights = patterns.weights
    torch.testing.assert_close(found.subject[0], weights[0, :, :, 1] + weights[0, :, :, 2])
    torch.testing.assert_close(found.relation[0], weights[0, :, :, 3])
    torch.testing.assert_close(found.first[0], weights[0, :, :, 0])
    torch.testing.assert_close(found.relation[1], weights[1, :, :, 1:].sum(dim=-1))
    total = found.subject + found.relation + found.first
    torch.testing.assert_close(total[[0, 2]], torch.ones_like(total[[0, 2]]))


def test_what_is_left_at_the_first_token_is_not_taken_for_seeing_a_subject_that_begins_there() -> None:
    lm = attended("llama")
    two = locant.query("w5 w6 w7 w8", "w8", subject="w5 w6", uid="two")
    patterns = answer_patterns(lm, [two, QUERIES[1]])
    found, weights = masses(lm, patterns), patterns.weights
    torch.testing.assert_close(found.subject[0], weights[0, :, :, 1])
    assert found.subject[1].isnan().all()
    torch.testing.assert_close(found.first, weights[..., 0])


def test_models_that_read_both_ways_and_empty_lists_are_refused() -> None:
    with pytest.raises(locant.LocantError, match="is masked: patterns are of models that read from left to right"):
        answer_patterns(attended("bert"), WORDS.all)
    with pytest.raises(locant.LocantError, match="there are no queries to see attention of"):
        answer_patterns(attended("gpt2"), [])
