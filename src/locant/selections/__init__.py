"""Stage 4: which neurons matter, and which random ones to compare them with. One file per rule."""

from locant.selections.random_sets import random_set
from locant.selections.select import RULES, select
from locant.selections.share import consistency_aware, in_at_least, intersection, strongest, union

__all__ = [
    "RULES",
    "consistency_aware",
    "in_at_least",
    "intersection",
    "random_set",
    "select",
    "strongest",
    "union",
]
