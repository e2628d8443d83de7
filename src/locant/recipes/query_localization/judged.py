"""Do the queries of a fact agree on its neurons, and is that more than chance and the relation give?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch

from locant.errors import UnknownName
from locant.evaluations.consistency import Consistency, above_null, consistency_of, matched, shuffled_null
from locant.evaluations.kinds import otsu, split_half, welch
from locant.evaluations.outcomes import interval
from locant.recipes.query_localization.plan import STATIC_THRESHOLDS, Plan
from locant.recipes.rows import Row, as_row
from locant.types import Interval, Selection

SetsByFact = Mapping[str, Sequence[Selection]]
NULLS = {"queries of other facts of the relation": True, "queries of other relations": False}


@dataclass(frozen=True)
class Judged:
    """The facts of one localizer at equal numbers of queries and neurons.

    Attributes:
        facts: by uid.
        borders: by rule, 'static' and 'otsu', the score on which a fact becomes consistent.
    """

    localizer: str
    sets: dict[str, tuple[Selection, ...]]
    facts: dict[str, Consistency]
    borders: dict[str, float]

    def kind(self, fact: str, rule: str) -> str:
        return "consistent" if self.facts[fact].cs2 >= self.borders[rule] else "inconsistent"


def judge(localizer: str, sets_by_fact: SetsByFact, plan: Plan) -> Judged:
    """Score every fact at equal numbers of queries and of neurons.

    Sets are cut to the lower quartile of their sizes, and facts to as many queries as leave half of them. Facts
    that have fewer are left out: those with small sets. The table of facts as found still has them.

    Raises:
        UnknownName: no fact can be scored.
    """
    queries = min(len(sets) for sets in sets_by_fact.values())
    sizes = sorted(len(one) for sets in sets_by_fact.values() for one in sets)
    # Larger sets lose their weakest neurons, a quarter of the queries falls away
    size = max(1, sizes[len(sizes) // 4])
    for k in range(queries, 1, -1):
        try:
            sets = matched(sets_by_fact, k, size, plan.seed)
        except UnknownName:
            continue
        if k == 2 or 2 * len(sets) >= len(sets_by_fact):
            break
    else:
        raise UnknownName(f"{localizer}: no fact has two queries with {size} neurons each")
    facts = {one.fact: one for one in consistency_of(sets)}
    scores = torch.tensor([one.cs2 for one in facts.values()])
    borders = {"static": plan.static}
    if len(scores.unique()) > 1:
        borders["otsu"] = otsu(scores)
    return Judged(localizer, sets, facts, borders)


def consistency_rows(judged: Judged, sets_by_fact: SetsByFact) -> Iterator[Row]:
    """Every fact's scores, as found and matched."""
    for is_matched, facts in ((False, consistency_of(sets_by_fact)), (True, tuple(judged.facts.values()))):
        for one in facts:
            yield {
                "localizer": judged.localizer,
                "matched": is_matched,
                "fact": one.fact,
                "relation": one.relation,
                "queries": one.queries,
                "size": one.size,
                "cs1": one.cs1,
                "cs2": one.cs2,
                "jaccard": one.jaccard,
                "kind_static": judged.kind(one.fact, "static") if one.fact in judged.facts else None,
                "kind_otsu": judged.kind(one.fact, "otsu")
                if one.fact in judged.facts and "otsu" in judged.borders
                else None,
            }


def threshold_rows(all_judged: Sequence[Judged]) -> Iterator[Row]:
    """The share of inconsistent facts at every threshold, by each localizer and by all of them at once."""
    for judged in all_judged:
        for threshold in STATIC_THRESHOLDS:
            yield _share(judged.localizer, "static", threshold, _below([judged], {judged.localizer: threshold}))
        if "otsu" in judged.borders:
            border = judged.borders["otsu"]
            yield _share(judged.localizer, "otsu", border, _below([judged], {judged.localizer: border}))
    for threshold in STATIC_THRESHOLDS:
        found = _below(all_judged, {one.localizer: threshold for one in all_judged})
        yield _share("all", "static", threshold, found)
    if all("otsu" in one.borders for one in all_judged):
        borders = {one.localizer: one.borders["otsu"] for one in all_judged}
        yield _share("all", "otsu", float("nan"), _below(all_judged, borders))


def _below(all_judged: Sequence[Judged], borders: Mapping[str, float]) -> dict[str, bool]:
    """Of each fact that all localizers scored, whether all find it inconsistent."""
    facts = set.intersection(*(set(judged.facts) for judged in all_judged))
    return {
        fact: all(judged.facts[fact].cs2 < borders[judged.localizer] for judged in all_judged)
        for fact in sorted(facts)
    }


def _share(localizer: str, rule: str, threshold: float, found: Mapping[str, bool]) -> Row:
    row: Row = {"localizer": localizer, "rule": rule, "threshold": threshold}
    return row | as_row(mean_of([float(one) for one in found.values()], list(found)), "share")


def null_rows(judged: Judged, plan: Plan) -> Iterator[Row]:
    """The mean score against that of shuffled facts."""
    for name, within in NULLS.items():
        for measure in ("cs2", "jaccard"):
            observed = torch.tensor([getattr(one, measure) for one in judged.facts.values()])
            try:
                null = shuffled_null(judged.sets, plan.draws, plan.seed, within_relation=within, measure=measure)
                found = above_null(observed, null)
            except UnknownName:
                continue  # fewer facts or relations than a fact has queries: there is no such null
            yield {"localizer": judged.localizer, "null": name, "measure": measure, **vars(found)}


def test_rows(judged: Judged, plan: Plan) -> Iterator[Row]:
    """The paper's t-test, which tests what it split, and those of the half of the queries that split nothing."""
    border = judged.borders.get("otsu", judged.borders["static"])
    scores = [one.cs2 for one in judged.facts.values()]
    high, low = ([one for one in scores if (one >= border) == side] for side in (True, False))
    yield from _welch(judged, "Welch, scores split by their own threshold", torch.tensor(high), torch.tensor(low))
    for within, where in ((False, ""), (True, ", within relations")):
        try:
            halves = split_half(judged.sets, within_relations=within, seed=plan.seed)
        except UnknownName:
            continue  # fewer than four queries a fact, or scores that do not vary
        name = f"second half of the queries{where}"
        yield from _welch(judged, f"Welch, {name}", halves.consistent, halves.inconsistent)
        for test, statistic, p in (
            ("permutation", halves.difference, halves.p),
            ("rank correlation with the first half", halves.reliability, None),
        ):
            yield {
                "localizer": judged.localizer,
                "test": f"{test}, {name}",
                "statistic": statistic,
                "p": p,
                "effect": None,
                "low": None,
                "high": None,
                "n": len(halves.consistent) + len(halves.inconsistent),
            }


def _welch(judged: Judged, name: str, high: torch.Tensor, low: torch.Tensor) -> Iterator[Row]:
    try:
        found = welch(high, low)
    except UnknownName:
        return  # a side of fewer than two facts, or scores that do not vary
    row: Row = {"localizer": judged.localizer, "test": name, "statistic": found.t, "p": found.p}
    yield row | as_row(found.effect, "effect")


def noise_rows(noise: pl.DataFrame, settings: Mapping[str, str]) -> Iterator[Row]:
    """How far each localizer agrees with itself."""
    for (localizer,), own in noise.drop_nans("jaccard").partition_by("localizer", as_dict=True).items():
        row: Row = {"localizer": localizer, "what": f"the same queries, located with {settings[str(localizer)]}"}
        yield row | as_row(mean_of(own["jaccard"].to_list(), own["fact"].to_list()), "jaccard")


def mean_of(values: Sequence[float], facts: Sequence[str]) -> Interval:
    """The mean over facts with its interval; NaN if there is nothing."""
    if not values:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    return interval(torch.tensor(values, dtype=torch.float64), facts)
