"""The graph of a model, held against what the model computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from locant.errors import SelfCheckFailed
from locant.models import hooks
from locant.models.branches import Branches, attention_of, branches_of
from locant.models.graph import PARTS, Graph
from locant.models.language_model import LanguageModel
from locant.models.sent import Sent, record_sent, residuals
from locant.models.sites import Sites, lay_out_each


def graph_of(lm: LanguageModel, *, split: bool = True, expanded: bool = False, spans: Sequence[str] = ()) -> Graph:
    """The graph of a model, once its heads and MLPs are found to add up to what it computes.

    Args:
        split: queries, keys and values are receivers of their own; otherwise a head reads once for all three.
        expanded: every head has a key and a value of its own, even where heads share them.
        spans: of positions, that are told apart: `locant.models.spans.SPANS`.

    Raises:
        LocantError: what this model's heads and MLPs write does not add up to its residual stream: it has a norm
            on their way, or an encoder.
        SelfCheckFailed: its entry in the architecture table does not describe its heads.
    """
    attention = attention_of(lm)
    graph = Graph.of_sizes(
        lm.layers,
        lm.config.num_attention_heads,
        getattr(lm.config, "num_key_value_heads", None),
        split=split,
        parallel=attention.parallel(lm.config),
        expanded=expanded,
        spans=spans,
    )
    try:
        check_graph(lm, graph.plain)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise SelfCheckFailed(f"{_entry(lm)} does not fit it: {error}") from error
    return graph


@torch.no_grad()
def check_graph(lm: LanguageModel, graph: Graph) -> None:
    """Hold a graph against the model, on a few tokens.

    These must be true: the sum of what senders write is what every block, and the readout, is given; the norms of
    these sums are what the projections and the MLPs are given; and a head's query, key and value are where the entry
    says: silencing its value silences it alone, and of the first position its key matters to it alone, its query to
    nothing.

    Raises:
        SelfCheckFailed: one is not; the text says which.
    """
    branches = branches_of(lm, graph)
    sites = lay_out_each([(tuple(range(2, 7)), (7,)), (tuple(range(4, 9)), (9,))]).to(lm.device)
    seen: dict[str, dict[int, Tensor]] = {name: {} for name in ("blocks", "readers", "last", *PARTS)}
    with ExitStack() as stack:
        stack.enter_context(hooks.at_rest(lm.model))
        for name, modules in _watched(lm, branches).items():
            stack.enter_context(hooks.watching_inputs(modules, seen[name].__setitem__))
        for part in PARTS:
            projections = [branch.projections[part].module for branch in branches]
            stack.enter_context(hooks.watching_outputs(projections, seen[part].__setitem__))
        stack.enter_context(hooks.watching_outputs(lm.blocks[-1:], seen["last"].__setitem__))
        sent = record_sent(lm, branches, sites)
        _compare_all(lm, graph, branches, sent, seen, sites)
    for part in PARTS:
        _check_head(lm, branches, sites, sent.heads[0][:, 0], part)


def _check_head(lm: LanguageModel, branches: Sequence[Branches], sites: Sites, own: Tensor, part: str) -> None:
    """What the first layer's heads make of the last head's query, key or value, where that is zero."""
    projection = branches[0].projections[part]
    last = projection.channels[-1]
    # Heads that share it
    fed = [
        head
        for head, channels in enumerate(_for_heads(projection.channels, branches[0].heads))
        if channels == last.tolist()
    ]

    def silence(projected: Tensor) -> Tensor:
        silenced = projected.clone()
        silenced[:, : None if part == "v" else 1, last] = 0
        return silenced

    with hooks.at_rest(lm.model), hooks.changing_outputs({projection.module: silence}):
        found = record_sent(lm, branches, sites).heads[0][:, 0]
    by_head = (found - own).abs().unflatten(-1, (branches[0].heads, -1)).amax(dim=(0, 1, 3))
    touched = by_head.gt(1e-6 * own.abs().max()).nonzero()[:, 0].tolist()
    silent = part != "v" or not found.unflatten(-1, (branches[0].heads, -1))[:, :, fed].any()
    if touched != ([] if part == "q" else fed) or not silent:
        raise SelfCheckFailed(
            f"{_entry(lm)} does not describe it: what it calls the {part} of layer 0's last head reaches heads "
            f"{touched}, and should reach {[] if part == 'q' else fed}"
        )


def _for_heads(channels: Tensor, heads: int) -> list[list[int]]:
    """Of every head the channels it uses: heads that share them are beside each other."""
    repeated: list[list[int]] = channels.repeat_interleave(heads // len(channels), dim=0).tolist()
    return repeated


def _watched(lm: LanguageModel, branches: Sequence[Branches]) -> dict[str, list[torch.nn.Module]]:
    return {"blocks": lm.blocks, "readers": [branch.readers[0] for branch in branches]}


def _compare_all(
    lm: LanguageModel,
    graph: Graph,
    branches: Sequence[Branches],
    sent: Sent,
    seen: dict[str, dict[int, Tensor]],
    sites: Sites,
) -> None:
    sums = residuals(sent, branches, graph)
    for layer, branch in enumerate(branches):
        stream = sums.attention[layer][:, 0].to(lm.model.dtype)
        _compare(lm, f"the sum of all senders before layer {layer}", stream, seen["blocks"][layer])
        normed = branch.norm.forward(stream)
        for part in PARTS:
            projection = branch.projections[part]
            heads = range(len(projection.channels))
            made = torch.einsum("bpd,hdk->bphk", normed, branch.reads(part, heads)) + branch.biases(part, heads)
            _compare(lm, f"layer {layer}'s {part}", made, seen[part][layer][..., projection.channels])
        before = branch.mlp_norm.forward(sums.mlp[layer][:, 0].to(lm.model.dtype))
        given = seen["readers"][layer].reshape(before.shape)
        _compare(lm, f"the norm of all senders before layer {layer}'s MLP", before, given)
    _compare(lm, "the sum of all senders", sums.output[:, 0], seen["last"][0])


def _entry(lm: LanguageModel) -> str:
    return f"{lm.name} ({lm.model.config.model_type}): `attention` of its entry in models/architectures.py"


def _compare(lm: LanguageModel, what: str, found: Tensor, expected: Tensor) -> None:
    exact = lm.model.dtype in (torch.float32, torch.float64)
    tolerance = (1e-3 if exact else 5e-2) * max(1.0, float(expected.abs().max()))
    gap = float((found.to(expected) - expected).abs().max())
    if not gap <= tolerance:
        raise SelfCheckFailed(
            f"{_entry(lm)} does not describe it: {what} should be what the model itself computes, "
            f"but is off by {gap:.2g} (allowed {tolerance:.2g})"
        )
