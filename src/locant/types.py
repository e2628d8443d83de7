"""The nouns of locant: frozen data that one stage hands to the next.

Axes have one name everywhere: `query template layer neuron head position hidden vocab step unit row`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Setting: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Fact:
    """One thing a model may know: (subject, relation, object), said in one language."""

    uid: str
    subject: str = ""
    relation: str = ""
    object: str = ""
    language: str = "en"


@dataclass(frozen=True)
class Query:
    """One wording of one fact: a prompt and the answer expected to continue it or to fill its mask.

    Attributes:
        uid: unique within a data set; errors name it.
        fact: what is asked; queries of one fact share its uid.
        prompt: text that ends where the answer begins, or holds the mask `[MASK]` (masked models).
        answer: the expected text.
        alternatives: other texts that count as the same answer.
        template: the name of the wording, if it has one.
        subject_at: the character of the prompt at which the wording puts the subject, where it says so.
    """

    uid: str
    fact: Fact
    prompt: str
    answer: str
    alternatives: tuple[str, ...] = ()
    template: str = ""
    subject_at: int | None = None

    @property
    def language(self) -> str:
        return self.fact.language

    @property
    def relation(self) -> str:
        return self.fact.relation


@dataclass(frozen=True)
class EditRequest:
    """One fact to be rewritten.

    Attributes:
        query: the wording that an edit is given. Its answer is the fact's object as it is known (or empty), and its
            prompt holds the fact's subject.
        new: the object to say instead.
    """

    query: Query
    new: str

    @property
    def uid(self) -> str:
        return self.query.uid

    @property
    def subject(self) -> str:
        return self.query.fact.subject

    @property
    def asked(self) -> Query:
        """The query with the new object for its answer."""
        return replace(self.query, answer=self.new, alternatives=())


@dataclass(frozen=True)
class Provenance:
    """How a result was made, so that it can be made again.

    `parents` are the digests of what it was made from.
    """

    method: str
    settings: dict[str, Setting] = field(default_factory=dict)
    model: str = ""
    revision: str | None = None
    dtype: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    package: str = field(default_factory=lambda: version("locant"))

    def digest(self) -> str:
        """Hash of everything above: equal recipes have equal digests."""
        return digest_of(json.dumps(asdict(self), sort_keys=True))


def digest_of(text: str) -> str:
    """A short name of a text: equal texts have equal ones."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_of(values: Tensor) -> str:
    """A short name of a tensor's values, for settings that are tensors: equal in any dtype."""
    return hashlib.sha256(values.detach().cpu().double().numpy().tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Attribution:
    """Scores of a model's neurons for each query.

    Attributes:
        scores: credit of each neuron for each query, in the units of the method's target.
        activations: the neurons' values at the answer position, in activation units.
        answer_prob: probability of the answer: of all its tokens, teacher-forced.
        completeness_error: |sum of a layer's scores - what the layer's neurons change|, in the units of
            the target, of several answer tokens the mean (or sum, as of the scores); None for methods that make
            no such promise.
    """

    queries: tuple[Query, ...]
    scores: Float[Tensor, "query layer neuron"]
    activations: Float[Tensor, "query layer neuron"]
    answer_prob: Float[Tensor, " query"]
    completeness_error: Float[Tensor, "query layer"] | None
    made_by: Provenance
    kind: str = "neuron"

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> Attribution:
        """The attribution of one query alone."""
        at = range(len(self))[index]
        error = self.completeness_error
        return replace(
            self,
            queries=(self.queries[at],),
            scores=self.scores[at : at + 1],
            activations=self.activations[at : at + 1],
            answer_prob=self.answer_prob[at : at + 1],
            completeness_error=None if error is None else error[at : at + 1],
        )

    def __iter__(self) -> Iterator[Attribution]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Selection:
    """A set of neurons, each named by (layer, neuron); sorted and unique.

    Attributes:
        weight: what the rule judged each unit by (a score for rules on scores, 1 for random sets).
        grid: (layers, neurons per layer) of the model they were chosen from.
    """

    queries: tuple[Query, ...]
    units: Int[Tensor, "unit 2"]
    weight: Float[Tensor, " unit"]
    grid: tuple[int, int]
    made_by: Provenance
    kind: str = "neuron"

    def __len__(self) -> int:
        return len(self.units)

    def by_layer(self) -> dict[int, Int[Tensor, " unit"]]:
        """The neurons of each layer that has any."""
        layers = torch.unique(self.units[:, 0]).tolist()
        return {int(layer): self.units[self.units[:, 0] == layer, 1] for layer in layers}


@dataclass(frozen=True)
class Intervention:
    """What to do to the activations of a selection.

    Attributes:
        operation: 'scale' (times amount) or 'set' (to amount).
        positions: 'answer' (where answer tokens are predicted) or 'all'.
    """

    target: Selection
    operation: Literal["scale", "set"]
    amount: float
    positions: Literal["answer", "all"] = "answer"


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval; n counts what was resampled (facts, or random sets).

    Attributes:
        groups: that these are of, such as relations, if groups were resampled first.
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int = 1


@dataclass(frozen=True)
class Outcome:
    """One metric of each query before and after an intervention.

    Attributes:
        metric: 'probability', 'log-probability' or 'rank' of the answer.
        operation: what was done, e.g. 'suppress' or 'enhance'.
        touched: which units it was done to, e.g. 'located' or 'random, layer-matched'.
        asked: which queries were asked, e.g. 'own' or 'unrelated'.
    """

    metric: str
    operation: str
    touched: str
    asked: str
    queries: tuple[Query, ...]
    before: Float[Tensor, " query"]
    after: Float[Tensor, " query"]
    made_by: Provenance


@dataclass(frozen=True)
class Effect:
    """What an intervention did to the answers of some queries, in one line of a table.

    Attributes:
        operation, touched, asked: as in `Outcome`.
        before, after: mean probability of the answers.
        change: relative change of the probability, (after - before) / before, over facts or random draws.
        over: what the interval is over: 'facts' or 'random sets'.
    """

    operation: str
    touched: str
    asked: str
    before: float
    after: float
    change: Interval
    over: str
