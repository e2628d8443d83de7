"""What each edge of a model's graph contributes to an answer. One file per method."""

from locant.attributions.edges.ablations import ABLATIONS, ablation_of
from locant.attributions.edges.acdc import CUT_RULES, CutRule, Discovered, acdc
from locant.attributions.edges.eap import eap
from locant.attributions.edges.eap_ig import eap_ig
from locant.attributions.edges.exact import exact
from locant.attributions.edges.metrics import METRICS, metric_of
from locant.attributions.edges.pairs import Pair, PairSites, batches, lay_out_pairs, swapped_pairs
from locant.attributions.edges.scores import EdgeScores

__all__ = [
    "ABLATIONS",
    "CUT_RULES",
    "METRICS",
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
    "exact",
    "lay_out_pairs",
    "metric_of",
    "swapped_pairs",
]
