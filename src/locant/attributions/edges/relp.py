"""Relevance patching: edge attribution patching with coefficients of layer-wise relevance propagation for gradients.

They are gradients of a model that computes the same and is linear in more of its parts: norms divide by what they
divided by; an activation function multiplies by what it multiplied by; attention weights are what they were; and of a
gated product each factor has half. What is sent then keeps its sum through every part without a bias
(tests/laws/test_edges.py), and nothing goes through queries and keys.

Source: Jafari et al. 2025, arXiv:2508.21258; the rules: Ali et al. 2022, arXiv:2202.07304, and, for gated products,
Jafari et al. 2024, arXiv:2406.07592.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from locant.attributions.edges.eap_ig import MEMORY, integrated
from locant.attributions.edges.pairs import Pair
from locant.attributions.edges.products import Products
from locant.attributions.edges.scores import EdgeScores
from locant.attributions.quadrature import Quadrature
from locant.models import LanguageModel, hooks
from locant.models.branches import Branches, branches_of
from locant.models.graph import Graph
from locant.models.norms import norm_of


def relp(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    memory: int = MEMORY,
) -> EdgeScores:
    """What the metric would lose at each edge, by relevance; nothing where queries and keys read.

    Args:
        metric: a name in `METRICS`.
        ablation: a name in `ABLATIONS`.
        memory: bytes that a batch may take.

    Returns:
        (sender - sender ablated) * coefficient of what the receiver reads, summed over positions.
    """
    branches = branches_of(lm, graph)
    products = Products(graph, branches, memory // 8, parts=("v",), fixed_size=True)
    at_clean = Quadrature((1.0,), (1.0,))
    with _relevance(lm, branches):
        values = integrated(lm, products, pairs, at_clean, metric, ablation, memory)
    made_by = lm.provenance("relp", {"metric": metric, "ablation": ablation, **graph.settings})
    return EdgeScores(graph, values, tuple(pairs), made_by)


@contextmanager
def _relevance(lm: LanguageModel, branches: Sequence[Branches]) -> Iterator[None]:
    """Passes whose values are the model's own, and whose gradients are coefficients of relevance."""
    norms = [norm for branch in branches for norm in (branch.norm, branch.mlp_norm)]
    norms += [lm.model.get_submodule(name) for name in lm.architecture.readout if name != "unembedding"]
    results = {norm: _fixed_size(norm) for norm in norms}
    results |= dict.fromkeys(lm.parts(lm.architecture.activation), _fixed_factor)
    outputs = {
        one.module: _values_alone(branch, one.module) for branch in branches for one in branch.projections.values()
    }
    with ExitStack() as stack:
        stack.enter_context(hooks.changing_results(results))
        stack.enter_context(hooks.changing_outputs(outputs))
        if lm.architecture.up is not None:
            stack.enter_context(hooks.changing_inputs({branch.down: _halved for branch in branches}))
        yield


def _fixed_size(module: nn.Module) -> hooks.ChangeResult:
    """A norm that divides by what it divided by."""

    def change(stream: Tensor, normed: Tensor) -> Tensor:
        norm = norm_of(module, stream)
        _, size = norm.measure(stream)
        return _with_slope(normed, (norm.centre(stream) * (norm.gain / size)).to(normed.dtype))

    return change


def _fixed_factor(given: Tensor, made: Tensor) -> Tensor:
    """An activation function that multiplies by what it multiplied by; of nothing it makes nothing."""
    factor = torch.where(given == 0, 0, made / given).detach()
    return _with_slope(made, given * factor)


def _values_alone(branch: Branches, module: nn.Module) -> hooks.ChangeOutput:
    """A projection through whose queries and keys nothing goes."""
    value = branch.projections["v"]
    channels = value.channels.flatten() if value.module is module else value.channels.flatten()[:0]

    def change(projected: Tensor) -> Tensor:
        goes = torch.zeros(projected.shape[-1], dtype=torch.bool, device=projected.device)
        goes[channels.to(projected.device)] = True
        return torch.where(goes, projected, projected.detach())

    return change


def _halved(product: Tensor) -> Tensor:
    """A product, of which each of two factors has half."""
    return _with_slope(product, product / 2)


def _with_slope(value: Tensor, like: Tensor) -> Tensor:
    """A value, with the gradients of something else."""
    return value.detach() + (like - like.detach())
