"""Sums of attention columns are those of a loop over what the eager model returns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
import plain
from attended import ONE_STACK, attended
from families import WORDS, tiny
from locant.attributions.synapses import column_sums

LENGTHS = {"short": 3, "long": 9, "double": 5}


@torch.no_grad()
def rows_of(name: str, query: locant.Query) -> list[Tensor]:
    """Attention [head row column] of each layer of the eager model, for the prompt alone."""
    lm = tiny(name, kernel="eager")
    first = locant.query(query.prompt, query.answer.split()[0])
    ((inputs, _, _),) = plain.read(name, lm, first)
    return [weights[0] for weights in lm.model(**inputs, output_attentions=True).attentions]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "bloom", "bert"])
def test_sums_equal_a_loop_over_the_attention_that_the_model_returns(name: str) -> None:
    found = column_sums(attended(name), WORDS.all)
    for index, query in enumerate(WORDS.all):
        layers = rows_of(name, query)
        expected = torch.zeros(found.of(index).shape)
        for layer, weights in enumerate(layers):
            for head in range(weights.shape[0]):
                for row in range(weights.shape[1]):
                    for column in range(weights.shape[2]):
                        expected[layer, head, column] += weights[head, row, column]
        torch.testing.assert_close(found.of(index), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ONE_STACK)
def test_the_columns_of_a_head_add_up_to_the_rows_of_the_prompt(name: str) -> None:
    found = column_sums(attended(name), WORDS.all)
    more = 2 if name in ("bert", "roberta", "xlm-roberta") else 0  # the mask, and the full stop
    lengths = [LENGTHS[query.uid] + more for query in WORDS.all]
    assert found.lengths.tolist() == lengths
    for index, length in enumerate(lengths):
        total = found.sums[index].sum(dim=-1)
        torch.testing.assert_close(total, torch.full_like(total, float(length)))
        assert not found.sums[index, :, :, length:].any()


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt_neo", "bert"])
def test_normalised_sums_are_per_row_that_sees_the_column(name: str) -> None:
    raw, each = column_sums(attended(name), WORDS.all), column_sums(attended(name), WORDS.all, normalised=True)
    windows = {"mistral": [4, 4, 4], "gpt_neo": [99, 4, 99]}.get(name, [99, 99, 99])
    for index in range(3):
        length = int(raw.lengths[index])
        for layer, window in enumerate(windows):
            rows = [length if name == "bert" else min(length - column, window) for column in range(length)]
            torch.testing.assert_close(each.of(index)[layer] * torch.tensor(rows), raw.of(index)[layer])
        assert float(each.sums.max()) <= 1


def test_the_first_token_can_be_left_out() -> None:
    lm = attended("llama")
    whole, rest = column_sums(lm, WORDS.all), column_sums(lm, WORDS.all, first_token=False)
    assert not rest.sums[..., 0].any()
    assert torch.equal(rest.sums[..., 1:], whole.sums[..., 1:])
    assert whole.made_by.digest() != rest.made_by.digest()


def test_queries_keep_their_order_and_do_not_depend_on_their_neighbours() -> None:
    lm = attended("mistral")
    again = (*WORDS.all, WORDS.short)
    together = column_sums(lm, again)
    assert together.queries == again
    for index, query in enumerate(again):
        torch.testing.assert_close(together.of(index), column_sums(lm, [query]).of(0))


def test_no_queries_and_a_model_with_an_encoder_are_refused() -> None:
    with pytest.raises(locant.LocantError, match="there are no queries to sum attention for"):
        column_sums(attended("llama"), [])
    with pytest.raises(locant.LocantError, match="a t5 has an encoder"):
        column_sums(tiny("t5"), [WORDS.short])
