"""Localization against editability: the same fact edited at every layer, beside what localization says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from locant.attributions import attribute
from locant.attributions.tracing import trace
from locant.errors import LocantError
from locant.evaluations.edit_readings import Scope, read_cases
from locant.evaluations.editability import explained, followed, rank_correlations
from locant.interventions.editing import Editor, edit
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase
from locant.recipes.editing.plan import EFFECTS, OF_LAYERS, Plan
from locant.recipes.rows import Row, as_row

SCORES = ("rewrite", "generalisation", "kept")
LEAST = 3
"""Facts below which nothing is said of where editing works."""


def edit_everywhere(
    lm: LanguageModel, case: EditCase, editors: Callable[[str, int], Editor], plan: Plan
) -> pl.DataFrame:
    """One case edited at every layer by each method that can, with what localization says of the layer.

    Args:
        editors: by method and layer.

    Columns: case, method, layer; tracing, credit (see `EFFECTS`); rewrite, (p* - p) / (1 - p) of P(new) before and
    after the edit; generalisation, the same of the paraphrases' mean; kept, the share of neighbours whose first token
    stays.

    Source: Hase et al. 2023, arXiv:2301.04213, for the rewrite score.
    """
    scope = Scope(asked=("request", "paraphrase", "neighbour"), written=())
    before = read_cases(lm, [case], scope).queries
    query = case.request.query
    restored = trace(lm, [query], seed=plan.seed).effect[0].tolist()
    credit = attribute(lm, [query]).scores[0].clamp(min=0).sum(dim=1)
    share = (credit / credit.sum().clamp(min=1e-30)).tolist()
    rows: list[Row] = []
    for method in OF_LAYERS:
        if method not in plan.methods:
            continue
        for layer in range(lm.layers):
            about = {
                "case": case.uid,
                "method": method,
                "layer": layer,
                "tracing": restored[layer],
                "credit": share[layer],
            }
            try:
                with edit(lm, case.requests, editors(method, layer)):
                    after = read_cases(lm, [case], scope).queries
            except LocantError:
                break
            rows.append(about | _scores(before, after))
    return pl.DataFrame(rows, infer_schema_length=None)


def _scores(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, float | None]:
    def new(table: pl.DataFrame, asked: str) -> float | None:
        values = table.filter(pl.col("asked") == asked)["target_log_probability"].exp()
        return float(values.mean()) if len(values) else None  # type: ignore[arg-type]

    def score(asked: str) -> float | None:
        old, now = new(before, asked), new(after, asked)
        # A fact that already is as it should be cannot be rewritten any better
        return None if old is None or now is None or old >= 1 else (now - old) / (1 - old)

    spared = [table.filter(pl.col("asked") == "neighbour")["choices"].list.first() for table in (before, after)]
    kept = float((spared[0] == spared[1]).mean()) if len(spared[0]) else None  # type: ignore[arg-type]
    return {"rewrite": score("request"), "generalisation": score("paraphrase"), "kept": kept}


def place_rows(edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How much of the scores of edits the layer explains, and how much each localization adds.

    Columns: method, score, effect, what (layer, effect, both, added, chance, p, localized, fixed, best, anywhere,
    gain), mean, low, high, n. See `Explained` and `Followed`.
    """
    for method, score, effect, each in _compared(edited):
        found, chosen = explained(*each, seed=plan.seed), followed(*each, seed=plan.seed)
        about: Row = {"method": method, "score": score, "effect": effect}
        for what in ("layer", "effect", "both", "added", "chance", "p"):
            yield {**about, "what": what, "mean": getattr(found, what), "low": None, "high": None, "n": found.facts}
        for what in ("localized", "fixed", "best", "anywhere", "gain"):
            yield {**about, "what": what, **as_row(getattr(chosen, what))}


def layer_rows(edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of each layer, mean scores of edits and mean effects, and over facts the rank correlation of the two."""
    for method, score, effect, (scores, effects) in _compared(edited):
        correlations = rank_correlations(scores, effects)
        for layer in range(scores.shape[1]):
            yield {
                "method": method,
                "score": score,
                "effect": effect,
                "layer": layer,
                "facts": len(scores),
                "edited": float(scores[:, layer].mean()),
                "edited_error": float(scores[:, layer].std() / np.sqrt(len(scores))),
                "localized": float(effects[:, layer].mean()),
                "correlation": float(correlations[layer]),
            }


def _compared(edited: pl.DataFrame) -> Iterator[tuple[str, str, str, tuple[np.ndarray, np.ndarray]]]:
    """Of each method, score and effect, both by fact and layer; facts without the score are left out."""
    if not len(edited):
        return
    for (method,), own in edited.group_by("method", maintain_order=True):
        for score in SCORES:
            whole = own.filter(pl.col(score).is_not_null().all().over("case"))
            facts = whole["case"].n_unique()
            if facts < LEAST:
                continue
            ordered = whole.sort("case", "layer", maintain_order=True)
            for effect in EFFECTS:
                both = (ordered[name].to_numpy().reshape(facts, -1) for name in (score, effect))
                yield str(method), score, effect, tuple(both)  # type: ignore[misc]


def can_be_localized(lm: LanguageModel, cases: Sequence[EditCase]) -> bool:
    """Whether every case has an old object, which localization needs, and the model is causal, as tracing needs."""
    return lm.architecture.kind == "causal" and all(one.request.query.answer for one in cases)
