"""Pages of circuits: the drawing that they share, and the page of one prompt's circuit."""

from locant.reports.circuits.block import circuit_block
from locant.reports.circuits.document import circuit_page
from locant.reports.circuits.drawing import Note
from locant.reports.circuits.finding import verdict

__all__ = ["Note", "circuit_block", "circuit_page", "verdict"]
