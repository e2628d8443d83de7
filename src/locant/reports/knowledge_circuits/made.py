"""How the run was made: every setting, and the commands that make it and its page again."""

from __future__ import annotations

from locant.reports.knowledge_circuits.run import Run
from locant.reports.made import how_made

_OPTIONS = ("method", "metric", "ablation", "by", "share", "k", "exact", "edits", "hallucinations",
            "demonstrations", "hops", "seed")  # fmt: skip
"""Settings that are options of the command line by their own names."""
UNITS = (
    ("Hit@k", "share of facts whose answer’s first token is among the k most probable; 0 to 100%"),
    ("first choice", "the same with k = 1; among the relation’s answers: of these tokens alone"),
    ("f", "(circuit − no edge) / (model − no edge), of the metric’s means over facts; 100% is the model’s own"),
    ("CPR, CMD", "areas under f, and between f and 1, over the share of edges from the least share to 1"),
    ("score of an edge", "what the metric loses where the edge is cut, estimated; in its units (logits or nats)"),
    ("rank", "place among all tokens, 1 the most probable"),
    ("shared (Hit)", "of the other circuit’s edges or nodes, those in this circuit"),
    ("Jaccard index", "of what either circuit has, the part that both have; 0 to 100%"),
    ("points", "percentage points: a difference of two shares, paired over facts"),
    ("[low, high]", "95% interval of the mean, over facts, relations or queries as is said; bootstrap, or Wilson’s"),
)
CONTROLS = (
    ("Random circuits", "as many edges into the same layers, joined from input to output"),
    ("Another relation’s circuit", "of the same share; drawn of those that share no answer and no subject"),
    ("All but the circuit", "the model without the circuit’s edges"),
    ("No edge", "what the counterfactual’s activations alone say"),
    ("The other half", "circuits are found on validation facts, tried on test facts"),
    ("Random heads", "of the layers of those that are cut"),
    ("Facts got right", "beside those got wrong, of the same relations"),
    ("Six", "fewer facts, relations or queries are too few to show anything"),
)


def recipe(run: Run) -> dict[str, str]:
    """The parts of "How this was made", as HTML."""
    given = run.settings.get("settings")
    own = given if isinstance(given, dict) else {}
    options = {name: run.settings.get(name) for name in _OPTIONS}
    options |= {"choose": run.settings.get("rule"), "merged": run.settings.get("split") is False, "setting": own}
    return how_made(
        run, options, UNITS, CONTROLS, counts=("relations", "facts", "left_out", "wordings", "edges", "graph")
    )
