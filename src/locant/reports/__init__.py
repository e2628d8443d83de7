"""Stage 7: what a run found, as one self-contained HTML page."""

from locant.reports.document import page

__all__ = ["page"]
