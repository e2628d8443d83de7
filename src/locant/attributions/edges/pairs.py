"""Queries paired with counterfactuals: the same question of another subject, in as many tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import BadQuery, LocantError
from locant.models import LanguageModel
from locant.models.sites import Sites, lay_out_each
from locant.models.spans import spans_of
from locant.types import Query


@dataclass(frozen=True)
class Pair:
    """A query, and the one whose activations stand in for its own where edges are cut."""

    query: Query
    other: Query


@dataclass(frozen=True)
class PairSites:
    """A batch of pairs as sequences; both sides are read with the answer of the clean one.

    Attributes:
        first: of each query, the site of its answer's first token.
        foil: of each query, the first token of the counterfactual's answer.
    """

    clean: Sites
    other: Sites
    first: Int[Tensor, " query"]
    foil: Int[Tensor, " query"]

    def sums(self, values: Float[Tensor, "site row"]) -> Float[Tensor, "query row"]:
        """Values of sites, added up over the tokens of each query's answer."""
        total = values.new_zeros(len(self.first), values.shape[1])
        return total.index_add(0, self.clean.query.to(values.device), values)


def swapped_pairs(lm: LanguageModel, queries: Sequence[Query]) -> list[Pair]:
    """Pair each query with one that asks the same of another subject, whose answer begins otherwise.

    Partners have the same relation, wording and language, as many tokens, and their subjects in the same place: the
    next such query in the order given, after the last the first. Queries without one are left out.

    Raises:
        BadQuery: a query cannot be asked of this model.
        LocantError: no query has a partner.
    """
    groups: dict[tuple[object, ...], list[Query]] = {}
    for query in queries:
        alike = (query.relation, query.template, query.language, len(lm.tokens(query).prompt), _place(lm, query))
        groups.setdefault(alike, []).append(query)
    partner = {}
    for group in groups.values():
        for at, query in enumerate(group):
            after = [other for other in group[at + 1 :] + group[:at] if _differ(lm, query, other)]
            if after:
                partner[id(query)] = after[0]
    pairs = [Pair(query, partner[id(query)]) for query in queries if id(query) in partner]
    if not pairs:
        raise LocantError(
            f"none of {len(queries)} queries has a counterfactual: another subject of the same relation and wording, "
            "in as many tokens, with another answer; give more queries"
        )
    return pairs


def needs_other(metric: str, ablation: str) -> bool:
    """Whether pairs' counterfactuals are looked at; where they are not, a query may stand for its own."""
    return ablation == "counterfactual" or metric == "logit_difference"


def _place(lm: LanguageModel, query: Query) -> range | None:
    try:
        return lm.subject_positions(query)
    except BadQuery:
        return None


def _differ(lm: LanguageModel, query: Query, other: Query) -> bool:
    mine, its = lm.tokens(query), lm.tokens(other)
    return mine.prompt != its.prompt and mine.answers[0][0] != its.answers[0][0]


def lay_out_pairs(lm: LanguageModel, pairs: Sequence[Pair], spans: Sequence[str] = ()) -> PairSites:
    """A batch of pairs on the model's device.

    Args:
        spans: of positions, that a graph tells apart; they are told by the subject of the clean query.

    Raises:
        BadQuery: a query cannot be asked of this model, or there are to be spans and it names no subject.
        LocantError: the two of a pair differ in length.
    """
    tokens = [(lm.tokens(pair.query), lm.tokens(pair.other)) for pair in pairs]
    for pair, (mine, its) in zip(pairs, tokens, strict=True):
        if len(mine.prompt) != len(its.prompt):
            raise LocantError(
                f"query {pair.query.uid!r} has {len(mine.prompt)} tokens and its counterfactual {pair.other.uid!r} "
                f"{len(its.prompt)}: pair queries of one length (see swapped_pairs)"
            )
    clean = lay_out_each([(mine.prompt, mine.answers[0]) for mine, _ in tokens])
    if spans:
        clean = replace(clean, span=spans_of(lm, [pair.query for pair in pairs], spans))
    other = lay_out_each([(its.prompt, mine.answers[0]) for mine, its in tokens]).to(lm.device)
    answers = torch.tensor([len(mine.answers[0]) for mine, _ in tokens], device=lm.device)
    foil = torch.tensor([its.answers[0][0] for _, its in tokens], device=lm.device)
    return PairSites(clean.to(lm.device), other, answers.cumsum(0) - answers, foil)


def batches(
    lm: LanguageModel, pairs: Sequence[Pair], memory: int, width: Callable[[LanguageModel], int], copies: int = 1
) -> Iterator[list[Pair]]:
    """Pairs in batches that fit a memory budget; neighbours in length share one, so that little of it is padding.

    Args:
        width: bytes that one position takes.
        copies: of each sequence.
    """

    def length(pair: Pair) -> int:
        tokens = lm.tokens(pair.query)
        return len(tokens.prompt) + len(tokens.answers[0]) - 1

    batch: list[Pair] = []
    for pair in sorted(pairs, key=length):
        if batch and (len(batch) + 1) * length(pair) * copies * width(lm) > memory:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch
