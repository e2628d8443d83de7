"""QRNCA: the neurons behind answers of any length, found through multiple choice.

The method and experiments of Chen, Dejl and Toni 2025, arXiv:2406.10868, with controls: query-relevant neurons by
inverse cluster attribution, beside the paper's baselines and ablations, judged in-sample as the paper does and on
templates and questions that nothing was located with.

    from locant.recipes.qrnca import Plan, run_qrnca
    run_qrnca(lm, questions, folder, Plan(), source="almanac")
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from locant.errors import UnknownName
from locant.evaluations.letters import letter_probabilities
from locant.models import LanguageModel
from locant.models.weights import fingerprint
from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca.counted import cluster_rows, common_rows, count_rows, layer_rows, overlap_rows, region_rows
from locant.recipes.qrnca.judged import change_rows, editing_rows, prediction_rows, ratio_rows
from locant.recipes.qrnca.located import PARTS, Located, locate, located_in
from locant.recipes.qrnca.plan import METHODS, Plan
from locant.recipes.qrnca.predicted import mean_activations, predict
from locant.recipes.qrnca.touched import (
    Letters,
    Sets,
    cases,
    choose_for_groups,
    choose_neurons,
    group_cases,
    halves,
    touch,
)
from locant.selections.share import union
from locant.sweeps import RunFolder
from locant.sweeps.run import Manifest
from locant.sweeps.units import Unit, fill_table, save_table
from locant.types import Selection

__all__ = ["METHODS", "Plan", "run_qrnca"]

One = TypeVar("One")
Say = Callable[[str, int], Callable[[int], None]]
"""Told what begins and how many units it has; returns what is called with the number of units done."""
AT_ONCE = 8
"""Questions in a unit of work."""


def run_qrnca(
    lm: LanguageModel,
    questions: Sequence[ChoiceQuestion],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    say: Say = lambda what, units: lambda done: None,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        questions: of two groups or more, all with the same letters and as many prompts.
        source: where the questions come from, for the manifest.
        drawn: and how they were drawn from it (settings of `select_choices`).
        say: for progress.

    Returns:
        The folder.

    Raises:
        BadQuery: a question cannot be asked of this model; nothing has been written then.
        UnknownName: there are too few questions, or they do not go together.
        BadFile: the folder holds another run.
    """
    _refuse(lm, questions)
    run = RunFolder(folder)
    manifest = _manifest(lm, questions, plan, {"source": source, "drawn": dict(drawn or {})})
    run.check(manifest)
    run.open(manifest)
    work = _Work(lm, questions, plan, run, manifest, say)
    letters = work.ask()
    found = work.locate()
    sets = {part: choose_neurons(one, plan) for part, one in found.items()}
    work.count(found[PARTS[0]], sets[PARTS[0]])
    work.judge(found[PARTS[0]], sets, letters)
    run.finish(manifest)
    return folder


def _refuse(lm: LanguageModel, questions: Sequence[ChoiceQuestion]) -> None:
    groups = {question.group for question in questions}
    if len(groups) < 2:
        raise UnknownName(f"questions of one group are compared with those of others; there are {len(groups)} groups")
    prompts = [prompt for question in questions for prompt in question.prompts]
    letters = sorted({len(prompt.letters) for prompt in prompts})
    if len(letters) != 1:
        raise UnknownName(
            f"a run takes questions with equally many options; these have {letters[0]} to {letters[-1]}"
        )
    counts = sorted({len(question.prompts) for question in questions})
    if len(counts) != 1:
        raise UnknownName(f"a run takes questions in equally many templates; these have {counts[0]} to {counts[-1]}")
    for prompt in prompts:
        lm.tokens(prompt.query)


def _manifest(
    lm: LanguageModel, questions: Sequence[ChoiceQuestion], plan: Plan, place: Mapping[str, object]
) -> Manifest:
    data = repr([[prompt.query for prompt in question.prompts] for question in questions])
    made_by = lm.provenance("qrnca", {}, plan.seed)
    return {
        "recipe": "qrnca",
        **{name: getattr(made_by, name) for name in ("model", "revision", "dtype", "package")},
        "weights": fingerprint(lm.model),
        **place,
        "questions": len(questions),
        "prompts": sum(len(question.prompts) for question in questions),
        "data": hashlib.sha256(data.encode()).hexdigest()[:20],
        "settings": plan.plain(),
    }


@dataclass(frozen=True)
class _Work:
    """A run in progress: each method fills the tables of one experiment."""

    lm: LanguageModel
    questions: Sequence[ChoiceQuestion]
    plan: Plan
    run: RunFolder
    manifest: Manifest
    say: Say

    @property
    def groups(self) -> dict[str, str]:
        return {question.uid: question.group for question in self.questions}

    def ask(self) -> Letters:
        """What the model answers, and whether with a letter at all."""
        self._save(
            "questions",
            [
                {
                    "question": one.uid,
                    "group": one.group,
                    "text": one.question,
                    "answer": one.answer,
                    "prompts": len(one.prompts),
                }
                for one in self.questions
            ],
        )
        asked = [(question, prompt) for question in self.questions for prompt in question.prompts]
        names = asked[0][1].letters
        found = letter_probabilities(self.lm, [prompt.query for _, prompt in asked], names)
        rows = [
            {
                "question": question.uid,
                "group": question.group,
                "prompt": prompt.query.uid,
                "template": prompt.query.template,
                "letter": prompt.query.answer,
                "predicted": names[int(own.argmax())],
                "right": names[int(own.argmax())] == prompt.query.answer,
                "probability": float(own[prompt.right]),
                "mass": float(own.sum()),
                "length": self.lm.tokens(prompt.query).length,
            }
            for (question, prompt), own in zip(asked, found, strict=True)
        ]
        self._save("prompts", rows)
        return {prompt.query.uid: own for (_, prompt), own in zip(asked, found, strict=True)}

    def locate(self) -> dict[str, Located]:
        """Every question's cluster, with all templates and without the last."""
        units = [
            Unit([one.uid for one in batch], partial(locate, self.lm, batch, self.plan))
            for batch in _batches(self.questions)
        ]
        found = self._fill("located", units, "locating")
        grid = (self.lm.layers, self.lm.neurons)
        batches = found.unique("batch", keep="first", maintain_order=True)
        prompts = int(batches["batch_prompts"].sum())
        self._save(
            "costs",
            [
                {
                    "stage": "attribution",
                    "questions": len(self.questions),
                    "prompts": prompts,
                    "tokens": float((batches["batch_tokens"] * batches["batch_prompts"]).sum()) / prompts,
                    "seconds": float(batches["batch_seconds"].sum()),
                }
            ],
        )
        return {part: located_in(found, part, self.questions, grid) for part in PARTS}

    def count(self, found: Located, sets: Sets) -> None:
        """Where the neurons are, how many, and what groups share."""
        own, groups, plan = sets["qrnca"], self.groups, self.plan
        self._save("clusters", list(cluster_rows(found, groups)))
        self._save("neurons", [row for method in METHODS for row in _neuron_rows(method, sets[method], groups)])
        self._save("common", list(common_rows(self.lm, found, plan)))
        self._save("counts", [row for method in METHODS for row in count_rows(method, sets[method], groups)])
        self._save("overlap", list(overlap_rows(own, groups, plan)))
        self._save("layers", list(layer_rows(own, groups)))
        self._save("regions", list(region_rows(own, groups)))

    def judge(self, found: Located, sets: Mapping[str, Sets], letters: Letters) -> None:
        """What touching the neurons does, and what they say by themselves."""
        plan, questions = self.plan, self.questions
        known, unknown = halves(questions, plan.seed)
        by_group = choose_for_groups(found, known, plan)
        units = [
            Unit([one.uid for one in batch], partial(self._touch, batch, sets, letters))
            for batch in _batches(questions)
        ]
        units += [
            Unit(
                ["held-out question", *(one.owner.uid for one in batch)],
                partial(touch, self.lm, batch, by_group, letters, True),
            )
            for batch in _batches(list(group_cases(unknown, plan.seed)))
        ]
        touched = self._fill("touched", units, "boosting and suppressing")
        self._save("changes", list(change_rows(touched)))
        self._save("ratios", list(ratio_rows(touched, plan)))
        self._save("editing", list(editing_rows(touched, plan)))
        pools, usual = _pooled(sets[PARTS[0]]["qrnca"], known), mean_activations(self.lm, known)
        units = [
            Unit([one.uid for one in batch], partial(predict, self.lm, batch, pools, letters, usual))
            for batch in _batches(unknown)
        ]
        self._save("prediction", list(prediction_rows(self._fill("predicted", units, "predicting"), plan)))

    def _touch(self, batch: Sequence[ChoiceQuestion], sets: Mapping[str, Sets], letters: Letters) -> pl.DataFrame:
        mine = {one.uid for one in batch}
        asked = [case for case in cases(self.questions, self.plan.seed) if case.owner.uid in mine]
        parts = zip(("in-sample", "held-out template"), PARTS, strict=True)
        tables = [
            touch(self.lm, some, sets[part], letters, False)
            for evaluation, part in parts
            if (some := [case for case in asked if case.evaluation == evaluation])
        ]
        return pl.concat(tables)

    def _fill(self, name: str, units: Sequence[Unit], what: str) -> pl.DataFrame:
        return fill_table(self.run, self.manifest, name, units, self.say(what, len(units)))

    def _save(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        save_table(self.run, name, [pl.DataFrame(rows, infer_schema_length=None)] if rows else [])


def _batches(some: Sequence[One]) -> list[Sequence[One]]:
    return [some[start : start + AT_ONCE] for start in range(0, len(some), AT_ONCE)]


def _neuron_rows(method: str, sets: Mapping[str, Selection], groups: Mapping[str, str]) -> list[dict[str, object]]:
    return [
        {
            "method": method,
            "question": uid,
            "group": groups[uid],
            "layer": int(chosen.units[place, 0]),
            "neuron": int(chosen.units[place, 1]),
            "score": float(chosen.weight[place]),
            "rank": rank,
        }
        for uid, chosen in sets.items()
        for rank, place in enumerate(chosen.weight.argsort(descending=True, stable=True).tolist(), start=1)
    ]


def _pooled(sets: Mapping[str, Selection], known: Sequence[ChoiceQuestion]) -> dict[str, Selection]:
    """By group, the neurons of any of some questions."""
    groups = dict.fromkeys(question.group for question in known)
    return {group: union([sets[one.uid] for one in known if one.group == group]) for group in groups}
