"""What boosting and suppressing a question's neurons does to its answer, and to those of other fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.sets import Touched, letters_by_set
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca.located import Located
from locant.recipes.qrnca.plan import OPERATIONS, Plan
from locant.selections import random_set
from locant.selections.clusters import merge_by_group, query_neurons
from locant.types import Provenance, Selection

Sets = Mapping[str, Mapping[str, Selection]]
"""By method, by question (or by group): neurons."""
Letters = Mapping[str, Float[Tensor, " letter"]]
"""By a prompt's uid, the probabilities of the letters before anything is touched."""


@dataclass(frozen=True)
class Case:
    """A question's neurons (or a group's), and the prompts that judge them.

    Attributes:
        owner: whose neurons they are: a question, or one of the group's.
        related: prompts of the question, or of others of its group.
        unrelated: prompts of a question of another group.
    """

    owner: ChoiceQuestion
    related: tuple[ChoicePrompt, ...]
    unrelated: tuple[ChoicePrompt, ...]
    evaluation: str


def choose_neurons(located: Located, plan: Plan) -> dict[str, dict[str, Selection]]:
    """By method, by question: QR neurons, the paper's ablations and its baselines."""
    clusters, top, common = located.clusters, plan.top, plan.common
    own = query_neurons(clusters, top, common)
    return {
        "qrnca": own,
        "qrnca without ICA": query_neurons(clusters, top, common, use_ica=False),
        "qrnca with common neurons": query_neurons(clusters, top, common, remove_common=False),
        "knowledge neurons": located.chosen["knowledge neurons"],
        "activation": {
            uid: _first(located.chosen["activation"][uid], len(own[uid])) for uid in located.chosen["activation"]
        },
        "random": {uid: _random(one, plan.seed, uid) for uid, one in own.items()},
    }


def choose_for_groups(
    located: Located, questions: Sequence[ChoiceQuestion], plan: Plan
) -> dict[str, dict[str, Selection]]:
    """By method, by group: neurons of all of some questions together.

    Clusters of a group are added up, and their neurons chosen as a question's are. Of the baselines, those are
    taken that most of its questions chose.
    """
    groups = {question.uid: question.group for question in questions}
    mine = [one for one in located.clusters if one.uid in groups]
    if not mine:
        return {}
    merged, top, common = merge_by_group(mine, groups), plan.top, plan.common
    own = query_neurons(merged, top, common)
    chosen = {
        "qrnca": own,
        "qrnca without ICA": query_neurons(merged, top, common, use_ica=False),
        "qrnca with common neurons": query_neurons(merged, top, common, remove_common=False),
    }
    for method, by_question in located.chosen.items():
        chosen[method] = {
            group: _most_frequent([by_question[uid] for uid in groups if groups[uid] == group], top, method)
            for group in own
        }
    return {**chosen, "random": {group: _random(one, plan.seed, group) for group, one in own.items()}}


def cases(questions: Sequence[ChoiceQuestion], seed: int) -> Iterator[Case]:
    """In-sample, and by the last template; each question beside one of another group, drawn at random."""
    for question in questions:
        others = [one for one in questions if one.group != question.group]
        other = Random(f"{seed}/{question.uid}").choice(others)
        yield Case(question, question.prompts, other.prompts, "in-sample")
        if len(question.prompts) > 1:
            yield Case(question, question.prompts[-1:], other.prompts[-1:], "held-out template")


def group_cases(held_out: Sequence[ChoiceQuestion], seed: int) -> Iterator[Case]:
    """Questions that no neuron was located with, each beside one of another group."""
    for question in held_out:
        others = [one for one in held_out if one.group != question.group]
        if others:
            other = Random(f"{seed}/{question.uid}").choice(others)
            yield Case(question, question.prompts, other.prompts, "held-out question")


def touch(lm: LanguageModel, asked: Sequence[Case], sets: Sets, letters: Letters, by_group: bool) -> pl.DataFrame:
    """Every method's neurons, boosted and suppressed while related and unrelated prompts are asked: a row each.

    Args:
        by_group: sets are named by group, not by question.
    """
    about, rows = [], []
    for case in asked:
        key = case.owner.group if by_group else case.owner.uid
        for method, named in sets.items():
            for kind, prompts in (("related", case.related), ("unrelated", case.unrelated)):
                for prompt in prompts:
                    about.append((case, method, kind, prompt, len(named[key])))
                    rows.append(Touched(prompt.query, named[key]))
    table: list[dict[str, object]] = []
    for operation, by in OPERATIONS.items():
        after = letters_by_set(lm, rows, by, asked[0].related[0].letters)
        for (case, method, kind, prompt, size), found in zip(about, after, strict=True):
            table.append(
                {
                    "method": method,
                    "evaluation": case.evaluation,
                    "operation": operation,
                    "question": case.owner.uid,
                    "group": case.owner.group,
                    "asked": kind,
                    "prompt": prompt.query.uid,
                    "size": size,
                    "right": prompt.right,
                    "letters_before": letters[prompt.query.uid].tolist(),
                    "letters_after": found.tolist(),
                }
            )
    return pl.DataFrame(table)


def halves(questions: Sequence[ChoiceQuestion], seed: int) -> tuple[list[ChoiceQuestion], list[ChoiceQuestion]]:
    """Half of the questions of each group, drawn at random, and the other half; groups of one are left out."""
    first: set[str] = set()
    second: set[str] = set()
    for group in dict.fromkeys(question.group for question in questions):
        own = {question.uid for question in questions if question.group == group}
        if len(own) > 1:
            known = Random(f"{seed}/{group}").sample(sorted(own), len(own) // 2)
            first.update(known)
            second |= own.difference(known)
    return (
        [question for question in questions if question.uid in first],
        [question for question in questions if question.uid in second],
    )


def _first(chosen: Selection, count: int) -> Selection:
    """The strongest of a set."""
    kept = chosen.weight.argsort(descending=True, stable=True)[:count].sort().values
    return Selection(chosen.queries, chosen.units[kept], chosen.weight[kept], chosen.grid, chosen.made_by)


def _random(chosen: Selection, seed: int, name: str) -> Selection:
    try:
        return random_set(chosen, Random(f"{seed}/{name}").getrandbits(31))
    except UnknownName:  # more than half of a layer is chosen: there are not so many others
        return random_set(chosen, Random(f"{seed}/{name}").getrandbits(31), layer_matched=False)


def _most_frequent(sets: Sequence[Selection], count: int, method: str) -> Selection:
    """The neurons that most sets hold; of equally many, those of more weight."""
    held: Counter[tuple[int, int]] = Counter()
    weight: Counter[tuple[int, int]] = Counter()
    for one in sets:
        for unit, value in zip(map(tuple, one.units.tolist()), one.weight.tolist(), strict=True):
            held[unit] += 1
            weight[unit] += value
    best = sorted(sorted(held, key=lambda unit: (-held[unit], -weight[unit], unit))[:count])
    return Selection(
        tuple(query for one in sets for query in one.queries),
        torch.tensor(best, dtype=torch.int64).reshape(-1, 2),
        torch.tensor([float(held[unit]) for unit in best]),
        sets[0].grid,
        Provenance("most_frequent", {"method": method, "count": count}),
    )
