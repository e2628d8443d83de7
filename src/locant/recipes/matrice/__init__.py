"""MATRICE: neurons that hold a fact in every language, located with uncertainty over wordings and languages.

What is known of Cao et al. 2024, arXiv:2411.17401, with AMIG's experiments (arXiv:2308.13198) and controls. Of the
paper's formulas and numbers none were at hand: every choice is a setting of `Plan`, and no figure here is theirs.

    from locant.recipes.matrice import Plan, run_matrice
    run_matrice(lm, facts, folder, Plan(), source="almanac")
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.models.weights import fingerprint
from locant.queries.parallel import ParallelFact
from locant.recipes.matrice.edited import Change, changes, edit, inject, sweep
from locant.recipes.matrice.judged import (
    agreement_rows,
    answer_rows,
    change_rows,
    layer_rows,
    matrix_rows,
    overlap_rows,
    recovery_rows,
    sharing_rows,
    transfer_rows,
    verdict_rows,
)
from locant.recipes.matrice.located import Asked, Row, Sets, known_rows, locate, part, sets_in, sizes_and_stability
from locant.recipes.matrice.paired import check, pair
from locant.recipes.matrice.plan import SETS, Plan
from locant.recipes.matrice.touched import Unrelated, enhance_failed, touch, unrelated
from locant.selections.lape import activation_rates, lape, text_of
from locant.selections.share import union
from locant.sweeps import RunFolder
from locant.sweeps.run import Manifest
from locant.sweeps.units import Unit, fill_table, save_table
from locant.types import Selection

__all__ = ["SETS", "Plan", "run_matrice"]

Say = Callable[[str, int], Callable[[int], None]]
"""Told what begins and how many units it has; returns what is called with the number of units done."""
SPARED = 3
"""Unrelated facts for each fact."""
TRIED = 5
"""Facts on which the size of an edit is chosen."""


def run_matrice(
    lm: LanguageModel,
    facts: Sequence[ParallelFact],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    taught: Mapping[str, Sequence[str]] | None = None,
    say: Say = lambda what, units: lambda done: None,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        facts: of two relations or more, with two wordings or more in the same languages.
        source: where the facts come from, for the manifest.
        drawn: and how they were drawn from it (settings of `select_parallel`).
        taught: by fact, the languages it was taught in, where that is known.
        say: for progress.

    Returns:
        The folder.

    Raises:
        BadQuery: a query cannot be asked of this model; nothing has been written then.
        UnknownName: facts are of one relation, or do not go together; or none is known in two languages.
        BadFile: the folder holds another run.
    """
    _refuse(lm, facts, plan)
    run = RunFolder(folder)
    manifest = _manifest(lm, facts, plan, {"source": source, "drawn": dict(drawn or {})})
    run.check(manifest)
    run.open(manifest)
    work = _Work(lm, facts, plan, run, manifest, taught or {}, say)
    asked = work.ask()
    sets = work.locate(asked)
    others = {one.fact.uid: unrelated(asked, one, SPARED, plan.seed) for one in asked}
    work.touch(asked, sets, others)
    work.change(asked, sets, others)
    work.pair(asked, sets)
    run.finish(manifest)
    return folder


def _refuse(lm: LanguageModel, facts: Sequence[ParallelFact], plan: Plan) -> None:
    if len({one.relation for one in facts}) < 2:
        raise UnknownName("facts are compared with those of other relations; name two relations or more")
    if len({one.languages for one in facts}) != 1:
        raise UnknownName("a run's facts are asked in the same languages, and these are not")
    if plan.size > lm.layers * lm.neurons:
        raise UnknownName(f"cannot take {plan.size} neurons: the model has {lm.layers * lm.neurons}")
    for one in facts:
        for language, queries in one.queries.items():
            if len(queries) < 2:
                raise UnknownName(f"the fact {one.uid!r} has one wording in {language!r}: none is left to judge by")
            for query in queries:
                lm.tokens(query)


def _manifest(lm: LanguageModel, facts: Sequence[ParallelFact], plan: Plan, place: Mapping[str, object]) -> Manifest:
    data = repr([[query for queries in one.queries.values() for query in queries] for one in facts])
    made_by = lm.provenance("matrice", {}, plan.seed)
    return {
        "recipe": "matrice",
        **{name: getattr(made_by, name) for name in ("model", "revision", "dtype", "package")},
        "weights": fingerprint(lm.model),
        **place,
        "languages": list(facts[0].languages),
        "facts": len(facts),
        "queries": sum(len(queries) for one in facts for queries in one.queries.values()),
        "data": hashlib.sha256(data.encode()).hexdigest()[:20],
        "settings": plan.plain(),
    }


@dataclass(frozen=True)
class _Work:
    """A run in progress: each method fills the tables of one experiment."""

    lm: LanguageModel
    facts: Sequence[ParallelFact]
    plan: Plan
    run: RunFolder
    manifest: Manifest
    taught: Mapping[str, Sequence[str]]
    say: Say

    def ask(self) -> list[Asked]:
        """Which facts the model knows, in which languages."""
        done = self.say("asking", len(self.facts))
        asked, rows = [], []
        for fact in self.facts:
            one, own = part(self.lm, fact)
            asked.append(one)
            rows += own
            done(1)
        self._save("answers", rows)
        self._save("facts", list(known_rows(asked, self.taught)))
        self._save("known", list(answer_rows(pl.DataFrame(rows), self.plan)))
        if not any(len(one.known) > 1 for one in asked):
            raise UnknownName(f"{self.lm.name} knows none of these facts in two languages")
        return asked

    def locate(self, asked: Sequence[Asked]) -> dict[str, dict[str, Selection]]:
        """Every set of every fact that is known in two languages."""
        shared = [one for one in asked if len(one.known) > 1]
        speaking = self._speaking()
        units = [Unit(one.fact.uid, partial(locate, self.lm, one, speaking, self.plan)) for one in shared]
        found = self._fill("neurons", units, "locating")
        units = [Unit(one.fact.uid, partial(sizes_and_stability, self.lm, one, self.plan)) for one in shared]
        drawn = self._fill("stability", units, "drawing other queries")
        self._save("agreement", list(agreement_rows(drawn, self.plan)))
        grid = (self.lm.layers, self.lm.neurons)
        sets = sets_in(found, asked, grid, self.lm.provenance(self.plan.localizer, dict(self.plan.settings)))
        self._save("layers", list(layer_rows(found, self.lm.layers)))
        self._save("overlap", list(overlap_rows(sets, asked, self.plan)))
        costs = found.unique("fact")
        self._save(
            "costs",
            [
                {
                    "stage": "attribution",
                    "facts": len(costs),
                    "queries": int(costs["queries"].sum()),
                    "seconds": float(costs["seconds"].sum()),
                }
            ],
        )
        return sets

    def touch(self, asked: Sequence[Asked], sets: Mapping[str, Sets], others: Mapping[str, Unrelated]) -> None:
        """What suppressing and enhancing does, in every language; and where it helps a query that failed."""
        shared = [one for one in asked if one.fact.uid in sets]
        units = [
            Unit(one.fact.uid, partial(touch, self.lm, one, others[one.fact.uid], sets[one.fact.uid]))
            for one in shared
        ]
        touched = self._fill("touched", units, "suppressing and enhancing")
        self._save("changes", list(change_rows(touched, self.plan)))
        self._save("transfer", list(transfer_rows(touched, self.plan)))
        sharing = list(sharing_rows(touched, asked, self.taught))
        self._save("sharing", sharing)
        self._save("verdicts", list(verdict_rows(sharing)))
        units = [
            Unit(one.fact.uid, partial(enhance_failed, self.lm, one, others[one.fact.uid], sets[one.fact.uid]))
            for one in shared[: self.plan.enhanced]
        ]
        enhanced = self._fill("enhanced", units, "helping queries that fail")
        self._save("recovery", list(recovery_rows(enhanced, self.plan)))

    def change(self, asked: Sequence[Asked], sets: Mapping[str, Sets], others: Mapping[str, Unrelated]) -> None:
        """Facts edited, and new ones taught, in one language, and read in all."""
        some = changes(self.lm, asked, others, self.plan.seed)
        plan = self._with_lambdas(some, sets)
        units = [self._unit(edit, one, sets, plan) for one in some[: plan.edited]]
        edited = self._fill("edited", units, "editing")
        self._save("matrix", list(matrix_rows(edited, plan)))
        units = [self._unit(inject, one, sets, plan) for one in some[: plan.injected]]
        injected = self._fill("injected", units, "teaching")
        self._save("injection", list(matrix_rows(injected, plan)))

    def pair(self, asked: Sequence[Asked], sets: Mapping[str, Sets]) -> None:
        """AMIG's degenerate neurons and its fact-checking."""
        shared = [one for one in asked if one.fact.uid in sets]
        units = [
            Unit(one.fact.uid, partial(pair, self.lm, one, sets[one.fact.uid], self.plan))
            for one in shared[: self.plan.paired]
        ]
        self._fill("degenerate", units, "pairing neurons")
        units = [Unit("all", partial(check, self.lm, asked, sets, self.plan))]
        self._fill("checking", units, "checking statements")

    def _speaking(self) -> Selection:
        """The model's language neurons, by the texts of the run's own queries."""
        texts = text_of([query for one in self.facts for queries in one.queries.values() for query in queries[:1]])
        rates = activation_rates(self.lm, texts)
        least = self.plan.size / (self.lm.layers * self.lm.neurons)
        by_language = lape(rates, share=min(1.0, max(0.01, 2 * least)))
        weight = {unit: value for one in by_language.values() for unit, value in _weights(one)}
        pooled = union(list(by_language.values()))
        own = [weight[layer, neuron] for layer, neuron in pooled.units.tolist()]
        return replace(pooled, weight=pooled.weight.new_tensor(own))

    def _with_lambdas(self, some: Sequence[Change], sets: Mapping[str, Sets]) -> Plan:
        """The plan with the size of edits: as given, or the one that does best on a few facts."""
        if self.plan.lambda1 is not None and self.plan.lambda2 is not None:
            return self.plan
        units = [self._unit(sweep, one, sets, self.plan) for one in some[:TRIED]]
        tried = self._fill("lambdas", units, "trying sizes of edits")
        if not len(tried):
            return replace(self.plan, lambda1=1.0, lambda2=1.0)
        score = (
            tried.filter(pl.col("language") == pl.col("source"))
            .with_columns(good=pl.when(pl.col("asked") == "related").then("says_new").otherwise("kept"))
            .group_by("lambda", "asked")
            .agg(pl.col("good").mean())
            .group_by("lambda")
            .agg(pl.col("good").mean())
            .sort("good", "lambda", descending=[True, False])
        )
        best = float(score["lambda"][0])
        given = self.plan.lambda1, self.plan.lambda2
        lambda1, lambda2 = (best if one is None else one for one in given)
        return replace(self.plan, lambda1=lambda1, lambda2=lambda2)

    def _unit(
        self,
        compute: Callable[[LanguageModel, Change, Sets, Plan], pl.DataFrame],
        one: Change,
        sets: Mapping[str, Sets],
        plan: Plan,
    ) -> Unit:
        uid = one.asked.fact.uid
        return Unit(
            [compute.__name__, uid, plan.lambda1, plan.lambda2],
            partial(compute, self.lm, one, sets[uid], plan),
        )

    def _fill(self, name: str, units: Sequence[Unit], what: str) -> pl.DataFrame:
        return fill_table(self.run, self.manifest, name, units, self.say(what, len(units)))

    def _save(self, name: str, rows: Sequence[Row]) -> None:
        save_table(self.run, name, [pl.DataFrame(rows, infer_schema_length=None)] if rows else [])


def _weights(one: Selection) -> list[tuple[tuple[int, int], float]]:
    units = [(int(layer), int(neuron)) for layer, neuron in one.units.tolist()]
    return list(zip(units, one.weight.tolist(), strict=True))
