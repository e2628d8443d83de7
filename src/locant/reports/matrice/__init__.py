"""The page of a MATRICE run, rebuilt from its folder without the model."""

from locant.reports.matrice.document import PAPER, answers_of, page_of

__all__ = ["PAPER", "answers_of", "page_of"]
