"""Questions in the words of tiny models, and made-up clusters of them."""

from __future__ import annotations

import torch

import locant
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes.qrnca import Plan
from locant.recipes.qrnca.located import Located
from locant.recipes.qrnca.plan import KNOWLEDGE
from locant.selections.clusters import Cluster
from locant.types import Provenance, Selection

GRID = (4, 60)
PLAN = Plan(draws=20, top=6)


def asked(group: str, fact: str, *, relation: str = "", templates: int = 3) -> ChoiceQuestion:
    """A question whose letters and words are a tiny model's."""
    letters, number = ("w1", "w2", "w3"), sum(map(ord, group + fact)) % 40
    uid = f"{fact}/{group}"
    prompts = []
    for template in range(templates):
        query = locant.query(
            f"w{20 + number} w{40 + template}", letters[(number + template) % 3], fact=fact, relation=relation,
            uid=f"{uid}/{template}",
        )  # fmt: skip
        prompts.append(ChoicePrompt(query, letters))
    return ChoiceQuestion(uid, group, "", "", tuple(prompts))


def domains(each: int = 6, groups: str = "abc") -> list[ChoiceQuestion]:
    return [asked(group, f"{group}{number}") for group in groups for number in range(each)]


def languages(facts: int = 6, groups: str = "abc") -> list[ChoiceQuestion]:
    return [asked(group, f"f{number}") for group in groups for number in range(facts)]


def located(questions: list[ChoiceQuestion], seed: int = 0) -> Located:
    """Random clusters, in which every group has neurons of its own and one neuron is everybody's."""
    numbers = torch.Generator().manual_seed(seed)
    clusters, chosen = [], {KNOWLEDGE: {}, "activation": {}}  # type: ignore[var-annotated]
    for one in questions:
        codes = torch.cat(
            [torch.randperm(120, generator=numbers)[:12], torch.tensor([130 + ord(one.group) % 90, 239])]
        )
        codes = codes.unique()
        units = torch.stack([codes // GRID[1], codes % GRID[1]], dim=1)
        scores = torch.rand(len(codes), generator=numbers, dtype=torch.float64)
        counts = torch.ones(len(codes), dtype=torch.int64)
        clusters.append(Cluster(one.uid, units, scores, counts, GRID, Provenance(f"{one.uid}/{seed}")))
        for method, count in ((KNOWLEDGE, 2), ("activation", 9)):
            some = torch.randperm(len(codes), generator=numbers)[:count].sort().values
            chosen[method][one.uid] = Selection((), units[some], scores[some], GRID, Provenance(method))
    return Located(tuple(clusters), chosen)


def units_of(chosen: Selection | Cluster) -> set[tuple[int, ...]]:
    return set(map(tuple, chosen.units.tolist()))
