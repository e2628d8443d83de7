"""What circuits are made of, read: the logit lens of nodes, where heads look, and their roles."""

from locant.evaluations.circuits.heads import MEASURES, HeadMeasures, head_measures
from locant.evaluations.circuits.lens import Readings, read_nodes, read_stream
from locant.evaluations.circuits.patterns import Masses, Patterns, answer_patterns, masses, whole_pattern
from locant.evaluations.circuits.roles import ROLES, HeadRoles, head_roles
from locant.evaluations.circuits.written import written, written_in

__all__ = [
    "MEASURES",
    "ROLES",
    "HeadMeasures",
    "HeadRoles",
    "Masses",
    "Patterns",
    "Readings",
    "answer_patterns",
    "head_measures",
    "head_roles",
    "masses",
    "read_nodes",
    "read_stream",
    "whole_pattern",
    "written",
    "written_in",
]
