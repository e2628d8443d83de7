"""Circuits: which edges of a model's graph are kept."""

from locant.selections.circuits.circuit import Circuit

__all__ = ["Circuit"]
