"""What the circuit's nodes do: where their heads look, what they write, and the roles this gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from locant.recipes.traced import HeadPattern, NodeReading, Traced
from locant.reports.blocks import Block, caption
from locant.reports.circuits.drawing import Note
from locant.reports.numbers import count, share
from locant.reports.tables import chips, table
from locant.reports.text import escape, visible

_WORDS = 6


def notes_of(readings: Sequence[NodeReading]) -> dict[str, Note]:
    """What the drawing says of nodes."""
    return {one.node: Note(one.role, one.tokens, one.rank) for one in readings}


def roles_block(traced: Traced) -> Block:
    """A table of what nodes write and attend to."""
    readings = traced.readings
    roles = Counter(one.role for one in readings if one.role)
    said = ", ".join(f"{count(number)} {role}" for role, number in roles.most_common())
    attention = any(one.relation is not None for one in readings)
    head = ["node", "role", *(["to the subject", "to the relation"] if attention else []), "rank", "writes"]
    rows = [
        [
            escape(one.node),
            escape(f"{one.role}, confirmed" if one.confirmed else one.role),
            *([_mass(one.subject), _mass(one.relation)] if attention else []),
            "" if one.rank is None else count(one.rank),
            chips(one.tokens[:_WORDS]),
        ]
        for one in readings
    ]
    numbers = range(2, len(head) - 1)
    tall = " tall" if len(rows) > 24 else ""
    body = f'<div class="scroll{tall}">{table(head, rows, numbers)}</div>'
    heading = f"Heads by what they do: {said}" if said else "What the circuit’s nodes write"
    return Block(heading, body + caption(_said(attention, bool(roles), bool(traced.circuit.graph.spans))))


def patterns_block(traced: Traced) -> Block:
    """Where heads look from the place where the answer is predicted: a row each, a column for each token."""
    roles = {one.node: one.role for one in traced.readings}
    names = "".join(f'<th scope="col"><bdi>{escape(visible(token))}</bdi></th>' for token in traced.tokens)
    rows = "".join(_pattern(one, roles.get(one.head, ""), traced.tokens) for one in traced.patterns)
    body = (
        '<div class="scroll"><table class="patterns"><thead><tr><th scope="col">head</th><th scope="col">role</th>'
        f"{names}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    said = (
        "Attention from where the answer is predicted to each token of the prompt, in percent; a row adds up to "
        "100. Weights below one half of a percent are left blank. One prompt, no interval."
    )
    return Block("Where the circuit’s heads look", body + caption(said))


def _pattern(pattern: HeadPattern, role: str, tokens: Sequence[str]) -> str:
    cells = "".join(
        f'<td style="--weight:{100 * weight:.0f}%" title="{escape(visible(token))}: {weight:.1%}">'
        f"{round(100 * weight) if weight >= 0.005 else ''}</td>"
        for token, weight in zip(tokens, pattern.weights, strict=True)
    )
    return f'<tr><th scope="row">{escape(pattern.head)}</th><td class="role">{escape(role)}</td>{cells}</tr>'


def _mass(weight: float | None) -> str:
    return "" if weight is None else share(weight)


def _said(attention: bool, roles: bool, spans: bool) -> str:
    attended = (
        " To the subject and to the relation: attention from where the answer is predicted, to the subject’s tokens "
        "and to all others, but for the prompt’s first, where heads leave what they have no use for."
        if attention
        else ""
    )
    told = (
        " Roles are told by attention and by what is written, on the same prompt about other subjects; confirmed are "
        "those that ablation bears out."
        if roles
        else ""
    )
    return (
        f"Writes: the tokens that a node’s output raises most {_where(spans)}, read through the "
        f"unembedding; rank: that of the answer’s first token among all.{attended}{told} One prompt, no interval. ␣ "
        "↵ ⇥ stand for white space, ∅ for a token of nothing else."
    )


def _where(spans: bool) -> str:
    return "at the last token of its span" if spans else "where the answer is predicted"
