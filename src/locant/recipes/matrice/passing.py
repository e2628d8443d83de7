"""Neurons that pass in a language, and how many pass in several: of one fact, and of as many facts as languages.

A neuron passes in a language if its score there, over wordings, is more than a share of the language's highest. What
passes in several languages may belong to the relation, or be high for any fact: so each language's neurons are also
taken from another fact of the relation, and counted alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random

import numpy as np
import polars as pl

from locant.recipes.matrice.located import Asked
from locant.recipes.matrice.means import spread_of
from locant.recipes.matrice.plan import SHARES, Plan
from locant.recipes.rows import Row

LEAST = 2
"""Other facts of the relation that each of a fact's languages needs: with one, all languages would be of that one."""
Units = dict[tuple[str, str], np.ndarray]
"""By fact and language, the neurons that pass."""


def agreeing_rows(passing: pl.DataFrame, asked: Sequence[Asked], plan: Plan) -> Iterator[Row]:
    """How many neurons pass in so many of the languages that know a fact, for each share of the highest score.

    `of` is 'the fact'; 'other facts', where each language's neurons are those of another fact of the relation that is
    known in it, drawn for each language by itself, the mean over draws; and 'difference', of the same facts. Two
    languages may draw one fact, so that chance is rather too high than too low. `least` is null for all the
    languages that know the fact.

    Args:
        passing: the neurons of each fact and language, with their `ratio` to the highest.
        asked: facts that are known in two languages or more are counted, if enough others are known there.
    """
    known = [one for one in asked if len(one.known) > 1]
    drawn = {one.fact.uid: found for one in known if (found := list(_drawn(one, known, plan)))}
    compared = [one for one in known if one.fact.uid in drawn]
    for share in sorted({*SHARES, plan.share}):
        units = _units(passing.filter(pl.col("ratio") > share)) if len(passing) else {}
        counts = {}
        for one in compared:
            chance = [_counts(units, zip(facts, one.known, strict=True)) for facts in drawn[one.fact.uid]]
            own = _counts(units, ((one.fact.uid, language) for language in one.known))
            counts[one.fact.uid] = {"the fact": own, "other facts": np.mean(chance, axis=0)}
        yield from _means(share, counts, plan)


def _drawn(one: Asked, known: Sequence[Asked], plan: Plan) -> Iterator[tuple[str, ...]]:
    """For each draw, the other fact that each language's neurons are of; nothing where there are too few."""
    peers = [each for each in known if each is not one and each.fact.relation == one.fact.relation]
    others = [[each.fact.uid for each in peers if language in each.known] for language in one.known]
    if min(map(len, others)) < LEAST:
        return
    random = Random(f"{plan.seed}/{one.fact.uid}")
    for _ in range(plan.draws):
        yield tuple(random.choice(each) for each in others)


def _units(passing: pl.DataFrame) -> Units:
    """Each neuron as one number, by fact and language."""
    width = int(passing["neuron"].max() or 0) + 1  # type: ignore[arg-type]
    numbered = passing.with_columns(unit=pl.col("layer") * width + pl.col("neuron"))
    groups = numbered.partition_by("fact", "language", as_dict=True)
    return {(str(fact), str(language)): own["unit"].to_numpy() for (fact, language), own in groups.items()}


def _counts(units: Units, of: Iterable[tuple[str, str]]) -> np.ndarray:
    """How many neurons are in at least 1, 2, ... all of some sets."""
    sets = [units.get(each, np.empty(0, dtype=np.int64)) for each in of]
    times = np.unique(np.concatenate(sets), return_counts=True)[1]
    return np.array([(times >= least).sum() for least in range(1, len(sets) + 1)], dtype=np.float64)


def _means(share: float, counts: Mapping[str, Mapping[str, np.ndarray]], plan: Plan) -> Iterator[Row]:
    """Means over the facts that are known in so many languages."""
    most = max((len(own["the fact"]) for own in counts.values()), default=0)
    for least in (*range(1, most + 1), None):
        place = -1 if least is None else least - 1
        some = {uid: own for uid, own in counts.items() if len(own["the fact"]) > place}
        values = {of: np.array([own[of][place] for own in some.values()]) for of in ("the fact", "other facts")}
        if not some:
            continue
        for of, each in (*values.items(), ("difference", values["the fact"] - values["other facts"])):
            yield {"share": share, "least": least, "of": of, **spread_of(pl.Series(each), list(some), plan.seed)}
