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
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca.plan import Plan
from locant.selections.clusters import Cluster, activation_neurons, cluster, knowledge_neurons
from locant.types import Provenance, Selection

PARTS = ("all templates", "without the last")
"""What a question's neurons are located with; the last template is then left to judge them by."""


@dataclass(frozen=True)
class Located:
    """What was located with one part of the templates.

    Attributes:
        clusters: of every question, in order.
        chosen: by method, by question: what the baselines choose.
    """

    clusters: tuple[Cluster, ...]
    chosen: dict[str, dict[str, Selection]]


def locate(lm: LanguageModel, questions: Sequence[ChoiceQuestion], plan: Plan) -> pl.DataFrame:
    """The clusters and baseline neurons of some questions, a row each, with what attributing them cost."""
    prompts = [prompt for question in questions for prompt in question.prompts]
    started = time.perf_counter()
    scores, activations = _attribute(lm, prompts, plan)
    seconds = time.perf_counter() - started
    rows: list[dict[str, object]] = []
    at = 0
    for question in questions:
        own = slice(at, at + len(question.prompts))
        at = own.stop
        for part, count in zip(PARTS, (len(question.prompts), len(question.prompts) - 1), strict=True):
            if count:
                rows += _rows(question, part, scores[own][:count], activations[own][:count], plan)
    lengths = [lm.tokens(prompt.query).length for prompt in prompts]
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(
        batch=pl.lit(questions[0].uid),
        batch_prompts=pl.lit(len(prompts)),
        batch_tokens=pl.lit(sum(lengths) / len(lengths)),
        batch_seconds=pl.lit(seconds),
    )


def _attribute(
    lm: LanguageModel, prompts: Sequence[ChoicePrompt], plan: Plan
) -> tuple[Float[Tensor, "prompt layer neuron"], Float[Tensor, "prompt layer neuron"]]:
    """Scores and activations of every prompt."""
    found = attribute(lm, [prompt.query for prompt in prompts], "dai", **plan.settings)  # type: ignore[arg-type]
    scores = found.scores.clone()
    if plan.contrast:
        # Scores are linear in the target: those of a difference are the difference of the scores
        wrong = [
            replace(prompt.query, uid=f"{prompt.query.uid}/{letter}", answer=letter)
            for prompt in prompts
            for letter in prompt.letters
            if letter != prompt.query.answer
        ]
        others = attribute(lm, wrong, "dai", **plan.settings).scores  # type: ignore[arg-type]
        parts = others.split([len(prompt.letters) - 1 for prompt in prompts])
        scores -= torch.stack([part.mean(dim=0) for part in parts])
    return scores, found.activations


def _rows(
    question: ChoiceQuestion,
    part: str,
    scores: Float[Tensor, "template layer neuron"],
    activations: Float[Tensor, "template layer neuron"],
    plan: Plan,
) -> Iterator[dict[str, object]]:
    own = cluster(scores, plan.mode, uid=question.uid, share=plan.share)
    dai = knowledge_neurons(scores, share=plan.share or 0.2)
    active = activation_neurons(activations, min(plan.top, activations[0].numel()))
    about = {"question": question.uid, "group": question.group, "part": part}
    # A row without a neuron says that a cluster is empty: it is one of the pool all the same
    yield about | {"what": "cluster", "layer": None, "neuron": None, "score": None, "templates": None}
    for what, units, values, counts in (
        ("cluster", own.units, own.scores, own.counts),
        ("knowledge neurons", dai.units, dai.weight, None),
        ("activation", active.units, active.weight, None),
    ):
        for place, ((layer, neuron), value) in enumerate(zip(units.tolist(), values.tolist(), strict=True)):
            yield about | {
                "what": what,
                "layer": layer,
                "neuron": neuron,
                "score": value,
                "templates": None if counts is None else int(counts[place]),
            }


def located_in(table: pl.DataFrame, part: str, questions: Sequence[ChoiceQuestion], grid: tuple[int, int]) -> Located:
    """What a table of `locate` says was located with a part of the templates."""
    rows = table.filter((pl.col("part") == part) & pl.col("layer").is_not_null())
    by = rows.partition_by(["what", "question"], as_dict=True)
    chosen: dict[str, dict[str, Selection]] = {"knowledge neurons": {}, "activation": {}}
    clusters = []
    for question in questions:
        queries = tuple(prompt.query for prompt in question.prompts)
        units, scores, counts = _columns(by.get(("cluster", question.uid)))
        made_by = Provenance("cluster", {"question": question.uid, "part": part})
        clusters.append(Cluster(question.uid, units, scores, counts, grid, made_by, queries))
        for method, sets in chosen.items():
            units, scores, _ = _columns(by.get((method, question.uid)))
            sets[question.uid] = Selection(
                queries, units, scores, grid, Provenance(method, {"question": question.uid, "part": part})
            )
    return Located(tuple(clusters), chosen)


def _columns(rows: pl.DataFrame | None) -> tuple[Tensor, Tensor, Tensor]:
    if rows is None:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    units = torch.from_numpy(rows.select("layer", "neuron").to_numpy().copy()).long()
    counts = torch.tensor(rows["templates"].fill_null(0).to_list())
    return units, torch.tensor(rows["score"].to_list()), counts.long()
