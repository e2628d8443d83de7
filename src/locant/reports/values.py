"""How a run's settings read on its page and on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def command(recipe: str, options: Mapping[str, object]) -> str:
    """The command line that makes a run of a recipe.

    Options without a value, and flags that are off, are left out; a mapping is a repeated option's names and values.
    """
    words = ["locant", "run", recipe]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, Mapping):
            words += [word for key, own in value.items() for word in (option, f"{key}={own}")]
        elif value is not False and value not in (None, ""):
            words += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def drawn_from(manifest: Mapping[str, object]) -> dict[str, object]:
    """How a run's data were drawn from their source, as options of the command line."""
    drawn = manifest.get("drawn")
    return dict(drawn) if isinstance(drawn, Mapping) else {}


def plain_value(value: object) -> str:
    """A value of a manifest in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, list):
        return ", ".join(map(plain_value, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain_value(one)}" for name, one in value.items()) or "none"
    return str(value)
