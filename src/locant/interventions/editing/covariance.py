"""The second moment of the keys that a feed-forward layer reads in running text: what an edit should leave alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from locant.errors import LocantError, UnknownName
from locant.files import cache_folder, write_whole
from locant.interventions.editing.texts import name_of_texts, windows_of
from locant.models import LanguageModel, hooks
from locant.models.sites import Sites
from locant.models.weights import fingerprint

Solve: TypeAlias = Callable[[Tensor], Tensor]
"""From keys [neuron key] to C^-1 keys."""

MEMORY = 8 << 30
"""Bytes that the sums of one pass may take: of all layers but of the largest models."""

TOKENS_AT_ONCE = 8192
"""Tokens of one pass, with padding."""


@dataclass(frozen=True)
class Covariance:
    """E[k kT], uncentred, of the inputs k of a layer's down-projection.

    Attributes:
        matrix: in float32, from sums in float64.
        tokens: what it is a mean over.
        first: the mean key at the first position of a text, where many models have one key many times as long as any
            other, whatever they read. None if it is not known.
        firsts: how many of the tokens stand there.
    """

    matrix: Float[Tensor, "neuron neuron"]
    tokens: int
    first: Float[Tensor, " neuron"] | None = None
    firsts: int = 0

    def regular(self, ridge: float) -> Float[Tensor, "neuron neuron"]:
        """The matrix in float64, with `ridge` times its mean diagonal added to the diagonal.

        Raises:
            LocantError: there are fewer tokens than neurons, and no ridge to make up for them.
        """
        if ridge < 0:
            raise UnknownName(f"a ridge is 0 or more, not {ridge}")
        if ridge == 0 and self.tokens < len(self.matrix):
            raise LocantError(
                f"{self.tokens} tokens say nothing of some directions among {len(self.matrix)} neurons: "
                "read more text, or give a ridge above 0"
            )
        matrix = self.matrix.double()
        matrix.diagonal().add_(ridge * matrix.diagonal().mean())
        return matrix


def solver(covariance: Covariance, ridge: float) -> Solve:
    """C^-1 times any keys; C is taken apart once.

    Raises:
        LocantError: C cannot be inverted.
    """
    matrix = covariance.regular(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        raise LocantError("some neurons never vary by themselves in this text: read more, or give a larger ridge")
    return lambda keys: torch.cholesky_solve(keys.to(factor), factor)


def key_covariances(
    lm: LanguageModel, layers: Sequence[int], texts: Sequence[str] | None, tokens: int, seed: int
) -> dict[int, Covariance]:
    """The covariance of some layers' keys, kept on disk for the next time; see `keep_covariances`."""
    keep_covariances(lm, layers, texts, tokens, seed)
    identity = _identities(lm, layers, texts, tokens, seed)
    return {layer: _cached(identity[layer]) for layer in layers}


def keep_covariances(
    lm: LanguageModel, layers: Sequence[int], texts: Sequence[str] | None, tokens: int, seed: int
) -> None:
    """Put the covariance of some layers' keys on disk, where it is not there: as many layers in a pass as fit.

    The papers read 100,000 texts of Wikipedia.

    Args:
        texts: None for texts that the model makes up, as long as its statistics are all that is wanted of them.
        tokens: of the text, at most; all that are read count, but padding.
        seed: of what is made up.

    Raises:
        UnknownName: there are no tokens to read.
        BadFile: the cache cannot be written to.
    """
    if tokens < 1:
        raise UnknownName(f"a covariance needs tokens to read, not {tokens}")
    identity = _identities(lm, layers, texts, tokens, seed)
    missing = [layer for layer in layers if not _is_kept(identity[layer])]
    if not missing:
        return
    windows = windows_of(lm, texts, tokens, seed)
    size = max(1, MEMORY // (lm.neurons**2 * torch.float64.itemsize))
    for first in range(0, len(missing), size):
        for layer, covariance in accumulate(lm, missing[first : first + size], windows).items():
            _keep(identity[layer], covariance)


def _identities(
    lm: LanguageModel, layers: Sequence[int], texts: Sequence[str] | None, tokens: int, seed: int
) -> dict[int, str]:
    """What tells each layer's covariance from every other."""
    about = {
        "model": lm.name,
        "revision": lm.revision,
        "weights": fingerprint(lm.model),
        "dtype": str(lm.model.dtype),
        "texts": name_of_texts(texts) if texts is not None else f"own, seed {seed}",
        "tokens": tokens,
        "first": "its mean is kept",
    }
    return {layer: json.dumps(about | {"layer": layer}, sort_keys=True) for layer in layers}


@torch.no_grad()
def accumulate(
    lm: LanguageModel, layers: Sequence[int], windows: Sequence[tuple[int, ...]], at_once: int = TOKENS_AT_ONCE
) -> dict[int, Covariance]:
    """The covariance of some layers' keys over windows of tokens, each read on its own.

    Args:
        at_once: tokens in one pass, with padding; at least one window.
    """
    sums: dict[int, Tensor] = {}
    firsts: dict[int, Tensor] = {}
    seen: dict[int, Tensor] = {}
    downs = [lm.downs[layer] for layer in layers]
    with hooks.at_rest(lm.model):
        for sites in _batches(windows, at_once):
            placed = sites.to(lm.device)
            with hooks.watching_inputs(downs, seen.__setitem__), hooks.stopping_after(lm.blocks[max(layers)]):
                lm.run(placed)
            for index, values in seen.items():
                values = values.reshape(*placed.mask.shape, -1)
                first = values[:, 0].double().sum(dim=0)
                firsts[index] = firsts[index].add_(first) if index in firsts else first
                keys = values[placed.mask.to(values.device)]
                # Products are summed in float64; made in it only where that is not slow
                keys = keys.double() if keys.device.type == "cpu" else keys.float()
                product = keys.T @ keys
                sums[index] = sums[index].add_(product) if index in sums else product.double()
    tokens = sum(map(len, windows))
    return {
        layer: Covariance(
            (sums[index] / tokens).float().cpu(), tokens, (firsts[index] / len(windows)).float().cpu(), len(windows)
        )
        for index, layer in enumerate(layers)
    }


def _batches(windows: Sequence[tuple[int, ...]], at_once: int) -> Iterator[Sites]:
    """Windows of like lengths together; nothing is read of them but neurons."""
    order = sorted(windows, key=len)
    while order:
        many = 1
        while many < len(order) and (many + 1) * len(order[many]) <= at_once:
            many += 1
        batch, order = order[:many], order[many:]
        tokens = pad_sequence([torch.tensor(one) for one in batch], batch_first=True)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(one) for one in batch])[:, None]
        none = torch.zeros(0, dtype=torch.int64)
        yield Sites(tokens, mask, none, none, none, none)


def _file(identity: str) -> Path:
    return cache_folder() / "covariance" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.safetensors"


def _is_kept(identity: str) -> bool:
    """Whether there is something whole under this identity."""
    try:
        with safe_open(_file(identity), framework="pt") as file:
            about = file.metadata() or {}
            return bool(about["identity"] == identity and int(about["tokens"]) and "first" in set(file.keys()))
    except (OSError, SafetensorError, KeyError, ValueError):
        return False


def _cached(identity: str) -> Covariance:
    """What is kept under this identity; a copy, as the file may be written anew while it is in use."""
    with safe_open(_file(identity), framework="pt") as file:
        about = file.metadata()
        matrix, first = (file.get_tensor(name).clone() for name in ("matrix", "first"))
    return Covariance(matrix, int(about["tokens"]), first, int(about["firsts"]))


def _keep(identity: str, covariance: Covariance) -> None:
    about = {"identity": identity, "tokens": str(covariance.tokens), "firsts": str(covariance.firsts)}
    tensors = {"matrix": covariance.matrix} | ({} if covariance.first is None else {"first": covariance.first})
    write_whole(_file(identity), lambda beside: save_file(tensors, beside, metadata=about))
