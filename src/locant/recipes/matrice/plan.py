"""What a run of MATRICE does: its settings. The paper's own are unknown; each default says where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from locant.attributions import METHODS
from locant.errors import UnknownName
from locant.recipes.plans import refuse_less, refuse_other, refuse_whole
from locant.selections.uncertainty import RULES
from locant.types import Setting

WEIGHTS = ("equal", "probability", "top-1")
OPERATIONS = {"suppress": 0.0, "enhance": 2.0}
FACTORS = (1.5, 2.0, 3.0, 5.0)
"""By which located neurons are scaled where a known fact's query fails."""
LAMBDAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Sizes of an update that are tried, in lengths of the value vector."""
SHARES = (0.1, 0.2, 0.3, 0.5)
"""Of a language's highest score, for which it is counted in how many languages neurons pass; and the plan's own."""
MATRICE = "matrice"
ABLATIONS = ("no query term", "no language term", "no uncertainty", "one query")
"""The set without part of its uncertainty."""
RANDOM, LIKE_UNION = "random", "random like union"
"""Before a number: draws with as many neurons in each layer as the set has, and as the union has."""
PEER = "another fact's"
"""The set of another fact of the relation; with ' own: fr' behind it, that fact's own neurons of a language."""
REFERENCES = ("intersection", "union", "language neurons", RANDOM, LIKE_UNION, PEER)
SETS = (MATRICE, *ABLATIONS, *REFERENCES)
"""Sets of neurons of a fact, all of one size. Beside them, by the other rules: 'by deviation'; every language's own:
'own: fr'; those of all other languages together: 'others than: fr'."""
OWN, OTHERS, PEER_OWN = "own: ", "others than: ", f"{PEER} own: "
"""Before a language."""
OWN_HERE, OWN_ONE = "own of the language", "own of one language"
IN_TURN, ALL_NEURONS, LORA = "each language's own, in turn", "all neurons", "LoRA"


def kind_of(name: str) -> str:
    """A set's name without its draw: 'random 2' is 'random', 'random like union 1' is 'random like union'."""
    for kind in (LIKE_UNION, RANDOM):
        if name.startswith(f"{kind} "):
            return name if not name.removeprefix(f"{kind} ").isdigit() else kind
    return name


def control_of(name: str) -> str:
    """The random sets that have a set's layers: the set's own for what is like it, the union's for all else."""
    like_union = ("union", "intersection", OWN_HERE, OWN_ONE, IN_TURN)
    return LIKE_UNION if name.startswith((OWN, OTHERS, PEER_OWN)) or name in like_union else RANDOM


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        localizer: a method of `locant.attributions`. The paper's is amig by inference; dai finds planted neurons
            more often (docs/matrice.md).
        settings: of the localizer, where they are not its defaults.
        lambda_q, lambda_l, rule: of the score, see `locant.selections.uncertainty.over_languages`. By 'deviation'
            hardly a neuron has a score above zero in seven languages; by 'entropy' enough have.
        weights: of a language's queries in its mean: 'equal', 'probability' (of the answer) or 'top-1'.
        share: a neuron's least score in a language, as a share of the highest, where sets are counted.
        size: neurons of every set that is compared.
        draws: of bootstraps of the chosen set, and of nulls.
        random_sets: random sets of each fact, as many with the set's layers and with the union's.
        edited, injected, enhanced, paired: facts of each of these experiments; injected are so many with a new
            object, and so many that are taught as they are.
        sources: languages that facts are injected in, the first ones of the run.
        lambda1, lambda2: of an update, in lengths of the value vector; where not given, both are the one of LAMBDAS
            with which a language's own neurons do best on facts that are not edited.
        steps, rate: of an injection's training.

    Source: arXiv:2411.17401 names none of these values; size and draws are ours, the others as their docstrings say.
    """

    localizer: str = "dai"
    settings: Mapping[str, Setting] = field(default_factory=dict)
    lambda_q: float = 1.0
    lambda_l: float = 1.0
    rule: str = "entropy"
    weights: str = "equal"
    share: float = 0.2
    size: int = 20
    draws: int = 50
    random_sets: int = 3
    edited: int = 12
    injected: int = 10
    enhanced: int = 40
    paired: int = 8
    sources: int = 2
    lambda1: float | None = None
    lambda2: float | None = None
    steps: int = 40
    rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_other("localizer", self.localizer, METHODS)
        refuse_other("rule", self.rule, RULES)
        refuse_other("weights", self.weights, WEIGHTS)
        refuse_whole(self, "share")
        refuse_less(1, self, "size", "draws", "random_sets", "steps")
        refuse_less(0, self, "lambda_q", "lambda_l", "edited", "injected", "enhanced", "paired", "sources")
        if self.rate <= 0:
            raise UnknownName(f"a rate is more than 0, not {self.rate}")

    def plain(self) -> dict[str, object]:
        """As a manifest holds it."""
        return asdict(self)
