"""Pages of circuits: the drawing that they share."""

from locant.reports.circuits.block import circuit_block
from locant.reports.circuits.drawing import Note

__all__ = ["Note", "circuit_block"]
