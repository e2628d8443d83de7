"""Before and after an intervention, with intervals over facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap
from torch import Tensor

from locant.errors import UnknownName
from locant.evaluations.answers import Answers, read_answers
from locant.models import LanguageModel
from locant.types import Interval, Outcome, Provenance, Query

METRICS: dict[str, Callable[[Answers], Tensor]] = {
    "probability": lambda answers: answers.log_probability.exp(),
    "log-probability": lambda answers: answers.log_probability,
    "rank": lambda answers: answers.rank.double(),
}


def measure(
    lm: LanguageModel,
    queries: Sequence[Query],
    changed: AbstractContextManager[None],
    *,
    operation: str,
    touched: str,
    asked: str,
    made_by: Provenance,
    before: Answers | None = None,
) -> tuple[Outcome, ...]:
    """Every metric of the queries' answers, before and inside a context that changes the model.

    Args:
        operation, touched, asked: what the outcome says was done, to what, and judged by what.
        before: the untouched answers, if they are known already.
    """
    known = before or read_answers(lm, queries)
    with changed:
        after = read_answers(lm, queries)
    return tuple(
        Outcome(name, operation, touched, asked, tuple(queries), metric(known), metric(after), made_by)
        for name, metric in METRICS.items()
    )


def relative_change(outcome: Outcome) -> Float[Tensor, " query"]:
    """(after - before) / before of each query: -1 is all lost, 1 is doubled."""
    return (outcome.after - outcome.before) / outcome.before


def interval(
    values: Float[Tensor, " query"],
    facts: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """The mean over facts, with a percentile bootstrap interval over facts.

    Queries of one fact are averaged first, so that a fact with many wordings weighs no more than another.

    Args:
        facts: the fact each value belongs to.
        level: of confidence.

    Raises:
        UnknownName: there are no values.
    """
    if len(values) == 0:
        raise UnknownName("an interval needs values")
    groups: dict[str, list[float]] = {}
    for fact, value in zip(facts, values.tolist(), strict=True):
        groups.setdefault(fact, []).append(value)
    means = np.array([np.mean(group) for group in groups.values()])
    mean = float(means.mean())
    if len(means) == 1 or np.ptp(means) == 0:
        return Interval(mean, mean, mean, len(means))
    found = bootstrap(
        (means,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(means))
