"""Approximate scores of edges against cutting every edge."""

from __future__ import annotations

from collections.abc import Iterator

from locant.reports.answers import UNMEASURED, Answer
from locant.reports.blocks import Block, Section, absent, as_table, caption, legend, plot
from locant.reports.knowledge_circuits.means import judged, less, n_of, shown
from locant.reports.knowledge_circuits.names import method_of, part_of
from locant.reports.knowledge_circuits.run import Run, interval_in
from locant.reports.means import values
from locant.reports.numbers import count, decimal, portion
from locant.reports.rows import Dot, dots
from locant.types import Interval

QUESTION = "Do approximate scores find the edges that cutting finds?"
MEASURES = {
    "shared": ("strongest edges in common", "dot", ("circle", "var(--located)")),
    "pearson": ("Pearson’s r", "diamond", ("diamond", "var(--unrelated)")),
    "spearman": ("Spearman’s ρ", "square", ("square", "var(--control)")),
}


def found(run: Run, method: str, measure: str) -> Interval | None:
    """The mean over relations."""
    return interval_in(run.of("agreement", method=method, measure=measure))


def answer(run: Run) -> Answer:
    """Yes if most of the strongest edges are found by the scores that the run's circuits are made by."""
    own = str(run.settings.get("method", ""))
    mine = found(run, own, "shared")
    if mine is None:
        why = "The scores are exact." if own == "exact" else "No edges were cut one by one."
        return Answer(QUESTION, UNMEASURED, why)
    text = f"{method_of(own)}, by which this run’s circuits are found, finds {_in_words(run, own)}."
    others = {name: one for name in values(run["agreement"], "method") if (one := found(run, name, "shared"))}
    best = max(others, key=lambda name: others[name].mean)
    if best != own:
        text += f" {method_of(best)} finds most: {_in_words(run, best)}."
    return Answer(QUESTION, judged(less(mine, 0.5)), f"{text} {n_of(mine, 'relation')}.")


def _in_words(run: Run, method: str) -> str:
    parts = [
        f"{portion(one)} of the edges that are strongest by cutting" if (one := found(run, method, "shared")) else ""
    ]
    parts += [
        f"{MEASURES[measure][0]} {decimal(one)}"
        for measure in ("pearson", "spearman")
        if (one := found(run, method, measure)) is not None
    ]
    return ", ".join(filter(None, parts))


def sections(run: Run) -> Iterator[Section]:
    """A row for each way to score edges."""
    if run["agreement"].is_empty():
        why = "The table of agreement has no rows."
        yield Section("agreement", "Scores", {None: absent("Scores were not held against cutting every edge", why)})
        return
    yield Section("agreement", "Scores", {None: _block(run)})


def _block(run: Run) -> Block:
    methods = values(run["agreement"], "method")
    marks = [
        Dot(method_of(method), label, one, mark)
        for method in methods
        for measure, (label, _, mark) in MEASURES.items()
        if (one := found(run, method, measure)) is not None
    ]
    table = []
    for method in methods:
        cells = {measure: found(run, method, measure) for measure in MEASURES}
        n = next((one.n for one in cells.values() if one is not None), 0)
        said = {"shared": portion}
        table.append(
            (method_of(method), *(shown(one, said.get(name, decimal)) for name, one in cells.items()), count(n))
        )
    pairs = run.settings.get("exact")
    body = legend([(kind, label) for label, kind, _ in MEASURES.values()])
    body += plot("agreement-dots", "Agreement by way to score; the table has the numbers")
    body += caption(
        "Each approximate score of every edge beside what the metric loses where that edge alone is cut, on the same "
        f"{count(pairs) if isinstance(pairs, int) else 'few'} pairs of each relation: correlations over all edges, "
        f"and of the {part_of(run.share)} strongest edges by |score| those that both have. Means over relations with "
        "95% bootstrap intervals; n in the table. Control: of random edges the part in common would be "
        f"{part_of(run.share)}, correlations zero. Cutting one edge at a time does not say what edges do together."
    )
    head = ("scores", *(label for label, _, _ in MEASURES.values()), "n")
    figure = dots(marks, "agreement", decimal, (0.0, 1.0), ".1f")
    return Block(_heading(run, methods), body + as_table(head, table), {"agreement-dots": figure})


def _heading(run: Run, methods: list[str]) -> str:
    known = {name: one for name in methods if (one := found(run, name, "shared")) is not None}
    if not known:
        return "Approximate scores beside cutting every edge"
    most, least = (pick(known, key=lambda name: known[name].mean) for pick in (max, min))
    said = f"Of the strongest edges by cutting, {method_of(most)} finds {known[most].mean:.0%}"
    return f"{said}, {method_of(least)} {known[least].mean:.0%}" if least != most else said
