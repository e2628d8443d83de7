"""The answer in the model and in parts of it: the circuit, all else, and random circuits."""

from __future__ import annotations

from statistics import median

from locant.recipes.traced import Standing, Traced
from locant.reports.blocks import Block, caption
from locant.reports.circuits.finding import faithfulness, mean_probability
from locant.reports.numbers import count, probability, score
from locant.reports.tables import answer_bars
from locant.reports.text import escape

Row = tuple[str, str, float, str, str]
"""A name, a class, a probability, the probability as text, the rank as text."""


def parts_block(traced: Traced) -> Block:
    """Bars of the answer's probability where only some edges are kept, and the model's first tokens."""
    body = f'<div class="panels">{_panel("Edges kept", _bars(_rows(traced)))}'
    if traced.top_answers:
        bars = answer_bars(traced.top_answers, traced.query.answer)
        body += _panel("First tokens of the whole model", bars)
    return Block(_heading(traced), f"{body}</div>{caption(_said(traced))}")


def _heading(traced: Traced) -> str:
    circuit = traced.standings.circuit
    place = "first" if circuit.rank == 1 else f"at rank {count(circuit.rank)}"
    return f"The circuit alone puts “{traced.query.answer}” {place}, at a faithfulness of {faithfulness(traced)}"


def _rows(traced: Traced) -> list[Row]:
    standings = traced.standings
    rows = [_row("all: the model", "", standings.model), _row("the circuit alone", "answer", standings.circuit)]
    if standings.complement is not None:
        rows.append(_row("all but the circuit", "", standings.complement))
    if standings.random:
        draws = standings.random
        mean, middle = mean_probability(draws), median(one.rank for one in draws)
        best = max(draws, key=lambda one: one.probability)
        rows.append((f"random, mean of {len(draws)}", "", mean, probability(mean), f"{middle:,.0f}"))
        rows.append(_row(f"random, best of {len(draws)}", "", best))
    if standings.empty is not None:
        rows.append(_row("none", "", standings.empty))
    return rows


def _row(name: str, kind: str, standing: Standing) -> Row:
    return name, kind, standing.probability, probability(standing.probability), count(standing.rank)


def _bars(rows: list[Row]) -> str:
    lines = "".join(
        f'<tr class="{kind}"><th scope="row">{escape(name)}</th>'
        f'<td class="bar"><i style="width:{100 * min(1.0, max(0.0, value)):.2f}%"></i></td>'
        f'<td class="number">{escape(shown)}</td><td class="number">{escape(rank)}</td></tr>'
        for name, kind, value, shown, rank in rows
    )
    names = "".join(f'<th scope="col">{name}</th>' for name in ("edges", "", "P(answer)", "rank"))
    return f'<table class="answers kept"><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>'


def _panel(title: str, body: str) -> str:
    return f'<div class="panel"><h3>{escape(title)}</h3>{body}</div>'


def _said(traced: Traced) -> str:
    random = (
        " Random circuits have as many edges, and are the control; the rank beside their mean is the median."
        if traced.standings.random
        else ""
    )
    return (
        "P(answer): probability of the answer, a full bar is 100%; rank 1 is the most probable. Over edges that are "
        f"not kept, {_ablated(traced)} is brought.{random} Faithfulness: {_faithful(traced)}. One "
        "prompt, no interval."
    )


def _faithful(traced: Traced) -> str:
    by = traced.faithfulness
    if by.divergence is not None:
        own, empty = map(_value, by.divergence)
        return (
            "of the KL divergence from the whole model’s prediction, where no edge is kept, the part that the "
            f"circuit’s edges take away; the divergence is {empty} {by.unit} with no edge, {own} with the circuit’s, "
            "and 0 is as the model"
        )
    return (
        f"of what the model’s edges add to the {by.metric.replace('_', ' ')}, the part of the circuit’s; in "
        f"{by.unit} it is {_value(by.model)} with all edges, {_value(by.circuit)} with the circuit’s, "
        f"{_value(by.empty)} with none"
    )


def _ablated(traced: Traced) -> str:
    if traced.counterfactual is not None:
        return f"what is written in “{traced.counterfactual.prompt}”"
    zero = traced.circuit.made_by.settings.get("ablation") == "zero"
    return "nothing" if zero else "what is written ablated"


def _value(value: float) -> str:
    return score(value).lstrip("+")
