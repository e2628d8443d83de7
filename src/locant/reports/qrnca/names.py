"""What methods, operations and evaluations are called on the page, in its order, and their colours."""

from __future__ import annotations

QRNCA = "qrnca"
FEW = "qrnca, as few as knowledge neurons"
METHODS = {
    QRNCA: "QRNCA",
    "qrnca without ICA": "without ICA",
    "qrnca with common neurons": "with common neurons",
    FEW: "its strongest, as few as KN",
    "knowledge neurons": "knowledge neurons",
    "activation": "activation",
    "random": "random neurons",
}
ABLATIONS = ("qrnca without ICA", "qrnca with common neurons")
IN_SAMPLE = "in-sample"
BESIDE = {"held-out question": "known question", "held-out template": "seen templates"}
"""What is held out, and the same neurons judged by what they were located with."""
EVALUATIONS = (*(name for pair in BESIDE.items() for name in pair), IN_SAMPLE)
EVALUATED = {
    "held-out question": "on held-out questions",
    "known question": "on known questions",
    "held-out template": "on held-out templates",
    "seen templates": "on seen templates",
    IN_SAMPLE: "in sample",
}
OPERATIONS = {"boost": "Boosted", "suppress": "Suppressed"}
DOING = {"boost": "boosting", "suppress": "suppressing"}
TOWARD = {"boost": 1, "suppress": -1}
"""Which way the right answer should go."""
RULES = {
    "value vectors": "value vectors (a)",
    "only these neurons": "only these neurons (b)",
    "others at their mean": "others at their mean (b2)",
    "appended answers": "appended answers (c)",
}
POOLS = {
    "own": "the group’s",
    "none": "no neurons",
    "random": "random neurons",
    "another group's": "another group’s",
}
"""Whose neurons an answer is predicted from; the first is judged by the others."""
CHANCE, FULL, ALL = "chance", "full model", "all"


def name_of(method: str) -> str:
    """A method in sentences and labels; as text."""
    return METHODS.get(method, method)


def colour_of(method: str) -> str:
    """Orange for QRNCA, green for what it is without one of its steps, grey for baselines."""
    if method == QRNCA:
        return "var(--located)"
    return "var(--shared)" if method in (*ABLATIONS, FEW) else "var(--control)"


def where(evaluation: str) -> str:
    """An evaluation in a sentence: `on held-out questions`."""
    return EVALUATED.get(evaluation, f"evaluated {evaluation}")
