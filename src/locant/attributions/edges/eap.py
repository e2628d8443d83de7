"""Edge attribution patching: every edge's effect at once, to first order.

Source: Syed et al. 2023, arXiv:2310.10348.
"""

from __future__ import annotations

from collections.abc import Sequence

from locant.attributions.edges.eap_ig import MEMORY, integrated
from locant.attributions.edges.pairs import Pair
from locant.attributions.edges.products import Products
from locant.attributions.edges.scores import EdgeScores
from locant.attributions.quadrature import Quadrature
from locant.models import LanguageModel
from locant.models.branches import branches_of
from locant.models.graph import Graph


def eap(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    memory: int = MEMORY,
) -> EdgeScores:
    """What the metric would lose at each edge, were everything linear around the untouched model.

    Args:
        metric: a name in `METRICS`.
        ablation: a name in `ABLATIONS`.
        memory: bytes that a batch may take.

    Returns:
        (sender - sender ablated) * gradient by what the receiver reads, summed over positions.
    """
    made_by = lm.provenance("eap", {"metric": metric, "ablation": ablation, **graph.settings})
    at_clean = Quadrature((1.0,), (1.0,))
    products = Products(graph, branches_of(lm, graph), memory // 8)
    values = integrated(lm, products, pairs, at_clean, metric, ablation, memory)
    return EdgeScores(graph, values, tuple(pairs), made_by)
