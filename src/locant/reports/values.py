"""How a run's settings read on its page and on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def command(recipe: str, options: Mapping[str, object]) -> str:
    """The command line that makes a run of a recipe; options without a value are left out."""
    words = ["locant", "run", recipe]
    for name, value in options.items():
        if value not in (None, ""):
            words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)


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
