"""A run in progress: each method fills the tables of one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from locant.evaluations.letters import letter_probabilities
from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca import counted, judged
from locant.recipes.qrnca.asked import blocks_of
from locant.recipes.qrnca.cases import HALVES, Case, cases, group_cases, halves
from locant.recipes.qrnca.chosen import Sets, choose_for_groups, choose_neurons, pools_of
from locant.recipes.qrnca.located import WHOLE, Located, clusters_in, locate, located_in, parts_of, wrong_letter
from locant.recipes.qrnca.plan import METHODS, OWN, Plan
from locant.recipes.qrnca.predicted import mean_activations, predict
from locant.recipes.qrnca.touched import Letters, touch
from locant.recipes.work import Work, in_batches
from locant.sweeps.units import Unit

AT_ONCE = 8
"""Questions in a unit of work."""


@dataclass(frozen=True)
class QrncaWork(Work):
    """A run in progress."""

    questions: Sequence[ChoiceQuestion]
    plan: Plan

    @property
    def groups(self) -> dict[str, str]:
        return {question.uid: question.group for question in self.questions}

    @property
    def grid(self) -> tuple[int, int]:
        return (self.lm.layers, self.lm.neurons)

    def ask(self) -> Letters:
        """What the model answers, and whether with a letter at all."""
        self._save(
            "questions",
            [
                {
                    "question": one.uid,
                    "fact": one.fact,
                    "relation": one.relation,
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
                "fact": question.fact,
                "group": question.group,
                "prompt": prompt.query.uid,
                "template": prompt.query.template,
                "options": len(names),
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

    def locate(self) -> pl.DataFrame:
        """Every question's cluster, with all templates and without each."""
        units = [
            Unit([one.uid for one in batch], partial(locate, self.lm, batch, self.plan))
            for batch in in_batches(self.questions, AT_ONCE)
        ]
        found = self._fill("located", units, "locating")
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
        return found

    def choose(self, table: pl.DataFrame) -> dict[str, Sets]:
        """By part, the neurons of every question, and those of every group."""
        parts = parts_of(len(self.questions[0].prompts))
        sets = {part: choose_neurons(self._located(table, part), self.plan) for part in parts}
        whole = self._located(table, WHOLE)
        by_half = zip(HALVES, halves(self.questions, self.plan.seed), strict=True)
        return sets | {half: choose_for_groups(whole, known, self.plan) for half, known in by_half}

    def count(self, table: pl.DataFrame, sets: Mapping[str, Sets]) -> None:
        """Where the neurons are, how many, and what groups share."""
        found, own, groups, plan = self._located(table, WHOLE), sets[WHOLE][OWN][0], self.groups, self.plan
        rows = list(counted.cluster_rows(found.clusters, groups, "right"))
        compared: list[dict[str, object]] = []
        for place in range(len(self.questions[0].prompts[0].letters) - 1 if plan.wrong else 0):
            letter = wrong_letter(place)
            wrong = clusters_in(table, WHOLE, self.questions, self.grid, letter)
            rows += counted.cluster_rows(wrong, groups, letter)
            compared += counted.wrong_rows(place, found.clusters, wrong, groups)
        self._save("wrong", compared)
        self._save("clusters", rows)
        self._save("neurons", [row for part, one in sets.items() for row in counted.neuron_rows(part, one, groups)])
        self._save("common", list(counted.common_rows(self.lm, found, plan)))
        each = ((method, sets[WHOLE][method][0]) for method in METHODS)
        self._save("counts", [row for method, one in each for row in counted.count_rows(method, one, groups)])
        blocks = blocks_of(self.questions)
        self._save("overlap", list(counted.overlap_rows(own, groups, blocks, plan)))
        self._save("likeness", list(counted.likeness_rows(own, groups, blocks, plan)))
        self._save("layers", list(counted.layer_rows(own, groups)))
        self._save("regions", list(counted.region_rows(own, groups)))

    def judge(self, sets: Mapping[str, Sets], letters: Letters) -> None:
        """What touching the neurons does."""
        seed = self.plan.seed
        by_owner: dict[str, list[Case]] = {}
        for case in (*cases(self.questions, seed), *group_cases(self.questions, seed)):
            by_owner.setdefault(case.owner.uid, []).append(case)
        units = [
            Unit(
                [one.uid for one in batch],
                partial(touch, self.lm, [case for one in batch for case in by_owner[one.uid]], sets, letters),
            )
            for batch in in_batches(self.questions, AT_ONCE)
        ]
        touched = self._fill("touched", units, "boosting and suppressing")
        self._save("changes", list(judged.change_rows(touched)))
        self._save("ratios", list(judged.ratio_rows(touched, self.plan)))
        self._save("editing", list(judged.editing_rows(touched, self.plan)))

    def predict(self, table: pl.DataFrame, letters: Letters) -> None:
        """What the neurons say by themselves, of questions of the half that they were not located with."""
        found, seed = self._located(table, WHOLE), self.plan.seed
        first = halves(self.questions, seed)
        units = []
        for known, asked in (first, first[::-1]):
            pools, usual = pools_of(found, known, self.plan), mean_activations(self.lm, known)
            units += [
                Unit(
                    [one.uid for one in batch],
                    partial(predict, self.lm, batch, pools, letters, usual, seed),
                )
                for batch in in_batches([one for one in asked if one.group in pools], AT_ONCE)
            ]
        predicted = self._fill("predicted", units, "predicting")
        self._save("prediction", list(judged.prediction_rows(predicted, self.plan)))
        self._save("gains", list(judged.gain_rows(predicted, self.plan)))

    def _located(self, table: pl.DataFrame, part: str) -> Located:
        return located_in(table, part, self.questions, self.grid)
