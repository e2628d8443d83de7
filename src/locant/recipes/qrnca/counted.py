"""Where the neurons are: clusters, common neurons, how many a question has, and what groups share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from locant.errors import UnknownName
from locant.evaluations import value_words
from locant.evaluations.overlap import OVERLAPS, layer_histogram, neurons_per_question, overlap, regions
from locant.models import LanguageModel
from locant.recipes.qrnca.located import Located
from locant.recipes.qrnca.plan import Plan
from locant.selections.clusters import common_neurons, inverse_cluster_attribution
from locant.types import Selection

Row = dict[str, object]
Sets = Mapping[str, Selection]
Groups = Mapping[str, str]


def cluster_rows(found: Located, groups: Groups) -> Iterator[Row]:
    """Every neuron of every cluster, with its attribution and what inverse cluster attribution makes of it."""
    for one, weights in zip(found.clusters, inverse_cluster_attribution(found.clusters), strict=True):
        for (layer, neuron), score, naica, count in zip(
            one.units.tolist(), one.scores.tolist(), weights.tolist(), one.counts.tolist(), strict=True
        ):
            yield {
                "question": one.uid,
                "group": groups[one.uid],
                "layer": layer,
                "neuron": neuron,
                "score": score,
                "ica": naica / score if score else 0.0,
                "naica": naica,
                "templates": count,
            }


def common_rows(lm: LanguageModel, found: Located, plan: Plan) -> Iterator[Row]:
    """The neurons that many clusters hold, and the tokens that their value vectors raise and lower."""
    common = common_neurons(found.clusters, plan.common)
    words = value_words(lm, common)
    rows = [
        {
            "layer": layer,
            "neuron": neuron,
            "clusters": int(count),
            "share": count / len(found.clusters),
            "promotes": ", ".join(says.promoted),
            "demotes": ", ".join(says.demoted),
        }
        for (layer, neuron), count, says in zip(common.units.tolist(), common.weight.tolist(), words, strict=True)
    ]
    yield from sorted(rows, key=lambda row: -int(row["clusters"]))  # type: ignore[call-overload]


def count_rows(method: str, sets: Sets, groups: Groups) -> Iterator[Row]:
    """How many neurons a question has, by group."""
    for group, found in neurons_per_question(sets, groups).items():
        about: Row = {"method": method, "group": group}
        yield about | {"neurons": found.mean, "low": found.low, "high": found.high, "n": found.n}


def overlap_rows(sets: Sets, groups: Groups, plan: Plan) -> Iterator[Row]:
    """What every two groups share, beside groups of the same sizes drawn at random."""
    for measure in OVERLAPS:
        try:
            found = overlap(sets, groups, measure, draws=plan.draws, seed=plan.seed)
        except UnknownName:
            return  # no question has any neuron
        for one, first in enumerate(found.groups):
            for other, second in enumerate(found.groups):
                if one < other:
                    yield {
                        "measure": measure,
                        "first": first,
                        "second": second,
                        **{
                            name: float(getattr(found, name)[one, other])
                            for name in ("observed", "expected", "low", "high", "p")
                        },
                    }


def layer_rows(sets: Sets, groups: Groups) -> Iterator[Row]:
    """In which layers each group's neurons are."""
    found = layer_histogram(sets, groups)
    for one, group in enumerate(found.groups):
        for layer in range(found.neurons.shape[1]):
            counts = {name: int(getattr(found, name)[one, layer]) for name in ("neurons", "occurrences")}
            yield {"group": group, "layer": layer, **counts}


def region_rows(sets: Sets, groups: Groups) -> Iterator[Row]:
    """Where in the layers each group's neurons are; empty bins are left out."""
    found = regions(sets, groups)
    for one, layer, place in found.occurrences.nonzero().tolist():
        yield {
            "group": found.groups[one],
            "layer": layer,
            "bin": place,
            "start": int(found.starts[place]),
            "occurrences": int(found.occurrences[one, layer, place]),
            "weight": float(found.weight[one, layer, place]),
        }
