"""Attention weights, seen and changed while a model runs; every context puts the model's own attention back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from locant.errors import LocantError
from locant.models.hooks import See

ChangeAttention: TypeAlias = Callable[[int, Tensor, int], Tensor]
"""Of a layer, its attention weights [sequence head query key] and the position its first key is at."""
Attend: TypeAlias = Callable[..., tuple[Tensor, Tensor]]


@contextmanager
def maskable_attention(model: PreTrainedModel) -> Iterator[None]:
    """An attention kernel that takes any mask: sdpa, in the place of flash or flex attention."""
    own = model.config._attn_implementation
    if own in ("eager", "sdpa") or has_changed_attention(model):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


@contextmanager
def changing_attention(
    model: PreTrainedModel, blocks: Sequence[nn.Module], change: ChangeAttention
) -> Iterator[None]:
    """Pass each block's attention weights through a function; attention is computed as the model's 'eager' does.

    with changing_attention(model, blocks, lambda layer, weights, first: weights * 2):
        model(**tokens)

    It nests: an inner context is given the weights that an outer one left.

    Args:
        change: where it returns the very tensor it was given, the block's output stays what it is, bit for bit;
            elsewhere it is computed anew from the weights returned.

    Raises:
        LocantError: the model has an encoder beside its decoder, or its attention weights cannot be reached.
    """
    if model.config.is_encoder_decoder:
        raise LocantError(f"a {model.config.model_type} has an encoder; attention is changed in models without one")
    dropouts = [] if _eager(blocks[0]) else _attention_dropouts(model, blocks)
    with ExitStack() as stack:
        stack.enter_context(_attending(model, _changed(model, blocks, change)))
        for layer, dropout in enumerate(dropouts):
            stack.callback(dropout.register_forward_hook(_changing_output(layer, change)).remove)
        yield


def watching_attention(model: PreTrainedModel, blocks: Sequence[nn.Module], see: See) -> AbstractContextManager[None]:
    """Show each block's attention weights [sequence head query key], as they are after every change made outside."""

    def show(layer: int, weights: Tensor, first: int) -> Tensor:
        see(layer, weights)
        return weights

    return changing_attention(model, blocks, show)


def has_changed_attention(model: PreTrainedModel) -> bool:
    """Whether a context of `changing_attention` lasts."""
    return str(model.config._attn_implementation).startswith(_NAME)


_NAME = "locant"

_DROPOUTS = (".attn_dropout", ".attention_dropout", ".self.dropout")
"""What attention weights pass through where a model does not look its attention up by name."""


def _changed(model: PreTrainedModel, blocks: Sequence[nn.Module], change: ChangeAttention) -> Attend:
    """The model's own attention, with its weights passed through a function."""
    layer_of = {module: layer for layer, block in enumerate(blocks) for module in block.modules()}
    outer = ALL_ATTENTION_FUNCTIONS[model.config._attn_implementation] if has_changed_attention(model) else None

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        own = outer or _eager(module)
        if own is None:
            raise LocantError(f"{type(module).__name__} has no eager attention to change")
        output, weights = own(module, query, key, value, mask, **kwargs)
        if module not in layer_of:
            return output, weights
        changed = change(layer_of[module], weights, _first_key(weights, kwargs.get("position_ids")))
        if changed is weights:
            return output, weights
        groups = changed.shape[1] // value.shape[1]
        values = value if groups == 1 else value.repeat_interleave(groups, dim=1)
        return (changed @ values).transpose(1, 2).contiguous(), changed

    return attend


def _changing_output(layer: int, change: ChangeAttention) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda module, inputs, weights: change(layer, weights, 0)


def _eager(module: nn.Module) -> Attend | None:
    """The eager attention that stands beside a module's class, if transformers' registry chooses its attention."""
    beside = (sys.modules.get(kind.__module__) for kind in type(module).__mro__)
    found = (getattr(source, "eager_attention_forward", None) for source in beside)
    return next((function for function in found if function is not None), None)


def _attention_dropouts(model: PreTrainedModel, blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """Of each block, the module that its attention weights pass through."""
    kernel = model.config._attn_implementation
    if kernel != "eager" and not has_changed_attention(model):
        raise LocantError(
            f"this {model.config.model_type} model keeps its attention weights to itself (kernel {kernel!r}); "
            "load it with attn_implementation='eager'"
        )
    found = []
    for layer, block in enumerate(blocks):
        named = [module for name, module in block.named_modules() if f".{name}".endswith(_DROPOUTS)]
        if len(named) != 1:
            raise LocantError(
                f"cannot reach the attention weights of a {model.config.model_type} model: block {layer} has "
                f"{len(named)} modules named {', '.join(name[1:] for name in _DROPOUTS)}, where one is expected"
            )
        found += named
    return found


def _first_key(weights: Tensor, positions: object) -> int:
    """The position of the first key: the cache of a sliding window lets go of those before it."""
    queries, keys = weights.shape[-2:]
    if queries == keys or not isinstance(positions, Tensor):
        return 0
    return max(0, int(positions.max()) + 1 - keys)


@contextmanager
def _attending(model: PreTrainedModel, attend: Attend) -> Iterator[None]:
    """Let transformers' registry choose a function for the model's attention, and forget it on exit."""
    name = f"{_NAME}-{id(attend)}"
    held = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in held if isinstance(config, PretrainedConfig)}
    # Outer before inner: a configuration hands its kernel on to those inside it
    own = [(config, config._attn_implementation) for config in configs.values()]
    try:
        AttentionInterface.register(name, attend)
        AttentionMaskInterface.register(name, eager_mask)
        for config, _ in own:
            config._attn_implementation = name
        yield
    finally:
        for config, kernel in own:
            config._attn_implementation = kernel
        # Transformers has no way to take back what was registered
        AttentionInterface._global_mapping.pop(name, None)
        AttentionMaskInterface._global_mapping.pop(name, None)
