"""What the commands that run a recipe share: lists and settings in one option, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from locant.cli.shared import counting, method_settings

if TYPE_CHECKING:
    from locant.types import Setting


def settings_of_localizers(
    words: list[str], seed: int, known: tuple[str, ...] | None = None
) -> dict[str, dict[str, Setting]]:
    """Settings by localizer, from words such as amig.mode=code.

    Args:
        known: the localizers that may be set; None for all there are.
    """
    from locant.attributions import METHODS

    known = known or tuple(METHODS)
    by_localizer: dict[str, list[str]] = {}
    for word in words:
        localizer, dot, rest = word.partition(".")
        if not dot or "=" not in rest or localizer not in known:
            example = "amig.mode=code" if "amig" in known else f"{known[0]}.steps=20"
            raise typer.BadParameter(f"--setting takes LOCALIZER.NAME=VALUE, e.g. {example}, not {word!r}")
        by_localizer.setdefault(localizer, []).append(f"--{rest}")
    return {name: method_settings(name, own, seed) for name, own in by_localizer.items()}


def names_in(words: str | None) -> list[str] | None:
    """Names with commas between; None for all there are."""
    return list(filter(None, (word.strip() for word in words.split(",")))) if words else None


@contextmanager
def stages() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A line of progress for each part of a run."""
    with ExitStack() as stack:

        def say(what: str, units: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(counting(what, units))

        yield say
