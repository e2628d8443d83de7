"""Circuits: which edges of a model's graph are kept."""

from locant.selections.circuits.choose import RULES, STRENGTHS, choose, choose_each, in_order
from locant.selections.circuits.circuit import Circuit
from locant.selections.circuits.dead_ends import without_dead_ends
from locant.selections.circuits.random_circuits import random_circuit
from locant.selections.circuits.saved import load_circuit, network, save_circuit

__all__ = [
    "RULES",
    "STRENGTHS",
    "Circuit",
    "choose",
    "choose_each",
    "in_order",
    "load_circuit",
    "network",
    "random_circuit",
    "save_circuit",
    "without_dead_ends",
]
