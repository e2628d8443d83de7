"""Neurons of one question by the templates it is asked in alone, without other questions beside it.

Sources: Dai et al. 2022, arXiv:2104.08696 (knowledge neurons); baselines of Chen et al. 2024, arXiv:2406.10868.
"""

from __future__ import annotations

import torch

from locant.errors import UnknownName
from locant.selections.templates import Templates, values_of
from locant.types import Provenance, Selection, Setting


def knowledge_neurons(templates: Templates, share: float = 0.2, shared: float = 0.7) -> Selection:
    """The neurons that most templates of a question credit; each weighs its mean score.

    Args:
        share: a template credits scores of at least this share of its highest; none where that is not above 0.
        shared: of the templates, at least so many credit the neuron. Of three, 0.7 are all three.

    Raises:
        UnknownName: as for `values_of`.

    Source: Dai et al. 2022, arXiv:2104.08696, knowledge neuron refining; a baseline of arXiv:2406.10868.
    """
    for value in (share, shared):
        if not 0 < value <= 1:
            raise UnknownName(f"a share is more than 0 and at most 1, not {value}")
    scores, question = values_of(templates, "scores")
    highest = scores.amax(dim=(1, 2), keepdim=True)
    credited = ((scores >= share * highest) & (highest > 0)).sum(dim=0)
    chosen = credited.double() >= shared * len(scores) - 1e-9
    settings: dict[str, Setting] = {"question": question.uid, "share": share, "shared": shared}
    made_by = Provenance("knowledge_neurons", settings, parents=(question.digest,))
    return Selection(question.queries, chosen.nonzero(), scores.mean(dim=0)[chosen], question.grid, made_by)


def activation_neurons(templates: Templates, count: int) -> Selection:
    """The neurons with the highest |activation|, the mean over a question's templates, which is their weight.

    Args:
        templates: of an attribution its activations are taken; of a tensor, its values.

    Raises:
        UnknownName: the count makes no sense, or as for `values_of`.

    Source: a baseline of Chen et al. 2024, arXiv:2406.10868, which states neither tensor nor sign: our choice.
    """
    values, question = values_of(templates, "activations")
    mean = values.abs().mean(dim=0).flatten()
    if not 0 <= count <= len(mean):
        raise UnknownName(f"cannot take the top {count}: there are 0 to {len(mean)} neurons to take")
    kept = mean.argsort(descending=True, stable=True)[:count].sort().values
    units = torch.stack([kept // question.grid[1], kept % question.grid[1]], dim=1)
    settings: dict[str, Setting] = {"question": question.uid, "count": count}
    made_by = Provenance("activation_neurons", settings, parents=(question.digest,))
    return Selection(question.queries, units, mean[kept], question.grid, made_by)
