"""Would other wordings, or other languages, have chosen the same neurons? A bootstrap of a choice.

    found = stability(scores, lambda drawn: language_agnostic(over_languages(over_queries(drawn)), queries))
    found.jaccard, found.expected

A fact's queries are some of those that could have been asked. Drawn anew from themselves, with replacement, they
choose another set; how much of the first it keeps says how little the first owes to its queries. So it is with
languages.

Source: the bootstrap of Efron 1979, doi:10.1214/aos/1176344552, applied to sets; the choice of measures is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.signal import convolve
from scipy.special import gammaln, softmax
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.selections.share import same_grid
from locant.types import Selection

Scores: TypeAlias = Mapping[str, Float[Tensor, "_query layer neuron"]]
"""By language, of one fact's queries."""

Weights: TypeAlias = Mapping[str, Float[Tensor, " _query"]]
"""By language, what each of its queries counts."""

Choice: TypeAlias = Callable[[Scores], Selection] | Callable[[Scores, Weights], Selection]

Plan: TypeAlias = dict[str, tuple[str, Int[Tensor, " _query"] | None]]
"""By name, the language whose scores to take, and of which queries: None for all."""


@dataclass(frozen=True)
class Stability:
    """How far a set outlives a change of the queries, or languages, that it was chosen by.

    Attributes:
        full: the set chosen by all there is.
        over: what was drawn anew: 'queries' or 'languages'.
        jaccard: neurons of both / neurons of either, of the full set and a draw's, the mean over draws; no unit.
            If the full set is empty, draws whose set is empty too are left out: NaN if all are.
        low, high: the central 95% of the draws' indices, from percentile 2.5 to percentile 97.5.
        expected: the mean index of the full set and a random set with as many neurons in each layer as a draw's. It
            is a low bar: sets of other facts may have more in common than random ones have.
        inclusion: of each unit of the full set, the share of draws whose set holds it.
        sizes: neurons of each draw's set.
    """

    full: Selection
    over: str
    jaccard: float
    low: float
    high: float
    expected: float
    inclusion: Float[Tensor, " unit"]
    sizes: Int[Tensor, " draw"]


def stability(
    scores: Scores,
    choose: Choice,
    *,
    weights: Weights | None = None,
    over: str = "queries",
    draws: int = 100,
    seed: int = 0,
) -> Stability:
    """Choose again from queries, or from languages, drawn with replacement, and compare with the choice from all.

    Scores are copied a language at a time, when `choose` reads it: beside the scores there is room for one
    language and for what `choose` makes.

    Languages come in the order of their names when they are drawn, so that the order in which they are given does
    not matter.

    Args:
        scores: by language.
        choose: from scores like these, or from some of them. If weights are given, it gets the drawn queries' own as
            its second argument.
        over: 'queries' draws as many queries of each language as it has: a language with one query keeps it.
            'languages' draws as many languages as there are, with all of their queries. The second copy of 'en' is
            named 'en#2'; a choice that names a language, or counts how many agree, does not mean then what it meant.
        draws: sets to compare with.

    Raises:
        UnknownName: there is no such thing to draw, there are not two of it, no draws, or what `choose` refuses.
    """
    if over not in PLANS:
        raise UnknownName(f"cannot draw {over!r}{nearest(over, PLANS)}; there are {', '.join(PLANS)}")
    if draws < 1:
        raise UnknownName(f"a bootstrap takes 1 draw or more, not {draws}")
    counts = {language: len(scores[language]) for language in sorted(scores)}
    if (max(counts.values(), default=0) if over == "queries" else len(counts)) < 2:
        raise UnknownName(f"no two {over} to draw from: whatever is drawn is all there is")
    numbers = torch.Generator().manual_seed(seed)
    full = _chosen(choose, scores, weights)
    sets = []
    for _ in range(draws):
        plan = PLANS[over](counts, numbers)
        sets.append(_chosen(choose, _Drawn(scores, plan), None if weights is None else _Drawn(weights, plan)))
    return _compared(full, sets, over)


def expected_jaccard(one: Sequence[int], other: Sequence[int], neurons: int) -> float:
    """The mean Jaccard index of random sets with so many neurons in each layer; exact. NaN if all are empty.

    In a layer, the neurons of both are hypergeometric; layers are independent of each other.

    Args:
        one, other: by layer, the neurons of a set; one of the sets may as well be fixed.
        neurons: of each layer.

    Raises:
        UnknownName: a layer cannot hold so many, or the sets have different numbers of layers.
    """
    if len(one) != len(other) or any(not 0 <= count <= neurons for count in (*one, *other)):
        raise UnknownName(f"sets to compare have the same layers, of at most {neurons} neurons each")
    total = sum(one) + sum(other)
    if not total:
        return float("nan")
    chance = np.ones(1)
    for mine, theirs in zip(one, other, strict=True):
        if mine and theirs:
            chance = convolve(chance, _chance_of_both(mine, theirs, neurons))
    both = np.arange(len(chance))
    return float(chance @ (both / (total - both)))


def _chance_of_both(mine: int, theirs: int, neurons: int) -> np.ndarray:
    """By number, the probability that so many neurons of a layer are in both sets."""
    # scipy.stats.hypergeom is the same, and takes seconds for the large sets that a low share makes
    both = np.arange(min(mine, theirs) + 1)
    return np.asarray(softmax(_log_ways(mine, both) + _log_ways(neurons - mine, theirs - both)))


def _log_ways(of: int, taken: np.ndarray) -> np.ndarray:
    """The log of how many ways there are to take so many; -inf where there are none."""
    return np.asarray(gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1))


# Draws


class _Drawn(Mapping[str, Tensor]):
    """Tensors by language with drawn queries, each copied when it is read."""

    def __init__(self, whole: Mapping[str, Tensor], plan: Plan) -> None:
        self.whole = whole
        self.plan = plan

    def __getitem__(self, name: str) -> Tensor:
        language, rows = self.plan[name]
        values = self.whole[language]
        return values if rows is None else values[rows.to(values.device)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plan)

    def __len__(self) -> int:
        return len(self.plan)


def _queries(counts: Mapping[str, int], numbers: torch.Generator) -> Plan:
    return {
        language: (language, torch.randint(count, (count,), generator=numbers)) for language, count in counts.items()
    }


def _languages(counts: Mapping[str, int], numbers: torch.Generator) -> Plan:
    names = list(counts)
    plan: Plan = {}
    copies = dict.fromkeys(names, 0)
    for index in torch.randint(len(names), (len(names),), generator=numbers).sort().values.tolist():
        language = names[index]
        copies[language] += 1
        plan[language if copies[language] == 1 else f"{language}#{copies[language]}"] = (language, None)
    return plan


PLANS: dict[str, Callable[[Mapping[str, int], torch.Generator], Plan]] = {
    "queries": _queries,
    "languages": _languages,
}


def _chosen(choose: Choice, scores: Scores, weights: Weights | None) -> Selection:
    if weights is None:
        return cast(Callable[[Scores], Selection], choose)(scores)
    return cast(Callable[[Scores, Weights], Selection], choose)(scores, weights)


# Comparison


def _compared(full: Selection, sets: Sequence[Selection], over: str) -> Stability:
    _, neurons = same_grid([full, *sets])
    codes = _codes(full)
    held = torch.stack([torch.isin(codes, _codes(one)) for one in sets])
    sizes = torch.tensor([len(one) for one in sets])
    both = held.sum(dim=1).double()
    indices = both / (len(full) + sizes - both)
    defined = indices[indices.isfinite()]  # two empty sets have nothing to compare
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = defined.quantile(ends).tolist() if len(defined) else [float("nan")] * 2
    chance = [expected_jaccard(_by_layer(full), _by_layer(one), neurons) for one in sets]
    return Stability(
        full=full,
        over=over,
        jaccard=float(defined.mean()),
        low=low,
        high=high,
        expected=float(np.mean([one for one in chance if one == one])) if len(defined) else float("nan"),
        inclusion=held.double().mean(dim=0),
        sizes=sizes,
    )


def _codes(one: Selection) -> Int[Tensor, " unit"]:
    return one.units[:, 0] * one.grid[1] + one.units[:, 1]


def _by_layer(one: Selection) -> list[int]:
    return torch.bincount(one.units[:, 0], minlength=one.grid[0]).tolist()
