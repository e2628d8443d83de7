"""The page of a QRNCA run, rebuilt from its folder without the model."""

from locant.reports.qrnca.document import PAPER, answers_of, page_of

__all__ = ["PAPER", "answers_of", "page_of"]
