"""What is read of a relation: how its answers come up on the way, and what its heads do."""

from __future__ import annotations

import polars as pl

from locant.errors import LocantError
from locant.evaluations.circuits import head_measures, head_roles
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.drawn import RelationPairs
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.streams import stream_rows
from locant.selections.circuits import Circuit


def read_relation(lm: LanguageModel, graph: Graph, relation: RelationPairs) -> pl.DataFrame:
    """The streams of a relation's test facts; columns of `stream_rows`, and relation."""
    rows = stream_rows(lm, graph, [pair.query for pair in relation.test])
    return pl.DataFrame([{"relation": relation.name} | row for row in rows])


def head_rows(lm: LanguageModel, graph: Graph, relation: RelationPairs, circuit: Circuit, plan: Plan) -> pl.DataFrame:
    """What every head does on a relation's test facts; none where they have but one answer or name no subjects.

    Columns: relation, head, layer, role, confirmed, by_chance (see `locant.evaluations.circuits.roles`), in_circuit;
    measure (a name in `MEASURES`), mean, low, high, n.
    """
    known = [pair.query for pair in relation.validation]
    try:
        found = head_roles(head_measures(lm, graph, relation.test, known=known, seed=plan.seed), seed=plan.seed)
    except LocantError:
        return pl.DataFrame()
    nodes = set(circuit.nodes)
    return pl.DataFrame(
        [
            {
                "relation": relation.name,
                "head": (name := f"a{layer}.h{head}"),
                "layer": layer,
                "role": found.roles[layer][head],
                "confirmed": bool(found.confirmed[layer, head]),
                "by_chance": float(found.by_chance[layer, head]),
                "in_circuit": name in nodes,
                "measure": measure,
                "mean": float(one.mean[layer, head]),
                "low": float(one.low[layer, head]),
                "high": float(one.high[layer, head]),
                "n": one.n,
            }
            for measure, one in found.estimates.items()
            for layer in range(graph.layers)
            for head in range(graph.heads)
        ]
    )
