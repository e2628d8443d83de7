"""One fact: which neurons carry it, and what happens to it and to other facts when they are touched."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from locant import almanac
from locant.attributions import attribute
from locant.evaluations import Words, first_tokens, interval, measure, read_answers, relative_change, value_words
from locant.evaluations.answers import Answers
from locant.interventions import scale
from locant.languages import UNSPACED
from locant.models import LanguageModel
from locant.recipes.data import can_be_asked
from locant.selections import random_set, select
from locant.types import Attribution, Effect, Outcome, Provenance, Query, Selection, Setting

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
    seeds = range(seed * DRAWS, (seed + 1) * DRAWS)
    matched = [random_set(chosen, draw) for draw in seeds]
    anywhere = [random_set(chosen, draw, layer_matched=False) for draw in seeds]
    own, others = read_answers(lm, [query]), read_answers(lm, unrelated)
    for operation in OPERATIONS:
        for touched, sets in (("located", [chosen]), ("random, layer-matched", matched), ("random", anywhere)):
            yield _effect([_outcome(lm, operation, touched, units, [query], own) for units in sets])
        if unrelated:
            yield _effect([_outcome(lm, operation, "located", chosen, unrelated, others)])


def _outcome(
    lm: LanguageModel, operation: str, touched: str, units: Selection, queries: Sequence[Query], known: Answers
) -> Outcome:
    """The probability of each query's answer before and after one set of neurons is touched."""
    return measure(
        lm,
        queries,
        scale(lm, units, OPERATIONS[operation]),
        operation=operation,
        touched=touched,
        asked="own" if len(queries) == 1 else "unrelated",
        made_by=lm.provenance(operation, {}, parents=(units.made_by.digest(),)),
        before=known,
    )[0]


def _effect(outcomes: Sequence[Outcome]) -> Effect:
    """One line of a table: over the facts of one set of neurons, or over the random sets of one fact."""
    first = outcomes[0]
    changes = torch.cat([relative_change(outcome) for outcome in outcomes])
    over = [one.fact.uid for one in first.queries] if len(outcomes) == 1 else list(map(str, range(len(outcomes))))
    return Effect(
        first.operation,
        first.touched,
        first.asked,
        float(first.before.mean()),
        float(torch.cat([outcome.after for outcome in outcomes]).mean()),
        interval(changes, over),
        over="random sets" if len(outcomes) > 1 else "facts",
    )


def unrelated_queries(lm: LanguageModel, query: Query, count: int, seed: int) -> tuple[Query, ...]:
    """Prompts of other relations and subjects, each with the answer the model itself gives first.

    A model that does not know the almanac's facts still answers something; what it says is what an
    intervention could break.
    """
    language = query.language if query.language in almanac.LANGUAGES else "en"
    of_the_world = {one.name for one in almanac.relations() if one.kind not in ("bias", "invented")}
    known = [one for one in almanac.queries(language=language, held_out=False) if one.relation in of_the_world]
    relation = query.relation or relation_of(query, known)
    others = [
        one
        for one in known
        if one.relation != relation and one.answer != query.answer and one.fact.subject not in query.prompt
    ]
    random.Random(seed).shuffle(others)
    # Some tokens have no text that leads back to them; twice the count leaves enough
    apart = list({one.fact.uid: one for one in others}.values())[: 2 * count]
    return own_answers(lm, apart)[:count]


def relation_of(query: Query, known: Sequence[Query]) -> str:
    """The relation of a query that does not say: that of an almanac fact it speaks of; "" if there is none."""
    spoken_of = (one.relation for one in known if one.answer == query.answer and one.fact.subject in query.prompt)
    return next(spoken_of, "")


def subject_in(prompt: str, language: str) -> str:
    """The longest subject of the almanac's facts about the world that stands in a prompt; "" if there is none."""
    if language not in almanac.LANGUAGES:
        return ""
    of_the_world = {one.name for one in almanac.relations() if one.kind == "factual"}
    subjects = {one.fact.subject for one in almanac.queries(language=language) if one.relation in of_the_world}
    # Whole words, where words are parted at all
    border = "" if language in UNSPACED else r"\b"
    there = [one for one in subjects if re.search(border + re.escape(one) + border, prompt)]
    return max(there, key=len, default="")


def own_answers(lm: LanguageModel, queries: Sequence[Query]) -> tuple[Query, ...]:
    """The queries with the model's own first answer where it does not give theirs; some may drop out."""
    there = [query for query in queries if can_be_asked(lm, query)]
    ranks = read_answers(lm, there).rank.tolist()
    said = first_tokens(lm, there)
    own = [
        query if rank == 1 else replace(query, answer=text, alternatives=())
        for query, rank, text in zip(there, ranks, said, strict=True)
    ]
    askable = [query for query in own if can_be_asked(lm, query)]
    ranks = read_answers(lm, askable).rank.tolist()
    return tuple(query for query, rank in zip(askable, ranks, strict=True) if rank == 1)
