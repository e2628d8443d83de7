"""The paper's measures, from what touching neurons did to every prompt: always with both terms, and intervals."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import torch

from locant.errors import UnknownName
from locant.evaluations.boosting import Probabilities, change_ratio, editing_success
from locant.evaluations.outcomes import interval
from locant.recipes.qrnca.plan import METHODS, Plan
from locant.types import Interval

Row = dict[str, object]


def change_rows(touched: pl.DataFrame) -> Iterator[Row]:
    """Each question's P(right letter) before and after, the mean over its prompts."""
    yield from _by_question(touched).iter_rows(named=True)


def ratio_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """The change of related questions beside that of unrelated ones, of all groups and of each."""
    found = _by_question(touched)
    groups = ["all", *found["group"].unique(maintain_order=True)]
    for (method, evaluation, operation), own in _parts(found, "method", "evaluation", "operation"):
        for group in groups:
            some = own if group == "all" else own.filter(pl.col("group") == group)
            sides = {side: some.filter(pl.col("asked") == side).sort("question") for side in ("related", "unrelated")}
            if not len(sides["related"]):
                continue
            try:
                ratio = change_ratio(
                    _probabilities(sides["related"]),
                    _probabilities(sides["unrelated"]),
                    plan.aggregate,
                    paired=True,
                    seed=plan.seed,
                )
            except UnknownName:
                continue  # an answer has no probability at all, and no relative change
            yield {
                "method": method,
                "group": group,
                "evaluation": evaluation,
                "operation": operation,
                **_spread("related", ratio.related),
                **_spread("unrelated", ratio.unrelated),
                "ratio": ratio.ratio,
                "ratio_low": ratio.ratio_low,
                "ratio_high": ratio.ratio_high,
                "kind": ratio.kind,
                "bounded": ratio.is_bounded,
                "n": ratio.related.n,
            }


def editing_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How often the answer turned, over all prompts and over those where it could."""
    related = touched.filter(pl.col("asked") == "related")
    for (method, evaluation, operation), own in _parts(related, "method", "evaluation", "operation"):
        found = editing_success(
            torch.tensor(own["letters_before"].to_list(), dtype=torch.float64),
            torch.tensor(own["letters_after"].to_list(), dtype=torch.float64),
            torch.tensor(own["right"].to_list()),
            own["question"].to_list(),
            seed=plan.seed,
        )
        for turned, of, share in (
            ("wrong to right", "all", found.to_right),
            ("wrong to right", "eligible", found.to_right_eligible),
            ("right to wrong", "all", found.to_wrong),
            ("right to wrong", "eligible", found.to_wrong_eligible),
        ):
            if share is not None:
                about = {"method": method, "evaluation": evaluation, "operation": operation}
                yield {**about, "turned": turned, "of": of, **_interval("share", share)}


def prediction_rows(predicted: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Accuracy of each rule for each group, beside chance."""
    groups = predicted["group"].unique(maintain_order=True).to_list() if len(predicted) else []
    for group in ("all", *groups):
        some = predicted if group == "all" else predicted.filter(pl.col("group") == group)
        if not len(some):
            continue
        chance = float((1 / some["options"]).mean())  # type: ignore[arg-type]
        first = some.filter(pl.col("rule") == some["rule"][0])
        yield {
            "group": group,
            "rule": "chance",
            **_interval("accuracy", Interval(chance, chance, chance, len(first))),
        }
        for (rule,), own in _parts(some, "rule"):
            right = torch.tensor(own["right"].to_list(), dtype=torch.float64)
            found = interval(right, own["question"].to_list(), seed=plan.seed)
            yield {"group": group, "rule": rule, **_interval("accuracy", found)}


def _by_question(touched: pl.DataFrame) -> pl.DataFrame:
    at = pl.col("right")
    by = ["method", "evaluation", "operation", "question", "group", "asked"]
    found = touched.with_columns(
        before=pl.col("letters_before").list.get(at), after=pl.col("letters_after").list.get(at)
    )
    return found.group_by(by, maintain_order=True).agg(pl.col("size", "before", "after").mean())


def _parts(table: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    found = table.partition_by(by, as_dict=True, maintain_order=True)
    order = {method: place for place, method in enumerate(METHODS)}
    yield from sorted(found.items(), key=lambda part: order.get(str(part[0][0]), 0))


def _probabilities(rows: pl.DataFrame) -> Probabilities:
    return Probabilities(*(torch.tensor(rows[name].to_list(), dtype=torch.float64) for name in ("before", "after")))


def _spread(name: str, found: Interval) -> Row:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _interval(name: str, found: Interval) -> Row:
    return {name: found.mean, "low": found.low, "high": found.high, "n": found.n}
