"""FT-M: one layer fine-tuned, with the loss that a language model is trained with."""

from __future__ import annotations

from locant.interventions.editing.editor import Editor
from locant.interventions.editing.ft_presets import Bound, bound_of, bounded_layer, free_layer
from locant.interventions.editing.one_layer import each_in_its_place, one_layer, schedule_of, times_many
from locant.models import LanguageModel


def ft_m(
    lm: LanguageModel,
    *,
    layer: int | None = None,
    bound: Bound = None,
    steps: int | None = None,
    rate: float = 5e-4,
    stop_at: float | None = 0.01,
    per_step: int = 64,
) -> Editor:
    """Fine-tune a layer's down-projection on the new object's tokens, each read after those before it.

    The loss of a request is the mean of -ln P over these tokens; the prompt's own are not scored. `one_layer` has
    a table of what the names mean.

    Args:
        layer: None for that of `ft`, or within a bound that of `ft_l`.
        bound: how far each weight may be from what it was before the request; None for as far as it goes, 'preset'
            as for `ft_l` (and as published for GPT-2 XL).
        steps, rate, stop_at, per_step: as for `ft`.

    Raises:
        UnknownName: there is no such layer, or a number makes no sense.

    Source: Zhang et al. 2024, arXiv:2401.01286, FT-M; zjunlp/EasyEdit, `target_new`.
    """
    preset = free_layer if bound is None else bounded_layer
    own = preset(lm) if layer is None else layer
    return one_layer(
        lm,
        own,
        bound_of(lm, own, bound),
        schedule_of(steps, rate, stop_at, per_step),
        each_in_its_place,
        times_many(steps),
    )
