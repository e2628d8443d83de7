"""The page of a run of knowledge circuits, rebuilt from its folder without the model."""

from locant.reports.knowledge_circuits.document import PAPER, answers_of, page_of

__all__ = ["PAPER", "answers_of", "page_of"]
