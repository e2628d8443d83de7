"""How much of what a model does its circuits do, from the smallest to the whole.

    found = faithfulness(lm, scores, pairs)        # circuits by the scores; judged on other pairs than these are of
    found.shares, found.curve.kept                 # per share of the edges, f with its interval
    found.curve.cmd                                # 0 is a model's own behaviour at every size
    random = judge(lm, [random_circuit(one, seed=0) for one in found.circuits], pairs, found.shares)

Source: Mueller et al. 2025, arXiv:2504.13151 (MIB): f, CPR and CMD. There a share is of the edges taken, here of
those left without dead ends (`locant.selections.circuits.choose`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import bootstrap
from torch import Tensor

from locant.attributions.edges import EdgeScores, Pair
from locant.errors import UnknownName
from locant.evaluations.circuits.readings import READ, CircuitReadings, read_circuits
from locant.models import LanguageModel
from locant.models.circuit_run import MEMORY
from locant.selections.circuits import Circuit, choose_each
from locant.types import Interval, Query

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of a graph's edges; those of MIB."""

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Curve:
    """What circuits of growing size keep of a metric.

    f = (m(circuit) - m(nothing kept)) / (m(everything kept) - m(nothing kept)), m the mean over facts: 1 where the
    circuit does what the model does, 0 where it does no more than an empty one; below and above are possible. It has
    no meaning where the model itself does no better than the empty circuit.

    Intervals are percentile bootstraps over facts: of facts drawn anew the ratio of means.

    Attributes:
        shares: of the graph's edges that each circuit may keep; ascending.
        values: the metric with nothing kept, in each circuit, with everything kept.
    """

    shares: tuple[float, ...]
    values: Float[Tensor, "fact row"]

    @cached_property
    def kept(self) -> tuple[Interval, ...]:
        """f of each circuit."""
        return tuple(self._interval(partial(np.take, indices=at, axis=-1)) for at in range(len(self.shares)))

    @cached_property
    def cpr(self) -> Interval:
        """The area under f over the share, linear, by trapezoids between the shares: how much circuits do."""
        return self._interval(lambda f: np.trapezoid(f, self.shares))

    @cached_property
    def cmd(self) -> Interval:
        """The area between f and 1, taken as `cpr` is: how much circuits do otherwise than the model."""
        return self._interval(lambda f: np.trapezoid(abs(1 - f), self.shares))

    def _interval(self, of: Callable[[np.ndarray], np.ndarray | np.float64]) -> Interval:
        """A number made of f, with its interval."""
        own = self.values.double().numpy()

        def statistic(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
            return np.asarray(of(_ratios(own[drawn.astype(int)].mean(axis=-2))))

        each = np.arange(len(own))
        value = float(statistic(each))
        if len(own) == 1 or not np.ptp(own, axis=0).any():
            return Interval(value, value, value, len(own))
        found = bootstrap(
            (each,),
            statistic,
            confidence_level=LEVEL,
            n_resamples=RESAMPLES,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(0),
        ).confidence_interval
        return Interval(value, float(found.low), float(found.high), len(own))


@dataclass(frozen=True)
class Faithfulness:
    """Circuits of growing size, and what they keep of a metric.

    Attributes:
        shares: of the graph's edges that each circuit may keep; ascending.
        readings: of nothing, then of each circuit, then of everything.
        metric: the one of the readings that f is of.
    """

    shares: tuple[float, ...]
    circuits: tuple[Circuit, ...]
    readings: CircuitReadings
    metric: str
    ablation: str

    @property
    def values(self) -> Float[Tensor, "query row"]:
        """The metric of each query: with nothing kept, in each circuit, with everything kept."""
        return self.readings.metrics[self.metric]

    @cached_property
    def curve(self) -> Curve:
        """What is kept; of a fact's queries the mean counts."""
        facts: dict[str, list[int]] = {}
        for at, query in enumerate(self.readings.queries):
            facts.setdefault(query.fact.uid, []).append(at)
        return Curve(self.shares, torch.stack([self.values[own].mean(dim=0) for own in facts.values()]))


def faithfulness(
    lm: LanguageModel,
    scores: EdgeScores,
    pairs: Sequence[Pair],
    *,
    shares: Sequence[float] = SHARES,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    rule: str = "greedy",
    by: str = "absolute",
    memory: int = MEMORY,
) -> Faithfulness:
    """Choose circuits of these sizes by scores, and judge them on pairs.

    Args:
        pairs: those they are judged on: others than the scores are of (`scores.pairs`), or a circuit is only as good
            as it was made to be.
        shares: of the graph's edges, ascending.
        metric: a name in `METRICS`; need not be the one that the scores are of.

    Raises:
        UnknownName: no such metric, ablation, rule or strength, or shares that are none.
    """
    total = int(scores.graph.edges.sum())
    circuits = choose_each(scores, [round(share * total) for share in shares], rule=rule, by=by)
    return judge(lm, circuits, pairs, shares, metric=metric, ablation=ablation, memory=memory)


def judge(
    lm: LanguageModel,
    circuits: Sequence[Circuit],
    pairs: Sequence[Pair],
    shares: Sequence[float],
    *,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    candidates: Sequence[Query] = (),
    labels: Sequence[Query] = (),
    memory: int = MEMORY,
) -> Faithfulness:
    """Judge circuits on pairs, whatever they were chosen by.

    Args:
        shares: of the graph's edges, one for each circuit, ascending: where it stands on the way to the whole.
        candidates, labels: as in `read_circuits`.

    Raises:
        UnknownName: no such metric or ablation, no circuits, or shares that are none.
    """
    _refuse(circuits, shares)
    graph = circuits[0].graph
    keeps = torch.stack([torch.zeros_like(graph.edges), *(one.keep for one in circuits), graph.edges])
    readings = read_circuits(
        lm,
        graph,
        pairs,
        keeps,
        ablation=ablation,
        metrics=tuple(dict.fromkeys([metric, *READ])),
        candidates=candidates,
        labels=labels,
        memory=memory,
    )
    return Faithfulness(tuple(shares), tuple(circuits), readings, metric, ablation)


def _refuse(circuits: Sequence[Circuit], shares: Sequence[float]) -> None:
    ascending = all(one < other for one, other in pairwise(shares))
    if not circuits or len(circuits) != len(shares) or not ascending or not 0 < shares[0] <= shares[-1] <= 1:
        raise UnknownName(
            f"{len(circuits)} circuits cannot be judged at the shares {', '.join(f'{one:g}' for one in shares)}: "
            "give one for each, ascending, above 0 and at most 1"
        )


def _ratios(means: Float[np.ndarray, "*draw row"]) -> np.ndarray:
    """f of every row but the first, nothing, and the last, everything."""
    empty, whole = means[..., :1], means[..., -1:]
    with np.errstate(divide="ignore", invalid="ignore"):  # a metric that does not depend on any edge
        return (means[..., 1:-1] - empty) / (whole - empty)
