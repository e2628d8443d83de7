"""Stage 6: what a model answers, and what an intervention changed about it."""

from locant.evaluations.answers import (
    answer_log_probability,
    answer_probability,
    answer_rank,
    first_tokens,
    read_answers,
)
from locant.evaluations.consistency import (
    Consistency,
    NullTest,
    above_null,
    by_fact,
    consistency_of,
    cs1,
    cs2,
    matched,
    mean_jaccard,
    shuffled_null,
)
from locant.evaluations.editing import (
    Bystanders,
    EditScores,
    bystanders,
    cloze_perplexity,
    perplexity,
    score_edit,
)
from locant.evaluations.kinds import (
    SplitHalf,
    Welch,
    otsu,
    split_half,
    welch,
)
from locant.evaluations.outcomes import METRICS, interval, measure, relative_change
from locant.evaluations.vocabulary import Words, value_words

__all__ = [
    "METRICS",
    "Bystanders",
    "Consistency",
    "EditScores",
    "NullTest",
    "SplitHalf",
    "Welch",
    "Words",
    "above_null",
    "answer_log_probability",
    "answer_probability",
    "answer_rank",
    "by_fact",
    "bystanders",
    "cloze_perplexity",
    "consistency_of",
    "cs1",
    "cs2",
    "first_tokens",
    "interval",
    "matched",
    "mean_jaccard",
    "measure",
    "otsu",
    "perplexity",
    "read_answers",
    "relative_change",
    "score_edit",
    "shuffled_null",
    "split_half",
    "value_words",
    "welch",
]
