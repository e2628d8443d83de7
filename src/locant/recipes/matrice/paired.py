"""AMIG's experiments: neurons that stand in for each other, and statements told true or wrong by such neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

import numpy as np
import polars as pl
import torch

from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.evaluations.degenerate import DegeneratePairs, degenerate_pairs
from locant.evaluations.fact_checking import best_threshold, check_facts, relation_neurons, scores_by_set
from locant.evaluations.statements import Statement, statements
from locant.models import LanguageModel
from locant.recipes.matrice.chosen import random_of
from locant.recipes.matrice.located import Asked, Sets
from locant.recipes.matrice.plan import MATRICE, OWN, Plan
from locant.recipes.rows import Row

LEAST = 3
"""Facts of a relation from which its neurons can be learned, and tried on others."""
FOLDS, WRONG = 5, 3
"""Parts that a relation's facts are held out in; wrong statements for each right one."""
AMIG_THRESHOLD = 1e-6
"""A mean score above which AMIG's released code calls a statement right."""


def pair(lm: LanguageModel, one: Asked, sets: Sets, plan: Plan) -> pl.DataFrame:
    """Degenerate pairs among the language-agnostic neurons, and among one language's own, each in its language."""
    rows: list[Row] = []
    language = one.known[0]
    for name in (MATRICE, OWN + language):
        if len(sets[name]) < 2:
            continue
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
    """Statements told by neurons of other facts of their relation, by FOLDS parts of the facts, each once held out.

    Returns:
        AUC and F1, of all relations together by language, and of each relation.
    """
    told = [
        row
        for relation in dict.fromkeys(one.fact.relation for one in asked)
        for row in _of_relation(
            lm, [one for one in asked if one.fact.relation == relation and one.fact.uid in sets], sets, plan
        )
    ]
    return pl.DataFrame(list(_summaries(pl.DataFrame(told), plan))) if told else pl.DataFrame()


def _of_relation(lm: LanguageModel, own: Sequence[Asked], sets: Mapping[str, Sets], plan: Plan) -> Iterator[Row]:
    """A row for each statement, score and set, from the fold in which the statement's fact was held out."""
    queries = [queries[0] for one in own for language, queries in one.judge.items() if language in one.known]
    if len(own) < LEAST:
        return
    try:
        made = statements(queries, plan.seed, WRONG)
    except UnknownName:  # the relation has one object in a language
        return
    answers = read_answers(lm, [one.query for one in made])
    plain = {"probability": answers.log_probability.exp(), "exact match": (answers.rank == 1).double()}
    order = [one.fact.uid for one in own]
    Random(f"{plan.seed}/folds/{own[0].fact.relation}").shuffle(order)
    for fold in range(min(FOLDS, len(order))):
        held = set(order[fold::FOLDS])
        places = [place for place, one in enumerate(made) if one.query.fact.uid in held]
        rest = [place for place in range(len(made)) if place not in set(places)]
        some = [made[place] for place in places]
        least = best_threshold(plain["probability"][rest], [made[place].true for place in rest])
        by_set = _by_set(lm, some, {uid: sets[uid] for uid in order if uid not in held}, plan)
        for name, (size, neurons, random) in by_set.items():
            scores = {
                "neurons": (neurons, AMIG_THRESHOLD),
                "random neurons": (random, AMIG_THRESHOLD),
                "probability": (plain["probability"][places], least),
                "exact match": (plain["exact match"][places], 0.5),
            }
            for by, (values, threshold) in scores.items():
                for one, value in zip(some, values.tolist(), strict=True):
                    yield {
                        "relation": one.query.relation, "set": name, "by": by, "fact": one.query.fact.uid,
                        "language": one.query.language, "true": one.true, "score": value, "threshold": threshold,
                        "size": size,
                    }  # fmt: skip


def _by_set(
    lm: LanguageModel, some: Sequence[Statement], learned: Mapping[str, Sets], plan: Plan
) -> dict[str, tuple[int, torch.Tensor, torch.Tensor]]:
    """By set, how many neurons the relation has, and the scores by them and by random ones."""
    found = {}
    for name in (MATRICE, "union"):
        known = [own[name] for own in learned.values() if len(own[name])]
        if known and len(neurons := relation_neurons(known)):
            found[name] = (neurons, random_of(neurons, plan.seed))
    if not found:
        return {}
    pairs = [one for pair in found.values() for one in pair]
    scores = scores_by_set(lm, some, pairs, plan.localizer, **plan.settings)
    return {name: (len(found[name][0]), scores[2 * place], scores[2 * place + 1]) for place, name in enumerate(found)}


def _summaries(told: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    for (name, by), own in told.partition_by("set", "by", as_dict=True, maintain_order=True).items():
        parts = [("all", language) for language in ("all", *own["language"].unique(maintain_order=True))]
        parts += [(relation, "all") for relation in own["relation"].unique(maintain_order=True)]
        for relation, language in parts:
            some = own.filter(
                (pl.col("relation") == relation) | pl.lit(relation == "all"),
                (pl.col("language") == language) | pl.lit(language == "all"),
            )
            if some["true"].n_unique() == 2:
                yield {"relation": relation, "set": name, "by": by, "language": language, **_measured(some, plan)}


def _measured(some: pl.DataFrame, plan: Plan) -> Row:
    """AUC of the scores, and what is called right by each fold's own threshold."""
    scores, least = (torch.tensor(some[name].to_list(), dtype=torch.float64) for name in ("score", "threshold"))
    truth, facts = some["true"].to_list(), some["fact"].to_list()
    ranked = check_facts(scores, truth, groups=facts, seed=plan.seed)
    called = check_facts(scores - least, truth, 0.0, groups=facts, seed=plan.seed, resamples=2)
    return {
        "size": round(float(np.mean(some["size"].to_numpy()))),
        "auc": ranked.auc.mean,
        "auc_low": ranked.auc.low,
        "auc_high": ranked.auc.high,
        "precision": called.precision,
        "recall": called.recall,
        "f1": called.f1,
        "facts": ranked.auc.n,
        "statements": ranked.statements,
        "true": ranked.true,
    }
