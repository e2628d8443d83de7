"""What sets of neurons are called on the page, in its order, and their colours."""

from __future__ import annotations

from locant.recipes.matrice.plan import (
    ABLATIONS,
    ALL_NEURONS,
    IN_TURN,
    LIKE_UNION,
    LORA,
    MATRICE,
    OTHERS,
    OWN,
    OWN_HERE,
    OWN_ONE,
    PEER,
    RANDOM,
    control_of,
    kind_of,
)

__all__ = [
    "ALL_NEURONS", "ALTERNATIVES", "IN_TURN", "LIKE_UNION", "LORA", "MATRICE", "OTHERS", "OWN", "OWN_HERE", "OWN_ONE",
    "PEER", "RANDOM", "REFERENCES", "SETS", "UNCERTAIN", "colour_of", "control_of", "kind_of", "name_of", "one_of",
]  # fmt: skip

UNCERTAIN = ABLATIONS
"""What the language-agnostic set is without part of its uncertainty."""
ALTERNATIVES = ("by deviation", "by inverse-variance", "by entropy")
"""The set by another rule over languages."""
REFERENCES = ("intersection", "union", "language neurons", PEER)
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
    PEER: "of another fact of the relation",
    "by deviation": "by mean less deviation",
    "by inverse-variance": "by inverse variance",
    "by entropy": "by entropy",
    RANDOM: "random, same layers",
    LIKE_UNION: "random, the union’s layers",
}
_COLOURS = {
    MATRICE: "located", OWN_HERE: "unrelated", IN_TURN: "unrelated", "own of one language": "unrelated",
    "own of each language": "unrelated", "own": "unrelated", ALL_NEURONS: "fourth", LORA: "fourth",
    RANDOM: "control", LIKE_UNION: "control", PEER: "fourth",
}  # fmt: skip


def name_of(which: str) -> str:
    """A set in sentences and labels; as text."""
    return SETS.get(which, which)


def colour_of(which: str) -> str:
    """Orange for the language-agnostic set, green for it without uncertainty, blue for others, grey for chance."""
    return _COLOURS.get(which, "shared" if which in (*UNCERTAIN, *ALTERNATIVES) else "unrelated")


def one_of(names: list[str]) -> str:
    """Names as an enumeration: `en, fr and zh`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
