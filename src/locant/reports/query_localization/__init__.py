"""The page of a query-localization run, rebuilt from its folder without the model."""

from locant.reports.query_localization.document import PAPER, answers_of, page_of

__all__ = ["PAPER", "answers_of", "page_of"]
