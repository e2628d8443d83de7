"""Every hook on a model: each a context manager that removes what it attached, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from torch import Tensor, nn

Arguments: TypeAlias = dict[str, object]
See: TypeAlias = Callable[[int, Tensor], None]
SeeCall: TypeAlias = Callable[[int, tuple[object, ...], Arguments], None]
ChangeInput: TypeAlias = Callable[[Tensor], Tensor]
ChangeOutput: TypeAlias = Callable[[Tensor], Tensor]
ChangeResult: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of a module's input and its output."""


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
