"""One layer's down-projection fine-tuned on new facts: what `ft`, `ft_l` and `ft_m` share.

They differ in the loss, in the layer and in whether weights are bounded. Their names in print are easily confused:

| here   | in print                                        | target tokens are scored          | bound   |
|--------|-------------------------------------------------|-----------------------------------|---------|
| `ft`   | FT of ROME's paper                              | all at the prompt's last position | none    |
| `ft_l` | FT+L of ROME's paper; FT-L of EasyEdit's survey | all at the prompt's last position | epsilon |
| `ft_m` | FT-M of EasyEdit's survey                       | each after those before it        | none    |

FT+L is named after its bound and FT-L after its loss, which is FT's as well: EasyEdit has the bound as a setting of
its own, on for GPT-2 XL and off for Llama-2.

Source: the code of Meng et al. 2022 (arXiv:2202.05262, kmeng01/rome), which trains a projection's bias too: here it
stays, as Llama's has none. Survey: Zhang et al. 2024, arXiv:2401.01286 (zjunlp/EasyEdit).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from locant.interventions.editing.editor import Editor, Rewrite, refuse_layer
from locant.interventions.editing.trained import in_passes, losses_after, noted
from locant.interventions.tuning import Losses, Schedule, fit, trained_logits
from locant.models import LanguageModel
from locant.models.rewriting import held, name_of
from locant.models.weights import Vectors, changing_vectors, editable_rows
from locant.queries import Tokens
from locant.types import EditRequest, Setting

PASSES = 25
"""Over a request, where no number is given: as published."""
MANY = 10
"""Times as many, at most, over several requests together: what is published is for one. Ours; the loss to stop at
ends them earlier."""


def one_layer(
    lm: LanguageModel, layer: int, bound: float | None, schedule: Schedule, losses_of: Losses, many: int = 1
) -> Editor:
    """Train the down-projection of a layer, all of it and nothing else.

    Args:
        bound: how far each weight may be from what it was before these requests, or None for as far as it goes.
            Facts rewritten one after another move on from where the last one left the weights, as published.
        schedule: its steps are passes over the requests, its batch how many requests are in a step.
        many: times as many passes over several requests.

    Raises:
        UnknownName: there is no such layer.
    """
    refuse_layer(lm, layer)
    down = lm.downs[layer]

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        longer = schedule if len(requests) == 1 else replace(schedule, steps=many * schedule.steps)
        own = in_passes(longer, requests)
        every = Vectors(down, torch.arange(lm.neurons), written=True)
        with changing_vectors([every]) as trained:
            keep_within = _clamping(trained.leaves[0], editable_rows(down), bound)

            def after_step() -> None:
                keep_within()
                trained.write()

            with trained.reached():
                tuning = fit(lm, [one.asked for one in requests], trained.leaves, own, after_step, losses_of)
            steps = sum(loss >= own.skip_below for loss in tuning.losses)
            weights = held(lm.model, [name_of(lm.model, down.weight)] if steps else [])  # type: ignore[arg-type]
            losses = losses_after(lm, requests, losses_of, own.batch)
        return Rewrite(weights, noted(lm, requests, weights, losses, steps))

    settings: dict[str, Setting] = {
        "layer": layer,
        "steps": schedule.steps,
        "rate": schedule.rate,
        "stop_at": schedule.stop_at,
        "per_step": schedule.batch,
        "bound": bound,
    }
    return Editor(settings, rewrite)


def schedule_of(steps: int | None, rate: float, stop_at: float | None, per_step: int) -> Schedule:
    """As published, a batch whose loss is below the one to stop at is not stepped on.

    Raises:
        UnknownName: a number makes no sense.
    """
    return Schedule(PASSES if steps is None else steps, rate, per_step, stop_at, seed=0, skip_below=stop_at or 0.0)


def times_many(steps: int | None) -> int:
    """How many times as many passes several requests get; a number that is given holds for them as well."""
    return MANY if steps is None else 1


def each_in_its_place(lm: LanguageModel, tokens: Sequence[Tokens]) -> Float[Tensor, " query"]:
    """The mean of -ln P over an answer's tokens, each after those before it: teacher-forced."""
    sites = lm.sites([(one, one.answers[0]) for one in tokens])
    logits = trained_logits(lm, sites)
    each = nn.functional.cross_entropy(logits, sites.target.to(logits.device), reduction="none")
    query = sites.query.to(each.device)
    return each.new_zeros(len(tokens)).index_add(0, query, each) / query.bincount()


def all_at_the_prompts_last(lm: LanguageModel, tokens: Sequence[Tokens]) -> Float[Tensor, " query"]:
    """The mean of -ln P over an answer's tokens, each scored as if it came first: wrong where there are several."""
    logits = trained_logits(lm, lm.sites([(one, one.answers[0][:1]) for one in tokens]))
    log_probs = logits.log_softmax(-1)
    return torch.stack([-own[list(one.answers[0])].mean() for own, one in zip(log_probs, tokens, strict=True)])


def _clamping(leaf: Tensor, rows: Tensor, bound: float | None) -> Callable[[], None]:
    """What keeps a leaf within the bound around its weight, so that the weight stays within it too.

    The ends are numbers that the weight's dtype has: what is between them is rounded to between them.
    """
    if bound is None:
        return lambda: None
    before = rows.detach().to("cpu", torch.float64)
    low, high = (_rounded_inwards(before, by, rows.dtype).to(leaf.device) for by in (-bound, bound))

    @torch.no_grad()
    def clamp() -> None:
        leaf.clamp_(low.to(leaf), high.to(leaf))

    return clamp


def _rounded_inwards(before: Tensor, by: float, dtype: torch.dtype) -> Tensor:
    """What is by so much from a tensor or, of the numbers the dtype has, the next one that is nearer."""
    end, start = (before + by).to(dtype), before.to(dtype)
    too_far = (end.double() - before).abs() > abs(by)
    return torch.where(too_far, torch.nextafter(end, start), end)
