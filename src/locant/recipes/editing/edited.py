"""Cases edited alone, in turn and together, and what is read of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from locant.errors import BadQuery
from locant.evaluations.edit_metrics import edit_rows
from locant.evaluations.edit_readings import EditReadings, Scope, read_cases, writer
from locant.interventions.editing import Editor, edit, editing_settings, prepare
from locant.interventions.editing.targets import Neurons
from locant.models import LanguageModel
from locant.models.sample import sample
from locant.queries.edit_cases import EditCase
from locant.recipes.editing.plan import Plan, steps
from locant.selections.random_sets import random_like
from locant.types import Setting

TOP = 5
"""Of what the model could say, published texts are drawn from so many."""
REFUSED = "refused"
"""The metric of a case that a method cannot edit: 1."""
ALIKE = ("request", "paraphrase", "neighbour", "unrelated")
"""What is read again and again while edits add up."""


@dataclass(frozen=True)
class Judging:
    """What the model said before any edit, and what is read after one."""

    before: EditReadings = field(repr=False)
    scope: Scope = field(repr=False)


def read_before(lm: LanguageModel, cases: Sequence[EditCase], texts: Sequence[str], plan: Plan) -> Judging:
    """Read everything once."""
    scope = Scope(texts=tuple(texts) if lm.architecture.kind == "causal" else ())
    if plan.tokens and lm.architecture.kind == "causal" and any(one.generation for one in cases):
        generate = partial(sample, lm, length=plan.tokens, seed=plan.seed, top_k=TOP)
        scope = replace(scope, writer=writer(generate, cases))
    return Judging(read_cases(lm, cases, scope), scope)


def edit_alone(
    lm: LanguageModel, case: EditCase, method: str, editor: Editor | None, judging: Judging, plan: Plan
) -> pl.DataFrame:
    """One case in the model as it is: its metrics, what the method noted, and how long it took.

    A case that the method refuses has one row, of the metric `REFUSED`.

    Args:
        editor: of the method; None for random neurons.
    """
    try:
        with edit(lm, case.requests, editor or _of_random_neurons(lm, case, plan)) as edited:
            after = read_cases(lm, [case], judging.scope)
    except BadQuery:
        return _rows([(case.uid, case.relation, "request", REFUSED, 0.0, 1.0)]).with_columns(method=pl.lit(method))
    noted = [
        (case.uid, case.relation, "notes", what, None, float(value)) for what, value in _numbers(edited.notes).items()
    ]
    noted.append((case.uid, case.relation, "notes", "seconds", None, edited.seconds))
    found = edit_rows(judging.before, after).cast({"before": pl.Float64, "after": pl.Float64})
    return pl.concat([found, _rows(noted)]).with_columns(method=pl.lit(method))


def edit_in_turn(lm: LanguageModel, cases: Sequence[EditCase], editor: Editor, judging: Judging) -> pl.DataFrame:
    """Cases edited one after another: metrics of all that were edited so far, after more and more of them.

    Columns beside those of `edit_rows`: method; edits, how many were made; place, which of them the case's was.
    """
    scope = replace(judging.scope, asked=ALIKE, written=(), writer=None)
    place = pl.DataFrame({"case": [one.uid for one in cases], "place": range(1, 1 + len(cases))})
    found = []
    with edit(lm, [], editor) as edited:
        done = 0
        for count in steps(len(cases)):
            edited.add([one for case in cases[done:count] for one in case.requests], batch=1)
            done = count
            after = read_cases(lm, cases[:count], scope)
            found.append(edit_rows(judging.before, after).with_columns(edits=pl.lit(count)))
    return pl.concat(found).join(place, on="case", how="left").with_columns(method=pl.lit(editor.method))


def edit_together(lm: LanguageModel, cases: Sequence[EditCase], editor: Editor, judging: Judging) -> pl.DataFrame:
    """Cases edited all at once: metrics of each."""
    scope = replace(judging.scope, asked=ALIKE, writer=None)
    with edit(lm, [one for case in cases for one in case.requests], editor) as edited:
        after = read_cases(lm, cases, scope)
    seconds = _rows([("", "", "notes", "seconds", None, edited.seconds)])
    found = edit_rows(judging.before, after).cast({"before": pl.Float64, "after": pl.Float64})
    return pl.concat([found, seconds]).with_columns(method=pl.lit(editor.method))


def _of_random_neurons(lm: LanguageModel, case: EditCase, plan: Plan) -> Editor:
    """Knowledge neurons' editor, with random neurons in the place of each request's."""
    settings = {name: one.default for name, one in editing_settings("kn").items()} | plan.of("kn")
    neurons = Neurons(None, settings["localizer"], settings["share"], settings["rule"], settings["points"])
    target = {}
    for one in case.requests:
        (located,) = neurons.of(lm, [one])
        target[one.uid] = random_like(located, plan.seed, one.uid)
    return prepare(lm, "kn", settings | {"target": target})


def _numbers(notes: Sequence[Mapping[str, Setting]]) -> dict[str, float]:
    """The numbers of a case's notes; of several requests or layers, their means."""
    values: dict[str, list[float]] = {}
    for note in notes:
        for what, value in note.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(what, []).append(float(value))
    return {what: sum(own) / len(own) for what, own in values.items()}


_Row = tuple[str, str, str, str, float | None, float | None]


def _rows(rows: Sequence[_Row]) -> pl.DataFrame:
    kinds = dict.fromkeys(("case", "relation", "asked", "metric"), pl.String)
    return pl.DataFrame(rows, schema={**kinds, "before": pl.Float64, "after": pl.Float64}, orient="row")
