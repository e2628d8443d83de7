"""The page of a MATRICE run, rebuilt from its folder without the model."""

from locant.reports.matrice.document import answers_of, page_of

__all__ = ["answers_of", "page_of"]
