"""What a layer should write at one position for the model to say the new object: found by descent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import LocantError, NoNumber, UnknownName, nearest
from locant.interventions.editing.contexts import Asked, ask, refuse_position
from locant.interventions.editing.editor import Note
from locant.interventions.editing.passes import Said, ShiftedPasses
from locant.models import LanguageModel
from locant.types import EditRequest, Setting, digest_of, hash_of

UNITS = ("residual", "one")

MEMORY = 1 << 30
"""Bytes that the values kept for one pass backwards may take; more requests are done one part after another."""


@dataclass(frozen=True)
class Descent:
    """How the shift d of what a layer writes, v, is found.

    The loss is the mean over contexts of -ln P(a token of the new object) + kl * KL(edited || unedited) of what is
    said at the essence prompt's position + decay * |d| / |v|^2.

    Attributes:
        steps: evaluations of the loss at most.
        rate: of Adam, in the unit: how far a step moves each coordinate of d.
        unit: 'residual' (the root mean square of the residual that the block leaves at the position, of each request
            its own: one model's activations can be a hundred times another's) or 'one', as in the papers.
        clamp: |d| / |v| at most.
        stop_at: a loss, in nats, below which it ends.

    Source: Meng et al. 2022, arXiv:2202.05262, equation 4, with the loss of the released code: it divides |d| by
    |v|^2, and reads the KL at the subject.
    """

    steps: int
    rate: float
    unit: str
    clamp: float
    decay: float = 0.5
    kl: float = 0.0625
    stop_at: float = 0.05

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UnknownName(f"no unit {self.unit!r}{nearest(self.unit, UNITS)}; there are {', '.join(UNITS)}")
        if self.steps < 1 or not self.rate > 0 or not self.clamp > 0:
            raise UnknownName(
                "a descent takes at least 1 step, at a rate and up to a clamp above 0; "
                f"not {self.steps}, {self.rate} and {self.clamp}"
            )

    def but(self, **settings: Setting) -> Descent:
        """The same with some settings, those that are not None."""
        given = {name: value for name, value in settings.items() if value is not None}
        return replace(self, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Target:
    """What is to be written for one request: what was written in the bare prompt, and the shift; in float64.

    Attributes:
        note: `loss` in nats, `steps` (evaluations of it), `shift` (its length) and `probability` (of the new object
            after the bare prompt, with the shift); empty where the value was found elsewhere.
    """

    value: Float[Tensor, " hidden"]
    note: Note


@dataclass(frozen=True)
class Search:
    """How requests are asked, and how what is to be written for them is found.

    Attributes:
        at: where it is written, as in `contexts`.
        kl_prompt: says what the subject is, with {} for it.
        values: what was found elsewhere, by the requests' uid; there is no descent then.
    """

    at: str
    how: Descent
    kl_prompt: str
    values: Mapping[str, Float[Tensor, " hidden"]] | None

    def __post_init__(self) -> None:
        refuse_position(self.at)

    def of(
        self,
        lm: LanguageModel,
        layer: int,
        requests: Sequence[EditRequest],
        prefixes: Sequence[str],
        *,
        of_block: bool,
    ) -> tuple[list[Asked], list[Target]]:
        """The requests in tokens, after each prefix too, and what is to be written for each; see `find_targets`."""
        asked = [ask(lm, one, prefixes, self.kl_prompt, self.at) for one in requests]
        return asked, find_targets(lm, layer, asked, self.how, of_block=of_block, values=self.values)

    def settings(self) -> dict[str, Setting]:
        """What an editor says of it."""
        return {"at": self.at, **asdict(self.how), "kl_prompt": self.kl_prompt, **_name_of(self.values)}


def find_targets(
    lm: LanguageModel,
    layer: int,
    asked: Sequence[Asked],
    how: Descent,
    *,
    of_block: bool,
    values: Mapping[str, Float[Tensor, " hidden"]] | None = None,
) -> list[Target]:
    """Find what a layer should write at the position of each request, many requests in one pass.

    Args:
        of_block: the residual that the block leaves, not what its down-projection writes.
        values: what was found elsewhere, by the requests' uid; there is no descent then.

    Raises:
        NoNumber: a loss is none.
        LocantError: a request has no value.
    """
    if values is None:
        return [target for part in _parts(lm, asked) for target in _descend(lm, layer, part, how, of_block)]
    missing = [one.request.uid for one in asked if one.request.uid not in values]
    if missing:
        raise LocantError(f"no value was given for {missing[0]!r}")
    return [Target(values[one.request.uid].double().to(lm.device), {}) for one in asked]


def _name_of(values: Mapping[str, Tensor] | None) -> dict[str, Setting]:
    """What tells values found elsewhere from others, as a setting; none where there are none."""
    if values is None:
        return {}
    each = sorted((uid, hash_of(value)) for uid, value in values.items())
    return {"values": digest_of(json.dumps(each))}


def _parts(lm: LanguageModel, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
    """Requests in groups whose passes fit the memory."""
    position = lm.layers * (14 * lm.hidden + 5 * lm.neurons) * lm.model.dtype.itemsize
    longest = max((one.length for request in asked for one in request.contexts), default=1)
    sequences = max((len(request.contexts) + 1 for request in asked), default=1)
    size = max(1, MEMORY // (position * longest * sequences))
    return [asked[first : first + size] for first in range(0, len(asked), size)]


def _descend(lm: LanguageModel, layer: int, asked: Sequence[Asked], how: Descent, of_block: bool) -> list[Target]:
    passes = ShiftedPasses(lm, layer, asked, of_block)
    written, before = passes.written, passes.unshifted.essence
    size = written.norm(dim=1)
    unit = passes.residual.square().mean(dim=1).sqrt() if how.unit == "residual" else torch.ones_like(size)
    # What is optimised counts in units, so that one rate serves requests of different ones
    counts = torch.zeros_like(written).requires_grad_()
    optimiser = torch.optim.Adam([counts], lr=how.rate)
    found: dict[int, Target] = {}
    going = list(range(len(asked)))
    for step in range(1, how.steps + 1):
        with torch.enable_grad():
            shift = (counts * unit[:, None])[going]
            said = passes.run(shift)
            loss = _loss(said, before[going], shift, size[going], how)
        _refuse_no_number(loss, step, how)
        for place, index in enumerate(going):
            if index not in found and (step == how.steps or loss[place] < how.stop_at):
                found[index] = _target(written[index], shift[place], step, loss[place], said.probability[place])
        if len(found) == len(asked):
            break
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        _clamp(counts, how.clamp * size / unit)
        left = [index for index in going if index not in found]
        if 2 * len(left) <= len(going):  # those that have ended cost as much as the others
            passes, going = ShiftedPasses(lm, layer, [asked[index] for index in left], of_block), left
    return [found[index] for index in range(len(asked))]


def _loss(
    said: Said,
    before: Float[Tensor, "request vocab"],
    shift: Float[Tensor, "request hidden"],
    size: Float[Tensor, " request"],
    how: Descent,
) -> Float[Tensor, " request"]:
    divergence = (said.essence.exp() * (said.essence - before)).sum(dim=1)
    decay = (shift.norm(dim=1) / size**2).to(divergence)
    return said.surprise + how.kl * divergence + how.decay * decay


def _target(written: Tensor, shift: Tensor, step: int, loss: Tensor, probability: Tensor) -> Target:
    moved = shift.detach().clone()
    note: Note = {
        "loss": float(loss.detach()),
        "steps": step,
        "shift": float(moved.norm()),
        "probability": float(probability),
    }
    return Target((written + moved).double(), note)


@torch.no_grad()
def _clamp(shift: Float[Tensor, "request hidden"], most: Float[Tensor, " request"]) -> None:
    """Shorten shifts that have grown too long, in place."""
    size = shift.norm(dim=1).clamp_min(torch.finfo(shift.dtype).tiny)
    shift *= (most / size).clamp_max(1)[:, None]


def _refuse_no_number(loss: Float[Tensor, " request"], step: int, how: Descent) -> None:
    if not bool(loss.isfinite().all()):
        raise NoNumber(f"a loss is no number at step {step}: take a rate below {how.rate}, or a wider dtype")
