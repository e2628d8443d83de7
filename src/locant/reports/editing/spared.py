"""Is the rest left alone: neighbours, unrelated facts, and running text."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from locant.reports.answers import UNMEASURED, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, panels, plot
from locant.reports.drawing import Bar, change_bars
from locant.reports.editing.means import best_of, cases_of, few, gap_of, over, shown, tally
from locant.reports.editing.names import colour_of, name_of
from locant.reports.editing.run import Run, perplexity_in
from locant.reports.editing.taken import takes
from locant.reports.numbers import change, count, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import plotly
from locant.types import Interval

QUESTION = "Is the rest left alone?"
ENOUGH = 0.9
"""What is kept of neighbours and of unrelated facts where the rest is called left alone."""
MARKS = {
    "before": ("neighbours: score before", "hollow", ("square-open", "var(--control)")),
    "score": ("neighbours: score", "square score", ("square", "var(--shared)")),
    "kept": ("neighbours kept", "dot", ("circle", "var(--located)")),
    "unrelated": ("unrelated kept", "diamond", ("diamond", "var(--unrelated)")),
}


def kept(run: Run, method: str, asked: str = "neighbour") -> Interval | None:
    """The share of queries whose first token is as before."""
    return run.mean(method, asked, "kept")


def perplexity(run: Run, method: str) -> Interval | None:
    """The relative change of running text's perplexity after one edit."""
    return perplexity_in(run.of("methods", method=method))


def answer(run: Run) -> Answer:
    """Whether neighbours and unrelated facts stay; first of a method whose edits take."""
    found = {name: one for name in run.methods if (one := kept(run, name)) is not None}
    if not found:
        return Answer(QUESTION, UNMEASURED, "No neighbours were read after an edit.")
    signs = [_spares(run, name) for name in found]
    able = {name: one for name, one in found.items() if takes(run, name) > 0}
    best, worst = best_of(able or found), min(found, key=lambda name: found[name].mean)
    whose = "Of the methods whose edits take, " if able else "No method’s edits surely take in half of the cases; "
    lead = f"{whose}{name_of(best)} keeps most" if len(found) > 1 else f"With {name_of(best)}"
    text = f"{lead}: {_in_words(run, best)}."
    if worst != best:
        text += f" Least is kept by {name_of(worst)}: {_in_words(run, worst, short=True)}."
    claim = f"Of both, {share(ENOUGH)} or more are surely kept"
    return Answer(QUESTION, verdict(signs, few(found.values())), f"{text} {tally(signs, claim)}.")


def _spares(run: Run, method: str) -> int:
    """1 if enough of neighbours and of unrelated facts is surely kept, -1 if of either it surely is not."""
    both = [
        over(one, ENOUGH) for asked in ("neighbour", "unrelated") if (one := kept(run, method, asked)) is not None
    ]
    return min(both)


def _in_words(run: Run, method: str, short: bool = False) -> str:
    own, other = kept(run, method), kept(run, method, "unrelated")
    parts = [f"the first token stays in {portion(own)} of neighbours"] if own is not None else []
    parts += [f"in {portion(other)} of unrelated facts"] if other is not None else []
    text = " and ".join(parts)
    moved, worse = run.moved(method, "neighbour", "score"), perplexity(run, method)
    score = run.mean(method, "neighbour", "score")
    if not short and score is not None and moved is not None:
        text += (
            f"; the neighbours’ own object is more probable than the new one in {portion(score)} ({gap_of(moved)})"
        )
    text += f"; perplexity changes by {change(worse)}" if worse is not None else ""
    return text if short or own is None else f"{text}; {cases_of(own)}"


def sections(run: Run) -> Iterator[Section]:
    """Neighbours and unrelated facts; and perplexity."""
    if not any(kept(run, name) for name in run.every):
        why = "The table of methods has no neighbours."
        yield Section("rest", "The rest", {None: absent("Whether the rest is left alone was not measured", why)})
        return
    yield Section("rest", "The rest", {None: _block(run)})


def _block(run: Run) -> Block:
    figures: dict[str, go.Figure] = {}
    marks, table = [], []
    for method in run.every:
        cells = {
            "before": run.mean(method, "neighbour", "score", "before"),
            "score": run.mean(method, "neighbour", "score"),
            "kept": kept(run, method),
            "unrelated": kept(run, method, "unrelated"),
        }
        marks += [Dot(name_of(method), MARKS[name][0], one, MARKS[name][2]) for name, one in cells.items() if one]
        n = cells["kept"].n if cells["kept"] is not None else 0
        worse = shown(perplexity(run, method), change)
        table.append((name_of(method), *(shown(cells[name]) for name in MARKS), worse, count(n)))
    figures["rest-dots"] = dots(marks, "share of queries", portion, (0.0, 1.0))
    there = {mark.name for mark in marks}
    signs = legend([(kind, label) for label, kind, _ in MARKS.values() if label in there])
    parts = [("Other facts", signs + plot("rest-dots", "Shares kept, by method; the table has the numbers"))]
    bars = _bars(run)
    if bars:
        figures["rest-perplexity"] = change_bars(bars, down=False, row=44, quantity="perplexity")
        parts.append(("Running text", plot("rest-perplexity", "Changes of perplexity; the table has the numbers")))
    said = (
        "Left: other facts of the relation (neighbours) and of other relations (unrelated), none of them edited. "
        "Kept: the first token that the model would say is as before. Score: a neighbour’s own object is more "
        "probable than the new one, by the mean over tokens. Means over cases, each edited alone, with 95% bootstrap "
        "intervals; n in the table. Control: the untouched model, which keeps 100%, and whose score is in grey. "
        "Read it beside the requests: an edit that does nothing spares everything."
    )
    said += " Right: perplexity of running text after one edit, against that before." if bars else ""
    head = ("method", *(label for label, _, _ in MARKS.values()), "perplexity", "n")
    return Block(_heading(run), panels(parts) + caption(said) + as_table(head, table), figures)


def _bars(run: Run) -> list[Bar]:
    bars = []
    for method in run.every:
        worse = perplexity(run, method)
        if worse is not None:
            hover = f"{plotly(name_of(method))}<br>{change(worse)}<br>n = {worse.n}"
            bars.append(Bar(plotly(name_of(method)), worse, f"var(--{colour_of(method)})", hover))
    return bars


def _heading(run: Run) -> str:
    found = {name: one for name in run.methods if (one := kept(run, name)) is not None}
    if not found:
        return "Of the methods compared, none was read for what it keeps"
    ends = dict.fromkeys(pick(found, key=lambda name: found[name].mean) for pick in (max, min))
    parts = [f"{share(found[name].mean)} with {name_of(name)}" for name in ends]
    return f"Of an edited fact’s neighbours {', '.join(parts)} are kept"
