"""Made-up folders of a run of knowledge circuits, for pages without a model: invented facts, gathered as its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pages import written

from locant.attributions.edges import EdgeScores
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.edited import REFUSED, UNEDITED
from locant.recipes.knowledge_circuits.judged import (
    CIRCUIT,
    COMPLEMENT,
    HALVES,
    NOTHING,
    OTHER,
    RANDOM,
    WHOLE,
    circuits_of,
)
from locant.recipes.knowledge_circuits.means import (
    agreement_rows,
    completeness_rows,
    edit_rows,
    faithfulness_rows,
    refused_rows,
    shown_rows,
    stream_means,
    wrong_rows,
)
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.shared import overlap_rows
from locant.recipes.knowledge_circuits.shown import NEW, SHOWN, ZERO_SHOT
from locant.recipes.knowledge_circuits.shown import RANDOM as RANDOM_HEADS
from locant.recipes.knowledge_circuits.wrong import BLAMED, RIGHT, WRONG
from locant.recipes.knowledge_circuits.wrong import RANDOM as PEERS
from locant.selections.circuits import Circuit
from locant.types import Provenance

Row = dict[str, object]
Tables = dict[str, Sequence[Row]]
PLAN = Plan(share=0.2, shares=(0.05, 0.2, 1.0), k=10)
MEASURES = ("subject_mass", "relation_mass", "answer_lift", "relation_lift", "answer_removed")
POINTS = ("input", "after a0", "after m0", "after a1", "after m1")
EDITS = ("rome", "ft_m, layer 0")
SAYS = {WHOLE: 1.0, CIRCUIT: 0.95, OTHER: 0.3, RANDOM: 0.1, COMPLEMENT: 0.05, NOTHING: 0.0}
KEEPS = {CIRCUIT: 0.9, OTHER: 0.4, RANDOM: 0.1}


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        says: by what is kept, in which part of facts the answer comes first; Hit@k is as often or more.
        keeps: by circuit, what it keeps of the metric at the run's share.
        settled: the point of the stream from which on answers are first.
        roles: of each layer's heads in every relation; the first is confirmed.
        spills: the share of other facts that say an edit's new object; `stays`, of the circuit's edges.
        mended: by the head cut, how often the answer then comes out above.
        shown: P(answer) by set of heads.
        step: the share of each step's edges in the circuit of two; `beside`, of other relations' edges.
        found: of the strongest edges, by each approximate score.
        only: the experiments that are there; all, if none is named.
        refuses: facts that ROME refuses.
        hostile: put into every name and text but those that the page looks for.
    """

    relations: Sequence[str] = ("capital", "official_language", "colour")
    facts: int = 12
    says: Mapping[str, float] = field(default_factory=dict)
    keeps: Mapping[str, float] = field(default_factory=dict)
    settled: int = 2
    roles: Sequence[Sequence[str]] = (("mover", "relation"), ("none", "mixture"))
    confirmed: bool = True
    spills: float = 0.2
    stays: float = 0.7
    mended: Mapping[str, float] = field(default_factory=lambda: {BLAMED: 0.8, PEERS: 0.1})
    shown: Mapping[str, float] = field(
        default_factory=lambda: {ZERO_SHOT: 0.2, SHOWN: 0.9, NEW: 0.5, RANDOM_HEADS: 0.85}
    )
    chains: int = 7
    step: float = 0.7
    beside: float = 0.4
    found: Mapping[str, float] = field(default_factory=lambda: {"eap": 0.6, "eap_ig": 0.8})
    graph: Graph = field(default_factory=lambda: Graph.of_sizes(2, 2))
    reverse: bool = True
    refuses: int = 0
    only: Sequence[str] = ()
    drawn: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    hostile: str = ""
    status: str = "complete"
    seed: int = 0


def fake_run(folder: Path, truth: Truth = Truth()) -> Path:
    """A run folder whose tables are gathered from single facts by the functions that gather a real run's."""
    made = _Made(truth)
    tables: dict[str, Sequence[Row]] = {"relations": list(made.described())}
    for name, gathered in EXPERIMENTS.items():
        wanted = not truth.only or name in truth.only
        tables |= gathered(made) if wanted else {}
    return written(folder, {name: list(rows) for name, rows in tables.items()}, _manifest(truth, made))


def _judged(made: _Made) -> Tables:
    rows = _frame(made.judged())
    return {
        "judged": rows.to_dicts(),
        "completeness": list(completeness_rows(rows, made.kinds, PLAN)),
        "faithfulness": list(faithfulness_rows(rows, PLAN)),
    }


def _edges(made: _Made) -> Tables:
    return {"edges": list(made.edges())}


def _shared(made: _Made) -> Tables:
    shared = overlap_rows(made.circuits(), PLAN).to_dicts()
    return {"overlap": shared, "reverse": list(made.reversed(shared)) if made.truth.reverse else []}


def _streams(made: _Made) -> Tables:
    rows = _frame(made.streams())
    return {"streams": rows.to_dicts(), "stream": list(stream_means(rows, PLAN))}


def _heads(made: _Made) -> Tables:
    return {"heads": list(made.heads())}


def _edits(made: _Made) -> Tables:
    rows = _frame(made.edited())
    return {
        "edited": rows.to_dicts(),
        "edits": list(edit_rows(rows, PLAN)),
        "refused": list(refused_rows(rows)),
    }


def _errors(made: _Made) -> Tables:
    rows = _frame(made.wrong())
    return {"wrong": rows.to_dicts(), "errors": list(wrong_rows(rows, PLAN))}


def _demonstrations(made: _Made) -> Tables:
    rows = _frame(made.shown())
    return {"shown": rows.to_dicts(), "demonstrations": list(shown_rows(rows, PLAN))}


def _hops(made: _Made) -> Tables:
    return {"hops": list(made.hops())}


def _agreement(made: _Made) -> Tables:
    return {"agreement": list(agreement_rows(_frame(made.exact()), PLAN))}


EXPERIMENTS: dict[str, Callable[[_Made], Tables]] = {
    "judged": _judged, "edges": _edges, "shared": _shared, "streams": _streams, "heads": _heads, "edits": _edits,
    "errors": _errors, "demonstrations": _demonstrations, "hops": _hops, "agreement": _agreement,
}  # fmt: skip


def _manifest(truth: Truth, made: _Made) -> Row:
    return {
        "recipe": "knowledge-circuits", "model": "almanac" + truth.hostile, "revision": None, "dtype": "float32",
        "package": "0.1.0", "weights": "c0ffee", "source": "lre:FOLDER" + truth.hostile,
        "drawn": {"relations": None, "limit": 24, "known": 10, **truth.drawn}, "relations": len(made.names),
        "facts": 2 * truth.facts * len(made.names), "wordings": 90, "edges": int(truth.graph.edges.sum()),
        "graph": repr(truth.graph), "data": "b36a51033c02", "settings": {**PLAN.plain(), **truth.settings},
        "status": truth.status,
    }  # fmt: skip


class _Made:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.numbers = np.random.default_rng(truth.seed)
        self.names = [name + truth.hostile for name in truth.relations]
        self.kinds = {name: ("factual", "bias")[place % 2] + truth.hostile for place, name in enumerate(self.names)}

    def facts(self, name: str, half: str) -> list[str]:
        return [f"{name}/{half}/{place}" for place in range(self.truth.facts)]

    def described(self) -> Iterator[Row]:
        for name in self.names:
            yield {"relation": name, "kind": self.kinds[name], "validation": self.truth.facts,
                   "test": self.truth.facts, "objects": 5, "left_out": f"too rare{self.truth.hostile}: 7",
                   "example": f"What is {name}? That", "counterfactual": f"What else is {name}?"}  # fmt: skip

    def scores(self, name: str) -> EdgeScores:
        graph = self.truth.graph
        drawn = np.random.default_rng([self.truth.seed, self.names.index(name)]).normal(size=graph.edges.shape)
        values = torch.from_numpy(drawn) * graph.edges
        return EdgeScores(graph, values, (), Provenance("eap_ig", {"metric": PLAN.metric}))

    def circuits(self) -> dict[str, Circuit]:
        return {name: circuits_of(self.scores(name), PLAN)[PLAN.share] for name in self.names}

    def edges(self) -> Iterator[Row]:
        graph = self.truth.graph
        for name in self.names:
            scores = self.scores(name)
            for sender, receiver in graph.edges.nonzero().tolist():
                yield {"relation": name, "sender": graph.senders[sender], "receiver": graph.receivers[receiver],
                       "score": float(scores.values[sender, receiver])}  # fmt: skip

    def judged(self) -> Iterator[Row]:
        says, keeps = {**SAYS, **self.truth.says}, {**KEEPS, **self.truth.keeps}
        kept = [(WHOLE, 1.0, 0, 1.0), (NOTHING, 0.0, 0, 0.0), (COMPLEMENT, PLAN.share, 0, 0.05)]
        for what in KEEPS:
            for share in PLAN.shares:
                draws = 2 if what == RANDOM and share == PLAN.share else 1
                own = 1.0 if share == 1 else keeps[what] * (1.0 if share == PLAN.share else 0.4)
                kept += [(what, share, draw, own) for draw in range(draws)]
        for name, half in itertools.product(self.names, HALVES):
            for place, fact in enumerate(self.facts(name, half)):
                gap = 5 + self.numbers.random()
                for what, share, draw, own in kept:
                    first = place < round(says[what] * self.truth.facts)
                    yield {"relation": name, "half": half, "circuit": what, "share": share, "draw": draw,
                           "edges": round(share * 40), "query": fact, "rank": 0 if first else 5 + 10 * (place % 2),
                           "candidate_rank": 0 if first else 3, "label_rank": 4 + 20 * (place % 2),
                           "logit_difference": own * gap, "log_probability": -2.0 + own}  # fmt: skip

    def streams(self) -> Iterator[Row]:
        for name in self.names:
            for fact in self.facts(name, "test"):
                for step, point in enumerate(POINTS):
                    there = step >= self.truth.settled
                    yield {"relation": name, "query": fact, "point": point, "step": step, "of": "answer",
                           "rank": 0 if there else 80, "probability": 0.9 if there else 0.01}  # fmt: skip
                    yield {"relation": name, "query": fact, "point": point, "step": step, "of": "subject",
                           "rank": 40, "probability": 0.02}  # fmt: skip

    def heads(self) -> Iterator[Row]:
        for name in self.names:
            for layer, roles in enumerate(self.truth.roles):
                for head, role in enumerate(roles):
                    for measure in (
                        "subject_mass",
                        "relation_mass",
                        "answer_lift",
                        "relation_lift",
                        "answer_removed",
                    ):
                        yield {"relation": name, "head": f"a{layer}.h{head}", "layer": layer, "role": role,
                               "confirmed": self.truth.confirmed and layer == 0,
                               "by_chance": 0.25 * (role != "none"), "in_circuit": head == 0,
                               "measure": measure, "mean": 0.4, "low": 0.3, "high": 0.5, "n": 12}  # fmt: skip

    def edited(self) -> Iterator[Row]:
        truth = self.truth
        facts = self.facts(self.names[0], "test")[:8]
        for fact, edit in itertools.product(facts, (UNEDITED, *EDITS)):
            about: Row = {"relation": self.names[0], "query": fact, "edit": edit, "why": None}
            if edit == "rome" and fact in facts[: truth.refuses]:
                yield about | {"what": REFUSED, "place": None, "value": 1.0, "why": "no subject is named"}
                continue
            late = {UNEDITED: 99, "rome": 3}.get(edit, 1)
            for step, what in itertools.product(range(len(POINTS)), ("rank", "probability")):
                there = step >= late
                value = float(there) if what == "probability" else 0.0 if there else 300.0
                yield about | {"what": what, "place": step, "value": value}
            if edit != UNEDITED:
                noise = self.numbers.uniform(-0.05, 0.05)
                for what, value in (
                    ("said", 1.0), ("spilled", truth.spills and truth.spills + noise), ("nodes", 0.9),
                    ("nodes_expected", 0.5), ("edges", truth.stays + noise), ("edges_expected", 0.25),
                ):  # fmt: skip
                    yield about | {"what": what, "place": None, "value": value}

    def wrong(self) -> Iterator[Row]:
        for kind, place in itertools.product((WRONG, RIGHT), range(10)):
            about: Row = {"kind": kind, "relation": self.names[0], "query": f"{kind}/{place}"}
            for of, step in itertools.product(("answer", "instead"), range(len(POINTS))):
                high = (of == "answer") == (kind == RIGHT or step < 3)
                for what, value in (("rank", 0.0 if high else 1.0), ("probability", 0.6 if high else 0.2)):
                    yield about | {"of": of, "what": what, "place": step, "before": None, "after": value}
            for of, share in self.truth.mended.items():
                after = float(kind == RIGHT or place < round(10 * share))
                yield about | {"of": of, "what": "mended", "place": 1, "before": float(kind == RIGHT), "after": after}
                yield about | {"of": of, "what": "margin", "place": 1, "before": -1.0, "after": 2 * after - 1}

    def shown(self) -> Iterator[Row]:
        for name in self.names:
            for fact in self.facts(name, "test"):
                hard = self.numbers.uniform(-0.05, 0.05)
                for what, value in self.truth.shown.items():
                    for draw in range(2 if what == RANDOM_HEADS else 1):
                        heads = "a0.h1, a1.h0" if what in (NEW, RANDOM_HEADS) else ""
                        yield {"relation": name, "set": what, "draw": draw, "heads": heads, "query": fact,
                               "probability": value + hard, "rank": 0}  # fmt: skip

    def exact(self) -> Iterator[Row]:
        for name, (method, shared) in itertools.product(self.names, self.truth.found.items()):
            yield {"relation": name, "method": method, "shared": shared + self.numbers.uniform(-0.01, 0.01),
                   "spearman": 0.7, "pearson": 0.9}  # fmt: skip

    def hops(self) -> Iterator[Row]:
        values = {"first": self.truth.step, "second": self.truth.step, "both": 0.75, "other": self.truth.beside}
        for chain, measure in itertools.product(range(self.truth.chains), ("nodes", "edges")):
            noise = self.numbers.uniform(-0.02, 0.02)
            for of, value in values.items():
                null = None if of == "other" else 0.2
                yield {"first": f"step_{chain}{self.truth.hostile}", "second": self.names[0], "facts": 9, "of": of,
                       "measure": measure, "observed": value + (0 if of == "other" else noise), "expected": null,
                       "low": null, "high": null, "p": null}  # fmt: skip

    def reversed(self, shared: Sequence[Row]) -> Iterator[Row]:
        pair = self.names[:2]
        for row in shared:
            if {row["relation"], row["other"]} == set(pair):
                named = {name: row[name] for name in ("relation", "other", "measure", "observed", "expected", "p")}
                yield {**named, "facts": 6, "elsewhere": 0.3, "pairs": 2}


def sure(truth: Truth, **more: object) -> Truth:
    """The same of enough relations for means over them to show something."""
    return replace(truth, relations=[f"relation_{place}" for place in range(6)], **more)  # type: ignore[arg-type]


def _frame(rows: Iterator[Row]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), infer_schema_length=None)
