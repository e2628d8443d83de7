"""Scaled attention columns do what a loop over rows, heads and columns does by hand, and only there."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import locant
import plain
from attended import ONE_STACK, attended
from families import WORDS, tiny, tokenizer
from locant.attributions.synapses import column_sums
from locant.errors import UnknownName
from locant.interventions.attention import scale_columns
from locant.models import LanguageModel, hooks
from locant.models.attention import watching_attention
from locant.selections.columns import ColumnSet
from locant.types import Provenance

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 0, 0, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
UNITS = [(0, 3, 1), (1, 0, 0), (1, 0, 2), (1, 2, 2), (2, 1, 3)]


def columns(*units: tuple[int, int, int], query: locant.Query = WORDS.long) -> ColumnSet:
    chosen = torch.tensor(units or UNITS, dtype=torch.int64)
    return ColumnSet(query, chosen, (3, 4, 9), Provenance("by hand"))


@torch.no_grad()
def attention(lm: LanguageModel) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """What a batch's layers attend to, and what its blocks put out."""
    weights: dict[int, Tensor] = {}
    residuals: dict[int, Tensor] = {}
    watching = watching_attention(lm.model, lm.blocks, weights.__setitem__)
    with watching, hooks.watching_outputs(lm.blocks, residuals.__setitem__):
        lm.model(**BATCH)
    return weights, residuals


# What changes nothing


@pytest.mark.parametrize("name", ONE_STACK)
@pytest.mark.parametrize("renormalise", [False, True])
def test_scaling_by_one_is_the_eager_model_bit_for_bit(name: str, renormalise: bool) -> None:
    lm = attended(name)
    with scale_columns(lm, columns(), 1.0, renormalise):
        found = locant.answer_log_probability(lm, WORDS.all)
    assert torch.equal(found, locant.answer_log_probability(tiny(name, kernel="eager"), WORDS.all))


@pytest.mark.parametrize("name", ["llama", "bert", "bloom"])
def test_no_columns_and_columns_beyond_the_end_of_a_sequence_change_nothing(name: str) -> None:
    lm = attended(name)
    none = ColumnSet(WORDS.long, torch.zeros(0, 3, dtype=torch.int64), (3, 4, 9), Provenance("by hand"))
    eager = locant.answer_log_probability(tiny(name, kernel="eager"), [WORDS.short])
    for chosen in (none, columns((0, 0, 7), (2, 1, 8))):
        with scale_columns(lm, chosen, 0.0):
            assert torch.equal(locant.answer_log_probability(lm, [WORDS.short]), eager)


# What changes, and where


@pytest.mark.parametrize("name", ONE_STACK)
@pytest.mark.parametrize("by", [0.0, 2.0])
def test_a_column_is_scaled_in_every_row_of_its_head_and_nothing_else_in_its_layer(name: str, by: float) -> None:
    lm = attended(name)
    chosen = columns((1, 0, 0), (1, 0, 2), (1, 2, 2))
    weights, residuals = attention(tiny(name, kernel="eager"))
    with scale_columns(lm, chosen, by):
        changed, moved = attention(lm)
    expected = weights[1].clone()
    for head, column in ((0, 0), (0, 2), (2, 2)):
        assert expected[:, head, :, column].any()
        expected[:, head, :, column] *= by
    assert torch.equal(changed[1], expected)
    assert torch.equal(changed[0], weights[0])
    assert not torch.equal(changed[2], weights[2])
    assert [torch.equal(residuals[layer], moved[layer]) for layer in range(3)] == [True, False, False]


def joined_by_hand(weights: Tensor, values: Tensor, layer: int, by: float) -> Tensor:
    """Every head's output at every position of one sequence, side by side, by a loop over rows and columns."""
    heads, length, _ = weights.shape
    share = heads // values.shape[0]
    out = torch.zeros(length, heads, values.shape[2], dtype=torch.float64)
    for head in range(heads):
        for row in range(length):
            for column in range(length):
                factor = by if (layer, head, column) in UNITS else 1.0
                out[row, head] += factor * weights[head, row, column] * values[head // share, column]
    return out.flatten(1)


PARTS = {
    "llama": ("self_attn.v_proj", "self_attn.o_proj"),
    "gpt2": ("attn.c_attn", "attn.c_proj"),
}


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("by", [0.0, -1.5])
@pytest.mark.parametrize("name", sorted(PARTS))
@torch.no_grad()
def test_scaling_equals_a_layer_computed_by_hand(name: str, by: float, layer: int) -> None:
    lm, eager = attended(name, torch.float64), tiny(name, torch.float64, "eager")
    inputs = {"input_ids": IDS[:1]}
    read, write = (eager.blocks[layer].get_submodule(part) for part in PARTS[name])
    projected: dict[int, Tensor] = {}
    with hooks.watching_outputs([read], projected.__setitem__):
        given = eager.model(**inputs, output_attentions=True)
    values = projected[0][0][:, -16:] if name == "llama" else projected[0][0][:, -32:]
    joined = joined_by_hand(given.attentions[layer][0], values.unflatten(1, (-1, 8)).transpose(0, 1), layer, by)
    with hooks.changing_inputs({write: lambda value: joined[None]}):
        expected = eager.model(**inputs).logits
    with scale_columns(lm, columns(*[unit for unit in UNITS if unit[0] == layer]), by):
        found = lm.model(**inputs).logits
    assert float((found - expected).abs().max()) < 1e-10
    assert float((found - given.logits).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "gpt_neo"])
def test_scalings_nest_and_come_off_one_by_one(name: str) -> None:
    lm = attended(name)

    def now() -> list[float]:
        return locant.answer_log_probability(lm, WORDS.all).tolist()

    untouched = now()
    with scale_columns(lm, columns(), 8.0):
        octupled = now()
    with scale_columns(lm, columns(), 2.0):
        doubled = now()
        with scale_columns(lm, columns(), 4.0):
            assert now() == octupled
        assert now() == doubled
        with pytest.raises(RuntimeError), scale_columns(lm, columns(), 4.0):
            raise RuntimeError
        assert now() == doubled
    assert now() == untouched
    assert len({tuple(each) for each in (untouched, doubled, octupled)}) == 3


@pytest.mark.parametrize("name", ["llama", "bert", "gptj"])
@pytest.mark.parametrize("by", [0.0, 2.0])
def test_renormalised_rows_still_pay_what_they_paid(name: str, by: float) -> None:
    lm = attended(name)
    weights, _ = attention(tiny(name, kernel="eager"))
    with scale_columns(lm, columns((1, 0, 0), (1, 0, 2)), by, renormalise=True):
        changed, _ = attention(lm)
    factor = torch.ones(8)
    factor[[0, 2]] = by
    real = BATCH["attention_mask"].bool()
    scaled = (weights[1][:, 0] * factor)[real]
    total = scaled.sum(dim=-1, keepdim=True)
    expected = torch.where(total == 0, torch.zeros_like(scaled), scaled / total)
    torch.testing.assert_close(changed[1][:, 0][real], expected)
    assert torch.equal(changed[1][:, 1:], weights[1][:, 1:])
    # In a causal model the first row sees the first column alone
    if by == 0 and name != "bert":
        assert not changed[1][0, 0, 0].any()


# Text and attributions of the changed model


def speaking(name: str) -> LanguageModel:
    """A tiny model that never stops by itself."""
    words = tokenizer()
    words.add_tokens("?")
    model = copy.deepcopy(attended(name).model)
    model.generation_config.eos_token_id = None
    return locant.load(model, tokenizer=words)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gpt_neo", "mistral", "qwen2", "gemma2", "gemma3"])
def test_generated_text_equals_a_loop_without_a_cache(name: str) -> None:
    """Also where the cache of a sliding window of four positions has let go of the first ones."""
    lm = speaking(name)
    units = [(layer, head, column) for layer in range(3) for head in range(3) for column in (0, 2, 5, 6, 9)]
    chosen = columns(*units)
    ids = [40, 41, 42]
    with scale_columns(lm, chosen, -3.0), torch.no_grad():
        found = lm.generate("w40 w41 w42", max_new_tokens=12)
        for _ in range(12):
            ids.append(int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert found == lm.tokenizer.decode(ids[3:], skip_special_tokens=True)
    assert found != lm.generate("w40 w41 w42", max_new_tokens=12)


@pytest.mark.parametrize("name", ["llama", "bloom", "mistral", "bert"])
def test_attribution_inside_equals_plain_code_inside(name: str) -> None:
    """Some columns are at positions where answers are read."""
    lm = attended(name, torch.float64)
    queries = (WORDS.long, WORDS.double)
    chosen = columns(*UNITS, (1, 1, 4), (2, 0, 4), (2, 3, 8), (1, 3, 5))
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(layer + 2, lm.neurons, 19)]
    at = torch.tensor(units).T
    with plain.DoubleThroughout():
        untouched = locant.attribute(lm, queries, "exact").scores
        with scale_columns(lm, chosen, -1.5):
            found = locant.attribute(lm, queries, "exact").scores
            expected = torch.stack([plain.ablations(name, lm, query, units, None) for query in queries])
    largest = float(expected.abs().max())
    assert float((found[:, at[0], at[1]] - expected).abs().max()) < 1e-10 * largest
    assert float((found - untouched).abs().max()) > 1e-3 * largest


def test_what_a_suppressed_column_draws_is_nothing() -> None:
    lm = attended("llama")
    with scale_columns(lm, columns((1, 2, 3)), 0.0):
        silenced = column_sums(lm, [WORDS.long]).of(0)
    before = column_sums(lm, [WORDS.long]).of(0)
    assert silenced[1, 2, 3] == 0 < before[1, 2, 3]
    assert (silenced[:2] == 0).sum() == 1


# What is refused


def test_columns_of_a_model_of_another_size_are_refused() -> None:
    lm = attended("llama")
    other = ColumnSet(WORDS.long, torch.tensor([[0, 0, 0]]), (3, 8, 9), Provenance("by hand"))
    with pytest.raises(UnknownName) as caught, scale_columns(lm, other, 0.0):
        pytest.fail("nothing may run under it")
    assert str(caught.value) == "the columns are of a model with (layers, heads) (3, 8), this one has (3, 4)"


def test_a_model_with_an_encoder_is_refused() -> None:
    lm = tiny("t5")
    with pytest.raises(locant.LocantError, match="a t5 has an encoder"), scale_columns(lm, columns(), 0.0):
        pytest.fail("nothing may run under it")
