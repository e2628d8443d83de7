"""Whole questions, each a composition of the stages; one file per question."""
