"""AMIG's experiments: neurons that stand in for each other, and statements told true or wrong by such neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import torch

from locant.errors import UnknownName
from locant.evaluations.degenerate import DegeneratePairs, degenerate_pairs
from locant.evaluations.fact_checking import (
    Statement,
    baseline_scores,
    check_facts,
    fact_scores,
    facts_of,
    relation_neurons,
    split_facts,
    statements,
)
from locant.models import LanguageModel
from locant.recipes.matrice.located import OWN, Asked, Row, Sets
from locant.recipes.matrice.plan import MATRICE, Plan
from locant.types import Query, Selection

LEAST = 5
"""Facts of a relation from which its neurons can be learned, and tried on others."""


def pair(lm: LanguageModel, one: Asked, sets: Sets, plan: Plan) -> pl.DataFrame:
    """Degenerate pairs among the language-agnostic neurons, and among one language's own, each in its language."""
    rows: list[Row] = []
    language = one.known[0]
    for name in (MATRICE, OWN + language):
        found = degenerate_pairs(lm, one.judge[language], sets[name], seed=plan.seed)
        about = {"fact": one.fact.uid, "set": name.split(":")[0], "language": language}
        rows += [about | row for row in _pair_rows(found)]
    return pl.DataFrame(rows)


def _pair_rows(found: DegeneratePairs) -> Iterator[Row]:
    accepted = found.accepted()
    yield {
        "what": "all",
        "pairs": len(found),
        "degenerate": int(found.degenerate.sum()),
        "accepted": int(accepted.sum()),
        "random_degenerate": found.random_share,
        "synergy": float(found.synergy.mean()) if len(found) else float("nan"),
        "random_synergy": float(found.random.synergy.mean()) if len(found.random) else float("nan"),
    }


def check(lm: LanguageModel, asked: Sequence[Asked], sets: Mapping[str, Sets], plan: Plan) -> pl.DataFrame:
    """Statements of each relation and language, told by the neurons of other facts of the relation: AUC and F1."""
    rows: list[Row] = []
    for relation in dict.fromkeys(one.fact.relation for one in asked):
        own = [one for one in asked if one.fact.relation == relation and one.fact.uid in sets]
        if len(own) < LEAST:
            continue
        queries = [queries[0] for one in own for language, queries in one.judge.items() if language in one.known]
        learned, held_out = split_facts(queries, seed=plan.seed)
        uids = {query.fact.uid for query in learned}
        for name in (MATRICE, "union"):
            neurons = relation_neurons([sets[one.fact.uid][name] for one in own if one.fact.uid in uids])
            rows += _checked(lm, held_out, queries, neurons, {"relation": relation, "set": name}, plan)
    return pl.DataFrame(rows)


def _checked(
    lm: LanguageModel,
    held_out: Sequence[Query],
    pool: Sequence[Query],
    neurons: Selection,
    about: Row,
    plan: Plan,
) -> Iterator[Row]:
    asked = statements(held_out, plan.seed, pool=pool)
    if not len(neurons) or not any(one.true for one in asked) or all(one.true for one in asked):
        return
    scores = {"neurons": fact_scores(lm, asked, neurons, plan.localizer, **plan.settings)}
    scores |= baseline_scores(lm, asked, neurons, plan.localizer, seed=plan.seed, **plan.settings)
    for by, own in scores.items():
        yield from _by_language(by, own, asked, len(neurons), about, plan)


def _by_language(
    by: str, scores: torch.Tensor, asked: Sequence[Statement], size: int, about: Row, plan: Plan
) -> Iterator[Row]:
    truth = [one.true for one in asked]
    for language in ("all", *dict.fromkeys(one.query.language for one in asked)):
        places = [place for place, one in enumerate(asked) if language in ("all", one.query.language)]
        try:
            found = check_facts(
                scores[places],
                [truth[place] for place in places],
                groups=facts_of([asked[place] for place in places]),
                seed=plan.seed,
            )
        except UnknownName:  # a language with right statements only
            continue
        yield about | {
            "by": by,
            "language": language,
            "size": size,
            "auc": found.auc.mean,
            "auc_low": found.auc.low,
            "auc_high": found.auc.high,
            "precision": found.precision,
            "recall": found.recall,
            "f1": found.f1,
            "facts": found.auc.n,
            "statements": found.statements,
            "true": found.true,
        }
