"""What circuits are of: the relations, how many facts each half has, and which are left out."""

from __future__ import annotations

from collections.abc import Iterator

from locant.reports.blocks import Block, Section, absent, caption, grid, some
from locant.reports.knowledge_circuits.names import relation_of
from locant.reports.knowledge_circuits.run import Run
from locant.reports.numbers import count


def sections(run: Run) -> Iterator[Section]:
    """A row for each relation."""
    rows = run["relations"]
    if rows.is_empty():
        why = "The table of relations has no rows."
        yield Section("relations", "Relations", {None: absent("What circuits are of is not recorded", why)})
        return
    table = [
        (relation_of(row["relation"]), row["kind"] or "–", row["example"] or "–", row["counterfactual"] or "–",
         row["left_out"] or "–", *(count(row[name]) for name in ("objects", "validation", "test")))
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    head = ("relation", "kind", "for example", "cut as in", "left out", "answers", "validation", "test")
    facts = int(rows["validation"].sum()) + int(rows["test"].sum())
    said = (
        "Known facts of each relation in its first wording, in two halves; no interval, no control. Every fact has a "
        "counterfactual: a prompt of the same half in as many tokens, about another subject with another answer. "
        "What is cut brings what it is there."
    )
    heading = f"Circuits are of {some(len(rows), 'relation')} with {some(facts, 'fact')}"
    body = f'<div class="relations">{grid(head, table, 5)}</div>'
    yield Section("relations", "Relations", {None: Block(heading, body + caption(said))})
