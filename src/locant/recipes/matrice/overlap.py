"""What two languages' own neurons of a fact have in common, beside those of two facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from locant.evaluations.outcomes import interval
from locant.languages import SCRIPTS
from locant.queries.quality import FAMILIES
from locant.recipes.matrice.located import Asked, Sets
from locant.recipes.matrice.plan import OWN, Plan
from locant.recipes.rows import Row, as_row

NULLS = 999
"""Random pairings of facts."""


def overlap_rows(sets: Mapping[str, Sets], asked: Sequence[Asked], plan: Plan) -> Iterator[Row]:
    """What two languages' own neurons of a fact have in common, beside those of two facts of one relation.

    `expected` is the mean if the facts of one language were paired with the others' at random, within relations, of
    the facts of the row; p is of a mean as high by such pairing.
    """
    known = [one for one in asked if one.fact.uid in sets]
    languages = list(dict.fromkeys(language for one in known for language in one.known))
    rng = np.random.default_rng(plan.seed)
    for place, first in enumerate(languages):
        for second in languages[place + 1 :]:
            both = [one for one in known if first in one.known and second in one.known]
            if len(both) < 3:
                continue
            table = _jaccards([sets[one.fact.uid] for one in both], OWN + first, OWN + second)
            own, chance = np.diag(table), _paired_anew(table, [one.fact.relation for one in both], rng)
            same = np.array([one.fact.answers[first] == one.fact.answers[second] for one in both])
            about: Row = {
                "first": first,
                "second": second,
                "family": _alike(FAMILIES, first, second),
                "script": _alike(SCRIPTS, first, second),
            }
            for answers in (None, False, True):
                kept = np.flatnonzero(np.full(len(both), True) if answers is None else same == answers)
                if not len(kept):
                    continue
                drawn = chance[:, kept].mean(axis=1)
                mean = interval(torch.from_numpy(own[kept]), [both[k].fact.uid for k in kept], seed=plan.seed)
                p = (1 + int((drawn >= own[kept].mean()).sum())) / (1 + len(drawn))
                yield {**about, "same_answer": answers, **as_row(mean), "expected": float(drawn.mean()), "p": p}


def _paired_anew(table: np.ndarray, relations: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Of each draw, every fact's index with the fact that it is paired with, of its relation: [draw, fact]."""
    groups = [np.flatnonzero(np.array(relations) == relation) for relation in dict.fromkeys(relations)]
    drawn = np.empty((NULLS, len(table)))
    for draw in range(NULLS):
        for group in groups:
            drawn[draw, group] = table[group, rng.permutation(group)]
    return drawn


def _alike(kinds: Mapping[str, str], first: str, second: str) -> bool | None:
    """Whether both are of one kind; None if of one it is not known."""
    return kinds[first] == kinds[second] if first in kinds and second in kinds else None


def _jaccards(sets: Sequence[Sets], first: str, second: str) -> np.ndarray:
    ones, others = ([set(map(tuple, each[name].units.tolist())) for each in sets] for name in (first, second))
    return np.array([[len(a & b) / max(len(a | b), 1) for b in others] for a in ones])
