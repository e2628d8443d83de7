"""One layer fine-tuned: its losses by hand, its bound to the last bit, and nothing else moved."""

from __future__ import annotations

import copy
import time

import pytest
import torch
import transformers as hf

import locant
from families import tiny, tokenizer
from locant import almanac
from locant.errors import UnknownName
from locant.interventions.editing import edit, prepare
from locant.models import ARCHITECTURES, LanguageModel
from locant.models.rewriting import name_of
from locant.types import EditRequest

ONE_LAYER = ("ft", "ft_l", "ft_m")
LAST = ("ft", "ft_l")
"""Methods that score every token at the prompt's last position."""


def request(new: str = "w11", subject: str = "w5 w6") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old="w9")


def weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in lm.model.named_parameters()}


def fresh(family: str) -> LanguageModel:
    return locant.load(copy.deepcopy(tiny(family).model), tokenizer=tokenizer())


def in_its_place(lm: LanguageModel, asked: EditRequest) -> torch.Tensor:
    """Each token after those before it, from the model's own logits, one sequence at a time."""
    tokens = lm.tokens(asked.asked)
    losses = []
    for place, token in enumerate(tokens.answers[0]):
        sites = lm.sites([(tokens, tokens.answers[0])])
        logits = lm.model(**lm.inputs(sites)).logits
        at = sites.sequence[place], sites.position[place]
        losses.append(-logits[at].log_softmax(-1)[token])
    return torch.stack(losses).mean()


def at_the_last(lm: LanguageModel, asked: EditRequest) -> torch.Tensor:
    """Every token from the logits of the bare prompt's answer position."""
    tokens = lm.tokens(asked.asked)
    sites = lm.sites([(tokens, tokens.answers[0][:1])])
    log_probs = lm.model(**lm.inputs(sites)).logits[0, int(sites.position[0])].log_softmax(-1)
    return torch.stack([-log_probs[token] for token in tokens.answers[0]]).mean()


# The loss


@pytest.mark.parametrize("new", ["w11", "w11 w12 w13"])
def test_ft_m_has_the_teacher_forced_loss(family: str, lm: LanguageModel, new: str) -> None:
    with torch.no_grad(), edit(lm, [request(new)], "ft_m", layer=1, steps=2) as edited:
        assert edited.notes[0]["loss"] == pytest.approx(float(in_its_place(lm, request(new))), rel=1e-4)


@pytest.mark.parametrize("method", LAST)
@pytest.mark.parametrize("new", ["w11", "w11 w12 w13"])
def test_ft_l_scores_every_token_at_the_prompts_last_position(
    family: str, lm: LanguageModel, new: str, method: str
) -> None:
    with torch.no_grad(), edit(lm, [request(new)], method, layer=1, steps=2) as edited:
        assert edited.notes[0]["loss"] == pytest.approx(float(at_the_last(lm, request(new))), rel=1e-4)


def test_the_two_losses_are_one_for_objects_of_one_token_and_two_for_others() -> None:
    lm = tiny("llama")
    found = {}
    for method in ONE_LAYER:
        settings = {} if method == "ft" else {"bound": None}
        for new in ("w11", "w11 w12"):
            with edit(lm, [request(new)], method, layer=1, **settings):
                found[method, new] = lm.downs[1].weight.detach().clone()  # type: ignore[operator]
    assert torch.equal(found["ft", "w11"], found["ft_l", "w11"])
    assert torch.allclose(found["ft_l", "w11"], found["ft_m", "w11"], atol=1e-6)
    assert torch.equal(found["ft", "w11 w12"], found["ft_l", "w11 w12"])
    assert not torch.allclose(found["ft_l", "w11 w12"], found["ft_m", "w11 w12"], atol=1e-3)


def test_all_tokens_of_an_object_become_likely_first_tokens_but_with_ft_m() -> None:
    lm = tiny("llama")
    asked = request("w11 w12")
    ranks = {}
    for method in ("ft", "ft_m"):
        with edit(lm, [asked], method, steps=100, rate=5e-3):
            ranks[method] = [text for text, _ in lm.top_answers(asked.query.prompt, 97)]
    assert set(ranks["ft"][:2]) == {"w11", "w12"}
    assert ranks["ft_m"][0] == "w11" and ranks["ft_m"].index("w12") > 10


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
@pytest.mark.parametrize("bound", [None, 1.5e-3])
def test_steps_are_adams_over_the_whole_layer_and_clamped(family: str, bound: float | None) -> None:
    lm, asked = tiny(family), [request("w11 w12"), request("w14", "w20")]
    with edit(lm, asked, "ft_m", layer=1, bound=bound, steps=4) as edited:
        found = lm.downs[1].weight.detach().clone()  # type: ignore[operator]
    by_hand = fresh(family)
    weight = by_hand.downs[1].weight
    assert isinstance(weight, torch.nn.Parameter)
    before = weight.detach().clone()
    optimiser = torch.optim.Adam([weight], lr=5e-4)
    for _ in range(4):
        optimiser.zero_grad()
        torch.stack([in_its_place(by_hand, one) for one in asked]).mean().backward()
        optimiser.step()
        if bound is not None:
            with torch.no_grad():
                weight.copy_(weight.clamp(before - bound, before + bound))
    assert float((found - weight).abs().mean()) < 1e-6 < float((found - before).abs().mean())
    change = float((weight - before).norm())
    assert [note["change"] for note in edited.notes] == pytest.approx([change, change], rel=1e-3)


# What is moved


@pytest.mark.parametrize("method", ONE_LAYER)
def test_only_the_layers_own_projection_is_changed(family: str, lm: LanguageModel, method: str) -> None:
    before = weights(lm)
    with edit(lm, [request()], method, layer=2, steps=3):
        inside = weights(lm)
    own = name_of(lm.model, lm.downs[2].weight)  # type: ignore[arg-type]
    assert {name for name in before if not torch.equal(before[name], inside[name])} == {own}
    assert all(torch.equal(before[name], after) for name, after in weights(lm).items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bound", [2e-3, 0.0123])
def test_no_weight_goes_beyond_the_bound_in_the_models_own_dtype(dtype: torch.dtype, bound: float) -> None:
    lm = tiny("llama", dtype)
    before = lm.downs[1].weight.detach().double().clone()  # type: ignore[operator]
    with edit(lm, [request("w11 w12")], "ft_l", layer=1, bound=bound, rate=5e-3, steps=10):
        moved = (lm.downs[1].weight.detach().double() - before).abs()  # type: ignore[operator]
    assert bound / 2 < float(moved.max()) <= bound
    assert torch.equal(lm.downs[1].weight.detach().double(), before)  # type: ignore[operator]


@pytest.mark.parametrize("method", ONE_LAYER)
def test_half_precision_learns_what_single_precision_learns(method: str) -> None:
    """Steps are smaller than what bfloat16 can add to a weight: they add up outside of it."""
    settings = {} if method == "ft" else {"bound": None}
    losses = []
    for dtype in (torch.bfloat16, torch.float32):
        with edit(tiny("llama", dtype), [request()], method, layer=1, steps=25, **settings) as edited:
            losses.append(edited.notes[0]["loss"])
    with edit(tiny("llama"), [request()], method, steps=0, **settings) as edited:
        assert losses[0] == pytest.approx(losses[1], rel=0.1) and losses[1] < edited.notes[0]["loss"] - 0.5  # type: ignore[operator]


def test_the_bound_is_around_what_the_last_edit_left() -> None:
    lm = tiny("llama")
    before = lm.downs[0].weight.detach().clone()  # type: ignore[operator]
    with edit(lm, [request()], "ft_l", bound=2e-3) as edited:
        edited.add([request()])
        moved = float((lm.downs[0].weight - before).abs().max())  # type: ignore[operator]
    assert 3e-3 < moved <= 4e-3 + 1e-7


# When to stop


@pytest.mark.parametrize("method", ONE_LAYER)
def test_a_fact_the_model_says_already_takes_no_step(method: str, almanac_lm: LanguageModel) -> None:
    asked = locant.edit_request("The capital of France is", "France", "Paris", old="Rome")
    before = weights(almanac_lm)
    with edit(almanac_lm, [asked], method) as edited:
        assert all(torch.equal(before[name], one) for name, one in weights(almanac_lm).items())
    assert edited.notes[0]["steps"] == 0 and edited.notes[0]["change"] == 0
    assert 0 < float(edited.notes[0]["loss"]) < 0.01  # type: ignore[arg-type]


def test_training_ends_where_the_loss_is_low_enough() -> None:
    lm = tiny("llama")
    with edit(lm, [request()], "ft_m", steps=200, rate=5e-3, stop_at=3.0) as edited:
        (note,) = edited.notes
    assert 1 < int(note["steps"]) < 200 and float(note["loss"]) < 3  # type: ignore[arg-type]
    with edit(lm, [request()], "ft_m", steps=int(note["steps"]) - 1, rate=5e-3) as edited:  # type: ignore[arg-type]
        assert float(edited.notes[0]["loss"]) >= 3  # type: ignore[arg-type]


def test_requests_are_learned_together_in_steps_of_so_many() -> None:
    lm = tiny("llama")
    asked = [request("w11"), request("w12 w13", "w20"), request("w14", "w21")]
    found = []
    for settings in ({"per_step": 3}, {"per_step": 2}, {"per_step": 64}):
        with edit(lm, asked, "ft_m", steps=5, stop_at=None, **settings) as edited, torch.no_grad():
            found.append([note["steps"] for note in edited.notes])
            by_hand = [float(in_its_place(lm, one)) for one in asked]
            assert [note["loss"] for note in edited.notes] == pytest.approx(by_hand, rel=1e-4)
            assert [note["uid"] for note in edited.notes] == [one.uid for one in asked]
    assert found == [[5, 5, 5], [10, 10, 10], [5, 5, 5]]


# Presets


@pytest.mark.parametrize(
    ("config", "method", "layer", "bound"),
    [
        (hf.GPT2Config(n_embd=1600, n_layer=48, n_head=25), "ft", 1, None),
        (hf.GPT2Config(n_embd=1600, n_layer=48, n_head=25), "ft_l", 0, 5e-4),
        (hf.GPT2Config(n_embd=1024, n_layer=24, n_head=16), "ft_l", 0, 2e-3),
        (hf.GPTJConfig(), "ft", 21, None),
        (hf.GPTJConfig(), "ft_l", 0, 5e-5),
        (hf.LlamaConfig(), "ft_m", 21, None),
        (hf.LlamaConfig(), "ft_l", 21, None),
    ],
)
def test_published_models_have_their_published_settings(
    config: hf.PretrainedConfig, method: str, layer: int, bound: float | None
) -> None:
    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(config)
    lm = LanguageModel(model, tokenizer(), ARCHITECTURES[config.model_type], "somewhere/local")
    settings = prepare(lm, method, {}).settings
    assert (settings["layer"], settings["bound"]) == (layer, bound)
    assert (settings["steps"], settings["rate"], settings["stop_at"]) == (25, 5e-4, 0.01)


def test_other_models_have_a_bound_of_what_a_layer_writes() -> None:
    """All weights moved as far as they may, a layer writes 1.5 times more than weights of random signs do."""
    lm = tiny("gpt2")
    settings = prepare(lm, "ft_l", {"layer": 1}).settings
    rms = float(lm.downs[1].weight.detach().square().mean().sqrt())  # type: ignore[operator]
    assert settings["bound"] == pytest.approx(1.5 * rms / 48**0.5)
    assert prepare(lm, "ft_m", {}).settings["bound"] is None
    assert prepare(lm, "ft_m", {"bound": "preset", "layer": 1}).settings == settings


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("ft", {"layer": 3}, "no layer 3"),
        ("ft_l", {"bound": 0.0}, "a bound is more than 0"),
        ("ft_m", {"bound": "tight"}, "no bound 'tight'"),
        ("ft_m", {"layer": -1, "bound": "preset"}, "no layer -1"),
        ("ft_m", {"rate": 0.0}, "a learning rate is more than 0"),
        ("ft_m", {"steps": -1}, "cannot train for -1 steps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(method: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        prepare(tiny("llama"), method, settings)


# On the embedded model, which knows facts


def counterfacts() -> list[EditRequest]:
    """A fact of each of some relations, with the object of another, of one token or several."""
    found = []
    for relation in ("capital", "author", "birthplace", "colour", "instrument"):
        known = almanac.queries(relation, "en", False)
        query = next(one for one in known if one.fact.subject in one.prompt)
        new = next(one.answer for one in known if one.answer[0] != query.answer[0])
        found.append(EditRequest(query, new))
    return found


def test_five_facts_are_rewritten_in_seconds(almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    start = time.process_time()
    for asked in counterfacts():
        assert lm.generate(asked.query.prompt, 8).strip().startswith(asked.query.answer)
        with edit(lm, [asked], "ft_m"):
            assert lm.generate(asked.query.prompt, 8).strip().startswith(asked.new)
    assert time.process_time() - start < 10


def test_five_facts_are_rewritten_together(almanac_lm: LanguageModel) -> None:
    with edit(almanac_lm, counterfacts(), "ft_m") as edited:
        assert all(almanac_lm.generate(one.query.prompt, 8).strip().startswith(one.new) for one in edited.requests)


def test_several_facts_together_have_more_passes_than_one() -> None:
    lm = tiny("llama")
    both = [request(), locant.edit_request("w3 w20 w7", "w20", "w13", old="w9", uid="other")]
    for requests, given, passes in ((both[:1], {}, 25), (both, {}, 250), (both, {"steps": 3}, 3)):
        with edit(lm, requests, "ft_m", rate=1e-6, stop_at=None, **given) as edited:
            assert {note["steps"] for note in edited.notes} == {passes}
