"""Stage 6: what a model answers, and what an intervention changed about it."""

from locant.evaluations.answers import (
    answer_log_probability,
    answer_probability,
    answer_rank,
    first_tokens,
    read_answers,
)
from locant.evaluations.outcomes import METRICS, interval, measure, relative_change
from locant.evaluations.vocabulary import Words, value_words

__all__ = [
    "METRICS",
    "Words",
    "answer_log_probability",
    "answer_probability",
    "answer_rank",
    "first_tokens",
    "interval",
    "measure",
    "read_answers",
    "relative_change",
    "value_words",
]
