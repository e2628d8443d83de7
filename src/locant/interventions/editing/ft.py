"""FT: one layer fine-tuned, and nothing to hold it back."""

from __future__ import annotations

from locant.interventions.editing.editor import Editor
from locant.interventions.editing.ft_presets import free_layer
from locant.interventions.editing.one_layer import all_at_the_prompts_last, one_layer, schedule_of, times_many
from locant.models import LanguageModel


def ft(
    lm: LanguageModel,
    *,
    layer: int | None = None,
    steps: int | None = None,
    rate: float = 5e-4,
    stop_at: float | None = 0.01,
    per_step: int = 64,
) -> Editor:
    """Fine-tune a layer's down-projection until the new object is likely: the baseline of ROME's paper.

    Every token of the new object is scored at the prompt's last position, as in the published code, which is wrong
    for objects of several tokens: they are all made likely first tokens. Use `ft_m` for these. `one_layer` has a
    table of what the names mean.

    Args:
        layer: None for the published one, or the same depth (`ft_presets`).
        steps: passes over the requests; None for 25 over one, and at most ten times as many over several together.
        rate: of Adam; constant.
        stop_at: a loss, in nats; no step is taken below it.
        per_step: requests in a step.

    Raises:
        UnknownName: there is no such layer, or a number makes no sense.

    Source: Meng et al. 2022, arXiv:2202.05262, FT, and its code.
    """
    own = free_layer(lm) if layer is None else layer
    return one_layer(
        lm, own, None, schedule_of(steps, rate, stop_at, per_step), all_at_the_prompts_last, times_many(steps)
    )
