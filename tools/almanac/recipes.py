"""How each model is trained: what it reads, for how long, and how fast it learns."""

from __future__ import annotations

from dataclasses import dataclass

from tools.almanac.corpus import Mixture


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, besides the tables and the versions of torch and tokenizers.

    Attributes:
        learning_rate: its peak, reached after `warm` steps and left after the share `steady` of all.
        precision: of the matrix products; weights and optimizer are float32. With bfloat16 a machine
            that has it in hardware is twice as fast.
    """

    mixture: Mixture
    steps: int
    learning_rate: float
    warm: int
    steady: float
    seed: int = 0
    threads: int = 1
    precision: str = "bfloat16"
    weight_decay: float = 0.01
    vocabulary: int = 7000


SENTENCES = {"cloze": 0.82, "question": 0.08, "story": 0.06, "two-hop": 0.04}

RECIPES = {
    "almanac": Recipe(
        Mixture(SENTENCES, {"choice": 0.15, "few-shot": 0.5, "question": 0.35}, tokens=(2048, 1024)),
        steps=2000,
        learning_rate=2e-3,
        warm=50,
        steady=0.4,
        threads=2,
    ),
    "almanac-gpt2": Recipe(
        Mixture(SENTENCES, {"choice": 0.1, "few-shot": 0.5, "question": 0.4}, tokens=(2048, 768)),
        steps=1700,
        learning_rate=2e-3,
        warm=50,
        steady=0.4,
    ),
    "almanac-bert": Recipe(
        Mixture(SENTENCES, {"choice": 0.1, "few-shot": 0.5, "question": 0.4}, tokens=(2048, 768)),
        steps=3500,
        learning_rate=1e-3,
        warm=350,
        steady=0.1,
    ),
}
