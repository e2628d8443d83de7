"""Where a fact is, by language: shared with others, the language's own, or not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from locant.recipes.matrice.located import Asked
from locant.recipes.matrice.means import by_fact, spread_of
from locant.recipes.matrice.plan import LIKE_UNION, OTHERS, OWN, PEER_OWN, Plan
from locant.recipes.rows import Row

SHARED = 0.5
"""A language shares a fact if another's neurons take from its answer at least this share of what its own take."""
FELT = 0.1
"""Least relative drop by a language's own neurons from which anything is said of the fact's place in it."""


def sharing_rows(touched: pl.DataFrame, asked: Sequence[Asked], taught: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Of each fact, in each language: whether it is shared with other languages, the language's own, or not there.

    Suppressed are the language's own neurons, and those of each other language that knows the fact; columns `own`,
    `others` (neurons that all the others agree on) and `random` (with the layers of the union) are the relative
    drops of P(answer). `by_chance` is whether it would be called shared by another fact's own neurons of the same
    other languages; null where that cannot be asked.
    """
    found = by_fact(touched).filter((pl.col("asked") == "related") & (pl.col("operation") == "suppress"))
    drop = {(row["fact"], row["set"], row["language"]): 1 - row["after"] / row["before"] for row in found.to_dicts()}
    for one in asked:
        uid = one.fact.uid
        for language in one.fact.languages:
            known = language in one.known
            own, others = (drop.get((uid, name + language, language)) for name in (OWN, OTHERS))
            theirs, chance = (
                {
                    other: drop[uid, start + other, language]
                    for other in one.known
                    if other != language and (uid, start + other, language) in drop
                }
                for start in (OWN, PEER_OWN)
            )
            said = verdict(known, own, list(theirs.values()))
            comparable = said in ("shared", "specific") and chance.keys() == theirs.keys()
            yield {
                "fact": uid,
                "relation": one.fact.relation,
                "language": language,
                "taught": language in taught[uid] if uid in taught else None,
                "everywhere": set(one.fact.languages) <= set(taught[uid]) if uid in taught else None,
                "known": known,
                "own": own,
                "others": others,
                "random": drop.get((uid, LIKE_UNION, language)),
                "verdict": said,
                "by_chance": verdict(known, own, list(chance.values())) == "shared" if comparable else None,
                "with": [name for name, value in theirs.items() if own is not None and value >= SHARED * own > 0],
            }


def verdict(known: bool, own: float | None, theirs: Sequence[float]) -> str:
    """Where a fact is, for one language.

    absent: most of the queries that locate have another answer. alone: no other language knows the fact. unclear:
    the language's own neurons take less than FELT of its answer, so that nothing can be said. shared: the own
    neurons of the strongest of the other languages take at least SHARED of what its own take. specific: no other's
    do.

    Args:
        own: relative drop of P(answer) without the language's own neurons; None if nothing was located.
        theirs: the drops without those of each other language that knows the fact.
    """
    if not known:
        return "absent"
    if own is None or not theirs:
        return "alone"
    if own < FELT:
        return "unclear"
    return "shared" if max(theirs) >= SHARED * own else "specific"


def verdict_rows(sharing: Sequence[Row], plan: Plan) -> Iterator[Row]:
    """How many (fact, language) that were judged are shared, and would be by another fact's neurons.

    Of those with either verdict, 'shared' or 'specific': all; of facts taught everywhere, and of facts that only
    some languages were taught; those of languages that were taught the fact, and of such as never were; and those by
    chance, beside the same ones as they are. Of all pairs, by whether they were taught: how many are known.
    """
    table = pl.DataFrame(sharing, infer_schema_length=None).with_columns(
        pl.col("taught", "everywhere").cast(pl.Boolean),
        pl.col("known", "by_chance").cast(pl.Float64),
        shared=(pl.col("verdict") == "shared").cast(pl.Float64),
    )
    judged = table.filter(pl.col("verdict").is_in(["shared", "specific"]))
    asked = judged.filter(pl.col("by_chance").is_not_null())
    taught, never = pl.col("taught"), ~pl.col("taught")
    for of, rows, column in (
        ("all", judged, "shared"),
        ("taught everywhere", judged.filter(pl.col("everywhere")), "shared"),
        ("taught somewhere", judged.filter(~pl.col("everywhere")), "shared"),
        ("taught there", judged.filter(taught), "shared"),
        ("never taught there", judged.filter(never), "shared"),
        ("known of those taught there", table.filter(taught), "known"),
        ("known of those never taught there", table.filter(never), "known"),
        ("asked of another fact", asked, "shared"),
        ("by another fact's neurons", asked, "by_chance"),
    ):
        if len(rows):
            about: Row = {"of": of, "pairs": len(rows), "count": int(rows[column].sum())}
            yield {**about, **spread_of(rows[column], rows["fact"].to_list(), plan.seed)}
