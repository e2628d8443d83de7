"""Circuits: which edges of a model's graph are kept."""

from locant.selections.circuits.choose import choose, choose_each, in_order
from locant.selections.circuits.circuit import Circuit
from locant.selections.circuits.dead_ends import without_dead_ends

__all__ = [
    "Circuit",
    "choose",
    "choose_each",
    "in_order",
    "without_dead_ends",
]
