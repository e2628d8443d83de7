"""What the settings of recipes are refused for."""

from __future__ import annotations

from collections.abc import Iterable

from locant.errors import UnknownName, nearest


def refuse_other(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of those known, and say which there are.

    Raises:
        UnknownName: there is no such thing.
    """
    known = tuple(known)
    if name not in known:
        raise UnknownName(f"no {what} {name!r}{nearest(name, known)}; there are {', '.join(known)}")


def refuse_less(least: int, plan: object, *names: str) -> None:
    """Refuse a plan of which one of these settings is less than the least.

    Raises:
        UnknownName: a setting is less than that.
    """
    for name in names:
        if getattr(plan, name) < least:
            raise UnknownName(f"{name} is {least} or more, not {getattr(plan, name)}")


def refuse_whole(plan: object, *names: str) -> None:
    """Refuse a plan of which one of these settings, shares of a whole, is no such share.

    Raises:
        UnknownName: one is below 0, or is 1 or more.
    """
    for name in names:
        if not 0 <= getattr(plan, name) < 1:
            raise UnknownName(f"{name} is at least 0 and less than 1, not {getattr(plan, name)}")
