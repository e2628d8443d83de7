"""Causal tracing: which layer's feed-forward output at a position brings a corrupted answer back.

Source: Meng et al. 2022, arXiv:2202.05262, section 2 (there, of single states and of windows of ten
of 48 layers, at every position).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import LocantError, UnknownName, nearest
from locant.models import LanguageModel, hooks
from locant.models.sites import Sites
from locant.types import Provenance, Query, Setting

POSITIONS = ("subject", "last")
"""Where layers are restored: at the subject's last token, or at the prompt's."""

AT_ONCE = 256
"""Sequences in one batch."""


@dataclass(frozen=True)
class Traces:
    """What restoring each layer does to answers whose subjects were corrupted.

    Attributes:
        clean: P(answer), of all its tokens.
        corrupted: the same with noise on the subject's tokens; mean over draws of the noise.
        restored: the same where one layer's feed-forward output at one position is as without noise, and so are
            those of the layers within its window.
    """

    queries: tuple[Query, ...]
    clean: Float[Tensor, " query"]
    corrupted: Float[Tensor, " query"]
    restored: Float[Tensor, "query layer"]
    made_by: Provenance

    @property
    def effect(self) -> Float[Tensor, "query layer"]:
        """The indirect effect: restored - corrupted, in probability."""
        return self.restored - self.corrupted[:, None]


def trace(
    lm: LanguageModel,
    queries: Sequence[Query],
    *,
    noise: float = 3.0,
    draws: int = 10,
    window: int = 1,
    at: str = "subject",
    spread: float | None = None,
    seed: int = 0,
) -> Traces:
    """Corrupt each query's subject, and restore one layer at a time: what it writes at one position.

    Noise is added to what the first block reads at the subject's tokens: the same draws for every layer.

    Args:
        noise: standard deviation of the noise, in those of what the first block reads at the queries' subjects.
        draws: of the noise, for each query.
        window: how many layers are restored together; a layer stands for those around it.
        at: the position: 'subject', its last token, or 'last', the prompt's.
        spread: the standard deviation that noise is measured in, where it is that of more queries than these, as
            `spread_of` gives it; None for that of these.

    Raises:
        BadQuery: a query names no subject that stands in its prompt, or cannot be asked of this model.
        LocantError: the model is not causal.
        UnknownName: a setting makes no sense, or there are no queries.
    """
    if lm.architecture.kind != "causal":
        raise LocantError(f"causal tracing reads a subject from left to right; {lm.name} is {lm.architecture.kind}")
    if not queries:
        raise UnknownName("there are no queries to trace")
    if draws < 1 or window < 1 or not noise > 0:
        raise UnknownName(f"noise is above 0, draws and window 1 or more; not {noise}, {draws}, {window}")
    if at not in POSITIONS:
        raise UnknownName(f"no position {at!r}{nearest(at, POSITIONS)}; there are {', '.join(POSITIONS)}")
    spread = spread_of(lm, queries) if spread is None else spread
    drawn = _Noise(noise * spread, draws, torch.Generator().manual_seed(seed))
    found = [_trace(lm, query, drawn, window, at) for query in queries]
    clean, corrupted, restored = (torch.stack(part) for part in zip(*found, strict=True))
    settings: dict[str, Setting] = {"noise": noise, "draws": draws, "window": window, "at": at, "spread": spread}
    return Traces(tuple(queries), clean, corrupted, restored, lm.provenance("causal_tracing", settings, seed))


def spread_of(lm: LanguageModel, queries: Sequence[Query]) -> float:
    """The standard deviation of what the first block reads at the subjects of some queries, all together.

    Raises:
        BadQuery: as for `trace`.
    """
    read = ((_first_reads(lm, query), lm.subject_positions(query)) for query in queries)
    return float(torch.cat([one[span.start : span.stop] for one, span in read]).std())


@dataclass(frozen=True)
class _Noise:
    scale: float
    draws: int
    generator: torch.Generator

    def draw(self, tokens: int, hidden: int) -> Float[Tensor, "draw token hidden"]:
        return self.scale * torch.randn(self.draws, tokens, hidden, generator=self.generator)


@torch.no_grad()
def _first_reads(lm: LanguageModel, query: Query) -> Float[Tensor, "position hidden"]:
    """What the first block reads of a prompt."""
    seen: dict[int, Tensor] = {}
    with hooks.at_rest(lm.model), hooks.watching_inputs(lm.blocks[:1], seen.__setitem__):
        lm.run(lm.sites([(lm.tokens(query), (0,))]))
    return seen[0][0].float().cpu()


@torch.no_grad()
def _trace(
    lm: LanguageModel, query: Query, noise: _Noise, window: int, at: str
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, " layer"]]:
    """One query: P(answer) as it is, with noise, and with noise and each layer restored."""
    tokens, span = lm.tokens(query), lm.subject_positions(query)
    place = span[-1] if at == "subject" else len(tokens.prompt) - 1
    one = (tokens, tokens.answers[0])
    neurons: dict[int, Tensor] = {}
    with hooks.watching_inputs(lm.downs, neurons.__setitem__):
        (clean,) = _probabilities(lm, lm.sites([one]), 1)
    drawn = noise.draw(len(span), lm.hidden)
    # A variant is one draw with the layers it restores; those of no layer are the corrupted run
    variants = [(draw, layer) for layer in (None, *range(lm.layers)) for draw in range(noise.draws)]
    values = []
    for start in range(0, len(variants), AT_ONCE):
        batch = variants[start : start + AT_ONCE]
        corrupt = _adding(drawn[[draw for draw, _ in batch]], span)
        restore = {
            lm.downs[layer]: _putting(rows, place, neurons[layer].view(-1, lm.neurons)[place], len(batch))
            for layer in range(lm.layers)
            if len(rows := _restoring(batch, layer, window))
        }
        with ExitStack() as stack:
            stack.enter_context(hooks.changing_inputs({lm.blocks[0]: corrupt}))
            stack.enter_context(hooks.changing_inputs(restore))
            values.append(_probabilities(lm, lm.sites([one]), len(batch)))
    by_layer = torch.cat(values).view(1 + lm.layers, noise.draws).mean(dim=1)
    return clean, by_layer[0], by_layer[1:]


def _restoring(batch: Sequence[tuple[int, int | None]], layer: int, window: int) -> Int[Tensor, " row"]:
    """The rows of a batch in which a layer is restored: those whose window it is in."""
    before, after = (window - 1) // 2, window // 2
    centres = range(layer - after, layer + before + 1)
    rows = [row for row, (_, centre) in enumerate(batch) if centre is not None and centre in centres]
    return torch.tensor(rows, dtype=torch.int64)


def _probabilities(lm: LanguageModel, sites: Sites, copies: int) -> Float[Tensor, " copy"]:
    """P(answer) of one query, laid out once and read in so many copies."""
    residual: dict[int, Tensor] = {}
    repeated = _repeated(sites, copies)
    with hooks.at_rest(lm.model), hooks.watching_outputs(lm.blocks[-1:], residual.__setitem__):
        lm.run(repeated)
    logits = lm.readout(residual[0][:, sites.position]).float()
    chosen = logits.log_softmax(dim=-1)[:, torch.arange(len(sites)), sites.target]
    return chosen.sum(dim=1).exp().double().cpu()


def _repeated(sites: Sites, copies: int) -> Sites:
    """One sequence, so many times."""
    return Sites(
        tokens=sites.tokens.expand(copies, -1),
        mask=sites.mask.expand(copies, -1),
        sequence=torch.arange(copies, device=sites.tokens.device).repeat_interleave(len(sites)),
        position=sites.position.repeat(copies),
        target=sites.target.repeat(copies),
        query=sites.query.repeat(copies),
    )


def _adding(noise: Float[Tensor, "row token hidden"], span: range) -> Callable[[Tensor], Tensor]:
    def change(residual: Tensor) -> Tensor:
        changed = residual.clone()
        changed[:, span.start : span.stop] += noise.to(residual)
        return changed

    return change


def _putting(
    rows: Int[Tensor, " row"], position: int, value: Float[Tensor, " neuron"], sequences: int
) -> Callable[[Tensor], Tensor]:
    def change(neurons: Tensor) -> Tensor:
        changed = neurons.clone()
        # OPT flattens sequences before its feed-forward layers
        changed.view(sequences, -1, len(value))[rows.to(neurons.device), position] = value
        return changed

    return change
