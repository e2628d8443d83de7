"""What circuits of two relations share, beside chance; and those of a relation and its reverse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from locant.reports.answers import UNMEASURED, UNSHOWN, Answer, verdict
from locant.reports.blocks import Block, Section, absent, as_table, caption, grid, panels, plot, some
from locant.reports.knowledge_circuits.cells import cells
from locant.reports.knowledge_circuits.means import gap_of, judged, n_of, sure
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import Run, over_relations
from locant.reports.means import number
from locant.reports.numbers import count, p_value, portion, share
from locant.reports.text import plotly
from locant.types import Interval

QUESTION = "Do relations share parts of their circuits?"
REVERSE = "Do a relation and its reverse share a circuit?"
MEASURES = {"edges": "Edges", "nodes": "Nodes"}
SURE = 0.025
"""Of pairs that are not each other's reverse, those that may share as much."""


def beyond(run: Run, measure: str) -> dict[str, Interval]:
    """What is shared and what random circuits share, and their difference; means over relations."""
    rows = run.of("overlap", measure=measure).with_columns(gap=pl.col("observed") - pl.col("expected"))
    found = {name: over_relations(rows, name) for name in ("observed", "expected", "gap")}
    return {name: one for name, one in found.items() if one is not None}


def answers(run: Run) -> list[Answer]:
    """Of any two relations, and of a relation and its reverse."""
    return [_answer(run), _reverse_answer(run)]


def _answer(run: Run) -> Answer:
    found = {measure: own for measure in MEASURES if "gap" in (own := beyond(run, measure))}
    if "edges" not in found:
        return Answer(QUESTION, UNMEASURED, "There is but one relation.")
    parts = [
        f"has {portion(own['observed'])} of the {measure} of another relation’s circuit and "
        f"{portion(own['expected'])} of those of random circuits: difference {gap_of(own['gap'], 'relation')}"
        for measure, own in found.items()
    ]
    n = n_of(found["edges"]["gap"], "relation")
    text = f"On average a relation’s circuit {'; it '.join(parts)} ({n}, whose pairs overlap)."
    return Answer(QUESTION, judged(found["edges"]["gap"]), text)


def _reverse_answer(run: Run) -> Answer:
    rows = run.of("reverse", measure="edge_jaccard")
    if rows.is_empty():
        why = "No two relations of the run ask for each other’s subjects."
        return Answer(REVERSE, UNMEASURED, why)
    parts, signs = [], []
    for pair in _pairs(rows):
        above = _above(run, pair.observed)
        signs.append(int(above <= SURE))
        parts.append(
            f"{relation_of(pair.relation)} and {relation_of(pair.other)} share {share(pair.observed)} "
            f"({some(pair.facts, 'fact')} both ways; {some(pair.pairs, 'other pair')}: {_part(pair.elsewhere)} on "
            f"average, as much or more in {_part(above)} of them)"
        )
    short = verdict(signs) if any(signs) else UNSHOWN
    return Answer(REVERSE, short, f"Of all edges that either circuit has, {'; '.join(parts)}.")


@dataclass(frozen=True)
class Pair:
    """Two relations, and what part of what either circuit has both have.

    Attributes:
        expected: of random circuits; elsewhere: of the mean pair that is not each other's reverse; NaN if not known.
        pairs: of these; facts: there both ways; zero where that is not asked.
    """

    relation: str
    other: str
    observed: float
    expected: float
    elsewhere: float = math.nan
    pairs: int = 0
    facts: int = 0

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.relation, self.other))


def _pairs(rows: pl.DataFrame) -> list[Pair]:
    """Each pair once: a Jaccard index is the same both ways."""
    found: dict[frozenset[str], Pair] = {}
    for row in rows.iter_rows(named=True):
        more = {name: row[name] for name in ("elsewhere", "pairs", "facts") if row.get(name) is not None}
        pair = Pair(row["relation"], row["other"], number(row["observed"]), number(row["expected"]), **more)
        found.setdefault(pair.names, pair)
    return list(found.values())


def _above(run: Run, observed: float) -> float:
    """The part of pairs that are not each other's reverse whose circuits share as much or more."""
    both = {frozenset(names) for names in run["reverse"].select("relation", "other").iter_rows()}
    rows = run.of("overlap", measure="edge_jaccard")
    others = [pair.observed for pair in _pairs(rows) if pair.names not in both]
    return sum(one >= observed for one in others) / len(others) if others else math.nan


def _part(value: float) -> str:
    return share(value) if math.isfinite(value) else "not known"


def sections(run: Run) -> Iterator[Section]:
    """A map of all pairs, and the reverses."""
    if run["overlap"].is_empty():
        why = "The table of overlap has no rows: there is but one relation."
        yield Section("overlap", "Overlap", {None: absent("No two relations’ circuits were compared", why)})
        return
    yield Section("overlap", "Overlap", {None: _block(run)})
    if not run["reverse"].is_empty():
        yield Section("reverse", "", {None: _reverse(run)})


def _block(run: Run) -> Block:
    figures, parts = {}, []
    for measure, title in MEASURES.items():
        uid = f"overlap-{measure}"
        figures[uid] = _map(run, measure)
        named = f"{title} of the other’s circuit that are in the relation’s, %"
        drawn = plot(uid, f"{named}; the table has the numbers")
        parts.append((named, f'<div class="scroll"><div class="cells">{drawn}</div></div>'))
    table = [
        (relation_of(row["relation"]), relation_of(row["other"]), MEASURES[row["measure"]].lower(),
         share(row["observed"]), share(row["expected"]), f"{share(row['low'])} to {share(row['high'])}",
         p_value(row["p"]).removeprefix("p ").removeprefix("= "))
        for row in run["overlap"].filter(pl.col("measure").is_in(list(MEASURES))).iter_rows(named=True)
    ]  # fmt: skip
    said = (
        "Hit: of the circuit across, the part that is in the circuit down the side, as in the paper. Framed: more "
        "than the central 95% of random circuits. Control: random circuits with as many edges in the same layers as "
        "either; one number a pair, no interval in a cell; what random circuits share is in the table and where a "
        "cell is pointed at. Input and output are nodes, and any two circuits have most MLPs in common. Pairs are "
        f"not independent; n = {count(len(_names(run)))} relations."
    )
    head = ("relation", "other", "of", "shared", "expected", "95% of random", "p")
    return Block(_heading(run), panels(parts) + caption(said) + as_table(head, table, 3), figures)


def _names(run: Run) -> list[str]:
    return [name for name in run.relations if not run.of("overlap", relation=name).is_empty()]


def _map(run: Run, measure: str) -> go.Figure:
    names = _names(run)
    known = {(row["relation"], row["other"]): row for row in run.of("overlap", measure=measure).iter_rows(named=True)}
    pairs = [[known.get((name, other)) for other in names] for name in names]
    values = [[row["observed"] if row else math.nan for row in line] for line in pairs]
    hovers = [
        [_hover(row, measure) if row else plotly(relation_of(name)) for row in line]
        for name, line in zip(names, pairs, strict=True)
    ]
    framed = {
        (y, x) for y, line in enumerate(pairs) for x, row in enumerate(line) if row and row["observed"] > row["high"]
    }
    shown = [relation_of(name) for name in names]
    return cells(values, shown, shown, hovers, "the other’s circuit", framed=framed)


def _hover(row: dict[str, object], measure: str) -> str:
    return (
        f"of {plotly(relation_of(str(row['other'])))} in {plotly(relation_of(str(row['relation'])))}<br>"
        f"{row['observed']:.0%} of {measure}<br>random: {row['expected']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"
    )


def _heading(run: Run) -> str:
    found = beyond(run, "edges")
    if "gap" not in found:
        return "What two relations’ circuits share"
    return (
        f"Of another relation’s edges {found['observed'].mean:.0%} are in a relation’s circuit, of random circuits’ "
        f"{found['expected'].mean:.0%}{sure(found['gap'], 'relation')}"
    )


def _reverse(run: Run) -> Block:
    table = [
        (f"{relation_of(pair.relation)}, {relation_of(pair.other)}", what, _part(pair.observed), _part(pair.expected),
         _part(pair.elsewhere), count(pair.pairs), count(pair.facts))
        for measure, what in (("edge_jaccard", "edges"), ("node_jaccard", "nodes"))
        for pair in _pairs(run.of("reverse", measure=measure))
    ]  # fmt: skip
    head = ("relations", "of", "shared", "random", "other pairs", "n, other pairs", "facts both ways")
    said = (
        "Jaccard index: of what either circuit has, the part that both have. Controls: random circuits like these, "
        "and the mean over all pairs of relations that are not each other’s reverse. Single pairs: no interval."
    )
    found = _pairs(run.of("reverse", measure="edge_jaccard"))
    most = sum(_above(run, pair.observed) <= SURE for pair in found)
    heading = (
        f"{count(most)} of {some(len(found), 'pair')} of a relation and its reverse share more edges than "
        f"{1 - SURE:.1%} of other pairs do"
    )
    return Block(heading, grid(head, table, 2) + caption(said))
