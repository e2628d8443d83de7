"""FT-L: one layer fine-tuned within a bound."""

from __future__ import annotations

from locant.interventions.editing.editor import Editor
from locant.interventions.editing.ft_presets import Bound, bound_of, bounded_layer
from locant.interventions.editing.one_layer import all_at_the_prompts_last, one_layer, schedule_of, times_many
from locant.models import LanguageModel


def ft_l(
    lm: LanguageModel,
    *,
    layer: int | None = None,
    bound: Bound = "preset",
    steps: int | None = None,
    rate: float = 5e-4,
    stop_at: float | None = 0.01,
    per_step: int = 64,
) -> Editor:
    """Fine-tune a layer's down-projection while no weight goes far: FT+L of ROME's paper, FT-L of EasyEdit's.

    Every token of the new object is scored at the prompt's last position, as published, which is wrong for objects
    of several tokens: they are all made likely first tokens. Use `ft_m` for these. `one_layer` has a table of what
    the names mean.

    Args:
        layer: None for the published one, or as `ft_presets` has it.
        bound: how far each weight may be from what it was before the request; 'preset' for that of `ft_presets`;
            None for none.
        steps, rate, stop_at, per_step: as for `ft`.

    Raises:
        UnknownName: there is no such layer, or a number makes no sense.

    Source: Meng et al. 2022, arXiv:2202.05262, FT+L, after Zhu et al. 2020 (arXiv:2012.00363), and its code.
    """
    own = bounded_layer(lm) if layer is None else layer
    return one_layer(
        lm,
        own,
        bound_of(lm, own, bound),
        schedule_of(steps, rate, stop_at, per_step),
        all_at_the_prompts_last,
        times_many(steps),
    )
