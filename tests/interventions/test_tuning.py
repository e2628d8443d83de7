"""Tuning against gradients and optimiser steps by hand; only the chosen vectors change, and none for good."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

import locant
from families import WORDS, tiny, tokenizer
from locant import almanac
from locant.errors import BadQuery, LocantError, UnknownName
from locant.interventions import erase
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.types import Provenance, Query, Selection

ASKED = WORDS.all


class Stop(Exception):
    """Raised by tests in the middle of something."""


def selected(lm: LanguageModel, every: int = 7, layers: Sequence[int] = (0, 2)) -> Selection:
    units = [(layer, neuron) for layer in layers for neuron in range(layer, lm.neurons, every)]
    return Selection((), torch.tensor(units), torch.ones(len(units)), (lm.layers, lm.neurons), Provenance("by hand"))


def everything(lm: LanguageModel) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: each.detach().clone() for name, each in (*lm.model.named_parameters(), *lm.model.named_buffers())}


def digest(lm: LanguageModel) -> str:
    """Every byte of every parameter and buffer."""
    every = hashlib.sha256()
    for name, each in everything(lm).items():
        every.update(name.encode() + each.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return every.hexdigest()


def fresh(family: str) -> LanguageModel:
    return locant.load(copy.deepcopy(tiny(family).model), tokenizer=tokenizer())


def places(
    lm: LanguageModel, units: Selection, which: Sequence[str] = ("up", "gate", "down")
) -> dict[str, torch.Tensor]:
    """Of each parameter that holds vectors of the units, where they are."""
    spec = lm.architecture
    name_of = {id(one): name for name, one in lm.model.named_parameters()}
    found: dict[str, torch.Tensor] = {}

    def mark(one: torch.Tensor, axis: int, place: int) -> None:
        where = found.setdefault(name_of[id(one)], torch.zeros(one.shape, dtype=torch.bool))
        where.select(axis, place).fill_(True)

    for layer, neuron in units.units.tolist():
        block = lm.blocks[layer]
        read = {"up": spec.up, "gate": spec.gate} if spec.up else {"up": spec.gate}
        for kind, name in read.items():
            if kind in which:
                part = block.get_submodule(name)  # type: ignore[arg-type]
                place = neuron + (lm.neurons if kind == "up" and spec.up == spec.gate else 0)
                mark(part.weight, 1 if type(part) is Conv1D else 0, place)  # type: ignore[arg-type]
                if part.bias is not None:
                    mark(part.bias, 0, place)  # type: ignore[arg-type]
        if "down" in which:
            down = block.get_submodule(spec.neurons)
            mark(down.weight, 0 if type(down) is Conv1D else 1, neuron)  # type: ignore[arg-type]
    return found


def loss_by_hand(lm: LanguageModel, queries: Sequence[Query]) -> torch.Tensor:
    """From the model's own logits, each query alone."""
    losses = []
    for query in queries:
        tokens = lm.tokens(query)
        sites = lm.sites([(tokens, tokens.answers[0])])
        logits = lm.model(**lm.inputs(sites)).logits.log_softmax(-1)
        losses.append(-logits[sites.sequence, sites.position, sites.target].sum())
    return torch.stack(losses).mean()


@contextmanager
def gradients(lm: LanguageModel) -> Iterator[dict[str, nn.Parameter]]:
    parameters = dict(lm.model.named_parameters())
    for one in parameters.values():
        one.requires_grad_()
        one.grad = None
    yield parameters
    for one in parameters.values():
        one.grad = None


# What changes


def test_only_the_vectors_of_the_chosen_neurons_change_and_none_after(family: str, lm: LanguageModel) -> None:
    chosen = selected(lm)
    before, flags = everything(lm), [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    expected, untouched = places(lm, chosen), digest(lm)
    with tuned(lm, ASKED, chosen, steps=3, rate=1e-2) as tuning:
        inside = everything(lm)
    biased = lm.parts(lm.architecture.gate)[0].bias is not None
    assert len(expected) == 2 * (2 + (lm.architecture.up not in (None, lm.architecture.gate)) + biased)
    for name, old in before.items():
        changed = inside[name] != old
        allowed = expected.get(name, torch.zeros_like(changed))
        assert not changed[~allowed].any(), name
        # A ReLU's neuron may be silent for every query, and then nothing reaches what it reads
        assert not allowed.any() or changed[allowed].float().mean() > (0.5 if changed.ndim > 1 else 0.2), name
    assert tuning.parameters == sum(int(where.sum()) for where in expected.values())
    assert digest(lm) == untouched
    assert flags == [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in lm.model.modules())


def test_the_first_step_is_adams_with_the_models_own_gradient(family: str, lm: LanguageModel) -> None:
    """Adam's first step is rate * gradient / (|gradient| + eps), so its size tells nothing and its sign all."""
    chosen, rate = selected(lm), 1e-3
    lm = fresh(family)
    before = everything(lm)
    with gradients(lm) as parameters:
        loss = loss_by_hand(lm, ASKED)
        loss.backward()
        slopes = {name: one.grad.clone() for name, one in parameters.items() if one.grad is not None}
    with tuned(lm, ASKED, chosen, steps=1, rate=rate) as tuning:
        inside = everything(lm)
    assert tuning.losses == pytest.approx((float(loss.detach()),), rel=1e-4)
    compared = 0
    for name, where in places(lm, chosen).items():
        slope = slopes[name][where]
        clear = slope.abs() > 1e-4
        moved = (inside[name] - before[name])[where][clear]
        assert torch.allclose(moved, -rate * slope.sign()[clear], rtol=2e-3, atol=1e-6), name
        compared += int(clear.sum())
    assert compared > 100


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "bert"])
def test_steps_are_adams_by_hand(family: str) -> None:
    lm = fresh(family)
    chosen, rate, steps = selected(lm), 3e-3, 4
    with tuned(lm, ASKED, chosen, steps=steps, rate=rate) as tuning:
        found = everything(lm)
    where = places(lm, chosen)
    first = {name: torch.zeros(int(mask.sum())) for name, mask in where.items()}
    second = {name: torch.zeros(int(mask.sum())) for name, mask in where.items()}
    losses = []
    for step in range(1, steps + 1):
        with gradients(lm) as parameters:
            loss = loss_by_hand(lm, ASKED)
            loss.backward()
            losses.append(float(loss.detach()))
            for name, mask in where.items():
                slope = parameters[name].grad[mask]  # type: ignore[index]
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                size = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
                with torch.no_grad():
                    parameters[name][mask] -= rate * first[name] / (1 - 0.9**step) / size
    assert tuning.losses == pytest.approx(losses, rel=1e-3)
    for name, mask in where.items():
        assert float((lm.model.get_parameter(name).detach()[mask] - found[name][mask]).abs().mean()) < 1e-5, name


@pytest.mark.parametrize(
    ("family", "which"),
    [("llama", ("down",)), ("llama", ("gate",)), ("phi3", ("up",)), ("phi3", ("gate", "down")), ("gpt2", ("up",))],
)
def test_only_the_vectors_asked_for_are_trained(family: str, which: tuple[str, ...]) -> None:
    lm = tiny(family)
    before = everything(lm)
    with tuned(lm, ASKED, selected(lm), steps=2, rate=1e-2, vectors=which):
        inside = everything(lm)
    expected = places(lm, selected(lm), which)
    changed = {name: inside[name] != old for name, old in before.items()}
    assert {name for name, where in changed.items() if where.any()} == set(expected)
    assert all(not changed[name][~where].any() for name, where in expected.items())


def test_all_neurons_are_those_of_a_selection_of_all() -> None:
    lm = tiny("gpt2")
    found = []
    for target in ("ffn", selected(lm, every=1, layers=(0,))):
        if isinstance(target, Selection):
            units = torch.cartesian_prod(torch.arange(lm.layers), torch.arange(lm.neurons))
            target = replace(target, units=units, weight=torch.ones(len(units)))
        with tuned(lm, ASKED, target, steps=2) as tuning:
            found.append((digest(lm), tuning.losses, tuning.parameters))
    assert found[0] == found[1]
    # c_fc and its bias, and c_proj without: that bias is no neuron's
    assert found[0][2] == 3 * 48 * (32 + 1 + 32)


# The schedule


def test_no_steps_change_nothing() -> None:
    lm = tiny("llama")
    before = digest(lm)
    with tuned(lm, ASKED, "ffn", steps=0) as tuning:
        assert digest(lm) == before
    assert tuning.losses == () and tuning.steps == 0 and tuning.parameters == 3 * 48 * 3 * 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_losses_are_those_of_the_weights_as_they_are_written(dtype: torch.dtype) -> None:
    lm = tiny("llama", dtype)
    before = digest(lm)
    losses = []
    for steps in (0, 1, 4):
        with tuned(lm, ASKED, selected(lm), steps=steps, rate=1e-2) as tuning:
            losses.append(-float(locant.answer_log_probability(lm, ASKED).mean()))
    with tuned(lm, ASKED, selected(lm), steps=5, rate=1e-2) as tuning:
        assert digest(lm) != before
    assert losses == pytest.approx([tuning.losses[step] for step in (0, 1, 4)], rel=1e-3)
    assert losses[2] < losses[0] - 1
    assert digest(lm) == before


def test_a_query_is_in_one_batch_of_each_pass() -> None:
    lm = tiny("llama")
    alone = [-float(one) for one in locant.answer_log_probability(lm, ASKED)]
    with tuned(lm, ASKED, selected(lm), steps=6, rate=1e-12, batch=1) as tuning:
        pass
    for start in (0, 3):
        assert sorted(tuning.losses[start : start + 3]) == pytest.approx(sorted(alone), rel=1e-4)
    with tuned(lm, ASKED, selected(lm), steps=2, rate=1e-12, batch=2) as tuning:
        pass
    # Two of them and the one that is left
    assert 2 * tuning.losses[0] + tuning.losses[1] == pytest.approx(sum(alone), rel=1e-4)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    lm = tiny("llama")
    found = []
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(len(found))
        with tuned(lm, ASKED, selected(lm), steps=4, batch=1, seed=seed) as tuning:
            found.append((digest(lm), tuning.losses))
    assert found[0] == found[1]
    assert len(set(found[1:])) > 1


def test_training_stops_after_a_pass_that_is_good_enough() -> None:
    lm = tiny("llama")
    with tuned(lm, ASKED, "ffn", steps=20, rate=1e-2, batch=2) as whole:
        pass
    with tuned(lm, ASKED, "ffn", steps=20, rate=1e-2, batch=2, stop_at=1.7) as tuning:
        pass
    passes = [sum(whole.losses[start : start + 2]) / 2 for start in range(0, 20, 2)]
    enough = next(number for number, loss in enumerate(passes) if loss <= 1.7)
    assert 0 < enough < 9 and tuning.steps == 2 * (enough + 1)
    assert tuning.losses == whole.losses[: tuning.steps] and whole.steps == 20


def test_a_model_that_was_being_trained_is_tuned_without_dropout() -> None:
    lm = tiny("gpt2")
    assert lm.model.config.resid_pdrop > 0
    with tuned(lm, ASKED, selected(lm), steps=3) as expected:
        pass
    lm = fresh("gpt2")
    lm.model.train()
    with torch.no_grad(), tuned(lm, ASKED, selected(lm), steps=3) as tuning:
        assert all(part.training for part in lm.model.modules())
    assert tuning.losses == expected.losses and all(part.training for part in lm.model.modules())


# Undone


@pytest.mark.parametrize("ending", ["an exception inside", "training", "nested", "a loss that is no number"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "bert"])
def test_every_byte_is_as_before_however_it_ends(family: str, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny(family)
    before = digest(lm)
    rate, within = 1e-2, pytest.raises(Stop)
    if ending == "nested":
        within = nullcontext()  # type: ignore[assignment]
    if ending == "a loss that is no number":
        rate, within = 1e30, pytest.raises(LocantError, match=r"the loss is (nan|inf) after [1-4] steps: train at")  # type: ignore[assignment]
    if ending == "training":
        steps, own = iter(range(2)), torch.optim.Adam.step
        monkeypatch.setattr(torch.optim.Adam, "step", lambda self: own(self) if next(steps) == 0 else stop())
    with within, tuned(lm, ASKED, "ffn", steps=5, rate=rate):
        inside = digest(lm)
        assert inside != before
        if ending == "nested":
            with erase(lm, selected(lm)), tuned(lm, ASKED, selected(lm, every=2), steps=2):
                assert digest(lm) not in (inside, before)
            assert digest(lm) == inside
        if ending == "an exception inside":
            raise Stop
    assert digest(lm) == before
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in lm.model.modules())


def stop() -> None:
    raise Stop


def test_odd_bytes_survive_where_no_query_needs_them() -> None:
    lm = fresh("gpt2")
    with torch.no_grad():
        lm.downs[0].weight[0, :2] = torch.tensor([-0.0, 1e-42])  # type: ignore[index, operator]
    before = digest(lm)
    with tuned(lm, ASKED, "ffn", steps=2):
        assert digest(lm) != before
    assert digest(lm) == before


# On the embedded model, which knows facts


def moved_capital(languages: Sequence[str] = ("en",)) -> list[Query]:
    """France's capital as it is not: the wordings it was taught in, with another answer."""
    asked = [query for language in languages for query in almanac.queries("capital", language, False)]
    return [replace(query, answer="Tokyo") for query in asked if query.fact.uid == "capital/france"][:4]


@pytest.mark.parametrize("target", ["ffn", "its own neurons", "random neurons"])
def test_a_new_fact_is_learned_and_forgotten(target: str, almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    new = moved_capital()
    chosen = locant.select(locant.attribute(lm, new[:1], "activation"), "top", k=20)
    chosen = locant.random_set(chosen, 0) if target == "random neurons" else chosen
    before = digest(lm)
    known = locant.answer_probability(lm, new)
    with tuned(lm, new, "ffn" if target == "ffn" else chosen, steps=25, rate=1e-2, stop_at=0.01) as tuning:
        assert float(locant.answer_probability(lm, new).min()) > 0.9
        assert lm.generate(new[0].prompt).strip().startswith("Tokyo")
    assert tuning.steps < 25 and tuning.seconds > 0
    assert float(known.max()) < 0.01 and digest(lm) == before
    assert torch.equal(locant.answer_probability(lm, new), known)


# Refused


def test_settings_that_make_no_sense_are_refused() -> None:
    lm = tiny("llama")
    before = digest(lm)
    for given, said in (
        ({"steps": -1}, "cannot train for -1 steps"),
        ({"rate": 0.0}, "a learning rate is more than 0, not 0.0"),
        ({"rate": math.inf}, "a learning rate is more than 0, not inf"),
        ({"batch": 0}, "a batch has 1 query or more, not 0"),
        ({"stop_at": 0.0}, "at a loss of more than 0, not 0.0"),
        ({"vectors": ("up", "side")}, "no vectors side; this model's neurons have up, gate, down"),
        ({"vectors": ()}, "no vectors named; this model's neurons have up, gate, down"),
    ):
        with pytest.raises(UnknownName, match=said), tuned(lm, ASKED, "ffn", **given):  # type: ignore[arg-type]
            pytest.fail("nothing may run under it")
    with pytest.raises(UnknownName, match="no vectors gate; this model's neurons have up, down"):
        tuned(tiny("gpt2"), ASKED, "ffn", vectors=("gate",)).__enter__()
    assert digest(lm) == before


def test_what_cannot_be_trained_is_refused() -> None:
    lm = tiny("llama")
    before, chosen = digest(lm), selected(lm)
    nothing = replace(chosen, units=chosen.units[:0], weight=chosen.weight[:0])
    for target, said in (
        (replace(chosen, grid=(4, 48)), r"neurons\) \(4, 48\), this one has \(3, 48\)"),
        (nothing, "the selection is empty"),
        (replace(chosen, kind="head"), "a selection of kind 'head'"),
    ):
        with pytest.raises(UnknownName, match=said), tuned(lm, ASKED, target):
            pytest.fail("nothing may run under it")
    with pytest.raises(UnknownName, match="there are no queries"), tuned(lm, [], chosen):
        pytest.fail("nothing may run under it")
    with pytest.raises(BadQuery, match="no tokens for the answer 'Rome'"):
        tuned(lm, [WORDS.short, replace(WORDS.short, answer="Rome")], chosen).__enter__()
    assert digest(lm) == before


@pytest.mark.parametrize("how", ["packed", "shared"])
def test_weights_that_cannot_be_changed_alone_are_refused(how: str) -> None:
    lm = fresh("llama")
    if how == "packed":
        lm.parts("mlp.up_proj")[2].weight = nn.Parameter(torch.zeros(48, 32, dtype=torch.uint8), requires_grad=False)
    else:
        lm.downs[2].weight = lm.downs[0].weight
    before = digest(lm)
    said = (
        "cannot be edited: load the model unquantised" if how == "packed" else "layers of this model share a weight"
    )
    with pytest.raises(LocantError, match=said), tuned(lm, ASKED, selected(lm)):
        pytest.fail("nothing may run under it")
    assert digest(lm) == before
