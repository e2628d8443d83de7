"""New facts put into the weights by low-rank adapters: what tuning selected neurons is compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import accumulate
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
    layers: Sequence[int] = (),
    steps: int = 100,
    rate: float = 1e-3,
    batch: int = 32,
    stop_at: float | None = None,
    seed: int = 0,
) -> Iterator[Tuning]:
    """Fine-tune low-rank adapters of feed-forward projections; the weights are changed while the context lasts.

        with tuned(lm, queries, selection) as ours:
            ...
        with lora_tuned(lm, queries, parameters=ours.parameters) as theirs:
            locant.answer_probability(lm, queries)

    Trained as `tuned` trains: the same loss, optimiser and batches. Adapters are of one rank, the one with which
    all projections come nearest to the number of parameters. Where rank 1 of all is more than was asked for, only as
    many projections have adapters as come nearest (but at least one), layer after layer, of a layer the
    down-projection first: `Tuning.parameters` says how many there were. Adapters are scaled by 1 (alpha is the rank),
    and have no dropout. Once trained they are added to the weights, in the weights' dtype, and removed: the model is
    its own class again, for every other tool to use.

    Args:
        parameters: how many to train; `Tuning.parameters` of what is compared.
        layers: to be taken first, in this order, where not all are; then the others, the last ones first, where
            knowledge neurons are said to be most (Dai et al. 2022, arXiv:2104.08696).
        steps, rate, batch, stop_at: as for `tuned`.
        seed: of the order of the queries, and of the adapters' first values.

    Raises:
        LocantError: peft is not installed, the model has adapters already, or as for `tuned`.
        UnknownName: there is no such layer, or it is named twice; and as for `tuned`.
        BadQuery: as for `tuned`.

    Source: Hu et al. 2021, arXiv:2106.09685, as the peft library has it.
    """
    peft = _peft()
    schedule = Schedule(steps, rate, batch, stop_at, seed)
    projections, rank = _adapted(_projections(lm, layers), parameters)
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


def _projections(lm: LanguageModel, layers: Sequence[int]) -> list[nn.Module]:
    """Every projection of the feed-forward layers, once, those of some layers first."""
    if hasattr(lm.model, "peft_config"):
        raise LocantError("the model has adapters already: load it without them")
    spec = lm.architecture
    if len(set(layers)) < len(layers) or not set(layers) <= set(range(lm.layers)):
        raise UnknownName(f"layers are 0 to {lm.layers - 1}, each once, not {', '.join(map(str, layers))}")
    order = dict.fromkeys([*layers, *reversed(range(lm.layers))])
    names = dict.fromkeys(name for name in (spec.neurons, spec.up, spec.gate) if name is not None)
    parts = [lm.parts(name) for name in names]
    found = [own[layer] for layer in order for own in parts]
    check_editable(found)
    return found


def _shape(projection: nn.Module) -> tuple[int, int]:
    """A projection's inputs and outputs."""
    rows, columns = projection.weight.shape  # type: ignore[union-attr, misc]
    return (rows, columns) if isinstance(projection, Conv1D) else (columns, rows)


def _adapted(projections: Sequence[nn.Module], parameters: int) -> tuple[Sequence[nn.Module], int]:
    """The projections that have adapters, and the rank of these, for about this many parameters."""
    if parameters < 1:
        raise UnknownName(f"cannot train {parameters} parameters; give 1 or more")
    *_, every = taken = list(accumulate(sum(_shape(projection)) for projection in projections))
    if parameters >= every:
        return projections, round(parameters / every)
    nearest = min(range(len(taken)), key=lambda place: abs(taken[place] - parameters))
    return projections[: nearest + 1], 1


def _adding(adapter: nn.Module) -> Rewrite:
    """What a trained adapter adds to its projection's weight, which has a row per input here."""

    def rewrite(rows: Tensor) -> Tensor:
        change: Tensor = adapter.get_delta_weight(ADAPTER)  # type: ignore[operator]
        by_input = change if adapter.fan_in_fan_out else change.T
        return at_least_float32(rows) + by_input

    return rewrite
