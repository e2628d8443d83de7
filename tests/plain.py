"""The plain versions: one whole forward pass per variant, with hooks of their own, no engine, no sharing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import locant
from families import MASKED, SEQ2SEQ
from locant.models import LanguageModel


class DoubleThroughout(TorchFunctionMode):
    """Keeps float64 where models go down to float32 on purpose (norms, softmax), so that laws can be exact."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        is_double = bool(args) and isinstance(args[0], Tensor) and args[0].dtype == torch.float64
        if func is torch.Tensor.float:
            return args[0].double()
        if is_double and func in (torch.Tensor.to, torch.Tensor.type):
            args = tuple(torch.float64 if one is torch.float32 else one for one in args)
        if is_double and kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def read(family: str, lm: LanguageModel, query: locant.Query) -> list[tuple[dict[str, Tensor], int, int]]:
    """Of each answer token: the model's inputs, the position it is read at and its id, laid out by hand."""
    prompt, answer = ([int(word[1:]) for word in text.split()] for text in (query.prompt, query.answer))
    readings = []
    for k, token in enumerate(answer):
        if family in MASKED:
            masks = [lm.tokenizer.mask_token_id] * (len(answer) - k)
            stop = [94]
            inputs = {"input_ids": torch.tensor([prompt + answer[:k] + masks + stop])}
            readings.append((inputs, len(prompt) + k, token))
        elif family in SEQ2SEQ:
            decoder = torch.tensor([[lm.tokenizer.pad_token_id, *answer[:k]]])
            inputs = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": decoder}
            readings.append((inputs, k, token))
        else:
            readings.append(({"input_ids": torch.tensor([prompt + answer[:k]])}, len(prompt) + k - 1, token))
    return readings


@contextmanager
def at_position(
    module: torch.nn.Module, position: int, change: Callable[[Tensor], Tensor], output: bool = False
) -> Iterator[None]:
    """Replace what goes into (or comes out of) a module at one position of a batch of equal sequences."""

    def changed(values: Tensor) -> Tensor:
        flat = values.ndim == 2  # OPT: one sequence flattened
        new = (values[None] if flat else values).clone()
        new[:, position] = change(new[:, position])
        return new[0] if flat else new

    if output:
        handle = module.register_forward_hook(
            lambda module, inputs, value: (
                changed(value) if isinstance(value, Tensor) else (changed(value[0]), *value[1:])
            )
        )
    else:
        handle = module.register_forward_pre_hook(lambda module, inputs: (changed(inputs[0]),))
    try:
        yield
    finally:
        handle.remove()


def probability(lm: LanguageModel, inputs: dict[str, Tensor], position: int, token: int) -> Tensor:
    logits = lm.model(**inputs).logits[0, position]
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)[token]


def neurons_at(lm: LanguageModel, layer: int, inputs: dict[str, Tensor], position: int, hook: str) -> Tensor:
    """A layer's neurons at a position: the down-projection's input, or the gate's output."""
    seen: list[Tensor] = []

    def see(values: Tensor) -> Tensor:
        seen.append(values[0].detach().clone())
        return values

    with torch.no_grad(), at_position(place(lm, layer, hook), position, see, output=hook == "pre"):
        lm.model(**inputs)
    return seen[0]


def place(lm: LanguageModel, layer: int, hook: str) -> torch.nn.Module:
    name = lm.architecture.neurons if hook == "post" else lm.architecture.gate
    return lm.blocks[layer].get_submodule(name)


def integrated_gradients(
    family: str,
    lm: LanguageModel,
    query: locant.Query,
    points: tuple[float, ...],
    weights: tuple[float, ...],
    hook: str = "post",
) -> Tensor:
    """Scores [layer neuron], layer by layer and point by point; the mean over the answer's tokens."""
    readings = read(family, lm, query)
    scores = torch.zeros(lm.layers, lm.neurons, dtype=lm.model.dtype)
    for inputs, position, token in readings:
        for layer in range(lm.layers):
            values = neurons_at(lm, layer, inputs, position, hook)
            for point, weight in zip(points, weights, strict=True):
                # A matrix may hold gate and up side by side: only the gate's half moves
                leaf = (point * values[: lm.neurons]).requires_grad_(True)
                moved = torch.cat([leaf, values[lm.neurons :]])
                with at_position(
                    place(lm, layer, hook), position, lambda old, moved=moved: moved[None], hook == "pre"
                ):
                    (slope,) = torch.autograd.grad(probability(lm, inputs, position, token), leaf)
                scores[layer] += weight * slope * values[: lm.neurons]
    return scores / len(readings)


def ablations(
    family: str, lm: LanguageModel, query: locant.Query, units: list[tuple[int, int]], baseline: Tensor | None
) -> Tensor:
    """P(answer) lost by zeroing each unit, one whole pass each; the mean over the answer's tokens."""
    readings = read(family, lm, query)
    losses = torch.zeros(len(units), dtype=lm.model.dtype)
    with torch.no_grad():
        for inputs, position, token in readings:
            before = probability(lm, inputs, position, token)
            for index, (layer, neuron) in enumerate(units):

                def silence(values: Tensor, layer: int = layer, neuron: int = neuron) -> Tensor:
                    values = values.clone()
                    values[..., neuron] = 0 if baseline is None else baseline[layer, neuron]
                    return values

                with at_position(lm.downs[layer], position, silence):
                    losses[index] += before - probability(lm, inputs, position, token)
    return losses / len(readings)
