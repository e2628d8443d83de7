"""Query localization: is a fact's place its own, or its query's?

The experiments of Chen et al. 2024, arXiv:2405.14117, with controls: do the wordings of a fact share neurons, whose
neurons move a query's answer, does attention select them, and which ones are worth editing. The order here is that
of the run; each file is one experiment.

    from locant.recipes.query_localization import Plan, localize_queries
    localize_queries(lm, facts, folder, Plan(), source="almanac")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from locant.attributions import attribute
from locant.attributions.synapses import column_sums
from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.interventions.attention import scale_columns
from locant.interventions.edits import erase
from locant.models import LanguageModel
from locant.recipes.data import FactQueries, unrelated
from locant.recipes.query_localization.edited import Editor
from locant.recipes.query_localization.judged import (
    Judged,
    consistency_rows,
    judge,
    mean_of,
    noise_rows,
    null_rows,
    test_rows,
    threshold_rows,
)
from locant.recipes.query_localization.located import BATCH_COLUMNS, NOISE, costs_of, locate, noise_of, sets_of
from locant.recipes.query_localization.plan import LOCALIZERS, Plan
from locant.recipes.query_localization.synapses import maps, sweep_alpha, touch_columns
from locant.recipes.query_localization.touched import choose, touch
from locant.recipes.work import Data, Say, Work, in_batches, manifest_of, say_nothing
from locant.selections import random_set, select
from locant.selections.columns import select_columns
from locant.sweeps import RunFolder
from locant.sweeps.units import Unit, save_table
from locant.types import Query, Selection

__all__ = ["LOCALIZERS", "Plan", "localize_queries"]

BATCH = 32
"""Queries located at once."""
NOISE_QUERIES = 60
"""Queries that are located twice, for the localizer's own noise."""


def localize_queries(
    lm: LanguageModel,
    facts: Sequence[FactQueries],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    texts: Sequence[str] = (),
    say: Say = say_nothing,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        facts: each with its neighbour queries; of two relations or more.
        source: where the facts come from, for the manifest.
        drawn: and how they were drawn from it (settings of `select_facts`).
        texts: running text whose perplexity edits are judged by.
        say: for progress.

    Returns:
        The folder.

    Raises:
        BadQuery: a query cannot be asked of this model; nothing has been written then.
        UnknownName: there are no facts, or the plan asks for what there is not.
        BadFile: the folder holds another run.
    """
    if not facts:
        raise UnknownName("there are no facts; name other data or other relations")
    for one in facts:
        for query in one.queries:
            lm.tokens(query)
    others = {one.fact.uid: other for one, other in zip(facts, unrelated(facts, plan.seed), strict=True)}
    run = RunFolder(folder)
    manifest = manifest_of("query-localization", lm, _data(facts, source, drawn, texts), plan.plain())
    run.check(manifest)
    _try(lm, facts[0].queries[0], plan)
    run.open(manifest)
    work = _Work(lm, run, manifest, say, facts, plan)
    work.describe()
    sets = {name: work.locate(name) for name in plan.localizers}
    all_judged = work.judge(sets)
    first = all_judged[0]
    kinds = {fact: first.kind(fact, "otsu" if "otsu" in first.borders else "static") for fact in first.facts}
    work.touch(sets[first.localizer], kinds, others)
    work.columns(sets[first.localizer], kinds)
    work.edit(sets[first.localizer], kinds, texts)
    run.finish(manifest)
    return folder


def _try(lm: LanguageModel, query: Query, plan: Plan) -> None:
    """Each step once, on one query: what this model or these settings cannot do is better known at once."""
    for localizer in plan.localizers:
        attribute(lm, [query], localizer, **plan.settings.get(localizer, {}))  # type: ignore[arg-type]
    columns = column_sums(lm, [query])
    with scale_columns(lm, select_columns(columns, plan.alpha)[0], 1.0, plan.renormalise):
        read_answers(lm, [query])
    one = random_set(select(attribute(lm, [query], "activation"), k=1), plan.seed)
    with erase(lm, one):
        read_answers(lm, [query])


def _data(
    facts: Sequence[FactQueries], source: str, drawn: Mapping[str, object] | None, texts: Sequence[str]
) -> Data:
    counts = {"facts": len(facts), "queries": sum(len(one.queries) for one in facts)}
    text = repr([[asdict(query) for query in one.queries] for one in facts]) + repr(list(texts))
    return Data(source, drawn, counts, text)


@dataclass(frozen=True)
class _Work(Work):
    """A run in progress: each method fills the tables of one experiment."""

    facts: Sequence[FactQueries]
    plan: Plan

    @property
    def queries(self) -> list[Query]:
        return [query for one in self.facts for query in one.queries]

    def describe(self) -> None:
        """What is asked, and what the model answers."""
        facts = [
            {
                "fact": one.fact.uid,
                "relation": one.fact.relation,
                "subject": one.fact.subject,
                "object": one.fact.object,
                "language": one.fact.language,
                "queries": len(one.queries),
            }
            for one in self.facts
        ]
        self._save("facts", facts)
        answers = read_answers(self.lm, self.queries)
        queries = [
            {
                "query": query.uid,
                "fact": query.fact.uid,
                "relation": query.relation,
                "template": query.template,
                "prompt": query.prompt,
                "answer": query.answer,
                "answer_prob": probability,
                "rank": rank,
            }
            for query, probability, rank in zip(
                self.queries, answers.log_probability.exp().tolist(), answers.rank.tolist(), strict=True
            )
        ]
        self._save("queries", queries)

    def locate(self, localizer: str) -> dict[str, Selection]:
        """Each query's neurons."""
        # Queries of like length share a batch, which pads little
        queries = sorted(self.queries, key=lambda query: self.lm.tokens(query).length)
        units = [
            Unit([localizer, *(query.uid for query in batch)], partial(locate, self.lm, batch, localizer, self.plan))
            for batch in in_batches(queries, BATCH)
        ]
        found = self._fill(f"neurons_{localizer}", units, f"locating with {localizer}")
        return sets_of(found, self.lm, self.queries, localizer, self.plan.share)

    def judge(self, sets: Mapping[str, Mapping[str, Selection]]) -> list[Judged]:
        """Consistency, thresholds, nulls, tests, noise and cost."""
        by_localizer = {
            name: {one.fact.uid: [own[query.uid] for query in one.queries] for one in self.facts}
            for name, own in sets.items()
        }
        found = [judge(name, by_fact, self.plan) for name, by_fact in by_localizer.items()]
        self._save(
            "consistency", [row for one in found for row in consistency_rows(one, by_localizer[one.localizer])]
        )
        self._save("thresholds", list(threshold_rows(found)))
        self._save("nulls", [row for one in found for row in null_rows(one, self.plan)])
        self._save("tests", [row for one in found for row in test_rows(one, self.plan)])
        some = self.queries[:: max(1, len(self.queries) // NOISE_QUERIES)][:NOISE_QUERIES]
        noisy = [name for name in self.plan.localizers if name in NOISE]
        units = [Unit([name], partial(noise_of, self.lm, some, name, sets[name], self.plan)) for name in noisy]
        noise = self._fill("noise_by_query", units, "localizers' own noise")
        settings = {name: ", ".join(f"{k} {v}" for k, v in NOISE[name].items()) for name in noisy}
        self._save("noise", list(noise_rows(noise, settings)) if len(noise) else [])
        neurons = [pl.read_parquet(self.run.tables / f"neurons_{name}.parquet") for name in self.plan.localizers]
        save_table(self.run, "costs", [costs_of(one) for one in neurons])
        save_table(self.run, "neurons", [one.drop(BATCH_COLUMNS) for one in neurons])
        return found

    def touch(self, sets: Mapping[str, Selection], kinds: Mapping[str, str], others: Mapping[str, Query]) -> None:
        """Query-neuron mapping."""
        localizer = self.plan.localizers[0]
        chosen = choose(self.facts, kinds, self.plan.touched, self.plan.seed)
        units = [
            Unit(
                [one.fact.uid],
                partial(touch, self.lm, one, chosen[one.fact.uid], sets, others[one.fact.uid], localizer, self.plan),
            )
            for one in self.facts
            if one.fact.uid in chosen
        ]
        self._fill("mapping", units, "touching neurons")

    def columns(self, sets: Mapping[str, Selection], kinds: Mapping[str, str]) -> None:
        """Knowledge synapses."""
        chosen = choose(self.facts, kinds, self.plan.touched, self.plan.seed)
        some = [one for one in self.facts if one.fact.uid in chosen]
        units = [
            Unit([one.fact.uid], partial(touch_columns, self.lm, one, chosen[one.fact.uid], sets, self.plan))
            for one in some
        ]
        self._fill("synapses", units, "touching synapses")
        sweep = self._fill(
            "alphas_by_fact",
            [Unit([one.fact.uid], partial(sweep_alpha, self.lm, one, sets, self.plan)) for one in some],
            "sweeping the synapses' threshold",
        )
        self._save("alphas", _alpha_rows(sweep) if len(sweep) else [])
        shown = [
            next((kind, one) for one in some if chosen[one.fact.uid] == kind)
            for kind in ("consistent", "inconsistent")
            if kind in chosen.values()
        ]
        rows = [pl.DataFrame(row) for row in maps(self.lm, shown, self.plan)]
        save_table(self.run, "activations", rows)

    def edit(self, sets: Mapping[str, Selection], kinds: Mapping[str, str], texts: Sequence[str]) -> None:
        """Modification, with the consistency-aware set."""
        localizer = self.plan.localizers[0]
        chosen = choose(self.facts, kinds, self.plan.edited, self.plan.seed)
        some = [one for one in self.facts if one.fact.uid in chosen]
        plan = self._sized(some, chosen, sets)
        edit = Editor(self.lm, self.facts, texts, plan).edit
        sweep = Editor(self.lm, self.facts, (), plan).sweep_beta
        for name, work, what in (("edits", edit, "editing"), ("betas_by_fact", sweep, "sweeping beta")):
            units = [Unit([one.fact.uid], partial(work, one, chosen[one.fact.uid], sets, localizer)) for one in some]
            self._fill(name, units, what)
        betas = pl.read_parquet(self.run.tables / "betas_by_fact.parquet")
        by = ("beta2", "set", "sizing", "operation")
        self._save("betas", _means(betas, by) if len(betas) else [])

    def _sized(self, some: Sequence[FactQueries], kinds: Mapping[str, str], sets: Mapping[str, Selection]) -> Plan:
        """The plan with the size of updates: as given, or the one that suits the queries' own neurons best.

        That is the set which the consistency-aware one is held against, so that the choice does not favour it.
        """
        plan, localizer = self.plan, self.plan.localizers[0]
        swept = plan.lambda1 is None or plan.lambda2 is None
        editor = Editor(self.lm, self.facts, (), plan)
        units = [
            Unit([one.fact.uid], partial(editor.sweep_lambda, one, kinds[one.fact.uid], sets, localizer))
            for one in (some if swept else ())
        ]
        found = self._fill("lambdas_by_fact", units, "sweeping the size of updates")
        means = _means(found, ("lambda",)) if len(found) else found
        self._save("lambdas", means)
        # Without a fact that can be updated, the size is never used
        best = float(means.sort("average", "lambda", descending=[True, False])["lambda"][0]) if len(found) else 1.0
        return replace(
            plan,
            lambda1=best if plan.lambda1 is None else plan.lambda1,
            lambda2=best if plan.lambda2 is None else plan.lambda2,
        )


def _means(edits: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Means of the scores over facts."""
    means = ("reliability", "generalisation", "locality", "average", "cloze_change")
    return edits.group_by(by, maintain_order=True).agg(*map(pl.mean, means), n=pl.len())


def _alpha_rows(sweep: pl.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (weighing, alpha), own in sweep.partition_by(["weighing", "alpha"], as_dict=True).items():
        change = mean_of(own["change"].to_list(), own["fact"].to_list())
        rows.append(
            {
                "alpha": alpha,
                "weighing": weighing,
                "columns_mean": own["columns"].mean(),
                "share_of_columns": own["share_of_columns"].mean(),
                "activation_change": own["activation_change"].mean(),
                "change": change.mean,
                "low": change.low,
                "high": change.high,
                "n": change.n,
            }
        )
    return rows
