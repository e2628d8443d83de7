"""What each edge of a model's graph contributes to an answer. One file per method."""

from collections.abc import Callable

from locant.attributions.edges.ablations import ABLATIONS, ablation_of
from locant.attributions.edges.acdc import CUT_RULES, CutRule, Discovered, acdc
from locant.attributions.edges.eap import eap
from locant.attributions.edges.eap_ig import eap_ig
from locant.attributions.edges.eap_ig_activations import eap_ig_activations
from locant.attributions.edges.exact import exact
from locant.attributions.edges.metrics import METRICS, UNITS, metric_of
from locant.attributions.edges.pairs import Pair, PairSites, batches, lay_out_pairs, needs_other, swapped_pairs
from locant.attributions.edges.relp import relp
from locant.attributions.edges.scores import EdgeScores

METHODS: dict[str, Callable[..., EdgeScores]] = {
    "eap": eap,
    "eap_ig": eap_ig,
    "eap_ig_activations": eap_ig_activations,
    "relp": relp,
    "exact": exact,
}
"""Scores of every edge, by name."""

__all__ = [
    "ABLATIONS",
    "CUT_RULES",
    "METHODS",
    "METRICS",
    "UNITS",
    "CutRule",
    "Discovered",
    "EdgeScores",
    "Pair",
    "PairSites",
    "ablation_of",
    "acdc",
    "batches",
    "eap",
    "eap_ig",
    "eap_ig_activations",
    "exact",
    "lay_out_pairs",
    "metric_of",
    "needs_other",
    "relp",
    "swapped_pairs",
]
