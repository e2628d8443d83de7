"""A fact's neurons: language-agnostic ones, each language's own, and what they are compared with, all of one size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
import torch
from jaxtyping import Float, Num
from torch import Tensor

from locant.attributions import attribute
from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.models import LanguageModel
from locant.queries.parallel import ParallelFact
from locant.recipes.matrice.chosen import agnostic, choose
from locant.recipes.matrice.plan import MATRICE, OWN, PEER, PEER_OWN, SHARES, Plan
from locant.recipes.parallel import halves
from locant.recipes.rows import Row
from locant.selections.across_languages import agreement_sizes
from locant.selections.stability import stability
from locant.selections.uncertainty import (
    by_language,
    over_queries,
    probability_weights,
    top1_weights,
    variance_parts,
)
from locant.types import Provenance, Query, Selection

Sets = Mapping[str, Selection]
"""By name, neurons of one fact."""


@dataclass(frozen=True)
class Asked:
    """A fact, parted: the queries its neurons are located with, and those that judge them.

    Attributes:
        known: the languages in which the model answers most of the locating queries; only these locate.
    """

    fact: ParallelFact
    locate: Mapping[str, tuple[Query, ...]]
    judge: Mapping[str, tuple[Query, ...]]
    known: tuple[str, ...]


def part(lm: LanguageModel, fact: ParallelFact) -> tuple[Asked, list[Row]]:
    """Halve a fact's queries in each language, and read their answers: a row each."""
    locate, judge = halves(fact)
    rows: list[Row] = []
    for name, half in (("locate", locate), ("judge", judge)):
        asked = [query for queries in half.values() for query in queries]
        answers = read_answers(lm, asked)
        for query, log, rank in zip(asked, answers.log_probability.exp(), answers.rank, strict=True):
            rows.append(
                {
                    "fact": fact.uid,
                    "relation": fact.relation,
                    "language": query.language,
                    "part": name,
                    "query": query.uid,
                    "answer": query.answer,
                    "probability": float(log),
                    "right": int(rank) == 1,
                }
            )
    return Asked(fact, locate, judge, known_in(rows)), rows


def known_in(rows: Sequence[Row]) -> tuple[str, ...]:
    """The languages with the right answer to most of the locating queries."""
    right: dict[str, list[bool]] = {}
    for row in rows:
        if row["part"] == "locate":
            right.setdefault(str(row["language"]), []).append(bool(row["right"]))
    return tuple(language for language, each in right.items() if 2 * sum(each) > len(each))


def locate(lm: LanguageModel, asked: Asked, speaking: Selection | None, plan: Plan) -> pl.DataFrame:
    """Every set of a fact that is known in two languages or more, and how stable the choice is, from the same scores.

    Args:
        speaking: the strongest language neurons of the model, in order of strength; None where there are none.

    Returns:
        A row for each neuron of each set, one without a neuron for an empty set; rows of how stable it is and of the
        neurons that pass in each language, which have a `what`. `parted` tells them apart.
    """
    started = time.perf_counter()
    queries = [query for language in asked.known for query in asked.locate[language]]
    found = attribute(lm, queries, plan.localizer, **plan.settings)  # type: ignore[arg-type]
    scores, weights = _by_language(lm, asked, found.scores, found.answer_prob, plan)
    seconds = time.perf_counter() - started
    joined = over_queries(scores, weights)
    sets = choose(scores, weights, joined, queries, speaking, plan)
    own = by_language(joined, plan.lambda_q)
    passed = (own > plan.share * own.amax(dim=(1, 2), keepdim=True)).sum(dim=0)
    grids = dict(zip(("within", "between", "languages"), (*variance_parts(joined), passed), strict=True))
    rows = [row for name, chosen in sets.items() for row in _neuron_rows(name, chosen, grids)]
    neurons = pl.DataFrame(rows, schema_overrides=_NEURON, infer_schema_length=None)
    neurons = neurons.with_columns(seconds=pl.lit(seconds), queries=pl.lit(len(queries)))
    stable = pl.DataFrame(
        list(_stability_rows(scores, weights, own, queries, plan)), schema_overrides={"least": pl.Int64}
    )
    passing = _passing(own, joined.languages, min(*SHARES, plan.share))
    everything = pl.concat([neurons, stable, passing], how="diagonal")
    return everything.select(pl.lit(asked.fact.uid).alias("fact"), pl.all())


@dataclass(frozen=True)
class Located:
    """What `locate` found of some facts.

    Attributes:
        neurons: of every set.
        stability: of the choice, and how many neurons pass in so many languages.
        passing: the neurons that pass in each language, with the ratio of their score there to its highest.
    """

    neurons: pl.DataFrame
    stability: pl.DataFrame
    passing: pl.DataFrame


def parted(found: pl.DataFrame) -> Located:
    """The tables that `locate` wrote as one."""
    if not len(found):
        return Located(found, found, found)
    stability, passing = ["what", "least", "value"], ["language", "ratio"]
    what = pl.col("what")
    return Located(
        found.filter(what.is_null()).drop(*stability, *passing),
        found.filter(what.is_not_null() & (what != PASSING)).select("fact", *stability),
        found.filter(what == PASSING).select("fact", "language", "layer", "neuron", "ratio"),
    )


PASSING = "passing"
_PASSING = {
    "what": pl.String, "language": pl.String, "layer": pl.Int64, "neuron": pl.Int64, "ratio": pl.Float64,
}  # fmt: skip
_NEURON = {
    "layer": pl.Int64, "neuron": pl.Int64, "weight": pl.Float64, "within": pl.Float64, "between": pl.Float64,
    "languages": pl.Int64,
}  # fmt: skip


def _neuron_rows(name: str, chosen: Selection, grids: Mapping[str, Num[Tensor, "layer neuron"]]) -> Iterator[Row]:
    """A row for each neuron of a set, with what each grid says of it; one without a neuron for an empty set."""
    if not len(chosen):
        yield {"set": name, **dict.fromkeys(_NEURON)}
    for (layer, neuron), weight in zip(chosen.units.tolist(), chosen.weight.tolist(), strict=True):
        about = {what: values[layer, neuron].item() for what, values in grids.items()}
        yield {"set": name, "layer": layer, "neuron": neuron, "weight": weight, **about}


def _passing(own: Float[Tensor, "language layer neuron"], languages: Sequence[str], share: float) -> pl.DataFrame:
    """The neurons of each language whose score is more than a share of its highest; none, of one without credit."""
    tables = [pl.DataFrame(schema=_PASSING)]
    for language, scores in zip(languages, own, strict=True):
        highest = scores.max()
        layer, neuron = (scores > share * highest).nonzero().T
        ratio = scores[layer, neuron] / highest
        columns = {"layer": layer.numpy(), "neuron": neuron.numpy(), "ratio": ratio.numpy()}
        tables.append(
            pl.DataFrame(columns).select(pl.lit(PASSING).alias("what"), pl.lit(language).alias("language"), pl.all())
        )
    return pl.concat(tables)


def _stability_rows(
    scores: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None,
    own: Float[Tensor, "language layer neuron"],
    queries: Sequence[Query],
    plan: Plan,
) -> Iterator[Row]:
    """How many neurons pass in at least r languages, and how the chosen set outlives other queries and languages."""
    for least, size in enumerate(agreement_sizes(own, plan.share), start=1):
        yield {"what": "agreement", "least": least, "value": float(size)}
    choose = partial(agnostic, queries=queries, plan=plan)
    for over in ("queries", "languages"):
        try:
            one = stability(scores, choose, weights=weights, over=over, draws=plan.draws, seed=plan.seed)
        except UnknownName:  # one query of each language: there is nothing to draw
            continue
        for name in ("jaccard", "low", "high", "expected"):
            yield {"what": f"{over}: {name}", "least": None, "value": float(getattr(one, name))}


def sets_in(
    table: pl.DataFrame, asked: Sequence[Asked], grid: tuple[int, int], model: Provenance
) -> dict[str, dict[str, Selection]]:
    """By fact, by name, the sets that the neurons of `locate` are of, the empty ones too."""
    queries = {one.fact.uid: tuple(query for some in one.locate.values() for query in some) for one in asked}
    found: dict[str, dict[str, Selection]] = {}
    for (fact, name), rows in table.partition_by(["fact", "set"], as_dict=True, maintain_order=True).items():
        held = rows.filter(pl.col("neuron").is_not_null())
        units = torch.tensor(held.select("layer", "neuron").rows(), dtype=torch.int64).reshape(-1, 2)
        weight = torch.tensor(held["weight"].to_list(), dtype=torch.float64)
        found.setdefault(str(fact), {})[str(name)] = Selection(queries[str(fact)], units, weight, grid, model)
    return found


def with_peers(sets: Mapping[str, Sets], asked: Sequence[Asked]) -> dict[str, dict[str, Selection]]:
    """The sets of every fact, and those of another fact of its relation: its own control of fact against relation.

    The other fact is known in every language in which this one is; of several, the next. Facts without such a one
    have no set of another's.
    """
    found = {uid: dict(own) for uid, own in sets.items()}
    known = [one for one in asked if one.fact.uid in sets]
    for place, one in enumerate(known):
        others = [*known[place + 1 :], *known[:place]]
        fitting = (
            each
            for each in others
            if each.fact.relation == one.fact.relation
            and set(one.known) <= set(each.known)
            and len(sets[each.fact.uid][MATRICE])
        )
        peer = next(fitting, None)
        if peer is not None:
            theirs = sets[peer.fact.uid]
            found[one.fact.uid][PEER] = theirs[MATRICE]
            found[one.fact.uid] |= {PEER_OWN + language: theirs[OWN + language] for language in one.known}
    return found


def _by_language(
    lm: LanguageModel,
    asked: Asked,
    scores: Float[Tensor, "query layer neuron"],
    answer_prob: Float[Tensor, " query"],
    plan: Plan,
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Scores by language, and the weights of their queries."""
    counts = [len(asked.locate[language]) for language in asked.known]
    own = dict(zip(asked.known, scores.split(counts), strict=True))
    if plan.weights == "equal":
        return own, None
    if plan.weights == "probability":
        parts = dict(zip(asked.known, answer_prob.split(counts), strict=True))
        return own, {language: probability_weights(each) for language, each in parts.items()}
    return own, {language: top1_weights(read_answers(lm, asked.locate[language]).rank) for language in asked.known}


def known_rows(asked: Sequence[Asked], taught: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Of each fact, the languages it is known in, and those it was taught in, where that is known."""
    for one in asked:
        yield {
            "fact": one.fact.uid,
            "relation": one.fact.relation,
            "subject": next(iter(one.fact.queries.values()))[0].fact.subject,
            "languages": list(one.fact.languages),
            "known": list(one.known),
            "taught": list(taught[one.fact.uid]) if one.fact.uid in taught else None,
        }
