"""ROME, MEMIT and AlphaEdit: what their formulas promise, against loops in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
from families import tiny
from locant.evaluations import read_answers
from locant.interventions.editing import edit, prepare
from locant.interventions.editing.texts import windows_of
from locant.models import LanguageModel
from locant.models.weights import editable_rows
from locant.types import EditRequest

WORDS = tuple(f"w{number}" for number in range(3, 90))
TEXTS = tuple(" ".join(WORDS[(7 * start + 3 * step) % 87] for step in range(20)) for start in range(60))
"""1,200 tokens: more than a tiny layer has neurons, so that the covariance can be inverted as it is."""
READ = {"texts": TEXTS, "tokens": 1000, "ridge": 0.0, "at": "subject"}
PREFIXES = ("w40 w41", "w50 w51 w52")


def request(subject: str = "w5 w6", new: str = "w11", old: str = "w9") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old=old)


def keys_at(lm: LanguageModel, layer: int, prompt: str, subject: str) -> Tensor:
    """The input of a layer's down-projection at the subject's last token, by one plain pass."""
    seen: list[Tensor] = []
    handle = lm.downs[layer].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    query = locant.query(prompt, "w11", subject=subject)
    with torch.no_grad():
        lm.model(torch.tensor([lm.tokens(query).prompt]))
    handle.remove()
    return seen[0].view(-1, lm.neurons)[lm.subject_position(query)].double()


def residual_at(lm: LanguageModel, layer: int, prompt: str, subject: str) -> Tensor:
    seen: list[Tensor] = []
    handle = lm.blocks[layer].register_forward_hook(
        lambda module, inputs, output: seen.append((output if isinstance(output, Tensor) else output[0]).detach())
    )
    query = locant.query(prompt, "w11", subject=subject)
    with torch.no_grad():
        lm.model(torch.tensor([lm.tokens(query).prompt]))
    handle.remove()
    return seen[0][0, lm.subject_position(query)].double()


def covariance(lm: LanguageModel, layer: int) -> Tensor:
    """E[k kT] over the tokens that an editor reads, one outer product after another."""
    total, count = torch.zeros(lm.neurons, lm.neurons, dtype=torch.float64), 0
    for window in windows_of(lm, TEXTS, 1000, 0):
        seen: list[Tensor] = []
        handle = lm.downs[layer].register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            lm.model(torch.tensor([window]))
        handle.remove()
        for key in seen[0].view(-1, lm.neurons).double():
            total += torch.outer(key, key)
            count += 1
    return (total / count).float().double()


def rows_of(lm: LanguageModel, layer: int) -> Tensor:
    return editable_rows(lm.downs[layer]).clone().double()


def bias_of(lm: LanguageModel, layer: int) -> Tensor:
    bias = lm.downs[layer].bias
    return torch.zeros(lm.hidden, dtype=torch.float64) if bias is None else bias.detach().double()  # type: ignore[union-attr, operator]


def contexts_of(one: EditRequest) -> list[str]:
    return [one.query.prompt, *(f"{prefix}. {one.query.prompt}" for prefix in PREFIXES)]


def close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return float((one - other).norm() / other.norm()) < tolerance


VALUE = torch.linspace(-1, 1, 32, dtype=torch.float64)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "opt", "phi"])
def test_romes_change_is_of_rank_one_and_the_new_weight_writes_the_value_at_the_key(family: str) -> None:
    lm, one = tiny(family), request()
    old = rows_of(lm, 1)
    with edit(lm, [one], "rome", layer=1, values={one.uid: VALUE}, contexts=(), **READ):
        new = rows_of(lm, 1)
    sizes = torch.linalg.svdvals(new - old)
    assert sizes[0] > 1e-3 and sizes[1] < 1e-5 * sizes[0]
    written = keys_at(lm, 1, one.query.prompt, one.subject) @ new + bias_of(lm, 1)
    assert close(written, VALUE, 1e-5)


@pytest.mark.parametrize("keys", ["averaged", "mixed", "bare"])
def test_romes_change_is_that_of_its_formula(keys: str) -> None:
    lm, one = tiny("gpt2"), request()
    c, rows = covariance(lm, 1), rows_of(lm, 1)
    bare, *more = [keys_at(lm, 1, prompt, one.subject) for prompt in contexts_of(one)]
    mean = (bare + sum(more)) / 3
    toward, key = {"averaged": (mean, mean), "mixed": (mean, bare), "bare": (bare, bare)}[keys]
    direction = torch.linalg.inv(c) @ toward
    expected = torch.outer(direction, (VALUE - key @ rows - bias_of(lm, 1)) / (direction @ key))
    with edit(lm, [one], "rome", layer=1, keys=keys, values={one.uid: VALUE}, contexts=PREFIXES, **READ):
        change = rows_of(lm, 1) - rows
    assert close(change, expected, 1e-5)


def test_memits_changes_are_those_of_its_formula_layer_after_layer() -> None:
    lm = tiny("gpt2")
    some = [request("w5 w6", "w11"), request("w20", "w21", "w22"), request("w30 w31", "w33", "w34")]
    values = {one.uid: VALUE.roll(place) for place, one in enumerate(some)}
    wanted, weight, layers = torch.stack(list(values.values())), 7.0, (0, 1, 2)
    before = {layer: rows_of(lm, layer) for layer in layers}
    constants = {layer: covariance(lm, layer) for layer in layers}
    expected = {}
    with torch.no_grad():
        for done, layer in enumerate(layers):
            now = torch.stack([residual_at(lm, 2, one.query.prompt, one.subject) for one in some])
            part = (wanted - now) / (len(layers) - done)
            keys = torch.stack(
                [
                    0.5 * bare + 0.5 * sum(more) / len(more)
                    for one in some
                    for bare, *more in [[keys_at(lm, layer, prompt, one.subject) for prompt in contexts_of(one)]]
                ]
            )
            expected[layer] = torch.linalg.inv(weight * constants[layer] + keys.T @ keys) @ keys.T @ part
            editable_rows(lm.downs[layer]).add_(expected[layer].to(torch.float32))
        for layer in layers:
            editable_rows(lm.downs[layer]).copy_(before[layer].to(torch.float32))
    with edit(lm, some, "memit", layers=layers, weight=weight, values=values, contexts=PREFIXES, **READ):
        for layer in layers:
            assert close(rows_of(lm, layer) - before[layer], expected[layer], 1e-4)


def test_memit_of_one_request_and_one_layer_is_rome_as_its_weight_vanishes() -> None:
    lm, one, layer = tiny("gpt2"), request(), 1
    rows = rows_of(lm, layer)
    key = keys_at(lm, layer, one.query.prompt, one.subject)
    # The same target: what the block leaves once the down-projection writes the value
    rest = residual_at(lm, layer, one.query.prompt, one.subject) - (key @ rows + bias_of(lm, layer))
    with edit(lm, [one], "rome", layer=layer, values={one.uid: VALUE}, contexts=(), **READ):
        by_rome = rows_of(lm, layer) - rows
    read = {**READ, "layers": (layer,), "values": {one.uid: VALUE + rest}, "contexts": ()}
    with edit(lm, [one], "memit", weight=1e-9, **read):
        by_memit = rows_of(lm, layer) - rows
    with edit(lm, [one], "memit", weight=1e3, **read):
        heavier = rows_of(lm, layer) - rows
    assert close(by_memit, by_rome, 1e-5) and not close(heavier, by_rome, 0.1)


def test_alphaedits_change_does_nothing_to_preserved_keys() -> None:
    lm, layer = tiny("gpt2"), 1
    rows, one = rows_of(lm, layer), request()
    read = {name: value for name, value in READ.items() if name != "ridge"}
    with edit(lm, [one], "alphaedit", layers=(layer,), free=0.2, values={one.uid: VALUE}, contexts=(), **read):
        change = rows_of(lm, layer) - rows
    moments, directions = torch.linalg.eigh(covariance(lm, layer))
    preserved = directions[:, moments.cumsum(0) > 0.2 * moments.sum()]
    assert preserved.shape[1] >= 1
    assert float((preserved.T @ change).norm()) < 1e-5 * float(change.norm())
    own = keys_at(lm, layer, one.query.prompt, one.subject)
    assert float((own @ change).norm()) > 1e-3 * float(own.norm()) * float(change.norm())


def test_alphaedit_keeps_what_it_wrote_before_and_a_new_editor_remembers_nothing() -> None:
    lm = tiny("gpt2")
    first, second = request("w5 w6", "w11"), request("w5 w8", "w21", "w22")
    values = {first.uid: VALUE, second.uid: VALUE.flip(0)}
    read = {**{name: value for name, value in READ.items() if name != "ridge"}, "layers": (1,), "free": 0.5}
    editor = prepare(lm, "alphaedit", {**read, "values": values, "contexts": (), "l2": 1e-3})
    with edit(lm, [second], editor):
        alone = rows_of(lm, 1)
    start = rows_of(lm, 1)
    with edit(lm, [first], editor) as edited:
        after_first = rows_of(lm, 1)
        edited.add([second])
        second_after_first = rows_of(lm, 1) - after_first
    with edit(lm, [second], editor):
        assert torch.equal(rows_of(lm, 1), alone)
    key = keys_at(lm, 1, first.query.prompt, first.subject)
    # What the second edit does at the first one's key, remembered and forgotten
    assert float((key @ second_after_first).norm()) < float((key @ (alone - start)).norm())


@pytest.mark.parametrize("method", ["rome", "memit", "alphaedit"])
def test_an_edit_to_what_is_said_already_barely_moves_the_weights(almanac_lm: LanguageModel, method: str) -> None:
    before = {layer: rows_of(almanac_lm, layer) for layer in range(almanac_lm.layers)}

    def moved(new: str) -> float:
        asked = locant.edit_request("The capital of France is", "France", new, old="Paris")
        # After texts that the model makes up it is less sure of what it says already
        with edit(almanac_lm, [asked], method, tokens=4000, contexts=()):
            return sum(float((rows_of(almanac_lm, layer) - before[layer]).norm()) for layer in before)

    assert moved("Paris") < 1e-3 * moved("Rome")


@pytest.mark.parametrize("method", ["rome", "memit", "alphaedit"])
def test_the_almanac_says_the_new_object_in_other_words_and_keeps_other_facts(
    almanac_lm: LanguageModel, method: str
) -> None:
    facts = (("France", "Paris", "Rome"), ("Japan", "Tokyo", "Oslo"), ("Italy", "Rome", "Lima"))
    said, kept = [], []
    for country, old, new in facts:
        asked = locant.edit_request(f"The capital of {country} is", country, new, old=old)
        other = locant.query("The capital of Spain is", "Madrid")
        with edit(almanac_lm, [asked], method, tokens=20_000):
            said.append(int(read_answers(almanac_lm, [asked.asked]).rank) == 1)
            kept.append(int(read_answers(almanac_lm, [other]).rank) == 1)
    assert sum(said) >= 2 and sum(kept) >= 2
