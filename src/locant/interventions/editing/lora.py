"""Low-rank adapters of every feed-forward projection, fine-tuned on new facts and added to the weights."""

from __future__ import annotations

from collections.abc import Sequence

from locant.errors import UnknownName
from locant.interventions.editing.editor import Editor, Rewrite
from locant.interventions.editing.trained import feed_forward, in_passes, losses_after, noted
from locant.interventions.lora import lora_tuned
from locant.interventions.tuning import Schedule, answer_losses
from locant.models import LanguageModel
from locant.models.rewriting import held, names_of
from locant.types import EditRequest, Setting

RANK = 8


def lora(
    lm: LanguageModel,
    *,
    rank: int | None = None,
    parameters: int | None = None,
    steps: int = 25,
    rate: float = 2e-3,
    stop_at: float | None = 0.01,
    per_step: int = 64,
    seed: int = 0,
) -> Editor:
    """Fine-tune adapters on new objects; several requests share them.

    Args:
        rank: of every adapter; 8 if neither it nor `parameters` is given.
        parameters: to train, instead of a rank: the rank that comes nearest to so many.
        steps: passes over the requests.
        rate: of Adam; constant.
        stop_at: end after a pass with at most this loss: -ln P of the new object, all its tokens.
        per_step: requests in a step.
        seed: of the adapters' first values, and of the order of the requests.

    Raises:
        UnknownName: a number makes no sense, or both rank and parameters are given.
        LocantError: the peft library is not installed, or the weights cannot be changed.

    Source: Hu et al. 2021, arXiv:2106.09685, as `interventions.lora` has it. EasyEdit (zjunlp/EasyEdit) trains
    adapters of attention; ours are where the other methods here edit.
    """
    if rank is not None and parameters is not None:
        raise UnknownName("adapters have either a rank or a number of parameters: give one of them")
    for name, given in (("rank", rank), ("parameters", parameters)):
        if given is not None and given < 1:
            raise UnknownName(f"adapters have 1 or more for their {name}, not {given}")
    schedule = Schedule(steps, rate, per_step, stop_at, seed)
    projections = feed_forward(lm, range(lm.layers))
    # An adapter has a row for each input of its projection and a column for each output
    shapes = [one.weight.shape for one in projections]
    trained = parameters or (rank or RANK) * sum(sum(shape) for shape in shapes)  # type: ignore[arg-type, misc]

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        own = in_passes(schedule, requests)
        asked = [one.asked for one in requests]
        with lora_tuned(
            lm, asked, parameters=trained, steps=own.steps, rate=rate, batch=per_step, stop_at=stop_at, seed=seed
        ) as tuning:
            weights = held(lm.model, names_of(lm.model, projections))
            losses = losses_after(lm, requests, answer_losses, per_step)
        return Rewrite(weights, noted(lm, requests, weights, losses, tuning.steps))

    settings: dict[str, Setting] = {
        "rank": None if parameters else rank or RANK,
        "parameters": trained,
        "steps": steps,
        "rate": rate,
        "stop_at": stop_at,
        "per_step": per_step,
        "seed": seed,
    }
    return Editor(settings, rewrite)
