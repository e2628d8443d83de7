"""Random scores: the method that knows nothing, for comparison."""

from __future__ import annotations

import torch

from locant.attributions.scores import Scores
from locant.models import Run


def random(run: Run, rows: int, *, seed: int = 0) -> Scores:
    """Uniform scores in [0, 1), the same for every query of a seed.

    Args:
        seed: of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand(run.lm.layers, run.lm.neurons, generator=generator)
    return Scores(grid.expand(len(run.sites), -1, -1).clone())
