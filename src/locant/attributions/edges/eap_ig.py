"""Edge attribution patching with integrated gradients: gradients averaged between ablated and clean inputs.

Source: Hanna et al. 2024, arXiv:2403.17806.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.edges.ablations import ablation_of
from locant.attributions.edges.gradients import gradients
from locant.attributions.edges.metrics import metric_of
from locant.attributions.edges.pairs import Pair, batches, lay_out_pairs
from locant.attributions.edges.products import Products
from locant.attributions.edges.scores import EdgeScores
from locant.attributions.quadrature import Quadrature, quadrature
from locant.models import LanguageModel
from locant.models.branches import branches_of
from locant.models.graph import Graph
from locant.models.sent import record_sent
from locant.types import Setting

MEMORY = 1 << 31
"""Bytes that a batch may take, by default: small batches read every weight more often."""


def eap_ig(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    steps: int = 5,
    rule: str = "riemann-right",
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    memory: int = MEMORY,
) -> EdgeScores:
    """What the metric would lose at each edge, by gradients averaged over inputs between the ablated and the clean.

    Args:
        steps: points on the path of the first block's input.
        rule: where they are, a name in `RULES`; the published one is riemann-right, which with one step is `eap`.
        metric: a name in `METRICS`.
        ablation: a name in `ABLATIONS`.
        memory: bytes that a batch may take.

    Returns:
        (sender - sender ablated) * mean gradient by what the receiver reads, summed over positions.
    """
    settings: dict[str, Setting] = {
        "steps": steps,
        "rule": rule,
        "metric": metric,
        "ablation": ablation,
        **graph.settings,
    }
    (nodes,) = quadrature(rule, steps)
    products = Products(graph, branches_of(lm, graph), memory // 8)
    values = integrated(lm, products, pairs, nodes, metric, ablation, memory)
    return EdgeScores(graph, values, tuple(pairs), lm.provenance("eap_ig", settings))


def integrated(
    lm: LanguageModel,
    products: Products,
    pairs: Sequence[Pair],
    nodes: Quadrature,
    metric: str,
    ablation: str,
    memory: int,
) -> Float[Tensor, "sender receiver"]:
    """Scores of every edge, averaged over pairs, with gradients at these points of the path."""
    graph, branches = products.graph, products.branches
    measure, ablate = metric_of(metric), ablation_of(ablation, lm, graph, pairs)
    points = torch.tensor(nodes.points, dtype=torch.float64)[None, :, None, None]
    weights = torch.tensor(nodes.weights, dtype=torch.float64)
    for batch in batches(lm, pairs, memory, position_bytes, len(nodes.points)):
        sites = lay_out_pairs(lm, batch, graph.spans)
        ablated = ablate(sites).to_length(sites.clean.tokens.shape[1])
        clean = record_sent(lm, branches, sites.clean)
        inputs = (ablated.input + points.to(clean.input) * (clean.input - ablated.input)).to(lm.model.dtype)
        found = gradients(lm, graph, branches, sites.clean, inputs, measure(lm, sites))
        products.add(clean.minus(ablated), found, weights, sites.clean)
    return products.values / len(pairs)


def position_bytes(lm: LanguageModel) -> int:
    """What one position of a pass takes that runs backwards too."""
    return lm.layers * (16 * lm.hidden + 4 * lm.neurons) * lm.model.dtype.itemsize
