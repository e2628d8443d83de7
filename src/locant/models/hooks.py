"""Every hook on a model: each a context manager that removes what it attached, whatever happens inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from locant.errors import LocantError

Arguments: TypeAlias = dict[str, object]
See: TypeAlias = Callable[[int, Tensor], None]
SeeCall: TypeAlias = Callable[[int, tuple[object, ...], Arguments], None]
ChangeInput: TypeAlias = Callable[[Tensor], Tensor]
ChangeOutput: TypeAlias = Callable[[Tensor], Tensor]
ChangeResult: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of a module's input and its output."""
ChangeAttention: TypeAlias = Callable[[int, Tensor, int], Tensor]
"""Of a layer, its attention weights [sequence head query key] and the position its first key is at."""
Attend: TypeAlias = Callable[..., tuple[Tensor, Tensor]]


@contextmanager
def watching_inputs(modules: Sequence[nn.Module], see: See) -> Iterator[None]:
    """Show each module's first input, by its index, as it is after every change made to it.

    with watching_inputs(lm.downs, seen.__setitem__):
        model(**tokens)
    """

    def hook(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: see(index, inputs[0])

    with ExitStack() as stack:
        for index, module in enumerate(modules):
            stack.callback(module.register_forward_pre_hook(hook(index)).remove)
        yield


@contextmanager
def watching_outputs(modules: Sequence[nn.Module], see: See) -> Iterator[None]:
    """Show each module's output, by its index; of several outputs the first."""

    def hook(index: int) -> Callable[[nn.Module, object, Tensor | tuple[object, ...]], None]:
        return lambda module, inputs, output: see(index, first(output))

    with ExitStack() as stack:
        for index, module in enumerate(modules):
            stack.callback(module.register_forward_hook(hook(index)).remove)
        yield


@contextmanager
def watching_calls(modules: Sequence[nn.Module], see: SeeCall) -> Iterator[None]:
    """Show the arguments each module is called with, by its index: positional ones and those by name."""

    def hook(index: int) -> Callable[[nn.Module, tuple[object, ...], Arguments], None]:
        return lambda module, args, kwargs: see(index, args, kwargs)

    with ExitStack() as stack:
        for index, module in enumerate(modules):
            handle = module.register_forward_pre_hook(hook(index), with_kwargs=True)
            stack.callback(handle.remove)
        yield


@contextmanager
def changing_inputs(modules: Mapping[nn.Module, ChangeInput]) -> Iterator[None]:
    """Pass each module's first input through a function.

    with changing_inputs({block.mlp.c_proj: lambda neurons: neurons * 0}):
        model.generate(**tokens)
    """

    def hook(change: ChangeInput) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda module, inputs: (change(inputs[0]), *inputs[1:])

    with ExitStack() as stack:
        for module, change in modules.items():
            stack.callback(module.register_forward_pre_hook(hook(change)).remove)
        yield


@contextmanager
def changing_outputs(modules: Mapping[nn.Module, ChangeOutput]) -> Iterator[None]:
    """Pass each module's output through a function; of several outputs the first.

    with changing_outputs({lm.blocks[3]: lambda residual: residual + shift}):
        model(**tokens)
    """

    def hook(change: ChangeOutput) -> Callable[[nn.Module, object, Tensor | tuple[object, ...]], object]:
        def changed(module: nn.Module, inputs: object, output: Tensor | tuple[object, ...]) -> object:
            new = change(first(output))
            return new if isinstance(output, Tensor) else (new, *output[1:])

        return changed

    with ExitStack() as stack:
        for module, change in modules.items():
            stack.callback(module.register_forward_hook(hook(change)).remove)
        yield


@contextmanager
def changing_results(modules: Mapping[nn.Module, ChangeResult]) -> Iterator[None]:
    """Pass what each module makes of its first input through a function of both.

    with changing_results({block.mlp.act: lambda given, made: given * (made / given).detach()}):
        model(**tokens)
    """

    def hook(change: ChangeResult) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda module, inputs, output: change(inputs[0], output)

    with ExitStack() as stack:
        for module, change in modules.items():
            stack.callback(module.register_forward_hook(hook(change)).remove)
        yield


class _Stopped(Exception):
    """Ends a pass from within."""


@contextmanager
def stopping_after(module: nn.Module) -> Iterator[None]:
    """End a pass of the model once a module is done, and the context with it.

    with watching_inputs(lm.downs[:4], see), stopping_after(lm.blocks[3]):
        model(**tokens)
    """

    def stop(module: nn.Module, inputs: object, output: object) -> None:
        raise _Stopped

    handle = module.register_forward_hook(stop)
    try:
        yield
    except _Stopped:
        pass
    finally:
        handle.remove()


@contextmanager
def a_key_for_every_head(blocks: Sequence[nn.Module], heads: int) -> Iterator[None]:
    """Let attention take a key and a value for every head, where heads share them.

    Their projections must then be made to give as many: see `changing_outputs`.
    """
    sizes = {"num_key_value_groups": 1, "num_key_value_heads": heads}
    inside = [module for block in blocks for module in block.modules()]
    places = [(module, name) for module in inside for name in sizes if name in vars(module)]
    own = [getattr(module, name) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, sizes[name])
        yield
    finally:
        for (module, name), size in zip(places, own, strict=True):
            setattr(module, name, size)


def first(output: Tensor | tuple[object, ...]) -> Tensor:
    """A block's residual: blocks return it alone or first in a tuple, by release."""
    residual = output if isinstance(output, Tensor) else output[0]
    assert isinstance(residual, Tensor)
    return residual


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, with parameters that want no gradient; both as before on exit."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


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
