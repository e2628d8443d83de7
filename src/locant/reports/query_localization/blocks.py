"""What the papers' localizers, kinds of facts and operations are called on this page."""

from __future__ import annotations

from collections.abc import Sequence

from locant.reports.blocks import Chooser

LOCALIZERS = {"dai": "Dai", "sig": "SIG", "amig": "AMIG"}
KINDS = ("consistent", "inconsistent")
OPERATIONS = {"suppress": "Suppressed", "enhance": "Enhanced", "erase": "Erased", "update": "Updated"}
DOING = {"erase": "erasing", "update": "updating"}


def name_of(localizer: str) -> str:
    """A localizer as its paper calls it, for sentences; as text."""
    return LOCALIZERS.get(localizer, localizer)


def chooser(localizers: Sequence[str]) -> Chooser:
    """A button for each localizer, by its place in the run."""
    return Chooser("Localizer", "located by", {str(place): name_of(one) for place, one in enumerate(localizers)})
