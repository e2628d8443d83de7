"""Circuits before and after an edit: what ROME and FT-M make of the subgraph that says a fact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from locant.attributions.edges import Pair
from locant.errors import LocantError
from locant.evaluations.circuits import overlap
from locant.interventions.editing import edit
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.drawn import RelationPairs, first_ranks
from locant.recipes.knowledge_circuits.found import edge_scores
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.streams import ANSWER, stream_rows
from locant.recipes.rows import Row
from locant.selections.circuits import Circuit, choose
from locant.types import EditRequest, Query

UNEDITED = "unedited"
REFUSED = "refused"
"""What is noted, as 1, of an edit that cannot be made of a fact; the column `why` says why."""
MOST_STEPS = 1000
"""Of fine-tuning, which ends when the loss is low enough: the presets' number is for the preset's layer."""
RANDOM_DRAWS = 10
"""Random circuits of a null."""


@dataclass(frozen=True)
class Editing:
    """A way to edit a fact.

    Attributes:
        method: `rome` or `ft_m`.
        layer: None for the method's preset.
    """

    method: str
    layer: int | None

    @property
    def name(self) -> str:
        return self.method if self.layer is None else f"{self.method}, layer {self.layer}"


@dataclass(frozen=True)
class EditedFact:
    """A fact to be edited: after it, neither its own nor its counterfactual's object is the right one.

    Attributes:
        new: the object of a third fact of the relation.
    """

    pair: Pair
    new: str


def edit_cases(lm: LanguageModel, relation: RelationPairs) -> list[EditedFact]:
    """The test facts of a relation with what they are edited to; none where all objects are two.

    Were a fact given its counterfactual's object, both prompts would say the same after the edit, and no circuit
    could tell the one from the other.
    """
    begins = {
        pair.query.answer: lm.tokens(pair.query).answers[0][0] for pair in (*relation.validation, *relation.test)
    }
    found = []
    for at, pair in enumerate(relation.test):
        taken = {answer[0] for query in (pair.query, pair.other) for answer in lm.tokens(query).answers}
        free = [answer for answer, token in begins.items() if token not in taken]
        if free:
            found.append(EditedFact(pair, free[at % len(free)]))
    return found


def editings(lm: LanguageModel) -> tuple[Editing, ...]:
    """ROME where its preset has it, and FT-M in the first layer, a quarter of the way, in the middle, last."""
    layers = dict.fromkeys((0, lm.layers // 4, lm.layers // 2, lm.layers - 1))
    return (Editing("rome", None), *(Editing("ft_m", layer) for layer in layers))


def compare_edits(
    lm: LanguageModel, graph: Graph, relation: RelationPairs, case: EditedFact, plan: Plan
) -> pl.DataFrame:
    """One fact's circuit before and after each edit.

    Both circuits have the plan's share of edges, and are of the same two prompts: before the edit of the old object,
    after it of the new one, against the counterfactual's own.

    Columns: relation, query, edit (UNEDITED or a name of `editings`), what, place, value, why (of REFUSED alone).
    What: `said`, 1 if the new object is the model's first choice; `spilled`, the share of the relation's other facts
    whose first choice is the new object, which it was not before; `nodes`, `edges`, Jaccard indices of the circuits
    before and after, and `nodes_expected`, `edges_expected` of random circuits like these; `rank` and `probability`
    of the new object by place, the step of the stream; REFUSED, of an edit that could not be made and has no more.
    """
    pair, new = case.pair, case.new
    asked = replace(pair.query, answer=new, alternatives=())
    others = [
        replace(one.query, answer=new, alternatives=())
        for one in (*relation.validation, *relation.test)
        if new not in (one.query.answer, *one.query.alternatives) and one.query.fact.uid != pair.query.fact.uid
    ]
    size = round(plan.share * int(graph.edges.sum()))

    def circuit(of: Pair) -> Circuit:
        return choose(edge_scores(lm, graph, [of], plan.alone), size, rule=plan.rule, by=plan.by)

    before, said_before = circuit(pair), _said(lm, others)
    rows = list(_streamed(lm, graph, asked, UNEDITED))
    for way in editings(lm):
        settings = {} if way.layer is None else {"layer": way.layer, "steps": MOST_STEPS}
        try:
            with edit(lm, [EditRequest(pair.query, new)], way.method, **settings):
                after = circuit(Pair(asked, pair.other))
                streamed = list(_streamed(lm, graph, asked, way.name))
                now = _said(lm, others)
                said = _said(lm, [asked])
        except LocantError as error:
            rows.append({"edit": way.name, "what": REFUSED, "place": None, "value": 1.0, "why": str(error)})
            continue
        rows += streamed
        shared = overlap(before, after, draws=RANDOM_DRAWS, seed=plan.seed)
        spilled = [late and not early for early, late in zip(said_before, now, strict=True)]
        values = {
            "said": float(said[0]),
            "spilled": sum(spilled) / len(spilled) if spilled else None,
            "nodes": shared.node_jaccard.observed,
            "nodes_expected": shared.node_jaccard.expected,
            "edges": shared.edge_jaccard.observed,
            "edges_expected": shared.edge_jaccard.expected,
        }
        rows += [
            {"edit": way.name, "what": what, "place": None, "value": value}
            for what, value in values.items()
            if value is not None
        ]
    about = {"relation": relation.name, "query": pair.query.uid}
    rows = [about | {"why": None} | row for row in rows]
    return pl.DataFrame(rows, schema_overrides={"why": pl.String}, infer_schema_length=None)


def _said(lm: LanguageModel, queries: Sequence[Query]) -> list[bool]:
    """Whether each query's answer begins with the model's first choice."""
    return [rank == 0 for rank in first_ranks(lm, queries)]


def _streamed(lm: LanguageModel, graph: Graph, query: Query, name: str) -> Iterator[Row]:
    for row in stream_rows(lm, graph, [query]):
        if row["of"] == ANSWER:
            for what in ("rank", "probability"):
                yield {"edit": name, "what": what, "place": row["step"], "value": float(row[what])}  # type: ignore[arg-type]
