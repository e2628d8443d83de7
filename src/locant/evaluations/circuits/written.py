"""What every sender of a graph writes where answers are read, in the model's own pass or inside a circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from locant.models import LanguageModel, at_least_float32
from locant.models.branches import Branches, branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.sent import Sent, at_sites, bring, record_sent, residuals, vectors
from locant.models.sites import Sites, lay_out_each
from locant.types import Query


@dataclass(frozen=True)
class Written:
    """What every sender writes where answers are read; each site is a sequence of one position.

    Attributes:
        graph: without spans.
        output: what the readout is given there.
    """

    graph: Graph
    branches: Sequence[Branches]
    sent: Sent
    output: Float[Tensor, "site hidden"]

    def nodes(self) -> Iterator[Float[Tensor, "point site hidden"]]:
        """What senders write, in their order: the input, then by layer its heads, then its MLP."""
        yield at_least_float32(self.sent.input)[None, :, 0, 0]
        for layer in range(self.graph.layers):
            yield self.heads(layer)
            yield at_least_float32(self.sent.mlps[layer])[None, :, 0, 0]

    @torch.no_grad()
    def heads(self, layer: int) -> Float[Tensor, "head site hidden"]:
        """What a layer's heads write."""
        return vectors(self.sent, self.branches, layer, range(self.graph.heads))[:, :, 0, 0]

    @torch.no_grad()
    def biases(self) -> Float[Tensor, " hidden"]:
        """What is nobody's: the biases of all layers' output projections of heads."""
        layers = zip(self.branches, self.sent.heads, strict=True)
        each = [branch.written(torch.zeros_like(heads[0, 0, 0])) for branch, heads in layers]
        return torch.stack([at_least_float32(one).to(self.output.device) for one in each]).sum(dim=0)

    @torch.no_grad()
    def stream(self) -> list[Float[Tensor, "1 site hidden"]]:
        """The residual stream: the input, and after each layer's heads and after its MLP."""
        total = at_least_float32(self.sent.input)[None, :, 0, 0]
        points = [total]
        for branch, heads, mlp in zip(self.branches, self.sent.heads, self.sent.mlps, strict=True):
            total = total.to(heads.device) + branch.written(heads)[None, :, 0, 0]
            points.append(total)
            total = total + mlp[None, :, 0, 0]
            points.append(total)
        return points


def first_sites(lm: LanguageModel, queries: Sequence[Query]) -> Sites:
    """Where the first token of each query's answer is read.

    Raises:
        BadQuery: a query cannot be asked of this model.
    """
    tokens = [lm.tokens(query) for query in queries]
    return lay_out_each([(one.prompt, one.answers[0][:1]) for one in tokens]).to(lm.device)


@torch.no_grad()
def written(lm: LanguageModel, graph: Graph, sites: Sites) -> Written:
    """What senders write in the model's own pass, under whatever interventions are in force."""
    branches = branches_of(lm, graph)
    sent = record_sent(lm, branches, sites).at(sites)
    return Written(graph.plain, branches, sent, residuals(sent, branches, graph).output[:, 0, 0])


@torch.no_grad()
def written_in(run: CircuitRun, keep: Bool[Tensor, "sender receiver"]) -> Written:
    """What senders write inside a circuit, at the sites of a run.

    All write, kept or not; the readout is given what the edges to the output bring of it, and of the rest what is
    written ablated.
    """
    changed = run.passed(keep).sent.at(run.sites)
    ablated = run.ablated.at(run.sites)
    now = Sent(
        ablated.input + changed.input,
        [mine + its for mine, its in zip(ablated.heads, changed.heads, strict=True)],
        [mine + its for mine, its in zip(ablated.mlps, changed.mlps, strict=True)],
    )
    kept = run.graph.of_span(keep, run.graph.copies - 1)[None, :, -1:].float()
    brought = bring(changed, run.branches, run.graph, kept, run.memory)[0]
    output = brought + at_sites(run.base.output, run.sites)
    return Written(run.graph.plain, run.branches, now, output[:, 0, 0])
