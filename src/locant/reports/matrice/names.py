"""What sets of neurons are called on the page, in its order, and their colours."""

from __future__ import annotations

MATRICE, RANDOM = "matrice", "random"
OWN = "own: "
"""Before a language: the set of its own neurons."""
OWN_HERE, IN_TURN, ALL_NEURONS, LORA = "own of the language", "each language's own, in turn", "all neurons", "LoRA"
UNCERTAIN = (
    "no query term",
    "no language term",
    "no uncertainty",
    "one query",
    "by deviation",
    "by inverse-variance",
    "by entropy",
)
"""What the language-agnostic set is without part of its uncertainty."""
REFERENCES = ("intersection", "union", "language neurons")
SETS = {
    MATRICE: "language-agnostic",
    "no query term": "without the query term",
    "no language term": "without the language term",
    "no uncertainty": "without uncertainty",
    "one query": "by one query a language",
    "intersection": "in the most languages",
    "union": "highest in any language",
    "language neurons": "language neurons",
    "own of each language": "a language’s own",
    "own": "a language’s own",
    OWN_HERE: "the language’s own",
    "own of one language": "one language’s own",
    IN_TURN: "each language’s own, in turn",
    "all languages but one": "of all languages but one",
    ALL_NEURONS: "all neurons",
    LORA: "LoRA",
    RANDOM: "random, same layers",
}
_COLOURS = {
    MATRICE: "located", OWN_HERE: "unrelated", IN_TURN: "unrelated", "own of one language": "unrelated",
    "own of each language": "unrelated", "own": "unrelated", ALL_NEURONS: "fourth", LORA: "fourth",
    RANDOM: "control",
}  # fmt: skip


def name_of(which: str) -> str:
    """A set in sentences and labels; as text."""
    return SETS.get(which, which)


def colour_of(which: str) -> str:
    """Orange for the language-agnostic set, green for it without uncertainty, blue for others, grey for chance."""
    return _COLOURS.get(which, "shared" if which in UNCERTAIN else "unrelated")


def upper(text: str) -> str:
    """A sentence's first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def one_of(names: list[str]) -> str:
    """Names as an enumeration: `en, fr and zh`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
