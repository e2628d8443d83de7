"""Is a small part of the model enough: what circuits say of facts that they were not found on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from locant.evaluations import as_share
from locant.recipes.knowledge_circuits.judged import CIRCUIT, COMPLEMENT, NOTHING, OTHER, RANDOM, WHOLE
from locant.reports.answers import PARTLY, UNMEASURED, YES, Answer
from locant.reports.blocks import Block, Section, absent, caption, details, grid, legend, panels, plot
from locant.reports.knowledge_circuits.means import (
    INTERVALS,
    everywhere,
    gap_of,
    how_many,
    judged,
    less,
    n_of,
    shown,
    sure,
    tally,
)
from locant.reports.knowledge_circuits.names import CIRCUITS, MARKS, metric_of, part_of, relation_of
from locant.reports.knowledge_circuits.run import ALL, Run
from locant.reports.means import in_order, pooled_mean, side, values
from locant.reports.numbers import count, portion, share
from locant.reports.rows import Dot, dots
from locant.reports.text import upper
from locant.types import Interval

QUESTION = "Is a small part of the model enough?"
ENOUGH = 0.7
"""Of what the model says: the paper's claim of its circuits."""
_DRAWN = ("hit", "first")
_METRICS = ("hit", "first", "among", "released")
_KEPT = {WHOLE: "model", CIRCUIT: "circuit", COMPLEMENT: "all but it", NOTHING: "no edge", RANDOM: "random",
         OTHER: "another’s"}  # fmt: skip
_TEST = [("test", what) for what in _KEPT]
_VALIDATION = [("validation", what) for what in _KEPT]
_PAPER = [*_VALIDATION[:2], *_TEST]
"""The columns of the paper's Table 1, and the controls that it has not."""


def enough(run: Run, relation: str | None = None) -> Interval | None:
    """Hit@k of circuits, of the test facts that the model hits, above the claimed part of them."""
    rows = run.tried if relation is None else run.tried.filter(pl.col("relation") == relation)
    said = rows.filter((pl.col("circuit") == WHOLE) & (pl.col("hit") > 0))
    own = rows.filter(pl.col("circuit") == CIRCUIT).join(said, on=["relation", "fact"], how="semi")
    found = pooled_mean(own, "hit", "relation")
    return less(as_share(found), ENOUGH) if found is not None else None


def answer(run: Run) -> Answer:
    """Yes if circuits surely say enough of what the model says, in every relation, and more than random ones."""
    own, whole, random = (run.complete(what, "hit") for what in (CIRCUIT, WHOLE, RANDOM))
    if own is None or whole is None:
        return Answer(QUESTION, UNMEASURED, "No circuits were run alone.")
    first, model = run.complete(CIRCUIT, "first"), run.complete(WHOLE, "first")
    text = (
        f"With at most {part_of(run.share)} of the edges, the answer is among the first {run.k} tokens in "
        f"{portion(own)} of facts that the circuits were not found on (whole model: {shown(whole)}; {n_of(own)})."
    )
    text += f" It comes first in {portion(first)} (whole model: {shown(model)})." if first is not None else ""
    if random is not None:
        beyond = run.gap("hit", CIRCUIT, RANDOM)
        text += (
            f" With random circuits of as many edges in the same layers it is among them in {portion(random)}: "
            f"difference {gap_of(beyond)}, and in first choices {gap_of(run.gap('first', CIRCUIT, RANDOM))}."
        )
    rest = run.complete(COMPLEMENT, "hit")
    text += f" With all edges but the circuit’s it is among them in {portion(rest)}." if rest is not None else ""
    each = [enough(run, relation) for relation in run.relations]
    text += f" {tally(each, f'Surely {part_of(ENOUGH)} or more of what the model says is kept')}."
    return Answer(QUESTION, _short(run, each), text)


def _short(run: Run, each: Sequence[Interval | None]) -> str:
    short = judged(enough(run))
    beyond = side(run.gap("hit", CIRCUIT, RANDOM)) > 0
    return PARTLY if short == YES and not (beyond and everywhere(each)) else short


def sections(run: Run) -> Iterator[Section]:
    """What is said with some edges only."""
    if run.complete(CIRCUIT, "hit") is None:
        why = "The table of completeness has no circuits."
        yield Section("completeness", "Completeness", {None: absent("No circuits were run alone", why)})
        return
    yield Section("completeness", "Completeness", {None: _block(run)})


def _groups(run: Run) -> list[tuple[str, str]]:
    """All relations, then each, by kinds: (level, group)."""
    found = values(run.of("completeness", level="relation"), "group")
    known = in_order(found, run.relations)
    kinds = list(dict.fromkeys(run.kinds.get(name, "") for name in known))
    return [(ALL, ALL), *(("relation", name) for kind in kinds for name in known if run.kinds.get(name, "") == kind)]


def _block(run: Run) -> Block:
    figures, parts = {}, []
    for metric in _DRAWN:
        marks = [
            Dot(_row_of(level, group), CIRCUITS[what], found, mark)
            for level, group in _groups(run)
            for what, (_, mark) in MARKS.items()
            if (found := run.complete(what, metric, group, level)) is not None
        ]
        uid = f"complete-{metric}"
        figures[uid] = dots(marks, "share of test facts", portion, (0.0, 1.0))
        title = upper(f"{metric_of(metric, run.k)}, test facts")
        parts.append((title, plot(uid, f"{title}, by relation and circuit; the table has the numbers")))
    there = values(run["completeness"], "circuit")
    body = legend([(kind, CIRCUITS[what]) for what, (kind, _) in MARKS.items() if what in there])
    body += panels(parts) + caption(_said(run)) + _table(run, "hit", _PAPER)
    body += details("The same on validation facts, by which circuits are found", _table(run, "hit", _VALIDATION))
    body += "".join(
        details(f"The same by {metric_of(metric, run.k)}", _table(run, metric, _PAPER)) for metric in _METRICS[1:]
    )
    return Block(_heading(run), body, figures)


def _row_of(level: str, group: str) -> str:
    return "all relations" if level == ALL else relation_of(group)


def _said(run: Run) -> str:
    random = run.settings.get("random_circuits")
    draws = f" (means over {count(random)} draws)" if isinstance(random, int) else ""
    return (
        f"Shares of facts whose answer’s first token is among the first {run.k} (left) or the first (right) where "
        "only some edges are kept; over all others, what the same model computes for another subject is brought "
        f"({run.settings.get('ablation', 'ablation')}). Circuits are found on validation facts; no fact is in both "
        f"halves. Means over facts, given the circuits; {INTERVALS}. Controls: random circuits with "
        f"as many edges into the same layers, joined from input to output{draws}; another relation’s circuit; all "
        "edges but the circuit’s; no edge. The model knows all these facts by their choice (see the settings), so it "
        f"is near the top by itself. Released labels: a test fact counts as right by the label of a validation fact, "
        "as the released code does; it measures whether a circuit says answers of the relation’s kind."
    )


def _table(run: Run, metric: str, columns: Sequence[tuple[str, str]]) -> str:
    kinds = values(run.of("completeness", level="kind"), "group")
    rows = [(ALL, ALL), *(("kind", kind) for kind in kinds), *_groups(run)[1:]]
    table = []
    for level, group in rows:
        cells = [run.complete(what, metric, group, level, half) for half, what in columns]
        if any(cells):
            n = next(one for one in reversed(cells) if one is not None)
            kind = run.kinds.get(group, "") if level == "relation" else ""
            name = {"kind": f"{group}: all", ALL: "all"}.get(level, relation_of(group))
            table.append((name, kind, _edges(run, level, group), *map(shown, cells), how_many(n)))
    head = [f"{half}: {_KEPT[what]}" if what == WHOLE else _KEPT[what] for half, what in columns]
    return f'<div class="wide">{grid(("relation", "kind", "edges", *head, "n"), table, 2)}</div>'


def _edges(run: Run, level: str, group: str) -> str:
    found = run.of("completeness", group=group, level=level, circuit=CIRCUIT)["edges"].mean()
    return f"{found:,.0f}" if isinstance(found, float) else "–"


def _heading(run: Run) -> str:
    own, random = run.complete(CIRCUIT, "hit"), run.complete(RANDOM, "hit")
    assert own is not None
    said = (
        f"With {part_of(run.share)} of the edges the answer is still among the first {run.k} in {share(own.mean)} of "
        "new facts"
    )
    if random is None:
        return said
    other = run.complete(OTHER, "hit")
    said += f", with another relation’s circuit in {share(other.mean)}" if other is not None else ""
    said += f", with random ones in {share(random.mean)}"
    return said + sure(run.gap("hit", CIRCUIT, RANDOM))
