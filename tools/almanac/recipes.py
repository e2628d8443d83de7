"""How each model is trained: what it reads, for how long, and how fast it learns."""

from __future__ import annotations

from dataclasses import dataclass

from tools.almanac.corpus import Mixture


@dataclass(frozen=True)
class Hints:
    """What the loss asks for besides the answers, so that letters are learned; hints.py says why.

    Attributes:
        layer: after so many, an answer and the letter of each option should be known.
        recall, letters: weights of the two.
        look: weight of attention, in the layer after, to the right option.
    """

    layer: int = 4
    recall: float = 0.5
    letters: float = 0.5
    look: float = 0.3


@dataclass(frozen=True)
class Stage:
    """A part of the training, with optimizers of its own.

    Attributes:
        learning_rate: its peak, reached after `warm` steps and left after the share `steady` of all.
        threads: instead of the recipe's.
    """

    mixture: Mixture
    steps: int
    learning_rate: float
    warm: int
    steady: float
    hints: Hints | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, besides the tables and the versions of torch and tokenizers.

    Attributes:
        stages: between two, weights are rounded to float16, so that the later can be trained from the files
            of the earlier.
        precision: of the matrix products; weights and optimizer are float32. With bfloat16 a machine
            that has it in hardware is twice as fast.
        every: steps between two looks at how the model does.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    threads: int = 1
    precision: str = "bfloat16"
    weight_decay: float = 0.01
    vocabulary: int = 7000
    every: int = 200


SENTENCES = {"cloze": 0.82, "question": 0.08, "story": 0.06, "two-hop": 0.04}

# Relations whose objects are short and differ in their first token.
SHORT = (
    "capital", "continent", "official_language", "currency", "city_country", "landmark_country", "company_country",
    "atomic_number", "largest_city", "birthplace", "sport", "instrument", "river_continent", "polygon_sides",
    "element_class", "animal_class", "colour", "home", "material", "invented_continent", "invented_language",
)  # fmt: skip

RECIPES = {
    "almanac": Recipe(
        (
            Stage(
                Mixture(SENTENCES, {"choice": 0.15, "few-shot": 0.5, "question": 0.35}, tokens=(2048, 1024)),
                steps=2000,
                learning_rate=2e-3,
                warm=50,
                steady=0.4,
            ),
            Stage(
                Mixture(
                    SENTENCES,
                    {"choice": 0.85, "few-shot": 0.15},
                    tokens=(1280, 3072),
                    options=(4,),
                    chosen_in=("en",),
                    chosen_of=SHORT,
                ),
                steps=250,
                learning_rate=2e-3,
                warm=20,
                steady=1.0,
                hints=Hints(),
                threads=1,
            ),
            Stage(
                Mixture(
                    SENTENCES,
                    {"choice": 0.85, "few-shot": 0.15},
                    tokens=(1280, 3072),
                    options=(4,),
                ),
                steps=400,
                learning_rate=2e-3,
                warm=10,
                steady=1.0,
                hints=Hints(),
                threads=1,
            ),
            Stage(
                Mixture(
                    SENTENCES,
                    {"choice": 0.48, "few-shot": 0.42, "question": 0.1},
                    tokens=(1536, 2560),
                    options=(4,),
                ),
                steps=560,
                learning_rate=2e-3,
                warm=10,
                steady=0.1,
                hints=Hints(recall=0.3, letters=0.3, look=0.2),
                threads=1,
            ),
        ),
        threads=2,
    ),
    "almanac-gpt2": Recipe(
        (
            Stage(
                Mixture(SENTENCES, {"choice": 0.1, "few-shot": 0.5, "question": 0.4}, tokens=(2048, 768)),
                steps=1700,
                learning_rate=2e-3,
                warm=50,
                steady=0.4,
            ),
        ),
    ),
    "almanac-bert": Recipe(
        (
            Stage(
                Mixture(SENTENCES, {"choice": 0.1, "few-shot": 0.5, "question": 0.4}, tokens=(2048, 768)),
                steps=3500,
                learning_rate=1e-3,
                warm=350,
                steady=0.1,
            ),
        ),
    ),
}
