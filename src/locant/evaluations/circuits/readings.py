"""What circuits say to queries: metrics, and where the answer stands among all that could be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.attributions.edges import Pair, ablation_of, batches, lay_out_pairs, metric_of
from locant.errors import LocantError
from locant.models import LanguageModel
from locant.models.circuit_run import MEMORY, CircuitRun
from locant.models.graph import Graph
from locant.types import Query

READ = ("logit_difference", "log_probability")
"""Metrics that are read if none are named."""


@dataclass(frozen=True)
class CircuitReadings:
    """What each circuit (a row) says to each query.

    Ranks count, from 0, the tokens with a higher logit than the answer's first, and half of those with the same: the
    empty circuit of zeros of a model without biases finds all tokens alike, and is not to be called right. (Other
    ranks of locant are of whole models, count from 1, and leave the same out.) An answer of several tokens is judged
    by its first, as in the paper; metrics may judge all of them.

    Attributes:
        metrics: by name.
        rank: of the answer's first token among the vocabulary.
        said: the token with the highest logit.
        candidate_rank: of the answer's first token among those of the relation's answers; None without candidates.
        label_rank: of the first token of another label's answer; None without labels.
    """

    queries: tuple[Query, ...]
    metrics: dict[str, Float[Tensor, "query row"]]
    rank: Int[Tensor, "query row"]
    said: Int[Tensor, "query row"]
    candidate_rank: Int[Tensor, "query row"] | None
    label_rank: Int[Tensor, "query row"] | None

    @property
    def correct(self) -> Bool[Tensor, "query row"]:
        """Whether nothing is more likely than the answer's first token."""
        return self.rank == 0


def hit(ranks: Int[Tensor, "query row"], k: int = 10) -> Float[Tensor, " row"]:
    """Hit@k: the share of queries with the rank below k.

    Given `rank`, it asks for the right answers; given `label_rank`, for those that the labels name. The released
    code asks test queries for the answers of validation queries, so that a model that knows everything gets next to
    nothing, and a circuit that says its relation's answers whatever is asked gets more.

    Source: Yao et al. 2024, arXiv:2405.17969, equation 3 (over queries; the vocabulary it divides by is a slip).
    """
    return (ranks < k).double().mean(dim=0)


@torch.no_grad()
def read_circuits(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    keeps: Bool[Tensor, "row sender receiver"],
    *,
    ablation: str = "counterfactual",
    metrics: Sequence[str] = READ,
    candidates: Sequence[Query] = (),
    labels: Sequence[Query] = (),
    memory: int = MEMORY,
) -> CircuitReadings:
    """Run circuits on queries.

    Args:
        keeps: the edges of each circuit.
        ablation: a name in `ABLATIONS`; means are over these pairs' queries.
        metrics: names in `METRICS`.
        candidates: queries whose answers are their relations' answers; a query's own answer is always one of them.
        labels: of each pair a query whose answer is looked for too.
        memory: bytes that rows may take at once.

    Raises:
        UnknownName: no such metric or ablation.
        LocantError: there are labels, but not one for each pair.
    """
    if labels and len(labels) != len(pairs):
        raise LocantError(f"{len(pairs)} queries are looked up by {len(labels)} labels: give one for each")
    makes, ablate = {name: metric_of(name) for name in metrics}, ablation_of(ablation, lm, graph, pairs)
    asked = [_Asked.of(lm, pair.query, candidates, label) for pair, label in _labelled(pairs, labels)]
    shape = (len(pairs), len(keeps))
    found = {name: torch.zeros(shape, dtype=torch.float64) for name in metrics}
    ranks = {name: torch.zeros(shape, dtype=torch.int64) for name in ("rank", "said", "candidate_rank", "label_rank")}
    places = {id(pair): [at for at, one in enumerate(pairs) if one is pair] for pair in pairs}
    for batch in batches(lm, pairs, memory, lambda lm: 64 * lm.hidden * lm.layers):
        at = [places[id(pair)].pop() for pair in batch]
        sites = lay_out_pairs(lm, batch, graph.spans)
        run = CircuitRun(lm, graph, sites.clean, ablate(sites), memory)
        measures = {name: make(lm, sites) for name, make in makes.items()}
        for start in range(0, len(keeps), run.rows):
            rows = slice(start, start + run.rows)
            logits = run.logits(keeps[rows])
            for name, measure in measures.items():
                found[name][at, rows] = measure(logits).double().cpu()
            for query, first in zip(at, logits[sites.first.to(logits.device)], strict=True):
                for name, values in asked[query].ranks(first).items():
                    ranks[name][query, rows] = values.cpu()
    return CircuitReadings(
        tuple(pair.query for pair in pairs),
        found,
        ranks["rank"],
        ranks["said"],
        ranks["candidate_rank"] if candidates else None,
        ranks["label_rank"] if labels else None,
    )


@dataclass(frozen=True)
class _Asked:
    """The tokens that are looked up after a query: its answer's first, its label's, and its candidates'."""

    answer: int
    label: int | None
    candidates: tuple[int, ...]

    @classmethod
    def of(cls, lm: LanguageModel, query: Query, candidates: Sequence[Query], label: Query | None) -> _Asked:
        answer = _first(lm, query)
        own = {_first(lm, one) for one in candidates if one.relation == query.relation} | {answer}
        return cls(answer, None if label is None else _first(lm, label), tuple(sorted(own)))

    def ranks(self, logits: Float[Tensor, "row vocab"]) -> dict[str, Int[Tensor, " row"]]:
        answer = logits[:, self.answer, None]
        ranks = {"rank": _rank(answer, logits), "said": logits.argmax(dim=1)}
        if self.candidates:
            ranks["candidate_rank"] = _rank(answer, logits[:, list(self.candidates)])
        if self.label is not None:
            ranks["label_rank"] = _rank(logits[:, self.label, None], logits)
        return ranks


def _rank(one: Float[Tensor, "row 1"], among: Float[Tensor, "row token"]) -> Int[Tensor, " row"]:
    """Where one of some logits stands."""
    same = (among == one).sum(dim=1) - 1
    return (among > one).sum(dim=1) + same // 2


def _first(lm: LanguageModel, query: Query) -> int:
    return lm.tokens(query).answers[0][0]


def _labelled(pairs: Sequence[Pair], labels: Sequence[Query]) -> list[tuple[Pair, Query | None]]:
    if not labels:
        return [(pair, None) for pair in pairs]
    return list(zip(pairs, labels, strict=True))
