"""Localization against editability: the same fact edited at every layer, beside what localization says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import polars as pl

from locant.attributions import attribute
from locant.attributions.tracing import spread_of, trace
from locant.errors import LocantError, NoNumber
from locant.evaluations.edit_readings import EditReadings, Scope, read_cases
from locant.evaluations.editability import explained, followed, rank_correlations
from locant.interventions.editing import Editor, edit, editing_settings, prepare
from locant.interventions.editing.background import read_ahead
from locant.interventions.editing.presets import preset_of
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase, fault
from locant.recipes.editing.edited import numbers_of
from locant.recipes.editing.plan import EFFECTS, Plan
from locant.recipes.rows import Row, as_row
from locant.types import Setting

SCORES = ("rewrite", "generalisation", "kept")
LEAST = 3
"""Facts below which nothing is said of where editing works."""
TRAINED: Mapping[str, Mapping[str, Setting]] = {"ft_m": {"steps": 1000}}
"""Settings of methods at every layer, where the run has no others. The steps published for one layer end FT-M in
others long before it has learnt the fact: here it goes on until the loss to stop at, wherever it trains."""
WINDOW = 10 / 48
"""Of the layers, those that tracing restores together: Meng et al. 2022 (arXiv:2202.05262) have 10 of 48."""
LEAST_EFFECT = 0.1
"""Of what noise takes away, the mean effect that the strongest layer must bring back for tracing to name a layer."""


@dataclass(frozen=True)
class Tracing:
    """How facts are traced.

    Attributes:
        at: the position that is edited, 'subject' or 'last'.
        window: layers restored together.
        spread: what noise is measured in; of the subjects of all the cases together.
    """

    at: str
    window: int
    spread: float


def tracing_of(lm: LanguageModel, cases: Sequence[EditCase], plan: Plan) -> Tracing:
    """Tracing at the position that ROME edits, in windows that become a model of this depth."""
    at = plan.of("rome").get("at") or preset_of(lm).at
    spread = spread_of(lm, [one.request.query for one in cases])
    return Tracing(str(at), max(1, round(WINDOW * lm.layers)), spread)


def localize(lm: LanguageModel, case: EditCase, tracing: Tracing, plan: Plan) -> pl.DataFrame:
    """What localization says of the layers of one case, in the model as it is.

    Columns: case, layer; tracing, credit (see `EFFECTS`); clean, corrupted: P(old object) without and with noise.
    """
    query = case.request.query
    traced = trace(lm, [query], at=tracing.at, window=tracing.window, spread=tracing.spread, seed=plan.seed)
    credit = attribute(lm, [query]).scores[0].clamp(min=0).sum(dim=1)
    columns = {
        "layer": range(lm.layers),
        "tracing": traced.effect[0].tolist(),
        "credit": (credit / credit.sum().clamp(min=1e-30)).tolist(),
    }
    both = (
        pl.lit(float(one[0])).alias(name) for name, one in (("clean", traced.clean), ("corrupted", traced.corrupted))
    )
    return pl.DataFrame(columns).select(pl.lit(case.uid).alias("case"), pl.all(), *both)


def edit_layer(
    lm: LanguageModel, cases: Sequence[EditCase], method: str, layer: int, before: EditReadings, plan: Plan
) -> pl.DataFrame:
    """Every case edited alone at one layer; the editor, which may hold much, lasts no longer.

    Columns: case, method, layer; rewrite, (p* - p) / (1 - p) of P(new) before and after the edit; generalisation, the
    same of the paraphrases' mean; kept, the share of neighbours whose first token stays; loss, steps, reached (1 if
    the loss is the one to stop at, else 0); why, where the method refuses the case or destroys the model.

    Source: Hase et al. 2023, arXiv:2301.04213, for the rewrite score.
    """
    try:
        if method == "rome":
            own = {name: one.default for name, one in editing_settings("rome").items()} | plan.of("rome")
            read_ahead(lm, range(lm.layers), own["texts"], own["tokens"], own["seed"])
        editor = prepare(lm, method, {**TRAINED.get(method, {}), **plan.of(method), "layer": layer})
        found = [_edited(lm, one, editor, before) for one in cases]
    except LocantError as error:
        found = [{"why": str(error)} for _ in cases]
    rows = [{"case": one.uid, "method": method, "layer": layer, **row} for one, row in zip(cases, found, strict=True)]
    return pl.DataFrame(rows, schema=_COLUMNS)


def _edited(lm: LanguageModel, case: EditCase, editor: Editor, before: EditReadings) -> Row:
    """The scores of one edit, and how its training went; or why there are none."""
    with ExitStack() as stack:
        try:
            edited = stack.enter_context(edit(lm, case.requests, editor))
        except LocantError as error:
            return {"why": str(error)}
        try:
            after = read_cases(lm, [case], SCOPE).queries
        except NoNumber as error:
            return {"why": str(error)}
    noted = numbers_of(edited.notes)
    loss, stop_at = noted.get("loss"), editor.settings.get("stop_at")
    reached = float(loss <= stop_at) if loss is not None and isinstance(stop_at, int | float) else None
    own = before.queries.filter(pl.col("case") == case.uid)
    return _scores(own, after) | {"loss": loss, "steps": noted.get("steps"), "reached": reached}


def _scores(before: pl.DataFrame, after: pl.DataFrame) -> Row:
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


def place_rows(localized: pl.DataFrame, edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How much of the scores of edits the layer explains, and how much each localization adds.

    Columns: method, score, effect, what (layer, effect, both, added, chance, p, localized, fixed, best, anywhere,
    gain), mean, low, high, n. See `Explained` and `Followed`. Of tracing that names no layer (`trace_rows`) there are
    none.
    """
    named = {"credit", *("tracing" for row in trace_rows(localized) if row["measured"])}
    for method, score, effect, each in _compared(localized, edited):
        if effect not in named:
            continue
        found, chosen = explained(*each, seed=plan.seed), followed(*each, seed=plan.seed)
        about: Row = {"method": method, "score": score, "effect": effect}
        for what in ("layer", "effect", "both", "added", "chance", "p"):
            yield {**about, "what": what, "mean": getattr(found, what), "low": None, "high": None, "n": found.facts}
        for what in ("localized", "fixed", "best", "anywhere", "gain"):
            yield {**about, "what": what, **as_row(getattr(chosen, what))}


def layer_rows(localized: pl.DataFrame, edited: pl.DataFrame) -> Iterator[Row]:
    """Of each layer, mean scores of edits and mean effects, and over facts the rank correlation of the two.

    reached is the share of facts whose training came to the loss to stop at, steps the mean it took; both are of all
    facts that were edited there.
    """
    trained = _trained(edited)
    for method, score, effect, (scores, effects) in _compared(localized, edited):
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
                **trained[method, layer],
            }


def _trained(edited: pl.DataFrame) -> dict[tuple[str, int], Row]:
    """By method and layer, the share of facts whose training reached its aim, and its mean steps."""
    if not len(edited):
        return {}
    means = edited.group_by("method", "layer").agg(pl.col("reached", "steps").mean())
    return {(row.pop("method"), row.pop("layer")): row for row in means.iter_rows(named=True)}


def trace_rows(localized: pl.DataFrame) -> Iterator[Row]:
    """What tracing is worth: one row of means over facts.

    Columns: clean, corrupted, P(old object) without and with noise; largest, the mean effect of the layer that has
    most, and layer; facts; measured, whether that is at least `LEAST_EFFECT` of what noise takes away.
    """
    if not len(localized):
        return
    effects = localized.group_by("layer", maintain_order=True).agg(pl.col("tracing").mean()).sort("tracing")
    clean, corrupted = (float(localized[name].mean()) for name in ("clean", "corrupted"))  # type: ignore[arg-type]
    largest, layer = effects["tracing"][-1], effects["layer"][-1]
    measured = clean > corrupted and largest >= LEAST_EFFECT * (clean - corrupted)
    yield {
        "clean": clean,
        "corrupted": corrupted,
        "largest": largest,
        "layer": layer,
        "facts": localized["case"].n_unique(),
        "measured": measured,
    }


def _compared(
    localized: pl.DataFrame, edited: pl.DataFrame
) -> Iterator[tuple[str, str, str, tuple[np.ndarray, np.ndarray]]]:
    """Of each method, score and effect, both by fact and layer; facts without the score are left out."""
    if not len(edited):
        return
    both = edited.join(localized, on=["case", "layer"], maintain_order="left")
    for (method,), own in both.group_by("method", maintain_order=True):
        for score in SCORES:
            whole = own.filter(pl.col(score).is_not_null().all().over("case"))
            facts = whole["case"].n_unique()
            if facts < LEAST:
                continue
            ordered = whole.sort("case", "layer", maintain_order=True)
            for effect in EFFECTS:
                tables = (ordered[name].to_numpy().reshape(facts, -1) for name in (score, effect))
                yield str(method), score, effect, tuple(tables)  # type: ignore[misc]


def can_be_localized(lm: LanguageModel, cases: Sequence[EditCase]) -> bool:
    """Whether localization can be asked: it needs old objects, and tracing a causal model and subjects in prompts."""
    return lm.architecture.kind == "causal" and all(
        one.request.query.answer and fault(one.request) is None for one in cases
    )


SCOPE = Scope(asked=("request", "paraphrase", "neighbour"), written=())
"""What is read of an edit at one layer."""
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "case": pl.String,
    "method": pl.String,
    "layer": pl.Int64,
    **dict.fromkeys((*SCORES, "loss", "steps", "reached"), pl.Float64),
    "why": pl.String,
}
