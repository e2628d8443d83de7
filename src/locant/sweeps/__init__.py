"""Many queries: work in units that are computed once, written whole, and skipped when they are there."""

from locant.sweeps.attribute import attribute_all
from locant.sweeps.run import RunFolder

__all__ = ["RunFolder", "attribute_all"]
