"""Automatic circuit discovery: edges cut one after another, from the output down, wherever little is lost.

A cut is judged against the circuit that the cuts before it left, so that plainly every edge takes a forward pass of
its own. Here the edges into a layer are tested many at a time: each row is the circuit as it will be if those before
it are decided as guessed. Decisions are then taken in order up to the first that was guessed wrong, which is still
valid itself; those after it are tested again, with guesses from what they seemed to do. Edges are decided as in the
plain loop (tests/laws/test_acdc.py). What rows do not change of the circuit so far is not run again.

Source: Conmy et al. 2023, arXiv:2304.14997; as used on knowledge: Yao et al. 2024, arXiv:2405.17969.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.attributions.edges.ablations import ablation_of
from locant.attributions.edges.metrics import metric_of
from locant.attributions.edges.pairs import Pair, batches, lay_out_pairs
from locant.errors import UnknownName, nearest
from locant.models import LanguageModel
from locant.models.circuit_run import MEMORY, CircuitRun, Metric
from locant.models.graph import Graph
from locant.types import Provenance, Setting

FEWEST, MOST = 4, 64
"""Rows tested at once: more after batches guessed right, fewer after the others."""


@dataclass(frozen=True)
class CutRule:
    """When an edge is cut, and what is measured to tell.

    Attributes:
        absolute: a gain counts like a loss; otherwise every edge goes whose absence is a gain.
        from_full: what is lost is counted from the full graph, not from the circuit as it is so far.
        by_position: the metric is divided by the tokens of the longest prompt.
        nodes: before a receiver's edges, all of them are tested together.
    """

    metric: str
    ablation: str
    absolute: bool = False
    from_full: bool = False
    by_position: bool = False
    nodes: bool = False


CUT_RULES = {
    "corrected": CutRule("kl", "counterfactual", absolute=True),
    # The released code takes an answer for its first token, and averages its loss over all positions, most of which
    # have none, so that its threshold depends on the length of prompts; and it can cut a query, key, value or MLP
    # from all it reads
    "released": CutRule("first_log_probability", "zero", by_position=True, nodes=True),
    "published": CutRule("log_probability", "zero", from_full=True, nodes=True),
}


@dataclass(frozen=True)
class Discovered:
    """The edges that were left, and what was measured on the way.

    Attributes:
        keep: the edges left; none into a receiver of a node that nothing left reads.
        values: what the metric lost at each edge when it was tested, on average over pairs, float64.
        tested: the edges tested one by one; those of unread nodes, or cut with their node, were not.
        rows: circuits run, those among them whose guesses were wrong.
    """

    graph: Graph
    keep: Bool[Tensor, "sender receiver"]
    values: Float[Tensor, "sender receiver"]
    tested: Bool[Tensor, "sender receiver"]
    rows: int
    pairs: tuple[Pair, ...]
    made_by: Provenance


def acdc(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    threshold: float = 0.01,
    rule: str = "corrected",
    metric: str | None = None,
    ablation: str | None = None,
    memory: int = MEMORY,
) -> Discovered:
    """Cut every edge without which the metric loses less than a threshold, from the output down.

    Args:
        threshold: in the metric's units, on average over pairs.
        rule: a name in `CUT_RULES`. `corrected` compares absolute divergences from the circuit so far, with
            counterfactuals; `published` is the paper's, with zeros, by what is lost of the full model's
            log-probability, all of the answer's tokens; `released` what its code does instead, with the first token
            only: see there.
        metric: a name in `METRICS`; the rule's own, if not given.
        ablation: a name in `ABLATIONS`; the rule's own, if not given.
        memory: bytes that rows may take at once.

    Raises:
        UnknownName: there is no rule, metric or ablation of this name.
        LocantError: the graph has spans.
    """
    graph.refuse_spans("automatic circuit discovery does not search")
    if rule not in CUT_RULES:
        raise UnknownName(f"no rule {rule!r}{nearest(rule, CUT_RULES)}; there are {', '.join(CUT_RULES)}")
    chosen = CUT_RULES[rule]
    metric, ablation = metric or chosen.metric, ablation or chosen.ablation
    search = _Search(_judge(lm, graph, pairs, chosen, metric, ablation, memory), graph, chosen, threshold)
    for layer in reversed(range(graph.layers + 1)):
        for parts in _receivers(graph, layer):
            search.settle([trial for receivers in parts for trial in search.trials(receivers)])
    settings: dict[str, Setting] = {
        "threshold": threshold,
        "rule": rule,
        "metric": metric,
        "ablation": ablation,
        "split": graph.split,
    }
    made_by = lm.provenance("acdc", settings)
    return Discovered(graph, search.keep, search.values, search.tested, search.judge.rows, tuple(pairs), made_by)


class _Judge:
    """Measures circuits, on average over all pairs.

    Attributes:
        rows: circuits measured so far.
    """

    def __init__(self, parts: Sequence[tuple[CircuitRun, Metric]], unit: int) -> None:
        self.parts, self.unit, self.rows = parts, unit, 0
        self.bases = [run.passed(run.graph.edges) for run, _ in parts]

    def start_from(self, keep: Bool[Tensor, "sender receiver"]) -> None:
        """Let circuits be measured by what they do otherwise than this one."""
        self.bases = [run.passed(keep, base) for (run, _), base in zip(self.parts, self.bases, strict=True)]

    def measure(self, keep: Bool[Tensor, "row sender receiver"]) -> list[float]:
        self.rows += len(keep)
        total = torch.zeros(len(keep), dtype=torch.float64)
        for (run, metric), base in zip(self.parts, self.bases, strict=True):
            total += run.measure(keep, metric, base).double().sum(dim=0).cpu()
        found: list[float] = (total / self.unit).tolist()
        return found


def _judge(
    lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], rule: CutRule, metric: str, ablation: str, memory: int
) -> _Judge:
    make, ablate = metric_of(metric), ablation_of(ablation, lm, graph, pairs)
    parts, longest = [], 1
    for batch in batches(lm, pairs, memory, lambda lm: 64 * lm.hidden * lm.layers):
        sites = lay_out_pairs(lm, batch)
        parts.append((CircuitRun(lm, graph, sites.clean, ablate(sites), memory), make(lm, sites)))
        longest = max(longest, *(len(lm.tokens(pair.query).prompt) for pair in batch))
    # What the released code is given is one longer: the prompt and its answer's first token, which predicts nothing
    return _Judge(parts, len(pairs) * (longest if rule.by_position else 1))


def _receivers(graph: Graph, layer: int) -> Iterator[list[list[int]]]:
    """A layer's receivers, in the order they are decided in; together where none of them feeds another."""
    if layer == graph.layers:
        yield [[graph.output]]
        return
    yield [[graph.mlp_receiver(layer)]]
    spans = [graph.part_receivers(layer, part) for part in graph.parts]
    yield [list(reversed(range(span.start, span.stop))) for span in spans]


@dataclass(frozen=True)
class _Trial:
    """Edges into one receiver that are cut, or kept, together."""

    receiver: int
    senders: Int[Tensor, " sender"]


class _Search:
    """A circuit on its way down from the full graph.

    Attributes:
        keep: the edges not cut so far; `now`: what the metric says of them.
    """

    def __init__(self, judge: _Judge, graph: Graph, rule: CutRule, threshold: float) -> None:
        self.judge, self.graph, self.rule, self.threshold = judge, graph, rule, threshold
        self.keep = graph.edges.clone()
        self.values = torch.zeros(graph.edges.shape, dtype=torch.float64)
        self.tested = torch.zeros_like(graph.edges)
        (self.now,) = judge.measure(self.keep[None])
        self.full, self.size = self.now, FEWEST

    def trials(self, receivers: Sequence[int]) -> Iterator[_Trial]:
        """What to test of some receivers, in order; those of nodes that nothing reads lose their edges untested."""
        read = self.keep.any(dim=1)
        live = [one for one in receivers if one == self.graph.output or bool(read[self.graph.feeds[one]].any())]
        self.keep[:, [one for one in receivers if one not in live]] = False
        if self.rule.nodes:
            yield from (_Trial(one, self._senders(one)) for one in live if one != self.graph.output)
        yield from (_Trial(one, sender[None]) for one in live for sender in self._senders(one))

    def _senders(self, receiver: int) -> Int[Tensor, " sender"]:
        """In the released order: the last layer first, in it the MLP, then the heads from the first on."""
        graph = self.graph
        layers = reversed(range(graph.layers))
        order = [one for layer in layers for one in (graph.mlp_sender(layer), *self._heads(layer))]
        return torch.tensor([one for one in (*order, 0) if graph.edges[one, receiver]])

    def _heads(self, layer: int) -> range:
        first = self.graph.head_sender(layer, 0)
        return range(first, first + self.graph.heads)

    def settle(self, trials: Sequence[_Trial]) -> None:
        """Decide trials in order, none of whose receivers feeds another."""
        if trials:
            self.judge.start_from(self.keep)
        at = 0
        drops: dict[int, float] = {}
        while at < len(trials):
            which, guesses, rows = self._guess(trials, at, drops)
            if not which:
                return
            measured = self.judge.measure(rows)
            decided = 0
            for index, guess, row, value in zip(which, guesses, rows, measured, strict=True):
                before, decided = self.now, decided + 1
                if self._decide(trials[index], row, value) != guess:
                    # Those left were tested as if this one had been decided otherwise
                    supposed = value if guess else before
                    drops |= self._drops(which[decided:], guesses[decided:], measured[decided:], supposed)
                    break
            at = which[decided - 1] + 1
            self.size = min(MOST, 2 * self.size) if decided == len(which) else max(FEWEST, self.size // 2)

    def _guess(
        self, trials: Sequence[_Trial], at: int, drops: dict[int, float]
    ) -> tuple[list[int], list[bool], Bool[Tensor, "row sender receiver"]]:
        """The next trials, how each will be decided, and each one's circuit if those before it are.

        Args:
            drops: what the metric seemed to lose by a trial; nothing, where it is not known.
        """
        which: list[int] = []
        guesses: list[bool] = []
        rows: list[Tensor] = []
        keep, now = self.keep, self.now
        for index in range(at, len(trials)):
            trial = trials[index]
            if len(which) == self.size:
                break
            if not keep[trial.senders, trial.receiver].any():
                continue
            row = keep.clone()
            row[trial.senders, trial.receiver] = False
            after = now - drops.get(index, 0.0)
            cut = self._is_cut(now, after)
            which.append(index)
            guesses.append(cut)
            rows.append(row)
            keep, now = (row, after) if cut else (keep, now)
        return which, guesses, torch.stack(rows) if rows else self.keep[None][:0]

    def _drops(
        self, which: Sequence[int], guesses: Sequence[bool], measured: Sequence[float], now: float
    ) -> dict[int, float]:
        """What the metric lost by trials in circuits that did not come to be."""
        drops = {}
        for index, guess, value in zip(which, guesses, measured, strict=True):
            drops[index] = now - value
            now = value if guess else now
        return drops

    def _decide(self, trial: _Trial, row: Bool[Tensor, "sender receiver"], value: float) -> bool:
        cut = self._is_cut(self.now, value)
        if len(trial.senders) == 1:
            self.values[trial.senders, trial.receiver] = self._lost(self.now, value)
            self.tested[trial.senders, trial.receiver] = True
        if cut:
            self.keep, self.now = row, value
        return cut

    def _is_cut(self, now: float, after: float) -> bool:
        lost = self._lost(now, after)
        return (abs(lost) if self.rule.absolute else lost) < self.threshold

    def _lost(self, now: float, after: float) -> float:
        return (self.full if self.rule.from_full else now) - after
