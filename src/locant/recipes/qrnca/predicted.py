"""Answers predicted from a group's neurons alone, for questions that no neuron was located with.

The paper's rule stands in a supplement that was not at hand: these are three candidates, each named for what it does.

Source: Chen et al. 2024, arXiv:2406.10868, neuron-based prediction, which reports accuracies and no rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.attributions import attribute
from locant.evaluations.letters import letter_ids
from locant.evaluations.sets import Touched, letters_by_set
from locant.languages import gap
from locant.models import LanguageModel
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca.touched import Letters
from locant.types import Query, Selection

AT_ONCE = 64
"""Prompts in one batch."""


def predict(
    lm: LanguageModel,
    questions: Sequence[ChoiceQuestion],
    pools: Mapping[str, Selection],
    letters: Letters,
    usual: Float[Tensor, "layer neuron"],
) -> pl.DataFrame:
    """Every rule's answer to the first prompt of each question, by its own group's neurons.

    - value vectors: the letter that what these neurons write says loudest, read out as the last layer's residual.
    - only these neurons: the letter of the model with all others at zero where it answers.
    - others at their mean: the same, with all others as they usually are.
    - appended answers: the option with which, written after the prompt, the neurons are most active.

    Args:
        pools: by group, its neurons.
        letters: what the whole model says.
        usual: activations to hold the others at, see `mean_activations`.
    """
    prompts = [question.prompts[0] for question in questions]
    own = [pools[question.group] for question in questions]
    others = [Touched(one.query, pool, True) for one, pool in zip(prompts, own, strict=True)]
    names = prompts[0].letters
    said = {
        "full model": torch.stack([letters[prompt.query.uid] for prompt in prompts]),
        "value vectors": written(lm, prompts, own),
        "only these neurons": letters_by_set(lm, others, 0.0, names),
        "others at their mean": letters_by_set(lm, others, 0.0, names, rest=usual),
        "appended answers": appended(lm, prompts, own),
    }
    return pl.DataFrame(
        [
            {
                "question": question.uid,
                "group": question.group,
                "rule": rule,
                "right": int(scores[place].argmax()) == prompts[place].right,
                "options": len(prompts[place].letters),
            }
            for rule, scores in said.items()
            for place, question in enumerate(questions)
        ]
    )


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
    values = attribute(lm, [prompt.query for prompt in prompts], "activation").activations
    found = []
    for prompt, pool, own in zip(prompts, pools, values, strict=True):
        residual = torch.zeros(lm.hidden)
        for layer, neurons in pool.by_layer().items():
            residual += own[layer, neurons].to(residual) @ lm.value_vectors(layer)[neurons].to(residual)
        ids = torch.tensor(letter_ids(lm, prompt.query, prompt.letters))
        found.append(lm.readout(residual[None].to(lm.device, lm.model.dtype))[0].cpu()[ids])
    return torch.stack(found).double()


def appended(
    lm: LanguageModel, prompts: Sequence[ChoicePrompt], pools: Sequence[Selection]
) -> Float[Tensor, "prompt option"]:
    """Mean |activation| of the neurons after each option's letter and text."""
    asked = [_with_option(prompt, place) for prompt in prompts for place in range(len(prompt.letters))]
    values = attribute(lm, asked, "activation").activations.abs()
    by_prompt = values.unflatten(0, (len(prompts), -1))
    return torch.stack([_mean(found, pool.units) for found, pool in zip(by_prompt, pools, strict=True)]).double()


def _mean(values: Float[Tensor, "option layer neuron"], units: Int[Tensor, "unit 2"]) -> Float[Tensor, " option"]:
    return values[:, units[:, 0], units[:, 1]].mean(dim=1) if len(units) else torch.zeros(len(values))


def _with_option(prompt: ChoicePrompt, place: int) -> Query:
    text = prompt.letters[place] + (f". {prompt.options[place]}" if prompt.options else "")
    query = prompt.query
    joined = f"{query.prompt}{gap(query.fact.language)}{text}"
    # Any answer will do: activations are read where it would begin
    return replace(query, uid=f"{query.uid}/{prompt.letters[place]}", prompt=joined, answer=prompt.letters[0])
