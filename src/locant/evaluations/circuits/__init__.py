"""What circuits are made of, read: the logit lens of nodes."""

from locant.evaluations.circuits.lens import Readings, read_nodes, read_stream
from locant.evaluations.circuits.written import written, written_in

__all__ = [
    "Readings",
    "read_nodes",
    "read_stream",
    "written",
    "written_in",
]
