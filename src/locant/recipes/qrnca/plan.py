"""What a run of QRNCA does: its settings, with the paper's where it has any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from locant.errors import UnknownName
from locant.evaluations.boosting import AGGREGATES
from locant.recipes.plans import refuse_other, refuse_whole
from locant.selections.clusters import MODES
from locant.types import Setting

OWN, FEW, KNOWLEDGE, RANDOM = "qrnca", "qrnca, as few as knowledge neurons", "knowledge neurons", "random"
METHODS = (
    OWN,
    "qrnca without ICA",
    "qrnca with common neurons",
    FEW,
    KNOWLEDGE,
    "activation",
    RANDOM,
)
OPERATIONS = {"boost": 2.0, "suppress": 0.0}
EVALUATIONS = ("in-sample", "seen templates", "held-out template", "known question", "held-out question")
RELEASED: dict[str, Setting] = {"rule": "inclusive", "steps": 16}
"""The attribution's settings in the released code."""
DECIMALS = 6
"""The released code rounds its scores to so many."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        mode: how a question's templates become a cluster, see `locant.selections.clusters.cluster`. 'released'
            also attributes and rounds as that code does, where `settings` and `decimals` do not say otherwise;
            'paper' keeps the attribution's own quadrature.
        settings: of the attribution (`dai`), where they are not its defaults.
        decimals: that a template's scores are rounded to ('released' alone); None for 6 there.
        contrast: attribute P(right letter) less the mean P of the wrong ones, instead of P(right letter).
        wrong: attribute each wrong letter too, and compare their clusters with the right letter's.
        share: a cluster holds neurons above this share of its highest score.
        common: neurons of more than this share of all clusters are common.
        top: query-relevant neurons of a question, or of a group, at most.
        aggregate: of relative changes, see `locant.evaluations.boosting.change_ratio`.
        draws: shuffles of the questions' groups, the null of the overlaps.

    Source: Chen et al. 2024, arXiv:2406.10868, which has share 0.2, common 0.3, top 20.
    """

    mode: str = "paper"
    settings: Mapping[str, Setting] = field(default_factory=dict)
    decimals: int | None = None
    contrast: bool = False
    wrong: bool = False
    share: float = 0.2
    common: float = 0.3
    top: int = 20
    aggregate: str = "ratio-of-means"
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_other("mode", self.mode, MODES)
        refuse_other("aggregate", self.aggregate, AGGREGATES)
        refuse_whole(self, "share", "common")
        if self.top < 1:
            raise UnknownName(f"there must be 1 neuron or more of a question, not {self.top}")
        if self.decimals is not None and self.mode != "released":
            raise UnknownName(f"the mode 'released' alone rounds its scores, and this is {self.mode!r}")
        if self.mode == "released":
            object.__setattr__(self, "settings", {**RELEASED, **self.settings})
            object.__setattr__(self, "decimals", DECIMALS if self.decimals is None else self.decimals)

    def plain(self) -> dict[str, object]:
        """As a manifest holds it."""
        return asdict(self)
