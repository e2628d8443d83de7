"""One fact: which neurons carry it, and what happens to it and to other facts when they are touched."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from locant import almanac
from locant.attributions import attribute
from locant.errors import BadQuery
from locant.evaluations import Words, first_tokens, interval, read_answers, value_words
from locant.interventions import scale
from locant.models import LanguageModel
from locant.selections import random_set, select
from locant.types import Attribution, Effect, Provenance, Query, Selection, Setting

OPERATIONS = {"suppress": 0.0, "enhance": 2.0}
DRAWS = 40
"""Random sets each effect is compared with."""
UNRELATED = 60
"""Facts of other relations that the effect must spare."""


@dataclass(frozen=True)
class Asked:
    """Everything one question brought to light; the page and the table are made from it.

    Attributes:
        query: what was asked; its answer may be the model's own.
        model: the model's name.
        answer_prob, answer_rank: of the answer, untouched.
        top_answers: the model's first tokens with their probabilities.
        attribution: of this one query.
        selection: the located neurons.
        words: of each located neuron.
        effects: of each operation: located neurons and controls.
        unrelated: the facts that must be spared, each with the answer the model itself gives.
    """

    query: Query
    model: str
    answer_prob: float
    answer_rank: int
    top_answers: tuple[tuple[str, float], ...]
    attribution: Attribution
    selection: Selection
    words: tuple[Words, ...]
    effects: tuple[Effect, ...]
    unrelated: tuple[Query, ...]
    made_by: Provenance

    @property
    def layer_share(self) -> tuple[float, ...]:
        """Of each layer, its share of all positive credit."""
        credit = self.attribution.scores[0].clamp(min=0).sum(dim=1)
        return tuple((credit / credit.sum().clamp(min=1e-30)).tolist())

    def effects_of(self, operation: str) -> tuple[Effect, ...]:
        """The effects of one operation, in the same order for each."""
        return tuple(one for one in self.effects if one.operation == operation)


def ask(
    lm: LanguageModel,
    query: Query,
    *,
    method: str = "dai",
    k: int = 20,
    seed: int = 0,
    settings: dict[str, Setting] | None = None,
) -> Asked:
    """Locate the top k neurons of one query's answer, touch them, and compare with controls.

    Controls: random sets of equal size, from the same layers and from anywhere; prompts of other relations
    from the almanac, each judged by the answer the model itself gives.

    Args:
        settings: the method's own.

    Raises:
        BadQuery, UnknownName: as the stages do.
    """
    attribution = attribute(lm, [query], method, **(settings or {}))  # type: ignore[arg-type]
    chosen = select(attribution, "top", k=k)
    unrelated = unrelated_queries(lm, query, UNRELATED, seed)
    answers = read_answers(lm, [query])
    recipe: dict[str, Setting] = {
        **attribution.made_by.settings,
        "method": method,
        "top": k,
        "random_sets": DRAWS,
        "unrelated_facts": len(unrelated),
    }
    made_by = lm.provenance("ask", recipe, seed, parents=(chosen.made_by.digest(),))
    return Asked(
        query=query,
        model=lm.name,
        answer_prob=float(answers.log_probability.exp()),
        answer_rank=int(answers.rank),
        top_answers=tuple(lm.top_answers(query.prompt, 8, query.language)),
        attribution=attribution,
        selection=chosen,
        words=value_words(lm, chosen),
        effects=tuple(effects(lm, query, chosen, unrelated, seed)),
        unrelated=unrelated,
        made_by=made_by,
    )


def effects(
    lm: LanguageModel, query: Query, chosen: Selection, unrelated: Sequence[Query], seed: int
) -> Iterator[Effect]:
    """Each operation on the located neurons and on random ones, judged by the query and by other facts."""
    draws = [random_set(chosen, seed + draw) for draw in range(DRAWS)]
    anywhere = [random_set(chosen, seed + draw, layer_matched=False) for draw in range(DRAWS)]
    for operation in OPERATIONS:
        yield _effect(lm, operation, "located", [chosen], "own", [query])
        yield _effect(lm, operation, "random, layer-matched", draws, "own", [query])
        yield _effect(lm, operation, "random", anywhere, "own", [query])
        if unrelated:
            yield _effect(lm, operation, "located", [chosen], "unrelated", unrelated)


def _effect(
    lm: LanguageModel,
    operation: str,
    touched: str,
    sets: Sequence[Selection],
    asked: str,
    queries: Sequence[Query],
) -> Effect:
    known = read_answers(lm, queries)
    before = known.log_probability.exp()
    after, changes, facts = [], [], []
    for draw, units in enumerate(sets):
        with scale(lm, units, OPERATIONS[operation]):
            now = read_answers(lm, queries).log_probability.exp()
        after.append(now)
        changes.append((now - before) / before)
        facts += [query.fact.uid if asked == "unrelated" else str(draw) for query in queries]
    return Effect(
        operation,
        touched,
        asked,
        float(before.mean()),
        float(torch.cat(after).mean()),
        interval(torch.cat(changes), facts),
        over="facts" if asked == "unrelated" else "random sets",
    )


def unrelated_queries(lm: LanguageModel, query: Query, count: int, seed: int) -> tuple[Query, ...]:
    """Prompts of other relations and subjects, each with the answer the model itself gives first.

    A model that does not know the almanac's facts still answers something; what it says is what an
    intervention could break.
    """
    known = almanac.queries(held_out=False)
    language = query.language if any(one.language == query.language for one in known) else "en"
    relation = query.relation or next((one.relation for one in known if one.prompt == query.prompt), "")
    others = [
        one
        for one in known
        if one.language == language
        and one.relation != relation
        and one.answer != query.answer
        and one.fact.subject not in query.prompt
    ]
    random.Random(seed).shuffle(others)
    # Some tokens have no text that leads back to them; twice the count leaves enough
    apart = list({one.fact.uid: one for one in others}.values())[: 2 * count]
    return own_answers(lm, apart)[:count]


def own_answers(lm: LanguageModel, queries: Sequence[Query]) -> tuple[Query, ...]:
    """The queries with the model's own first answer where it does not give theirs; some may drop out."""
    ranks = read_answers(lm, queries).rank.tolist()
    said = first_tokens(lm, queries)
    own = [
        query if rank == 1 else replace(query, answer=text, alternatives=())
        for query, rank, text in zip(queries, ranks, said, strict=True)
    ]
    askable = [query for query in own if _can_be_asked(lm, query)]
    ranks = read_answers(lm, askable).rank.tolist()
    return tuple(query for query, rank in zip(askable, ranks, strict=True) if rank == 1)


def _can_be_asked(lm: LanguageModel, query: Query) -> bool:
    try:
        lm.tokens(query)
    except BadQuery:
        return False
    return True
