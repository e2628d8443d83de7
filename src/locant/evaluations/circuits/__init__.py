"""What circuits do and are made of: answers, faithfulness and what they share; nodes and heads, read."""

from locant.evaluations.circuits.faithfulness import SHARES, Curve, Faithfulness, faithfulness, judge
from locant.evaluations.circuits.heads import MEASURES, HeadMeasures, head_measures
from locant.evaluations.circuits.lens import Readings, read_nodes, read_stream, subject_ids
from locant.evaluations.circuits.overlap import (
    CircuitOverlap,
    Shared,
    hit_edges,
    hit_nodes,
    measures,
    overlap,
    overlaps,
)
from locant.evaluations.circuits.patterns import Masses, Patterns, answer_patterns, masses, whole_pattern
from locant.evaluations.circuits.readings import READ, CircuitReadings, hit, read_circuits
from locant.evaluations.circuits.roles import ROLES, HeadRoles, head_roles
from locant.evaluations.circuits.written import first_sites, written, written_in

__all__ = [
    "MEASURES",
    "READ",
    "ROLES",
    "SHARES",
    "CircuitOverlap",
    "CircuitReadings",
    "Curve",
    "Faithfulness",
    "HeadMeasures",
    "HeadRoles",
    "Masses",
    "Patterns",
    "Readings",
    "Shared",
    "answer_patterns",
    "faithfulness",
    "first_sites",
    "head_measures",
    "head_roles",
    "hit",
    "hit_edges",
    "hit_nodes",
    "judge",
    "masses",
    "measures",
    "overlap",
    "overlaps",
    "read_circuits",
    "read_nodes",
    "read_stream",
    "subject_ids",
    "whole_pattern",
    "written",
    "written_in",
]
