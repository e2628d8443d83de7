"""Do the attention columns of a query move its neurons and its answer, and do other columns not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.synapses import Columns, column_sums
from locant.errors import UnknownName
from locant.evaluations import read_answers
from locant.interventions.attention import scale_columns
from locant.models import LanguageModel
from locant.models.hooks import at_rest, watching_inputs
from locant.recipes.data import FactQueries
from locant.recipes.query_localization.plan import ALPHAS, Plan
from locant.recipes.query_localization.touched import OPERATIONS
from locant.selections.columns import ColumnSet, irrelevant_columns, select_columns
from locant.types import Query, Selection

AT_MOST = 2
"""Queries of a fact whose synapses are touched."""
WEIGHINGS: dict[str, dict[str, bool]] = {
    "raw": {},
    "normalised": {"normalised": True},
    "without the first token": {"first_token": False},
}


def touch_columns(
    lm: LanguageModel, asked: FactQueries, kind: str, sets: Mapping[str, Selection], plan: Plan
) -> pl.DataFrame:
    """High columns and irrelevant ones, silenced and doubled: what becomes of the query's neurons and answer."""
    rows = []
    for query in asked.queries[:AT_MOST]:
        for weighing, how in WEIGHINGS.items():
            columns = column_sums(lm, [query], **how)
            rows += [
                {
                    "fact": asked.fact.uid,
                    "relation": asked.fact.relation,
                    "kind": kind,
                    "query": query.uid,
                    "columns": name,
                    "weighing": weighing,
                    "count": len(chosen),
                    "operation": operation,
                    **_effect(lm, query, sets[query.uid], chosen, by, plan.renormalise),
                }
                for name, chosen in _chosen(columns, plan.alpha, Random(f"{plan.seed}/{query.uid}").getrandbits(31))
                for operation, by in OPERATIONS.items()
            ]
    return pl.DataFrame(rows)


def sweep_alpha(lm: LanguageModel, asked: FactQueries, sets: Mapping[str, Selection], plan: Plan) -> pl.DataFrame:
    """The fact's first query with its columns silenced, at every threshold."""
    query, rows = asked.queries[0], []
    for weighing, how in WEIGHINGS.items():
        columns = column_sums(lm, [query], **how)
        for alpha in ALPHAS:
            (chosen,) = select_columns(columns, alpha)
            rows.append(
                {
                    "fact": asked.fact.uid,
                    "weighing": weighing,
                    "alpha": alpha,
                    "columns": len(chosen),
                    "share_of_columns": len(chosen) / columns.of(0).numel(),
                    **_effect(lm, query, sets[query.uid], chosen, 0.0, plan.renormalise),
                }
            )
    return pl.DataFrame(rows)


def _chosen(columns: Columns, alpha: float, seed: int) -> Iterator[tuple[str, ColumnSet]]:
    own = select_columns(columns, alpha)
    yield "own", own[0]
    try:
        yield "irrelevant", irrelevant_columns(columns, own, seed)[0]
    except UnknownName:
        return  # so many columns are high that too few are left to compare with


def _effect(
    lm: LanguageModel, query: Query, neurons: Selection, chosen: ColumnSet, by: float, renormalise: bool
) -> dict[str, float]:
    # Both under the same kernel, so that rounding is no effect
    before, answer_before = _state(lm, query, neurons, chosen, 1.0, renormalise)
    after, answer_after = _state(lm, query, neurons, chosen, by, renormalise)
    return {
        "activation_before": before,
        "activation_after": after,
        "activation_change": (after - before) / before if before > 0 else 0.0,
        "before": answer_before,
        "after": answer_after,
        "change": (answer_after - answer_before) / answer_before if answer_before > 0 else 0.0,
    }


def _state(
    lm: LanguageModel, query: Query, neurons: Selection, chosen: ColumnSet, by: float, renormalise: bool
) -> tuple[float, float]:
    """Mean absolute activation of the query's neurons, and the probability of its answer."""
    with scale_columns(lm, chosen, by, renormalise):
        values = activations(lm, query)
        probability = float(read_answers(lm, [query]).log_probability.exp())
    own = values[neurons.units[:, 0], neurons.units[:, 1]].abs()
    return float(own.mean()) if len(own) else 0.0, probability


@torch.no_grad()
def activations(lm: LanguageModel, query: Query) -> Float[Tensor, "layer neuron"]:
    """Every neuron where the answer's first token is predicted, under whatever interventions are in force."""
    tokens = lm.tokens(query)
    sites = lm.sites([(tokens, tokens.answers[0][:1])])
    seen: dict[int, Tensor] = {}
    with at_rest(lm.model), watching_inputs(lm.downs, seen.__setitem__):
        lm.run(sites)
    at = int(sites.position[0])
    return torch.stack([seen[layer].reshape(-1, lm.neurons)[at].float().cpu() for layer in range(lm.layers)])


def maps(lm: LanguageModel, shown: Sequence[tuple[str, FactQueries]], plan: Plan) -> Iterator[dict[str, object]]:
    """Every neuron of two queries of each fact shown, untouched and with the query's columns silenced."""
    for kind, asked in shown:
        for which, query in zip(("first", "second"), asked.queries, strict=False):
            (chosen,) = select_columns(column_sums(lm, [query]), plan.alpha)
            for when, by in (("untouched", 1.0), ("synapses suppressed", 0.0)):
                with scale_columns(lm, chosen, by, plan.renormalise):
                    values = activations(lm, query)
                yield {
                    "shown": f"{kind}, {which} query",
                    "kind": kind,
                    "fact": asked.fact.uid,
                    "query": query.uid,
                    "prompt": query.prompt,
                    "layer": [layer for layer in range(lm.layers) for _ in range(lm.neurons)],
                    "neuron": list(range(lm.neurons)) * lm.layers,
                    "activation": values.flatten().tolist(),
                    "when": when,
                }
