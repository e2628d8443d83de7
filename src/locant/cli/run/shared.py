"""What the commands that run a recipe share: lists and settings in one option, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from locant.cli.settings import settings_from
from locant.cli.shared import counting

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
    example = "amig.mode=code" if "amig" in known else f"{known[0]}.steps=20"
    return _settings_by_method(words, {name: METHODS[name] for name in known}, seed, "LOCALIZER", example)


def settings_of_editors(words: list[str], seed: int) -> dict[str, dict[str, Setting]]:
    """Settings by editing method, from words such as rome.layer=5."""
    from locant.interventions.editing import METHODS

    return _settings_by_method(words, METHODS, seed, "METHOD", "rome.layer=5")


def _settings_by_method(
    words: list[str], known: Mapping[str, Callable[..., object]], seed: int, what: str, example: str
) -> dict[str, dict[str, Setting]]:
    by_method: dict[str, list[str]] = {}
    for word in words:
        method, dot, rest = word.partition(".")
        if not dot or "=" not in rest or method not in known:
            raise typer.BadParameter(f"--setting takes {what}.NAME=VALUE, e.g. {example}, not {word!r}")
        by_method.setdefault(method, []).append(f"--{rest}")
    return {name: settings_from(name, known[name], own, seed) for name, own in by_method.items()}


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
