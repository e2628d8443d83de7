"""Stage 4: which neurons matter, and which random ones to compare them with. One file per rule."""

from locant.selections.random_sets import random_set
from locant.selections.select import RULES, select

__all__ = ["RULES", "random_set", "select"]
