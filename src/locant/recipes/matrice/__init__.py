"""MATRICE: neurons that hold a fact in every language, located with uncertainty over wordings and languages.

What is known of Cao et al. 2024, arXiv:2411.17401, with AMIG's experiments (arXiv:2308.13198) and controls. Of the
paper's formulas and numbers none were at hand: every choice is a setting of `Plan`, and no figure here is theirs.

    from locant.recipes.matrice import Plan, run_matrice
    run_matrice(lm, facts, folder, Plan(), source="almanac")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from locant.errors import LocantError, UnknownName
from locant.models import LanguageModel
from locant.queries.datasheet import datasheet
from locant.queries.parallel import ParallelFact
from locant.recipes.matrice.changes import SPARED, Change, changes, lessons, to_teach, trials
from locant.recipes.matrice.counted import agreement_rows, layer_rows, size_rows
from locant.recipes.matrice.edited import best_size, edit, inject, sweep, teach
from locant.recipes.matrice.judged import answer_rows, change_rows, matrix_rows, recovery_rows, transfer_rows
from locant.recipes.matrice.located import Asked, Sets, known_rows, locate, part, parted, sets_in, with_peers
from locant.recipes.matrice.overlap import overlap_rows
from locant.recipes.matrice.paired import check, pair
from locant.recipes.matrice.passing import agreeing_rows
from locant.recipes.matrice.plan import SETS, Plan
from locant.recipes.matrice.sharing import sharing_rows, verdict_rows
from locant.recipes.matrice.speaking import language_neurons
from locant.recipes.matrice.touched import Unrelated, enhance_failed, touch, unrelated
from locant.recipes.work import Data, Say, Work, manifest_of, say_nothing
from locant.sweeps import RunFolder
from locant.sweeps.units import Unit
from locant.types import Selection

__all__ = ["SETS", "Plan", "run_matrice"]

TRIED = 5
"""Facts on which the size of an edit is chosen."""


def run_matrice(
    lm: LanguageModel,
    facts: Sequence[ParallelFact],
    folder: Path,
    plan: Plan,
    *,
    source: str,
    drawn: Mapping[str, object] | None = None,
    dropped: Mapping[str, int] | None = None,
    taught: Mapping[str, Sequence[str]] | None = None,
    say: Say = say_nothing,
) -> Path:
    """Run every experiment into a folder; what is there already is not computed again.

    Args:
        facts: of two relations or more, with two wordings or more in the same languages.
        source: where the facts come from, for the manifest.
        drawn: and how they were drawn from it (settings of `select_parallel`).
        dropped: how many queries and facts were not asked, by why; as `select_parallel` says.
        taught: by fact, the languages it was taught in, where that is known.
        say: for progress.

    Returns:
        The folder.

    Raises:
        BadQuery: a query cannot be asked of this model; nothing has been written then.
        UnknownName: facts are of one relation, or do not go together; or none is known in two languages.
        BadFile: the folder holds another run.
    """
    _refuse(lm, facts, plan)
    run = RunFolder(folder)
    data = _data(facts, source, drawn, dropped)
    manifest = manifest_of("matrice", lm, data, plan.plain())
    run.check(manifest)
    run.open(manifest)
    work = _Work(lm, run, manifest, say, facts, plan, taught or {})
    asked = work.ask()
    sets = work.locate(asked)
    others = {one.fact.uid: unrelated(asked, one, SPARED, plan.seed) for one in asked}
    work.touch(asked, sets, others)
    work.change(asked, sets, others)
    work.pair(asked, sets)
    run.finish(manifest)
    return folder


def _refuse(lm: LanguageModel, facts: Sequence[ParallelFact], plan: Plan) -> None:
    if len({one.relation for one in facts}) < 2:
        of = f"all {len(facts)} are of {facts[0].relation!r}" if facts else "there are none"
        raise UnknownName(
            f"facts are compared with those of other relations, and {of}; name more relations (in a file: a column "
            "'relation'), or facts that the model knows"
        )
    if len({one.languages for one in facts}) != 1:
        raise UnknownName("a run's facts are asked in the same languages, and these are not")
    if plan.size > lm.layers * lm.neurons:
        raise UnknownName(f"cannot take {plan.size} neurons: the model has {lm.layers * lm.neurons}")
    for one in facts:
        for language, queries in one.queries.items():
            if len(queries) < 2:
                raise UnknownName(f"the fact {one.uid!r} has one wording in {language!r}: none is left to judge by")
            for query in queries:
                lm.tokens(query)


def _data(
    facts: Sequence[ParallelFact],
    source: str,
    drawn: Mapping[str, object] | None,
    dropped: Mapping[str, int] | None,
) -> Data:
    counts = {
        "dropped": dict(dropped or {}),
        "languages": list(facts[0].languages),
        "facts": len(facts),
        "queries": sum(len(queries) for one in facts for queries in one.queries.values()),
    }
    text = repr([[query for queries in one.queries.values() for query in queries] for one in facts])
    return Data(source, drawn, counts, text)


@dataclass(frozen=True)
class _Work(Work):
    """A run in progress: each method fills the tables of one experiment."""

    facts: Sequence[ParallelFact]
    plan: Plan
    taught: Mapping[str, Sequence[str]]

    def ask(self) -> list[Asked]:
        """Which facts the model knows, in which languages."""
        done = self.say("asking", len(self.facts))
        asked, rows = [], []
        for fact in self.facts:
            one, own = part(self.lm, fact)
            asked.append(one)
            rows += own
            done(1)
        self._save("answers", rows)
        self._save(
            "datasheet", datasheet([query for row in self.facts for some in row.queries.values() for query in some])
        )
        self._save("facts", list(known_rows(asked, self.taught)))
        self._save("known", list(answer_rows(pl.DataFrame(rows), self.plan)))
        if not any(len(one.known) > 1 for one in asked):
            raise UnknownName(f"{self.lm.name} knows none of these facts in two languages")
        return asked

    def locate(self, asked: Sequence[Asked]) -> dict[str, dict[str, Selection]]:
        """Every set of every fact that is known in two languages."""
        shared = [one for one in asked if len(one.known) > 1]
        speaking = self._speaking()
        units = [Unit(one.fact.uid, partial(locate, self.lm, one, speaking, self.plan)) for one in shared]
        located = parted(self._fill("located", units, "locating"))
        found = located.neurons
        self._save("neurons", found)
        self._save("stability", located.stability)
        self._save("passing", located.passing)
        self._save("agreement", list(agreement_rows(located.stability, self.plan)))
        self._save("agreeing", list(agreeing_rows(located.passing, asked, self.plan)))
        self._save("sizes", list(size_rows(found, self.plan)))
        grid = (self.lm.layers, self.lm.neurons)
        sets = sets_in(found, asked, grid, self.lm.provenance(self.plan.localizer, dict(self.plan.settings)))
        self._save("layers", list(layer_rows(found, self.lm.layers)))
        self._save("overlap", list(overlap_rows(sets, asked, self.plan)))
        costs = found.unique("fact")
        spent = {"queries": int(costs["queries"].sum()), "seconds": float(costs["seconds"].sum())}
        self._save("costs", [{"stage": "attribution", "facts": len(costs), **spent}])
        return with_peers(sets, asked)

    def touch(self, asked: Sequence[Asked], sets: Mapping[str, Sets], others: Mapping[str, Unrelated]) -> None:
        """What suppressing and enhancing does, in every language; and where it helps a query that failed."""
        shared = [one for one in asked if one.fact.uid in sets]
        units = [
            Unit(one.fact.uid, partial(touch, self.lm, one, others[one.fact.uid], sets[one.fact.uid]))
            for one in shared
        ]
        touched = self._fill("touched", units, "suppressing and enhancing")
        self._save("changes", list(change_rows(touched, self.plan)))
        self._save("transfer", list(transfer_rows(touched, self.plan)))
        sharing = list(sharing_rows(touched, asked, self.taught))
        self._save("sharing", sharing)
        self._save("verdicts", list(verdict_rows(sharing, self.plan)))
        units = [
            Unit(one.fact.uid, partial(enhance_failed, self.lm, one, others[one.fact.uid], sets[one.fact.uid]))
            for one in shared[: self.plan.enhanced]
        ]
        enhanced = self._fill("enhanced", units, "helping queries that fail")
        self._save("recovery", list(recovery_rows(enhanced, self.plan)))

    def change(self, asked: Sequence[Asked], sets: Mapping[str, Sets], others: Mapping[str, Unrelated]) -> None:
        """Facts edited, and new ones taught, in one language, and read in all."""
        some = changes(self.lm, asked, others, self.plan.seed)
        plan = self._with_lambdas(trials(self.lm, asked, self.plan.seed), sets)
        units = [self._unit(edit, one, sets[one.asked.fact.uid], plan) for one in some[: plan.edited]]
        edited = self._fill("edited", units, "editing")
        self._save("matrix", list(matrix_rows(edited, plan)))
        units = [self._unit(inject, one, sets[one.asked.fact.uid], plan) for one in some[: plan.injected]]
        for one in lessons(asked, others)[: plan.injected]:
            units.append(self._unit(teach, one, to_teach(one, asked, sets, self.plan), plan))
        injected = self._fill("injected", units, "teaching")
        self._save("injection", list(matrix_rows(injected, plan)))

    def pair(self, asked: Sequence[Asked], sets: Mapping[str, Sets]) -> None:
        """AMIG's degenerate neurons and its fact-checking."""
        shared = [one for one in asked if one.fact.uid in sets]
        units = [
            Unit(one.fact.uid, partial(pair, self.lm, one, sets[one.fact.uid], self.plan))
            for one in shared[: self.plan.paired]
        ]
        self._fill("degenerate", units, "pairing neurons")
        units = [Unit("all", partial(check, self.lm, asked, sets, self.plan))]
        self._fill("checking", units, "checking statements")

    def _speaking(self) -> Selection | None:
        """The model's language neurons; None where there are none, and why."""
        try:
            found = language_neurons(self.lm, self.facts, self.plan.size)
        except LocantError as error:  # a model with an encoder
            self._save("left_out", [{"set": "language neurons", "why": str(error)}])
            return None
        self._save("left_out", [])
        return found

    def _with_lambdas(self, some: Sequence[Change], sets: Mapping[str, Sets]) -> Plan:
        """The plan with the size of edits: as given, or the one that does best on a few facts that are not edited."""
        given = self.plan.lambda1, self.plan.lambda2
        best, apart = None, len(some) >= self.plan.edited + TRIED
        if None in given:
            tried = some[self.plan.edited :][:TRIED] if apart else some[:TRIED]
            units = [self._unit(sweep, one, sets[one.asked.fact.uid], self.plan) for one in tried]
            best = best_size(self._fill("lambdas", units, "trying sizes of edits"))
        size = 1.0 if best is None else float(str(best["lambda"]))
        lambda1, lambda2 = (size if one is None else one for one in given)
        how = "given" if None not in given else "swept" if best is not None else "nothing was edited"
        measured = {name: None if best is None else best[name] for name in ("facts", "success", "kept")}
        row = {"lambda1": lambda1, "lambda2": lambda2, "how": how, "apart": apart if best else None, **measured}
        self._save("chosen", [row])
        return replace(self.plan, lambda1=lambda1, lambda2=lambda2)

    def _unit(
        self,
        compute: Callable[[LanguageModel, Change, Sets, Plan], pl.DataFrame],
        one: Change,
        sets: Sets,
        plan: Plan,
    ) -> Unit:
        return Unit(
            [compute.__name__, one.asked.fact.uid, plan.lambda1, plan.lambda2],
            partial(compute, self.lm, one, sets, plan),
        )
