"""AlphaEdit: many facts written at once, only in directions that known keys do not use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.interventions.editing.background import read_background
from locant.interventions.editing.contexts import memit_prefixes
from locant.interventions.editing.covariance import Covariance
from locant.interventions.editing.editor import Editor, Rewrite, refuse_other_kinds
from locant.interventions.editing.presets import preset_of
from locant.interventions.editing.spread import layers_of, refuse_normed, spread
from locant.interventions.editing.target import Search
from locant.interventions.editing.texts import Texts
from locant.models import LanguageModel
from locant.types import EditRequest, Setting

PRICE = 0.03
"""l2 where none is given, in mean squared lengths of what keys have in free directions; found on the almanacs."""


def alphaedit(
    lm: LanguageModel,
    *,
    layers: Sequence[int] | str | None = None,
    l2: float | None = None,
    free: float | None = None,
    threshold: float | None = None,
    steps: int | None = None,
    rate: float | None = None,
    unit: str | None = None,
    clamp: float | None = None,
    decay: float | None = None,
    kl: float | None = None,
    stop_at: float = 0.05,
    at: str | None = None,
    kl_prompt: str = "{} is a",
    contexts: Sequence[str] | None = None,
    texts: Texts = None,
    tokens: int | None = None,
    seed: int = 0,
    values: Mapping[str, Tensor] | None = None,
) -> Editor:
    """Write facts into several layers, where hardly any key points (P): W <- W + R KT P (P A AT + l2 I)^-1.

    A are the keys of these requests and of all that the editor wrote before.

    Args:
        layers: ascending, as numbers or with commas between them; None for the preset's.
        l2: the price of a change, in squared lengths of keys; None for the preset's, which for models that the paper
            has not is a part of the squared length that keys have in P, in each layer its own.
        free: P are the directions with least of the keys' second moment, as many as have this part of it together;
            what keys have at the first position of a text does not count. How many others there are is among the
            settings: protected.
        threshold: P are instead the directions whose second moment is below this, as published: 2e-2, whatever
            the size of a model's activations. None for both takes the preset's.

    The other settings are those of `memit`.

    Raises:
        UnknownName: no such layers, or a number makes no sense.
        LocantError: the model is not causal, or puts a norm after its down-projections.

    Source: Fang et al. 2025, arXiv:2410.02355; the choice by `free` is ours.
    """
    refuse_other_kinds(lm, "alphaedit")
    refuse_normed(lm, "alphaedit")
    preset = preset_of(lm)
    how = preset.memit.but(steps=steps, rate=rate, unit=unit, clamp=clamp, decay=decay, kl=kl, stop_at=stop_at)
    search = Search(preset.at if at is None else at, how, kl_prompt, values)
    layers = layers_of(lm, preset.layers if layers is None else layers)
    if free is None and threshold is None:
        free, threshold = preset.free, preset.threshold
    _refuse_numbers(l2, free, threshold)
    known = read_background(lm, layers, memit_prefixes, contexts, texts, tokens, seed)
    spaces = {layer: free_space(one, free, threshold) for layer, one in known.covariances.items()}
    l2 = preset.l2 if l2 is None else l2
    prices = {layer: PRICE * space.moment if l2 is None else l2 for layer, space in spaces.items()}
    settings: dict[str, Setting] = {
        "layers": ", ".join(map(str, layers)),
        "l2": ", ".join(f"{prices[layer]:.6g}" for layer in layers),
        **({"free": free} if threshold is None else {"threshold": threshold}),
        "protected": ", ".join(str(spaces[layer].used.shape[1]) for layer in layers),
        **search.settings(),
        **known.settings,
    }

    def editor(earlier: Mapping[int, Tensor]) -> Editor:
        def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
            asked, targets = search.of(lm, layers[-1], requests, known.prefixes, of_block=True)
            new: dict[int, Tensor] = {}

            def change(layer: int, keys: Tensor, part: Tensor) -> Tensor:
                new[layer] = spaces[layer].project(keys.T)
                return least_within(new[layer], earlier[layer], part, prices[layer])

            found = spread(lm, layers, asked, targets, change)
            every = {layer: torch.cat([earlier[layer], keys.cpu()], dim=1) for layer, keys in new.items()}
            return replace(found, then=editor(every))

        return Editor(settings, rewrite, method="alphaedit")

    return editor({layer: torch.zeros(lm.neurons, 0, dtype=torch.float64) for layer in layers})


@dataclass(frozen=True)
class FreeSpace:
    """The directions that hardly any key has.

    Attributes:
        used: all others, an orthonormal basis of them.
        moment: the mean squared length of what keys have in free directions.
    """

    used: Float[Tensor, "neuron direction"]
    moment: float

    def project(self, keys: Float[Tensor, "neuron key"]) -> Float[Tensor, "neuron key"]:
        """P K: what keys have in free directions."""
        own = keys.to(self.used)
        return own - self.used @ (self.used.T @ own)


def free_space(covariance: Covariance, free: float | None, threshold: float | None) -> FreeSpace:
    """The directions of C with the smallest eigenvalues.

    Args:
        free: the part that they have together, at most, of C's trace without the first position's mean key: that
            alone can have a third of it, so that far more than this part of all other keys would be free.
        threshold: instead, what their eigenvalues are below.
    """
    moments, directions = torch.linalg.eigh(covariance.matrix.double())
    moments = rest = moments.clamp_min(0)
    if covariance.first is not None:
        along = directions.T @ covariance.first.double()
        rest = (moments - covariance.firsts / covariance.tokens * along**2).clamp_min(0)
    used = rest.cumsum(0) > (free or 0) * rest.sum() if threshold is None else moments >= threshold
    return FreeSpace(directions[:, used], float(moments[~used].sum()))


def least_within(
    keys: Float[Tensor, "neuron request"],
    earlier: Float[Tensor, "neuron key"],
    part: Float[Tensor, "request hidden"],
    l2: float,
) -> Float[Tensor, "neuron hidden"]:
    """The change within the free space that writes most of `part` at the keys and nothing at earlier ones.

    It is [P A AT + l2 I]^-1 P K R, of which what is not in P is zero: with G = P A that is G (GT G + l2 I)^-1 (R, 0),
    as large as there are keys and not as there are neurons.

    Args:
        keys: P K.
        earlier: P times the keys of earlier edits.
    """
    every = torch.cat([keys, earlier.to(keys)], dim=1)
    overlap = every.T @ every
    overlap.diagonal().add_(l2)
    wanted = torch.zeros(every.shape[1], part.shape[1], dtype=keys.dtype, device=keys.device)
    wanted[: len(part)] = part.to(keys)
    return every @ torch.linalg.solve(overlap, wanted)


def _refuse_numbers(l2: float | None, free: float | None, threshold: float | None) -> None:
    if free is not None and threshold is not None:
        raise UnknownName("the free directions are chosen by `free` or by `threshold`, not by both")
    if l2 is not None and not l2 > 0:
        raise UnknownName(f"l2 is above 0, not {l2}")
    if free is not None and not 0 < free <= 1:
        raise UnknownName(f"the free part of the second moment is above 0 and at most 1, not {free}")
