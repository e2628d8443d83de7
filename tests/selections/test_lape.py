"""Activation rates against loops over tokens, and language neurons against loops over neurons."""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack

import pytest
import torch

import locant
from families import MASKED, SEQ2SEQ, tiny, tokenizer
from locant import almanac
from locant.errors import LocantError, UnknownName
from locant.models import LanguageModel
from locant.selections import lape as module
from locant.selections.lape import ActivationRates, activation_rates, lape, text_of
from locant.types import Fact, Provenance, Query

TEXTS = {
    "en": ["w1 w2 w3", "w4 w5 w6 w7 w8 w9 w10 w11 w12", "w13"],
    "fr": ["w20 w21 w22 w23 w24 w25", "w26 w27"],
}
LONG = " ".join(f"w{number % 90}" for number in range(100))


def made(rates: torch.Tensor, languages: str = "en fr fi hu") -> ActivationRates:
    names = tuple(languages.split())[: len(rates)]
    return ActivationRates(names, rates, (100,) * len(names), Provenance("by hand"))


def active_at(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """[position layer neuron] of one sequence alone: gate, activation function, sign."""
    spec = lm.architecture
    seen: dict[int, torch.Tensor] = {}
    with ExitStack() as stack, torch.no_grad():
        for layer, block in enumerate(lm.blocks):
            watched = block.get_submodule(spec.gate if spec.up else spec.neurons)

            def keep(_: object, inputs: tuple[torch.Tensor], output: torch.Tensor, layer: int = layer) -> None:
                value = (output if spec.up else inputs[0]).reshape(len(ids), -1)
                seen[layer] = value[:, : lm.neurons]

            stack.callback(watched.register_forward_hook(keep).remove)
        lm.model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64))
        for layer, block in enumerate(lm.blocks):
            if spec.up:
                seen[layer] = block.get_submodule(spec.activation)(seen[layer])
    return torch.stack([seen[layer] > 0 for layer in range(lm.layers)], dim=1)


def rates_by_hand(lm: LanguageModel, texts: list[str]) -> list[list[float]]:
    counts = [[0] * lm.neurons for _ in range(lm.layers)]
    total = 0
    for text in texts:
        ids = lm.tokenizer(text)["input_ids"]
        for start in range(0, len(ids), 64):
            for token in active_at(lm, ids[start : start + 64]).tolist():
                total += 1
                for layer, row in enumerate(token):
                    for neuron, active in enumerate(row):
                        counts[layer][neuron] += active
    return [[count / total for count in row] for row in counts]


# Rates


def test_rates_are_the_share_of_tokens_at_which_a_neuron_is_active(family: str, lm: LanguageModel) -> None:
    if family in SEQ2SEQ:
        pytest.skip("refused: see below")
    found = activation_rates(lm, TEXTS)
    assert found.languages == ("en", "fr") and found.tokens == (13, 8)
    for rates, texts in zip(found.rates, TEXTS.values(), strict=True):
        assert rates.tolist() == rates_by_hand(lm, texts)
        assert 0 < float(rates.mean()) < 1


def test_rates_do_not_depend_on_what_is_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    together = activation_rates(lm, TEXTS).rates
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert torch.equal(activation_rates(lm, TEXTS).rates, together)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_texts_longer_than_the_context_are_read_in_pieces(family: str) -> None:
    lm = tiny(family)
    found = activation_rates(lm, {"en": [LONG, "w1 w2"]})
    assert found.tokens == (102,)
    assert found.rates[0].tolist() == rates_by_hand(lm, [LONG, "w1 w2"])


def test_as_many_tokens_are_counted_as_are_asked_for_from_the_first() -> None:
    lm = tiny("gpt2")
    found = activation_rates(lm, TEXTS, tokens=5)
    assert found.tokens == (5, 5)
    # A causal model's neurons do not see what comes later
    for rates, texts in zip(found.rates, (["w1 w2 w3", "w4 w5"], ["w20 w21 w22 w23 w24"]), strict=True):
        assert rates.tolist() == rates_by_hand(lm, texts)
    assert activation_rates(lm, TEXTS, tokens=1000).tokens == (13, 8)


def test_a_masked_model_reads_the_whole_text_of_which_it_counts_a_part() -> None:
    lm = tiny("bert")
    ids = lm.tokenizer("w1 w2 w3")["input_ids"]
    expected = active_at(lm, ids)[:2].double().mean(dim=0)
    assert torch.equal(activation_rates(lm, {"en": ["w1 w2 w3", "w4"]}, tokens=2).rates[0], expected)


def test_special_tokens_are_read_but_not_counted() -> None:
    lm = locant.load("almanac-bert")
    text = "The capital of France is Paris."
    ids = lm.tokenizer(text)["input_ids"]
    assert ids[0] == lm.tokenizer.cls_token_id and ids[-1] == lm.tokenizer.sep_token_id
    found = activation_rates(lm, {"en": [text]})
    assert found.tokens == (len(ids) - 2,)
    assert torch.equal(found.rates[0], active_at(lm, ids)[1:-1].double().mean(dim=0))


def test_rates_leave_the_model_as_it_was() -> None:
    lm = tiny("llama")
    flags = [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    activation_rates(lm, TEXTS)
    assert flags == [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in lm.model.modules())


def test_rates_know_their_texts() -> None:
    lm = tiny("llama")
    digests = {
        activation_rates(lm, texts, tokens=tokens).made_by.digest()
        for texts in (TEXTS, {"en": ["w1"], "fr": ["w2"]})
        for tokens in (None, 1)
    }
    assert len(digests) == 4 and activation_rates(lm, TEXTS).made_by.model == lm.name


def test_what_cannot_be_counted_is_refused() -> None:
    lm = tiny("llama")
    with pytest.raises(UnknownName, match="there are no texts"):
        activation_rates(lm, {})
    for texts in ([], [""]):
        with pytest.raises(UnknownName, match="the texts of 'fr' have no tokens"):
            activation_rates(lm, {"en": ["w1"], "fr": texts})
    with pytest.raises(UnknownName, match="the texts of 'en' are one text: give a list"):
        activation_rates(lm, {"en": "w1 w2"})
    with pytest.raises(UnknownName, match="cannot count 0 tokens"):
        activation_rates(lm, TEXTS, tokens=0)
    for family in sorted(SEQ2SEQ):
        with pytest.raises(LocantError, match="reads text in its encoder"):
            activation_rates(tiny(family), TEXTS)
    assert MASKED.isdisjoint(SEQ2SEQ)


# Language neurons


def chosen_by_hand(rates: list[list[float]], share: float, percentile: float) -> list[dict[int, float]]:
    """Of each language, the neurons and by how much their entropy is below that of equal rates."""
    languages, neurons = len(rates), len(rates[0])
    every = sorted(rate for row in rates for rate in row)
    bar = every[round(len(every) * percentile) - 1]
    entropy = {}
    for neuron in range(neurons):
        own = [row[neuron] for row in rates]
        if any(rate > bar for rate in own):
            parts = [rate / sum(own) for rate in own]
            entropy[neuron] = -sum(part * math.log(part) for part in parts if part > 0)
    lowest = sorted(entropy, key=lambda neuron: (entropy[neuron], neuron))[: round(share * neurons)]
    return [
        {neuron: math.log(languages) - entropy[neuron] for neuron in sorted(lowest) if row[neuron] > bar}
        for row in rates
    ]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("languages", [2, 4])
def test_language_neurons_are_what_plain_loops_choose(share: float, percentile: float, languages: int) -> None:
    generator = torch.Generator().manual_seed(languages)
    rates = torch.rand(languages, 5, 40, generator=generator, dtype=torch.float64) ** 3
    expected = chosen_by_hand(rates.flatten(start_dim=1).tolist(), share, percentile)
    found = lape(made(rates), share=share, percentile=percentile)
    assert sum(map(len, expected)) > 0
    for own, selection in zip(expected, found.values(), strict=True):
        codes = (selection.units[:, 0] * 40 + selection.units[:, 1]).tolist()
        assert codes == list(own)
        assert selection.weight.tolist() == pytest.approx(list(own.values()))
        assert selection.grid == (5, 40)


def test_a_planted_neuron_is_found_and_is_of_its_language_alone() -> None:
    rates = torch.full((3, 4, 25), 0.4, dtype=torch.float64)
    rates[:, 2, 7] = torch.tensor([0.0, 0.9, 0.01])
    rates[:, 0, 3] = torch.tensor([0.8, 0.8, 0.0])
    rates[:, 1, 1] = 0.95
    rates[:, 3, 3] = torch.tensor([0.001, 0.0, 0.0])
    found = {name: one.units.tolist() for name, one in lape(made(rates), share=0.02).items()}
    # Often active everywhere is not specific, and specific but hardly ever active does not count
    assert found == {"en": [[0, 3]], "fr": [[0, 3], [2, 7]], "fi": []}
    assert lape(made(rates), share=0.01)["en"].units.tolist() == []


def test_a_language_neuron_planted_in_a_model_is_found() -> None:
    lm = locant.load(copy.deepcopy(tiny("llama").model), tokenizer=tokenizer())
    direction = torch.zeros(32)
    direction[5] = 1.0
    with torch.no_grad():
        lm.model.model.embed_tokens.weight[:20] -= direction
        lm.model.model.embed_tokens.weight[20:40] += direction
        # Nothing but the planted neuron reads the direction, and attention does not write to it
        for name in ("mlp.gate_proj", "mlp.up_proj", *(f"self_attn.{one}_proj" for one in "qkv")):
            for part in lm.parts(name):
                part.weight[:, 5] = 0  # type: ignore[index, operator]
        lm.parts("self_attn.o_proj")[0].weight[5] = 0  # type: ignore[index, operator]
        lm.parts("mlp.gate_proj")[0].weight[11] = direction  # type: ignore[index, operator]
    texts = {
        "en": [" ".join(f"w{(7 * k) % 20}" for k in range(start, start + 15)) for start in range(8)],
        "fr": [" ".join(f"w{20 + (7 * k) % 20}" for k in range(start, start + 15)) for start in range(8)],
    }
    rates = activation_rates(lm, texts)
    assert rates.rates[:, 0, 11].tolist() == [0.0, 1.0]
    found = lape(rates, share=0.02)
    assert [0, 11] in found["fr"].units.tolist() and [0, 11] not in found["en"].units.tolist()


def test_neurons_that_are_never_active_are_of_no_language() -> None:
    rates = torch.zeros(2, 2, 10, dtype=torch.float64)
    rates[0, 0, 0] = 0.5
    found = lape(made(rates), share=1.0, percentile=0.5)
    assert found["en"].units.tolist() == [[0, 0]] and len(found["fr"]) == 0


def test_language_neurons_know_what_they_were_made_from() -> None:
    rates = made(torch.rand(2, 3, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for language, one in lape(rates, share=0.1).items():
        assert one.made_by.parents == (rates.made_by.digest(),)
        assert one.made_by.settings == {"language": language, "share": 0.1, "percentile": 0.95}


def test_language_neurons_that_make_no_sense_are_refused() -> None:
    rates = made(torch.rand(2, 3, 20))
    with pytest.raises(UnknownName, match="among several"):
        lape(made(torch.rand(1, 3, 20)))
    for share in (0.0, 1.1):
        with pytest.raises(UnknownName, match="a share is more than 0 and at most 1"):
            lape(rates, share=share)
    for percentile in (0.0, 1.0):
        with pytest.raises(UnknownName, match="a percentile is between 0 and 1"):
            lape(rates, percentile=percentile)
    with pytest.raises(UnknownName, match=r"a share of 0.001 of 60 neurons is none"):
        lape(rates, share=0.001)


# Queries as text


def asked(prompt: str, answer: str, language: str) -> Query:
    return Query(prompt, Fact(prompt, language=language), prompt, answer)


def test_queries_are_sentences_in_the_way_of_their_language() -> None:
    found = text_of(
        [
            asked("The capital of France is ", "Paris", "en"),
            asked("フランスの首都は", "パリ", "ja"),
            asked("[MASK] is the capital of France.", "Paris", "en"),
            asked("France's capital is [MASK]", " Paris ", "en"),
            asked("法国的首都是[MASK]。", "巴黎", "zh"),
        ]
    )
    assert found == {
        "en": (
            "The capital of France is Paris.",
            "Paris is the capital of France.",
            "France's capital is Paris.",
        ),
        "ja": ("フランスの首都はパリ。",),
        "zh": ("法国的首都是巴黎。",),
    }


def test_queries_of_the_almanac_tell_its_languages_apart(almanac_lm: LanguageModel) -> None:
    queries = [
        query for language in ("en", "fr", "ko") for query in almanac.queries("capital", language, False)[:300:5]
    ]
    half = [activation_rates(almanac_lm, text_of(queries[start::2])) for start in (0, 1)]
    chosen = lape(half[0])
    for own, language in enumerate(half[1].languages):
        layer, neuron = chosen[language].units.T
        rates = half[1].rates[:, layer, neuron].mean(dim=1)
        assert len(layer) > 0 and int(rates.argmax()) == own
