"""Do the wordings of one fact use the same neurons?

A localizer gives every query (wording) of a fact a set of neurons of its own. If a fact sat in a few neurons, its
queries would agree on them; a knowledge-consistency score says how far they do. Two traps lie on the way:

- Scores depend on how many queries there are and how large their sets are: two facts, or two methods, can be
  compared at equal numbers only (`matched`).
- Some agreement comes from the relation, whose neurons serve all of its facts, and some from chance:
  `shuffled_null` composes pseudo-facts of queries of different facts, and `above_null` says what the fact adds.

A third, which comes with a threshold, is the matter of kinds.py.

Source: Chen et al. 2024, arXiv:2405.14117, section 2. The formulas of CS1 and CS2 are the likeliest reading of what
others report of it, and have not been held against its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.selections.share import same_grid, strongest
from locant.types import Selection

SetsByFact: TypeAlias = Mapping[str, Sequence[Selection]]
"""By the fact's uid, the neurons of each of its queries."""


@dataclass(frozen=True)
class Consistency:
    """How far the queries of one fact agree on its neurons.

    Attributes:
        queries: how many; every score depends on it.
        size: mean number of neurons of a query; every score depends on it.
        cs1, cs2, jaccard: as the functions of these names; NaN where no query has any neuron.
    """

    fact: str
    relation: str
    queries: int
    size: float
    cs1: float
    cs2: float
    jaccard: float


@dataclass(frozen=True)
class NullTest:
    """A mean over facts against the same mean over shuffled facts.

    Attributes:
        expected: mean of the null, with its central 95% from `low` to `high`.
        p: share of draws (the observed one among them) that reach the observed mean; never 0.
        facts: how many the means are over.
    """

    observed: float
    expected: float
    low: float
    high: float
    p: float
    draws: int
    facts: int


# Scores of one fact


def cs1(sets: Sequence[Selection]) -> float:
    """|units of every set| / |units of any|: 1 for identical sets, 0 for disjoint ones, NaN if all are empty.

    Raises:
        UnknownName: fewer than two sets, or sets of models of several sizes.
    """
    return _in_all(members_of(codes_of(sets)))


def cs2(sets: Sequence[Selection]) -> float:
    """|units of at least two sets| / |units of any|: lenient, so that calling a fact inconsistent is not.

    It grows with the number of sets. 1 for identical sets, 0 for disjoint ones, NaN if all are empty.

    Raises:
        UnknownName: as for `cs1`.
    """
    return _in_two(members_of(codes_of(sets)))


def mean_jaccard(sets: Sequence[Selection]) -> float:
    """|units of both| / |units of either|, the mean over pairs of sets; pairs of empty sets are left out.

    Its expectation does not depend on the number of sets. NaN if all are empty.

    Raises:
        UnknownName: as for `cs1`.
    """
    return _pairwise(members_of(codes_of(sets)))


def by_fact(sets: Iterable[Selection]) -> dict[str, tuple[Selection, ...]]:
    """Sets of single queries, gathered by the queries' facts.

    Raises:
        UnknownName: a set is not of exactly one query.
    """
    gathered: dict[str, tuple[Selection, ...]] = {}
    for one in sets:
        if len(one.queries) != 1:
            raise UnknownName(f"consistency is between the sets of single queries; one is of {len(one.queries)}")
        uid = one.queries[0].fact.uid
        gathered[uid] = (*gathered.get(uid, ()), one)
    return gathered


def matched(
    sets_by_fact: SetsByFact, k: int | None = None, size: int | None = None, seed: int = 0
) -> dict[str, tuple[Selection, ...]]:
    """The same facts with k queries each, drawn at random, and the `size` strongest neurons of each query.

    What cannot be matched is left out: queries with fewer neurons than `size`, then facts with fewer than k (or
    than two) queries. Compare the numbers of facts to see how many these are.

    Args:
        k: queries of each fact; None for all it has.
        size: neurons of each query; None for all it has.

    Raises:
        UnknownName: nothing is left, or the numbers make no sense.
    """
    if (k is not None and k < 2) or (size is not None and size < 1):
        raise UnknownName(f"matching takes 2 queries or more and 1 neuron or more, not {k} and {size}")
    numbers = np.random.default_rng(seed)
    kept: dict[str, tuple[Selection, ...]] = {}
    for fact, sets in sets_by_fact.items():
        large = [one for one in sets if size is None or len(one) >= size]
        if len(large) < (k or 2):
            continue
        chosen = numbers.choice(len(large), k, replace=False) if k else np.arange(len(large))
        drawn = [large[index] for index in sorted(chosen.tolist())]
        kept[fact] = tuple(drawn if size is None else (strongest(one, size) for one in drawn))
    if not kept:
        raise UnknownName(f"no fact has {k or 2} queries" + ("" if size is None else f" with {size} neurons each"))
    return kept


def consistency_of(
    sets_by_fact: SetsByFact, k: int | None = None, size: int | None = None, seed: int = 0
) -> tuple[Consistency, ...]:
    """How far each fact's queries agree, all facts at the same number of queries and of neurons (see `matched`).

    Raises:
        UnknownName: as for `matched` and `cs1`.
    """
    return tuple(_consistency(fact, sets) for fact, sets in matched(sets_by_fact, k, size, seed).items())


def _consistency(fact: str, sets: Sequence[Selection]) -> Consistency:
    members = members_of(codes_of(sets))
    return Consistency(
        fact=fact,
        relation=_relation(sets),
        queries=len(sets),
        size=float(members.sum() / len(sets)),
        **{name: measure(members) for name, measure in MEASURES.items()},
    )


# What chance and the relation give


def shuffled_null(
    sets_by_fact: SetsByFact,
    draws: int = 1000,
    seed: int = 0,
    *,
    within_relation: bool = True,
    measure: str = "cs2",
) -> Float[Tensor, "draw fact"]:
    """Scores of pseudo-facts: in the place of each fact, as many queries of different facts.

    Within a relation, what the queries of a pseudo-fact share is the relation's (and the prompt's and the
    method's), so that a score above this null is the fact's own. Across relations, no two queries are of one
    relation either: what is left is what the method finds whatever is asked. No two queries of a pseudo-fact
    have the same wording, as no two of a fact have; otherwise the wording would be shared as well.

    Args:
        sets_by_fact: of facts to be compared with the null, matched as they are.
        within_relation: all queries of one relation (the fact's), or each of another.
        measure: 'cs1', 'cs2' or 'jaccard'.

    Returns:
        NaN where a relation has fewer facts, or the data fewer relations, than a fact has queries.

    Raises:
        UnknownName: no such measure, or no pseudo-fact can be composed.
    """
    score = measure_named(measure)
    facts = [_Wordings.of(sets) for sets in sets_by_fact.values()]
    relations: dict[str, list[_Wordings]] = {}
    for fact in facts:
        relations.setdefault(fact.relation, []).append(fact)
    apart = {name: [[fact] for fact in own] if within_relation else [] for name, own in relations.items()}
    numbers = np.random.default_rng(seed)
    scores = np.full((draws, len(facts)), np.nan)
    for draw, place in np.ndindex(*scores.shape):
        groups = apart[facts[place].relation] if within_relation else list(relations.values())
        composed = _compose(len(facts[place].codes), groups, numbers)
        if composed is not None:
            scores[draw, place] = score(members_of(composed))
    if not np.isfinite(scores).any():
        need = "facts of one relation" if within_relation else "relations"
        raise UnknownName(f"there are fewer {need} than a fact has queries: match facts at a smaller k")
    return torch.from_numpy(scores)


def above_null(observed: Float[Tensor, " fact"], null: Float[Tensor, "draw fact"]) -> NullTest:
    """Is the mean score of the facts above that of shuffled ones? A test with no threshold in it.

    Facts without a score, or without a pseudo-fact in their place, are left out of both means.

    Args:
        observed: scores of the facts that `shuffled_null` was given, in their order and by its measure.

    Source: for p, Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    usable = observed.isfinite() & null.isfinite().any(dim=0)
    if not usable.any():
        raise UnknownName("no fact has both a score and a null to compare it with")
    mean = float(observed[usable].double().mean())
    means = null[:, usable].double().nanmean(dim=1)
    means = means[means.isfinite()]
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    # Sums in another order must not tell equal means apart
    reached = int((means >= mean - 1e-12).sum())
    p = (1 + reached) / (1 + len(means))
    return NullTest(mean, float(means.mean()), low, high, p, len(means), int(usable.sum()))


@dataclass(frozen=True)
class _Wordings:
    """A fact's queries, ready to be drawn from: their names and their units as numbers."""

    relation: str
    names: tuple[str, ...]
    codes: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, sets: Sequence[Selection]) -> _Wordings:
        templates = ["".join(query.template for query in one.queries) for one in sets]
        names = tuple(template or str(place) for place, template in enumerate(templates))
        return cls(_relation(sets), names, tuple(codes_of(sets)))


def _compose(k: int, groups: Sequence[Sequence[_Wordings]], numbers: np.random.Generator) -> list[np.ndarray] | None:
    """The units of k queries, no two of one group or of one wording; None if there are no k."""
    composed: list[np.ndarray] = []
    taken: set[str] = set()
    for index in numbers.permutation(len(groups)):
        group = groups[int(index)]
        fact = group[int(numbers.integers(len(group)))]
        free = [place for place, name in enumerate(fact.names) if name not in taken]
        if not free:
            continue
        place = free[int(numbers.integers(len(free)))]
        composed.append(fact.codes[place])
        taken.add(fact.names[place])
        if len(composed) == k:
            return composed
    return None


# Units as numbers


def codes_of(sets: Sequence[Selection]) -> list[np.ndarray]:
    """The units of each set as numbers, layer by layer.

    Raises:
        UnknownName: fewer than two sets, or sets of models of several sizes.
    """
    if len(sets) < 2:
        raise UnknownName(f"consistency is between two queries or more; the fact has {len(sets)}")
    _, width = same_grid(sets)
    return [(one.units[:, 0] * width + one.units[:, 1]).numpy() for one in sets]


def members_of(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Of each query, which units of the union are in its set [query unit]."""
    units, place = np.unique(np.concatenate(codes), return_inverse=True)
    members = np.zeros((len(codes), len(units)), dtype=bool)
    members[np.repeat(np.arange(len(codes)), [len(one) for one in codes]), place] = True
    return members


def _in_all(members: np.ndarray) -> float:
    return float(members.all(axis=0).mean()) if members.any() else float("nan")


def _in_two(members: np.ndarray) -> float:
    return float((members.sum(axis=0) >= 2).mean()) if members.any() else float("nan")


def _pairwise(members: np.ndarray) -> float:
    one, other = np.triu_indices(len(members), 1)
    both = (members[one] & members[other]).sum(axis=1)
    either = (members[one] | members[other]).sum(axis=1)
    return float((both[either > 0] / either[either > 0]).mean()) if members.any() else float("nan")


MEASURES: dict[str, Callable[[np.ndarray], float]] = {"cs1": _in_all, "cs2": _in_two, "jaccard": _pairwise}


def measure_named(name: str) -> Callable[[np.ndarray], float]:
    """A measure of `members_of` some sets.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in MEASURES:
        raise UnknownName(f"no measure {name!r}{nearest(name, MEASURES)}; there are {', '.join(MEASURES)}")
    return MEASURES[name]


def _relation(sets: Sequence[Selection]) -> str:
    return next((query.relation for one in sets for query in one.queries), "")
