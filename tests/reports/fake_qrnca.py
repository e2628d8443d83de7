"""Made-up folders of a QRNCA run, for pages without a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from pages import written

LAYERS, BINS, WIDTH = 6, 24, 256
GROUPS = ("biology", "chemistry", "computer science", "geography", "mathematics", "physics")
METHODS = {
    "qrnca": 1.0,
    "qrnca without ICA": 0.9,
    "qrnca with common neurons": 1.3,
    "qrnca, as few as knowledge neurons": 0.6,
    "knowledge neurons": 0.6,
    "activation": 0.05,
    "random": 0.0,
}
EVALUATIONS = {
    "held-out question": 0.5,
    "known question": 0.7,
    "held-out template": 0.8,
    "seen templates": 0.9,
    "in-sample": 1.0,
}
LETTERS = "ABCD"
Row = dict[str, object]


@dataclass(frozen=True)
class Truth:
    """What the made-up run is to show.

    Attributes:
        boost, suppress: relative change of P(right letter) of related questions when QRNCA's neurons are touched.
        spill: part of that which unrelated questions change by, by method; QRNCA's is `spill["qrnca"]`.
        own: part of the shuffled questions' overlap by which a pair of groups is below it.
        predicted: accuracy of the rules that predict from a group's own neurons; of the best two, from others, less
            `gain`.
        blocks: whether overlaps are compared with shuffled relations too.
        hostile: put into every name and text.
    """

    boost: float = 0.4
    suppress: float = -0.45
    spill: dict[str, float] = field(
        default_factory=lambda: {
            "qrnca": 0.1,
            "qrnca without ICA": 0.4,
            "qrnca with common neurons": 0.45,
            "qrnca, as few as knowledge neurons": 0.5,
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
    gain: float = 0.2
    blocks: bool = True
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
        for name in (
            "prompts",
            "clusters",
            "neurons",
            "common",
            "changes",
            "editing",
            "prediction",
            "gains",
            "counts",
        )
    }
    tables |= {
        name: list(getattr(made, name)()) for name in ("overlap", "likeness", "wrong", "layers", "regions", "costs")
    }
    tables |= {"questions": made.questions, "ratios": list(made.ratios(tables["changes"]))}
    return written(folder, tables, _manifest(truth))


def _manifest(truth: Truth) -> Row:
    settings = {
        "mode": "paper", "settings": {"steps": 16}, "decimals": None, "contrast": False, "wrong": True, "share": 0.2,
        "common": 0.3, "top": 20,
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
            {"question": f"{group}/{place}", "fact": f"{group}/{place}", "relation": f"{group} {place % 3}",
             "group": group, "text": f"What is {place} of {group}?",
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
            yield {"question": question["question"], "fact": question["fact"], "group": question["group"],
                   "prompt": f"{question['question']}#{at}", "template": f"t{at}", "options": 4, "letter": letter,
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
            for (method, strength), asked in itertools.product(METHODS.items(), ("related", "unrelated")):
                if evaluation.endswith("question") and "as few as" in method:
                    continue
                mean = size * part * strength * (1.0 if asked == "related" else self.truth.spill[method])
                before = float(self.numbers.beta(5, 3))
                change = max(-0.99, self.near(mean, 0.3 * abs(mean) + 0.03))
                yield {"method": method, "question": question["question"], "fact": question["fact"],
                       "group": question["group"], "asked": asked, "evaluation": evaluation, "operation": operation,
                       "size": 14 + 2 * (method == "qrnca with common neurons"), "matched": True, "before": before,
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
        for method, evaluation, operation, asked, turned, of in itertools.product(
            METHODS, EVALUATIONS, ("boost", "suppress"), ("related", "unrelated"),
            ("wrong to right", "right to wrong"), ("all", "eligible"),
        ):  # fmt: skip
            meant = (operation == "boost") == (turned == "wrong to right") and asked == "related"
            share = self.truth.flipped * METHODS[method] * EVALUATIONS[evaluation] if meant else 0.01
            yield {"method": method, "evaluation": evaluation, "operation": operation, "asked": asked,
                   "turned": turned, "of": of,
                   **self._interval("share", share * (1.0 if of == "eligible" else 0.4), 0.03, n)}  # fmt: skip

    def rules(self) -> Iterator[tuple[str, str, float]]:
        """Each rule's accuracy with each pool."""
        best, gain = self.truth.predicted, self.truth.gain
        for rule, own, less in (
            ("value vectors", best, gain),
            ("only these neurons", best - 0.1, gain),
            ("others at their mean", best - 0.02, 0.0),
            ("appended answers", 0.27, 0.0),
        ):
            yield rule, "own", own
            yield rule, "none", 0.25
            yield rule, "random", own - less
            yield rule, "another group's", own - less

    def prediction(self) -> Iterator[Row]:
        for group in ("all", *self.groups):
            n = len(self.questions) if group == "all" else self.truth.questions
            wide = 0.06 if group == "all" else 0.2
            for rule, accuracy in (("chance", 0.25), ("full model", self.truth.right)):
                yield {"group": group, "pool": "", "size": None, "rule": rule,
                       **self._interval("accuracy", accuracy, wide * (rule != "chance"), n)}  # fmt: skip
            for rule, pool, accuracy in self.rules():
                yield {"group": group, "pool": pool, "size": 40.0 * (pool != "none"), "rule": rule,
                       **self._interval("accuracy", accuracy, wide, n)}  # fmt: skip

    def gains(self) -> Iterator[Row]:
        for group in ("all", *self.groups):
            own = {rule: accuracy for rule, pool, accuracy in self.rules() if pool == "own"}
            for rule, pool, accuracy in self.rules():
                if pool != "own":
                    gain = own[rule] - accuracy
                    yield {"group": group, "rule": rule, "against": pool, "gain": gain, "low": gain - 0.08,
                           "high": gain + 0.08, "n": len(self.questions)}  # fmt: skip

    def counts(self) -> Iterator[Row]:
        for method, (place, group) in itertools.product(METHODS, enumerate(self.groups)):
            mean = 11.1 + 0.6 * place + 2 * (method == "qrnca with common neurons")
            yield {"method": method, "group": group,
                   **self._interval("neurons", mean, 0.8, self.truth.questions)}  # fmt: skip

    def overlap(self) -> Iterator[Row]:
        nulls = {"questions": "questions", "blocks": "relations"} if self.truth.blocks else {"questions": "questions"}
        for measure, (null, shuffled), (place, (first, second)) in itertools.product(
            ("jaccard", "dice"), nulls.items(), enumerate(itertools.combinations(self.groups, 2))
        ):
            expected = 0.3 if measure == "jaccard" else 0.46
            # One pair in five is as shuffled relations are; of questions none is
            alike = null == "blocks" and place % 5 == 0
            observed = expected * (1 - self.truth.own) if place % 5 else expected + 0.004
            yield {"measure": measure, "null": null, "shuffled": shuffled, "first": first, "second": second,
                   "observed": observed + 0.002 * place, "expected": expected + 0.2 * (null == "questions"),
                   "low": expected - 0.02, "high": expected + 0.02, "p": 0.7 if alike else 0.002,
                   "why": ""}  # fmt: skip
        if not self.truth.blocks:
            why = "no relation within the groups is known"
            row: Row = dict.fromkeys(("first", "second", "observed", "expected", "low", "high", "p"))
            yield {"measure": "jaccard", "null": "blocks", "shuffled": why, **row, "why": why}

    def likeness(self) -> Iterator[Row]:
        for kind, jaccard in (
            ("same block, same group", 0.2),
            ("other block, same group", 0.06),
            ("other block, other group", 0.03),
            ("gap", 0.03),
        ):
            null = {"expected": 0.001, "low": -0.01, "high": 0.01, "p": 0.002}
            yield {"kind": kind, "shuffled": "relations", "jaccard": jaccard, "pairs": None if kind == "gap" else 40,
                   **(null if kind == "gap" else dict.fromkeys(null))}  # fmt: skip

    def wrong(self) -> Iterator[Row]:
        for question in self.questions:
            yield {"question": question["question"], "group": question["group"], "place": 1, "right": 20, "wrong": 18,
                   "jaccard": 0.02, "another": 0.06}  # fmt: skip

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
