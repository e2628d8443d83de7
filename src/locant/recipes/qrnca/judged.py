"""The paper's measures, from what touching neurons did to every prompt: always with both terms, and intervals.

Intervals are over facts: a fact's questions in several languages are one unit, and the sets of neurons are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl
import torch

from locant.evaluations.boosting import Probabilities, change_ratio, editing_success
from locant.evaluations.outcomes import interval
from locant.recipes.qrnca.plan import METHODS, Plan
from locant.recipes.qrnca.predicted import FULL, OWN, POOLS
from locant.recipes.rows import Row, as_row
from locant.types import Interval

ALL = "all"


def change_rows(touched: pl.DataFrame) -> Iterator[Row]:
    """Each question's P(right letter) before and after, the mean over its prompts and over random draws."""
    yield from _by_question(touched).iter_rows(named=True)


def ratio_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """The change of related questions beside that of unrelated ones, of all groups and of each.

    Where an answer has no probability before, there is no relative change: a row of kind 'undefined' says why.
    """
    found = _by_question(touched)
    groups = [ALL, *found["group"].unique(maintain_order=True)]
    for (method, evaluation, operation), own in _parts(found, "method", "evaluation", "operation"):
        for group in groups:
            some = own if group == ALL else own.filter(pl.col("group") == group)
            if len(some):
                about = {"method": method, "group": group, "evaluation": evaluation, "operation": operation}
                yield about | _ratio(some, plan)


def _ratio(some: pl.DataFrame, plan: Plan) -> Row:
    facts = some.group_by("fact", "asked", maintain_order=True).agg(pl.col("before", "after").mean())
    related, unrelated = (facts.filter(pl.col("asked") == side).sort("fact") for side in ("related", "unrelated"))
    no = {side: int((rows["before"] == 0).sum()) for side, rows in (("related", related), ("unrelated", unrelated))}
    divides = plan.aggregate == "mean-of-ratios"
    for side, rows in (("related", related), ("unrelated", unrelated)):
        if no[side] == len(rows) or (divides and no[side]):
            nothing = Interval(math.nan, math.nan, math.nan, len(rows))
            return {
                **_spread("related", nothing), **_spread("unrelated", nothing), **_spread("ratio", nothing),
                "kind": "undefined", "bounded": False, "n": len(related),
                "why": f"{no[side]} of {len(rows)} {side} answers have probability 0 before",
            }  # fmt: skip
    found = change_ratio(
        _probabilities(related), _probabilities(unrelated), plan.aggregate, paired=True, seed=plan.seed
    )
    return {
        **_spread("related", found.related),
        **_spread("unrelated", found.unrelated),
        "ratio": found.ratio,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
        "kind": found.kind,
        "bounded": found.is_bounded,
        "n": found.related.n,
        "why": "",
    }


def editing_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How often an answer turned, over all prompts and over those where it could; of unrelated questions too."""
    for (method, evaluation, operation, asked), own in _parts(touched, "method", "evaluation", "operation", "asked"):
        found = editing_success(
            torch.tensor(own["letters_before"].to_list(), dtype=torch.float64),
            torch.tensor(own["letters_after"].to_list(), dtype=torch.float64),
            torch.tensor(own["right"].to_list()),
            own["fact"].to_list(),
            seed=plan.seed,
        )
        for turned, of, share in (
            ("wrong to right", "all", found.to_right),
            ("wrong to right", "eligible", found.to_right_eligible),
            ("right to wrong", "all", found.to_wrong),
            ("right to wrong", "eligible", found.to_wrong_eligible),
        ):
            if share is not None:
                about = {"method": method, "evaluation": evaluation, "operation": operation, "asked": asked}
                yield {**about, "turned": turned, "of": of, **as_row(share, "share")}


def prediction_rows(predicted: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Accuracy of each rule from each pool, by group, beside chance and the full model."""
    for group, some in _groups(predicted):
        whole = some.filter(pl.col("rule") == FULL)
        chance = float((1 / whole["options"]).mean())  # type: ignore[arg-type]
        facts = whole["fact"].n_unique()
        about: Row = {"group": group, "pool": "", "size": None}
        yield {**about, "rule": "chance", **as_row(Interval(chance, chance, chance, facts), "accuracy")}
        for (rule, pool), own in some.partition_by("rule", "pool", as_dict=True, maintain_order=True).items():
            about = {"group": group, "pool": pool, "size": own["size"].mean()}
            yield {**about, "rule": rule, **as_row(_over_facts(own, "right", plan), "accuracy")}


def gain_rows(predicted: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """By how much a group's own neurons are right more often than each control's, over the same questions."""
    for group, some in _groups(predicted):
        each = some.filter(pl.col("pool") != "").group_by("question", "fact", "rule", "pool", maintain_order=True)
        means = each.agg(pl.col("right").mean())
        own = means.filter(pl.col("pool") == OWN)
        for (rule,), mine in own.partition_by("rule", as_dict=True, maintain_order=True).items():
            for against in POOLS[1:]:
                other = means.filter((pl.col("pool") == against) & (pl.col("rule") == rule))
                both = mine.join(other, on=["question", "fact"], suffix="_other", maintain_order="left")
                if len(both):
                    both = both.with_columns(gain=pl.col("right") - pl.col("right_other"))
                    found = as_row(_over_facts(both, "gain", plan), "gain")
                    yield {"group": group, "rule": rule, "against": against, **found}


def _groups(predicted: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    if len(predicted):
        yield ALL, predicted
        for group in predicted["group"].unique(maintain_order=True).to_list():
            yield group, predicted.filter(pl.col("group") == group)


def _over_facts(rows: pl.DataFrame, column: str, plan: Plan) -> Interval:
    values = torch.tensor(rows[column].to_list(), dtype=torch.float64)
    return interval(values, rows["fact"].to_list(), seed=plan.seed)


def _by_question(touched: pl.DataFrame) -> pl.DataFrame:
    at = pl.col("right")
    by = ["method", "evaluation", "operation", "question", "fact", "group", "asked"]
    found = touched.with_columns(
        before=pl.col("letters_before").list.get(at), after=pl.col("letters_after").list.get(at)
    )
    return found.group_by(by, maintain_order=True).agg(
        pl.col("size", "before", "after").mean(), pl.col("matched").all()
    )


def _parts(table: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    found = table.partition_by(by, as_dict=True, maintain_order=True)
    order = {method: place for place, method in enumerate(METHODS)}
    yield from sorted(found.items(), key=lambda part: order.get(str(part[0][0]), 0))


def _probabilities(rows: pl.DataFrame) -> Probabilities:
    return Probabilities(*(torch.tensor(rows[name].to_list(), dtype=torch.float64) for name in ("before", "after")))


def _spread(name: str, found: Interval) -> Row:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
