"""What circuits share: of relations with each other, of a relation and its reverse, of two steps and each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import polars as pl

from locant import almanac
from locant.evaluations.circuits import CircuitOverlap, measures, overlaps
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.data import can_be_asked
from locant.recipes.knowledge_circuits.drawn import LEAST, RelationPairs, first_ranks, paired
from locant.recipes.knowledge_circuits.found import edge_scores
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.rows import Row
from locant.selections.circuits import Circuit, choose
from locant.types import Query

DRAWS = 100
"""Random circuits of a null: of a few, chance alone gives p = 2 / (1 + draws)."""


def overlap_rows(circuits: Mapping[str, Circuit], plan: Plan) -> pl.DataFrame:
    """What part of each relation's circuit is in each other's.

    Columns: relation, other; measure (nodes, edges: the part of the other's that is in the relation's; node_jaccard,
    edge_jaccard); observed; expected of random circuits with its central 95%, low and high; p.
    """
    found = overlaps(circuits, draws=DRAWS, seed=plan.seed)
    return pl.DataFrame(
        [{"relation": name, "other": other} | row for (name, other), one in found.items() for row in _rows(one)]
    )


def _rows(found: CircuitOverlap) -> Iterator[Row]:
    for measure in ("nodes", "edges", "node_jaccard", "edge_jaccard"):
        yield {"measure": measure, **asdict(getattr(found, measure))}


def reverses(relations: Sequence[RelationPairs], wordings: Sequence[Query]) -> list[tuple[str, str, int]]:
    """Relations of which one asks for what the other is asked about, and how many facts are there both ways: `LEAST`.

    Args:
        wordings: more facts of the relations than those of the halves.
    """
    ends: dict[str, set[tuple[str, str]]] = {one.name: set() for one in relations}
    queries = [pair.query for one in relations for pair in (*one.validation, *one.test)]
    for query in (*queries, *wordings):
        if query.relation in ends:
            ends[query.relation].add((query.fact.subject.casefold(), query.fact.object.casefold()))
    found = []
    for at, one in enumerate(relations):
        for other in relations[at + 1 :]:
            both = len(ends[one.name] & {(object, subject) for subject, object in ends[other.name]})
            if both >= LEAST:
                found.append((one.name, other.name, both))
    return found


def reverse_rows(
    relations: Sequence[RelationPairs], shared: pl.DataFrame, wordings: Sequence[Query] = ()
) -> Iterator[Row]:
    """Of relations and their reverses, what `overlap_rows` says of them, and beside it of all other pairs.

    Columns: relation, other, facts (there both ways), measure, observed, expected, p; elsewhere, the mean of what is
    observed over pairs of relations that are not each other's reverse, and pairs, their number.
    """
    found = reverses(relations, wordings)
    both = {frozenset(names[:2]): names[2] for names in found}
    rows = shared.to_dicts()
    for row in rows:
        facts = both.get(frozenset((row["relation"], row["other"])))
        if facts is None:
            continue
        others = [
            one["observed"]
            for one in rows
            if one["measure"] == row["measure"] and frozenset((one["relation"], one["other"])) not in both
        ]
        elsewhere = sum(others) / len(others) if others else None
        yield {
            **{name: row[name] for name in ("relation", "other", "measure", "observed", "expected", "p")},
            "facts": facts,
            "elsewhere": elsewhere,
            "pairs": len(others),
        }


def known_chains(lm: LanguageModel, plan: Plan) -> pl.DataFrame:
    """The almanac's questions of two steps that the model answers.

    Columns: first, second (relations), query, at (its place among the almanac's).
    """
    asked = [(at, query) for at, query in enumerate(_two_hop()) if can_be_asked(lm, query)]
    wording: dict[tuple[str, str], str] = {}
    for _, query in asked:
        wording.setdefault(_steps(query), query.template)
    worded = [(at, query) for at, query in asked if query.template == wording[_steps(query)]]
    ranks = first_ranks(lm, [query for _, query in worded])
    return pl.DataFrame(
        [
            dict(zip(("first", "second"), _steps(query), strict=True)) | {"query": query.uid, "at": at}
            for (at, query), rank in zip(worded, ranks, strict=True)
            if rank < plan.k
        ]
    )


def chains(known: pl.DataFrame) -> dict[tuple[str, str], tuple[Query, ...]]:
    """The questions in the rows of `known_chains`, by their first and their second relation."""
    queries = _two_hop()
    found: dict[tuple[str, str], list[Query]] = {}
    for row in known.iter_rows(named=True):
        found.setdefault((row["first"], row["second"]), []).append(queries[row["at"]])
    return {names: tuple(own) for names, own in found.items()}


def _two_hop() -> Sequence[Query]:
    return almanac.queries(language="en", format="two-hop")


def _steps(query: Query) -> tuple[str, str]:
    """The relations of a question of two steps, as they are taken."""
    second, first, _ = query.fact.uid.split("/")
    return first, second


def hop_rows(
    lm: LanguageModel,
    graph: Graph,
    names: tuple[str, str],
    queries: Sequence[Query],
    circuits: Mapping[str, Circuit],
    plan: Plan,
) -> pl.DataFrame:
    """What the circuit of two steps has of each step's, and of relations that are none of its steps.

    Columns: first, second (relations), facts; of: first, second, both (their edges together), or other, the mean over
    all relations but the two; measure, observed, expected, p (null of other).
    """
    pairs = paired(lm, queries)[: plan.hops]
    if len(pairs) < LEAST:
        return pl.DataFrame()
    whole = choose(edge_scores(lm, graph, pairs, plan), len(circuits[names[0]]), rule=plan.rule, by=plan.by)
    first, second = (circuits[name] for name in names)
    steps = {"first": first, "second": second, "both": first.joined(second)}
    found = overlaps({"whole": whole, **steps}, draws=DRAWS, seed=plan.seed)
    about: Row = {"first": names[0], "second": names[1], "facts": len(pairs)}
    rows = [about | {"of": of} | row for of in steps for row in _rows(found["whole", of])]
    others = [circuit for name, circuit in circuits.items() if name not in names]
    each = [measures(whole, other) for other in others]
    for measure in each[0] if each else ():
        observed = sum(one[measure] for one in each) / len(each)
        rows.append(about | {"of": "other", "measure": measure, "observed": observed})
    return pl.DataFrame(rows, infer_schema_length=None)
