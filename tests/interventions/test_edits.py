"""Edits against formulas by hand; weights byte-identical afterwards, whatever happened in between."""

from __future__ import annotations

import copy
import hashlib
import math
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import locant
from families import WORDS, tiny, tokenizer
from locant import almanac
from locant.errors import BadQuery, LocantError, UnknownName
from locant.interventions import erase, update
from locant.models import LanguageModel
from locant.models.weights import changing_value_vectors
from locant.types import Provenance, Selection

ASKED = WORDS.all
NARROW = "opt post-norm"
"""Its embeddings are narrower than its residual stream."""


class Stop(Exception):
    """Raised by tests in the middle of something."""


def neurons(lm: LanguageModel, every: int = 3) -> Selection:
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(layer, lm.neurons, every)]
    return Selection((), torch.tensor(units), torch.ones(len(units)), (lm.layers, lm.neurons), Provenance("by hand"))


def digest(lm: LanguageModel) -> str:
    """Every byte of every weight."""
    every = hashlib.sha256()
    for weight in (*lm.model.parameters(), *lm.model.buffers()):
        every.update(weight.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return every.hexdigest()


def vectors(lm: LanguageModel, layer: int) -> list[list[float]]:
    return [[float(value) for value in row] for row in lm.value_vectors(layer)]


# Erasing


def test_erased_neurons_write_nothing_and_the_others_what_they_did(family: str, lm: LanguageModel) -> None:
    chosen = neurons(lm)
    before = [lm.value_vectors(layer).clone() for layer in range(lm.layers)]
    with erase(lm, chosen):
        for layer, units in chosen.by_layer().items():
            expected = before[layer].clone()
            expected[units] = 0
            assert torch.equal(lm.value_vectors(layer), expected)


def test_erasing_equals_suppressing_at_all_positions(family: str, lm: LanguageModel) -> None:
    chosen = neurons(lm)
    untouched = locant.answer_log_probability(lm, ASKED)
    with locant.suppress(lm, chosen, "all"):
        expected = locant.answer_log_probability(lm, ASKED)
    with erase(lm, chosen):
        found = locant.answer_log_probability(lm, ASKED)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert ((found - untouched).abs() > 1e-4).all()


def test_an_erased_neuron_has_no_effect_left_to_find() -> None:
    lm = tiny("llama")
    chosen = neurons(lm)
    with erase(lm, chosen):
        scores = locant.attribute(lm, [WORDS.short], "exact").scores[0]
    layer, neuron = chosen.units.T
    assert float(scores[layer, neuron].abs().max()) < 1e-7 < 1e-5 < float(scores.abs().max())


# Updating


def rewritten_by_hand(
    lm: LanguageModel, layer: int, neuron: int, embeddings: nn.Module, lambdas: tuple[float, float], scaled: bool
) -> list[float]:
    """v - lambda1 E(w4) + lambda2 E(w50), in Python's own floats."""
    value = vectors(lm, layer)[neuron]
    old, new = ([float(x) for x in embeddings.weight[token].detach()] for token in (4, 50))

    def length(vector: list[float]) -> float:
        return math.sqrt(sum(x * x for x in vector))

    by = [length(value) / length(row) if scaled else 1.0 for row in (old, new)]
    return [v - lambdas[0] * by[0] * o + lambdas[1] * by[1] * n for v, o, n in zip(value, old, new, strict=True)]


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("which", ["input", "output"])
def test_an_update_is_the_formula(family: str, lm: LanguageModel, which: str, scaled: bool) -> None:
    if family == NARROW:
        pytest.skip("refused: see below")
    table = lm.model.get_input_embeddings() if which == "input" else lm.model.get_output_embeddings()
    chosen = neurons(lm, every=11)
    before = {layer: vectors(lm, layer) for layer in range(lm.layers)}
    expected = {
        (layer, neuron): rewritten_by_hand(lm, layer, neuron, table, (0.5, 3.0), scaled)
        for layer, neuron in chosen.units.tolist()
    }
    settings = {"embeddings": which, "lambda1": 0.5, "lambda2": 3.0, "scaled": scaled}
    with update(lm, chosen, WORDS.short, "w50 w51", **settings):  # type: ignore[arg-type]
        after = {layer: vectors(lm, layer) for layer in range(lm.layers)}
    for layer in range(lm.layers):
        for neuron in range(lm.neurons):
            known = expected.get((layer, neuron))
            if known is None:
                assert after[layer][neuron] == before[layer][neuron]
            else:
                assert after[layer][neuron] == pytest.approx(known, abs=1e-5)
                assert after[layer][neuron] != pytest.approx(before[layer][neuron], abs=1e-2)


def test_the_papers_numbers_are_the_defaults() -> None:
    lm = tiny("gpt2")
    chosen = neurons(lm)
    table = lm.model.get_output_embeddings()
    expected = rewritten_by_hand(lm, 1, 1, table, (1.0, 8.0), scaled=True)
    with update(lm, chosen, WORDS.short, "w50"):
        assert vectors(lm, 1)[1] == pytest.approx(expected, abs=1e-5)


def test_a_neuron_that_is_active_below_zero_is_stepped_the_other_way() -> None:
    lm = tiny("llama")
    chosen = neurons(lm)
    activations = locant.attribute(lm, [WORDS.short], "activation").activations[0]
    before = [lm.value_vectors(layer).clone() for layer in range(lm.layers)]

    def steps(**given: torch.Tensor) -> torch.Tensor:
        with update(lm, chosen, WORDS.short, "w50", **given):  # type: ignore[arg-type]
            return torch.cat([(lm.value_vectors(at) - before[at])[own] for at, own in chosen.by_layer().items()])

    layer, neuron = chosen.units.T
    signs = activations[layer, neuron].sign()[:, None]
    assert {float(sign) for sign in signs} == {-1.0, 1.0}
    assert torch.allclose(steps(activations=activations), signs * steps(), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once_at_the_end(dtype: torch.dtype) -> None:
    lm = tiny("llama", dtype)
    before = digest(lm)
    expected = rewritten_by_hand(lm, 1, 1, lm.model.get_output_embeddings(), (1.0, 8.0), scaled=True)
    with update(lm, neurons(lm), WORDS.short, "w50"):
        found = lm.value_vectors(1)[1].clone()
    assert found.tolist() == pytest.approx(expected, rel=torch.finfo(dtype).eps, abs=1e-5)
    assert digest(lm) == before


def test_answers_are_the_tokens_the_model_would_say_after_the_prompt(almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    query = locant.query("The capital of France is", "Paris")
    chosen = locant.random_set(_nothing_of(lm, 3), 0, layer_matched=False)
    weight = lm.model.get_output_embeddings().weight
    paris, rome = (int(lm.tokenizer(f"{query.prompt} {word}")["input_ids"][-1]) for word in ("Paris", "Rome"))
    assert (lm.text_of([paris]), lm.text_of([rome])) == ("Paris", "Rome")
    ((layer, neuron), *_) = chosen.units.tolist()
    before = lm.value_vectors(layer)[neuron].clone()
    with update(lm, chosen, query, "Rome", scaled=False):
        found = lm.value_vectors(layer)[neuron] - before
    assert torch.allclose(found, 8 * weight[rome] - weight[paris], atol=1e-5)


def _nothing_of(lm: LanguageModel, count: int) -> Selection:
    units = torch.tensor([[0, neuron] for neuron in range(count)])
    return Selection((), units, torch.ones(count), (lm.layers, lm.neurons), Provenance("by hand"))


# On the embedded model, which knows facts


def counterfacts() -> list[tuple[locant.Query, str]]:
    """A query of each of some relations, with the one-token object of another of its facts."""
    lm = locant.load("almanac")
    numbers = random.Random(0)
    found = []
    for relation in ("capital", "continent", "colour", "instrument", "official_language"):
        known = [q for q in almanac.queries(relation, "en", False) if len(lm.tokens(q).answers[0]) == 1]
        for query in numbers.sample(known, 2):
            others = [q.answer for q in known if lm.tokens(q).answers[0] != lm.tokens(query).answers[0]]
            found.append((query, numbers.choice(others)))
    return found


def test_updating_a_facts_own_neurons_makes_the_model_say_the_new_object(almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    facts = counterfacts()
    before = digest(lm)
    gains: dict[str, list[float]] = {"signed": [], "unsigned": []}
    for query, new in facts:
        attribution = locant.attribute(lm, [query], "dai")
        chosen = locant.select(attribution, "top", k=20)
        wanted = [replace(query, answer=new)]
        prob = float(locant.answer_probability(lm, wanted))
        assert prob < 0.5
        for name, signs in (("signed", attribution.activations[0]), ("unsigned", None)):
            with update(lm, chosen, query, new, activations=signs):
                gains[name].append(float(locant.answer_probability(lm, wanted)) - prob)
    assert min(gains["signed"]) > 0.5
    # Half of a gated layer's neurons are active below zero, and push the new object away
    assert sum(gain < 0 for gain in gains["unsigned"]) >= 2
    assert sum(gains["unsigned"]) > 0
    assert digest(lm) == before


# Undone


@pytest.mark.parametrize("edit", ["erase", "update"])
@pytest.mark.parametrize("ending", ["in peace", "by an exception", "nested"])
def test_every_byte_is_as_before_however_it_ends(family: str, lm: LanguageModel, edit: str, ending: str) -> None:
    if edit == "update" and family == NARROW:
        pytest.skip("refused: see below")
    before = digest(lm)
    changed = erase(lm, neurons(lm)) if edit == "erase" else update(lm, neurons(lm), WORDS.short, "w50")
    within = pytest.raises(Stop) if ending == "by an exception" else nullcontext()
    with within, changed:
        inside = digest(lm)
        assert inside != before
        if ending == "nested":
            with erase(lm, neurons(lm, every=2)):
                assert digest(lm) not in (inside, before)
            assert digest(lm) == inside
        if ending == "by an exception":
            raise Stop
    assert digest(lm) == before


def test_odd_bytes_survive_too() -> None:
    lm = locant.load(copy.deepcopy(tiny("gpt2").model), tokenizer=tokenizer())
    odd = torch.tensor([-0.0, float("nan"), float("inf"), 1e-42])
    with torch.no_grad():
        lm.downs[0].weight[0, :4] = odd  # type: ignore[index, operator]
    before = digest(lm)
    with erase(lm, neurons(lm)):
        assert not lm.downs[0].weight[0].any()  # type: ignore[index, union-attr, operator]
    assert digest(lm) == before


def test_a_change_that_breaks_while_it_is_made_leaves_nothing_behind() -> None:
    lm = tiny("llama")
    before = digest(lm)

    def broken(values: torch.Tensor) -> torch.Tensor:
        raise Stop

    def misshapen(values: torch.Tensor) -> torch.Tensor:
        return values[:, :5]

    units = torch.tensor([0, 3])
    for change, error in ((broken, Stop), (misshapen, RuntimeError)):
        changes = {lm.downs[0]: (units, torch.zeros_like), lm.downs[1]: (units, change)}
        with pytest.raises(error), changing_value_vectors(changes):
            pytest.fail("nothing may run under it")
        assert digest(lm) == before


def test_weights_that_layers_share_are_changed_once_and_restored() -> None:
    model = copy.deepcopy(tiny("llama").model)
    model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight
    lm = locant.load(model, tokenizer=tokenizer())
    before = digest(lm)
    both = torch.tensor([[0, 1], [1, 1]])
    chosen = Selection((), both, torch.ones(2), (lm.layers, lm.neurons), Provenance("by hand"))
    expected = rewritten_by_hand(lm, 0, 1, lm.model.get_output_embeddings(), (1.0, 8.0), scaled=True)
    with update(lm, chosen, WORDS.short, "w50"):
        assert vectors(lm, 0)[1] == pytest.approx(expected, abs=1e-5)
    assert digest(lm) == before


def test_weights_of_a_model_on_disk_are_changed_in_memory_only(tmp_path: Path) -> None:
    tiny("gpt2").model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    saved = (tmp_path / "model.safetensors").read_bytes()
    lm = locant.load(tmp_path)
    before = digest(lm)
    with erase(lm, neurons(lm)):
        assert digest(lm) != before
    assert digest(lm) == before
    assert (tmp_path / "model.safetensors").read_bytes() == saved


# Refused


class Wrapped(nn.Linear):
    """A projection that may do more than its weight says."""


@pytest.mark.parametrize("how", ["wrapped", "packed", "subclassed"])
def test_weights_that_are_not_plain_are_refused_before_any_is_changed(how: str) -> None:
    lm = locant.load(copy.deepcopy(tiny("llama").model), tokenizer=tokenizer())
    last = lm.downs[-1]
    if how == "wrapped":
        last.__class__ = Wrapped
    elif how == "packed":
        last.weight = nn.Parameter(torch.zeros(32, 48, dtype=torch.uint8), requires_grad=False)
    else:
        last.weight = nn.Parameter(torch.zeros(32, 48).as_subclass(_Packed), requires_grad=False)
    first = lm.downs[0].weight.clone()
    said = "cannot be edited: load the model unquantised and unwrapped"
    with pytest.raises(LocantError, match=said), erase(lm, neurons(lm)):
        pytest.fail("nothing may run under it")
    assert torch.equal(lm.downs[0].weight, first)


class _Packed(torch.Tensor):
    """A tensor that holds something else than its numbers."""


def test_offloaded_weights_are_refused(tmp_path: Path) -> None:
    tiny("llama").model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}
    lm = locant.load(tmp_path, device_map=places)
    first = lm.downs[0].weight.clone()
    with pytest.raises(LocantError, match="an offloaded layer cannot be edited"), erase(lm, neurons(lm)):
        pytest.fail("nothing may run under it")
    assert torch.equal(lm.downs[0].weight, first)


@pytest.mark.parametrize("which", ["input", "output"])
def test_embeddings_narrower_than_the_residual_stream_are_refused(which: str) -> None:
    lm = tiny(NARROW)
    with pytest.raises(LocantError, match=f"its {which} embeddings are 16 wide and its residual stream 32"):
        update(lm, neurons(lm), WORDS.short, "w50", embeddings=which).__enter__()  # type: ignore[arg-type]


def test_what_cannot_be_said_or_does_not_exist_is_refused() -> None:
    lm = tiny("llama")
    chosen = neurons(lm)
    with pytest.raises(BadQuery, match="'w4' and 'w4 w5' begin with the same token, 'w4'"):
        update(lm, chosen, WORDS.short, "w4 w5")
    with pytest.raises(BadQuery, match="no tokens for the answer 'Rome'"):
        update(lm, chosen, WORDS.short, "Rome")
    other = replace(chosen, grid=(4, 48))
    with pytest.raises(UnknownName, match=r"neurons\) \(4, 48\), this one has \(3, 48\)"), erase(lm, other):
        pytest.fail("nothing may run under it")
    heads = replace(chosen, kind="head")
    with pytest.raises(UnknownName, match="a selection of kind 'head'"), erase(lm, heads):
        pytest.fail("nothing may run under it")
