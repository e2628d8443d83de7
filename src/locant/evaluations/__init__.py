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
from locant.evaluations.edit_metrics import edit_rows, edit_table, harmonic_score
from locant.evaluations.edit_readings import EditReadings, Scope, Writer, gather_readings, read_cases, writer
from locant.evaluations.editing import (
    Bystanders,
    EditScores,
    bystanders,
    cloze_perplexity,
    perplexity,
    score_edit,
)
from locant.evaluations.generation import continue_greedily, fluency, reference_score
from locant.evaluations.kinds import (
    SplitHalf,
    Welch,
    otsu,
    split_half,
    welch,
)
from locant.evaluations.outcomes import METRICS, interval, measure, relative_change
from locant.evaluations.pooled import as_share, pooled_interval
from locant.evaluations.vocabulary import Words, value_words

__all__ = [
    "METRICS",
    "Bystanders",
    "Consistency",
    "EditReadings",
    "EditScores",
    "NullTest",
    "Scope",
    "SplitHalf",
    "Welch",
    "Words",
    "Writer",
    "above_null",
    "answer_log_probability",
    "answer_probability",
    "answer_rank",
    "as_share",
    "by_fact",
    "bystanders",
    "cloze_perplexity",
    "consistency_of",
    "continue_greedily",
    "cs1",
    "cs2",
    "edit_rows",
    "edit_table",
    "first_tokens",
    "fluency",
    "gather_readings",
    "harmonic_score",
    "interval",
    "matched",
    "mean_jaccard",
    "measure",
    "otsu",
    "perplexity",
    "pooled_interval",
    "read_answers",
    "read_cases",
    "reference_score",
    "relative_change",
    "score_edit",
    "shuffled_null",
    "split_half",
    "value_words",
    "welch",
    "writer",
]
