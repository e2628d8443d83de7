"""Nothing stays on a model: no hook, no flag, no changed weight, whatever happened in between."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import nn

import locant
from families import WORDS, tiny, tokenizer
from locant.attributions import METHODS
from locant.errors import UnknownName
from locant.models import LanguageModel, hooks
from locant.models.attention import maskable_attention
from locant.types import Intervention, Provenance, Selection


class Stop(Exception):
    """Raised by tests in the middle of something."""


def hooks_on(model: nn.Module) -> list[str]:
    """The modules that any hook is attached to."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [name for name, module in model.named_modules() if any(getattr(module, kind) for kind in kinds)]


def state(lm: LanguageModel) -> dict[str, object]:
    """Everything about a model that must stay as it was: weights byte for byte, flags, hooks, kernel."""
    weights = {**dict(lm.model.named_parameters()), **dict(lm.model.named_buffers())}
    return {
        "weights": {
            name: hashlib.sha256(weight.detach().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
            if weight.numel()
            else ""
            for name, weight in weights.items()
        },
        "wants gradients": [name for name, one in lm.model.named_parameters() if one.requires_grad],
        "has gradients": [name for name, one in lm.model.named_parameters() if one.grad is not None],
        "trains": [name for name, module in lm.model.named_modules() if module.training],
        "hooks": hooks_on(lm.model),
        "kernel": lm.model.config._attn_implementation,
        "answering": lm._answering,
    }


def some_neurons(lm: LanguageModel) -> Selection:
    units = torch.tensor([[layer, neuron] for layer in range(lm.layers) for neuron in (0, 5, 17)])
    return Selection((), units, torch.ones(len(units)), (lm.layers, lm.neurons), Provenance("by hand"))


def speaking(name: str) -> LanguageModel:
    """A tiny model that can generate: its tokenizer knows '?', and its decoder where to start."""
    words = tokenizer()
    words.add_tokens("?")
    model = copy.deepcopy(tiny(name).model)
    if model.config.is_encoder_decoder:
        model.generation_config.decoder_start_token_id = words.pad_token_id
        # transformers' own cache for generation has room for as many layers as the encoder has, here fewer
        model.generation_config.use_cache = False
    return locant.load(model, tokenizer=words)


@contextmanager
def raising(module: nn.Module) -> Iterator[None]:
    """A module that breaks when it is called."""

    def stop(module: nn.Module, inputs: object) -> None:
        raise Stop

    handle = module.register_forward_pre_hook(stop)
    try:
        with pytest.raises(Stop):
            yield
    finally:
        handle.remove()


WATCHERS: list[Callable[[list[nn.Module]], AbstractContextManager[None]]] = [
    lambda modules: hooks.watching_inputs(modules, lambda index, value: None),
    lambda modules: hooks.watching_outputs(modules, lambda index, value: None),
    lambda modules: hooks.watching_calls(modules, lambda index, args, kwargs: None),
    lambda modules: hooks.changing_inputs({module: lambda values: values for module in modules}),
]
NAMES = ["watching_inputs", "watching_outputs", "watching_calls", "changing_inputs"]


@pytest.mark.parametrize("attach", WATCHERS, ids=NAMES)
def test_hooks_are_there_inside_and_gone_after_any_exit(attach: Callable[..., AbstractContextManager[None]]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with attach(list(model)):
        assert hooks_on(model) == ["0", "1"]
    assert hooks_on(model) == []
    with pytest.raises(Stop), attach(list(model)):
        raise Stop
    assert hooks_on(model) == []


@pytest.mark.parametrize("attach", WATCHERS, ids=NAMES)
def test_hooks_are_removed_when_the_second_module_is_wrong(
    attach: Callable[..., AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    def refuse(*args: object, **kwargs: object) -> None:
        raise Stop

    monkeypatch.setattr(model[1], "register_forward_hook", refuse)
    monkeypatch.setattr(model[1], "register_forward_pre_hook", refuse)
    with pytest.raises(Stop), attach(list(model)):
        pytest.fail("nothing may run with half of the hooks")
    assert hooks_on(model) == []


def test_watched_inputs_are_seen_as_they_are_after_a_change_that_was_made_before() -> None:
    down = nn.Linear(2, 2)
    seen: dict[int, torch.Tensor] = {}
    with hooks.changing_inputs({down: lambda values: values * 3}), hooks.watching_inputs([down], seen.__setitem__):
        down(torch.tensor([1.0, 2.0]))
    assert seen[0].tolist() == [3.0, 6.0]


@pytest.mark.parametrize("broken", [False, True], ids=["to the end", "broken off"])
def test_a_model_at_rest_gets_every_flag_back_as_it_was(broken: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    model[1].eval()
    model[0].bias.requires_grad_(False)

    def flags() -> list[bool]:
        own = [one.requires_grad for one in model.parameters()]
        return own + [module.training for module in model.modules()]

    before = flags()
    assert len(set(before)) == 2
    try:
        with hooks.at_rest(model):
            assert not any(flags())
            if broken:
                raise Stop
    except Stop:
        pass
    assert flags() == before


def test_another_kernel_is_put_back_after_an_exception() -> None:
    lm = tiny("mistral", kernel="flex_attention")
    with pytest.raises(Stop), maskable_attention(lm.model):
        assert lm.model.config._attn_implementation == "sdpa"
        raise Stop
    assert lm.model.config._attn_implementation == "flex_attention"


def test_whatever_is_done_to_a_model_it_is_the_same_afterwards(family: str) -> None:
    lm = speaking(family)
    before = state(lm)
    units = some_neurons(lm)

    def same_after(what: str) -> None:
        assert state(lm) == before, what

    for method in METHODS:
        locant.attribute(lm, WORDS.all, method)
        same_after(method)
    locant.attribute(lm, WORDS.all, hook="pre")
    same_after("hook='pre'")
    for positions in ("answer", "all"):
        with locant.suppress(lm, units, positions), locant.set_to(lm, units, 0.5, positions):
            locant.answer_probability(lm, WORDS.all)
            locant.attribute(lm, [WORDS.short])
        same_after(f"interventions at {positions}")
    with locant.enhance(lm, units):
        lm.generate("w1 w2 w3", max_new_tokens=3)
    same_after("generate")


def test_a_model_in_training_is_still_in_training_afterwards() -> None:
    model = copy.deepcopy(tiny("gpt2").model)
    lm = locant.load(model.train(), tokenizer=speaking("gpt2").tokenizer)
    before = state(lm)
    assert before["trains"] and before["wants gradients"]
    found = locant.attribute(lm, WORDS.all)
    lm.generate("w1 w2 w3", max_new_tokens=2)
    locant.answer_probability(lm, WORDS.all)
    assert state(lm) == before
    # Dropout would have made the scores random
    assert torch.equal(found.scores, locant.attribute(tiny("gpt2"), WORDS.all).scores)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neo", "opt post-norm", "bert", "t5"])
def test_an_attribution_that_breaks_in_the_model_leaves_nothing_behind(name: str) -> None:
    lm = tiny(name)
    before = state(lm)
    for method in METHODS:
        with raising(lm.blocks[1]):
            locant.attribute(lm, WORDS.all, method)
        assert state(lm) == before, method


@pytest.mark.parametrize("method", ["dai", "exact", "gradient_x_activation"])
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_an_attribution_that_breaks_among_its_rows_leaves_nothing_behind(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny(name)
    before = state(lm)

    def stop(*args: object) -> None:
        raise Stop

    monkeypatch.setattr("locant.models.replay.SharedPrefix.block", stop)
    monkeypatch.setattr("locant.models.replay.WholeSequence.block", stop)
    with pytest.raises(Stop):
        locant.attribute(lm, WORDS.all, method)
    assert state(lm) == before


@pytest.mark.parametrize("name", ["llama", "opt", "t5"])
def test_text_and_answers_that_break_off_leave_nothing_behind(name: str) -> None:
    lm = speaking(name)
    before = state(lm)
    with raising(lm.blocks[1]), locant.suppress(lm, some_neurons(lm)):
        lm.generate("w1 w2 w3", max_new_tokens=3)
    with raising(lm.blocks[1]), locant.suppress(lm, some_neurons(lm)):
        locant.answer_probability(lm, WORDS.all)
    assert state(lm) == before


def test_an_intervention_that_is_refused_attaches_nothing() -> None:
    lm = tiny("llama")
    units = some_neurons(lm)
    other = Selection((), units.units, units.weight, (lm.layers + 1, lm.neurons), units.made_by)
    wrong = [Intervention(other, "scale", 0.0), Intervention(units, "scale", 0.0), Intervention(units, "scale", 0.0)]
    # Types are checked under test only, and would refuse these two before locant does
    object.__setattr__(wrong[1], "positions", "nowhere")
    object.__setattr__(wrong[2], "operation", "halve")
    said = ["selection is of a model with", "no positions 'nowhere'; there are answer, all", "no operation 'halve'"]
    for intervention, text in zip(wrong, said, strict=True):
        with pytest.raises(UnknownName, match=text), locant.intervene(lm, intervention):
            pytest.fail("nothing may run under an intervention that does not exist")
        assert hooks_on(lm.model) == []


def test_a_pass_ends_after_a_module_and_leaves_no_hook() -> None:
    lm = tiny("llama")
    before, seen = state(lm), []
    with (
        hooks.watching_outputs(lm.blocks, lambda layer, value: seen.append(layer)),
        hooks.stopping_after(lm.blocks[1]),
    ):
        lm.model(torch.tensor([[1, 2, 3]]))
        raise AssertionError("the pass went on")
    assert seen == [0, 1] and state(lm) == before


def test_what_else_goes_wrong_is_not_taken_for_the_end_of_a_pass() -> None:
    lm = tiny("llama")
    with pytest.raises(Stop), hooks.stopping_after(lm.blocks[1]):
        raise Stop
    assert not hooks_on(lm.model)


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_a_changed_output_goes_on_through_the_model(family: str) -> None:
    lm = tiny(family)
    ids, seen = torch.tensor([[1, 2, 3]]), {}
    with hooks.watching_inputs([lm.blocks[2]], seen.__setitem__):
        lm.model(ids)
        own = seen[0]
        with hooks.changing_outputs({lm.blocks[1]: lambda residual: residual + 1}):
            lm.model(ids)
    assert torch.equal(seen[0], own + 1) and not hooks_on(lm.model)
