"""Many facts written at once: what a block should leave, spread over the layers up to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from locant.errors import LocantError, UnknownName
from locant.interventions.editing.contexts import Asked
from locant.interventions.editing.editor import Rewrite, refuse_layer
from locant.interventions.editing.reading import read_keys, read_residuals
from locant.interventions.editing.target import Target
from locant.models import LanguageModel
from locant.models.rewriting import rewriting, rewritten
from locant.models.weights import editable_rows

Change: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""From a layer, keys [request neuron] and what is to be written at them more [request hidden], to what is added to
the layer's rows [neuron hidden]; all in float64."""

BARE = 0.5
"""The weight of the bare prompt among the contexts."""


def spread(
    lm: LanguageModel,
    layers: Sequence[int],
    asked: Sequence[Asked],
    targets: Sequence[Target],
    change: Change,
) -> Rewrite:
    """Change layer after layer, each by its part of what is still missing at the last of them.

    Returns:
        The new weights, and of each request what its descent says, and `missing`: how far its residual still is from
        what was wanted. The model is as before.

    Source: Meng et al. 2023, arXiv:2210.07229, algorithm 1.
    """
    found: dict[str, Tensor] = {}
    last = layers[-1]
    wanted = torch.stack([one.value for one in targets])
    with rewriting(lm.model) as weights:
        missing = wanted - read_residuals(lm, last, asked).to(wanted)
        for done, layer in enumerate(layers):
            rows = editable_rows(lm.downs[layer]).double()
            part = missing / (len(layers) - done) / lm.architecture.branch_scale(lm.config)
            keys = read_keys(lm, layer, asked, BARE)
            new = rewritten(lm.model, lm.downs[layer], rows + change(layer, keys, part.to(keys)).to(rows))
            weights.write(new)
            found |= new
            missing = wanted - read_residuals(lm, last, asked).to(wanted)
    each = zip(asked, targets, missing.norm(dim=1).tolist(), strict=True)
    return Rewrite(found, [{"uid": one.request.uid, **target.note, "missing": left} for one, target, left in each])


def refuse_normed(lm: LanguageModel, method: str) -> None:
    """Refuse models where a block does not add what its down-projection writes as it is.

    Raises:
        LocantError: a norm stands between them.
    """
    if lm.architecture.branch_norm or lm.architecture.sum_norm:
        raise LocantError(
            f"{method} needs blocks that add what their down-projection writes; in a {lm.config.model_type} model a "
            "norm stands between: use rome, which asks only for what is written"
        )


def layers_of(lm: LanguageModel, layers: Sequence[int] | str) -> tuple[int, ...]:
    """Layers as numbers, or as words with commas between them.

    Raises:
        UnknownName: there are none, one of them does not exist, or their order is another.
    """
    try:
        found = tuple(map(int, layers.split(","))) if isinstance(layers, str) else tuple(layers)
    except ValueError:
        raise UnknownName(f"layers are whole numbers with commas between them, as 3,4,5; not {layers!r}") from None
    for layer in found:
        refuse_layer(lm, layer)
    if not found or list(found) != sorted(set(found)):
        raise UnknownName(f"layers are edited from the lowest up, each once; not {list(found)}")
    return found
