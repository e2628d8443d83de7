"""Knowledge circuits: the subgraph that says a relation's facts, how much of the model it is, and what changes it.

Circuits are found on one half of a relation's facts and tried on the other, beside random circuits with as many
edges in the same layers, the circuit's complement and another relation's. Then what circuits share, how answers come
up, what heads do, and the experiments: before and after edits, facts got wrong, demonstrations, two steps, reverse
relations.

    from locant.recipes.knowledge_circuits import Plan, draw_relations, run_knowledge_circuits
    drawn = draw_relations(lm, "almanac")
    run_knowledge_circuits(lm, drawn.relations, folder, Plan(), source="almanac", left_out=drawn.left_out)

Source: Yao et al. 2024, arXiv:2405.17969.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import polars as pl

from locant.attributions.edges import EdgeScores
from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.knowledge_circuits.drawn import (
    RelationPairs,
    another,
    draw_relations,
    in_turn,
    wordings_of,
)
from locant.recipes.knowledge_circuits.edited import compare_edits, edit_cases
from locant.recipes.knowledge_circuits.found import compare_with_exact, graph_for, score_edges, scores_of
from locant.recipes.knowledge_circuits.judged import circuits_of, judge_relation
from locant.recipes.knowledge_circuits.means import (
    agreement_rows,
    completeness_rows,
    edit_rows,
    faithfulness_rows,
    refused_rows,
    shown_rows,
    stream_means,
    wrong_rows,
)
from locant.recipes.knowledge_circuits.plan import Plan
from locant.recipes.knowledge_circuits.read import head_rows, read_relation
from locant.recipes.knowledge_circuits.shared import chains, hop_rows, known_chains, overlap_rows, reverse_rows
from locant.recipes.knowledge_circuits.shown import Demonstration, cut_new_heads, show_facts
from locant.recipes.knowledge_circuits.wrong import asked_pairs, asked_rows, follow, wrong_and_right
from locant.recipes.work import Data, Say, Work, manifest_of, say_nothing
from locant.selections.circuits import Circuit, choose
from locant.sweeps import RunFolder
from locant.sweeps.units import Unit
from locant.types import Query

__all__ = ["Plan", "RelationPairs", "draw_relations", "run_knowledge_circuits", "wordings_of"]


def run_knowledge_circuits(
    lm: LanguageModel,
    relations: Sequence[RelationPairs],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    left_out: Mapping[str, int] | None = None,
    wordings: Sequence[Query] = (),
    say: Say = say_nothing,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        source: where the relations come from, for the manifest. Of the almanac there are questions of two steps, and
            demonstrations are in the form it was trained on.
        drawn: and how they were drawn from it.
        left_out: how many of its facts were not, by the reason.
        wordings: queries among which those are looked for that the model gets wrong.
        say: for progress.

    Returns:
        The folder.

    Raises:
        UnknownName: there are no relations, or two of one name, or one has no facts in a half.
        LocantError: the model has no graph; nothing has been written then.
        BadFile: the folder holds another run.
    """
    if not relations or len({one.name for one in relations}) < len(relations):
        raise UnknownName("a run is about one relation or more, each with a name of its own")
    for one in relations:
        if not one.validation or not one.test:
            raise UnknownName(
                f"circuits are found on one half of facts and tried on the other: {one.name!r} lacks one"
            )
    graph = graph_for(lm, plan)
    run = RunFolder(folder)
    data = Data(
        source=source,
        drawn=drawn,
        counts={
            "relations": len(relations),
            "facts": sum(len(one.validation) + len(one.test) for one in relations),
            "wordings": len(wordings),
            "edges": int(graph.edges.sum()),
            "graph": repr(graph),
            "left_out": dict(left_out or {}),
        },
        text=repr([*relations, tuple(wordings)]),
    )
    manifest = manifest_of("knowledge-circuits", lm, data, plan.plain())
    run.check(manifest)
    run.open(manifest)
    work = _Work(lm, run, manifest, say, tuple(relations), tuple(wordings), plan, graph, source)
    work.describe()
    work.score()
    work.judge()
    work.compare()
    work.share()
    work.read()
    work.edit()
    work.err()
    work.show()
    work.hop()
    run.finish(manifest)
    return folder


@dataclass(frozen=True)
class _Work(Work):
    """A run in progress: each method fills the tables of one experiment."""

    relations: tuple[RelationPairs, ...]
    wordings: tuple[Query, ...]
    plan: Plan
    graph: Graph
    source: str

    def describe(self) -> None:
        """What circuits are of."""
        self._save(
            "relations",
            [
                {
                    "relation": one.name,
                    "kind": one.kind,
                    "validation": len(one.validation),
                    "test": len(one.test),
                    "objects": len({pair.query.answer for pair in (*one.validation, *one.test)}),
                    "left_out": "; ".join(f"{why}: {count}" for why, count in one.left_out.items()),
                    "example": f"{one.test[0].query.prompt} {one.test[0].query.answer}",
                    "counterfactual": one.test[0].other.prompt,
                    "another": None if other is None else other.name,
                }
                for one in self.relations
                for other in [another(one, self.relations, self.plan.seed)]
            ],
        )

    def score(self) -> None:
        """Scores of every edge, on validation facts."""
        self._fill(
            "edges",
            self._units(lambda one: partial(score_edges, self.lm, self.graph, one, self.plan)),
            "scoring edges",
        )

    @cached_property
    def scores(self) -> dict[str, EdgeScores]:
        """By relation, as they are in the table."""
        edges = pl.read_parquet(self.run.tables / "edges.parquet")
        return {one.name: scores_of(self.lm, self.graph, one, edges, self.plan) for one in self.relations}

    @cached_property
    def circuits(self) -> dict[str, Circuit]:
        """By relation, of the plan's share of the edges."""
        size = round(self.plan.share * int(self.graph.edges.sum()))
        rule, by = self.plan.rule, self.plan.by
        return {name: choose(scores, size, rule=rule, by=by) for name, scores in self.scores.items()}

    def judge(self) -> None:
        """Completeness and faithfulness, on both halves."""
        found = self._fill("judged", self._units(lambda one: partial(self._judged, one)), "running circuits")
        kinds = {one.name: one.kind for one in self.relations}
        self._save("completeness", list(completeness_rows(found, kinds, self.plan)))
        self._save("faithfulness", list(faithfulness_rows(found, self.plan)))

    def _judged(self, one: RelationPairs) -> pl.DataFrame:
        # Chosen only where they are run: of all relations at once they take much room
        own = circuits_of(self.scores[one.name], self.plan)
        other = another(one, self.relations, self.plan.seed)
        others = {} if other is None else circuits_of(self.scores[other.name], self.plan)
        return judge_relation(self.lm, one, own, others, self.plan)

    def compare(self) -> None:
        """Approximate scores against cutting every edge."""
        units = (
            self._units(lambda one: partial(compare_with_exact, self.lm, self.graph, one, self.plan))
            if self.plan.exact
            else []
        )
        found = self._fill("exact", units, "cutting every edge")
        self._save("agreement", list(agreement_rows(found, self.plan)) if len(found) else [])

    def share(self) -> None:
        """What relations' circuits share, and those of relations that are each other's reverse."""
        names = [one.name for one in self.relations]
        units = [Unit(names, lambda: overlap_rows(self.circuits, self.plan))] if len(names) > 1 else []
        shared = self._fill("overlap", units, "comparing circuits")
        self._save("reverse", list(reverse_rows(self.relations, shared, self.wordings)))

    def read(self) -> None:
        """How answers come up, and what heads do."""
        read = self._fill(
            "streams",
            self._units(lambda one: partial(read_relation, self.lm, self.graph, one)),
            "reading streams",
        )
        self._save("stream", list(stream_means(read, self.plan)))
        self._fill(
            "heads",
            self._units(lambda one: partial(head_rows, self.lm, self.graph, one, self.circuits[one.name], self.plan)),
            "reading heads",
        )

    def edit(self) -> None:
        """Circuits before and after ROME and FT-M."""
        facts = in_turn([[(one, case) for case in edit_cases(self.lm, one)] for one in self.relations])
        units = [
            Unit([case.pair.query.uid, case.new], partial(compare_edits, self.lm, self.graph, one, case, self.plan))
            for one, case in facts[: self.plan.edits]
        ]
        edited = self._fill("edited", units, "editing")
        self._save("edits", list(edit_rows(edited, self.plan)))
        self._save("refused", list(refused_rows(edited)))

    def err(self) -> None:
        """Facts that the model gets wrong, beside facts that it gets right."""
        asking = [Unit("wordings", self._asked)] if self.plan.hallucinations else []
        asked = self._fill("asked", asking, "asking wordings")
        units = [
            Unit([kind, pair.query.uid], partial(follow, self.lm, self.graph, kind, pair, self.plan))
            for kind, pair in asked_pairs(asked, self.wordings)
        ]
        self._save("errors", list(wrong_rows(self._fill("wrong", units, "following errors"), self.plan)))

    def _asked(self) -> pl.DataFrame:
        return asked_rows(wrong_and_right(self.lm, self.wordings, self.plan), self.wordings)

    def show(self) -> None:
        """Heads that a demonstration brings."""
        way = Demonstration("{subject} ->" if self.source == "almanac" else None)
        units = self._units(lambda one: partial(self._shown, one, way)) if self.plan.demonstrations else []
        self._save("demonstrations", list(shown_rows(self._fill("shown", units, "showing facts"), self.plan)))

    def _shown(self, relation: RelationPairs, way: Demonstration) -> pl.DataFrame:
        halves = show_facts(self.lm, relation, self.relations, way, self.plan)
        return cut_new_heads(self.lm, self.graph, relation, halves, self.plan)

    def hop(self) -> None:
        """Questions of two steps, of the almanac."""
        of_two = self.source == "almanac" and self.plan.hops
        asking = [Unit("two steps", partial(known_chains, self.lm, self.plan))] if of_two else []
        found = chains(self._fill("chains", asking, "asking questions of two steps"))
        units = [
            Unit(
                [*names, [one.uid for one in queries]],
                partial(hop_rows, self.lm, self.graph, names, queries, self.circuits, self.plan),
            )
            for names, queries in found.items()
            if set(names) <= set(self.circuits)
        ]
        self._fill("hops", units, "taking two steps")

    def _units(self, of: Callable[[RelationPairs], Callable[[], pl.DataFrame]]) -> list[Unit]:
        return [Unit([one.name], of(one)) for one in self.relations]
