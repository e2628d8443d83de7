"""Editing restated with loops: one context at a time, sums over tokens, inverses, float64; numbered words only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from locant.models import LanguageModel
from locant.models.rewriting import held, rewriting
from locant.types import EditRequest


def ids_of(text: str) -> list[int]:
    return [94 if word == "." else int(word[1:]) for word in text.split()]


def values_at(lm: LanguageModel, module: nn.Module, ids: list[int], position: int, output: bool) -> Tensor:
    """What goes into a module, or comes out of it, at a position; in float64."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, inputs, out: seen.append(out if output else inputs[0]))
    with torch.no_grad():
        lm.model(torch.tensor([ids]))
    handle.remove()
    value = seen[0] if isinstance(seen[0], Tensor) else seen[0][0]
    return value[0, position].double()


def subject_end(ids: list[int], subject: list[int]) -> int:
    """The position of the last token of the subject's last appearance."""
    starts = [start for start in range(len(ids)) if ids[start : start + len(subject)] == subject]
    return starts[-1] + len(subject) - 1


def keys_of(lm: LanguageModel, layer: int, request: EditRequest, prefixes: Sequence[str]) -> list[Tensor]:
    """The key at the subject: of the bare prompt, then after each prefix and a full stop."""
    prompts = [request.query.prompt, *(f"{prefix} . {request.query.prompt}" for prefix in prefixes)]
    found = []
    for prompt in prompts:
        ids = ids_of(prompt)
        at = subject_end(ids, ids_of(request.subject))
        found.append(values_at(lm, lm.downs[layer], ids, at, output=False))
    return found


def residual_of(lm: LanguageModel, layer: int, request: EditRequest) -> Tensor:
    ids = ids_of(request.query.prompt)
    return values_at(lm, lm.blocks[layer], ids, subject_end(ids, ids_of(request.subject)), output=True)


def covariance_of(lm: LanguageModel, layer: int, texts: Sequence[str], ridge: float) -> Tensor:
    total = torch.zeros(lm.neurons, lm.neurons, dtype=torch.float64)
    tokens = 0
    for text in texts:
        ids = ids_of(text)
        for position in range(len(ids)):
            key = values_at(lm, lm.downs[layer], ids, position, output=False)
            total += torch.outer(key, key)
            tokens += 1
    matrix = (total / tokens).float().double()
    return matrix + ridge * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)


def rome_change(
    lm: LanguageModel, layer: int, request: EditRequest, prefixes: Sequence[str], c: Tensor, value: Tensor, keys: str
) -> Tensor:
    """What is added to a GPT-2's weight [neuron hidden]."""
    each = keys_of(lm, layer, request, prefixes)
    averaged, bare = sum(each) / len(each), each[0]
    u = torch.linalg.inv(c) @ (bare if keys == "bare" else averaged)
    k = averaged if keys == "averaged" else bare
    down = lm.downs[layer]
    written = down.weight.detach().double().T @ k + down.bias.detach().double()
    return torch.outer(u, (value - written) / (u @ k))


def memit_changes(
    lm: LanguageModel,
    layers: Sequence[int],
    requests: Sequence[EditRequest],
    prefixes: Sequence[str],
    wanted: Sequence[Tensor],
    solve: Callable[[int, Tensor, Tensor], Tensor],
) -> dict[int, Tensor]:
    """What is added to each layer of a GPT-2, from its keys [neuron request] and what is missing [hidden request]."""
    found: dict[int, Tensor] = {}
    with rewriting(lm.model) as weights:
        for done, layer in enumerate(layers):
            keys, missing = [], []
            for request, want in zip(requests, wanted, strict=True):
                each = keys_of(lm, layer, request, prefixes)
                keys.append(0.5 * each[0] + 0.5 * sum(each[1:]) / len(each[1:]))
                missing.append((want - residual_of(lm, layers[-1], request)) / (len(layers) - done))
            found[layer] = solve(layer, torch.stack(keys, dim=1), torch.stack(missing, dim=1)).T
            name = f"transformer.h.{layer}.mlp.c_proj.weight"
            weights.write({name: held(lm.model, [name])[name] + found[layer]})
    return found
