"""Adapters by the peft library: how many parameters, what is left of them, and what is not."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

import locant
from families import WORDS, tiny, tokenizer
from locant import almanac
from locant.errors import BadQuery, LocantError, UnknownName
from locant.interventions.lora import lora_tuned
from locant.interventions.tuning import tuned
from locant.models import LanguageModel
from locant.types import Query

peft = pytest.importorskip("peft")

ASKED = WORDS.all


class Stop(Exception):
    """Raised by tests in the middle of something."""


def stop(*_: object) -> None:
    raise Stop


def everything(lm: LanguageModel) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: each.detach().clone() for name, each in (*lm.model.named_parameters(), *lm.model.named_buffers())}


def digest(lm: LanguageModel) -> str:
    """Every byte of every parameter and buffer, and every module's class."""
    every = hashlib.sha256()
    for name, each in everything(lm).items():
        every.update(name.encode() + each.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    every.update(repr([(name, type(part)) for name, part in lm.model.named_modules()]).encode())
    every.update(repr(sorted(vars(lm.model))).encode())
    return every.hexdigest()


def fresh(family: str) -> LanguageModel:
    return locant.load(copy.deepcopy(tiny(family).model), tokenizer=tokenizer())


def feed_forward(lm: LanguageModel) -> set[str]:
    """The names of the weights of the feed-forward projections."""
    spec = lm.architecture
    parts = [part for name in {spec.up or spec.gate, spec.gate, spec.neurons} for part in lm.parts(name)]
    return {name for name, module in lm.model.named_modules() if module in parts}


def rank_1(lm: LanguageModel) -> int:
    """The parameters of adapters of rank 1 of every projection."""
    names = feed_forward(lm)
    return sum(sum(module.weight.shape) for name, module in lm.model.named_modules() if name in names)  # type: ignore[arg-type,union-attr,misc]


def changed_by(lm: LanguageModel, parameters: int, layers: Sequence[int] = ()) -> tuple[set[str], int]:
    """The projections that adapters changed, without what comes before their layer, and the parameters trained."""
    before = everything(lm)
    with lora_tuned(lm, ASKED, parameters=parameters, layers=layers, steps=1, rate=1e-2) as tuning:
        inside = everything(lm)
    changed = {name for name, old in before.items() if not torch.equal(inside[name], old)}
    return {name.removeprefix("model.layers.").removesuffix(".weight") for name in changed}, tuning.parameters


# What changes


def test_adapters_change_feed_forward_weights_by_a_low_rank_and_nothing_for_good(
    family: str, lm: LanguageModel
) -> None:
    before, untouched = everything(lm), digest(lm)
    flags = [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    projections, modules = feed_forward(lm), list(lm.model.modules())
    with lora_tuned(lm, ASKED, parameters=rank_1(lm), steps=2, rate=1e-2) as tuning:
        inside = everything(lm)
        assert list(lm.model.modules()) == modules
    changes = {name: inside[name] - old for name, old in before.items() if not torch.equal(inside[name], old)}
    assert set(changes) == {f"{name}.weight" for name in projections}
    for name, change in changes.items():
        sizes = torch.linalg.svdvals(change.double())
        assert float(sizes[1]) < 1e-3 * float(sizes[0]), name
    assert tuning.parameters == sum(sum(change.shape) for change in changes.values())
    assert digest(lm) == untouched
    assert flags == [(one.requires_grad, one.grad) for one in lm.model.parameters()]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in lm.model.modules())


@pytest.mark.parametrize(("family", "per_rank"), [("llama", 720), ("gpt2", 480), ("phi3", 3 * (128 + 80))])
def test_the_rank_is_the_one_nearest_to_the_parameters_asked_for(family: str, per_rank: int) -> None:
    lm = tiny(family)
    for asked, rank in ((per_rank, 1), (int(1.4 * per_rank), 1), (int(1.6 * per_rank), 2), (7 * per_rank, 7)):
        with lora_tuned(lm, ASKED, parameters=asked, steps=0) as tuning:
            assert tuning.parameters == rank * per_rank


def test_fewer_projections_have_adapters_where_rank_1_of_all_is_more_than_asked_for() -> None:
    lm = tiny("llama")  # three layers, of three projections with 32 + 48 parameters each
    assert rank_1(lm) == 720
    assert changed_by(lm, 1) == ({"2.mlp.down_proj"}, 80)
    assert changed_by(lm, 119)[1] == 80 and changed_by(lm, 121)[1] == 160
    assert changed_by(lm, 330)[0] == {f"2.mlp.{name}_proj" for name in ("down", "up", "gate")} | {"1.mlp.down_proj"}
    assert changed_by(lm, 679)[1] == 640 and changed_by(lm, 690)[1] == 720


def test_layers_that_are_named_have_adapters_first() -> None:
    lm = tiny("llama")
    assert changed_by(lm, 80, [1]) == ({"1.mlp.down_proj"}, 80)
    found, parameters = changed_by(lm, 300, [0])
    assert parameters == 320 and {name[0] for name in found} == {"0", "2"}
    assert changed_by(lm, 720, [0]) == changed_by(lm, 720)
    for wrong in ([3], [-1], [1, 1]):
        with pytest.raises(UnknownName, match="layers are 0 to 2, each once, not"):
            lora_tuned(lm, ASKED, parameters=9, layers=wrong).__enter__()


def test_no_steps_change_nothing() -> None:
    lm = tiny("llama")
    before = everything(lm)
    with lora_tuned(lm, ASKED, parameters=2000, steps=0) as tuning:
        inside = everything(lm)
    # Adapters begin as zero
    assert all(torch.equal(inside[name], old) for name, old in before.items())
    assert tuning.losses == () and tuning.steps == 0


@pytest.mark.parametrize(
    ("family", "dtype"),
    [(one, torch.float32) for one in ("llama", "gpt2", "phi3", "bert")] + [("llama", torch.bfloat16)],
)
def test_the_weights_answer_as_the_adapters_did(family: str, dtype: torch.dtype) -> None:
    lm = tiny(family, dtype)
    before = digest(lm)
    losses = []
    for steps in (1, 4):
        with lora_tuned(lm, ASKED, parameters=1500, steps=steps, rate=1e-2):
            losses.append(-float(locant.answer_log_probability(lm, ASKED).mean()))
    with lora_tuned(lm, ASKED, parameters=1500, steps=5, rate=1e-2) as tuning:
        pass
    rounded = 1e-4 if dtype == torch.float32 else 5e-2
    assert losses == pytest.approx([tuning.losses[1], tuning.losses[4]], rel=rounded)
    assert tuning.losses[4] < tuning.losses[0] - 0.3
    assert digest(lm) == before


def test_adapters_are_trained_on_the_same_batches_as_neurons() -> None:
    lm = tiny("llama")
    losses = []
    for seed in (0, 5):
        with tuned(lm, ASKED, "ffn", steps=6, rate=1e-12, batch=1, seed=seed) as ours:
            pass
        with lora_tuned(lm, ASKED, parameters=1, steps=6, rate=1e-12, batch=1, seed=seed) as theirs:
            pass
        assert theirs.losses == pytest.approx(ours.losses, rel=1e-4)
        losses.append(ours.losses)
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_equal_seeds_give_equal_bytes_and_the_callers_random_numbers_are_left_alone() -> None:
    lm = tiny("llama")
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        expected = torch.rand(3)
        torch.manual_seed(len(found))
        with lora_tuned(lm, ASKED, parameters=1500, steps=3, seed=seed):
            found.append(digest(lm))
        assert torch.equal(torch.rand(3), expected)
    assert found[0] == found[1] != found[2]


def test_training_stops_when_it_is_good_enough() -> None:
    lm = tiny("llama")
    with lora_tuned(lm, ASKED, parameters=5000, steps=40, rate=1e-2, stop_at=2.0) as tuning:
        pass
    assert tuning.losses[-1] <= 2.0 < min(tuning.losses[:-1])


# Undone


@pytest.mark.parametrize("ending", ["an exception inside", "training", "injection"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_every_byte_and_module_is_as_before_however_it_ends(
    family: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny(family)
    before, modules = digest(lm), list(lm.model.modules())
    if ending == "training":
        monkeypatch.setattr(torch.optim.Adam, "step", stop)
    if ending == "injection":
        begin = peft.LoraModel.__init__
        monkeypatch.setattr(peft.LoraModel, "__init__", lambda *given: (begin(*given), stop())[1])
    with pytest.raises(Stop), lora_tuned(lm, ASKED, parameters=1500, steps=2):
        assert digest(lm) != before
        raise Stop
    assert digest(lm) == before and list(lm.model.modules()) == modules
    monkeypatch.undo()
    with lora_tuned(lm, ASKED, parameters=1500, steps=1):
        assert digest(lm) != before


def test_a_new_fact_is_learned_and_forgotten(almanac_lm: LanguageModel) -> None:
    lm = almanac_lm
    asked = [query for query in almanac.queries("capital", "en", False) if query.fact.uid == "capital/france"]
    new: list[Query] = [replace(query, answer="Tokyo") for query in asked[:4]]
    before = digest(lm)
    with lora_tuned(lm, new, parameters=11520, steps=25, rate=1e-2, stop_at=0.01) as tuning:
        assert float(locant.answer_probability(lm, new).min()) > 0.9
        assert lm.generate(new[0].prompt).strip().startswith("Tokyo")
    assert tuning.parameters == 14 * (192 + 640) and tuning.seconds > 0
    assert float(locant.answer_probability(lm, new).max()) < 0.01 and digest(lm) == before


# Refused


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LocantError, match=r"need the peft library: install locant\[lora\]"):
        lora_tuned(tiny("llama"), ASKED, parameters=1).__enter__()


def test_what_makes_no_sense_is_refused() -> None:
    lm = tiny("llama")
    before = digest(lm)
    for given, said in (
        ({"parameters": 0}, "cannot train 0 parameters"),
        ({"parameters": 9, "steps": -1}, "cannot train for -1 steps"),
        ({"parameters": 9, "rate": -1.0}, "a learning rate is more than 0"),
    ):
        with pytest.raises(UnknownName, match=said), lora_tuned(lm, ASKED, **given):  # type: ignore[arg-type]
            pytest.fail("nothing may run under it")
    with pytest.raises(UnknownName, match="there are no queries"):
        lora_tuned(lm, [], parameters=9).__enter__()
    with pytest.raises(BadQuery, match="no tokens for the answer 'Rome'"):
        lora_tuned(lm, [replace(WORDS.short, answer="Rome")], parameters=9).__enter__()
    with pytest.raises(LocantError, match=r"the loss is (nan|inf) after [1-4] steps"):
        lora_tuned(lm, ASKED, parameters=720, rate=1e30).__enter__()
    assert digest(lm) == before


@pytest.mark.parametrize("how", ["packed", "shared", "adapted"])
def test_models_whose_weights_cannot_be_added_to_are_refused(how: str) -> None:
    lm = fresh("llama")
    said = "cannot be edited: load the model unquantised"
    if how == "packed":
        lm.downs[2].weight = nn.Parameter(torch.zeros(32, 48, dtype=torch.uint8), requires_grad=False)
    elif how == "shared":
        lm.downs[2].weight = lm.downs[0].weight
        said = "layers of this model share a weight"
    else:
        peft.LoraModel(lm.model, peft.LoraConfig(target_modules=["q_proj"]), "own")
        said = "the model has adapters already"
    before = digest(lm)
    with pytest.raises(LocantError, match=said):
        lora_tuned(lm, ASKED, parameters=9).__enter__()
    assert digest(lm) == before
