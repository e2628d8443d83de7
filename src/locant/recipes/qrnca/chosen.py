"""Which neurons are a question's, or a group's: by every method, and at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch

from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca.located import Located
from locant.recipes.qrnca.plan import FEW, KNOWLEDGE, OWN, RANDOM, Plan
from locant.selections.clusters import (
    Cluster,
    common_neurons,
    inverse_cluster_attribution,
    merge_by_group,
    query_neurons,
)
from locant.selections.random_sets import random_like
from locant.selections.share import at_most, union
from locant.types import Provenance, Selection

Named: TypeAlias = Mapping[str, Selection]
"""By question, or by group: neurons."""
Sets: TypeAlias = Mapping[str, Sequence[Named]]
"""By method, its sets: one of each name, of random neurons as many as are drawn."""

DRAWS = 3
"""Random sets of each group."""


def choose_neurons(located: Located, plan: Plan) -> Sets:
    """By method, by question: QR neurons, the paper's ablations and its baselines, and as few as one of these has."""
    clusters, top, common = located.clusters, plan.top, plan.common
    own = query_neurons(clusters, top, common)
    dai, active = located.chosen[KNOWLEDGE], located.chosen["activation"]
    return {
        OWN: [own],
        "qrnca without ICA": [query_neurons(clusters, top, common, use_ica=False)],
        "qrnca with common neurons": [query_neurons(clusters, top, common, remove_common=False)],
        FEW: [{uid: at_most(one, len(dai[uid])) for uid, one in own.items()}],
        KNOWLEDGE: [dai],
        "activation": [{uid: at_most(active[uid], len(one)) for uid, one in own.items()}],
        RANDOM: [{uid: random_like(one, plan.seed, uid) for uid, one in own.items()}],
    }


def choose_for_groups(located: Located, known: Sequence[ChoiceQuestion], plan: Plan) -> Sets:
    """By method, by group: the neurons of its known questions together; no other question has a part in them.

    ICA and common neurons are those of the known questions' clusters: of the few groups' own they would say little.
    A group's neuron has the sum of its questions' naica, and as many of the highest are taken as a question may
    have, common ones left out. The baselines are the neurons that most of its questions chose. All are as many as
    QRNCA's, unless there are not so many.
    """
    groups = {question.uid: question.group for question in known}
    mine = [one for one in located.clusters if one.uid in groups]
    if not mine:
        return {}
    common = common_neurons(mine, plan.common)
    naica = inverse_cluster_attribution(mine)
    none = at_most(common, 0)
    own = _summed(mine, naica, groups, common, plan.top)
    chosen = {
        OWN: own,
        "qrnca without ICA": _summed(mine, [one.scores for one in mine], groups, common, plan.top),
        "qrnca with common neurons": _summed(mine, naica, groups, none, plan.top),
        **{
            method: {
                group: union([by_question[uid] for uid in groups if groups[uid] == group])
                for group in dict.fromkeys(groups.values())
            }
            for method, by_question in located.chosen.items()
        },
    }
    sized = {
        method: [{group: at_most(one, len(own[group])) for group, one in sets.items()}]
        for method, sets in chosen.items()
    }
    drawn = [
        {group: random_like(one, plan.seed, f"{group}/{draw}") for group, one in own.items()} for draw in range(DRAWS)
    ]
    return {**sized, RANDOM: drawn}


def pools_of(located: Located, known: Sequence[ChoiceQuestion], plan: Plan) -> Named:
    """By group, the neurons of any of its known questions, chosen among the known questions' clusters alone."""
    groups = {question.uid: question.group for question in known}
    mine = [one for one in located.clusters if one.uid in groups]
    if not mine:
        return {}
    sets = query_neurons(mine, plan.top, plan.common)
    return {
        group: union([sets[uid] for uid in groups if groups[uid] == group])
        for group in dict.fromkeys(groups.values())
    }


def _summed(
    clusters: Sequence[Cluster],
    weights: Sequence[torch.Tensor],
    groups: Mapping[str, str],
    refused: Selection,
    top: int,
) -> dict[str, Selection]:
    """By group, the neurons of the highest summed weights above 0, but those that are refused."""
    weighed = [replace(one, scores=own) for one, own in zip(clusters, weights, strict=True)]
    width = refused.grid[1]
    codes = refused.units[:, 0] * width + refused.units[:, 1]
    found = {}
    for one in merge_by_group(weighed, groups):
        kept = ((one.scores > 0) & ~torch.isin(one.units[:, 0] * width + one.units[:, 1], codes)).nonzero()[:, 0]
        made_by = Provenance("summed_naica", {"top": top}, parents=(one.made_by.digest(), refused.made_by.digest()))
        found[one.uid] = at_most(Selection(one.queries, one.units[kept], one.scores[kept], one.grid, made_by), top)
    return found
