"""The vectors of a fact's neurons fine-tuned, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from locant.interventions.editing.editor import Editor, Rewrite
from locant.interventions.editing.targets import Neurons, Target
from locant.interventions.editing.trained import feed_forward, in_passes, losses_after, noted
from locant.interventions.tuning import Schedule, answer_losses, tuned
from locant.models import LanguageModel
from locant.models.rewriting import held, names_of
from locant.selections.share import union
from locant.types import EditRequest, Setting


def neuron_tuning(
    lm: LanguageModel,
    *,
    target: Target = None,
    localizer: str = "dai",
    share: float = 0.2,
    rule: str | None = None,
    points: int | None = None,
    vectors: str = "down",
    steps: int = 25,
    rate: float = 1e-2,
    stop_at: float | None = 0.01,
    per_step: int = 64,
) -> Editor:
    """Fine-tune the neurons of facts on their new objects; of several requests the neurons of all, together.

    A request without neurons has a share in the loss all the same; where no request has any, nothing is changed.

    Args:
        target: the neurons; of each request by its uid, or one set for all. None locates them with the old object.
        localizer, share, rule, points: as for `kn`.
        vectors: which vectors of the neurons, of 'up', 'gate' and 'down', with commas between them. What they
            write alone is enough, and other facts suffer less: on the almanac 13% of a relation's other facts are
            said otherwise, and with all three 46%.
        steps: passes over the requests.
        rate: of Adam; constant.
        stop_at: end after a pass with at most this loss: -ln P of the new object, all its tokens.
        per_step: requests in a step.

    Raises:
        UnknownName: a setting has no such value, or the neurons are not of this model.
        BadQuery: the query has no old object to locate.
        LocantError: neurons are given for other requests only, or the weights cannot be changed.

    Source: `interventions.tuning`. Ours, as a method of editing.
    """
    schedule = Schedule(steps, rate, per_step, stop_at, seed=0)
    neurons = Neurons(target, localizer, share, rule, points)
    trained = [name.strip() for name in vectors.split(",")]

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        sets = neurons.of(lm, requests)
        chosen = union(sets)
        if not len(chosen):
            return Rewrite({}, [{"uid": one.uid, "neurons": 0} for one in requests])
        own = in_passes(schedule, requests)
        asked = [one.asked for one in requests]
        with tuned(
            lm, asked, chosen, steps=own.steps, rate=rate, vectors=trained, batch=per_step, stop_at=stop_at
        ) as tuning:
            weights = held(lm.model, names_of(lm.model, feed_forward(lm, chosen.by_layer())))
            losses = losses_after(lm, requests, answer_losses, per_step)
        notes = noted(lm, requests, weights, losses, tuning.steps)
        return Rewrite(weights, [{**note, "neurons": len(one)} for note, one in zip(notes, sets, strict=True)])

    settings: dict[str, Setting] = {
        "vectors": vectors,
        "steps": steps,
        "rate": rate,
        "stop_at": stop_at,
        "per_step": per_step,
    }
    return Editor(settings | neurons.settings(), rewrite)
