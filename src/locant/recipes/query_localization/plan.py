"""What a run of query localization does: every choice the paper leaves open, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from locant.attributions import METHODS
from locant.errors import UnknownName
from locant.recipes.plans import refuse_less, refuse_other, refuse_whole
from locant.types import Setting

LOCALIZERS = ("dai", "sig", "amig")
STATIC_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5)
BETAS = (0.0, 0.5, 1.0, 2.0)
LAMBDAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        localizers: methods of `locant.attributions`, each judged for consistency; the first one's are touched.
        settings: of each localizer, where they are not its defaults.
        share: a query's neurons score at least this share of its highest.
        keep: neurons of each query that the tables keep, if they are not more by `share`.
        static: threshold on CS2 below which a fact is inconsistent; Otsu's is always taken too.
        draws: shuffled facts of the null.
        touched, edited: facts of each kind whose neurons and synapses are touched, and that are edited.
        random_sets: layer-matched random sets for every set touched.
        alpha: columns that draw more than this share of the highest one are synapses.
        renormalise: whether rows keep what they pay when columns are scaled.
        beta1, beta2: of the consistency-aware score, beta1 * mean - beta2 * std.
        cas_threshold: share of the highest consistency-aware score that is kept, where sizes are as found.
        cas_values: 'activations' (absolute ones) or 'scores', what that score is made of.
        lambda1, lambda2, embeddings: of an update, in lengths of the value vector; 'output' or 'input'. Where they
            are not given, both are the one of LAMBDAS with which the queries' own neurons, N_i, do best.
        spared: unrelated queries that an edit must leave as they are.

    Source: Chen et al. 2024, arXiv:2405.14117; what it does not report is chosen here.
    """

    localizers: tuple[str, ...] = LOCALIZERS
    settings: Mapping[str, dict[str, Setting]] = field(default_factory=dict)
    share: float = 0.2
    keep: int = 200
    static: float = 0.3
    draws: int = 200
    touched: int = 20
    edited: int = 15
    random_sets: int = 5
    alpha: float = 0.3
    renormalise: bool = False
    beta1: float = 1.0
    beta2: float = 1.0
    cas_threshold: float = 0.2
    cas_values: str = "activations"
    lambda1: float | None = None
    lambda2: float | None = None
    embeddings: str = "output"
    spared: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.localizers:
            refuse_other("method", name, METHODS)
        if not self.localizers:
            raise UnknownName(f"there must be a localizer, e.g. {', '.join(LOCALIZERS)}")
        for name in ("share", "static", "cas_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise UnknownName(f"{name} is more than 0 and at most 1, not {getattr(self, name)}")
        refuse_whole(self, "alpha")
        refuse_less(1, self, "keep", "draws", "touched", "edited", "random_sets", "spared")
        for name in self.settings:
            if name not in self.localizers:
                raise UnknownName(
                    f"settings of {name!r}, which is none of the localizers {', '.join(self.localizers)}"
                )
        refuse_other("embeddings", self.embeddings, ("output", "input"))
        if self.cas_values not in ("activations", "scores"):
            raise UnknownName(f"no values {self.cas_values!r} for the score; there are activations, scores")

    def plain(self) -> dict[str, object]:
        """As a manifest holds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
