"""Made-up folders of a QRNCA run, for pages without a model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

LAYERS, BINS, WIDTH = 6, 24, 256
GROUPS = ("biology", "chemistry", "computer science", "geography", "mathematics", "physics")
METHODS = {
    "qrnca": 1.0,
    "qrnca without ICA": 0.9,
    "qrnca with common neurons": 1.3,
    "knowledge neurons": 0.6,
    "activation": 0.05,
    "random": 0.0,
}
EVALUATIONS = {"held-out question": 0.5, "held-out template": 0.8, "in-sample": 1.0}
LETTERS = "ABCD"
Row = dict[str, object]


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        boost, suppress: relative change of P(right letter) of related questions when QRNCA's neurons are touched.
        spill: part of that which unrelated questions change by, by method; QRNCA's is `spill["qrnca"]`.
        own: part of the shuffled questions' overlap by which a pair of groups is below it.
        predicted: accuracy of the rules that predict from neurons.
        hostile: put into every name and text.
    """

    boost: float = 0.4
    suppress: float = -0.45
    spill: dict[str, float] = field(
        default_factory=lambda: {
            "qrnca": 0.1,
            "qrnca without ICA": 0.4,
            "qrnca with common neurons": 0.45,
            "knowledge neurons": 0.5,
            "activation": 1.0,
            "random": 1.0,
        }
    )
    right: float = 0.72
    mass: float = 0.9
    own: float = 0.5
    flipped: float = 0.2
    predicted: float = 0.5
    groups: Sequence[str] = GROUPS
    questions: int = 12
    templates: int = 3
    hostile: str = ""
    status: str = "complete"
    seed: int = 0


def fake_run(folder: Path, truth: Truth = Truth()) -> Path:
    """A run folder whose tables are consistent with each other, as far as a page can tell."""
    made = _Made(truth)
    tables = {
        name: list(getattr(made, name)())
        for name in ("prompts", "clusters", "neurons", "common", "changes", "editing", "prediction", "counts")
    }
    tables |= {name: list(getattr(made, name)()) for name in ("overlap", "layers", "regions", "costs")}
    tables |= {"questions": made.questions, "ratios": list(made.ratios(tables["changes"]))}
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "tables" / f"{name}.parquet")
    (folder / "manifest.json").write_text(json.dumps(_manifest(truth), ensure_ascii=False), encoding="utf-8")
    return folder


def _manifest(truth: Truth) -> Row:
    settings = {
        "mode": "paper", "settings": {"steps": 16}, "contrast": False, "share": 0.2, "common": 0.3, "top": 20,
        "aggregate": "ratio-of-means", "draws": 1000, "seed": truth.seed,
    }  # fmt: skip
    questions = truth.questions * len(truth.groups)
    return {
        "recipe": "qrnca", "model": "almanac" + truth.hostile, "revision": None, "dtype": "float32",
        "package": "0.1.0", "source": "almanac" + truth.hostile,
        "drawn": {"groups": ["biology", "geography"], "limit": 30, "known_only": True, "chat": False},
        "questions": questions, "prompts": questions * truth.templates, "data": "7d1f0c9ab2e4", "settings": settings,
        "status": truth.status, "seconds": 612.4,
    }  # fmt: skip


class _Made:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.numbers = np.random.default_rng(truth.seed)
        self.groups = [group + truth.hostile for group in truth.groups]
        self.questions: list[Row] = [
            {"question": f"{group}/{place}", "group": group, "text": f"What is {place} of {group}?",
             "answer": f"answer {place}", "prompts": truth.templates}
            for group in self.groups for place in range(truth.questions)
        ]  # fmt: skip

    def near(self, value: float, spread: float = 0.08) -> float:
        return float(value + spread * self.numbers.standard_normal())

    def _interval(self, name: str, mean: float, wide: float, n: int) -> Row:
        low, high = max(0.0, mean - wide), mean + wide
        return {name: mean, "low": low, "high": high, "n": n}

    def prompts(self) -> Iterator[Row]:
        for question, at in itertools.product(self.questions, range(self.truth.templates)):
            letter = str(self.numbers.choice(list(LETTERS)))
            right = bool(self.numbers.random() < self.truth.right)
            other = LETTERS[(LETTERS.index(letter) + 1) % 4]
            mass = float(np.clip(self.near(self.truth.mass, 0.05), 0.0, 1.0))
            yield {"question": question["question"], "group": question["group"],
                   "prompt": f"{question['question']}#{at}", "template": f"t{at}", "letter": letter,
                   "predicted": letter if right else other, "right": right,
                   "probability": mass * (0.7 if right else 0.15), "mass": mass,
                   "length": int(self.numbers.integers(90, 130))}  # fmt: skip

    def clusters(self) -> Iterator[Row]:
        for question in self.questions:
            for rank in range(20):
                score = float(self.numbers.gamma(2.0, 0.01))
                yield {"question": question["question"], "group": question["group"], "layer": rank % LAYERS,
                       "neuron": int(self.numbers.integers(WIDTH)), "score": score, "ica": 2.0, "naica": 2 * score,
                       "templates": 3}  # fmt: skip

    def neurons(self) -> Iterator[Row]:
        for method, question in itertools.product(METHODS, self.questions[:10]):
            yield {"method": method, "question": question["question"], "group": question["group"], "layer": 1,
                   "neuron": 2, "score": 0.1, "rank": 1}  # fmt: skip

    def common(self) -> Iterator[Row]:
        for place in range(9):
            yield {"layer": LAYERS - 1 - place // 6, "neuron": 17 * place, "clusters": 40 - 2 * place,
                   "share": (40 - 2 * place) / len(self.questions),
                   "promotes": ", ".join([" B", " C", " of", " in", " March", f" word{place}{self.truth.hostile}"]),
                   "demotes": ", ".join([" the", " a", "\n", " not"])}  # fmt: skip

    def changes(self) -> Iterator[Row]:
        sizes = {"boost": self.truth.boost, "suppress": self.truth.suppress}
        for (operation, size), (evaluation, part), question in itertools.product(
            sizes.items(), EVALUATIONS.items(), self.questions
        ):
            if evaluation == "held-out question" and int(str(question["question"]).rpartition("/")[2]) % 2:
                continue
            for (method, strength), asked in itertools.product(METHODS.items(), ("related", "unrelated")):
                mean = size * part * strength * (1.0 if asked == "related" else self.truth.spill[method])
                before = float(self.numbers.beta(5, 3))
                change = max(-0.99, self.near(mean, 0.3 * abs(mean) + 0.03))
                yield {"method": method, "question": question["question"], "group": question["group"],
                       "asked": asked, "evaluation": evaluation, "operation": operation,
                       "size": 14 + 2 * (method == "qrnca with common neurons"), "before": before,
                       "after": min(1.0, before * (1 + change))}  # fmt: skip

    def ratios(self, changes: list[Row]) -> Iterator[Row]:
        table = pl.DataFrame(changes, infer_schema_length=None)
        for (method, evaluation, operation), rows in table.partition_by(
            "method", "evaluation", "operation", as_dict=True, maintain_order=True
        ).items():
            for group in ("all", *self.groups):
                some = rows if group == "all" else rows.filter(pl.col("group") == group)
                yield {"method": method, "group": group, "evaluation": evaluation, "operation": operation,
                       **self._terms(some)}  # fmt: skip

    def _terms(self, rows: pl.DataFrame) -> Row:
        sides = {}
        for side in ("related", "unrelated"):
            own = rows.filter(pl.col("asked") == side)
            before, after = own["before"].to_numpy(), own["after"].to_numpy()
            drawn = self.numbers.integers(len(own), size=(300, len(own)))
            sides[side] = (after - before)[drawn].mean(axis=1) / before[drawn].mean(axis=1)
        ratios = np.abs(sides["related"]) / np.abs(sides["unrelated"])
        row: Row = {}
        for name, values in (*sides.items(), ("ratio", ratios)):
            low, middle, high = np.quantile(values, [0.025, 0.5, 0.975]).tolist()
            row |= {name: middle, f"{name}_low": low, f"{name}_high": high}
        low, high = np.quantile(sides["unrelated"], [0.025, 0.975])
        n = rows.filter(pl.col("asked") == "related")["question"].n_unique()
        return {**row, "kind": "finite", "bounded": bool(low > 0 or high < 0), "n": n}

    def editing(self) -> Iterator[Row]:
        n = len(self.questions)
        for method, evaluation, operation, turned, of in itertools.product(
            METHODS, EVALUATIONS, ("boost", "suppress"), ("wrong to right", "right to wrong"), ("all", "eligible")
        ):
            meant = (operation == "boost") == (turned == "wrong to right")
            share = self.truth.flipped * METHODS[method] * EVALUATIONS[evaluation] if meant else 0.01
            yield {"method": method, "evaluation": evaluation, "operation": operation, "turned": turned, "of": of,
                   **self._interval("share", share * (1.0 if of == "eligible" else 0.4), 0.03, n)}  # fmt: skip

    def prediction(self) -> Iterator[Row]:
        best = self.truth.predicted
        rules = {"full model": self.truth.right, "value vectors": best, "only these neurons": best - 0.1,
                 "others at their mean": best - 0.02, "appended answers": 0.27}  # fmt: skip
        for group in ("all", *self.groups):
            n = len(self.questions) // 2 if group == "all" else self.truth.questions // 2
            yield {"group": group, "rule": "chance", "accuracy": 0.25, "low": 0.25, "high": 0.25, "n": n}
            for rule, accuracy in rules.items():
                yield {"group": group, "rule": rule,
                       **self._interval("accuracy", accuracy, 0.06 if group == "all" else 0.2, n)}  # fmt: skip

    def counts(self) -> Iterator[Row]:
        for method, (place, group) in itertools.product(METHODS, enumerate(self.groups)):
            mean = 11.1 + 0.6 * place + 2 * (method == "qrnca with common neurons")
            yield {"method": method, "group": group,
                   **self._interval("neurons", mean, 0.8, self.truth.questions)}  # fmt: skip

    def overlap(self) -> Iterator[Row]:
        for measure, (place, (first, second)) in itertools.product(
            ("jaccard", "dice"), enumerate(itertools.combinations(self.groups, 2))
        ):
            expected = 0.3 if measure == "jaccard" else 0.46
            # One pair in five is as shuffled questions are
            observed = expected * (1 - self.truth.own) if place % 5 else expected + 0.004
            p = 0.002 if abs(observed - expected) > 0.02 else 0.7
            yield {"measure": measure, "first": first, "second": second, "observed": observed + 0.002 * place,
                   "expected": expected, "low": expected - 0.02, "high": expected + 0.02, "p": p}  # fmt: skip

    def layers(self) -> Iterator[Row]:
        for group, layer in itertools.product(self.groups, range(LAYERS)):
            occurrences = int(40 * np.exp(-((layer - 3) ** 2) / 3) + self.numbers.integers(1, 8))
            yield {"group": group, "layer": layer, "neurons": occurrences // 2 + 1, "occurrences": occurrences}

    def regions(self) -> Iterator[Row]:
        for group, layer, place in itertools.product(self.groups, range(LAYERS), range(BINS)):
            if self.numbers.random() < 0.4:
                yield {"group": group, "layer": layer, "bin": place, "start": round(place * WIDTH / BINS),
                       "occurrences": int(self.numbers.integers(1, 9)),
                       "weight": float(self.numbers.gamma(0.6, 0.2))}  # fmt: skip

    def costs(self) -> Iterator[Row]:
        n = len(self.questions)
        yield {"stage": "attribution", "questions": n, "prompts": 3 * n, "tokens": 109.4, "seconds": 0.31 * n}
        yield {"stage": "attribution, layer by layer", "questions": 4, "prompts": 12, "tokens": 109.4,
               "seconds": 9.8}  # fmt: skip
