"""Which neurons are worth editing: one query's, all queries', or those that all queries use alike, at equal size."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from locant.reports.blocks import Block, Section, absent, as_table, caption, details, grid, panels, plot
from locant.reports.lines import Line, sweep
from locant.reports.means import average, difference, doubt, mean, side, values
from locant.reports.numbers import change, count, points, portion, relative, share
from locant.reports.query_localization.blocks import DOING, KINDS, OPERATIONS
from locant.reports.query_localization.figures import Point, plane
from locant.reports.query_localization.run import Run
from locant.types import Interval

SETS = {
    "N_i": ("var(--unrelated)", "top left"),
    "N_g": ("var(--shared)", "bottom right"),
    "CAS": ("var(--located)", "top right"),
    "random": ("var(--control)", "bottom right"),
}
NAMES = {"N_i": "the query’s own neurons (N_i)", "N_g": "those of all queries (N_g)"}
EQUAL = "equal size"
SHARES = ("reliability", "generalisation", "locality", "average")
HARMS = ("cloze_change", "text_change")


def sections(run: Run) -> Iterator[Section]:
    """The edits, and the sweep of their one free parameter."""
    known = [place for place, name in enumerate(run.localizers) if len(run.of("edits", localizer=name))]
    if not known:
        why = "The table of edits has no rows: no fact was erased or updated."
        yield Section("editing", "Editing", {None: absent("No fact was edited", why)})
    else:
        yield Section("editing", "Editing", {str(place): _block(run, place) for place in known})
    if not run["betas"].is_empty():
        yield Section("betas", "", {None: _sweep(run)})


def gain(run: Run, localizer: str, operation: str, column: str, over: str) -> Interval | None:
    """How much the consistency-aware set is above another one of equal size, in the same facts."""
    rows = run.of("edits", localizer=localizer, operation=operation, sizing=EQUAL)
    return difference(rows, column, "set", "CAS", over, pairs=("fact",))


def harm_measure(rows: pl.DataFrame) -> tuple[str, str]:
    """The perplexity that was measured, of running text if there was any, and its name."""
    if rows["text_change"].is_finite().any():
        return "text_change", "perplexity of running text"
    return "cloze_change", "perplexity of other facts’ answers"


def _block(run: Run, place: int) -> Block:
    rows = run.of("edits", localizer=run.localizers[place])
    parts: list[tuple[str, str]] = []
    figures = {}
    drawn = {operation: _points(rows, operation) for operation in values(rows, "operation")}
    for operation, found in drawn.items():
        uid = f"edits-{place}-{len(parts)}"
        every = [point for some in drawn.values() for point in some]
        figures[uid] = plane(found, every, "generalisation", "locality")
        n = rows.filter(pl.col("operation") == operation)["fact"].n_unique()
        title = f"{OPERATIONS.get(operation, operation)} at equal size, n = {count(n)} facts"
        parts.append((title, plot(uid, "Generalisation against locality of each set; the table has the numbers")))
    said = (
        "Up and to the right is better. Generalisation: share of a fact’s other wordings in which the edit succeeds "
        "(erased: the answer is no longer the first choice; updated: the new one is). Locality: share of unrelated "
        "queries whose first token stays. N_i: the neurons of the edited query; N_g: of that query and half of the "
        "other wordings; the rest of the wordings judge. "
        "CAS: the consistency-aware set; each cut to as many neurons, since larger edits generalise better and spare "
        "less whatever they touch. Control, in grey: random neurons. Crosses are 95% bootstrap intervals over facts."
    )
    tables = "".join(
        f"<h3>{OPERATIONS.get(operation, 'Edited')}</h3>" + grid(_HEAD, list(_table(rows, operation)), 2)
        for operation in drawn
    )
    by_kind = "".join(
        f"<h3>{OPERATIONS.get(operation, 'Edited')}, {kind} facts</h3>"
        + grid(_HEAD, list(_table(rows.filter(pl.col("kind") == kind), operation)), 2)
        for operation in drawn
        for kind in KINDS
        if len(rows.filter(pl.col("kind") == kind))
    )
    more = caption(
        f"Means over facts of both kinds with 95% bootstrap intervals. Before the edit, reliability is "
        f"{_before(rows, 'reliability_before')} and generalisation {_before(rows, 'generalisation_before')}: answers "
        "that were never the first choice count as erased. Perplexity: relative change, of other facts’ answers "
        "(cloze) and of running text."
    )
    body = panels(parts) + caption(said) + tables + more + details("The same by kind of fact", by_kind)
    return Block(_heading(run, run.localizers[place]), body + _sizes(run["lambdas"]), figures)


def _sizes(rows: pl.DataFrame) -> str:
    """How large the steps of an update are, where that was swept."""
    if rows.is_empty():
        return ""
    head = ("λ₁ = λ₂", "reliability", "generalis.", "locality", "average", "cloze ppl", "n")
    table = [
        (f"{row['lambda']:g}", *(share(row[name]) for name in SHARES), relative(row["cloze_change"]), count(row["n"]))
        for row in rows.iter_rows(named=True)
    ]
    said = (
        "An update subtracts λ₁ times the old answer’s embedding from each value vector and adds λ₂ times the new "
        "one’s, in lengths of the value vector. The paper reports no λ. Taken is the one with the highest average "
        "for the query’s own neurons (N_i), shown here: what the consistency-aware set is held against."
    )
    return details("How large an update is", grid(head, table, 1) + caption(said))


_HEAD = ("sizing", "set", "neurons", "reliability", "generalis.", "locality", "average", "cloze ppl", "text ppl", "n")


def _points(rows: pl.DataFrame, operation: str) -> list[Point]:
    found = []
    for name, (colour, beside) in SETS.items():
        own = rows.filter((pl.col("operation") == operation) & (pl.col("sizing") == EQUAL) & (pl.col("set") == name))
        across, up = mean(own, "generalisation"), mean(own, "locality")
        if across is not None and up is not None:
            found.append(Point(name, across, up, colour, beside))
    return found


def _table(rows: pl.DataFrame, operation: str) -> Iterator[tuple[str, ...]]:
    for sizing in (EQUAL, "as found"):
        for name in SETS:
            own = rows.filter(
                (pl.col("operation") == operation) & (pl.col("sizing") == sizing) & (pl.col("set") == name)
            )
            if own.is_empty():
                continue
            shares = [mean(own, column) for column in SHARES]
            harms = [mean(own, column) for column in HARMS]
            yield (
                sizing, name, f"{average(own, 'size'):.0f}", *(portion(one) if one else "none" for one in shares),
                *(change(one) if one else "none" for one in harms), count(own["fact"].n_unique()),
            )  # fmt: skip


def _before(rows: pl.DataFrame, column: str) -> str:
    parts = [
        f"{share(average(rows.filter(pl.col('operation') == operation), column))} ({operation})"
        for operation in values(rows, "operation")
    ]
    return ", ".join(part for part in parts if "nan" not in part) or "not known"


def compared(run: Run, localizer: str, operation: str) -> list[tuple[int, str, str]]:
    """The consistency-aware set against others at equal size: 1 where it is surely better, which other, and how."""
    rows = run.of("edits", localizer=localizer, operation=operation, sizing=EQUAL)
    harm, name = harm_measure(rows)
    found = []
    for column, over, what, sign in (
        ("generalisation", "N_i", "generalisation", 1),
        ("locality", "N_g", "locality", 1),
        (harm, "N_g", f"{name}, where less is better,", -1),
    ):
        gap = gain(run, localizer, operation, column, over)
        if gap is None:
            continue
        better = sign * side(gap)
        found.append((better, over, f"{what} {points(gap)}{doubt(gap)}"))
    return found


def _heading(run: Run, localizer: str) -> str:
    parts = []
    for operation in values(run.of("edits", localizer=localizer), "operation"):
        signs = [better for better, _, _ in compared(run, localizer, operation)]
        if not signs:
            continue
        parts.append((_judged(signs), DOING.get(operation, operation)))
    if not parts:
        return "The consistency-aware set was not compared at equal size"
    if len({verdict for verdict, _ in parts}) == 1:
        parts = [(parts[0][0], " and ".join(doing for _, doing in parts))]
    return "At equal size, the consistency-aware set is " + "; ".join(f"{said} when {doing}" for said, doing in parts)


def _judged(signs: list[int]) -> str:
    """Several comparisons in a few words."""
    better, worse = sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs)
    if better == len(signs):
        return f"better in all {len(signs)} comparisons"
    if better and worse:
        return f"better in {better} and worse in {worse} of {len(signs)} comparisons"
    if better:
        return f"better in {better} of {len(signs)} comparisons"
    if worse:
        return f"worse in {worse} of {len(signs)} comparisons"
    return f"not shown to be better in any of {len(signs)} comparisons"


def _sweep(run: Run) -> Block:
    rows = run["betas"].sort("beta2", maintain_order=True)
    parts, figures = [], {}
    for place, operation in enumerate(values(rows, "operation")):
        own = rows.filter(pl.col("operation") == operation)
        facts = run.of("betas_by_fact", operation=operation)
        lines = [_line(own, facts, column, colour) for column, colour in
                 (("generalisation", "located"), ("locality", "unrelated"), ("average", "ink"))]  # fmt: skip
        uid = f"betas-{place}"
        figures[uid] = sweep(lines, "β₂", "share", mark=_set(run, "beta2"))
        parts.append(
            (OPERATIONS.get(operation, operation), plot(uid, "Scores against β₂; the table has the numbers"))
        )
    head = ("operation", "β₂", "reliability", "generalisation", "locality", "average", "cloze perplexity", "n")
    table = [
        (OPERATIONS.get(row["operation"], row["operation"]).lower(), f"{row['beta2']:g}",
         *(share(row[name]) for name in SHARES), relative(row["cloze_change"]), count(row["n"]))
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    bands = (
        "bands are 95% bootstrap intervals over facts"
        if len(run["betas_by_fact"])
        else "the run kept no values of single facts, so that there is no interval"
    )
    beta1 = _set(run, "beta1")
    said = (
        "The consistency-aware score of a neuron is β₁ times its mean activation over a fact’s queries less β₂ "
        f"times their standard deviation{'' if beta1 is None else f'; here β₁ = {beta1:g}'}. Shares as above, "
        f"at equal size; {bands}. Control: β₂ = 0 asks for no consistency at all. The paper reports no β."
    )
    heading = _swept(rows) or "The weight of consistency was swept without a score"
    return Block(heading, panels(parts) + caption(said) + as_table(head, table, 2), figures)


def _swept(rows: pl.DataFrame) -> str | None:
    """What the weight of consistency does to the scores of the first operation."""
    own = rows.filter(pl.col("generalisation").is_finite() & pl.col("locality").is_finite())
    own = own.filter(pl.col("operation") == own["operation"].first())
    if own.is_empty():
        return None
    first, last = own.row(0, named=True), own.row(-1, named=True)
    names = ("generalisation", "locality")
    spans = [f"{name} goes from {share(first[name])} to {share(last[name])}" for name in names]
    doing = DOING.get(first["operation"], first["operation"])
    ends = f"β₂\u00a0=\u00a0{first['beta2']:g} to {last['beta2']:g}"
    return f"From {ends}, {' and '.join(spans)} when {doing}"


def _line(rows: pl.DataFrame, facts: pl.DataFrame, column: str, colour: str) -> Line:
    own = rows.filter(pl.col(column).is_finite())
    found = [mean(facts.filter(pl.col("beta2") == beta), column) for beta in own["beta2"].to_list()]
    known = [one for one in found if one is not None]
    ends = ([one.low for one in known], [one.high for one in known]) if len(known) == len(own) else ([], [])
    return Line(column, own["beta2"].to_list(), own[column].to_list(), colour, *ends)


def _set(run: Run, name: str) -> float | None:
    value = run.settings.get(name)
    return float(value) if isinstance(value, int | float) else None
