"""Settings of a method, from the words of a command line that the command itself does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import TYPE_CHECKING, get_args, get_type_hints

import typer

from locant.errors import nearest

if TYPE_CHECKING:
    from locant.types import Setting

KINDS = (bool, int, float, str)
"""What a setting can be on a command line; those of another kind are for Python only."""


def localizer_options(method: str, context: typer.Context, seed: int) -> dict[str, Setting]:
    """A localizer's settings.

    Raises:
        UnknownName: no such method.
        BadParameter: no such setting, or a value that it cannot have.
    """
    from locant.attributions import METHODS, settings_of

    settings_of(method)
    return settings_from(method, METHODS[method], context.args, seed, options_of(context))


def editing_options(method: str, context: typer.Context, seed: int) -> dict[str, Setting]:
    """An editing method's settings.

    Raises:
        UnknownName: no such method.
        BadParameter: no such setting, or a value that it cannot have.
    """
    from locant.interventions.editing import METHODS, editing_settings

    editing_settings(method)
    return settings_from(method, METHODS[method], context.args, seed, options_of(context))


def settings_from(
    method: str,
    function: Callable[..., object],
    words: Iterable[str],
    seed: int,
    beside: Iterable[str] = (),
) -> dict[str, Setting]:
    """The keyword-only parameters of a function as options: --name value, --name=value, --flag.

    Args:
        seed: for a parameter of that name.
        beside: other options of the command, one of which a mistyped word may have meant.
    """
    known = kinds_of(function)
    settings: dict[str, Setting] = {"seed": seed} if "seed" in known else {}
    rest = iter(words)
    for word in rest:
        option, _, joined = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in known:
            own = [f"--{one.replace('_', '-')}" for one in known]
            near = nearest(option, [*own, *beside])
            raise typer.BadParameter(f"no such option: {option}{near}. {method}'s own: {', '.join(own) or 'none'}")
        if known[name] is bool:
            settings[name] = joined.lower() not in ("false", "no", "0")
            continue
        text = joined or next(rest, "")
        if not text or text.startswith("--"):
            raise typer.BadParameter(f"{option} takes a value")
        settings[name] = _value(option, text, known[name])
    return settings


def kinds_of(function: Callable[..., object]) -> dict[str, type]:
    """The keyword-only parameters that a command line can give, each with what it is."""
    hints = get_type_hints(function)
    found: dict[str, type] = {}
    for name, parameter in signature(function).parameters.items():
        if parameter.kind is Parameter.KEYWORD_ONLY:
            takes = get_args(hints[name]) or (hints[name],)
            kind = next((one for one in KINDS if one in takes), None)
            if kind is not None:
                found[name] = kind
    return found


def options_of(context: typer.Context) -> list[str]:
    """The options of a command, beside which it takes those of a method."""
    return [option for parameter in context.command.params for option in parameter.opts]


def _value(option: str, text: str, kind: type) -> int | float | str:
    if kind is str:
        return text
    try:
        return float(text) if kind is float else int(text)
    except ValueError:
        what = "number" if kind is float else "whole number"
        raise typer.BadParameter(f"{option} takes a {what}, not {text!r}") from None
