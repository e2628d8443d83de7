"""Which neurons are a fact's, by the scores of its queries: every set that is compared, all of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from locant.recipes.matrice.plan import LIKE_UNION, MATRICE, OTHERS, OWN, RANDOM, Plan
from locant.selections.across_languages import agreed, language_agnostic
from locant.selections.random_sets import random_like
from locant.selections.share import at_most
from locant.selections.uncertainty import RULES, LanguageScores, by_language, over_languages, over_queries
from locant.types import Query, Selection


def choose(
    scores: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None,
    joined: LanguageScores,
    queries: Sequence[Query],
    speaking: Selection | None,
    plan: Plan,
) -> dict[str, Selection]:
    """Every set of a fact, by its name (`plan.SETS`).

    Args:
        scores, weights: by language, of its queries; `joined` is what `over_queries` makes of them.
        speaking: the strongest language neurons of the model, in order of strength; None where there are none.
    """
    own, size = by_language(joined, plan.lambda_q), plan.size
    first = over_queries({language: each[:1] for language, each in scores.items()})
    take = partial(language_agnostic, queries=queries, size=size)
    score = partial(over_languages, rule=plan.rule)
    sets = {
        MATRICE: take(score(joined, lambda_q=plan.lambda_q, lambda_l=plan.lambda_l)),
        "no query term": take(score(joined, lambda_q=0.0, lambda_l=plan.lambda_l)),
        "no language term": take(score(joined, lambda_q=plan.lambda_q, lambda_l=0.0)),
        "no uncertainty": take(score(joined, lambda_q=0.0, lambda_l=0.0)),
        **{
            f"by {name}": take(over_languages(joined, lambda_q=plan.lambda_q, lambda_l=plan.lambda_l, rule=name))
            for name in RULES
            if name != plan.rule
        },
        "one query": take(score(first, lambda_q=plan.lambda_q, lambda_l=plan.lambda_l)),
        "intersection": agreed(own, queries, least=1, share=plan.share, size=size),
        "union": take(own.amax(dim=0)),
    }
    if speaking is not None:
        sets["language neurons"] = at_most(speaking, size)
    for language, each in zip(joined.languages, own, strict=True):
        sets[OWN + language] = take(each)
        others = {name: rest for name, rest in scores.items() if name != language}
        kept = None if weights is None else {name: weights[name] for name in others}
        sets[OTHERS + language] = agnostic(others, kept, queries=queries, plan=plan)
    for draw in range(plan.random_sets):
        # Where languages agree on no neuron, the controls of other experiments are still needed
        matched = sets[MATRICE] if len(sets[MATRICE]) else sets["union"]
        sets[f"{RANDOM} {draw + 1}"] = random_of(matched, plan.seed, draw)
        sets[f"{LIKE_UNION} {draw + 1}"] = random_of(sets["union"], plan.seed, draw)
    return sets


def agnostic(
    scores: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None, *, queries: Sequence[Query], plan: Plan
) -> Selection:
    """The language-agnostic set of some languages' scores."""
    joined = over_queries(scores, weights)
    found = over_languages(joined, lambda_q=plan.lambda_q, lambda_l=plan.lambda_l, rule=plan.rule)
    return language_agnostic(found, queries, size=plan.size)


def random_of(chosen: Selection, seed: int, draw: int = 0) -> Selection:
    """Random neurons of the same layers, another draw for every fact."""
    return random_like(chosen, seed, f"{chosen.queries[0].fact.uid}/{draw}")
