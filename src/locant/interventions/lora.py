"""New facts put into the weights by low-rank adapters: what tuning selected neurons is compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from locant.errors import LocantError, UnknownName
from locant.interventions.tuning import Schedule, Tuning, fit
from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.weights import Rewrite, changing_value_vectors, check_editable, keeping_modules
from locant.types import Query

ADAPTER = "default"


@contextmanager
def lora_tuned(
    lm: LanguageModel,
    queries: Sequence[Query],
    *,
    parameters: int,
    steps: int = 100,
    rate: float = 1e-3,
    batch: int = 32,
    stop_at: float | None = None,
    seed: int = 0,
) -> Iterator[Tuning]:
    """Fine-tune low-rank adapters of every feed-forward projection; the weights are changed while the context lasts.

        with tuned(lm, queries, selection) as ours:
            ...
        with lora_tuned(lm, queries, parameters=ours.parameters) as theirs:
            locant.answer_probability(lm, queries)

    Trained as `tuned` trains: the same loss, optimiser and batches. All projections have adapters of one rank, the
    one that comes nearest to the number of parameters (but at least 1): `Tuning.parameters` says how many there
    were. Adapters are scaled by 1 (alpha is the rank), and have no dropout. Once trained they are added to the
    weights, in the weights' dtype, and removed: the model is its own class again, for every other tool to use.

    Args:
        parameters: how many to train; `Tuning.parameters` of what is compared.
        steps, rate, batch, stop_at: as for `tuned`.
        seed: of the order of the queries, and of the adapters' first values.

    Raises:
        LocantError: peft is not installed, the model has adapters already, or as for `tuned`.
        UnknownName, BadQuery: as for `tuned`.

    Source: Hu et al. 2021, arXiv:2106.09685, as the peft library has it.
    """
    peft = _peft()
    schedule = Schedule(steps, rate, batch, stop_at, seed)
    projections = _projections(lm)
    rank = _rank(projections, parameters)
    with hooks.at_rest(lm.model), keeping_modules(lm.model, projections) as names:
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=rank,
            target_modules="|".join(map(re.escape, names)),
            fan_in_fan_out=isinstance(projections[0], Conv1D),
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            adapted = peft.LoraModel(lm.model, config, ADAPTER)
        tuning = fit(lm, queries, [one for one in adapted.parameters() if one.requires_grad], schedule)
        changes = {
            projection: (torch.arange(_shape(projection)[0]), _adding(lm.model.get_submodule(name)))
            for projection, name in zip(projections, names, strict=True)
        }
    # A down-projection's value vectors are its weight by input, and so are these
    with changing_value_vectors(changes):
        yield tuning


def _peft() -> ModuleType:
    try:
        return import_module("peft")
    except ImportError:
        raise LocantError("low-rank adapters need the peft library: install locant[lora]") from None


def _projections(lm: LanguageModel) -> list[nn.Module]:
    """Every projection of the feed-forward layers, once."""
    if hasattr(lm.model, "peft_config"):
        raise LocantError("the model has adapters already: load it without them")
    spec = lm.architecture
    names = dict.fromkeys(name for name in (spec.up, spec.gate, spec.neurons) if name is not None)
    found = [part for name in names for part in lm.parts(name)]
    check_editable(found)
    return found


def _shape(projection: nn.Module) -> tuple[int, int]:
    """A projection's inputs and outputs."""
    rows, columns = projection.weight.shape  # type: ignore[union-attr, misc]
    return (rows, columns) if isinstance(projection, Conv1D) else (columns, rows)


def _rank(projections: Sequence[nn.Module], parameters: int) -> int:
    """The rank of adapters with about this many parameters."""
    if parameters < 1:
        raise UnknownName(f"cannot train {parameters} parameters; give 1 or more")
    return max(1, round(parameters / sum(sum(_shape(projection)) for projection in projections)))


def _adding(adapter: nn.Module) -> Rewrite:
    """What a trained adapter adds to its projection's weight, which has a row per input here."""

    def rewrite(rows: Tensor) -> Tensor:
        change: Tensor = adapter.get_delta_weight(ADAPTER)  # type: ignore[operator]
        by_input = change if adapter.fan_in_fan_out else change.T
        return at_least_float32(rows) + by_input

    return rewrite
