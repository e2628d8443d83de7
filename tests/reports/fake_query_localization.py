"""Made-up folders of a query-localization run, for pages without a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import written

LAYERS, NEURONS = 4, 256
RELATIONS = ("capital of", "colour of", "mother tongue", "plays the instrument", "was born in", "works for")
LOCALIZERS = ("dai", "sig", "amig")
SETS = {"own": 1.0, "neighbour": 1.0, "union": 3.1, "intersection": 0.15, "in 2 or more": 0.8, "unrelated": 1.0,
        "random like own": 1.0, "random like union": 3.1}  # fmt: skip
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 11))
Row = dict[str, object]


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        steady: mean share of a query's neurons that are its fact's.
        null: CS2 that queries of different facts reach.
        noise: Jaccard of a localizer with itself.
        own, neighbour: relative change of P(answer) when these neurons of inconsistent facts are suppressed.
        synapses, irrelevant: relative change of the neurons' activation when these columns are.
        gain: of the consistency-aware set over the others: generalisation, and half of it in locality.
        hostile: put into every name and text.
    """

    steady: float = 0.62
    null: float = 0.12
    noise: float = 0.86
    own: float = -0.5
    neighbour: float = -0.14
    synapses: float = -0.32
    irrelevant: float = -0.04
    gain: float = 0.12
    kinds: Sequence[str] = ("consistent", "inconsistent")
    facts: int = 12
    queries: int = 5
    touched: int = 10
    texts: bool = True
    empty: Sequence[str] = ()
    hostile: str = ""
    status: str = "complete"
    seed: int = 0


def fake_run(folder: Path, truth: Truth = Truth()) -> Path:
    """A run folder whose tables are consistent with each other, as far as a page can tell."""
    made = _Made(truth)
    tables = {
        "facts": made.facts,
        "queries": list(made.queries()),
        "neurons": made.neurons,
        "consistency": made.consistency,
        "thresholds": list(made.thresholds()),
        "nulls": list(made.nulls()),
        "noise": list(made.noise()),
        "tests": list(made.tests()),
        "mapping": list(made.mapping()),
        "synapses": list(made.synapses()),
        "activations": list(made.activations()),
        "edits": list(made.edits()),
        "alphas": list(made.alphas()),
        "betas": list(made.betas()),
        "lambdas": [
            {
                "lambda": size,
                "reliability": 0.4 * size,
                "generalisation": 0.3 * size,
                "locality": 1 - size / 4,
                "average": 0.5,
                "cloze_change": size**3,
                "n": 12,
            }
            for size in (0.5, 1.0, 2.0)
        ],
        "costs": list(made.costs()),
    }
    kept = {name: [] if name in truth.empty else rows for name, rows in tables.items()}
    return written(folder, kept, _manifest(truth))


def _manifest(truth: Truth) -> Row:
    settings = {
        "localizers": list(LOCALIZERS), "share": 0.2, "static": 0.3, "alpha": 0.3, "beta1": 1.0, "beta2": 1.0,
        "lambda1": 1.0, "lambda2": 8.0, "touched": truth.touched, "edited": truth.touched, "random_sets": 5,
        "wordings": truth.queries, "settings": {"sig": {"steps": 3}}, "seed": truth.seed,
    }  # fmt: skip
    return {
        "recipe": "query-localization", "model": "almanac" + truth.hostile, "revision": None, "dtype": "float32",
        "package": "0.1.0", "data": "7d1f0c9ab2e4", "source": "almanac" + truth.hostile,
        "drawn": {"relations": ["capital"], "limit": None, "known_only": False}, "settings": settings,
        "status": truth.status, "seconds": 1834.2,
    }  # fmt: skip


class _Made:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.numbers = np.random.default_rng(truth.seed)
        self.facts: list[Row] = [
            {"fact": f"{relation}/{place}", "relation": relation + truth.hostile, "subject": f"thing {place}",
             "object": f"answer {place}", "language": "en", "queries": truth.queries}
            for relation in RELATIONS for place in range(truth.facts)
        ]  # fmt: skip
        self.neurons: list[Row] = []
        self.consistency: list[Row] = []
        for localizer in LOCALIZERS:
            self._locate(localizer)

    def near(self, value: float, spread: float = 0.08) -> float:
        return float(value + spread * self.numbers.standard_normal())

    def queries(self) -> Iterator[Row]:
        for fact, at in itertools.product(self.facts, range(self.truth.queries)):
            yield {"query": f"{fact['fact']}#{at}", "fact": fact["fact"], "relation": fact["relation"],
                   "template": f"t{at}", "answer": str(fact["object"]) + self.truth.hostile,
                   "prompt": f"Wording {at} of the {fact['relation']} of {fact['subject']} is",
                   "answer_prob": float(self.numbers.beta(5, 1)),
                   "rank": int(self.numbers.choice([1, 1, 1, 2, 5]))}  # fmt: skip

    def _locate(self, localizer: str) -> None:
        shared = {relation: self.numbers.choice(LAYERS * NEURONS, 10, replace=False) for relation in RELATIONS}
        for number, fact in enumerate(self.facts):
            mean = self.truth.steady + 0.05 * (number // self.truth.facts - 2.5)
            steady = float(np.clip(self.near(mean, 0.2), 0.02, 0.98))
            core = self.numbers.choice(LAYERS * NEURONS, 12, replace=False)
            of_relation = shared[str(fact["fact"]).split("/")[0]]
            sets = []
            for at in range(self.truth.queries):
                kept = np.concatenate(
                    [core[self.numbers.random(12) < steady], of_relation[self.numbers.random(10) < 0.25]]
                )
                own = self.numbers.choice(LAYERS * NEURONS, int(self.numbers.integers(5, 12)), replace=False)
                units = np.unique(np.concatenate([kept, own]))
                sets.append(set(units.tolist()))
                self._rows(localizer, fact, at, units)
            for matched in (False, True):
                self._score(localizer, fact, sets, matched)

    def _rows(self, localizer: str, fact: Row, at: int, units: np.ndarray) -> None:
        score = np.sort(self.numbers.uniform(0.2, 1.0, len(units)))[::-1]
        self.numbers.shuffle(units)
        self.neurons += [
            {"localizer": localizer, "query": f"{fact['fact']}#{at}", "fact": fact["fact"],
             "relation": fact["relation"], "rank": rank + 1, "layer": int(unit) // NEURONS,
             "neuron": int(unit) % NEURONS, "score": 0.03 * float(value), "share": float(value / score[0]),
             "activation": float(self.numbers.gamma(2.0, 0.5))}
            for rank, (unit, value) in enumerate(zip(units, score, strict=True))
        ]  # fmt: skip

    def _score(self, localizer: str, fact: Row, sets: list[set[int]], matched: bool) -> None:
        held = np.array([sum(unit in one for one in sets) for unit in set.union(*sets)])
        pairs = [len(one & other) / len(one | other) for one, other in itertools.combinations(sets, 2)]
        cs2 = float((held >= 2).mean()) * (0.97 if matched else 1.0)

        def kind(threshold: float) -> str:
            return "consistent" if cs2 >= threshold else "inconsistent"

        self.consistency.append(
            {"localizer": localizer, "matched": matched, "fact": fact["fact"], "relation": fact["relation"],
             "queries": len(sets), "size": float(np.mean([len(one) for one in sets])),
             "cs1": float((held == len(sets)).mean()), "cs2": cs2, "jaccard": float(np.mean(pairs)),
             "kind_static": kind(0.3), "kind_otsu": kind(0.38)}
        )  # fmt: skip

    def _scores(self, localizer: str, measure: str = "cs2") -> np.ndarray:
        return np.array([
            row[measure] for row in self.consistency if row["localizer"] == localizer and row["matched"]
        ])  # fmt: skip

    def thresholds(self) -> Iterator[Row]:
        highest = np.max([self._scores(name) for name in LOCALIZERS], axis=0)
        for name, scores in [*((name, self._scores(name)) for name in LOCALIZERS), ("all", highest)]:
            for rule, threshold in [*(("static", value) for value in THRESHOLDS), ("otsu", 0.38)]:
                below = (scores < threshold).astype(float)
                means = self.numbers.choice(below, (400, len(below))).mean(axis=1)
                low, high = np.quantile(means, [0.025, 0.975]).tolist()
                yield {"localizer": name, "rule": rule, "threshold": threshold, "share": float(below.mean()),
                       "low": low, "high": high, "n": len(below)}  # fmt: skip

    def nulls(self) -> Iterator[Row]:
        kinds = {"queries of other facts of the relation": 1.0, "queries of other relations": 0.3}
        for name, (null, part), measure in itertools.product(LOCALIZERS, kinds.items(), ("cs2", "jaccard")):
            observed = float(self._scores(name, measure).mean())
            expected = self.truth.null * part * (1.0 if measure == "cs2" else 0.5)
            above = observed > expected + 0.01
            yield {"localizer": name, "null": null, "measure": measure, "observed": observed, "expected": expected,
                   "low": expected - 0.01, "high": expected + 0.01, "p": 0.001 if above else 0.62, "draws": 999,
                   "facts": len(self.facts)}  # fmt: skip

    def noise(self) -> Iterator[Row]:
        for name in LOCALIZERS:
            yield {"localizer": name, "what": "the same queries, located with other steps",
                   "jaccard": self.truth.noise, "low": self.truth.noise - 0.02, "high": self.truth.noise + 0.02,
                   "n": len(self.facts)}  # fmt: skip

    def tests(self) -> Iterator[Row]:
        for name in LOCALIZERS:
            shared: Row = {"localizer": name, "n": len(self.facts)}
            yield {**shared, "test": "Welch, scores split by their own threshold", "statistic": 14.2, "p": 2e-21,
                   "effect": 3.1, "low": 2.6, "high": 3.9}  # fmt: skip
            yield {**shared, "test": "Welch, second half of the queries", "statistic": 2.9, "p": 0.005,
                   "effect": 0.7, "low": 0.2, "high": 1.2}  # fmt: skip
            yield {**shared, "test": "permutation, second half of the queries", "statistic": 0.09, "p": 0.004,
                   "effect": None, "low": None, "high": None}  # fmt: skip

    def _touched(self) -> Iterator[tuple[Row, str]]:
        for offset, kind in enumerate(self.truth.kinds):
            for fact in self.facts[offset :: len(self.truth.kinds)][: self.truth.touched]:
                yield fact, kind

    def mapping(self) -> Iterator[Row]:
        parts = {"union": 1.1, "in 2 or more": 0.45, "intersection": 0.1, "unrelated": 0.06,
                 "random like own": 0.02, "random like union": 0.03}  # fmt: skip
        for (fact, kind), at, (name, size), operation in itertools.product(
            list(self._touched()), range(self.truth.queries), SETS.items(), ("suppress", "enhance")
        ):
            other = 0.8 * self.truth.own if kind == "consistent" else self.truth.neighbour
            mean = self.truth.own * parts.get(name, 1.0) if name != "neighbour" else other
            mean = mean if operation == "suppress" else -0.25 * mean
            empty = name == "intersection" and at % 2 == 0
            change = None if empty else max(-0.99, self.near(mean, 0.15))
            before = float(self.numbers.beta(5, 1))
            yield {"localizer": "dai", "fact": fact["fact"], "relation": fact["relation"], "kind": kind,
                   "query": f"{fact['fact']}#{at}", "set": name, "size": 0 if empty else round(14 * size),
                   "operation": operation, "before": before, "change": change,
                   "after": None if change is None else before * (1 + change)}  # fmt: skip

    def synapses(self) -> Iterator[Row]:
        weighings = {"raw": 1.0, "normalised": 0.8, "without the first token": 0.55}
        for (fact, kind), at, columns, (weighing, part), operation in itertools.product(
            list(self._touched()), range(2), ("own", "irrelevant"), weighings.items(), ("suppress", "enhance")
        ):
            mean = part * (self.truth.synapses if columns == "own" else self.truth.irrelevant)
            mean = mean if operation == "suppress" else -0.4 * mean
            moved, change = self.near(mean), max(-0.99, self.near(0.9 * mean, 0.12))
            start, before = float(self.numbers.gamma(4, 0.1)), float(self.numbers.beta(5, 1))
            yield {"fact": fact["fact"], "relation": fact["relation"], "kind": kind,
                   "query": f"{fact['fact']}#{at}", "columns": columns, "weighing": weighing, "count": 11,
                   "operation": operation, "activation_before": start, "activation_after": start * (1 + moved),
                   "activation_change": moved, "before": before, "after": before * (1 + change),
                   "change": change}  # fmt: skip

    def activations(self) -> Iterator[Row]:
        for kind, name in itertools.product(self.truth.kinds, ("first", "second")):
            fact = next(fact for fact, own in self._touched() if own == kind)
            query = f"{fact['fact']}#{('first', 'second').index(name)}"
            own = {
                (row["layer"], row["neuron"])
                for row in self.neurons
                if row["query"] == query and row["localizer"] == "dai"
            }
            values = np.abs(self.numbers.standard_normal((LAYERS, NEURONS))) ** 3 * 0.15 - 0.05
            for (layer, neuron), when in itertools.product(
                np.ndindex(LAYERS, NEURONS), ("untouched", "synapses suppressed")
            ):
                value = float(values[layer, neuron]) + 1.5 * ((layer, neuron) in own)
                part = 1 + self.truth.synapses if when != "untouched" and (layer, neuron) in own else 1.0
                yield {"shown": f"{kind}, {name} query", "kind": kind, "fact": fact["fact"], "query": query,
                       "prompt": f"Wording {name} of {fact['fact']}{self.truth.hostile} is", "layer": layer,
                       "neuron": neuron, "activation": value * part, "when": when}  # fmt: skip

    def edits(self) -> Iterator[Row]:
        shares = {"N_i": (0.9, 0.4, 0.95), "N_g": (0.9, 0.6, 0.7), "random": (0.05, 0.04, 0.98)}
        gain = self.truth.gain
        shares["CAS"] = (0.9, 0.4 + gain, 0.7 + gain / 2)
        for localizer, (fact, kind), name, sizing, operation in itertools.product(
            ("dai", "amig"), list(self._touched()), shares, ("as found", "equal size"), ("erase", "update")
        ):
            rel, gen, loc = (float(np.clip(self.near(value, 0.15), 0, 1)) for value in shares[name])
            harm = self.near(0.4 - gain if name == "CAS" else 0.4 * (name == "N_g"), 0.05)
            yield {"localizer": localizer, "fact": fact["fact"], "relation": fact["relation"], "kind": kind,
                   "set": name, "sizing": sizing, "size": 14 if sizing == "equal size" or name == "N_i" else 40,
                   "operation": operation, "reliability": float(rel > 0.5), "generalisation": gen, "locality": loc,
                   "average": (float(rel > 0.5) + gen + loc) / 3, "reliability_before": 0.1,
                   "generalisation_before": 0.12, "cloze_change": harm,
                   "text_change": 0.6 * harm if self.truth.texts else None}  # fmt: skip

    def alphas(self) -> Iterator[Row]:
        for alpha, (weighing, part) in itertools.product(
            (0.1, 0.2, 0.3, 0.4, 0.5), {"raw": 1.0, "normalised": 0.8, "without the first token": 0.5}.items()
        ):
            change = part * self.truth.synapses * (0.6 - alpha) / 0.3
            yield {"alpha": alpha, "weighing": weighing, "columns_mean": 4 / alpha, "share_of_columns": 0.02 / alpha,
                   "activation_change": 0.9 * change, "change": change, "low": change - 0.05, "high": change + 0.05,
                   "n": self.truth.touched}  # fmt: skip

    def betas(self) -> Iterator[Row]:
        for beta, operation in itertools.product((0.0, 0.5, 1.0, 2.0), ("erase", "update")):
            yield {"beta2": beta, "set": "CAS", "sizing": "equal size", "operation": operation, "reliability": 0.9,
                   "generalisation": 0.45 + 0.05 * beta, "locality": 0.8 - 0.03 * beta, "average": 0.72,
                   "cloze_change": 0.3 - 0.02 * beta, "n": self.truth.touched}  # fmt: skip

    def costs(self) -> Iterator[Row]:
        for name, seconds, passes in (("dai", 21.4, 9.0), ("sig", 160.2, 61.0), ("amig", 148.9, 61.0)):
            yield {"localizer": name, "queries": len(self.facts) * self.truth.queries, "seconds": seconds,
                   "passes": passes * len(self.facts) * self.truth.queries, "peak_mb": 412.5}  # fmt: skip
