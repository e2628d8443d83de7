"""What circuits, metrics, methods and edits are called on the page, and their marks."""

from __future__ import annotations

from locant.recipes.knowledge_circuits.edited import UNEDITED
from locant.recipes.knowledge_circuits.judged import CIRCUIT, COMPLEMENT, NOTHING, OTHER, RANDOM, WHOLE

CIRCUITS = {
    WHOLE: "the whole model",
    CIRCUIT: "its circuit",
    OTHER: "another relation’s circuit",
    RANDOM: "random circuits",
    COMPLEMENT: "all but its circuit",
    NOTHING: "no edge",
}
"""What is kept, in the page's order."""
MARKS = {
    WHOLE: ("hollow", ("square-open", "var(--control)")),
    CIRCUIT: ("dot", ("circle", "var(--located)")),
    OTHER: ("diamond", ("diamond", "var(--unrelated)")),
    RANDOM: ("square", ("square", "var(--control)")),
}
"""Of what is kept: the class of its mark in a legend, and its mark in a figure."""
COLOURS = {CIRCUIT: "located", OTHER: "unrelated", RANDOM: "control"}
METHODS = {
    "exact": "exact",
    "eap": "EAP",
    "eap_ig": "EAP\u2011IG",
    "eap_ig_activations": "EAP\u2011IG, activations",
    "relp": "RelP",
    "acdc": "ACDC",
}
_EDITS = {"rome": "ROME", "ft_m": "FT\u2011M"}
_UNITS = {
    "logit_difference": "logit difference",
    "log_probability": "log-probability",
    "first_log_probability": "log-probability of the first token",
    "kl": "agreement with the whole model (minus the KL divergence)",
}


def relation_of(name: str) -> str:
    """A relation in sentences and labels; as text."""
    return name.replace("_", " ")


def metric_of(name: str, k: int) -> str:
    """A metric of completeness; as text."""
    known = {
        "hit": f"Hit@{k}",
        "first": "first choice",
        "among": "first among the relation’s answers",
        "released": f"Hit@{k}, released labels",
    }
    return known.get(name, name)


def scored_by(name: str) -> str:
    """What scores of edges are of, in sentences; as text."""
    return _UNITS.get(name, name.replace("_", " "))


def method_of(name: str) -> str:
    """A way to score edges; as text."""
    return METHODS.get(name, name)


def edit_of(name: str) -> str:
    """A way to edit, as the tables have it, in labels; as text."""
    if name == UNEDITED:
        return "before"
    method, comma, rest = name.partition(",")
    return f"{_EDITS.get(method, method)}{comma}{rest}"


def part_of(share: float) -> str:
    """A share that was set, not measured: `5%`."""
    return f"{100 * share:g}%"
