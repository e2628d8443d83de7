"""What a set of queries holds, language by language, and what filters made of it.

datasheet(queries, [drop_duplicates(queries)])
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import polars as pl

from locant.errors import BadQuery
from locant.queries.parallel import said
from locant.queries.quality import FAMILIES, Filtered, is_object_final, stands_in
from locant.types import Query

_COUNTS = (
    pl.col("fact").n_unique().alias("facts"),
    pl.col("count").sum().alias("queries"),
    pl.col("count").mean().alias("queries_per_fact"),
    pl.col("count").min().alias("fewest"),
    pl.col("count").max().alias("most"),
    (pl.col("final").sum() / pl.col("count").sum()).fill_nan(None).alias("object_final"),
    (pl.col("leaked") > 0).mean().alias("answer_inside"),
    (pl.col("answer") == pl.col("english")).filter(pl.col("language") != "en").mean().alias("same_answer"),
    pl.col("equal").mean().alias("equal_counts"),
)


def datasheet(queries: Sequence[Query], steps: Sequence[Filtered] = ()) -> pl.DataFrame:
    """Count a set of queries and what filters made of it.

    Args:
        queries: before any filter.
        steps: what each filter returned, in the order they were applied; the last has the queries that are kept.

    Returns:
        Rows, by `part`: 'before', all queries before the filters; 'dropped', one for each reason of each step; then
        of the queries kept 'all', 'language', 'family', 'relation', 'language/relation', and 'pair' of languages.
        Columns, null where there is nothing to count, a fact counting once in each of its languages:

        name: of the language, relation and so on, or the reason for dropping.
        facts, queries: how many.
        queries_per_fact, fewest, most: queries of a fact in one language, mean, smallest and largest number.
        object_final: share of queries whose wording ends with the object (`is_object_final`).
        answer_inside: share of facts that some query gives away (`drop_leaked`).
        same_answer: share of facts whose answer is the same string as in English; of a pair, in both languages.
        equal_counts: share of facts with as many queries in each of their languages; 1 for a relation that is
            equal everywhere.
        dropped: how many the step dropped: queries, where the reason does not say otherwise.

    Raises:
        BadQuery: there are no queries.
    """
    if not queries:
        raise BadQuery("there are no queries to count")
    table = _by_fact(steps[-1].queries if steps else queries)
    parts = [
        _count(_by_fact(queries) if steps else table, "before", pl.lit("all")),
        pl.DataFrame(
            [("dropped", reason, count) for step in steps for reason, count in step.dropped.items()],
            schema={"part": pl.String, "name": pl.String, "dropped": pl.Int64},
            orient="row",
        ),
        _count(table, "all", pl.lit("all")),
        _count(table, "language", pl.col("language")),
        _count(table, "family", pl.col("family")),
        _count(table, "relation", pl.col("relation")),
        _count(table, "language/relation", pl.concat_str("language", "relation", separator="/")),
        _count_pairs(table),
    ]
    return pl.concat(parts, how="diagonal_relaxed")


def _by_fact(queries: Sequence[Query]) -> pl.DataFrame:
    """A row per fact and language."""
    texts = {"fact": pl.String, "language": pl.String, "relation": pl.String, "answer": pl.String}
    rows = pl.DataFrame(
        {
            "fact": [one.fact.uid for one in queries],
            "language": [one.language for one in queries],
            "relation": [one.relation for one in queries],
            "answer": [said(one) for one in queries],
            "final": [is_object_final(one) for one in queries],
            "leaked": [stands_in(one.answer, f"{one.fact.subject}\n{one.prompt}", one.language) for one in queries],
        },
        schema=texts | {"final": pl.Boolean, "leaked": pl.Boolean},
    )
    facts = rows.group_by("fact", "language", maintain_order=True).agg(
        pl.col("relation", "answer").first(), pl.col("final", "leaked").sum(), pl.len().cast(pl.Int64).alias("count")
    )
    english = facts.filter(pl.col("language") == "en").select("fact", pl.col("answer").alias("english"))
    return facts.join(english, on="fact", how="left", maintain_order="left").with_columns(
        pl.col("language").replace_strict(FAMILIES, default="unknown").alias("family"),
        (pl.col("count").n_unique().over("fact") == 1).alias("equal"),
    )


def _count(table: pl.DataFrame, part: str, name: pl.Expr) -> pl.DataFrame:
    """A row for each name, in order of appearance."""
    counted = table.group_by(name.alias("name"), maintain_order=True).agg(*_COUNTS)
    if part not in ("before", "all", "relation"):  # the others hold a fact's languages in part
        counted = counted.with_columns(pl.lit(None, pl.Float64).alias("equal_counts"))
    return counted.select(pl.lit(part).alias("part"), pl.all())


def _count_pairs(table: pl.DataFrame) -> pl.DataFrame:
    """Of each two languages, the facts in both, and the share of them with one answer string."""
    answers = {
        language: rows.select("fact", "answer")
        for (language,), rows in table.partition_by("language", as_dict=True, maintain_order=True).items()
    }
    rows = []
    for one, other in combinations(answers, 2):
        both = answers[one].join(answers[other], on="fact", suffix="_other")
        same = both.select((pl.col("answer") == pl.col("answer_other")).mean()).item()
        rows.append(("pair", f"{one}-{other}", len(both), same))
    columns = {"part": pl.String, "name": pl.String, "facts": pl.Int64, "same_answer": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")
