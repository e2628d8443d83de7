"""How an answer comes up in the residual stream: its rank and probability after every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from locant.evaluations.circuits import first_sites, read_stream, subject_ids, written
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.recipes.rows import Row
from locant.types import Query

AT_ONCE = 64
"""Queries in one batch."""
ANSWER, SUBJECT = "answer", "subject"


def stream_rows(lm: LanguageModel, graph: Graph, queries: Sequence[Query]) -> Iterator[Row]:
    """Of each query and point of the stream, where its answer and its subject stand.

    Columns: query, point, step (how many points came before), of (ANSWER, by its first token; SUBJECT, by the token
    of it that stands highest), rank (from 0), probability.
    """
    for start in range(0, len(queries), AT_ONCE):
        some = queries[start : start + AT_ONCE]
        answers = torch.tensor([[lm.tokens(one).answers[0][0]] for one in some])
        tokens = torch.cat([answers, subject_ids(lm, some)], dim=1)
        found = read_stream(lm, written(lm, graph, first_sites(lm, some)), tokens)
        for of, ranks, probabilities in (
            (ANSWER, found.rank[:, :, 0], found.probability[:, :, 0]),
            (SUBJECT, found.rank[:, :, 1:].amin(dim=2), found.probability[:, :, 1:].amax(dim=2)),
        ):
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
