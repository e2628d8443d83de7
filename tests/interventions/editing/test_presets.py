"""Settings per model: the papers' where there are any, and layers that exist everywhere."""

from __future__ import annotations

import pytest

from locant.interventions.editing.presets import preset


def test_models_of_the_papers_have_their_settings() -> None:
    xl, gptj, llama = preset("gpt2", 48, 6400), preset("gptj", 28, 16384), preset("llama", 32, 11008)
    assert (xl.layer, xl.rome.clamp, xl.rome.rate, xl.rome.unit, xl.rome.steps) == (17, 4.0, 0.5, "one", 20)
    assert (xl.layers, xl.weight, xl.memit.clamp, xl.memit.steps) == ((13, 14, 15, 16, 17), 20_000, 0.75, 20)
    assert (gptj.layer, gptj.layers, gptj.weight, gptj.memit.steps) == (5, (3, 4, 5, 6, 7, 8), 15_000, 25)
    assert (llama.layer, llama.layers, llama.rome.decay, llama.memit.clamp) == (5, (4, 5, 6, 7, 8), 1e-3, 4.0)
    assert (preset("gpt2", 24, 4096).layer, preset("gpt2", 24, 4096).rome.clamp) == (8, 3.0)
    assert (xl.threshold, xl.l2, xl.free) == (2e-2, 10.0, None)


@pytest.mark.parametrize("layers", [1, 2, 3, 6, 11, 12, 13, 24, 32, 80])
def test_every_model_is_edited_in_layers_that_it_has(layers: int) -> None:
    found = preset("llama", layers, 100)
    assert 0 <= found.layer < layers
    assert found.layers == tuple(range(found.layers[0], found.layers[-1] + 1))
    assert found.layers[0] >= 0 and found.layers[-1] < layers


def test_shallow_models_are_edited_at_the_prompts_end() -> None:
    assert preset("llama", 11, 100).at == "last" and preset("llama", 12, 100).at == "subject"
    assert preset("llama", 32, 100).layer == 8 and preset("llama", 32, 100).layers == (4, 5, 6, 7, 8)
