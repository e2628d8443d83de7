"""Who is asked: each question's own prompts, and those of another question of another group beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from scipy.optimize import linear_sum_assignment

from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca.located import WHOLE, without

HALVES = ("group, first half", "group, second half")
"""Parts of the questions that a group's neurons are located with."""


@dataclass(frozen=True)
class Case:
    """Neurons, and the prompts that judge them.

    Attributes:
        owner: the question that is asked.
        part, name: whose neurons they are: what they were located with, and of which question or group.
        related: prompts of the owner.
        unrelated: prompts of a question of another group and fact.
    """

    owner: ChoiceQuestion
    evaluation: str
    part: str
    name: str
    related: tuple[ChoicePrompt, ...]
    unrelated: tuple[ChoicePrompt, ...]


def cases(questions: Sequence[ChoiceQuestion], seed: int) -> Iterator[Case]:
    """Judged by a question's own prompts: all of them, or each template in turn and the others beside it.

    Neurons located without a template are judged by it (held-out template), and by the templates that they were
    located with (seen templates): the two differ in nothing else.
    """
    other = partners(questions, seed)
    for one in questions:
        beside = other[one.uid]
        yield Case(one, "in-sample", WHOLE, one.uid, one.prompts, beside.prompts)
        for place in range(len(one.prompts) if len(one.prompts) > 1 else 0):
            for evaluation, own in (("held-out template", True), ("seen templates", False)):
                related, unrelated = (
                    tuple(prompt for at, prompt in enumerate(each.prompts) if (at == place) is own)
                    for each in (one, beside)
                )
                yield Case(one, evaluation, without(place), one.uid, related, unrelated)


def group_cases(questions: Sequence[ChoiceQuestion], seed: int) -> Iterator[Case]:
    """Every question by neurons of its group: those its half located (known), and those the other half did.

    The question beside it is of the same half, so that of the known ones both, of the held-out ones neither was
    part of what located the neurons. Where a group has no question in a half, that half has no neurons of it.
    """
    first = halves(questions, seed)
    for own, half in zip(HALVES, first, strict=True):
        rest = HALVES[1 - HALVES.index(own)]
        there = {question.group for question in first[HALVES.index(rest)]}
        other = partners(half, seed)
        for one in half:
            if one.uid in other:
                beside = other[one.uid].prompts
                yield Case(one, "known question", own, one.group, one.prompts, beside)
                if one.group in there:
                    yield Case(one, "held-out question", rest, one.group, one.prompts, beside)


def halves(questions: Sequence[ChoiceQuestion], seed: int) -> tuple[list[ChoiceQuestion], list[ChoiceQuestion]]:
    """Half of the facts of each group, drawn at random, and the other half; groups of one fact are left out.

    A fact's questions, in several languages, are all in one half.
    """
    side: dict[str, bool] = {}
    groups: dict[str, list[str]] = {}
    for one in questions:
        facts = groups.setdefault(one.group, [])
        if one.fact not in facts:
            facts.append(one.fact)
    for group, facts in groups.items():
        if len(facts) > 1:
            known = sum(side.get(fact, False) for fact in facts)
            free = sorted(fact for fact in facts if fact not in side)
            Random(f"{seed}/{group}").shuffle(free)
            wanted = max(0, len(facts) // 2 - known)
            side |= {fact: place < wanted for place, fact in enumerate(free)}
    kept = [one for one in questions if len(groups[one.group]) > 1]
    return [one for one in kept if side[one.fact]], [one for one in kept if not side[one.fact]]


def partners(questions: Sequence[ChoiceQuestion], seed: int) -> Mapping[str, ChoiceQuestion]:
    """By question, another one of another group and of another fact, drawn at random.

    Each stands beside one question, if that can be; questions that have no such other are left out.
    """
    names = list(dict.fromkeys(one.group for one in questions))
    facts = {fact: number for number, fact in enumerate(dict.fromkeys(one.fact for one in questions))}
    group = np.array([names.index(one.group) for one in questions], dtype=np.int64)
    fact = np.array([facts[one.fact] for one in questions], dtype=np.int64)
    may = (group[:, None] != group[None, :]) & (fact[:, None] != fact[None, :])
    numbers = np.random.default_rng(seed)
    # One that may not costs more than all that may together
    cost = np.where(may, numbers.random(may.shape), 2.0 * (len(questions) + 1))
    drawn = dict(zip(*(side.tolist() for side in linear_sum_assignment(cost)), strict=True))
    found: dict[str, ChoiceQuestion] = {}
    for place, one in enumerate(questions):
        left = np.flatnonzero(may[place])
        if len(left):
            which = drawn[place] if may[place, drawn[place]] else int(numbers.choice(left))
            found[one.uid] = questions[which]
    return found
