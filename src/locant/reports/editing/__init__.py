"""The page of an editing run, rebuilt from its folder without the model."""

from locant.reports.editing.document import PAPER, answers_of, page_of

__all__ = ["PAPER", "answers_of", "page_of"]
