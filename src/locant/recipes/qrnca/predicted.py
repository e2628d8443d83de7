"""Answers predicted from a group's neurons alone, for questions that no neuron was located with.

The paper's rule stands in a supplement that was not at hand: these are four candidates, each named for what it does.
None of them says anything by itself: attention is left whole, and what a rule gets right with no neurons at all, with
random ones or with another group's is no work of the group's own. So every rule is tried on each of these pools.

Source: Chen et al. 2024, arXiv:2406.10868, neuron-based prediction, which reports accuracies and no rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions import attribute
from locant.evaluations.letters import letter_ids
from locant.evaluations.rows import letters_by_row
from locant.evaluations.sets import Touched
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca.asked import with_options
from locant.recipes.qrnca.chosen import DRAWS, Named
from locant.recipes.qrnca.touched import Letters
from locant.selections.random_sets import is_matched, random_like
from locant.selections.share import at_most
from locant.types import Selection

AT_ONCE = 64
"""Prompts in one batch."""

OWN, NONE, RANDOM, ANOTHER = "own", "none", "random", "another group's"
POOLS = (OWN, NONE, RANDOM, ANOTHER)
"""Whose neurons predict: the group's, nobody's, random ones of the same layers and number, or another group's."""

FULL = "full model"


@dataclass(frozen=True)
class Pool:
    """Neurons to predict a question's answer from."""

    name: str
    draw: int
    neurons: Selection


def pools_for(question: ChoiceQuestion, by_group: Named, seed: int) -> Iterator[Pool]:
    """A question's own pool and its controls; another group's, if there is another."""
    own = by_group[question.group]
    yield Pool(OWN, 0, own)
    yield Pool(NONE, 0, at_most(own, 0))
    for draw in range(DRAWS):
        yield Pool(RANDOM, draw, random_like(own, seed, f"pool/{question.group}/{draw}"))
    others = [group for group in by_group if group != question.group]
    if others:
        yield Pool(ANOTHER, 0, by_group[Random(f"{seed}/pool/{question.uid}").choice(others)])


def predict(
    lm: LanguageModel,
    questions: Sequence[ChoiceQuestion],
    by_group: Named,
    letters: Letters,
    usual: Float[Tensor, "layer neuron"],
    seed: int,
) -> pl.DataFrame:
    """Every rule's answer to the first prompt of each question, from every pool: a row each.

    - value vectors: the letter that what these neurons write says loudest, read out as the last layer's residual.
    - only these neurons: the letter of the model with all others at zero where it answers.
    - others at their mean: the same, with all others as they usually are.
    - appended answers: the option with which, written after the prompt, the neurons are most active.

    The column `right` is the share of the loudest letters that are right: where several are equally loud, the
    accuracy of one drawn from them.

    Args:
        by_group: pools that were located without these questions.
        letters: what the whole model says.
        usual: activations to hold the others at, see `mean_activations`.
    """
    asked = [(one, pool) for one in questions for pool in pools_for(one, by_group, seed)]
    prompts = [one.prompts[0] for one, _ in asked]
    pools = [pool.neurons for _, pool in asked]
    others = [Touched(prompt.query, pool, True) for prompt, pool in zip(prompts, pools, strict=True)]
    names = prompts[0].letters
    said = {
        "value vectors": written(lm, prompts, pools),
        "only these neurons": letters_by_row(lm, others, 0.0, names),
        "others at their mean": letters_by_row(lm, others, 0.0, names, rest=usual),
        "appended answers": appended(lm, prompts, pools),
    }
    rows = [_row(one, FULL, letters[one.prompts[0].query.uid]) for one in questions]
    rows += [
        _row(one, rule, scores[place], pool)
        for rule, scores in said.items()
        for place, (one, pool) in enumerate(asked)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(
    one: ChoiceQuestion, rule: str, scores: Float[Tensor, " letter"], pool: Pool | None = None
) -> dict[str, object]:
    return {
        "question": one.uid,
        "fact": one.fact,
        "group": one.group,
        "rule": rule,
        "pool": "" if pool is None else pool.name,
        "draw": 0 if pool is None else pool.draw,
        "size": None if pool is None else len(pool.neurons),
        "matched": None if pool is None else is_matched(pool.neurons),
        "right": credit(scores, one.prompts[0].right),
        "options": len(one.prompts[0].letters),
    }


def credit(scores: Float[Tensor, " letter"], right: int) -> float:
    """The accuracy expected of a letter that is drawn from the highest: 1 or 0 if there is but one."""
    best = scores == scores.max()
    return float(best[right]) / int(best.sum())


def mean_activations(lm: LanguageModel, questions: Sequence[ChoiceQuestion]) -> Float[Tensor, "layer neuron"]:
    """Every neuron's mean activation where some questions are answered, each in its first prompt."""
    total = torch.zeros(lm.layers, lm.neurons, dtype=torch.float64)
    for start in range(0, len(questions), AT_ONCE):
        asked = [question.prompts[0].query for question in questions[start : start + AT_ONCE]]
        total += attribute(lm, asked, "activation").activations.double().sum(dim=0)
    return total / max(len(questions), 1)


@torch.no_grad()
def written(
    lm: LanguageModel, prompts: Sequence[ChoicePrompt], pools: Sequence[Selection]
) -> Float[Tensor, "prompt letter"]:
    """Logits of the letters if the neurons' own writing were all of the residual stream."""
    queries = list(dict.fromkeys(prompt.query for prompt in prompts))
    values = dict(zip(queries, attribute(lm, queries, "activation").activations, strict=True))
    found = []
    for prompt, pool in zip(prompts, pools, strict=True):
        own = values[prompt.query]
        residual = torch.zeros(lm.hidden)
        for layer, neurons in pool.by_layer().items():
            residual += own[layer, neurons].to(residual) @ lm.value_vectors(layer)[neurons].to(residual)
        ids = torch.tensor(letter_ids(lm, prompt.query, prompt.letters))
        found.append(lm.readout(residual[None].to(lm.device, lm.model.dtype))[0].cpu()[ids])
    return torch.stack(found).double()


def appended(
    lm: LanguageModel, prompts: Sequence[ChoicePrompt], pools: Sequence[Selection]
) -> Float[Tensor, "prompt option"]:
    """Mean |activation| of the neurons after each option's letter and text; 0 of no neurons."""
    distinct = {prompt.query: prompt for prompt in prompts}
    asked = [query for prompt in distinct.values() for query in with_options(prompt)]
    values = attribute(lm, asked, "activation").activations.abs().unflatten(0, (len(distinct), -1))
    by_query: Mapping[object, Tensor] = dict(zip(distinct, values, strict=True))
    return torch.stack(
        [_mean(by_query[prompt.query], pool) for prompt, pool in zip(prompts, pools, strict=True)]
    ).double()


def _mean(values: Float[Tensor, "option layer neuron"], pool: Selection) -> Float[Tensor, " option"]:
    return values[:, pool.units[:, 0], pool.units[:, 1]].mean(dim=1) if len(pool) else torch.zeros(len(values))
