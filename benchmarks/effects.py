"""What located neurons do on the almanac, beside their controls, and how methods agree with exact ablation.

    make bench-effects

Facts are drawn from every relation; each is asked in a wording the model was trained on. For every fact and method:
its 20 neurons of highest score are silenced (or doubled) at the answer position, and as many random ones of the same
layers; the answer's probability is read before and after, and that of unrelated facts. Means and 95% bootstrap
intervals are over facts.
"""

from __future__ import annotations

import argparse
import random

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

import locant
from locant import almanac
from locant.attributions import METHODS
from locant.evaluations import read_answers
from locant.models import LanguageModel
from locant.types import Interval, Query

TOP = 20
DRAWS = 10
UNRELATED = 40


def sample(lm: LanguageModel, count: int, seed: int) -> list[Query]:
    """Facts the model answers, one wording each, evenly over relations and languages."""
    wordings = list(almanac.queries(held_out=False))
    random.Random(seed).shuffle(wordings)
    one_each = {(query.fact.uid, query.language): query for query in wordings}
    queries = list(one_each.values())
    known = [query for query, rank in zip(queries, read_answers(lm, queries).rank.tolist(), strict=True) if rank == 1]
    by_kind: dict[tuple[str, str], list[Query]] = {}
    for query in known:
        by_kind.setdefault((query.relation, query.language), []).append(query)
    turns = [[group[turn] for group in by_kind.values() if turn < len(group)] for turn in range(count)]
    return [query for turn in turns for query in turn][:count]


def change(lm: LanguageModel, queries: list[Query], units: locant.Selection, by: float) -> torch.Tensor:
    before = locant.answer_probability(lm, queries)
    with locant.scale(lm, units, by):
        return (locant.answer_probability(lm, queries) - before) / before


def effects(lm: LanguageModel, queries: list[Query], method: str, by: float) -> dict[str, list[float]]:
    """Of each fact, the relative change of its answer's probability: located, random, and of unrelated facts."""
    changes: dict[str, list[float]] = {"located": [], "random": [], "unrelated": []}
    found = locant.attribute(lm, queries, method)
    for index, query in enumerate(track(queries, f"{method} x{by:g}")):
        units = locant.select(found[index], k=TOP)
        others = [other for other in queries if other.relation != query.relation]
        others = random.Random(index).sample(others, min(UNRELATED, len(others)))
        draws = [locant.random_set(units, seed) for seed in range(DRAWS)]
        changes["located"].append(float(change(lm, [query], units, by)))
        changes["random"].append(sum(float(change(lm, [query], draw, by)) for draw in draws) / DRAWS)
        changes["unrelated"].append(float(change(lm, others, units, by).mean()))
    return changes


def agreement(lm: LanguageModel, queries: list[Query], method: str, reference: torch.Tensor) -> list[float]:
    """Of each fact, the rank correlation of a method's scores of all neurons with exact ablation's."""
    scores = locant.attribute(lm, queries, method).scores.flatten(1)
    return [float(spearmanr(one, other).statistic) for one, other in zip(scores, reference.flatten(1), strict=True)]


def told(values: list[float], queries: list[Query], percent: bool = True) -> str:
    found: Interval = locant.interval(
        torch.tensor(values, dtype=torch.float64), [query.fact.uid for query in queries]
    )
    if percent:
        return f"{100 * found.mean:+.1f}% [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Effects of located neurons on the almanac, with controls.")
    parser.add_argument("--facts", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    console = Console(width=140)
    lm = locant.load("almanac")
    queries = sample(lm, arguments.facts, arguments.seed)
    console.print(
        f"{lm}\n{len(queries)} facts of {len({query.relation for query in queries})} relations, seed {arguments.seed}"
    )
    table = Table("method", "silenced: own fact", "random, same layers", "unrelated facts", "doubled: own fact")
    table.title = f"Change of P(answer), top {TOP} neurons; mean over facts [95% interval]"
    for method in METHODS:
        silenced = effects(lm, queries, method, 0.0)
        doubled = effects(lm, queries, method, 2.0)
        parts = [silenced["located"], silenced["random"], silenced["unrelated"], doubled["located"]]
        table.add_row(method, *(told(part, queries) for part in parts))
    console.print(table)
    reference = locant.attribute(lm, queries, "exact").scores
    table = Table("method", "rank correlation with exact", "of the exact top 20, found in its top 20")
    for method in METHODS:
        if method != "exact":
            table.add_row(method, *agreement_row(lm, queries, method, reference))
    console.print(table)
    quadrature_table(lm, queries, console)


def agreement_row(lm: LanguageModel, queries: list[Query], method: str, reference: torch.Tensor) -> list[str]:
    scores = locant.attribute(lm, queries, method).scores.flatten(1)
    best = [set(one.topk(TOP).indices.tolist()) for one in reference.flatten(1)]
    shared = [len(set(one.topk(TOP).indices.tolist()) & top) / TOP for one, top in zip(scores, best, strict=True)]
    ranks = agreement(lm, queries, method, reference)
    return [told(ranks, queries, percent=False), told(shared, queries, percent=False)]


def quadrature_table(lm: LanguageModel, queries: list[Query], console: Console) -> None:
    table = Table("rule", "points", "median", "first layer: mean", "largest", "other layers: mean", "largest")
    table.title = "Completeness error: |sum of a layer's scores - what its neurons explain|, in probability"
    rules = ("midpoint", "riemann-left", "riemann-right", "inclusive")
    for rule, steps in (("gauss-legendre", None), ("gauss-legendre", 8), *((rule, 20) for rule in rules)):
        error = locant.attribute(lm, queries, rule=rule, steps=steps).completeness_error
        assert error is not None
        parts = (error[:, 0].mean(), error[:, 0].max(), error[:, 1:].mean(), error[:, 1:].max())
        points = "8 to 128 (default)" if steps is None else str(steps)
        table.add_row(rule, points, *(f"{part:.1e}" for part in (error.median(), *parts)))
    console.print(table)


if __name__ == "__main__":
    main()
