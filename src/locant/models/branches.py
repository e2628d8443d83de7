"""A layer's heads and MLP: the modules they read and write the residual stream through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from locant.errors import LocantError
from locant.models.architectures import Attention
from locant.models.graph import PARTS, Graph
from locant.models.language_model import LanguageModel
from locant.models.weights import device_of, value_vectors


@dataclass(frozen=True)
class Projection:
    """What makes the queries, keys or values of a layer's heads.

    Attributes:
        channels: of the module's own output, those of each head; heads that share one have the same.
        places: where they stand in the output that attention is given.
    """

    module: nn.Module
    channels: Int[Tensor, "head channel"]
    places: Int[Tensor, "head channel"]


@dataclass(frozen=True)
class Branches:
    """One layer's heads and MLP.

    Attributes:
        norm: between the residual stream and the projections; `mlp_norm` between it and `readers`.
        projections: of queries, keys and values, by `q`, `k` and `v`.
        expanded: of a projection that is given more heads than it has, the channel of its own that stands at each
            place of its output.
        output: its input is all heads' results side by side.
        readers: the MLP's modules that read the residual stream.
        down: the MLP's module that writes to it.
        scale: factor on what heads and MLP add to the residual stream.
    """

    norm: nn.Module
    projections: Mapping[str, Projection]
    expanded: Mapping[nn.Module, Int[Tensor, " place"]]
    output: nn.Module
    mlp_norm: nn.Module
    readers: Sequence[nn.Module]
    down: nn.Module
    scale: float
    hidden: int
    heads: int
    dtype: torch.dtype

    def reads(self, part: str, heads: Sequence[int]) -> Float[Tensor, "head hidden channel"]:
        """The weights by which heads read a normed residual."""
        projection = self.projections[part]
        rows = value_vectors(projection.module, self.hidden, self.dtype)
        return columns(rows, projection.channels[list(heads)]).transpose(0, 1)

    @torch.no_grad()
    def biases(self, part: str, heads: Sequence[int]) -> Float[Tensor, "head channel"]:
        """What heads read of nothing."""
        projection = self.projections[part]
        nothing = torch.zeros(1, self.hidden, dtype=self.dtype, device=device_of(projection.module))
        return columns(projection.module.forward(nothing)[0], projection.channels[list(heads)])

    def writes(self) -> Float[Tensor, "head channel hidden"]:
        """The weights by which heads write to the residual stream."""
        inputs = _inputs(self.output)
        rows = value_vectors(self.output, inputs, self.dtype)
        return rows.view(self.heads, -1, self.hidden) * self.scale

    def written(self, heads: Float[Tensor, "*row wide"]) -> Float[Tensor, "*row hidden"]:
        """What all heads add to the residual stream, with the bias that is nobody's."""
        # `forward` itself: what is computed here is not the model's own pass
        return self.output.forward(heads) * self.scale


def _inputs(module: nn.Module) -> int:
    found = getattr(module, "in_features", None) or module.nx
    return int(found)  # type: ignore[arg-type]


def columns(values: Float[Tensor, "*row axis"], places: Int[Tensor, "head channel"]) -> Tensor:
    """Some entries of the last axis, by head [*row head channel]; a view, where they stand side by side."""
    flat = places.flatten().to(values.device)
    beside = bool((flat.diff() == 1).all())
    picked = values[..., flat[0] : flat[-1] + 1] if beside else values[..., flat]
    return picked.unflatten(-1, places.shape)


def branches_of(lm: LanguageModel, graph: Graph) -> list[Branches]:
    """Every layer's heads and MLP, as a graph has them.

    Raises:
        LocantError: what this model's heads and MLPs write does not add up to its residual stream, or the graph is
            expanded and its keys have norms that cannot be.
    """
    attention = attention_of(lm)
    heads, own = lm.config.num_attention_heads, getattr(lm.config, "num_key_value_heads", None)
    sizes = {"q": heads, "k": own or heads, "v": own or heads}
    wanted = {part: graph.readers(part) if graph.split else heads for part in PARTS}
    if wanted != sizes and getattr(lm.config, "qk_layernorm", False):
        raise LocantError(f"{lm.name} norms each shared key by a norm of its own, so that keys cannot be expanded")
    return [_branches(lm, block, attention, sizes, wanted) for block in lm.blocks]


def attention_of(lm: LanguageModel) -> Attention:
    """Where a model's heads read and write.

    Raises:
        LocantError: it has no graph; the text says why.
    """
    spec = lm.architecture
    if spec.attention is not None:
        return spec.attention
    if spec.kind != "causal":
        reason = f"it is {spec.kind}, and graphs are of models that read from left to right"
    elif spec.branch_norm or spec.sum_norm:
        where = "what a head or an MLP writes" if spec.branch_norm else "the residual stream"
        reason = f"{where} passes a norm on its way, so that heads do not add up to what the next layer reads"
    else:
        reason = "its heads do not add up to what the next layer reads, or its entry does not say where they are"
    raise LocantError(f"no graph of {lm.name} ({lm.model.config.model_type}): {reason}")


def _branches(
    lm: LanguageModel, block: nn.Module, attention: Attention, sizes: Mapping[str, int], wanted: Mapping[str, int]
) -> Branches:
    spec = lm.architecture
    names = {"q": attention.query, "k": attention.key, "v": attention.value}
    output = block.get_submodule(attention.output)
    width = _inputs(output) // sizes["q"]
    projections: dict[str, Projection] = {}
    expanded: dict[nn.Module, Tensor] = {}
    for name in dict.fromkeys(names.values()):
        module = block.get_submodule(name)
        held = [part for part in PARTS if names[part] == name]
        own = _channels(held, sizes, width, attention.interleaved)
        repeated = {part: own[part].repeat_interleave(wanted[part] // sizes[part], dim=0) for part in held}
        if any(wanted[part] != sizes[part] for part in held):
            places = _channels(held, wanted, width, attention.interleaved)
            expanded[module] = torch.cat([repeated[part].flatten() for part in held])
        else:
            places = own
        projections |= {part: Projection(module, repeated[part], places[part]) for part in held}
    return Branches(
        norm=block.get_submodule(attention.norm),
        projections=projections,
        expanded=expanded,
        output=output,
        mlp_norm=block.get_submodule(attention.mlp_norm or attention.norm),
        readers=[block.get_submodule(name) for name in dict.fromkeys([spec.gate, spec.up or spec.gate])],
        down=block.get_submodule(spec.neurons),
        scale=spec.branch_scale(lm.config),
        hidden=lm.hidden,
        heads=sizes["q"],
        dtype=lm.model.dtype,
    )


def _channels(
    held: Sequence[str], sizes: Mapping[str, int], width: int, interleaved: bool
) -> dict[str, Int[Tensor, "head channel"]]:
    """Where the heads of each part stand in the output of a matrix that holds these parts."""
    if interleaved:
        by_head = torch.arange(sizes["q"] * len(held) * width).view(sizes["q"], len(held), width)
        return {part: by_head[:, at] for at, part in enumerate(held)}
    ends = torch.arange(sum(sizes[part] for part in held) * width).view(-1, width)
    return dict(zip(held, ends.split([sizes[part] for part in held]), strict=True))
