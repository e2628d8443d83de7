"""What heads do: their roles in each relation, which of them removal confirms, and which serve several relations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from locant.evaluations.circuits import MEASURES
from locant.reports.answers import FEW, NO, PARTLY, UNMEASURED, YES, Answer
from locant.reports.blocks import Block, Section, absent, caption, details, grid, legend, some
from locant.reports.knowledge_circuits.means import shown
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import Run, interval_in
from locant.reports.means import LEAST, values
from locant.reports.numbers import count, decimal, portion, share
from locant.reports.text import escape
from locant.types import Interval

QUESTION = "Do heads have the roles of movers and relation heads?"
ROLES = {"mover": "mover", "mixture": "mixture", "relation": "relation head"}
NONE = "none"
LISTED = 24
"""Heads in the table; more can be unfolded."""
MOST = 120
_SHOWN = ("subject_mass", "relation_mass", "answer_lift", "relation_lift", "answer_removed")


def cast(run: Run) -> pl.DataFrame:
    """Each head of each relation once: relation, head, layer, role, confirmed, by_chance, in_circuit."""
    columns = ("relation", "head", "layer", "role", "confirmed", "by_chance", "in_circuit")
    return run["heads"].select(columns).unique(maintain_order=True)


def confirmed_in(rows: pl.DataFrame, *roles: str) -> list[str]:
    """Relations with a confirmed head of one of these roles."""
    return values(rows.filter(pl.col("confirmed") & pl.col("role").is_in(roles)), "relation")


def answer(run: Run) -> Answer:
    """Yes if every relation has a mover and a relation head that removal confirms."""
    rows = cast(run)
    relations = values(rows, "relation")
    if not relations:
        return Answer(QUESTION, UNMEASURED, "No relation’s heads were read.")
    movers, relating = confirmed_in(rows, "mover", "mixture"), confirmed_in(rows, "relation")
    both = set(movers) & set(relating)
    number = len(relations)
    text = (
        f"Removing a head does what the paper says of a mover in {count(len(movers))} and of a relation head in "
        f"{count(len(relating))} of {some(number, 'relation')}. By rules, "
        f"{count(len(_with(rows)))} of {some(rows['head'].n_unique(), 'head')} have a role in some relation; over "
        f"all relations, {_counts(rows)}. {_shares(rows)}"
    )
    if number < LEAST:
        return Answer(QUESTION, FEW, text)
    short = YES if len(both) == number else PARTLY if movers or relating else NO
    return Answer(QUESTION, short, text)


def _with(rows: pl.DataFrame) -> list[str]:
    return values(rows.filter(pl.col("role") != NONE), "head")


def _counts(rows: pl.DataFrame) -> str:
    """Of each role how many heads, over all relations, are confirmed, and how many would be by chance."""
    parts = []
    for role, name in ROLES.items():
        own = rows.filter(pl.col("role") == role)
        if len(own):
            sure, chance = int(own["confirmed"].sum()), own["by_chance"].sum()
            parts.append(f"{count(sure)} of {some(len(own), name)} (by chance {chance:.1f})")
    return ", ".join(parts) + " are confirmed" if parts else "no head has a role"


def _shares(rows: pl.DataFrame) -> str:
    """How many heads with and without a role are in the relation's circuit."""
    told = []
    for name, own in (
        ("confirmed heads", rows.filter("confirmed")),
        ("heads without a role", rows.filter(pl.col("role") == NONE)),
    ):
        if len(own):
            told.append(f"{share(int(own['in_circuit'].sum()) / len(own))} of {name}")
    return f"{' and '.join(told)} are in the relation’s circuit." if told else ""


def sections(run: Run) -> Iterator[Section]:
    """Heads by relation, as a table of signs."""
    rows = cast(run)
    if rows.is_empty():
        why = "The table of heads has no rows: relations have one answer, or name no subjects."
        yield Section("heads", "Heads", {None: absent("What heads do was not read", why)})
        return
    yield Section("heads", "Heads", {None: _block(run, rows)})


def serving(rows: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Heads with a role: in how many relations it is confirmed, and in how many they have one; the most first."""
    found = (
        rows.filter(pl.col("role") != NONE)
        .group_by("head", "layer", maintain_order=True)
        .agg(pl.col("confirmed").sum(), pl.len())
        .sort(["confirmed", "len", "layer", "head"], descending=[True, True, False, False])
    )
    return [(row["head"], row["confirmed"], row["len"]) for row in found.iter_rows(named=True)]


def _block(run: Run, rows: pl.DataFrame) -> Block:
    heads = serving(rows)
    body = legend([(f"sign role-{role}", name) for role, name in ROLES.items()] + [("sign sure", "confirmed")])
    body += _signs(rows, [head for head, _, _ in heads[:LISTED]]) + caption(_said(rows))
    if len(heads) > LISTED:
        rest = [head for head, _, _ in heads[LISTED:MOST]]
        body += details(f"{some(len(rest), 'further head')} of {count(len(heads))} with a role", _signs(rows, rest))
    body += details("What heads with a role see, say and hold up", _measures(run, rows))
    return Block(_heading(rows, heads), body)


def _signs(rows: pl.DataFrame, heads: list[str]) -> str:
    """A row for each head, a column for each relation; as HTML."""
    relations = values(rows, "relation")
    known = {(row["head"], row["relation"]): row for row in rows.iter_rows(named=True)}
    names = "".join(f'<th scope="col"><span>{escape(relation_of(relation))}</span></th>' for relation in relations)
    lines = "".join(
        f'<tr><th scope="row">{escape(head)}</th>'
        + "".join(_sign(known.get((head, relation)), relation) for relation in relations)
        + "</tr>"
        for head in heads
    )
    head = f'<thead><tr><th scope="col">head</th>{names}</tr></thead>'
    return f'<div class="scroll"><table class="signs">{head}<tbody>{lines}</tbody></table></div>'


def _sign(row: dict[str, object] | None, relation: str) -> str:
    role = str(row["role"]) if row else NONE
    if row is None or role == NONE:
        return "<td></td>"
    sure = " sure" if row["confirmed"] else ""
    inside = "in the circuit" if row["in_circuit"] else "not in the circuit"
    said = f"{relation_of(relation)}: {ROLES.get(role, role)}{', confirmed' if sure else ''}, {inside}"
    kind = f" role-{role}" if role in ROLES else ""
    return f'<td><i class="sign{kind}{sure}" role="img" aria-label="{escape(said)}" title="{escape(said)}"></i></td>'


def _measures(run: Run, rows: pl.DataFrame) -> str:
    there = rows.filter(pl.col("role") != NONE).sort("confirmed", descending=True, maintain_order=True)
    lines = []
    for row in there.head(MOST).iter_rows(named=True):
        own = run.of("heads", relation=row["relation"], head=row["head"])
        cells = {name: interval_in(own.filter(pl.col("measure") == name)) for name in _SHOWN}
        n = max((one.n for one in cells.values() if one is not None), default=0)
        lines.append(
            (row["head"], relation_of(row["relation"]), ROLES.get(row["role"], row["role"]),
             "yes" if row["confirmed"] else "no", "yes" if row["in_circuit"] else "no",
             *(_cell(name, one, n) for name, one in cells.items()), count(n))
        )  # fmt: skip
    head = ("head", "relation", "role", "confirmed", "in the circuit", "sees the subject", "sees the relation",
            "lifts the answer, logits", "lifts other answers, logits", "answer without it, nats", "n")  # fmt: skip
    more = f"{count(MOST)} of {count(len(there))} are listed. " if len(there) > MOST else ""
    meant = "; ".join(f"{label}: {MEASURES[name]}" for label, name in zip(head[5:10], _SHOWN, strict=True))
    return grid(head, lines, 5) + caption(f"{more}Means over test facts with 95% bootstrap intervals. {meant}.")


def _cell(name: str, found: Interval | None, n: int) -> str:
    """A mean, with its own number of facts where that is not the row's."""
    of = f" (n = {count(found.n)})" if found is not None and found.n < n else ""
    return f"{shown(found, _said_of(name))}{of}"


def _said_of(name: str) -> Callable[[Interval], str]:
    return portion if name.endswith("_mass") else decimal


def _said(rows: pl.DataFrame) -> str:
    return (
        "Heads by the number of relations in which their role is confirmed; a column for each relation. A mover sees "
        "the subject and says the answer or the subject; a relation head sees the relation and says answers of its "
        "kind; a mixture is a mover that sees both. Told by rules with thresholds of ours, on test facts (n below); "
        "the paper’s roles are read off by eye. Filled: without the head, what the paper says happens (without a "
        "mover the relation’s other answers gain more than all else and the answer loses where the head sees "
        "another subject; without a relation head all else gains more), by 95% bootstrap intervals. Controls: by "
        "chance, how many would be confirmed on average if roles were shuffled among the heads of each layer; the "
        "median of its layer’s other heads, which a head must be above. Each head is tested by itself: of heads "
        "without a role 2.5% come out above their layer by chance."
    )


def _heading(rows: pl.DataFrame, heads: list[tuple[str, int, int]]) -> str:
    if not heads:
        return "No head has a role in any relation"
    sure = sum(confirmed > 0 for _, confirmed, _ in heads)
    several = sum(confirmed > 1 for _, confirmed, _ in heads)
    said = f"Of {some(len(heads), 'head')} with a role in some relation, removal confirms {count(sure)}"
    relations = rows["relation"].n_unique()
    return f"{said}; {count(several)} in several of {some(relations, 'relation')}" if relations > 1 else said
