"""Made-up sets of questions' neurons, in groups."""

from __future__ import annotations

import numpy as np
import torch

import locant
from locant.types import Provenance, Selection

GRID = (4, 50)
Unit = tuple[int, int]
Sets = dict[str, Selection]


def selection(units: set[Unit], name: str = "q", weights: dict[Unit, float] | None = None) -> Selection:
    """The set of one question."""
    rows = sorted(units)
    return Selection(
        (locant.query("p", "A", fact=name),),
        torch.tensor(rows, dtype=torch.int64).reshape(-1, 2),
        torch.tensor([(weights or {}).get(unit, 1.0) for unit in rows]),
        GRID,
        Provenance("by hand"),
    )


def questions(
    seed: int, groups: int = 3, each: int = 12, size: int = 6, own: int = 0
) -> tuple[Sets, dict[str, str], dict[str, set[Unit]]]:
    """Questions of random neurons, `own` of each from a region of its group, and plain sets of the groups'."""
    numbers = np.random.default_rng(seed)
    sets: Sets = {}
    labels: dict[str, str] = {}
    unions: dict[str, set[Unit]] = {f"g{group}": set() for group in range(groups)}
    for number in range(groups * each):
        group = number % groups
        free = {divmod(int(code), GRID[1]) for code in numbers.choice(200, size - own, replace=False)}
        its = {divmod(int(code), GRID[1]) for code in 60 * group + numbers.choice(20, own, replace=False)}
        sets[f"q{number}"], labels[f"q{number}"] = selection(free | its, f"q{number}"), f"g{group}"
        unions[f"g{group}"] |= free | its
    return sets, labels, unions
