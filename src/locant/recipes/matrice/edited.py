"""Facts changed in one language and read in all: by edits of value vectors, and by training some neurons only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace

import polars as pl
from jaxtyping import Float
from torch import Tensor

from locant.attributions import attribute
from locant.evaluations import read_answers
from locant.interventions import update
from locant.interventions.lora import lora_tuned
from locant.interventions.tuning import Tuning, tuned
from locant.models import LanguageModel
from locant.recipes.matrice.changes import Change
from locant.recipes.matrice.located import Sets
from locant.recipes.matrice.plan import (
    ALL_NEURONS,
    IN_TURN,
    LAMBDAS,
    LIKE_UNION,
    LORA,
    MATRICE,
    OWN,
    OWN_HERE,
    PEER,
    RANDOM,
    Plan,
)
from locant.recipes.rows import Row
from locant.types import Query, Selection

EDIT_DRAWS = 2
"""Random sets of each kind that are edited."""


def edit(lm: LanguageModel, change: Change, sets: Sets, plan: Plan) -> pl.DataFrame:
    """The fact's value vectors rewritten in one language after another; each time it is read in all of them."""
    read = _Reader(lm, change)
    rows: list[Row] = []
    for source in change.asked.known:
        signs = _signs(lm, change, source)
        for name in (MATRICE, OWN + source, "intersection", PEER, *_draws(sets, EDIT_DRAWS)):
            if name in sets and len(sets[name]):
                with _edited(lm, change, source, sets[name], signs, plan):
                    rows += read.rows(source=source, set=_label(name))
    for label, start in ((IN_TURN, OWN), (MATRICE, None)):
        names = [(source, MATRICE if start is None else start + source) for source in change.asked.known]
        if not all(len(sets[name]) for _, name in names):
            continue
        with ExitStack() as stack:
            for source, name in names:
                # Of the model as the edits before it have left it
                signs = _signs(lm, change, source)
                stack.enter_context(_edited(lm, change, source, sets[name], signs, plan))
            rows += read.rows(source="all", set=label)
    return pl.DataFrame(rows)


def sweep(lm: LanguageModel, change: Change, sets: Sets, plan: Plan) -> pl.DataFrame:
    """The first known language's own neurons, edited by every size of LAMBDAS: what it wins and what it costs.

    Args:
        change: one of `trials`, so that those that judge have no part in what is chosen.
    """
    read, source = _Reader(lm, change), change.asked.known[0]
    own, signs = sets[OWN + source], _signs(lm, change, source)
    rows: list[Row] = []
    for size in LAMBDAS:
        lambda1, lambda2 = (size if one is None else one for one in (plan.lambda1, plan.lambda2))
        with _edited(lm, change, source, own, signs, replace(plan, lambda1=lambda1, lambda2=lambda2)):
            rows += [row | {"lambda": size} for row in read.rows(source=source, set=OWN_HERE)]
    return pl.DataFrame(rows)


def best_size(tried: pl.DataFrame) -> Row | None:
    """The size of an edit that does best where it is made, success counting as much as what is kept of other facts.

    Of equal ones the smallest; None if nothing was tried.
    """
    if not len(tried):
        return None
    here = tried.filter(pl.col("language") == pl.col("source"))
    by_size = here.group_by("lambda").agg(
        success=pl.col("says_new").filter(pl.col("asked") == "related").mean(),
        neighbours=pl.col("kept").filter(pl.col("asked") == "neighbour").mean(),
        unrelated=pl.col("kept").filter(pl.col("asked") == "unrelated").mean(),
        facts=pl.col("fact").n_unique(),
    )
    kept = pl.mean_horizontal("neighbours", "unrelated")
    best = by_size.with_columns(kept=kept, score=(pl.col("success") + kept) / 2)
    return best.sort("score", "lambda", descending=[True, False]).row(0, named=True)


def inject(lm: LanguageModel, change: Change, sets: Sets, plan: Plan) -> pl.DataFrame:
    """The new object taught in one language, by training some neurons only; then it is asked for in all of them."""
    return _injected(lm, change, change.asked.known[: plan.sources], sets, plan, "overwrite")


def teach(lm: LanguageModel, change: Change, sets: Sets, plan: Plan) -> pl.DataFrame:
    """The fact as it is, taught in a language that does not know it; then it is asked for in all of them."""
    lacking = [language for language in change.asked.fact.languages if language not in change.asked.known]
    return _injected(lm, change, lacking[:1], sets, plan, "new")


def _injected(
    lm: LanguageModel, change: Change, sources: Sequence[str], sets: Sets, plan: Plan, kind: str
) -> pl.DataFrame:
    read = _Reader(lm, change)
    rows: list[Row] = []
    for source in sources:
        asked = [replace(one, answer=change.new[source], alternatives=()) for one in change.asked.locate[source]]
        size = None
        for name in (MATRICE, OWN + source, *_draws(sets, 1), ALL_NEURONS, LORA):
            if name not in (ALL_NEURONS, LORA) and not len(sets.get(name, ())):
                continue  # languages agree on no neuron, or nothing was located in this one
            with _taught(lm, asked, sets, name, size, plan) as tuning:
                made = {"parameters": tuning.parameters, "steps": tuning.steps, "loss": tuning.losses[-1]}
                rows += [row | made for row in read.rows(source=source, set=_label(name), kind=kind)]
            size = size or _Size(tuning.parameters, _layers(sets.get(name)))
    return pl.DataFrame(rows)


def _draws(sets: Sets, count: int) -> list[str]:
    """The first draws of random sets of both kinds."""
    return [name for kind in (RANDOM, LIKE_UNION) for draw in range(count) if (name := f"{kind} {draw + 1}") in sets]


def _label(name: str) -> str:
    return OWN_HERE if name.startswith(OWN) else name


@dataclass(frozen=True)
class _Size:
    """What adapters are to be like: the parameters of a set, and its layers, those of most neurons first."""

    parameters: int
    layers: Sequence[int]


def _layers(chosen: Selection | None) -> list[int]:
    """A set's layers, those of most neurons first, and of equal ones the last."""
    counts = Counter(chosen.units[:, 0].tolist()) if chosen is not None else {}
    return sorted(counts, key=lambda layer: (-counts[layer], -layer))


@contextmanager
def _taught(
    lm: LanguageModel, lessons: Sequence[Query], sets: Sets, name: str, size: _Size | None, plan: Plan
) -> Iterator[Tuning]:
    settings = {"steps": plan.steps, "rate": plan.rate, "stop_at": 0.05, "seed": plan.seed}
    changed: AbstractContextManager[Tuning]
    if name == LORA:
        assert size is not None  # of all neurons, if of nothing else
        like = {"parameters": size.parameters, "layers": size.layers}
        changed = lora_tuned(lm, lessons, **like, **settings)  # type: ignore[arg-type]
    else:
        target = "ffn" if name == ALL_NEURONS else sets[name]
        # As many steps at the same rate would throw a whole network about
        rate = plan.rate / 10 if name == ALL_NEURONS else plan.rate
        changed = tuned(lm, lessons, target, **(settings | {"rate": rate}))  # type: ignore[arg-type]
    with changed as tuning:
        yield tuning


def _signs(lm: LanguageModel, change: Change, source: str) -> Float[Tensor, "layer neuron"]:
    """The activations that an edit in a language goes by."""
    return attribute(lm, [change.asked.locate[source][0]], "activation").activations[0]


def _edited(
    lm: LanguageModel,
    change: Change,
    source: str,
    chosen: Selection,
    signs: Float[Tensor, "layer neuron"],
    plan: Plan,
) -> AbstractContextManager[None]:
    assert plan.lambda1 is not None and plan.lambda2 is not None  # swept before anything is edited
    return update(
        lm,
        chosen,
        change.asked.locate[source][0],
        change.new[source],
        lambda1=plan.lambda1,
        lambda2=plan.lambda2,
        activations=signs,
    )


class _Reader:
    """Reads everything a change may have touched, and holds it against what was there before."""

    def __init__(self, lm: LanguageModel, change: Change) -> None:
        self.lm = lm
        self.change = change
        judged = [query for queries in change.asked.judge.values() for query in queries]
        self.old = [("related", query) for query in judged]
        self.old += [("neighbour", query) for queries in change.neighbours.values() for query in queries]
        self.old += [("unrelated", query) for queries in change.unrelated.values() for query in queries]
        self.new = [replace(query, answer=change.new[query.language], alternatives=()) for _, query in self.old]
        self.before = self._read()

    def _read(self) -> list[dict[str, float | bool | int]]:
        old = read_answers(self.lm, [query for _, query in self.old])
        new = read_answers(self.lm, self.new)
        return [
            {
                "old": float(old.log_probability[place].exp()),
                "new": float(new.log_probability[place].exp()),
                "says_old": int(old.rank[place]) == 1,
                "says_new": int(new.rank[place]) == 1,
                "said": int(old.said[place]),
            }
            for place in range(len(self.old))
        ]

    def rows(self, **about: object) -> list[Row]:
        """What is read now, a row for each query."""
        fact = self.change.asked.fact
        return [
            {
                "fact": fact.uid,
                **about,
                "language": query.language,
                "asked": what,
                "known": query.language in self.change.asked.known,
                "query": query.uid,
                "old_before": before["old"],
                "old_after": after["old"],
                "new_before": before["new"],
                "new_after": after["new"],
                "says_new_before": before["says_new"],
                "says_new": after["says_new"],
                "kept": after["said"] == before["said"],
                "same_answer": what == "related"
                and about["source"] != "all"
                and query.language != about["source"]
                and self.change.new[query.language] == self.change.new[str(about["source"])],
            }
            for (what, query), before, after in zip(self.old, self.before, self._read(), strict=True)
        ]
