"""How probable a model finds each query's answer, under whatever interventions are in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.models import LanguageModel
from locant.queries import Tokens
from locant.types import Query

AT_ONCE = 64
"""Queries in one batch."""


@dataclass(frozen=True)
class Answers:
    """Of each query, its answer's log-probability (natural, over all its tokens), its rank, and what is said instead.

    The rank is the worst of its tokens', 1 being the model's own choice: a rank of 1 means that greedy
    decoding gives the answer. `said` is the id of the model's own choice where the answer's first token stands,
    `choices` the ids of its choices where each token of the answer stands, after the answer's earlier tokens;
    `agreement` is the share of these that are the answer's.
    """

    log_probability: Float[Tensor, " query"]
    rank: Int[Tensor, " query"]
    said: Int[Tensor, " query"]
    agreement: Float[Tensor, " query"]
    choices: tuple[tuple[int, ...], ...]


def read_answers(lm: LanguageModel, queries: Sequence[Query]) -> Answers:
    """Read every query's answer, teacher-forced; of alternatives, the most probable.

    Raises:
        BadQuery: a query cannot be asked of this model.
    """
    tokens = [lm.tokens(query) for query in queries]
    order = sorted(range(len(tokens)), key=lambda index: tokens[index].length)
    log_probability, agreement = (torch.zeros(len(tokens), dtype=torch.float64) for _ in range(2))
    rank, said = (torch.zeros(len(tokens), dtype=torch.int64) for _ in range(2))
    choices: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        found = _read(lm, [tokens[index] for index in batch])
        log_probability[batch], rank[batch], said[batch] = found.log_probability, found.rank, found.said
        agreement[batch] = found.agreement
        choices |= zip(batch, found.choices, strict=True)
    return Answers(log_probability, rank, said, agreement, tuple(choices[index] for index in range(len(tokens))))


def answer_probability(lm: LanguageModel, queries: Sequence[Query]) -> Float[Tensor, " query"]:
    """The probability of each query's answer: of all its tokens, teacher-forced."""
    return read_answers(lm, queries).log_probability.exp()


def answer_log_probability(lm: LanguageModel, queries: Sequence[Query]) -> Float[Tensor, " query"]:
    """The natural logarithm of `answer_probability`."""
    return read_answers(lm, queries).log_probability


def answer_rank(lm: LanguageModel, queries: Sequence[Query]) -> Int[Tensor, " query"]:
    """The rank of each query's answer among all the model could say; 1 is what it does say."""
    return read_answers(lm, queries).rank


def first_tokens(lm: LanguageModel, queries: Sequence[Query]) -> list[str]:
    """The text of the model's own first token after each prompt, whatever the queries expect."""
    return [lm.text_of([token]) for logits in first_logits(lm, queries) for token in logits.argmax(dim=1).tolist()]


def first_logits(lm: LanguageModel, queries: Sequence[Query]) -> Iterator[Float[Tensor, "query vocab"]]:
    """Logits where queries' answers begin, of a batch of queries at a time."""
    for start in range(0, len(queries), AT_ONCE):
        batch = [lm.tokens(query) for query in queries[start : start + AT_ONCE]]
        yield lm.site_logits(lm.sites([(tokens, (0,)) for tokens in batch]))


def _read(lm: LanguageModel, tokens: Sequence[Tokens]) -> Answers:
    options = [(one, answer) for one in tokens for answer in one.answers]
    owner = [index for index, one in enumerate(tokens) for _ in one.answers]
    sites = lm.sites(options)
    logits = lm.site_logits(sites)
    target = sites.target.to(logits.device)[:, None]
    chosen = logits.gather(1, target)
    each = (chosen[:, 0] - logits.logsumexp(dim=1)).double().cpu()
    ranks = 1 + (logits > chosen).sum(dim=1).cpu()
    option = sites.query.cpu()
    total = torch.zeros(len(options), dtype=torch.float64).index_add(0, option, each)
    worst = torch.ones(len(options), dtype=torch.int64).scatter_reduce(0, option, ranks, "amax")
    best = _best_of_each(total, owner, len(tokens))
    chosen_ids = logits.argmax(dim=1).cpu()
    # An answer's sites follow one another
    runs = [tuple(run.tolist()) for run in chosen_ids.split([len(answer) for _, answer in options])]
    choices = tuple(runs[index] for index in best.tolist())
    answers = [options[index][1] for index in best.tolist()]
    agreement = [_agreement(own, answer) for own, answer in zip(choices, answers, strict=True)]
    said = torch.tensor([own[0] for own in choices])
    return Answers(total[best], worst[best], said, torch.tensor(agreement, dtype=torch.float64), choices)


def _agreement(own: tuple[int, ...], answer: tuple[int, ...]) -> float:
    return sum(one == other for one, other in zip(own, answer, strict=True)) / len(answer)


def _best_of_each(total: Float[Tensor, " option"], owner: Sequence[int], queries: int) -> Int[Tensor, " query"]:
    """Of each query, the option with the highest log-probability."""
    best = [-1] * queries
    for option, query in enumerate(owner):
        if best[query] < 0 or total[option] > total[best[query]]:
            best[query] = option
    return torch.tensor(best)
