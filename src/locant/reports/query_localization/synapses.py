"""Do a query's attention columns move its neurons and its answer, and how many of them does it take?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, note, panels, plot
from locant.reports.drawing import Bar, change_bars
from locant.reports.lines import Line, sweep
from locant.reports.means import average, difference, mean, side, values
from locant.reports.numbers import change, count, probability, relative, share
from locant.reports.query_localization.blocks import KINDS, OPERATIONS
from locant.reports.query_localization.run import Run
from locant.reports.text import plotly
from locant.types import Interval

COLUMNS = {"own": ("Own synapses", "var(--located)"), "irrelevant": ("Irrelevant columns", "var(--control)")}
COLOURS = ("located", "unrelated", "shared", "fourth")
_SHORT = {"without the first token": "no first token"}
ANSWER, NEURONS = "change", "activation_change"
_WHAT = {
    NEURONS: ("activation_before", "activation_after", "activation", "activation of the query’s neurons"),
    ANSWER: ("before", "after", "P(answer)", "probability of the answer"),
}


def sections(run: Run) -> Iterator[Section]:
    """What touching attention columns does."""
    if run["synapses"].is_empty():
        why = "The table of synapses has no rows: no attention column was suppressed or enhanced."
        yield Section("synapses", "Synapses", {None: absent("No synapse was touched", why)})
    else:
        yield Section("synapses", "Synapses", {None: _block(run, NEURONS)})
        yield Section("synapses-answer", "", {None: _block(run, ANSWER)})
    if not run["alphas"].is_empty():
        yield Section("alphas", "", {None: _sweep(run["alphas"])})


def weighing(run: Run) -> str:
    """The way of choosing columns that figures show: the paper's, if it was tried."""
    found = values(run["synapses"], "weighing")
    return "raw" if "raw" in found else found[0]


def suppressed(run: Run, how: str) -> pl.DataFrame:
    """Suppressed columns of one weighing, of queries with neurons that were active at all."""
    return run.of("synapses", weighing=how, operation="suppress").filter(pl.col("activation_before") != 0)


def own_beyond(run: Run, column: str, how: str) -> Interval | None:
    """How much lower something is without a query's own columns than without irrelevant ones."""
    return difference(suppressed(run, how), column, "columns", "own", "irrelevant")


def _block(run: Run, column: str) -> Block:
    how = weighing(run)
    rows = run["synapses"].filter((pl.col("weighing") == how) & (pl.col("activation_before") != 0))
    before, after, quantity, what = _WHAT[column]
    parts, figures = [], {}
    drawn = {operation: _bars(rows, operation, column) for operation in values(rows, "operation")}
    for operation, bars in drawn.items():
        uid = f"synapses-{column.replace('_', '-')}-{operation}"
        n = rows.filter(pl.col("operation") == operation)["fact"].n_unique()
        title = f"{OPERATIONS.get(operation, operation)}, n = {count(n)} facts"
        if bars:
            figures[uid] = change_bars(bars, down=operation == "suppress", row=46, quantity=quantity)
            parts.append((title, plot(uid, f"Bars of relative change of the {what}; the table has the numbers")))
        else:
            parts.append((title, note("None was touched.")))
    head = ("columns chosen", "facts", "operation", "columns", "count", "before", "after", "change", "n")
    measure = (
        "Relative change of the mean magnitude of the activations of the query’s own neurons"
        if column == NEURONS
        else "Relative change of the answer’s probability"
    )
    said = (
        f"{measure}, (after − before) / before, when attention columns (one head looking back at one position, in "
        "every row) are set to zero or doubled. Own synapses are the columns that draw the most attention, beside "
        f"their mean number; the choice shown is “{how}”, others are in the table. Bars are means over facts with "
        "95% bootstrap intervals over facts. Control, in grey: as many columns of the same layers that are not "
        f"among them. Kinds are by {run.rule} threshold."
    )
    table = as_table(head, list(_table(run["synapses"], column, before, after)), 4)
    return Block(_heading(run, column), panels(parts) + caption(said) + table, figures)


def _bars(rows: pl.DataFrame, operation: str, column: str) -> list[Bar]:
    bars = []
    for kind in KINDS:
        for name, (label, colour) in COLUMNS.items():
            own = rows.filter(
                (pl.col("operation") == operation) & (pl.col("kind") == kind) & (pl.col("columns") == name)
            )
            found = mean(own, column)
            if found is not None:
                shown = plotly(f"{label}, {kind} · {average(own, 'count'):.0f}")
                bars.append(Bar(shown, found, colour, f"{shown} columns<br>{change(found)}<br>n = {found.n} facts"))
    return bars


def _table(rows: pl.DataFrame, column: str, before: str, after: str) -> Iterator[tuple[str, ...]]:
    keys = ("weighing", "kind", "operation", "columns")
    groups = rows.partition_by(keys, as_dict=True, maintain_order=True)
    for (how, kind, operation, name), own in sorted(groups.items(), key=lambda group: str(group[0][0])):
        found = mean(own, column)
        if found is not None:
            ends = [average(own, side_of) for side_of in (before, after)]
            shown = [probability(end) if column == ANSWER else f"{end:.3g}" for end in ends]
            yield (
                how, kind, OPERATIONS.get(operation, operation).lower(), name, f"{average(own, 'count'):.0f}",
                *shown, change(found), count(found.n),
            )  # fmt: skip


def _heading(run: Run, column: str) -> str:
    how = weighing(run)
    rows = suppressed(run, how)
    own = mean(rows.filter(pl.col("columns") == "own"), column)
    other = mean(rows.filter(pl.col("columns") == "irrelevant"), column)
    subject = "its neurons" if column == NEURONS else "its answer"
    if own is None:
        return f"What a query’s synapses do to {subject} was not measured"
    if other is None:
        return f"Suppressing a query’s synapses changes {subject} by {relative(own.mean)}; there is no control"
    found = f"{relative(own.mean)} against {relative(other.mean)}"
    gap = side(own_beyond(run, column, how))
    if gap < 0:
        return f"Without a query’s synapses {subject} lose{_s(column)} more than without other columns: {found}"
    if gap > 0:
        return f"Without a query’s synapses {subject} lose{_s(column)} less than without other columns: {found}"
    return f"That a query’s synapses move {subject} more than other columns do is not shown: {found}"


def _s(column: str) -> str:
    return "" if column == NEURONS else "s"


def _sweep(rows: pl.DataFrame) -> Block:
    rows = rows.sort("alpha", maintain_order=True)
    lines = []
    for place, how in enumerate(values(rows, "weighing")):
        own = rows.filter((pl.col("weighing") == how) & pl.col("change").is_finite())
        columns = [own[name].to_list() for name in ("alpha", "change", "low", "high")]
        if columns[0]:
            lines.append(
                Line(_SHORT.get(how, how), columns[0], columns[1], COLOURS[place % 4], columns[2], columns[3])
            )
    if not lines:
        return absent("No threshold of the synapses was swept", "The table has no finite changes.")
    first = lines[0]
    heading = (
        f"The lower the threshold, the more columns: P(answer) changes by {relative(first.y[0])} at "
        f"α\u00a0=\u00a0{first.x[0]:g}, by {relative(first.y[-1])} at α\u00a0=\u00a0{first.x[-1]:g}"
    )
    if len(first.x) == 1:
        heading = (
            f"At the one threshold tried, α\u00a0=\u00a0{first.x[0]:g}, P(answer) changes by {relative(first.y[0])}"
        )
    head = ("columns chosen", "α", "columns", "of all columns", "activation", "P(answer)", "n")
    table = [
        (row["weighing"], f"{row['alpha']:g}", f"{row['columns_mean']:.1f}", share(row["share_of_columns"]),
         relative(row["activation_change"]),
         change(Interval(row["change"], row["low"], row["high"], row["n"])), count(row["n"]))
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    said = (
        "Relative change of P(answer) when the columns that draw more than α times what the highest one draws are "
        "suppressed. Raw sums favour early positions, which more rows can look back at, and the first token most of "
        "all; the other two ways correct that. Bands are 95% bootstrap intervals over facts, n in the table; the "
        "paper reports no α."
    )
    figure = sweep(lines, "α", "relative change of P(answer)", whole=False)
    return Block(
        heading, plot("alphas-lines", heading) + caption(said) + as_table(head, table), {"alphas-lines": figure}
    )
