"""Circuits run the plain way: every head on its own, through the model's whole attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from locant.attributions.edges import CutRule
from locant.models import LanguageModel
from locant.models.graph import Graph

# Which families have a graph, with the names of: attention norm, attention, MLP norm (of the block)
SERVED = {
    "gpt2": ("ln_1", "attn", "ln_2"),
    "gptj": ("ln_1", "attn", "ln_1"),
    "gpt_neo": ("ln_1", "attn.attention", "ln_2"),
    "gpt_neox": ("input_layernorm", "attention", "post_attention_layernorm"),
    "opt": ("self_attn_layer_norm", "self_attn", "final_layer_norm"),
    "bloom": ("input_layernorm", "self_attention", "post_attention_layernorm"),
    "phi": ("input_layernorm", "self_attn", "input_layernorm"),
    "stablelm parallel": ("input_layernorm", "self_attn", "input_layernorm"),
}
_LLAMA = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "stablelm", "granite")
SERVED |= dict.fromkeys(_LLAMA, ("input_layernorm", "self_attn", "post_attention_layernorm"))
PARALLEL = {"gptj", "gpt_neox", "phi", "stablelm parallel"}
OUTPUTS = ("c_proj", "o_proj", "out_proj", "dense")


def blend(family: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The output of a projection for all three, were each third of it another's."""
    if family == "gpt2":
        return torch.cat([query[..., :32], key[..., 32:64], value[..., 64:]], dim=-1)
    if family == "phi3":
        return torch.cat([query[..., :32], key[..., 32:48], value[..., 48:]], dim=-1)
    thirds = [one.unflatten(-1, (4, 3, 8)) for one in (query, key, value)]  # NeoX, BLOOM: by head
    return torch.stack([third[..., at, :] for at, third in enumerate(thirds)], dim=-2).flatten(-3)


class Plain:
    """One sequence through a model, block by block, every receiver with an input of its own."""

    def __init__(self, family: str, lm: LanguageModel, graph: Graph, tokens: list[int]) -> None:
        self.family, self.lm, self.graph, self.tokens = family, lm, graph, tokens
        self.norm, self.attention, self.mlp_norm = SERVED[family]

    def projections(self, block: nn.Module) -> list[nn.Module]:
        attention = block.get_submodule(self.attention)
        names = ("c_attn", "query_key_value", "qkv_proj", "q_proj", "k_proj", "v_proj")
        return [getattr(attention, name) for name in names if hasattr(attention, name)]

    def output(self, block: nn.Module) -> nn.Module:
        attention = block.get_submodule(self.attention)
        return next(getattr(attention, name) for name in OUTPUTS if hasattr(attention, name))

    def run(self, reads: Callable[[int, str, dict[str, Tensor]], Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """What every sender writes, and the logits at the end, given what every receiver reads of it."""
        sent: dict[str, Tensor] = {}
        hook = self.lm.blocks[0].register_forward_pre_hook(lambda module, args: sent.update(input=args[0][0]))
        self.lm.model(torch.tensor([self.tokens]))
        hook.remove()
        scale = getattr(self.lm.config, "residual_multiplier", 1.0)
        for layer, block in enumerate(self.lm.blocks):
            output = self.output(block)
            nothing = output(torch.zeros(1, 32, dtype=self.lm.model.dtype))
            for head in range(4):
                group = head * self.graph.groups // 4
                names = [f"a{layer}.h{head}.q", f"a{layer}.h{group}.k", f"a{layer}.h{group}.v"]
                names = names if self.graph.split else [f"a{layer}.h{head}"] * 3
                result = self.attend(layer, [reads(layer, name, sent) for name in names])
                alone = torch.zeros_like(result)
                alone[:, head * 8 : head * 8 + 8] = result[:, head * 8 : head * 8 + 8]
                sent[f"a{layer}.h{head}"] = (output(alone) - nothing) * scale
            sent[f"bias{layer}"] = nothing * scale
            normed = block.get_submodule(self.mlp_norm)(reads(layer, f"m{layer}", sent))
            sent[f"m{layer}"] = self.mlp(layer, normed) * scale
        last = reads(len(self.lm.blocks), "output", sent)[-1]
        return sent, self.lm.readout(last)

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        block, seen = self.lm.blocks[layer], []
        down = self.lm.downs[layer]
        first = [block.get_submodule(name) for name in {self.lm.architecture.gate, self.lm.architecture.up} if name]
        with ExitStack() as stack:
            for module in first:
                hook = module.register_forward_pre_hook(lambda module, args: (normed.reshape(args[0].shape),))
                stack.callback(hook.remove)
            stack.callback(down.register_forward_hook(lambda module, args, out: seen.append(out)).remove)
            self.lm.model(torch.tensor([self.tokens]))
        return seen[0].reshape(normed.shape)

    def attend(self, layer: int, streams: list[Tensor]) -> Tensor:
        """All heads' results, had each read these for its query, key and value."""
        block, seen = self.lm.blocks[layer], []
        normed = [block.get_submodule(self.norm)(stream)[None] for stream in streams]
        modules = self.projections(block)
        plain = [modules[at % len(modules)].forward(one) for at, one in enumerate(normed)]
        new = plain if len(modules) == 3 else [blend(self.family, *plain)]
        with ExitStack() as stack:
            for module, value in zip(modules, new, strict=True):
                stack.callback(module.register_forward_hook(lambda *_, value=value: value).remove)
            stack.callback(
                self.output(block).register_forward_pre_hook(lambda _, args: seen.append(args[0][0])).remove
            )
            self.lm.model(torch.tensor([self.tokens]))
        return seen[0]


@torch.no_grad()
def plain_circuit(
    family: str,
    lm: LanguageModel,
    graph: Graph,
    clean: list[int],
    other: list[int] | None,
    keep: Tensor,
    spans: Sequence[str] = (),
) -> Tensor:
    """Logits at the end of a circuit; senders are ablated by another prompt, or by zeros.

    Args:
        spans: of every token its span, if the graph has any.
    """
    kept = {graph.edge_name(*map(int, at)) for at in keep.nonzero()}

    def senders(layer: int, receiver: str) -> list[str]:
        found = ["input"]
        for at in range(layer):
            found += [f"bias{at}", *(f"a{at}.h{head}" for head in range(4)), f"m{at}"]
        if receiver.startswith("m") and family not in PARALLEL:
            found += [f"bias{layer}", *(f"a{layer}.h{head}" for head in range(4))]
        return found

    def whole(layer: int, receiver: str, sent: dict[str, Tensor]) -> Tensor:
        return sum(sent[name] for name in senders(layer, receiver))

    ablated = Plain(family, lm, graph, other or clean).run(whole)[0]
    if other is None:
        ablated = {name: value if name.startswith("bias") else value * 0 for name, value in ablated.items()}

    def reads(layer: int, receiver: str, sent: dict[str, Tensor]) -> Tensor:
        if spans:
            return torch.stack([read_at(at, span, layer, receiver, sent) for at, span in enumerate(spans)])
        return sum((sent if f"{name}->{receiver}" in kept else ablated)[name] for name in senders(layer, receiver))

    def read_at(at: int, span: str, layer: int, receiver: str, sent: dict[str, Tensor]) -> Tensor:
        total = torch.zeros_like(sent["input"][at])
        for name in senders(layer, receiver):
            edge = f"{name}@{span}->{receiver}" + ("" if receiver == "output" else f"@{span}")
            whole = (sent if edge in kept else ablated)[name]
            total = total + (whole[0] if name.startswith("bias") else whole[at])
        return total

    return Plain(family, lm, graph, clean).run(reads)[1]


def plain_acdc(graph: Graph, measure: Callable[[Tensor], float], threshold: float, rule: CutRule) -> Tensor:
    """The edges left by cutting them one after another, each tested by a pass of its own, from the output down."""
    keep = graph.edges.clone()
    now = full = measure(keep)

    def test(names: list[str]) -> None:
        nonlocal keep, now
        row = keep & ~graph.keeping(names)
        if bool((row == keep).all()):
            return
        after = measure(row)
        lost = (full if rule.from_full else now) - after
        if (abs(lost) if rule.absolute else lost) < threshold:
            keep, now = row, after

    def senders(receiver: str) -> list[str]:
        names = []
        for layer in reversed(range(graph.layers)):
            names += [f"m{layer}", *(f"a{layer}.h{head}" for head in range(graph.heads))]
        return [name for name in (*names, "input") if graph.edges[graph.sender(name), graph.receiver(receiver)]]

    def is_read(receiver: str) -> bool:
        fed = graph.feeds[graph.receiver(receiver)]
        return receiver == "output" or bool(keep[fed].any())

    def decide(receivers: list[str]) -> None:
        for receiver in [name for name in receivers if not is_read(name)]:
            keep[:, graph.receiver(receiver)] = False
        edges = {name: [f"{sender}->{name}" for sender in senders(name)] for name in receivers if is_read(name)}
        if rule.nodes and receivers != ["output"]:
            for names in edges.values():
                test(names)
        for names in edges.values():
            for name in names:
                test([name])

    decide(["output"])
    for layer in reversed(range(graph.layers)):
        decide([f"m{layer}"])
        for part in graph.parts:
            ending = f".{part}" if graph.split else ""
            decide([f"a{layer}.h{head}{ending}" for head in reversed(range(graph.readers(part)))])
    return keep
