"""The engine computes what plain code computes, on every family."""

from __future__ import annotations

import pytest
import torch

import locant
import plain
from families import FAMILIES, MASKED, SEQ2SEQ, WORDS, tiny
from locant.attributions import quadrature
from locant.models import LanguageModel


def gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest score."""
    return float((found - expected).abs().max() / expected.abs().max())


def test_scores_equal_the_plain_layer_by_layer_computation_in_float64(family: str) -> None:
    lm = tiny(family, torch.float64)
    (nodes,) = quadrature("midpoint", 2)
    asked = (WORDS.long, WORDS.double)
    with plain.DoubleThroughout():
        found = locant.attribute(lm, asked, rule="midpoint", steps=2)
        for query, scores in zip(asked, found.scores, strict=True):
            expected = plain.integrated_gradients(family, lm, query, nodes.points, nodes.weights)
            assert gap(scores, expected) < 1e-10, query.uid


def test_scores_equal_the_plain_computation_in_float32(family: str, lm: LanguageModel) -> None:
    (nodes,) = quadrature("midpoint", 2)
    found = locant.attribute(lm, WORDS.all, rule="midpoint", steps=2)
    for query, scores in zip(WORDS.all, found.scores, strict=True):
        expected = plain.integrated_gradients(family, lm, query, nodes.points, nodes.weights)
        assert gap(scores, expected) < 1e-5, query.uid


def test_scores_before_the_activation_function_equal_the_plain_computation(family: str) -> None:
    lm = tiny(family, torch.float64)
    (nodes,) = quadrature("gauss-legendre", 2)
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.double], steps=2, hook="pre").scores[0]
        expected = plain.integrated_gradients(family, lm, WORDS.double, nodes.points, nodes.weights, "pre")
    assert gap(found, expected) < 1e-10


def test_exact_ablation_equals_zeroing_each_neuron_by_hand(family: str) -> None:
    lm = tiny(family, torch.float64)
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(layer, lm.neurons, 11)]
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.double], "exact").scores[0]
        expected = plain.ablations(family, lm, WORDS.double, units, None)
    assert gap(torch.stack([found[unit] for unit in units]), expected) < 1e-10


def test_exact_ablation_to_a_baseline_equals_setting_each_neuron_by_hand() -> None:
    lm = tiny("llama", torch.float64)
    baseline = torch.randn(lm.layers, lm.neurons, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(0, lm.neurons, 5)]
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.long], "exact", baseline=baseline).scores[0]
        expected = plain.ablations("llama", lm, WORDS.long, units, baseline)
    assert gap(torch.stack([found[unit] for unit in units]), expected) < 1e-10


def test_a_layers_scores_add_up_to_what_its_neurons_explain(family: str) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.long], steps=100)
        ((inputs, position, token),) = plain.read(family, lm, WORDS.long)
        for layer in range(lm.layers):
            with torch.no_grad():
                full = plain.probability(lm, inputs, position, token)
                with plain.at_position(lm.downs[layer], position, lambda values: values * 0):
                    explained = float(full - plain.probability(lm, inputs, position, token))
            total = float(found.scores[0, layer].sum())
            # What 100 points leave is little, and the attribution says how much
            assert total == pytest.approx(explained, abs=2e-4)
            assert float(found.completeness_error[0, layer]) == pytest.approx(abs(total - explained), abs=1e-12)


def test_a_query_scores_the_same_alone_and_beside_others(family: str, lm: LanguageModel) -> None:
    together = locant.attribute(lm, WORDS.all).scores
    for index, query in enumerate(WORDS.all):
        alone = locant.attribute(lm, [query]).scores[0]
        assert gap(together[index], alone) < 1e-5


@pytest.mark.parametrize("method", ["dai", "exact"])
def test_a_small_memory_budget_changes_nothing_but_the_time(method: str) -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        roomy = locant.attribute(lm, WORDS.all, method)
        tight = locant.attribute(lm, WORDS.all, method, memory=1)
    assert gap(tight.scores, roomy.scores) < 1e-12


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention"])
def test_every_attention_kernel_gives_the_same_scores(kernel: str) -> None:
    expected = locant.attribute(tiny("mistral", kernel="eager"), WORDS.all).scores
    assert gap(locant.attribute(tiny("mistral", kernel=kernel), WORDS.all).scores, expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_scored_in_float32_and_rank_neurons_alike(dtype: torch.dtype) -> None:
    fine = locant.attribute(tiny("llama"), [WORDS.short]).scores[0].flatten()
    coarse = locant.attribute(tiny("llama", dtype), [WORDS.short]).scores[0].flatten()
    assert coarse.dtype == torch.float32
    assert len(set(fine.topk(10).indices.tolist()) & set(coarse.topk(10).indices.tolist())) >= 8


def test_gradient_times_activation_is_the_right_rule_with_one_step(family: str, lm: LanguageModel) -> None:
    shortcut = locant.attribute(lm, WORDS.all, "gradient_x_activation").scores
    assert torch.equal(shortcut, locant.attribute(lm, WORDS.all, rule="riemann-right", steps=1).scores)


def test_the_joint_log_probability_is_explained_by_the_sum_over_its_tokens() -> None:
    lm = tiny("gpt2", torch.float64)
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.double], target="log_probability", steps=40)
        for layer in range(lm.layers):
            explained = 0.0
            for inputs, position, token in plain.read("gpt2", lm, WORDS.double):
                with torch.no_grad():
                    full = plain.probability(lm, inputs, position, token).log()
                    with plain.at_position(lm.downs[layer], position, lambda values: values * 0):
                        explained += float(full - plain.probability(lm, inputs, position, token).log())
            assert float(found.scores[0, layer].sum()) == pytest.approx(explained, abs=1e-9)


def test_every_family_of_the_table_is_tried() -> None:
    from locant.models import ARCHITECTURES

    tried = {tiny(name).model.config.model_type for name in FAMILIES}
    assert tried == set(ARCHITECTURES)
    assert {name for name in FAMILIES if tiny(name).architecture.kind == "masked"} == MASKED
    assert {name for name in FAMILIES if tiny(name).architecture.kind == "seq2seq"} == SEQ2SEQ
