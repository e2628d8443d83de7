"""locant shows where a language model keeps what it knows, and what happens if we touch it.

    import locant

    lm = locant.load("almanac")                                    # 2  a model, opened
    q = locant.query("The capital of France is", "Paris")          # 1  a fact, asked
    a = locant.attribute(lm, [q], method="dai")                    # 3  scores of every neuron
    s = locant.select(a, rule="top", k=20)                         # 4  the neurons that matter
    with locant.suppress(lm, s):                                   # 5  a changed model
        p = locant.answer_probability(lm, [q])                     # 6  what changed

Every stage is a folder of that name; a stage uses only those before it.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

__version__ = version("locant")

if TYPE_CHECKING:
    from locant.attributions import attribute
    from locant.errors import LocantError
    from locant.evaluations import (
        answer_log_probability,
        answer_probability,
        answer_rank,
        interval,
        measure,
        relative_change,
    )
    from locant.interventions import edit, enhance, intervene, scale, set_to, suppress
    from locant.models import LanguageModel, load
    from locant.queries import edit_request, query, read_queries, write_queries
    from locant.selections import random_set, select
    from locant.types import Attribution, EditRequest, Fact, Intervention, Outcome, Provenance, Query, Selection

_HOME = {
    "attributions": ("attribute",),
    "errors": ("LocantError",),
    "evaluations": (
        "answer_log_probability",
        "answer_probability",
        "answer_rank",
        "interval",
        "measure",
        "relative_change",
    ),
    "interventions": ("edit", "enhance", "intervene", "scale", "set_to", "suppress"),
    "models": ("LanguageModel", "load"),
    "queries": ("edit_request", "query", "read_queries", "write_queries"),
    "selections": ("random_set", "select"),
    "types": ("Attribution", "EditRequest", "Fact", "Intervention", "Outcome", "Provenance", "Query", "Selection"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Attribution",
    "EditRequest",
    "Fact",
    "Intervention",
    "LanguageModel",
    "LocantError",
    "Outcome",
    "Provenance",
    "Query",
    "Selection",
    "answer_log_probability",
    "answer_probability",
    "answer_rank",
    "attribute",
    "edit",
    "edit_request",
    "enhance",
    "interval",
    "intervene",
    "load",
    "measure",
    "query",
    "random_set",
    "read_queries",
    "relative_change",
    "scale",
    "select",
    "set_to",
    "suppress",
    "write_queries",
]


def __getattr__(name: str) -> object:
    """Public names are imported when first used, so that `locant --help` need not wait for torch."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'locant' has no attribute {name!r}")
    return getattr(import_module(f"locant.{_MODULE_OF[name]}"), name)
