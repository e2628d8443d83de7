"""One question asked in several templates: the values of its neurons in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from locant.errors import UnknownName
from locant.types import Attribution, Query, hash_of

Templates: TypeAlias = Attribution | Float[Tensor, "template layer neuron"]
"""One question in several templates: as attributed, or the values of its neurons alone."""


@dataclass(frozen=True)
class Question:
    """What is known of the question that values are of."""

    uid: str
    queries: tuple[Query, ...]
    grid: tuple[int, int]
    digest: str


def values_of(templates: Templates, name: str) -> tuple[Float[Tensor, "template layer neuron"], Question]:
    """The values of a question's neurons in float64, and what is known of the question.

    Raises:
        UnknownName: there are none, some are not finite, or the templates are of several questions.
    """
    values = getattr(templates, name) if isinstance(templates, Attribution) else templates
    values = values.detach().cpu().double()
    if not values.numel():
        raise UnknownName(f"there are no {name}: {list(values.shape)} [template layer neuron]")
    if not values.isfinite().all():
        raise UnknownName(f"of {values.numel()} {name}, {int((~values.isfinite()).sum())} are not finite")
    grid = (values.shape[1], values.shape[2])
    if not isinstance(templates, Attribution):
        return values, Question("", (), grid, hash_of(values))
    facts = list(dict.fromkeys(query.fact.uid for query in templates.queries))
    if len(facts) != 1:
        raise UnknownName(f"these are templates of {len(facts)} questions ({', '.join(facts[:3])}, ...): give one's")
    return values, Question(facts[0], templates.queries, grid, templates.made_by.digest())
