"""Made-up folders of an editing run, for pages without a model: invented cases, gathered as a run gathers its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from pages import written

from locant.recipes.editing.edited import REFUSED
from locant.recipes.editing.judged import cost_rows, drift_rows, ended_rows, method_rows
from locant.recipes.editing.places import layer_rows, place_rows, trace_rows
from locant.recipes.editing.plan import OF_LAYERS, RANDOM, Plan, steps

PLAN = Plan(methods=("kn",))
"""Of the settings only the seed matters to tables."""
EVERY = ("rome", "memit", "alphaedit", "ft_m", "ft_l", "ft", "kn", "neuron_tuning", "lora")
AT_ONCE = ("memit", "alphaedit", "ft_m", "lora")
LAYERS = 6
Row = dict[str, object]


@dataclass(frozen=True)
class Does:
    """What a method does: shares of what is right after an edit, and perplexity as a multiple of what it was.

    Attributes:
        first: of requests; wordings, portability: of these.
        kept, unrelated: of neighbours and of other facts whose first token stays.
        tokens: how much more of the target's tokens are right than is written freely.
        lost: of what holds after one edit, what is left after all are made in turn.
    """

    first: float = 0.95
    wordings: float = 0.8
    kept: float = 0.9
    unrelated: float = 0.97
    portability: float = 0.3
    tokens: float = 0.1
    lost: float = 0.5
    perplexity: float = 1.02


DOES = {
    "rome": Does(),
    "memit": Does(0.9, 0.7, 0.95, 0.99, lost=0.1),
    "alphaedit": Does(0.93, 0.72, 0.93, 0.99, lost=0.05),
    "ft_m": Does(1.0, 0.6, 0.5, 0.7, perplexity=1.3),
    "ft_l": Does(0.7, 0.1, 0.98, 0.99, 0.02, 0.2, 0.1, 1.0),
    "ft": Does(1.0, 0.9, 0.1, 0.2, 0.2, 0.0, 0.8, 14.0),
    "kn": Does(0.25, 0.2, 0.8, 0.9, 0.02, 0.05, 0.9, 1.4),
    "neuron_tuning": Does(0.8, 0.5, 0.85, 0.95),
    "lora": Does(1.0, 0.7, 0.6, 0.8, lost=0.2),
    RANDOM: Does(0.02, 0.02, 0.9, 0.95, 0.01, 0.02, 1.0, 1.1),
}


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        methods: that are compared; beside kn stand its random neurons.
        does: what they do, where it is not as in `DOES`.
        in_turn, together, layers: how many cases each of these experiments has.
        gain: how much better an edit is at the layer with the highest effect than elsewhere.
        traced: what restoring all layers brings back, of a probability.
        reached: layers from the first whose training comes to its aim.
        refused: of the first method.
        masked: whether the model writes nothing freely and has no perplexity.
        lacking: what is not asked of any case, as 'portability'.
        empty: tables without rows.
        hostile: put into every name and text but those of methods.
    """

    methods: Sequence[str] = ("rome", "memit", "ft_m", "kn")
    does: Mapping[str, Does] = field(default_factory=dict)
    cases: int = 14
    relations: int = 2
    in_turn: int = 12
    together: int = 12
    layers: int = 12
    gain: float = 0.3
    traced: float = 1.0
    reached: int = 6
    refused: int = 1
    masked: bool = False
    lacking: Sequence[str] = ()
    empty: Sequence[str] = ()
    settings: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: {"rome": {"layer": 3}, "kn": {"share": 0.3, "signs": False}}
    )
    drawn: Mapping[str, object] = field(default_factory=dict)
    hostile: str = ""
    status: str = "complete"
    seed: int = 0


def fake_run(folder: Path, truth: Truth = Truth()) -> Path:
    """A run folder whose tables are gathered from single cases by the functions that gather a real run's."""
    made = _Made(truth)
    alone, in_turn, together = made.alone(), made.in_turn(), made.together()
    localized, everywhere = made.localized(), made.everywhere()
    tables: dict[str, list[Row]] = {
        "cases": list(made.cases()),
        "alone": alone.to_dicts(),
        "methods": method_rows(alone, PLAN).to_dicts(),
        "costs": list(cost_rows(alone)),
        "in_turn": in_turn.to_dicts(),
        "drift": drift_rows(in_turn, PLAN).to_dicts(),
        "together": together.to_dicts(),
        "batch": method_rows(together, PLAN).to_dicts(),
        "localized": localized.to_dicts(),
        "everywhere": everywhere.to_dicts(),
        "places": list(place_rows(localized, everywhere, PLAN)),
        "layers": list(layer_rows(localized, everywhere)),
        "traces": list(trace_rows(localized)),
        "ended": list(ended_rows({"alone": alone})),
    }
    kept = {name: [] if name in truth.empty else rows for name, rows in tables.items()}
    return written(folder, kept, _manifest(truth))


def _manifest(truth: Truth) -> Row:
    drawn = {"relations": None, "language": "en", "limit": truth.cases, "known_only": True, "text": None}
    settings = {
        "methods": list(truth.methods), "settings": dict(truth.settings), "in_turn": truth.in_turn,
        "together": truth.together, "layers": truth.layers, "tokens": 50, "seed": truth.seed,
        "resolved": {name: {"layer": 3, "keys": "averaged"} for name in truth.methods},
    }  # fmt: skip
    return {
        "recipe": "editing", "model": "almanac" + truth.hostile, "revision": None, "dtype": "float32",
        "package": "0.1.0", "weights": "c0ffee", "source": "counterfact:edits.json" + truth.hostile,
        "drawn": {**drawn, **truth.drawn}, "cases": truth.cases,
        "left_out": {"the model does not say the old object" + truth.hostile: 1207}, "texts": 40,
        "data": "b36a51033c02", "settings": settings, "status": truth.status,
    }  # fmt: skip


class _Made:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.numbers = np.random.default_rng(truth.seed)
        self.hard = self.numbers.random(truth.cases)
        self.names = [f"P{place % truth.relations}/{place}{truth.hostile}" for place in range(truth.cases)]

    def does(self, method: str) -> Does:
        return self.truth.does.get(method, DOES[method])

    def relation(self, place: int) -> str:
        return f"relation {place % self.truth.relations}{self.truth.hostile}"

    def often(self, share: float, draws: int = 1) -> float:
        return float((self.numbers.random(draws) < share).mean())

    def cases(self) -> Iterator[Row]:
        for place, name in enumerate(self.names):
            yield {"case": name, "relation": self.relation(place), "prompt": f"The capital of {place} is",
                   "subject": str(place), "old": f"old {place}", "new": f"new {place}{self.truth.hostile}",
                   "requests": 1, "paraphrases": 2, "neighbours": 10, "portability": 3, "unrelated": 5}  # fmt: skip

    def _read(self, place: int, method: str, left: float = 1.0) -> Iterator[Row]:
        """The metrics of a case; `left` of what a method does to it."""
        own = self.does(method)
        for asked, share in (
            ("request", own.first), ("paraphrase", own.wordings), ("portability", own.portability),
        ):  # fmt: skip
            draws = {"request": 1, "paraphrase": 2, "portability": 3}[asked]
            said = self.often(share * left, draws) if draws > 1 else float(self.hard[place] < share * left)
            values = {
                "score": max(said, self.often(share, draws)), "probability": 0.8 * said, "first": said,
                "tokens": min(1.0, said + self.numbers.uniform(0, 2 * own.tokens)), "written": said,
            }  # fmt: skip
            for metric, after in values.items():
                yield self._row(place, asked, metric, 0.1 if metric == "score" else 0.0, after)
        for asked, share in (("neighbour", own.kept), ("unrelated", own.unrelated)):
            kept = self.often(share * (0.5 + 0.5 * left), 10)
            if asked == "neighbour":
                yield self._row(place, asked, "score", 0.9, 0.9 * kept)
            yield self._row(place, asked, "first", 0.8, 0.8 * kept)
            yield self._row(place, asked, "kept", None, kept)
            yield self._row(place, asked, "kl", None, 2 * (1 - kept))
        worse = (own.perplexity - 1) * (1 + 20 * (1 - left)) * self.numbers.uniform(0.5, 1.5)
        yield self._row(place, "texts", "perplexity", 11.0, 11.0 * (1 + worse))

    def _row(self, place: int, asked: str, metric: str, before: float | None, after: float) -> Row:
        return {"case": self.names[place], "relation": self.relation(place), "asked": asked, "metric": metric,
                "before": before, "after": after}  # fmt: skip

    def _asked(self, rows: Iterator[Row], *without: str) -> list[Row]:
        silent = ("written", "perplexity") if self.truth.masked else ()
        gone = {*without, *self.truth.lacking, *silent}
        return [row for row in rows if row["asked"] not in gone and row["metric"] not in gone]

    def alone(self) -> pl.DataFrame:
        parts = []
        methods = [*self.truth.methods, *([RANDOM] if "kn" in self.truth.methods else [])]
        for number, method in enumerate(methods):
            for place in range(self.truth.cases):
                if number == 0 and place < self.truth.refused:
                    found = [{**self._row(place, "request", REFUSED, 0.0, 1.0), "why": "no" + self.truth.hostile}]
                else:
                    seconds = self.numbers.uniform(0.5, 1.5) * (1 + number)
                    found = self._asked(self._read(place, method))
                    found += [self._row(place, "notes", "seconds", None, seconds),
                              self._row(place, "notes", "neurons", None, float(3 + place % 3))]  # fmt: skip
                parts += [{**row, "method": method} for row in found]
        return _frame(parts)

    def in_turn(self) -> pl.DataFrame:
        number = min(self.truth.in_turn, self.truth.cases)
        parts = []
        for method, count in itertools.product(self.truth.methods, steps(number) if number > 1 else ()):
            left = 1 - self.does(method).lost * np.log(count) / np.log(number)
            for place in range(count):
                found = self._asked(self._read(place, method, left), "portability", "written", "texts")
                parts += [{**row, "edits": count, "place": place + 1, "method": method} for row in found]
            texts = self._asked(row for row in self._read(0, method, left) if row["asked"] == "texts")
            whose: Row = {"relation": "", "edits": count, "place": None, "method": method}
            parts += [{**row, "case": "", **whose} for row in texts]
        return _frame(parts)

    def together(self) -> pl.DataFrame:
        number = min(self.truth.together, self.truth.cases)
        parts = []
        for method in self.truth.methods:
            if method not in AT_ONCE or number < 2:
                continue
            left = 1 - self.does(method).lost / 2
            for place in range(number):
                found = self._asked(self._read(place, method, left), "portability", "texts")
                parts += [{**row, "method": method} for row in found]
            texts = self._asked(row for row in self._read(0, method, left) if row["asked"] == "texts")
            whole = [*texts, self._row(0, "notes", "seconds", None, 12.0)]
            parts += [{**row, "case": "", "relation": "", "method": method} for row in whole]
        return _frame(parts)

    def localized(self) -> pl.DataFrame:
        numbers = np.random.default_rng(self.truth.seed + 1)
        parts = []
        for place in range(min(self.truth.layers, self.truth.cases)):
            traced, credit = (numbers.dirichlet(np.ones(LAYERS)) for _ in range(2))
            parts += [
                {"case": self.names[place], "layer": layer, "tracing": self.truth.traced * float(traced[layer]),
                 "credit": float(credit[layer]), "clean": 0.99, "corrupted": 0.25}
                for layer in range(LAYERS)
            ]  # fmt: skip
        return _frame(parts)

    def everywhere(self) -> pl.DataFrame:
        effects = self.localized()
        parts = []
        for method, place in itertools.product(OF_LAYERS, range(min(self.truth.layers, self.truth.cases))):
            if method not in self.truth.methods:
                continue
            own = effects.filter(pl.col("case") == self.names[place])["tracing"].to_numpy()
            for layer in range(LAYERS):
                best = self.truth.gain * (layer == own.argmax())
                rewrite = 0.6 - 0.05 * layer + best + 0.02 * self.numbers.standard_normal()
                parts.append(
                    {"case": self.names[place], "method": method, "layer": layer, "rewrite": float(rewrite),
                     "generalisation": 0.7 * float(rewrite), "kept": 0.9, "loss": 0.01, "steps": 20.0,
                     "reached": float(layer < self.truth.reached), "why": None}
                )  # fmt: skip
        return _frame(parts)


def _frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)
