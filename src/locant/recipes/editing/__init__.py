"""Editing: facts rewritten by several methods, and all that papers and users ask of the model afterwards.

Each case is edited alone by every method, then cases in turn and together; and at every layer, to ask whether
localization says where editing works. Cases are CounterFact's, zsRE's, MQuAKE's, one's own, or made of known facts.

    from locant.recipes.editing import Plan, run_editing
    run_editing(lm, cases, folder, Plan(), source="almanac")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from locant.errors import UnknownName
from locant.interventions.editing import Editor, prepare
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase, spared_by_all, without_conflicts
from locant.recipes.editing.edited import (
    ENDED,
    REFUSED,
    Judging,
    edit_alone,
    edit_in_turn,
    edit_together,
    judging_by,
    read_some,
    scope_of,
)
from locant.recipes.editing.judged import cost_rows, drift_rows, ended_rows, method_rows
from locant.recipes.editing.places import (
    can_be_localized,
    edit_layer,
    layer_rows,
    localize,
    place_rows,
    trace_rows,
    tracing_of,
)
from locant.recipes.editing.plan import OF_LAYERS, RANDOM, Plan
from locant.recipes.work import Data, Say, Work, in_batches, manifest_of, say_nothing
from locant.sweeps import RunFolder
from locant.sweeps.units import Unit

__all__ = ["Plan", "run_editing"]

AT_ONCE = 8
"""Cases that are read together before any edit."""


def run_editing(
    lm: LanguageModel,
    cases: Sequence[EditCase],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    left_out: Mapping[str, int] | None = None,
    texts: Sequence[str] = (),
    say: Say = say_nothing,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        source: where the cases come from, for the manifest.
        drawn: and how they were drawn from it.
        left_out: how many there were left out, by reason.
        texts: running text, for perplexity.
        say: for progress.

    Returns:
        The folder.

    Raises:
        UnknownName: there are no cases, or two of one name; or a setting does not fit.
        LocantError: a method does not fit the model; nothing has been written then.
        BadFile: the folder holds another run.
    """
    if not cases or len({one.uid for one in cases}) < len(cases):
        raise UnknownName("a run edits one case or more, each with a name of its own")
    run = RunFolder(folder)
    data = Data(
        source=source,
        drawn=drawn,
        counts={
            "cases": len(cases),
            "left_out": dict(left_out or {}),
            "in_conflict": len(cases) - len(without_conflicts(cases)),
            "texts": len(texts),
        },
        text=repr([*cases, tuple(texts)]),
    )
    manifest = manifest_of("editing", lm, data, plan.plain())
    # Before statistics of the model are read, which may take long; then with all that they settle
    run.check(manifest)
    editors = {name: prepare(lm, name, plan.of(name)) for name in plan.methods}
    manifest["resolved"] = {name: dict(one.settings) for name, one in editors.items()}
    run.check(manifest)
    run.open(manifest)
    work = _Work(lm, run, manifest, say, tuple(cases), plan, editors)
    work.describe()
    judging = work.before(texts)
    alone = work.alone(judging)
    in_turn, together = work.in_turn(judging), work.together(judging, alone)
    everywhere = work.places(judging)
    work.ended({"alone": alone, "in turn": in_turn, "together": together, "every layer": everywhere})
    run.finish(manifest)
    return folder


@dataclass(frozen=True)
class _Work(Work):
    """A run in progress: each method fills the tables of one experiment."""

    cases: tuple[EditCase, ...]
    plan: Plan
    editors: Mapping[str, Editor]

    def describe(self) -> None:
        """What is edited."""
        self._save(
            "cases",
            [
                {
                    "case": one.uid,
                    "relation": one.relation,
                    "prompt": one.request.query.prompt,
                    "subject": one.request.subject,
                    "old": one.request.query.answer,
                    "new": one.request.new,
                    "requests": len(one.requests),
                    "paraphrases": len(one.paraphrases),
                    "neighbours": len(one.neighbours),
                    "portability": len(one.portability),
                    "unrelated": len(one.unrelated),
                }
                for one in self.cases
            ],
        )

    def before(self, texts: Sequence[str]) -> Judging:
        """Every case in the model as it is."""
        scope = scope_of(self.lm, self.cases, texts, self.plan)
        units = [
            Unit([one.uid for one in some], partial(read_some, self.lm, some, scope))
            for some in in_batches(self.cases, AT_ONCE)
        ]
        if scope.texts:
            units.append(Unit([], partial(read_some, self.lm, (), scope)))
        return judging_by(self._fill("before", units, f"reading before {self._edits():,} edits"), scope)

    def _edits(self) -> int:
        """How many edits the run makes in all, each fact that is edited counted every time."""
        methods, cases = len(self.plan.methods), len(self.cases)
        in_turn, together, layers = (
            min(number, cases) for number in (self.plan.in_turn, self.plan.together, self.plan.layers)
        )
        many = sum(one.at_once is None for one in self.editors.values())
        everywhere = len(set(OF_LAYERS) & set(self.plan.methods)) * self.lm.layers * layers
        return (methods + self._has_control()) * cases + methods * in_turn + many * together + everywhere

    def alone(self, judging: Judging) -> pl.DataFrame:
        """Every case by every method, each in the model as it is."""
        methods = [*self.plan.methods, *([RANDOM] if self._has_control() else [])]
        units = [
            Unit(
                [method, case.uid],
                partial(edit_alone, self.lm, case, method, self.editors.get(method), judging, self.plan),
            )
            for method in methods
            for case in self.cases
        ]
        edited = self._fill("alone", units, "editing each alone")
        self._save("methods", method_rows(edited, self.plan))
        self._save("costs", list(cost_rows(edited)))
        return edited

    def in_turn(self, judging: Judging) -> pl.DataFrame:
        """As many cases as the plan says, one after another."""
        some = self._many(self.plan.in_turn)
        units = [
            Unit([method, len(some)], partial(edit_in_turn, self.lm, some, editor, judging))
            for method, editor in self.editors.items()
            if len(some) > 1
        ]
        edited = self._fill("in_turn", units, "editing in turn")
        self._save("drift", drift_rows(edited, self.plan))
        return edited

    def together(self, judging: Judging, alone: pl.DataFrame) -> pl.DataFrame:
        """As many cases as the plan says, at once, by methods that take many."""
        some = self._many(self.plan.together)
        refused = alone.filter(pl.col("metric").is_in(ENDED)) if len(alone) else alone
        units = [
            Unit(
                [method, len(some)],
                partial(edit_together, self.lm, some, editor, judging, _of(refused, method)),
            )
            for method, editor in self.editors.items()
            if len(some) > 1 and editor.at_once is None
        ]
        edited = self._fill("together", units, "editing together")
        self._save("batch", method_rows(edited, self.plan))
        return edited

    def places(self, judging: Judging) -> pl.DataFrame:
        """As many cases as the plan says, at every layer."""
        some = self.cases[: self.plan.layers]
        methods = [name for name in OF_LAYERS if name in self.plan.methods]
        can = some and methods and can_be_localized(self.lm, some)
        tracing = tracing_of(self.lm, some, self.plan) if can else None
        localizing = [Unit([one.uid], partial(localize, self.lm, one, tracing, self.plan)) for one in some if tracing]
        editing = [
            Unit(
                [method, layer, len(some)],
                partial(edit_layer, self.lm, some, method, layer, judging.before, self.plan),
            )
            for method in methods
            for layer in range(self.lm.layers)
            if tracing
        ]
        localized = self._fill("localized", localizing, "asking where facts are")
        edited = self._fill("everywhere", editing, "editing every layer")
        self._save("places", list(place_rows(localized, edited, self.plan)))
        self._save("layers", list(layer_rows(localized, edited)))
        self._save("traces", list(trace_rows(localized)))
        return edited.filter(pl.col("why").is_not_null()).with_columns(metric=pl.lit(REFUSED)) if can else edited

    def _many(self, number: int) -> tuple[EditCase, ...]:
        """So many cases to be edited in one model, with the bystanders that none of them edits."""
        return spared_by_all(without_conflicts(self.cases)[:number])

    def ended(self, parts: Mapping[str, pl.DataFrame]) -> None:
        """What was refused or destroyed the model, and why."""
        self._save("ended", list(ended_rows(parts)))

    def _has_control(self) -> bool:
        """Whether random neurons can stand beside knowledge neurons: these are located, not given by a file."""
        return "kn" in self.plan.methods and all(one.query.answer for case in self.cases for one in case.requests)


def _of(refused: pl.DataFrame, method: str) -> list[str]:
    """The cases that a method could not edit."""
    return refused.filter(pl.col("method") == method)["case"].to_list()
