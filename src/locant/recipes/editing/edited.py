"""Cases edited alone, in turn and together, and what is read of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from locant.errors import LocantError, NoNumber
from locant.evaluations.edit_metrics import edit_rows
from locant.evaluations.edit_readings import (
    QUERY_COLUMNS,
    TEXT_COLUMNS,
    EditReadings,
    Scope,
    likely_in,
    read_cases,
    writer,
)
from locant.evaluations.editing import perplexity
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
"""The metric of a case that a method cannot edit: 1. The table's column `why` says why."""
COLLAPSED = "collapsed"
"""The metric of a case whose edit left no model: a loss, a weight or what is said then is no number."""
ENDED = (REFUSED, COLLAPSED)
ALIKE = ("request", "paraphrase", "neighbour", "unrelated")
"""What is read again and again while edits add up."""


@dataclass(frozen=True)
class Judging:
    """What the model said before any edit, and what is read after one."""

    before: EditReadings = field(repr=False)
    scope: Scope = field(repr=False)


def scope_of(lm: LanguageModel, cases: Sequence[EditCase], texts: Sequence[str], plan: Plan) -> Scope:
    """What is read of every case, before its edit and after it."""
    scope = Scope(texts=tuple(texts) if lm.architecture.kind == "causal" else ())
    if plan.tokens and lm.architecture.kind == "causal" and any(one.generation for one in cases):
        generate = partial(sample, lm, length=plan.tokens, seed=plan.seed, top_k=TOP)
        scope = replace(scope, writer=writer(generate, cases))
    return scope


def read_some(lm: LanguageModel, cases: Sequence[EditCase], scope: Scope) -> pl.DataFrame:
    """Some cases before any edit, in one table (`judging` parts it again); without cases, the running texts."""
    if not cases:
        value = perplexity(lm, scope.texts)
        texts = pl.DataFrame([("", "perplexity", value)], schema=TEXT_COLUMNS, orient="row")
        return pl.concat([pl.DataFrame(schema=QUERY_COLUMNS), texts], how="diagonal")
    found = read_cases(lm, cases, replace(scope, texts=()))
    return pl.concat([found.queries, found.texts], how="diagonal")


def judging_by(before: pl.DataFrame, scope: Scope) -> Judging:
    """What was read before any edit, and the scope to read in again."""
    texts = before.filter(pl.col("query").is_null()).select(*TEXT_COLUMNS)
    queries = before.filter(pl.col("query").is_not_null()).select(*QUERY_COLUMNS)
    found = EditReadings(queries, texts)
    return Judging(found, replace(scope, likely=likely_in(found)))


def edit_alone(
    lm: LanguageModel, case: EditCase, method: str, editor: Editor | None, judging: Judging, plan: Plan
) -> pl.DataFrame:
    """One case in the model as it is: its metrics, what the method noted, and how long it took.

    A case that the method refuses, or that leaves no model, has one row, of the metric `REFUSED` or `COLLAPSED`.

    Args:
        editor: of the method; None for random neurons.
    """
    with ExitStack() as stack:
        try:
            chosen = editor or _of_random_neurons(lm, case, plan)
            edited = stack.enter_context(edit(lm, case.requests, chosen))
        except LocantError as error:
            return _of_method(_ended(error, case), method)
        found = _read_after(lm, [case], judging.scope, judging)
    noted = [
        (case.uid, case.relation, "notes", what, None, float(value))
        for what, value in numbers_of(edited.notes).items()
    ]
    noted.append((case.uid, case.relation, "notes", "seconds", None, edited.seconds))
    return _of_method(found if _collapsed([found]) else pl.concat([found, _rows(noted)]), method)


def edit_in_turn(lm: LanguageModel, cases: Sequence[EditCase], editor: Editor, judging: Judging) -> pl.DataFrame:
    """Cases edited one after another: metrics of all that were edited so far, after more and more of them.

    A case that the method refuses is passed over, one that leaves no model is the last; a row says so.

    Columns beside those of `edit_rows`: method; why; edits, how many cases were come to; place, which of them the
    case's was.
    """
    scope = replace(judging.scope, asked=ALIKE, written=(), writer=None)
    place = pl.DataFrame({"case": [one.uid for one in cases], "place": range(1, 1 + len(cases))})
    read_after = steps(len(cases))
    found: list[pl.DataFrame] = []
    made: list[EditCase] = []
    with edit(lm, [], editor) as edited:
        for number, case in enumerate(cases, start=1):
            parts = []
            try:
                edited.add(case.requests, batch=1)
                made.append(case)
            except LocantError as error:
                parts.append(_ended(error, case))
            if number in read_after and made and not _collapsed(parts):
                parts.append(_read_after(lm, made, scope, judging))
            found += [one.with_columns(edits=pl.lit(number)) for one in parts]
            if _collapsed(parts):
                break
    return _of_method(pl.concat(found).join(place, on="case", how="left"), editor.method)


def edit_together(
    lm: LanguageModel, cases: Sequence[EditCase], editor: Editor, judging: Judging, refused: Collection[str] = ()
) -> pl.DataFrame:
    """Cases edited all at once: metrics of each.

    Args:
        refused: uids of cases that the method cannot edit; they are left out.
    """
    scope = replace(judging.scope, asked=ALIKE, writer=None)
    able = [case for case in cases if case.uid not in refused]
    with ExitStack() as stack:
        try:
            requests = [one for case in able for one in case.requests]
            edited = stack.enter_context(edit(lm, requests, editor))
        except LocantError as error:
            return _of_method(_ended(error), editor.method)
        found = _read_after(lm, able, scope, judging) if able else _rows([])
    seconds = _rows([("", "", "notes", "seconds", None, edited.seconds)])
    return _of_method(pl.concat([found, seconds]), editor.method)


def _read_after(lm: LanguageModel, made: Sequence[EditCase], scope: Scope, judging: Judging) -> pl.DataFrame:
    """Metrics of some cases; or the row that says that there is no model left to read."""
    try:
        return _measured(judging.before, read_cases(lm, made, scope))
    except NoNumber as error:
        return _ended(error, made[-1])


def _measured(before: EditReadings, after: EditReadings) -> pl.DataFrame:
    return _with_why(edit_rows(before, after).cast({"before": pl.Float64, "after": pl.Float64}))


def _ended(error: LocantError, case: EditCase | None = None) -> pl.DataFrame:
    """The row of a case, or of all of them, that has no metrics, and why."""
    metric = COLLAPSED if isinstance(error, NoNumber) else REFUSED
    uid, relation = (case.uid, case.relation) if case else ("", "")
    return _rows([(uid, relation, "request", metric, 0.0, 1.0)]).with_columns(why=pl.lit(str(error)))


def _collapsed(parts: Sequence[pl.DataFrame]) -> bool:
    return any(COLLAPSED in one["metric"] for one in parts)


def _of_method(rows: pl.DataFrame, method: str) -> pl.DataFrame:
    return rows.with_columns(method=pl.lit(method))


def _with_why(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(why=pl.lit(None, pl.String))


def _of_random_neurons(lm: LanguageModel, case: EditCase, plan: Plan) -> Editor:
    """Knowledge neurons' editor, with random neurons in the place of each request's."""
    settings = {name: one.default for name, one in editing_settings("kn").items()} | plan.of("kn")
    neurons = Neurons(None, settings["localizer"], settings["share"], settings["rule"], settings["points"])
    target = {}
    for one in case.requests:
        (located,) = neurons.of(lm, [one])
        target[one.uid] = random_like(located, plan.seed, one.uid)
    return prepare(lm, "kn", settings | {"target": target})


def numbers_of(notes: Sequence[Mapping[str, Setting]]) -> dict[str, float]:
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
    found = pl.DataFrame(rows, schema={**kinds, "before": pl.Float64, "after": pl.Float64}, orient="row")
    return _with_why(found)
