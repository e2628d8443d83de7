"""What circuits are made of, read: the logit lens of nodes, and where heads look."""

from locant.evaluations.circuits.lens import Readings, read_nodes, read_stream
from locant.evaluations.circuits.patterns import Masses, Patterns, answer_patterns, masses, whole_pattern
from locant.evaluations.circuits.written import written, written_in

__all__ = [
    "Masses",
    "Patterns",
    "Readings",
    "answer_patterns",
    "masses",
    "read_nodes",
    "read_stream",
    "whole_pattern",
    "written",
    "written_in",
]
