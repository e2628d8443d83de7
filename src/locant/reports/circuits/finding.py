"""What a prompt's circuit says, in plain sentences; none of them says more than the controls allow."""

from __future__ import annotations

import math

from locant.recipes.traced import Standing, Traced
from locant.reports.blocks import some
from locant.reports.numbers import count, probability, share

KEPT = 0.5
"""The part of the model's probability from which the answer counts as kept."""


def finding(traced: Traced) -> str:
    """One sentence: what is left of the answer in the circuit, without it, and in random circuits."""
    circuit, standings = traced.circuit, traced.standings
    edges = int(circuit.graph.edges.sum())
    parts = [
        f"{count(len(circuit))} of {some(edges, 'edge')} ({share(circuit.share)}) give P({traced.query.answer}) "
        f"{_standing(standings.circuit)}; the whole model gives {_standing(standings.model)}"
    ]
    if standings.complement is not None:
        parts.append(f"all other edges without them give {_standing(standings.complement)}")
    if standings.random:
        parts.append(f"{_random_circuits(traced)} {probability(mean_probability(standings.random))} on average")
    return "; ".join(parts) + "."


def verdict(traced: Traced) -> str:
    """One or two sentences: whether the circuit carries the answer, and whether nothing else does."""
    standings = traced.standings
    if not _keeps(standings.circuit, standings.model):
        return "The circuit alone does not bring the answer: it leaves less than half of the model’s probability."
    if not standings.random:
        return "There is no random circuit to compare this with."
    better = sum(one.probability >= standings.circuit.probability for one in standings.random)
    if better:
        return (
            f"{count(better)} of {_random_circuits(traced, '')} of this size do as well: this does not show that "
            "this circuit carries the answer."
        )
    alone = "The circuit brings the answer, and no random circuit of its size does as well"
    if standings.complement is None:
        return f"{alone}. Whether the model could do without it was not measured."
    if _keeps(standings.complement, standings.model):
        return f"{alone}; but the model also answers without it: other edges carry the answer too."
    return f"{alone}; without it the answer is lost."


def mean_probability(standings: tuple[Standing, ...]) -> float:
    """Of the answer, over random circuits; at least one."""
    return sum(one.probability for one in standings) / len(standings)


def faithfulness(traced: Traced) -> str:
    """To two digits, as the field writes it: 1 is all that the model's edges bring."""
    value = traced.faithfulness.share
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "undefined"


def _keeps(part: Standing, model: Standing) -> bool:
    return part.probability >= KEPT * model.probability


def _standing(standing: Standing) -> str:
    return f"{probability(standing.probability)} (rank {count(standing.rank)})"


def _random_circuits(traced: Traced, ending: str = " of this size give") -> str:
    return f"{some(len(traced.standings.random), 'random circuit')}{ending}"
