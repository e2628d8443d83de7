"""Each question's cluster of neurons, and what its baselines choose, from one attribution of all its prompts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions import attribute
from locant.models import LanguageModel
from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca.plan import KNOWLEDGE, Plan
from locant.selections.clusters import Cluster, cluster
from locant.selections.of_templates import activation_neurons, knowledge_neurons
from locant.types import Provenance, Selection

WHOLE = "all templates"
Scores = Float[Tensor, "prompt layer neuron"]


def wrong_letter(place: int) -> str:
    """What the cluster of one of a question's wrong options is called, by the option's place among them."""
    return f"wrong {place + 1}"


def without(template: int) -> str:
    """The part of a question's templates that one is held out of, by its place."""
    return f"without template {template + 1}"


def parts_of(templates: int) -> tuple[str, ...]:
    """What a question's neurons are located with; a template that is left out judges them."""
    return (WHOLE, *(without(place) for place in range(templates) if templates > 1))


@dataclass(frozen=True)
class Located:
    """What was located with one part of the templates.

    Attributes:
        clusters: of every question, in order.
        chosen: by method, by question: what the baselines choose.
    """

    clusters: tuple[Cluster, ...]
    chosen: dict[str, dict[str, Selection]]


@dataclass(frozen=True)
class Values:
    """What attribution says of some prompts.

    Attributes:
        plain: scores of P(right letter), which the baselines are made of.
        target: scores of what is attributed: the same, or less those of the wrong letters.
        wrong: by a wrong option's place, scores of its letters; empty if they were not attributed.
    """

    plain: Scores
    target: Scores
    wrong: tuple[Scores, ...]
    activations: Scores

    def of(self, places: Sequence[int]) -> Values:
        """The values of some prompts alone."""
        some = list(places)
        wrong = tuple(scores[some] for scores in self.wrong)
        return Values(self.plain[some], self.target[some], wrong, self.activations[some])


def locate(lm: LanguageModel, questions: Sequence[ChoiceQuestion], plan: Plan) -> pl.DataFrame:
    """The clusters and baseline neurons of some questions, a row each, with what attributing them cost."""
    prompts = [prompt for question in questions for prompt in question.prompts]
    started = time.perf_counter()
    found = _attribute(lm, questions, plan)
    seconds = time.perf_counter() - started
    rows: list[dict[str, object]] = []
    at = 0
    for question in questions:
        own = range(at, at + len(question.prompts))
        at = own.stop
        rows += _rows(question, WHOLE, found.of(own), plan)
        for left, part in zip(own, parts_of(len(own))[1:], strict=False):
            rows += _rows(question, part, found.of([place for place in own if place != left]), plan)
    lengths = [lm.tokens(prompt.query).length for prompt in prompts]
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(
        batch=pl.lit(questions[0].uid),
        batch_prompts=pl.lit(len(prompts)),
        batch_tokens=pl.lit(sum(lengths) / len(lengths)),
        batch_seconds=pl.lit(seconds),
    )


def _attribute(lm: LanguageModel, questions: Sequence[ChoiceQuestion], plan: Plan) -> Values:
    prompts = [prompt for question in questions for prompt in question.prompts]
    found = attribute(lm, [prompt.query for prompt in prompts], "dai", **plan.settings)  # type: ignore[arg-type]
    if not (plan.contrast or plan.wrong):
        return Values(found.scores, found.scores, (), found.activations)
    letters = [letter for question in questions for letter in wrong_letters(question)]
    asked = [
        replace(prompt.query, uid=f"{prompt.query.uid}/{letter}", answer=letter)
        for prompt, own in zip(prompts, letters, strict=True)
        for letter in own
    ]
    wrong = attribute(lm, asked, "dai", **plan.settings).scores.unflatten(0, (len(prompts), -1))  # type: ignore[arg-type]
    # Scores are linear in the target: those of a difference are the difference of the scores
    target = found.scores - wrong.mean(dim=1) if plan.contrast else found.scores
    return Values(found.scores, target, tuple(wrong.unbind(dim=1)) if plan.wrong else (), found.activations)


def wrong_letters(question: ChoiceQuestion) -> list[tuple[str, ...]]:
    """Of each prompt, the letters of its wrong options: in one order of the options, if all prompts have the same.

    Where wrong options are drawn anew for each template, there is none: they come in the order of their letters.
    """
    found = []
    for prompt in question.prompts:
        texts = dict(zip(prompt.letters, prompt.options or prompt.letters, strict=True))
        right = texts.pop(prompt.query.answer)
        found.append((right, {text: letter for letter, text in texts.items()}))
    order = list(found[0][1])
    same = all(right == found[0][0] and set(letters) == set(order) for right, letters in found)
    return [tuple(letters[text] for text in (order if same else letters)) for _, letters in found]


def _rows(question: ChoiceQuestion, part: str, values: Values, plan: Plan) -> Iterator[dict[str, object]]:
    def clustered(scores: Scores) -> Cluster:
        return cluster(scores, plan.mode, uid=question.uid, share=plan.share, decimals=plan.decimals)

    own = clustered(values.target)
    dai = knowledge_neurons(values.plain, share=plan.share or 0.2)
    active = activation_neurons(values.activations, min(plan.top, values.activations[0].numel()))
    about = {"question": question.uid, "group": question.group, "part": part}
    # A row without a neuron says that a cluster is empty: it is one of the pool all the same
    yield about | {"what": "cluster", "layer": None, "neuron": None, "score": None, "templates": None}
    kinds: list[tuple[str, Tensor, Tensor, Tensor | None]] = [
        ("cluster", own.units, own.scores, own.counts),
        (KNOWLEDGE, dai.units, dai.weight, None),
        ("activation", active.units, active.weight, None),
    ]
    for place, scores in enumerate(values.wrong if part == WHOLE else ()):
        other = clustered(scores)
        kinds.append((wrong_letter(place), other.units, other.scores, other.counts))
    for what, units, weights, counts in kinds:
        for place, ((layer, neuron), value) in enumerate(zip(units.tolist(), weights.tolist(), strict=True)):
            yield about | {
                "what": what,
                "layer": layer,
                "neuron": neuron,
                "score": value,
                "templates": None if counts is None else int(counts[place]),
            }


def located_in(table: pl.DataFrame, part: str, questions: Sequence[ChoiceQuestion], grid: tuple[int, int]) -> Located:
    """What a table of `locate` says was located with a part of the templates."""
    clusters = clusters_in(table, part, questions, grid)
    by = _by_question(table, part)
    chosen: dict[str, dict[str, Selection]] = {KNOWLEDGE: {}, "activation": {}}
    for question in questions:
        queries = tuple(prompt.query for prompt in question.prompts)
        for method, sets in chosen.items():
            units, scores, _ = _columns(by.get((method, question.uid)))
            made_by = Provenance(method, {"question": question.uid, "part": part})
            sets[question.uid] = Selection(queries, units, scores, grid, made_by)
    return Located(clusters, chosen)


def clusters_in(
    table: pl.DataFrame, part: str, questions: Sequence[ChoiceQuestion], grid: tuple[int, int], what: str = "cluster"
) -> tuple[Cluster, ...]:
    """Every question's cluster, in order: of the right letter, or of a wrong one (see `wrong_letter`)."""
    by = _by_question(table, part)
    return tuple(
        Cluster(
            question.uid,
            *_columns(by.get((what, question.uid))),
            grid,
            Provenance(what, {"question": question.uid, "part": part}),
            tuple(prompt.query for prompt in question.prompts),
        )
        for question in questions
    )


def _by_question(table: pl.DataFrame, part: str) -> dict[tuple[object, ...], pl.DataFrame]:
    rows = table.filter((pl.col("part") == part) & pl.col("layer").is_not_null())
    return rows.partition_by(["what", "question"], as_dict=True)


def _columns(rows: pl.DataFrame | None) -> tuple[Tensor, Tensor, Tensor]:
    if rows is None:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    units = torch.from_numpy(rows.select("layer", "neuron").to_numpy().copy()).long()
    counts = torch.tensor(rows["templates"].fill_null(0).to_list())
    return units, torch.tensor(rows["score"].to_list()), counts.long()
