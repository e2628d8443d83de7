"""The page of a QRNCA run, rebuilt from its folder without the model."""

from locant.reports.qrnca.document import answers_of, page_of

__all__ = ["answers_of", "page_of"]
