"""Edge attribution patching with integrated gradients of activations: gradients averaged between what nodes write
ablated and what they write in the untouched model, some nodes at a time.

The nodes of a path are the input, all heads of a layer, or its MLP. An edge has the gradients of its own sender's
path, so that a path's edges add up to what is lost where all its nodes are ablated (tests/laws/test_edges.py). The
released code gives every edge the gradients of all paths; nodes on a path there have fixed values, and so no gradient
reaches what they read.

Source: Hanna et al. 2024, arXiv:2403.17806, and the released code's second form; as judged in Mueller et al. 2025,
arXiv:2504.13151. Paths of activations: Marks et al. 2024, arXiv:2403.19647.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from locant.attributions.edges.ablations import ablation_of
from locant.attributions.edges.eap_ig import MEMORY, position_bytes
from locant.attributions.edges.gradients import gradients
from locant.attributions.edges.metrics import metric_of
from locant.attributions.edges.pairs import Pair, batches, lay_out_pairs
from locant.attributions.edges.products import Products
from locant.attributions.edges.scores import EdgeScores
from locant.attributions.quadrature import quadrature
from locant.models import LanguageModel, hooks
from locant.models.branches import Branches, branches_of
from locant.models.graph import Graph
from locant.models.sent import Sent, record_sent
from locant.types import Setting


def eap_ig_activations(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    steps: int = 5,
    rule: str = "riemann-right",
    released: bool = False,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    memory: int = MEMORY,
) -> EdgeScores:
    """What the metric would lose at each edge, by gradients averaged while its sender goes from ablated to clean.

    Args:
        steps: points on each path.
        rule: where they are, a name in `RULES`; riemann-right, as published, with one step is `eap`.
        released: gradients of all paths for every edge, as the released code has it.
        metric: a name in `METRICS`.
        ablation: a name in `ABLATIONS`.
        memory: bytes that a batch may take.

    Returns:
        (sender - sender ablated) * mean gradient by what the receiver reads, summed over positions.
    """
    measure, ablate = metric_of(metric), ablation_of(ablation, lm, graph, pairs)
    (nodes,) = quadrature(rule, steps)
    branches = branches_of(lm, graph)
    products = Products(graph, branches, memory // 8)
    points = torch.tensor(nodes.points, dtype=torch.float64)[None, :, None, None]
    weights = torch.tensor(nodes.weights, dtype=torch.float64) / (2 * graph.layers + 1 if released else 1)
    for batch in batches(lm, pairs, memory, position_bytes, len(nodes.points)):
        sites = lay_out_pairs(lm, batch, graph.spans)
        ablated = ablate(sites).to_length(sites.clean.tokens.shape[1])
        clean = record_sent(lm, branches, sites.clean)
        change, of_logits = clean.minus(ablated), measure(lm, sites)
        for path in _paths(graph, branches, clean, change, points):
            since = 0 if released else path.since
            with path.taken:
                found = gradients(lm, graph, branches, sites.clean, path.inputs, of_logits, since)
            products.add(change, found, weights, sites.clean, None if released else path.senders)
    settings: dict[str, Setting] = {
        "steps": steps,
        "rule": rule,
        "released": released,
        "metric": metric,
        "ablation": ablation,
        **graph.settings,
    }
    made_by = lm.provenance("eap_ig_activations", settings)
    return EdgeScores(graph, products.values / len(pairs), tuple(pairs), made_by)


@dataclass(frozen=True)
class _Path:
    """Passes in which some senders write what is between the ablated and the clean, by row.

    Attributes:
        since: the first layer that reads them.
        inputs: what the first block is given.
    """

    senders: range
    since: int
    inputs: Float[Tensor, "sequence row position hidden"]
    taken: AbstractContextManager[None]


def _paths(
    graph: Graph, branches: Sequence[Branches], clean: Sent, change: Sent, points: Float[Tensor, "1 row 1 1"]
) -> Iterator[_Path]:
    def between(end: Tensor, whole: Tensor) -> Tensor:
        return (end - (1 - points.to(whole)) * whole).to(end.dtype).flatten(0, 1).requires_grad_()

    rows = points.shape[1]
    yield _Path(range(1), 0, between(clean.input, change.input).unflatten(0, (-1, rows)), nullcontext())
    inputs = clean.input.expand(-1, rows, -1, -1)
    for layer, branch in enumerate(branches):
        first, mlp = graph.head_sender(layer, 0), graph.mlp_sender(layer)
        heads = between(clean.heads[layer], change.heads[layer])
        put = hooks.changing_inputs({branch.output: _putting(heads)})
        yield _Path(range(first, mlp), layer, inputs, put)
        written = between(clean.mlps[layer] / branch.scale, change.mlps[layer] / branch.scale)
        put = hooks.changing_outputs({branch.down: _putting(written)})
        yield _Path(range(mlp, mlp + 1), layer + 1, inputs, put)


def _putting(values: Float[Tensor, "pass position axis"]) -> hooks.ChangeOutput:
    # OPT flattens sequences before its feed-forward layers
    return lambda own: values.reshape(own.shape)
