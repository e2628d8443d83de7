"""Circuits: which edges of a model's graph are kept."""

from locant.selections.circuits.choose import choose, choose_each, in_order
from locant.selections.circuits.circuit import Circuit
from locant.selections.circuits.dead_ends import without_dead_ends
from locant.selections.circuits.random_circuits import random_circuit

__all__ = [
    "Circuit",
    "choose",
    "choose_each",
    "in_order",
    "random_circuit",
    "without_dead_ends",
]
