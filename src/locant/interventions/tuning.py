"""New facts put into the weights: the vectors of selected neurons, fine-tuned.

    with tuned(lm, queries, selection, steps=50) as tuning:
        locant.answer_probability(lm, queries)

A neuron of a feed-forward layer is a few vectors: what it reads (its row of up and, in gated layers, of gate, with
their biases) and what it writes (its column of down). Those of the chosen neurons are trained; all else of the model
is frozen. The bias of the down-projection is no neuron's, and stays.

Source: MATRICE (arXiv:2411.17401) injects new facts; how was not at hand. The released code of its group
(heng840/DKN) trains the up-projection of listed neurons and also, outside the blocks, embeddings, last norm and head:
here these are frozen, and gate and down are trained too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from locant.errors import NoNumber, UnknownName
from locant.models import LanguageModel, at_least_float32, hooks
from locant.models.sites import Sites
from locant.models.weights import Vectors, changing_vectors
from locant.queries import Tokens
from locant.types import Query, Selection

VECTORS = ("up", "gate", "down")

Losses: TypeAlias = Callable[[LanguageModel, Sequence[Tokens]], Float[Tensor, " query"]]
"""From queries in tokens to what each has of a loss, in nats, with gradients."""


@dataclass(frozen=True)
class Tuning:
    """What a training did.

    Attributes:
        losses: of each step's batch, before the step: mean of -ln P(answer | prompt) over its queries, in nats.
        parameters: how many numbers were trained.
        seconds: of the training, on the wall clock.
    """

    losses: tuple[float, ...]
    parameters: int
    seconds: float

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self.losses)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: what `tuned` and `lora_tuned` are told.

    Attributes:
        skip_below: a batch with a loss below it is not stepped on.

    Raises:
        UnknownName: a number makes no sense.
    """

    steps: int
    rate: float
    batch: int
    stop_at: float | None
    seed: int
    skip_below: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UnknownName(f"cannot train for {self.steps} steps; 0 or more can be taken")
        if not 0 < self.rate < math.inf:
            raise UnknownName(f"a learning rate is more than 0, not {self.rate}")
        if self.batch < 1:
            raise UnknownName(f"a batch has 1 query or more, not {self.batch}")
        if self.stop_at is not None and not self.stop_at > 0:
            raise UnknownName(f"training can stop at a loss of more than 0, not {self.stop_at}")


@contextmanager
def tuned(
    lm: LanguageModel,
    queries: Sequence[Query],
    target: Selection | Literal["ffn"],
    *,
    steps: int = 100,
    rate: float = 1e-3,
    vectors: Sequence[str] = VECTORS,
    batch: int = 32,
    stop_at: float | None = None,
    seed: int = 0,
) -> Iterator[Tuning]:
    """Fine-tune some neurons on queries; the weights are changed while the context lasts, and then as before.

    Minimises -ln P(answer | prompt) with Adam, without weight decay or dropout. The vectors are trained in float32
    at least, and written to the weights after every step, so that losses are those of the weights as they are.
    Edits and tunings nest; the inner one must end first.

    Args:
        target: the neurons to train; 'ffn' for all there are.
        steps: at most; one batch each. Every query is in one batch of each pass, in an order drawn anew.
        rate: of Adam; constant.
        vectors: which vectors of the neurons: of 'up', 'gate' and 'down'. A layer without a gate has no 'gate',
            and what is before its activation function is 'up', whatever the model calls it.
        batch: queries per step.
        stop_at: end after a pass whose steps had at most this mean loss, in nats.
        seed: of the order of the queries.

    Raises:
        UnknownName: a setting makes no sense, there are no queries, or the selection is empty, not of neurons or of
            a model of another size.
        BadQuery: a query cannot be asked of this model.
        LocantError: the weights are quantised, offloaded or shared by layers.
        NoNumber: the loss is none.
    """
    schedule = Schedule(steps, rate, batch, stop_at, seed)
    with changing_vectors(_places(lm, _units(lm, target), vectors)) as trained:
        with trained.reached():
            tuning = fit(lm, queries, trained.leaves, schedule, trained.write)
        yield tuning


def fit(
    lm: LanguageModel,
    queries: Sequence[Query],
    trained: Sequence[Tensor],
    schedule: Schedule,
    after_step: Callable[[], None] = lambda: None,
    losses_of: Losses | None = None,
) -> Tuning:
    """Minimise a loss over tensors that the model's passes depend on; all methods train with this.

    Args:
        trained: leaves; all other parameters are frozen while it lasts.
        losses_of: a batch's loss is the mean over its queries; `answer_losses` if not given.

    Raises:
        UnknownName: there are no queries.
        BadQuery: a query cannot be asked of this model.
        NoNumber: the loss is none.
    """
    tokens = [lm.tokens(query) for query in queries]
    if not tokens:
        raise UnknownName("there are no queries to train on")
    losses_of = losses_of or answer_losses
    optimiser = torch.optim.Adam(list(trained), lr=schedule.rate)
    order = torch.Generator().manual_seed(schedule.seed)
    losses: list[float] = []
    start = time.perf_counter()
    with hooks.at_rest(lm.model), torch.enable_grad():
        for leaf in trained:
            leaf.requires_grad_()
        while (begun := len(losses)) < schedule.steps:
            batches = torch.randperm(len(tokens), generator=order).split(schedule.batch)
            for rows in batches[: schedule.steps - begun]:
                loss = losses_of(lm, [tokens[row] for row in rows.tolist()]).mean()
                losses.append(_finite(float(loss.detach()), len(losses), schedule))
                if losses[-1] < schedule.skip_below:
                    continue
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                after_step()
            if schedule.stop_at is not None and sum(losses[begun:]) <= schedule.stop_at * (len(losses) - begun):
                break
    return Tuning(tuple(losses), sum(leaf.numel() for leaf in trained), time.perf_counter() - start)


def answer_losses(lm: LanguageModel, tokens: Sequence[Tokens]) -> Float[Tensor, " query"]:
    """-ln P(answer | prompt) of each query, with gradients; an answer's tokens add up."""
    sites = lm.sites([(one, one.answers[0]) for one in tokens])
    logits = trained_logits(lm, sites)
    each = nn.functional.cross_entropy(logits, sites.target.to(logits.device), reduction="none")
    return each.new_zeros(len(tokens)).index_add(0, sites.query.to(each.device), each)


def trained_logits(lm: LanguageModel, sites: Sites) -> Float[Tensor, "site vocab"]:
    """Logits at every site, at least float32, with gradients; for passes within `fit`."""
    residual: dict[int, Tensor] = {}
    with hooks.watching_outputs(lm.blocks[-1:], residual.__setitem__):
        lm.run(sites)
    at = (sites.sequence.to(residual[0].device), sites.position.to(residual[0].device))
    return at_least_float32(lm.readout(residual[0][at]))


def _finite(loss: float, step: int, schedule: Schedule) -> float:
    if not math.isfinite(loss):
        raise NoNumber(f"the loss is {loss} after {step} steps: train at a lower rate than {schedule.rate}")
    return loss


def _units(lm: LanguageModel, target: Selection | Literal["ffn"]) -> dict[int, Int[Tensor, " unit"]]:
    """The neurons to train, by layer."""
    if isinstance(target, str):
        if target != "ffn":
            raise UnknownName(f"no target {target!r}; there is 'ffn', all neurons, or give a selection")
        return {layer: torch.arange(lm.neurons) for layer in range(lm.layers)}
    grid = (lm.layers, lm.neurons)
    if target.kind != "neuron":
        raise UnknownName(f"only neurons can be trained; this is a selection of kind {target.kind!r}")
    if target.grid != grid:
        raise UnknownName(f"the selection is of a model with (layers, neurons) {target.grid}, this one has {grid}")
    if len(target) == 0:
        raise UnknownName("the selection is empty, so there is nothing to train")
    return target.by_layer()


def _places(lm: LanguageModel, units: dict[int, Int[Tensor, " unit"]], vectors: Sequence[str]) -> list[Vectors]:
    """Where the neurons' vectors lie; one entry for each projection."""
    read = _read_by(lm)
    wrong = [name for name in vectors if name not in VECTORS]
    if wrong or not set(vectors) & {*read, "down"}:
        known = ", ".join(name for name in VECTORS if name in {*read, "down"})
        raise UnknownName(f"no vectors {', '.join(wrong or vectors) or 'named'}; this model's neurons have {known}")
    found = []
    for layer, neurons in units.items():
        parts: dict[nn.Module, list[Tensor]] = {}
        for name, (projection, first) in read.items():
            if name in vectors:
                parts.setdefault(lm.blocks[layer].get_submodule(projection), []).append(neurons + first)
        found += [Vectors(projection, torch.cat(own), written=False) for projection, own in parts.items()]
        if "down" in vectors:
            found.append(Vectors(lm.downs[layer], neurons, written=True))
    return found


def _read_by(lm: LanguageModel) -> dict[str, tuple[str, int]]:
    """The projections that neurons read through: their name in a block, and the output that is neuron 0's."""
    spec = lm.architecture
    if spec.up is None:
        return {"up": (spec.gate, 0)}
    # One matrix may hold gate and up side by side (Phi-3)
    return {"up": (spec.up, lm.neurons if spec.up == spec.gate else 0), "gate": (spec.gate, 0)}
