"""What methods, measures and localizations are called on the page, in its order, and their colours."""

from __future__ import annotations

from collections.abc import Iterable

from locant.recipes.editing.plan import RANDOM
from locant.reports.means import in_order

__all__ = ["EFFECTS", "METHODS", "RANDOM", "colour_of", "dash_of", "label_of", "name_of", "ordered"]

METHODS = {
    "rome": "ROME",
    "memit": "MEMIT",
    "alphaedit": "AlphaEdit",
    "ft_m": "FT\u2011M",
    "ft_l": "FT\u2011L",
    "ft": "FT",
    "kn": "KN",
    "neuron_tuning": "neuron tuning",
    "lora": "LoRA",
    RANDOM: "random neurons",
}
_FAMILIES = {
    "located": ("rome", "memit", "alphaedit"),
    "unrelated": ("ft_m", "ft_l", "ft"),
    "shared": ("kn", "neuron_tuning"),
    "control": (RANDOM,),
}
"""By colour, methods that do alike: closed-form updates, fine-tuning of a layer, neurons, and the control."""
_DASHES = ("solid", "dash", "dot")
EFFECTS = {"tracing": "tracing", "credit": "credit"}
"""What localization says of a layer, in sentences; see the recipe's plan."""


def name_of(method: str) -> str:
    """A method in sentences and labels; as text."""
    return METHODS.get(method, method)


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods in the page's order, others after them."""
    return in_order(list(dict.fromkeys(methods)), tuple(METHODS))


def label_of(effect: str) -> str:
    """A localization in sentences; as text."""
    return EFFECTS.get(effect, effect)


def colour_of(method: str) -> str:
    """Of a method's line: a name that CSS variables have, one for each family."""
    return next((colour for colour, own in _FAMILIES.items() if method in own), "fourth")


def dash_of(method: str) -> str:
    """What tells a method's line from others of its family."""
    own = next((own for own in _FAMILIES.values() if method in own), (method,))
    return _DASHES[own.index(method) % len(_DASHES)]
