"""What happens to a query's answer when its own neurons, its neighbours' or others are silenced or doubled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random

import polars as pl

from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.evaluations.sets import probability_by_set
from locant.models import LanguageModel
from locant.recipes.data import FactQueries, draw_facts
from locant.recipes.query_localization.plan import Plan
from locant.selections import random_set
from locant.selections.share import in_at_least, intersection, union
from locant.types import Query, Selection

OPERATIONS = {"suppress": 0.0, "enhance": 2.0}
AT_MOST = 4
"""Queries of a fact whose neurons are touched."""


def touch(
    lm: LanguageModel,
    asked: FactQueries,
    kind: str,
    sets: Mapping[str, Selection],
    other: Query,
    localizer: str,
    plan: Plan,
) -> pl.DataFrame:
    """Every set of neurons, touched while each of the fact's queries is asked.

    Args:
        sets: by a query's uid, its neurons.
        other: a query of an unrelated fact.
    """
    own = [sets[query.uid] for query in asked.queries]
    rows = []
    for place, query in enumerate(asked.queries[:AT_MOST]):
        before = float(read_answers(lm, [query]).log_probability.exp())
        groups = _with_random(_groups(own, place, sets[other.uid]), f"{plan.seed}/{query.uid}", plan.random_sets)
        for operation, by in OPERATIONS.items():
            after = probability_by_set(
                lm, query, [units for group in groups.values() for units in group], by
            ).tolist()
            reached = iter(after)
            for name, group in groups.items():
                mean = sum(islice(reached, len(group))) / len(group)
                rows.append(
                    {
                        "localizer": localizer,
                        "fact": asked.fact.uid,
                        "relation": asked.fact.relation,
                        "kind": kind,
                        "query": query.uid,
                        "set": name,
                        "size": sum(map(len, group)) / len(group),
                        "operation": operation,
                        "before": before,
                        "after": mean,
                        "change": (mean - before) / before if before > 0 else 0.0,
                    }
                )
    return pl.DataFrame(rows)


def _groups(own: Sequence[Selection], place: int, unrelated: Selection) -> dict[str, list[Selection]]:
    """By name, the sets whose effects are averaged."""
    return {
        "own": [own[place]],
        "neighbour": [one for at, one in enumerate(own) if at != place],
        "union": [union(own)],
        "intersection": [intersection(own)],
        "in 2 or more": [in_at_least(own, 2)],
        "unrelated": [unrelated],
    }


def _with_random(groups: Mapping[str, list[Selection]], seed: str, draws: int) -> dict[str, list[Selection]]:
    """With `draws` random sets for every set, as many neurons of every layer, where so many others are left."""
    found = dict(groups)
    for name, group in groups.items():
        try:
            matched = [
                random_set(one, Random(f"{seed}/{name}/{place}/{draw}").getrandbits(31))
                for place, one in enumerate(group)
                for draw in range(draws)
            ]
        except UnknownName:
            continue
        found[f"random like {name}"] = matched
    return found


def choose(facts: Sequence[FactQueries], kinds: Mapping[str, str], count: int, seed: int) -> dict[str, str]:
    """By the fact's uid, the kind of at most `count` facts of each kind, drawn evenly from the relations."""
    return {
        one.fact.uid: kind
        for kind in ("consistent", "inconsistent")
        for one in draw_facts([fact for fact in facts if kinds.get(fact.fact.uid) == kind], count, seed)
    }
