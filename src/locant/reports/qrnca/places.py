"""Where in the model the neurons are, and what the neurons that most questions have in common promote."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, panels, plot
from locant.reports.means import in_order
from locant.reports.numbers import count, score, share
from locant.reports.qrnca.figures import histograms, region
from locant.reports.qrnca.run import Run
from locant.reports.tables import table
from locant.reports.text import escape, visible

STRONGEST = 12
"""Regions of a group in the table."""


def sections(run: Run) -> Iterator[Section]:
    """Layers, regions, and common neurons."""
    if run["layers"]["occurrences"].sum():
        yield Section("layers", "", {None: _layers(run)})
    else:
        why = "The table of layers has no neurons."
        yield Section("layers", "", {None: absent("In which layers neurons are was not counted", why)})
    if run["regions"].is_empty():
        why = "The table of regions has no rows."
        yield Section("regions", "", {None: absent("Where in the layers neurons are was not counted", why)})
    else:
        yield Section("regions", "", {None: _regions(run)})
    yield Section("common", "Common neurons", {None: _common(run)})


def _layers(run: Run) -> Block:
    rows = run["layers"]
    layers = int(rows["layer"].to_numpy().max()) + 1
    shares, table_rows = {}, []
    every = np.zeros(layers)
    for group in in_order(rows["group"].unique(maintain_order=True).to_list(), run.groups):
        own = rows.filter(pl.col("group") == group)
        occurrences, neurons = np.zeros(layers), np.zeros(layers, dtype=np.int64)
        np.add.at(occurrences, own["layer"].to_numpy(), own["occurrences"].fill_null(0).to_numpy())
        np.add.at(neurons, own["layer"].to_numpy(), own["neurons"].fill_null(0).to_numpy())
        every += occurrences
        if occurrences.sum():
            shares[group] = (occurrences / occurrences.sum()).tolist()
            table_rows += [
                (group, str(layer), count(int(neurons[layer])), count(int(occurrences[layer])),
                 share(shares[group][layer]))
                for layer in range(layers)
            ]  # fmt: skip
    peak = int(every.argmax())
    said = (
        "Share of a group’s query-relevant neurons in each layer, counted from 0: a neuron counts once for every "
        "question that has it; the table has the number of different ones. Rows have one scale; there is no "
        f"interval; n = {count(int(every.sum()))} neurons of questions. Control: the dotted line, an even spread "
        "over the layers."
    )
    head = ("group", "layer", "different neurons", "of questions", "share")
    heading = (
        f"Layer {peak} has most of the neurons, {share(every[peak] / every.sum())}; an even spread would be "
        f"{share(1 / layers)}"
    )
    body = plot("layer-bars", "Neurons by layer and group; the table has the numbers") + caption(said)
    return Block(heading, body + as_table(head, table_rows, 1), {"layer-bars": histograms(shares)})


def _regions(run: Run) -> Block:
    rows = run["regions"].with_columns(pl.col("weight").fill_null(0).fill_nan(0), pl.col("start").fill_null(0))
    layers = int(max([*rows["layer"].to_list(), *run["layers"]["layer"].to_list()])) + 1
    bins = int(rows["bin"].to_numpy().max()) + 1
    starts = dict(rows.select("bin", "start").unique(maintain_order=True).iter_rows())
    largest = max(float(rows["weight"].to_numpy().max()), 0.0)
    figures, parts, table_rows, halves = {}, [], [], []
    for place, group in enumerate(in_order(rows["group"].unique(maintain_order=True).to_list(), run.groups)):
        own = rows.filter(pl.col("group") == group)
        weights = np.zeros((layers, bins))
        np.add.at(weights, (own["layer"].to_numpy(), own["bin"].to_numpy()), own["weight"].to_numpy())
        uid = f"region-{place}"
        figures[uid] = region(weights, largest, starts)
        parts.append((group, plot(uid, f"Regions of {group}; the table has the strongest")))
        halves.append(_half(weights))
        ranked = own.sort("weight", descending=True, maintain_order=True).head(STRONGEST)
        table_rows += [
            (group, str(row["layer"]), f"from {count(row['start'])}", count(row["occurrences"] or 0),
             score(row["weight"]))
            for row in ranked.iter_rows(named=True)
        ]  # fmt: skip
    ends = sorted({share(part) for part in halves}, key=lambda text: float(text.rstrip("%")))
    span = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    said = (
        "Accumulated score (attribution times inverse cluster attribution, naica, no unit) of the query-relevant "
        f"neurons in each region, a layer’s neurons in {count(bins)} bins of neighbours; both axes count from 0. "
        f"Colour follows the square root, on one scale for all groups, to {score(largest)}. No interval; groups are "
        f"each other’s control. The table has the {STRONGEST} strongest regions of each group; all of them are in "
        "tables/regions.parquet."
    )
    head = ("group", "layer", "neurons", "neurons of questions", "score")
    heading = f"Half of a group’s score is in {span} of the regions"
    return Block(heading, panels(parts) + caption(said) + as_table(head, table_rows, 1), figures)


def _half(weights: np.ndarray) -> float:
    """In what share of the regions half of the score is, of the strongest ones."""
    ranked = np.sort(weights.ravel())[::-1].cumsum()
    return float((np.searchsorted(ranked, ranked[-1] / 2) + 1) / weights.size)


def _common(run: Run) -> Block:
    rows = run["common"].sort("clusters", "layer", "neuron", descending=[True, False, False])
    least = run.settings.get("common")
    more = f"more than {share(float(least))} of" if isinstance(least, int | float) else "many"
    if rows.is_empty():
        why = f"No neuron is in {more} the questions’ clusters, or they were not counted."
        return absent("No neuron is common", why)
    cells = [
        [str(row["layer"]), count(row["neuron"]), count(row["clusters"] or 0), share(row["share"] or 0.0),
         _words(row["promotes"]), _words(row["demotes"])]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    layers = rows["layer"].value_counts().sort("count", "layer", descending=[True, False])
    top, number_ = layers.row(0)
    last = max([*run["layers"]["layer"].to_list(), *rows["layer"].to_list()])
    heading = (
        f"{count(len(rows))} {'neuron is' if len(rows) == 1 else 'neurons are'} in {more} the clusters, "
        f"{count(number_)} of them in layer {top}{' (the last)' if top == last else ''}"
    )
    head = ("layer", "neuron", "clusters", "share", "promotes", "demotes")
    said = (
        "Neurons of so many questions’ clusters say little of any one: they are taken out of QRNCA’s. A token is "
        "promoted or demoted by the neuron’s value vector, read through the unembedding: the highest and lowest "
        f"logits, strongest first (␣ is a space); a guess at what the neuron writes. n = {_questions(run)} "
        "clusters, one a question; no interval, and no control but the ablation “with common neurons” above."
    )
    body = f'<div class="scroll tall" tabindex="0">{table(head, cells, numbers=(0, 1, 2, 3))}</div>'
    return Block(heading, body + caption(said))


def _questions(run: Run) -> str:
    known = run["clusters"]["question"].n_unique()
    return count(known or len(run["questions"]))


def _words(text: str | None) -> str:
    """Tokens with commas between, as a table has them; a comma that is a token leaves nothing between two."""
    tokens = text.split(", ") if text else []
    return (
        " ".join(f'<span class="chip"><bdi>{escape(visible(token or ","))}</bdi></span>' for token in tokens)
        or "none"
    )
