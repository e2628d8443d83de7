"""Opening a model and checking that the architecture table describes it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from locant.errors import LocantError, SelfCheckFailed, nearest
from locant.models import hooks
from locant.models.architectures import Architecture, architecture_of
from locant.models.attention import maskable_attention
from locant.models.engine import record
from locant.models.language_model import LanguageModel, at_least_float32
from locant.models.sites import Sites
from locant.queries import Tokens

EMBEDDED = {name: f"almanac/models/{name}" for name in ("almanac", "almanac-gpt2", "almanac-bert")}

PLACED = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps that transformers works out itself."""

_CLASS = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM, "seq2seq": AutoModelForSeq2SeqLM}


def load(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | dict[str, int | str] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Open a model: a name on the Hub, a folder, `almanac`, or one already in memory.

    Args:
        tokenizer: needed with a model in memory; otherwise the model's own.
        dtype: e.g. 'float32' or 'bfloat16'; as the model was saved, if not given, but never float16 on a CPU.
        device_map: as in transformers: 'auto', 'cuda', or a map from modules to devices.

    Raises:
        LocantError: it cannot be found or read.
        UnknownArchitecture: its type is not in the architecture table.
        SelfCheckFailed: the table does not describe it.
    """
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise LocantError("a model in memory needs its tokenizer: load(model, tokenizer=...)")
        if dtype is not None or device_map is not None:
            raise LocantError("a model in memory keeps its dtype and its place: load it as it should be")
        name = model.config.name_or_path or type(model).__name__
        opened = _open(model, tokenizer, architecture_of(model.config), name, revision)
    else:
        opened = _from_pretrained(str(model), tokenizer, dtype, device_map, revision, trust_remote_code)
    check(opened)
    return opened


def _from_pretrained(
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: str | torch.dtype | None,
    device_map: str | dict[str, int | str] | None,
    revision: str | None,
    trust_remote_code: bool,
) -> LanguageModel:
    _refuse_device(device_map)
    source = str(files("locant") / EMBEDDED[name]) if name in EMBEDDED else name
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **common)
        architecture = architecture_of(config)
        wanted = _dtype(dtype)
        model = _CLASS[architecture.kind].from_pretrained(
            source, config=config, dtype=wanted, device_map=device_map, use_safetensors=True, **common
        )
        own = tokenizer or AutoTokenizer.from_pretrained(source, **common)
    except (OSError, ValueError, ImportError, RuntimeError, AssertionError, SafetensorError) as error:
        raise LocantError(_why_not(name, error)) from error
    if dtype is None and model.dtype == torch.float16 and {one.device.type for one in model.parameters()} == {"cpu"}:
        # Half precision is slow and coarse on a CPU; models are saved in it to be small
        model = model.float()
    model.eval().requires_grad_(False)
    found = getattr(model.config, "_commit_hash", None)
    return _open(model, own, architecture, name, found or revision)


def _open(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    architecture: Architecture,
    name: str,
    revision: str | None,
) -> LanguageModel:
    try:
        return LanguageModel(model, tokenizer, architecture, name, revision)
    except AttributeError as error:
        raise SelfCheckFailed(
            f"{name} ({model.config.model_type}): its entry in models/architectures.py does not fit it: {error}"
        ) from error


def _dtype(wanted: str | torch.dtype | None) -> torch.dtype | str:
    if wanted is None:
        return "auto"
    found = wanted if isinstance(wanted, torch.dtype) else getattr(torch, wanted, None)
    if not isinstance(found, torch.dtype):
        raise LocantError(f"no dtype {wanted!r}: float32, float16, bfloat16 and float64 are known")
    return found


def _refuse_device(wanted: str | dict[str, int | str] | None) -> None:
    """Refuse a device that is not here, before it is taken for a fault of the model."""
    if not isinstance(wanted, str) or wanted in PLACED:
        return
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        why = str(error).strip().splitlines()[0]
        raise LocantError(f"no device {wanted!r} here: give cpu, cuda, cuda:1, mps or auto ({why})") from error


def _why_not(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).is_dir():
        return f"the folder {name!r} does not hold a model that can be read: {first}"
    embedded = ", ".join(EMBEDDED)
    return (
        f"no model {name!r}{nearest(name, EMBEDDED)}: it is not an embedded model ({embedded}), not a folder here, "
        f"and the Hub did not give it ({first})"
    )


def check(lm: LanguageModel) -> None:
    """Hold the architecture table against the model, on a few tokens.

    Four things must be true: the last residual, read out by the table's names, gives the model's own logits; a row
    that changes nothing gives them again; a row whose neurons are silent, in the first layer and in the last, gives
    what the model itself says with those neurons at zero, which is something else; and gate, activation function
    and up-projection, where there is one, make the neurons.

    Raises:
        SelfCheckFailed: one is not; the text says which, with what was expected and found.
    """
    try:
        with torch.no_grad(), hooks.at_rest(lm.model), maskable_attention(lm.model):
            _check(lm)
    except (AttributeError, IndexError, RuntimeError, TypeError) as error:
        raise SelfCheckFailed(f"{_entry(lm)} does not fit it: {error}") from error


def _check(lm: LanguageModel) -> None:
    sites = lm.sites([_probe(lm)])
    own = at_least_float32(_own_logits(lm, sites))
    _compare(lm, "the last residual, read out,", lm.site_logits(sites), own)
    run = record(lm, sites, gates=True)
    token = sites.target[0]
    target = own.log_softmax(-1)[0, token]
    same = {layer: run.written[layer][:, None] for layer in range(lm.layers)}
    unchanged = run.log_probabilities(same)[0]
    _compare(lm, "a row that changes nothing", unchanged, target.expand_as(unchanged))
    for layer in {0, lm.layers - 1}:
        silent = lm.downs[layer].forward(torch.zeros_like(run.neurons[layer]))
        found = run.log_probabilities({layer: silent[:, None]})[0, 0]
        with hooks.changing_inputs({lm.downs[layer]: lambda neurons: _silenced(lm, neurons)}):
            expected = lm.site_logits(sites).log_softmax(-1)[0, token]
        _compare(lm, f"a row with layer {layer}'s neurons at zero", found, expected)
        if torch.equal(found, unchanged[layer]):
            raise SelfCheckFailed(f"{_entry(lm)}: silencing every neuron of layer {layer} changes nothing")
    for layer, function in enumerate(lm.parts(lm.architecture.activation)):
        made = function(run.gates[layer])
        made = made * run.ups[layer] if run.ups else made
        _compare(lm, f"layer {layer}'s gate and activation function", made, run.neurons[layer])


def _silenced(lm: LanguageModel, neurons: Float[Tensor, "... neuron"]) -> Float[Tensor, "... neuron"]:
    answers = lm.answer_positions(neurons.shape[-2])
    return neurons.masked_fill(answers.reshape(*neurons.shape[:-1], 1).to(neurons.device), 0)


def _entry(lm: LanguageModel) -> str:
    return f"{lm.name} ({lm.model.config.model_type}): its entry in models/architectures.py"


def _probe(lm: LanguageModel) -> tuple[Tokens, tuple[int, ...]]:
    """Five tokens that any vocabulary has, with the last as the answer."""
    ids = tuple(range(2, 6))
    mask = lm.tokenizer.mask_token_id
    if lm.architecture.kind == "masked" and mask is None:
        raise SelfCheckFailed(f"{lm.name}: a masked model, but its tokenizer has no mask token")
    return Tokens(prompt=ids, answers=((6,),), suffix=ids[:2], start=ids[:2]), (6,)


def _own_logits(lm: LanguageModel, sites: Sites) -> Float[Tensor, "site vocab"]:
    logits: Tensor = lm.model(**lm.inputs(sites)).logits
    return logits[sites.sequence, sites.position]


def _compare(lm: LanguageModel, what: str, found: Tensor, expected: Tensor) -> None:
    exact = lm.model.dtype in (torch.float32, torch.float64)
    tolerance = (1e-3 if exact else 5e-2) * max(1.0, float(expected.abs().max()))
    gap = float((found.to(expected.device) - expected).abs().max())
    if not gap <= tolerance:
        raise SelfCheckFailed(
            f"{_entry(lm)} does not describe it: {what} should give what the model itself computes, "
            f"but is off by {gap:.2g} (allowed {tolerance:.2g})"
        )
