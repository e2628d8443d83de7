"""What locant must know of languages to join a prompt and its answer."""

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "km"})
"""Languages whose words have no space between them."""


def gap(language: str) -> str:
    """What stands between a prompt and its answer: one space, or nothing where the script has none."""
    return "" if language in UNSPACED else " "


def stop(language: str) -> str:
    """What ends a sentence."""
    return "。" if language in UNSPACED else "."
