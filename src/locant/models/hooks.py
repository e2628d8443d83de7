"""Every hook on a model: each a context manager that removes what it attached, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from torch import Tensor, nn
from transformers import PreTrainedModel

Arguments: TypeAlias = dict[str, object]
See: TypeAlias = Callable[[int, Tensor], None]
SeeCall: TypeAlias = Callable[[int, tuple[object, ...], Arguments], None]
ChangeInput: TypeAlias = Callable[[Tensor], Tensor]


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
    if own in ("eager", "sdpa"):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)
