"""How many neurons sets have: by kind of set, by layer, and by the languages they pass in."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.recipes.matrice.means import parts, spread_of
from locant.recipes.matrice.plan import LIKE_UNION, OTHERS, OWN, RANDOM, Plan, kind_of
from locant.recipes.rows import Row


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
    for (name,), own in parts(each, "set"):
        scored = name not in ("intersection", "language neurons", RANDOM, LIKE_UNION)
        about = {"set": name, "facts": own["fact"].n_unique(), "without": float((own["size"] == 0).mean())}  # type: ignore[arg-type]
        nothing = dict.fromkeys(("mean", "low", "high", "n"))
        above = spread_of(own["above"].cast(pl.Float64), own["fact"].to_list(), plan.seed) if scored else nothing
        yield {**about, **above}


def agreement_rows(drawn: pl.DataFrame, plan: Plan) -> Iterator[Row]:
    """How many neurons pass in so many languages or more, and what is kept of a set by other queries or languages."""
    for (what, least), own in parts(drawn, "what", "least"):
        kept = own.filter(pl.col("value").is_not_nan())
        if len(kept):
            empty = float((kept["value"] == 0).mean())  # type: ignore[arg-type]
            spread = spread_of(kept["value"], kept["fact"].to_list(), plan.seed)
            yield {"what": what, "least": least, **spread, "empty": empty}


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
