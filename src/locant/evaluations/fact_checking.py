"""Telling true statements from wrong ones by the neurons of their relation, and by simpler means.

    train, test = split_facts(almanac.queries("capital", "en"))
    neurons = relation_neurons([degenerate_set(pairs) for pairs in pairs_of_each_training_fact])
    asked = statements(test, pool=train)
    found = check_facts(fact_scores(lm, asked, neurons), [one.true for one in asked], groups=facts_of(asked))

A statement is a query with an object of its relation as the answer: the right one, or another's. Its score is the
credit that the relation's neurons have for the model's probability of that answer, so that it cannot be large where
the probability is not: what the neurons add to it shows only beside `baseline_scores`, by the same measures.

Source: Chen et al. 2024, arXiv:2308.13198, fact-checking with degenerate knowledge neurons. The released code swaps
precision and recall; here they are not. Intervals, baselines other than the exact match, and `best_threshold` are
ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions import attribute
from locant.errors import UnknownName
from locant.evaluations.answers import read_answers
from locant.evaluations.statements import Statement
from locant.models import LanguageModel
from locant.selections.random_sets import random_set
from locant.selections.share import union
from locant.types import Interval, Provenance, Selection, Setting

AT_ONCE = 64
"""Statements attributed at once: the scores of all neurons are kept for so many."""


@dataclass(frozen=True)
class FactChecking:
    """How well a score tells true statements from wrong ones.

    Attributes:
        threshold: scores above it are called true.
        accuracy: share of statements called rightly; calling all wrong gives 1 - true / statements.
        precision: of what is called true, the share that is; NaN if nothing is.
        recall: of what is true, the share that is called so.
        f1: 2 * hits / (called true + true), the harmonic mean of the two; 0 without a hit.
        auc: probability that a true statement scores above a wrong one, ties counting half, whatever the
            threshold; 0.5 by chance. The interval is over facts.
        statements, true: their number, and that of the true ones.
    """

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: Interval
    statements: int
    true: int


# Scores


def relation_neurons(sets: Sequence[Selection], share: float = 0.7) -> Selection:
    """The neurons in many of the sets: in more than a share of what the neuron in most of them has.

    Args:
        sets: of facts of one relation (0.3 is what the released code takes for multilingual BERT).

    Returns:
        Each weighs the number of sets that hold it.

    Raises:
        UnknownName: the share makes no sense, or there are no sets or they are of models of several sizes.
    """
    if not 0 <= share < 1:
        raise UnknownName(f"a share of the highest count is at least 0 and less than 1, not {share}")
    held = union(sets)
    count = held.weight.double()
    # 0.7 * 90 is a little less than 63, which is not more than that share of 30
    kept = count > share * count.amax() + 1e-9 if len(held) else torch.zeros(0, dtype=torch.bool)
    made_by = Provenance("relation_neurons", {"share": share}, parents=(held.made_by.digest(),))
    return Selection(held.queries, held.units[kept], held.weight[kept], held.grid, made_by, held.kind)


def fact_scores(
    lm: LanguageModel,
    asked: Sequence[Statement],
    neurons: Selection,
    method: str = "amig",
    **settings: Setting,
) -> Float[Tensor, " statement"]:
    """The mean score of the neurons for each statement's answer.

    Args:
        method, settings: as for `attribute`.

    Returns:
        In the units of the method's target: of probability, mostly.

    Raises:
        BadQuery: a statement cannot be asked of this model.
        UnknownName: there are no neurons, they are of a model of another size, or no such method or setting.
    """
    return scores_by_set(lm, asked, [neurons], method, **settings)[0]


def scores_by_set(
    lm: LanguageModel,
    asked: Sequence[Statement],
    sets: Sequence[Selection],
    method: str = "amig",
    **settings: Setting,
) -> Float[Tensor, "set statement"]:
    """`fact_scores` of several sets of neurons, such as random ones, for the time of one."""
    for one in sets:
        if not len(one):
            raise UnknownName("the mean score of no neurons is undefined: the set is empty")
        if one.grid != (lm.layers, lm.neurons):
            found = (lm.layers, lm.neurons)
            raise UnknownName(f"the neurons are of a model with (layers, neurons) {one.grid}, this one has {found}")
    parts = []
    for start in range(0, len(asked), AT_ONCE):
        queries = [one.query for one in asked[start : start + AT_ONCE]]
        scores = attribute(lm, queries, method, **settings).scores.double()  # type: ignore[arg-type]
        parts.append(torch.stack([scores[:, one.units[:, 0], one.units[:, 1]].mean(dim=1) for one in sets]))
    return torch.cat(parts, dim=1) if parts else torch.zeros(len(sets), 0, dtype=torch.float64)


def baseline_scores(
    lm: LanguageModel,
    asked: Sequence[Statement],
    neurons: Selection,
    method: str = "amig",
    *,
    seed: int = 0,
    **settings: Setting,
) -> dict[str, Float[Tensor, " statement"]]:
    """What else may tell true statements from wrong ones, as scores for `check_facts`.

    - exact match: 1 if greedy decoding gives the answer, otherwise 0; any threshold between does.
    - probability: P(answer); it has no threshold of its own, so take the `best_threshold` of other facts.
    - random neurons: as `fact_scores`, of as many random neurons of the same layers.

    Raises:
        BadQuery, UnknownName: as for `fact_scores`, or too few other neurons are left to draw from.
    """
    answers = read_answers(lm, [one.query for one in asked])
    return {
        "exact match": (answers.rank == 1).double(),
        "probability": answers.log_probability.exp(),
        "random neurons": fact_scores(lm, asked, random_set(neurons, seed), method, **settings),
    }


# Measures


def check_facts(
    scores: Float[Tensor, " statement"],
    truth: Sequence[bool],
    threshold: float = 1e-6,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> FactChecking:
    """Call statements with scores above a threshold true, and count.

    Args:
        groups: the fact of each statement (see `facts_of`), which the interval of the AUC resamples; without,
            each statement is its own, and the interval is too narrow where facts have several.
        level: of confidence, of a percentile bootstrap.

    Raises:
        UnknownName: the lengths differ, a score is NaN, or not both true and wrong statements are there.
    """
    values, right = _checked(scores, truth)
    called = values > threshold
    hits = int((called & right).sum())
    names = [str(index) for index in range(len(right))] if groups is None else list(groups)
    if len(names) != len(right):
        raise UnknownName(f"{len(right)} statements have a group each, not {len(names)}")
    return FactChecking(
        threshold=threshold,
        accuracy=float((called == right).mean()),
        precision=hits / int(called.sum()) if called.any() else float("nan"),
        recall=hits / int(right.sum()),
        f1=2 * hits / int(called.sum() + right.sum()),
        auc=_auc_interval(values, right, names, level, seed, resamples),
        statements=len(right),
        true=int(right.sum()),
    )


def best_threshold(scores: Float[Tensor, " statement"], truth: Sequence[bool]) -> float:
    """The threshold with the highest F1, in the middle between two scores; of equally good ones, the highest.

    Where calling everything true is best, it lies just below the lowest score. Take it from the facts that chose
    the neurons, and check others.

    Raises:
        UnknownName: as for `check_facts`.
    """
    values, right = _checked(scores, truth)
    levels, place = np.unique(values, return_inverse=True)
    # Of statements at each level or above
    called = np.bincount(place)[::-1].cumsum()[::-1]
    hits = np.bincount(place, right)[::-1].cumsum()[::-1]
    f1 = 2 * hits / (called + right.sum())
    best = int(np.flatnonzero(f1 == f1.max())[-1])
    return float((levels[best - 1] + levels[best]) / 2 if best else np.nextafter(levels[0], -np.inf))


def _checked(scores: Tensor, truth: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    values, right = scores.detach().cpu().double().numpy(), np.array(truth, dtype=bool)
    if len(values) != len(right):
        raise UnknownName(f"{len(values)} scores do not fit {len(right)} statements")
    if np.isnan(values).any():
        raise UnknownName("a score is NaN, and neither above a threshold nor below it")
    if right.all() or not right.any():
        raise UnknownName("checking takes true statements and wrong ones; these are all of one kind")
    return values, right


def _auc_interval(
    values: np.ndarray, right: np.ndarray, names: Sequence[str], level: float, seed: int, resamples: int
) -> Interval:
    """The AUC with its percentile bootstrap interval over groups; resamples of one kind alone are left out."""
    auc, count = _auc_of(values, right, names), len(set(names))
    mean = auc(np.arange(count))
    numbers = np.random.default_rng(seed)
    drawn = [auc(numbers.integers(0, count, count)) for _ in range(resamples)]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), count)


def _auc_of(values: np.ndarray, right: np.ndarray, names: Sequence[str]) -> Callable[[np.ndarray], float]:
    """The AUC of the statements of some groups, each as often as it is drawn."""
    _, group = np.unique(names, return_inverse=True)
    _, place = np.unique(values, return_inverse=True)

    def auc(drawn: np.ndarray) -> float:
        times = np.bincount(drawn, minlength=group.max() + 1)[group]
        true = np.bincount(place, times * right)
        wrong = np.bincount(place, times * ~right)
        pairs = true.sum() * wrong.sum()
        below = wrong.cumsum() - wrong / 2
        return float((true * below).sum() / pairs) if pairs else float("nan")

    return auc
