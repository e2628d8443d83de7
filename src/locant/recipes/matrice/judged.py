"""What was found, in the tables that the page shows: means over facts, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.recipes.matrice.means import by_fact, change_of, parts, spread_of
from locant.recipes.matrice.plan import OWN, Plan, kind_of
from locant.recipes.rows import Row


def change_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Relative change of P(answer) by set, operation and language, of related and of unrelated queries."""
    found = by_fact(touched)
    for (name, operation, asked), own in parts(found, "set", "operation", "asked"):
        for language in ("all", *own["language"].unique(maintain_order=True)):
            some = own if language == "all" else own.filter(pl.col("language") == language)
            yield {
                "set": name,
                "operation": operation,
                "asked": asked,
                "language": language,
                **change_of(some, plan.seed),
            }


def transfer_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Each language's own neurons suppressed, and each language read: a square of relative changes."""
    found = by_fact(touched).filter(pl.col("set").str.starts_with(OWN) & (pl.col("operation") == "suppress"))
    for (name, language, asked), own in parts(found, "set", "language", "asked"):
        yield {
            "source": str(name).removeprefix(OWN),
            "language": language,
            "asked": asked,
            **change_of(own, plan.seed),
        }


def matrix_rows(edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of a change in one language, in each: the new answer said, P(new), P(old), and what else is still said.

    Pooled over sources, languages are where the change was made ('the same'), and those that knew the fact as it
    was or did not ('others, known' and 'others, not known'). A lesson of a fact as it is ('new') is given in a
    language that did not know it, so that its others to be reached are those that did not either.
    """
    if not len(edited):
        return
    draws = edited.with_columns(set=pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    # Of every source together: where the change was made, and everywhere else
    where = (
        pl.when(pl.col("language") == pl.col("source"))
        .then(pl.lit("the same"))
        .when(pl.col("known"))
        .then(pl.lit("others, known"))
        .otherwise(pl.lit("others, not known"))
    )
    pooled = draws.filter(pl.col("source") != "all").with_columns(language=where, source=pl.lit("any"))
    kinds = ["kind"] if "kind" in edited.columns else []
    for (source, name, language, asked, *kind), own in parts(
        pl.concat([pooled, draws]), "source", "set", "language", "asked", *kinds
    ):
        for same in (None, False, True):
            some = own if same is None else own.filter(pl.col("same_answer") == same)
            if not len(some):
                continue
            facts = some["fact"].to_list()
            about = {"source": source, "set": name, "language": language, "asked": asked, "same_answer": same}
            about |= dict(zip(kinds, kind, strict=True))
            for what, values in (
                ("says_new", some["says_new"].cast(pl.Float64)),
                ("says_new_before", some["says_new_before"].cast(pl.Float64)),
                ("new", some["new_after"] - some["new_before"]),
                ("old", some["old_after"] - some["old_before"]),
                ("kept", some["kept"].cast(pl.Float64)),
            ):
                yield {**about, "what": what, **spread_of(values, facts, plan.seed)}


def recovery_rows(enhanced: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of failing queries, how many come right; of right ones, how many are lost.

    A query of the fact fails in a language that answers most others (known), or in one that does not.
    """
    if not len(enhanced):
        return
    draws = enhanced.with_columns(pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    for (name, factor, asked, known), own in parts(draws, "set", "factor", "asked", "known"):
        for language in ("all", *own["language"].unique(maintain_order=True)):
            some = own if language == "all" else own.filter(pl.col("language") == language)
            for what, before in (("recovered", False), ("lost", True)):
                part = some.filter(pl.col("right_before") == before)
                if len(part):
                    turned = (part["right_after"] != before).cast(pl.Float64)
                    yield {
                        "set": name,
                        "factor": factor,
                        "asked": asked,
                        "known": known,
                        "language": language,
                        "what": what,
                        **spread_of(turned, part["fact"].to_list(), plan.seed),
                    }


def answer_rows(answers: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How much of what was asked is known, by language; judged by the queries that locate nothing."""
    judged = answers.filter(pl.col("part") == "judge")
    for (language,), own in parts(judged, "language"):
        yield {
            "language": language,
            "queries": len(own),
            **spread_of(own["right"].cast(pl.Float64), own["fact"].to_list(), plan.seed),
        }
