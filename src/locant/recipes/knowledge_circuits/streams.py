"""How an answer comes up in the residual stream: its rank and probability after every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from locant.errors import BadQuery
from locant.evaluations.circuits import first_sites, read_stream, subject_ids, written
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.rows import Row
from locant.types import Query

AT_ONCE = 64
"""Queries in one batch."""
ANSWER, SUBJECT = "answer", "subject"


def stream_rows(lm: LanguageModel, graph: Graph, queries: Sequence[Query]) -> Iterator[Row]:
    """Of each query and point of the stream, where its answer stands, and its subject, if its prompt names one.

    Columns: query, point, step (how many points came before), of (ANSWER, by its first token; SUBJECT, by the token
    of it that stands highest), rank (from 0), probability.
    """
    named = [_names_subject(lm, one) for one in queries]
    for has in dict.fromkeys(named):
        own = [one for one, its in zip(queries, named, strict=True) if its == has]
        for start in range(0, len(own), AT_ONCE):
            yield from _rows(lm, graph, own[start : start + AT_ONCE], has)


def _names_subject(lm: LanguageModel, query: Query) -> bool:
    try:
        return bool(lm.subject_positions(query))
    except BadQuery:
        return False


def _rows(lm: LanguageModel, graph: Graph, some: Sequence[Query], with_subject: bool) -> Iterator[Row]:
    tokens = torch.tensor([[lm.tokens(one).answers[0][0]] for one in some])
    if with_subject:
        tokens = torch.cat([tokens, subject_ids(lm, some)], dim=1)
    found = read_stream(lm, written(lm, graph, first_sites(lm, some)), tokens)
    read = [(ANSWER, found.rank[:, :, 0], found.probability[:, :, 0])]
    if with_subject:
        read.append((SUBJECT, found.rank[:, :, 1:].amin(dim=2), found.probability[:, :, 1:].amax(dim=2)))
    for of, ranks, probabilities in read:
        for query, own_ranks, own in zip(some, ranks.tolist(), probabilities.tolist(), strict=True):
            for step, point in enumerate(found.points):
                yield {
                    "query": query.uid,
                    "point": point,
                    "step": step,
                    "of": of,
                    "rank": own_ranks[step],
                    "probability": own[step],
                }
