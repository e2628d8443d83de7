"""Neurons that stand in for each other, and statements told true or wrong by neurons: AMIG's experiments."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, legend, plot
from locant.reports.matrice.names import MATRICE, name_of
from locant.reports.matrice.run import Run
from locant.reports.means import average, mean
from locant.reports.numbers import count, decimal, portion, score, share
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

_MARKS = {
    "printed": ("by the printed rule", ("circle", "var(--located)")),
    "accepted": ("by all tests", ("diamond", "var(--unrelated)")),
    "random": ("random pairs, printed rule", ("square", "var(--control)")),
}
BY = {"neurons": "neurons", "random neurons": "random neurons", "probability": "P(answer)",
      "exact match": "first choice"}  # fmt: skip


def sections(run: Run) -> Iterator[Section]:
    """Degenerate pairs, and fact-checking."""
    if run["degenerate"].is_empty():
        why = "The table of pairs has no rows."
        yield Section("pairs", "Degenerate pairs", {None: absent("No pairs of neurons were suppressed", why)})
    else:
        yield Section("pairs", "Degenerate pairs", {None: _pairs(run)})
    rows = run["checking"].filter(pl.col("auc").is_finite())
    if rows.is_empty():
        why = "It takes three facts of a relation that are known in two languages or more."
        yield Section("checking", "Fact-checking", {None: absent("No statements were checked", why)})
    else:
        yield Section("checking", "Fact-checking", {None: _checking(rows)})


def _pairs(run: Run) -> Block:
    rows = (
        run["degenerate"]
        .filter(pl.col("pairs") > 0)
        .with_columns(
            printed=pl.col("degenerate") / pl.col("pairs"),
            accepted=pl.col("accepted") / pl.col("pairs"),
            random=pl.col("random_degenerate"),
        )
    )
    marks, table = [], []
    for name in rows["set"].unique(maintain_order=True):
        own = rows.filter(pl.col("set") == name)
        found = {what: mean(own, what) for what in _MARKS}
        marks += [
            Dot(upper(name_of(name)), label, one, mark)
            for what, (label, mark) in _MARKS.items()
            if (one := found[what]) is not None
        ]
        table.append((
            name_of(name), *(portion(one) if one else "none" for one in found.values()),
            *(score(average(own, column)) for column in ("synergy", "random_synergy")),
            count(int(own["pairs"].sum())), count(own["fact"].n_unique()),
        ))  # fmt: skip
    first = {what: mean(rows.filter(pl.col("set") == MATRICE), what) for what in _MARKS}
    heading = "Pairs of neurons that stand in for each other"
    printed, accepted, random = (first[what] for what in _MARKS)
    if printed is not None and accepted is not None:
        heading = f"By the printed rule {_part(printed)} of the pairs are degenerate, by all tests {_part(accepted)}"
        heading += f"; of random pairs {_part(random)}" if random is not None else ""
    said = (
        "Two neurons are a degenerate pair by the printed rule if either alone takes at most 20% of the answer and "
        "both more than 25%: neurons that simply add up pass it too. By all tests, both must besides take more than "
        "the sum of what either takes, by more than the two thresholds are apart, more than random pairs do, and for "
        "most wordings. Shares of all pairs, means over facts with 95% bootstrap intervals. Control, grey: random "
        "pairs of the same layers. Synergy: what both take beyond the sum, in parts of P(answer)."
    )
    head = ("neurons", "printed rule", "all tests", "random, printed", "synergy", "random", "pairs", "n")
    kinds = [("dot", _MARKS["printed"][0]), ("diamond", _MARKS["accepted"][0]), ("square", _MARKS["random"][0])]
    body = legend(kinds) + plot("pairs-dots", "Shares of degenerate pairs") + caption(said) + as_table(head, table)
    return Block(heading, body, {"pairs-dots": dots(marks, "share of pairs", portion, (0.0, 0.1))})


def _part(found: Interval) -> str:
    return share(found.mean)


def _checking(rows: pl.DataFrame) -> Block:
    pooled = rows.filter(pl.col("relation") == "all")
    every = pooled.filter(pl.col("language") == "all")
    head = ("neurons of", "told by", "AUC", "F1", "neurons", "statements", "facts")
    table = [
        (name_of(row["set"]), BY.get(row["by"], row["by"]), _auc(row), f"{row['f1']:.2f}", count(row["size"]),
         f"{count(row['statements'])}, {count(row['true'])} right", count(row["facts"]))
        for row in every.iter_rows(named=True)
    ]  # fmt: skip
    said = (
        "Right statements and wrong ones (another object of the relation) in all languages, told apart by the mean "
        "score of a relation’s neurons, which were learned from other facts: every fact is held out once, in five "
        "parts. AUC: how often a right one scores above a wrong one, 0.50 by chance; 95% bootstrap intervals over "
        "held-out facts. F1 calls right what is above a threshold: 10⁻⁶ for neurons, the best one of the other facts "
        "for P(answer). Controls: random neurons; the answer’s probability; and whether it is the first choice."
    )
    body = grid(head, table, 2) + caption(said)
    names = ("relation", "language", "neurons of", "told by", "AUC", "facts")
    parts = [
        (row["relation"], row["language"], name_of(row["set"]), BY.get(row["by"], row["by"]), _auc(row),
         count(row["facts"]))
        for row in rows.filter((pl.col("relation") != "all") | (pl.col("language") != "all")).iter_rows(named=True)
    ]  # fmt: skip
    if parts:
        body += details("By language and by relation", grid(names, parts, 4))
    return Block(_heading(every), body)


def _auc(row: dict[str, float]) -> str:
    return decimal(Interval(row["auc"], row["auc_low"], row["auc_high"], round(row["facts"])))


def _heading(rows: pl.DataFrame) -> str:
    own = {row["by"]: row for row in rows.filter(pl.col("set") == MATRICE).iter_rows(named=True)}
    if "neurons" not in own:
        return "Statements were not checked by the language-agnostic neurons"
    said = (
        f"Language-agnostic neurons tell right statements from wrong ones with an AUC of {own['neurons']['auc']:.2f}"
    )
    return f"{said}, P(answer) with {own['probability']['auc']:.2f}" if "probability" in own else said
