"""Do edits add up: facts edited one after another, and many at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from locant.recipes.editing.edited import COLLAPSED
from locant.recipes.editing.judged import EARLIEST
from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, grid, panels, plot
from locant.reports.editing.means import HALF, best_of, few, gap_of, lead_of, others_of, over, range_of, shown, tally
from locant.reports.editing.names import colour_of, dash_of, name_of
from locant.reports.editing.run import Run, mean_in, perplexity_in
from locant.reports.lines import Line, sweep
from locant.reports.means import difference, mean
from locant.reports.numbers import change, count, points, portion, ratio, seconds, share
from locant.types import Interval

QUESTION = "Do edits add up?"
ALL, FIRST = "all", f"the first {EARLIEST}"
BANDS = 3
"""Lines beside which their intervals still can be told apart; of more they are in the table."""
_MEASURES = (
    ("request", "first", "first choice"),
    ("paraphrase", "first", "other wordings"),
    ("neighbour", "kept", "neighbours kept"),
    ("unrelated", "kept", "unrelated kept"),
)
_PANELS = (
    (ALL, "request", "first", "New object first, all that were edited"),
    (FIRST, "request", "first", "New object first, the first ten edited"),
    (ALL, "paraphrase", "first", "Other wordings, all that were edited"),
    (ALL, "neighbour", "kept", "Neighbours kept"),
    (ALL, "unrelated", "kept", "Unrelated kept"),
)
_TIMES = (1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 1e3, 1e4, 1e6)


def edits(run: Run) -> list[int]:
    """After how many edits the model was read."""
    return sorted(run["drift"]["edits"].unique().to_list())


def after(
    run: Run, method: str, number: int, of: str = ALL, asked: str = "request", metric: str = "first"
) -> Interval | None:
    """A metric's mean over the cases that were edited so far, or the first of them."""
    return mean_in(_drift(run, method, number, of), asked, metric)


def answer(run: Run) -> Answer:
    """What holds of all that were edited, after the last; and of the first ten."""
    last = max(edits(run), default=0)
    found = {name: one for name in run.methods if (one := after(run, name, last)) is not None}
    if not found:
        return Answer(QUESTION, UNMEASURED, "No two facts were edited in turn.")
    best = best_of(found)
    text = (
        f"After {count(last)} edits in turn {lead_of(found, best)} the new object is the first choice in "
        f"{portion(found[best])} of all that were edited"
    )
    alone = _lost(run, best, last)
    text += f" (to the same edited alone: {gap_of(alone)})" if alone is not None else ""
    text += f"{_early(run, best, last)}{_spared(run, best, last)}."
    text += others_of(found, best)
    signs = [over(one, HALF) for one in found.values()]
    return Answer(
        QUESTION, verdict(signs, few(found.values())), f"{text} {tally(signs, 'Surely in more than half')}."
    )


def _early(run: Run, method: str, last: int) -> str:
    """What was there after ten edits, and what is left of these ten."""
    then, now = (after(run, method, number, FIRST) for number in (EARLIEST, last))
    if then is None or now is None or last <= EARLIEST:
        return ""
    rows = run.of("in_turn", method=method, asked="request", metric="first").filter(pl.col("place") <= EARLIEST)
    sides = rows.with_columns(pl.col("edits").cast(pl.String))
    gap = difference(sides, "after", "edits", str(last), str(EARLIEST), pairs=("fact",))
    sure = f" ({gap_of(gap)})" if gap is not None else ""
    return f"; of the first ten, in {share(then.mean)} after ten edits and {share(now.mean)} after all{sure}"


def _lost(run: Run, method: str, last: int) -> Interval | None:
    """First choices after all edits in turn, less those of the same cases edited alone."""
    wanted = {"method": method, "asked": "request", "metric": "first"}
    parts = [
        run.of("in_turn", **wanted).filter(pl.col("edits") == last).select("fact", "after", made=pl.lit("in turn")),
        run.of("alone", **wanted).select("fact", "after", made=pl.lit("alone")),
    ]
    return difference(pl.concat(parts), "after", "made", "in turn", "alone", pairs=("fact",))


def _spared(run: Run, method: str, last: int) -> str:
    own = after(run, method, last, asked="unrelated", metric="kept")
    worse = perplexity_in(_drift(run, method, last))
    text = f"; {portion(own)} of unrelated facts are kept" if own is not None else ""
    return text + (f", and perplexity changes by {change(worse)}" if worse is not None else "")


def sections(run: Run) -> Iterator[Section]:
    """In turn, and together."""
    if run["drift"].is_empty():
        why = "The table of edits in turn has no rows: fewer than two facts were to be edited so."
        yield Section("turn", "Many edits", {None: absent("No facts were edited in turn", why)})
    else:
        yield Section("turn", "Many edits", {None: _in_turn(run)})
    if run["batch"].is_empty():
        why = "None of the methods takes several facts at once, or fewer than two were to be edited so."
        yield Section("together", "", {None: absent("No facts were edited together", why)})
    else:
        yield Section("together", "", {None: _together(run)})


def _in_turn(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    parts = []
    for place, (of, asked, metric, title) in enumerate(_PANELS):
        lines = _lines(run, of, asked, metric)
        if lines:
            uid = f"turn-{place}"
            figures[uid] = _on_log_axis(sweep(lines, "edits made", "share of queries"), run)
            parts.append((title, plot(uid, f"{title}, by edits made; the table has the numbers")))
    texts = [line for method in run.named("drift") if (line := _perplexity_line(run, method)) is not None]
    if texts:
        figures["turn-texts"] = _of_perplexity(texts, run)
        parts.append(("Perplexity of running text", plot("turn-texts", "Perplexity by edits made, see the table")))
    banded = len(run.named("drift")) <= BANDS
    said = (
        "Facts edited one after another, each in the model that the ones before it left; read again on the way. "
        "First choices, and the first tokens that are as before any edit, of the facts edited so far (in the second "
        "panel: of the first ten) and of their neighbours and unrelated facts. Means over cases; 95% bootstrap "
        f"intervals {'are the bands, and ' if banded else ''}with n in the table. Colour tells families of methods "
        "(orange: closed-form, blue: fine-tuning of a layer, green: neurons), dashes their members. Control: the "
        "same facts edited alone, in the table of methods above; of what is kept, the untouched model keeps 100%. "
        "Neighbours and unrelated facts that are themselves among the edits are not read. "
        f"One order of facts was tried.{_ends(run)}"
    )
    body = panels(parts) + caption(said) + as_table(_HEAD, list(_rows(run)), 3)
    return Block(_heading(run), body, figures)


def _ends(run: Run) -> str:
    """The methods whose lines end early, as the model is none any more."""
    rows = run.of("ended", made="in turn", metric=COLLAPSED)
    some = [f"{name_of(row['method'])} at edit {count(row['edits'] or 0)}" for row in rows.iter_rows(named=True)]
    return f" No model was left, and the line ends: {', '.join(some)}." if some else ""


_HEAD = ("method", "edits", "of", *(label for _, _, label in _MEASURES), "perplexity", "n")


def _rows(run: Run) -> Iterator[tuple[str, ...]]:
    for method in run.named("drift"):
        for number in edits(run):
            for of in (ALL, FIRST):
                rows = _drift(run, method, number, of)
                cells = [mean_in(rows, asked, metric) for asked, metric, _ in _MEASURES]
                if cells[0] is not None:
                    worse = shown(perplexity_in(rows), change)
                    yield name_of(method), count(number), of, *map(shown, cells), worse, count(cells[0].n)


def _drift(run: Run, method: str, number: int, of: str = ALL) -> pl.DataFrame:
    return run.of("drift", method=method, of=of).filter(pl.col("edits") == number)


def _lines(run: Run, of: str, asked: str, metric: str) -> list[Line]:
    methods = run.named("drift")
    lines = []
    for method in methods:
        known = [(number, one) for number in edits(run) if (one := after(run, method, number, of, asked, metric))]
        if known:
            bands = known if len(methods) <= BANDS else []
            lines.append(
                Line(
                    name_of(method),
                    [number for number, _ in known],
                    [one.mean for _, one in known],
                    colour_of(method),
                    [one.low for _, one in bands],
                    [one.high for _, one in bands],
                    dash_of(method),
                )
            )
    return lines


def _perplexity_line(run: Run, method: str) -> Line | None:
    known = [(number, one) for number in edits(run) if (one := perplexity_in(_drift(run, method, number)))]
    if not known:
        return None
    y = [math.log10(max(1 + one.mean, 1e-6)) for _, one in known]
    return Line(name_of(method), [number for number, _ in known], y, colour_of(method), dash=dash_of(method))


def _of_perplexity(lines: list[Line], run: Run) -> go.Figure:
    """Multiples of what it was: their logarithms are drawn, as an edit may well make it a thousandfold."""
    figure = sweep(
        lines, "edits made", "perplexity after / before", whole=False, said=lambda y: ratio(10**y - 1)
    )  # fmt: skip
    most = max(max(line.y) for line in lines)
    ticks = [one for one in _TIMES if math.log10(one) <= max(most, 0.08) + 0.05]
    kept = ticks if len(ticks) <= 6 else [one for one in ticks if math.log10(one) % 1 == 0]
    figure.update_yaxes(tickvals=[math.log10(one) for one in kept], ticktext=[f"×{one:,g}" for one in kept])
    return _on_log_axis(figure, run)


def _on_log_axis(figure: go.Figure, run: Run) -> go.Figure:
    """From one edit to all of them; the numbers at which the model was read, as far as there is room."""
    numbers = edits(run)
    tens = [one for one in numbers if str(one).strip("0") == "1"]
    ticks = tens + ([numbers[-1]] if numbers[-1] > 1.6 * max(tens, default=0) else [])
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[count(one) for one in ticks])
    return figure


def _heading(run: Run) -> str:
    last = max(edits(run))
    found = {name: one for name in run.methods if (one := after(run, name, last)) is not None}
    if not found:
        return "What holds of edits in turn was not measured"
    best = best_of(found)

    said = f"After {count(last)} edits in turn the new object is first in {share(found[best].mean)}"
    said = f"{said} with {name_of(best)}"
    others = range_of(found, best, lambda one: share(one.mean))
    return f"{said}, in {others} with the other{'s' if len(found) > 2 else ''}" if others else said


def _together(run: Run) -> Block:
    table, told = [], []
    for method in run.named("batch"):
        rows = run.of("batch", method=method)
        cells = [mean_in(rows, asked, metric) for asked, metric, _ in _MEASURES]
        first = cells[0]
        if first is None:
            continue
        worse, gap = shown(perplexity_in(rows), change), shown(_beside_alone(run, method), points)
        table.append((name_of(method), *map(shown, cells), worse, gap, _time(run, method), count(first.n)))
        told.append(f"{share(first.mean)} with {name_of(method)}")
    head = ("method", *(label for _, _, label in _MEASURES), "perplexity", "to alone", "time in all", "n")
    said = (
        "As many facts as the run was told edited at once, by the methods that take many. Means over cases with 95% "
        "bootstrap intervals; perplexity is one number. Control: “to alone” is the first choice’s difference to "
        "the same cases edited alone, in points, paired over cases."
    )
    heading = f"Edited together, the new object is first in {', '.join(told) or 'no case that was read'}"
    return Block(heading, grid(head, table) + caption(said))


def _beside_alone(run: Run, method: str) -> Interval | None:
    wanted = {"method": method, "asked": "request", "metric": "first"}
    parts = [run.of(name, **wanted).select("fact", "after", made=pl.lit(name)) for name in ("together", "alone")]
    return difference(pl.concat(parts), "after", "made", "together", "alone", pairs=("fact",))


def _time(run: Run, method: str) -> str:
    found = mean(run.of("together", method=method, asked="notes", metric="seconds"), "after")
    return seconds(found.mean) if found is not None else "–"
