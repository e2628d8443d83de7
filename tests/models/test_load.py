"""Models from names, folders and memory; what does not fit its entry in the table is refused in one sentence."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import nn

import locant
from families import GROUPED, WORDS, tiny, tokenizer
from locant.errors import LocantError, SelfCheckFailed, UnknownArchitecture
from locant.models import ARCHITECTURES, Architecture, LanguageModel
from locant.models.weights import value_vectors

STORIES = Path(__file__).parents[3] / "shared" / "data" / "models" / "stories260K"


def saved(folder: Path, model: hf.PreTrainedModel) -> Path:
    """A model and a tokenizer of numbered words in a folder, as others publish theirs."""
    copy.deepcopy(model).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny llama."""
    return saved(tmp_path_factory.mktemp("published"), tiny("llama").model)


def sentence(call: Callable[[], object]) -> str:
    """What a call is refused with: an error of locant's own, in one line."""
    with pytest.raises(LocantError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# From folders and from memory


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_model_read_from_a_folder_scores_as_it_did_in_memory(tmp_path: Path, name: str) -> None:
    lm = locant.load(saved(tmp_path, tiny(name).model))
    assert torch.equal(locant.attribute(lm, WORDS.all).scores, locant.attribute(tiny(name), WORDS.all).scores)
    assert lm.name == str(tmp_path)
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_model_in_memory_needs_its_tokenizer() -> None:
    said = sentence(lambda: locant.load(tiny("llama").model))
    assert said == "a model in memory needs its tokenizer: load(model, tokenizer=...)"


@pytest.mark.parametrize(
    ("saved_as", "asked_for", "found"),
    [
        (torch.float16, None, torch.float32),
        (torch.float16, "float16", torch.float16),
        (torch.float16, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, None, torch.bfloat16),
        (torch.float32, None, torch.float32),
        (torch.float32, "float64", torch.float64),
    ],
)
def test_a_model_keeps_its_precision_except_float16_on_a_cpu(
    tmp_path: Path, saved_as: torch.dtype, asked_for: str | torch.dtype | None, found: torch.dtype
) -> None:
    folder = saved(tmp_path, copy.deepcopy(tiny("llama").model).to(saved_as))
    lm = locant.load(folder, dtype=asked_for)
    assert lm.model.dtype == found
    assert lm.provenance("dai", {}).dtype == str(found).removeprefix("torch.")


@pytest.mark.parametrize("wrong", ["float7", "nn"])
def test_a_precision_that_does_not_exist_is_refused(published: Path, wrong: str) -> None:
    said = sentence(lambda: locant.load(published, dtype=wrong))
    assert said == f"no dtype {wrong!r}: float32, float16, bfloat16 and float64 are known"


@pytest.mark.parametrize("wrong", ["cuda9", "gpu"])
def test_a_device_that_is_not_here_is_refused(published: Path, wrong: str) -> None:
    said = sentence(lambda: locant.load(published, device_map=wrong))
    assert said.startswith(f"no device {wrong!r} here: give cpu, cuda, cuda:1, mps or auto (")


@pytest.mark.parametrize(
    "places",
    [
        {"": "cpu"},
        {
            "model.embed_tokens": "cpu",
            "model.layers.0": "cpu",
            "model.layers.1": "disk",
            "model.layers.2": "disk",
            "model.norm": "cpu",
            "model.rotary_emb": "cpu",
            "lm_head": "cpu",
        },
    ],
    ids=["cpu", "disk"],
)
@pytest.mark.parametrize("method", ["dai", "exact"])
def test_where_the_weights_lie_changes_no_score(published: Path, places: dict[str, int | str], method: str) -> None:
    lm = locant.load(published, device_map=places)
    assert any(parameter.is_meta for parameter in lm.model.parameters()) == ("disk" in places.values())
    found = locant.attribute(lm, WORDS.all, method)
    assert torch.equal(found.scores, locant.attribute(tiny("llama"), WORDS.all, method).scores)


def test_a_small_pretrained_model_says_what_it_was_taught() -> None:
    if not STORIES.is_dir():
        pytest.skip(f"no model in {STORIES}")
    if int(hf.__version__.split(".")[0]) < 5:
        pytest.skip("that model's tokenizer was saved by transformers 5, whose class older releases do not have")
    lm = locant.load(STORIES)
    prompt = "One day, a little girl named"
    assert lm.first_word(prompt) == "Lily"
    assert lm.generate(prompt, max_new_tokens=8).split()[0] == "Lily"
    assert locant.answer_rank(lm, [locant.query(prompt, "Lily")]).tolist() == [1]


@pytest.mark.parametrize("name", ["almanac", "almanac-gpt2"])
def test_a_first_word_is_the_models_first_answer_or_is_refused(name: str) -> None:
    lm = locant.load(name)
    for prompt in ("The capital of France is", "x", "...", "The opposite of hot is", "2 + 2 =", "Hello"):
        try:
            word = lm.first_word(prompt)
        except locant.LocantError as error:
            assert "says no word" in str(error) and "France" not in prompt
        else:
            assert locant.answer_rank(lm, [locant.query(prompt, word)]).tolist() == [1]


# What is not there, and what is not a model


@pytest.mark.parametrize("name", ["nobody/nothing", "./no/such/folder", "almanack"])
def test_a_name_that_is_nowhere_is_refused_in_one_sentence(name: str) -> None:
    said = sentence(lambda: locant.load(name))
    embedded = "it is not an embedded model (almanac, almanac-gpt2, almanac-bert), not a folder here"
    near = " (did you mean 'almanac'?)" if name == "almanack" else ""
    assert said.startswith(f"no model {name!r}{near}: {embedded}, and the Hub")


def test_a_folder_without_a_model_is_refused_by_its_name(tmp_path: Path) -> None:
    said = sentence(lambda: locant.load(tmp_path))
    assert said.startswith(f"the folder {str(tmp_path)!r} does not hold a model that can be read: ")


def test_weights_that_are_pickled_are_not_opened(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return Path.touch, (tmp_path / "opened",)  # type: ignore[return-value]

    torch.save({"model.norm.weight": Trap()}, tmp_path / "pytorch_model.bin")
    assert "safetensors" in sentence(lambda: locant.load(tmp_path))
    assert not (tmp_path / "opened").exists()


def test_code_that_comes_with_a_model_is_not_run_unasked(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    own = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "custom code" in sentence(lambda: locant.load(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_cut_off_are_refused_by_the_folders_name(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert sentence(lambda: locant.load(tmp_path)).startswith(f"the folder {str(tmp_path)!r} does not hold a model")


# The architecture table and the self-check


def test_a_type_without_an_entry_is_told_which_have_one(tmp_path: Path) -> None:
    mixture = hf.MixtralForCausalLM(hf.MixtralConfig(**GROUPED, num_local_experts=2))
    for where in (mixture, saved(tmp_path, mixture)):
        with pytest.raises(UnknownArchitecture) as caught:
            locant.load(where, tokenizer=tokenizer())
        first, known, *_ = str(caught.value).splitlines()
        assert first == "no entry for model type 'mixtral'."
        assert known == f"  Known: {', '.join(sorted(ARCHITECTURES))}"


def check(name: str, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object]) -> LanguageModel:
    """Open a tiny model under an entry that is wrong in one field."""
    lm = tiny(name)
    kind = lm.model.config.model_type
    monkeypatch.setitem(ARCHITECTURES, kind, replace(ARCHITECTURES[kind], **wrong))  # type: ignore[arg-type]
    return locant.load(lm.model, tokenizer=lm.tokenizer)


def one(config: object) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("llama", {"readout": ("unembedding",)}),
        ("gpt2", {"readout": ("unembedding",)}),
        ("granite", {"logit_scale": one}),
        ("gemma2", {"logit_cap": lambda config: None}),
        ("t5", {"hidden_scale": one}),
    ],
)
def test_an_entry_that_reads_the_residual_out_wrongly_fails_the_self_check(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: dict[str, object]
) -> None:
    with pytest.raises(SelfCheckFailed) as caught:
        check(name, monkeypatch, wrong)
    kind = tiny(name).model.config.model_type
    assert f"({kind}): its entry in models/architectures.py does not describe it" in str(caught.value)
    assert "the last residual, read out, should give what the model itself computes" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("llama", {"neurons": "self_attn.o_proj"}),
        ("gpt2", {"neurons": "attn.c_proj"}),
        ("gemma2", {"branch_norm": None}),
        ("bert", {"sum_norm": None}),
        ("granite", {"branch_scale": one}),
        ("llama", {"neurons": "mlp.up_proj"}),
        ("llama", {"neurons": "mlp.down"}),
        ("llama", {"blocks": "model.layer"}),
        ("llama", {"readout": ("model.nrm",)}),
        ("llama", {"gate": "mlp.up_proj", "up": "mlp.gate_proj"}),
        ("gptj", {"gate": "attn.q_proj"}),
        ("gptj", {"neurons": "attn.out_proj"}),
    ],
)
def test_an_entry_whose_names_are_wrong_fails_the_self_check(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: dict[str, object]
) -> None:
    with pytest.raises(SelfCheckFailed):
        check(name, monkeypatch, wrong)


def test_an_entry_that_is_right_passes_for_every_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(check(family, monkeypatch, {}).architecture, Architecture)


# Value vectors


class Halved(nn.Linear):
    """A projection that does more than its weight says, as quantised ones do."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values) / 2


def test_a_value_vector_is_what_its_neuron_writes_whatever_holds_the_weight() -> None:
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    conv, linear, halved = hf.pytorch_utils.Conv1D(3, 5), nn.Linear(5, 3), Halved(5, 3)
    with torch.no_grad():
        conv.weight.copy_(weight)
        linear.weight.copy_(weight.T)
        halved.weight.copy_(2 * weight.T)
        for down in (conv, linear, halved):
            assert down.bias.copy_(torch.tensor([10.0, 20.0, 30.0])) is not None
    assert torch.equal(value_vectors(conv, 5, weight.dtype), weight)
    assert torch.equal(value_vectors(linear, 5, weight.dtype), weight)
    assert torch.allclose(value_vectors(halved, 5, weight.dtype), weight, atol=1e-5)


def test_a_neurons_value_vector_is_the_change_of_what_its_layer_writes(family: str, lm: LanguageModel) -> None:
    for layer in range(lm.layers):
        values = torch.randn(1, lm.neurons, generator=torch.Generator().manual_seed(layer))
        more = values + torch.eye(lm.neurons)[[3, 41]]
        with torch.no_grad():
            change = lm.downs[layer](more) - lm.downs[layer](values)
        assert torch.allclose(lm.value_vectors(layer)[[3, 41]], change, atol=1e-5)


def test_a_model_of_rewrapped_projections_is_scored_as_before() -> None:
    class Wrapped(nn.Linear):
        """A class that value vectors know nothing of."""

    model = copy.deepcopy(tiny("llama").model)
    for block in model.model.layers:
        block.mlp.down_proj.__class__ = Wrapped
    lm = locant.load(model, tokenizer=tokenizer())
    for method in ("dai", "exact"):
        expected = locant.attribute(tiny("llama"), WORDS.all, method).scores
        assert torch.allclose(locant.attribute(lm, WORDS.all, method).scores, expected, atol=1e-6)
