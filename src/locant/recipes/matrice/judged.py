"""What was found, in the tables that the page shows: means over facts, each with its interval and its n."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import torch

from locant.evaluations.outcomes import interval
from locant.languages import SCRIPTS
from locant.queries.quality import FAMILIES
from locant.recipes.matrice.located import Asked, Row, Sets
from locant.recipes.matrice.plan import LIKE_UNION, OTHERS, OWN, PEER_OWN, RANDOM, Plan, kind_of
from locant.types import Interval

SHARED = 0.5
"""A language shares a fact if another's neurons take from its answer at least this share of what its own take."""
NULLS = 999
"""Random pairings of facts."""
FELT = 0.1
"""Least relative drop by a language's own neurons from which anything is said of the fact's place in it."""


def change_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Relative change of P(answer) by set, operation and language, of related and of unrelated queries."""
    found = _by_fact(touched)
    for (name, operation, asked), own in _parts(found, "set", "operation", "asked"):
        for language in ("all", *own["language"].unique(maintain_order=True)):
            some = own if language == "all" else own.filter(pl.col("language") == language)
            yield {
                "set": name,
                "operation": operation,
                "asked": asked,
                "language": language,
                **_change(some, plan.seed),
            }


def transfer_rows(touched: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Each language's own neurons suppressed, and each language read: a square of relative changes."""
    found = _by_fact(touched).filter(pl.col("set").str.starts_with(OWN) & (pl.col("operation") == "suppress"))
    for (name, language, asked), own in _parts(found, "set", "language", "asked"):
        yield {
            "source": str(name).removeprefix(OWN),
            "language": language,
            "asked": asked,
            **_change(own, plan.seed),
        }


def sharing_rows(touched: pl.DataFrame, asked: Sequence[Asked], taught: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Of each fact, in each language: whether it is shared with other languages, the language's own, or not there.

    Suppressed are the language's own neurons, and those of each other language that knows the fact; columns `own`,
    `others` (neurons that all the others agree on) and `random` (with the layers of the union) are the relative
    drops of P(answer). `by_chance` is whether it would be called shared by another fact's own neurons of the same
    other languages; null where that cannot be asked.
    """
    found = _by_fact(touched).filter((pl.col("asked") == "related") & (pl.col("operation") == "suppress"))
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


def matrix_rows(edited: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of a change in one language, in each: the new answer said, P(new), P(old), and what else is still said.

    Pooled over languages, those that knew the fact and those that did not are apart.
    """
    if not len(edited):
        return
    draws = edited.with_columns(set=pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    # Of every source together: where the change was made, and everywhere else
    where = (
        pl.when(pl.col("language") == pl.col("source"))
        .then(pl.lit("the same"))
        .when(pl.col("known"))
        .then(pl.lit("others"))
        .otherwise(pl.lit("others, not known"))
    )
    pooled = draws.filter(pl.col("source") != "all").with_columns(language=where, source=pl.lit("any"))
    kinds = ["kind"] if "kind" in edited.columns else []
    for (source, name, language, asked, *kind), own in _parts(
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
                yield {**about, "what": what, **_spread(values, facts, plan.seed)}


def recovery_rows(enhanced: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of failing queries, how many come right; of right ones, how many are lost.

    A query of the fact fails in a language that answers most others (known), or in one that does not.
    """
    if not len(enhanced):
        return
    draws = enhanced.with_columns(pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    for (name, factor, asked, known), own in _parts(draws, "set", "factor", "asked", "known"):
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
                        **_spread(turned, part["fact"].to_list(), plan.seed),
                    }


def overlap_rows(sets: Mapping[str, Sets], asked: Sequence[Asked], plan: Plan) -> Iterator[Row]:
    """What two languages' own neurons of a fact have in common, beside those of two facts of one relation.

    `expected` is the mean if the facts of one language were paired with the others' at random, within relations, of
    the facts of the row; p is of a mean as high by such pairing.
    """
    known = [one for one in asked if one.fact.uid in sets]
    languages = list(dict.fromkeys(language for one in known for language in one.known))
    rng = np.random.default_rng(plan.seed)
    for place, first in enumerate(languages):
        for second in languages[place + 1 :]:
            both = [one for one in known if first in one.known and second in one.known]
            if len(both) < 3:
                continue
            table = _jaccards([sets[one.fact.uid] for one in both], OWN + first, OWN + second)
            own, chance = np.diag(table), _paired_anew(table, [one.fact.relation for one in both], rng)
            same = np.array([one.fact.answers[first] == one.fact.answers[second] for one in both])
            about: Row = {
                "first": first,
                "second": second,
                "family": _alike(FAMILIES, first, second),
                "script": _alike(SCRIPTS, first, second),
            }
            for answers in (None, False, True):
                kept = np.flatnonzero(np.full(len(both), True) if answers is None else same == answers)
                if not len(kept):
                    continue
                drawn = chance[:, kept].mean(axis=1)
                mean = interval(torch.from_numpy(own[kept]), [both[k].fact.uid for k in kept], seed=plan.seed)
                p = (1 + int((drawn >= own[kept].mean()).sum())) / (1 + len(drawn))
                yield {**about, "same_answer": answers, **_interval(mean), "expected": float(drawn.mean()), "p": p}


def _paired_anew(table: np.ndarray, relations: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Of each draw, every fact's index with the fact that it is paired with, of its relation: [draw, fact]."""
    groups = [np.flatnonzero(np.array(relations) == relation) for relation in dict.fromkeys(relations)]
    drawn = np.empty((NULLS, len(table)))
    for draw in range(NULLS):
        for group in groups:
            drawn[draw, group] = table[group, rng.permutation(group)]
    return drawn


def _alike(kinds: Mapping[str, str], first: str, second: str) -> bool | None:
    """Whether both are of one kind; None if of one it is not known."""
    return kinds[first] == kinds[second] if first in kinds and second in kinds else None


def size_rows(neurons: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """Of each kind of set: facts, the share without a neuron, and how many neurons have a score above zero.

    A weight is a score for sets by scores; of the others (random, intersection, language neurons) it is not, and
    `above` is null.
    """
    if not len(neurons):
        return
    kinds = neurons.with_columns(_kind())
    each = kinds.group_by("fact", "set", "name", maintain_order=True).agg(
        size=pl.col("neuron").is_not_null().sum(), above=(pl.col("weight") > 0).sum()
    )
    for (name,), own in _parts(each, "set"):
        scored = name not in ("intersection", "language neurons", RANDOM, LIKE_UNION)
        about = {"set": name, "facts": own["fact"].n_unique(), "without": float((own["size"] == 0).mean())}  # type: ignore[arg-type]
        nothing = dict.fromkeys(("mean", "low", "high", "n"))
        above = _spread(own["above"].cast(pl.Float64), own["fact"].to_list(), plan.seed) if scored else nothing
        yield {**about, **above}


def agreement_rows(drawn: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How many neurons pass in so many languages or more, and what is kept of a set by other queries or languages."""
    for (what, least), own in _parts(drawn, "what", "least"):
        kept = own.filter(pl.col("value").is_not_nan())
        if len(kept):
            empty = float((kept["value"] == 0).mean())  # type: ignore[arg-type]
            spread = _spread(kept["value"], kept["fact"].to_list(), plan.seed)
            yield {"what": what, "least": least, **spread, "empty": empty}


def verdict_rows(sharing: Sequence[Row], plan: Plan) -> Iterator[Row]:
    """How many (fact, language) that were judged are shared, and would be by another fact's neurons.

    Of those with either verdict, 'shared' or 'specific': all; of facts taught everywhere, and of facts that only
    some languages were taught; and those by chance, beside the same ones as they are.
    """
    table = pl.DataFrame(sharing, infer_schema_length=None)
    judged = table.filter(pl.col("verdict").is_in(["shared", "specific"])).with_columns(
        everywhere=pl.col("everywhere").cast(pl.Boolean),
        shared=(pl.col("verdict") == "shared").cast(pl.Float64),
        by_chance=pl.col("by_chance").cast(pl.Float64),
    )
    asked = judged.filter(pl.col("by_chance").is_not_null())
    for of, rows, column in (
        ("all", judged, "shared"),
        ("taught everywhere", judged.filter(pl.col("everywhere")), "shared"),
        ("taught somewhere", judged.filter(~pl.col("everywhere")), "shared"),
        ("asked of another fact", asked, "shared"),
        ("by another fact's neurons", asked, "by_chance"),
    ):
        if len(rows):
            about: Row = {"of": of, "pairs": len(rows), "count": int(rows[column].sum())}
            yield {**about, **_spread(rows[column], rows["fact"].to_list(), plan.seed)}


def layer_rows(neurons: pl.DataFrame, layers: int) -> Iterator[Row]:
    """How many neurons of a fact each kind of set has in each layer, on average."""
    kinds = neurons.with_columns(_kind())
    facts = neurons["fact"].n_unique()
    sets = dict(kinds.group_by("set").agg(pl.struct("fact", "name").n_unique()).iter_rows())
    counts = kinds.drop_nulls("layer").group_by("set", "layer").len()
    held = {(row["set"], row["layer"]): row["len"] for row in counts.to_dicts()}
    for name in sorted(sets):
        for layer in range(layers):
            yield {"set": name, "layer": layer, "neurons": held.get((name, layer), 0) / sets[name], "facts": facts}


def answer_rows(answers: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How much of what was asked is known, by language; judged by the queries that locate nothing."""
    judged = answers.filter(pl.col("part") == "judge")
    for (language,), own in _parts(judged, "language"):
        yield {
            "language": language,
            "queries": len(own),
            **_spread(own["right"].cast(pl.Float64), own["fact"].to_list(), plan.seed),
        }


def _kind() -> list[pl.Expr]:
    """Sets by kind: every language's own are one kind, and so are random draws."""
    name = pl.col("set")
    kind = (
        pl.when(name.str.starts_with(OWN))
        .then(pl.lit("own of each language"))
        .when(name.str.starts_with(OTHERS))
        .then(pl.lit("all languages but one"))
        .otherwise(name.map_elements(kind_of, return_dtype=pl.String))
    )
    return [name.alias("name"), kind.alias("set")]


def _by_fact(touched: pl.DataFrame) -> pl.DataFrame:
    """P(answer) before and after, the mean over a fact's queries in a language and over random draws."""
    joined = touched.with_columns(pl.col("set").map_elements(kind_of, return_dtype=pl.String))
    by = ["fact", "set", "operation", "language", "asked"]
    return joined.group_by(by, maintain_order=True).agg(pl.col("before", "after", "size").mean())


def _change(own: pl.DataFrame, seed: int) -> Row:
    change = (own["after"] - own["before"]) / own["before"]
    return {**_spread(change, own["fact"].to_list(), seed), "median": float(change.median() or 0.0)}  # type: ignore[arg-type]


def _spread(values: pl.Series, facts: Sequence[str], seed: int) -> Row:
    return _interval(interval(torch.tensor(values.to_list(), dtype=torch.float64), facts, seed=seed))


def _interval(found: Interval) -> Row:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def _jaccards(sets: Sequence[Sets], first: str, second: str) -> np.ndarray:
    ones, others = ([set(map(tuple, each[name].units.tolist())) for each in sets] for name in (first, second))
    return np.array([[len(a & b) / max(len(a | b), 1) for b in others] for a in ones])


def _parts(table: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    if len(table):
        yield from table.partition_by(by, as_dict=True, maintain_order=True).items()
