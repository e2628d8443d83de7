"""MEMIT: many facts written at once, spread over several layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import LocantError, UnknownName
from locant.interventions.editing.background import read_background
from locant.interventions.editing.contexts import memit_prefixes
from locant.interventions.editing.covariance import Solve, solver
from locant.interventions.editing.editor import Editor, Rewrite, refuse_other_kinds
from locant.interventions.editing.presets import preset_of
from locant.interventions.editing.spread import layers_of, refuse_normed, spread
from locant.interventions.editing.target import Search
from locant.interventions.editing.texts import Texts
from locant.models import LanguageModel
from locant.types import EditRequest


def memit(
    lm: LanguageModel,
    *,
    layers: Sequence[int] | str | None = None,
    weight: float | None = None,
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
    ridge: float = 1e-6,
    seed: int = 0,
    values: Mapping[str, Tensor] | None = None,
) -> Editor:
    """Write facts into several layers, of each W <- W + R KT (weight C + K KT)^-1, K being read at the subjects.

    Args:
        layers: ascending, as numbers or with commas between them; None for the preset's.
        weight: of what the layers know against the new facts: the papers' lambda; None for the preset's.
        contexts: beginnings of texts that stand before the prompt, and count together as much as the prompt alone;
            None for five that the model makes up.
        values: what the last of the layers should leave at the subject, found elsewhere, by the requests' uid.

    The other settings are those of `rome`.

    Raises:
        UnknownName: no such layers, or a weight that is not above 0.
        LocantError: the model is not causal, puts a norm after its down-projections, or C cannot be inverted.

    Source: Meng et al. 2023, arXiv:2210.07229.
    """
    refuse_other_kinds(lm, "memit")
    refuse_normed(lm, "memit")
    preset = preset_of(lm)
    how = preset.memit.but(steps=steps, rate=rate, unit=unit, clamp=clamp, decay=decay, kl=kl, stop_at=stop_at)
    search = Search(preset.at if at is None else at, how, kl_prompt, values)
    layers = layers_of(lm, preset.layers if layers is None else layers)
    weight = preset.weight if weight is None else weight
    if not weight > 0:
        raise UnknownName(f"the weight of what is known is above 0, not {weight}")
    known = read_background(lm, layers, memit_prefixes, contexts, texts, tokens, seed)
    solve = {layer: solver(covariance, ridge) for layer, covariance in known.covariances.items()}

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        asked, targets = search.of(lm, layers[-1], requests, known.prefixes, of_block=True)
        return spread(lm, layers, asked, targets, lambda of, keys, part: least(solve[of], keys, part, weight))

    settings = {
        "layers": ", ".join(map(str, layers)),
        "weight": weight,
        **search.settings(),
        **known.settings,
        "ridge": ridge,
    }
    return Editor(settings, rewrite)


def least(
    solve: Solve, keys: Float[Tensor, "request neuron"], part: Float[Tensor, "request hidden"], weight: float
) -> Float[Tensor, "neuron hidden"]:
    """The change that writes most of `part` at the keys while it changes least of what is known.

    It is (weight C + K KT)^-1 K R in the least of sizes: C^-1 K (weight I + KT C^-1 K)^-1 R, by Woodbury's identity,
    so that C is inverted once whatever the keys.

    Args:
        solve: C^-1 times keys.
        weight: of C.
    """
    whitened = solve(keys.T)
    overlap = keys.to(whitened) @ whitened
    overlap.diagonal().add_(weight)
    try:
        return whitened @ torch.linalg.solve(overlap, part.to(whitened))
    except RuntimeError as error:  # of linear algebra
        raise LocantError("two of the requests have the same keys: give a larger weight") from error
