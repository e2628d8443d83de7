"""ROME: one fact written into one layer, as a rank-one change of its down-projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.interventions.editing.background import read_background
from locant.interventions.editing.contexts import rome_prefixes
from locant.interventions.editing.covariance import solver
from locant.interventions.editing.editor import Editor, Rewrite, refuse_layer, refuse_other_kinds
from locant.interventions.editing.presets import preset_of
from locant.interventions.editing.reading import bias_of, read_keys
from locant.interventions.editing.target import Search
from locant.interventions.editing.texts import Texts
from locant.models import LanguageModel
from locant.models.rewriting import rewritten
from locant.models.weights import editable_rows
from locant.types import EditRequest

KEYS = ("averaged", "mixed", "bare")


def rome(
    lm: LanguageModel,
    *,
    layer: int | None = None,
    keys: str = "averaged",
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
    """Write a fact into one layer: W <- W + (v* - W k)(C^-1 k)T / (C^-1 k)T k, k being read at the subject.

    Args:
        layer: None for the preset's: see `presets`, which also says what is known of how well they do.
        keys: 'averaged' over contexts wherever k stands (r-ROME); 'mixed', in the direction C^-1 k alone, the others
            being of the bare prompt, as first released: at times it divides by next to nothing, and the model is no
            model any more; 'bare' nowhere (p-ROME).
        at: where k is read and v* written: 'subject', at its last token, or 'last', at the prompt's; None for the
            preset's.
        steps, rate, unit, clamp, decay, kl, stop_at: of the descent that finds v*, as in `Descent`; None for the
            preset's.
        kl_prompt: says what the subject is, with {} for it; in the language of the requests.
        contexts: beginnings of texts that stand before the prompt; None for twenty that the model makes up.
        texts: to read C in: a file (JSON lines, Parquet, paragraphs, or a JSON list), any texts one after another, or
            None for what the model makes up. No more are read than needed. The papers have Wikipedia's.
        tokens: of them to read; None for fifty of each neuron, and 100,000 at most.
        ridge: added to C's diagonal, in parts of its mean; ours. 0 is the papers'.
        seed: of all that the model makes up.
        values: v* found elsewhere, by the requests' uid.

    Raises:
        UnknownName: no such layer or keys.
        LocantError: the model is not causal, or C cannot be inverted.

    Source: Meng et al. 2022, arXiv:2202.05262; r-ROME and p-ROME: Gupta et al. 2024, arXiv:2403.07175.
    """
    refuse_other_kinds(lm, "rome")
    if keys not in KEYS:
        raise UnknownName(f"no keys {keys!r}{nearest(keys, KEYS)}; there are {', '.join(KEYS)}")
    preset = preset_of(lm)
    how = preset.rome.but(steps=steps, rate=rate, unit=unit, clamp=clamp, decay=decay, kl=kl, stop_at=stop_at)
    search = Search(preset.at if at is None else at, how, kl_prompt, values)
    layer = preset.layer if layer is None else layer
    refuse_layer(lm, layer)
    known = read_background(lm, [layer], rome_prefixes, contexts, texts, tokens, seed)
    solve = solver(known.covariances[layer], ridge)
    down = lm.downs[layer]

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        asked, (target,) = search.of(lm, layer, requests, known.prefixes, of_block=False)
        rows = editable_rows(down).double()
        averaged, bare = (read_keys(lm, layer, asked, weight)[0] for weight in (None, 1.0))
        toward, key = averaged if keys != "bare" else bare, averaged if keys == "averaged" else bare
        direction = solve(toward[:, None])[:, 0].to(rows)
        written = key.to(rows) @ rows + bias_of(lm, layer).to(rows)
        change = rank_one(direction, key.to(rows), target.value.to(rows) - written)
        about = {
            "uid": requests[0].uid,
            **target.note,
            "change": float(change.norm()),
            "overlap": float(direction @ key.to(rows)),
        }
        return Rewrite(rewritten(lm.model, down, rows + change), [about])

    settings = {"layer": layer, "keys": keys, **search.settings(), **known.settings, "ridge": ridge}
    return Editor(settings, rewrite, at_once=1)


def rank_one(
    direction: Float[Tensor, " neuron"], key: Float[Tensor, " neuron"], more: Float[Tensor, " hidden"]
) -> Float[Tensor, "neuron hidden"]:
    """The change of rows, in one direction of their space, that writes this much more at a key."""
    return torch.outer(direction, more / (direction @ key))
