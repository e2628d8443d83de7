"""Erasing and updating a fact in the value vectors of one query's neurons, of all its queries', of the consistent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from random import Random

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions import attribute
from locant.errors import BadQuery, UnknownName
from locant.evaluations.editing import Bystanders, bystanders, score_edit
from locant.interventions.edits import erase, update
from locant.models import LanguageModel
from locant.recipes.data import FactQueries, names_of
from locant.recipes.query_localization.plan import BETAS, LAMBDAS, Plan
from locant.recipes.rows import Row
from locant.selections import random_set
from locant.selections.share import consistency_aware, strongest, union
from locant.types import Query, Selection

SCORES = (
    "reliability",
    "generalisation",
    "locality",
    "average",
    "reliability_before",
    "generalisation_before",
    "cloze_change",
    "text_change",
)


class Editor:
    """Edits facts one at a time; what must be spared is read once per relation.

    Args:
        facts: of the whole run: where unrelated queries and new objects come from.
        texts: running text whose perplexity must not rise (causal models).
    """

    def __init__(self, lm: LanguageModel, facts: Sequence[FactQueries], texts: Sequence[str], plan: Plan) -> None:
        self.lm = lm
        self.facts = facts
        self.texts = tuple(texts) if lm.architecture.kind == "causal" else ()
        self.plan = plan
        self._spared: dict[tuple[str, ...], Bystanders] = {}

    def edit(self, asked: FactQueries, kind: str, sets: Mapping[str, Selection], localizer: str) -> pl.DataFrame:
        """Both edits of a fact by its first query, with every set of neurons at both sizes.

        Sets of several queries are chosen with half of the other wordings, and judged on the rest: else they would
        have seen what they are judged by, and N_i not.
        """
        own, known = sets[asked.queries[0].uid], self._known(asked)
        if not len(own):
            return pl.DataFrame()
        values, signs = self._values(known, localizer)
        rows = [
            {"set": name, "sizing": sizing, "size": len(units), **row}
            for name, sizings, units in self._sets(own, [sets[query.uid] for query in known.queries], values)
            for row in self._scores(asked, units, signs)
            for sizing in sizings
        ]
        return self._table(rows, asked, kind, localizer)

    def sweep_beta(
        self, asked: FactQueries, kind: str, sets: Mapping[str, Selection], localizer: str
    ) -> pl.DataFrame:
        """Both edits with the consistency-aware set of equal size, at every beta2."""
        own, known = sets[asked.queries[0].uid], self._known(asked)
        if not len(own):
            return pl.DataFrame()
        values, signs = self._values(known, localizer)
        pool = union([sets[query.uid] for query in known.queries])
        rows = [
            {"beta2": beta, "set": "CAS", "sizing": "equal size", "size": len(own), **row}
            for beta in BETAS
            for row in self._scores(
                asked, consistency_aware(values, pool, self.plan.beta1, beta, size=len(own)), signs
            )
        ]
        return self._table(rows, asked, kind, localizer)

    def sweep_lambda(
        self, asked: FactQueries, kind: str, sets: Mapping[str, Selection], localizer: str
    ) -> pl.DataFrame:
        """The update of the edited query's own neurons, at every size of its steps that is not given."""
        own, new = sets[asked.queries[0].uid], self._new_object(asked)
        if not len(own) or new is None:
            return pl.DataFrame()
        signs = self._values(self._known(asked), localizer)[1]
        rows = []
        for size in LAMBDAS:
            given = self.plan.lambda1, self.plan.lambda2
            lambda1, lambda2 = (size if one is None else one for one in given)
            plan = replace(self.plan, lambda1=lambda1, lambda2=lambda2)
            changed = Editor(self.lm, self.facts, (), plan)._update(asked.queries[0], new, own, signs)
            rows.append({"lambda": size, **self._score(asked, changed, own, new)})
        return self._table(rows, asked, kind, localizer)

    def _known(self, asked: FactQueries) -> FactQueries:
        """The edited query and every other neighbour: what sets are chosen with. The rest judges them."""
        return FactQueries(asked.fact, (asked.queries[0], *asked.queries[2::2]))

    def _sets(
        self, own: Selection, sets: Sequence[Selection], values: Float[Tensor, "query layer neuron"]
    ) -> Iterator[tuple[str, tuple[str, ...], Selection]]:
        plan, size, pool = self.plan, len(own), union(sets)
        by_threshold = consistency_aware(values, pool, plan.beta1, plan.beta2, threshold=plan.cas_threshold)
        yield "N_i", ("as found", "equal size"), own
        yield "N_g", ("as found",), pool
        yield "CAS", ("as found",), by_threshold
        yield "N_g", ("equal size",), strongest(_by_mean_score(pool, sets), size)
        yield "CAS", ("equal size",), consistency_aware(values, pool, plan.beta1, plan.beta2, size=size)
        draw = Random(f"{plan.seed}/{own.queries[0].uid}").getrandbits(31)
        try:
            yield "random", ("equal size",), random_set(own, draw)
        except UnknownName:  # more than half of a layer is chosen: there are not so many others
            return

    def _values(
        self, asked: FactQueries, localizer: str
    ) -> tuple[Float[Tensor, "query layer neuron"], Float[Tensor, "layer neuron"]]:
        """What the consistency-aware score is made of, and the edited query's activations."""
        settings = self.plan.settings.get(localizer, {})
        found = attribute(self.lm, asked.queries, "activation")
        if self.plan.cas_values == "activations":
            return found.activations.abs(), found.activations[0]
        scores = attribute(self.lm, asked.queries, localizer, **settings).scores  # type: ignore[arg-type]
        return scores, found.activations[0]

    def _scores(self, asked: FactQueries, units: Selection, signs: Float[Tensor, "layer neuron"]) -> Iterator[Row]:
        new = self._new_object(asked)
        edits: list[tuple[str | None, AbstractContextManager[None]]] = [(None, erase(self.lm, units))]
        if new is not None:
            edits.append((new, self._update(asked.queries[0], new, units, signs)))
        for answer, changed in edits:
            yield self._score(asked, changed, units, answer)

    def _score(
        self, asked: FactQueries, changed: AbstractContextManager[None], units: Selection, new: str | None
    ) -> Row:
        found = score_edit(
            self.lm,
            changed,
            asked.queries[0],
            asked.queries[1::2],
            self._bystanders(asked),
            made_by=units.made_by,
            new=new,
        )
        return {"operation": found.operation, **{name: getattr(found, name) for name in SCORES}}

    def _update(
        self, query: Query, new: str, units: Selection, signs: Float[Tensor, "layer neuron"]
    ) -> AbstractContextManager[None]:
        plan = self.plan
        assert plan.lambda1 is not None and plan.lambda2 is not None  # swept before anything is edited
        return update(
            self.lm,
            units,
            query,
            new,
            embeddings=plan.embeddings,  # type: ignore[arg-type]
            lambda1=plan.lambda1,
            lambda2=plan.lambda2,
            activations=signs,
        )

    def _new_object(self, asked: FactQueries) -> str | None:
        """Another object of the relation, which begins with another token; None if there is none.

        One of few tokens: an edit adds the first, and does not help those after it.
        """
        query, fact = asked.queries[0], asked.fact
        others = sorted({one.fact.object for one in self.facts if one.fact.relation == fact.relation} - {fact.object})
        Random(f"{self.plan.seed}/{fact.uid}").shuffle(others)
        for other in sorted(others, key=lambda text: self._tokens(query, text)):
            try:
                with update(self.lm, _nothing(self.lm), query, other):
                    return other
            except BadQuery:
                continue
        return None

    def _tokens(self, query: Query, text: str) -> int:
        try:
            return len(self.lm.tokens(replace(query, answer=text, alternatives=())).answers[0])
        except BadQuery:
            return self.lm.context

    def _bystanders(self, asked: FactQueries) -> Bystanders:
        relation, names = asked.fact.relation, names_of(asked.fact)
        facts = [one for one in self.facts if one.fact.relation != relation]
        Random(f"{self.plan.seed}/{relation}").shuffle(facts)
        others = [one for one in facts if names.isdisjoint(names_of(one.fact))] or facts
        chosen = tuple(
            Random(f"{self.plan.seed}/{one.fact.uid}").choice(one.queries) for one in others[: self.plan.spared]
        )
        key = tuple(query.uid for query in chosen)
        if key not in self._spared:
            self._spared[key] = bystanders(self.lm, chosen, self.texts)
        return self._spared[key]

    def _table(self, rows: Sequence[Row], asked: FactQueries, kind: str, localizer: str) -> pl.DataFrame:
        about = {"localizer": localizer, "fact": asked.fact.uid, "relation": asked.fact.relation, "kind": kind}
        return pl.DataFrame(
            [about | row for row in rows], infer_schema_length=None, schema_overrides={"text_change": pl.Float64}
        )


def _by_mean_score(pool: Selection, sets: Sequence[Selection]) -> Selection:
    """A pool whose units weigh their mean score over the sets; where one lacks a unit, that is 0."""
    total = torch.zeros(pool.grid, dtype=torch.float64)
    for one in sets:
        total[one.units[:, 0], one.units[:, 1]] += one.weight.double() / len(sets)
    weight = total[pool.units[:, 0], pool.units[:, 1]]
    return Selection(pool.queries, pool.units, weight, pool.grid, pool.made_by)


def _nothing(lm: LanguageModel) -> Selection:
    made_by = lm.provenance("nothing", {})
    return Selection((), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0), (lm.layers, lm.neurons), made_by)
