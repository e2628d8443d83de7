"""Where the neurons are: clusters, common neurons, how many a question has, and what groups share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from locant.evaluations import value_words
from locant.evaluations.overlap import OVERLAPS, Overlap, likeness, overlap
from locant.evaluations.regions import layer_histogram, neurons_per_question, regions
from locant.models import LanguageModel
from locant.recipes.qrnca.asked import Blocks
from locant.recipes.qrnca.chosen import Named, Sets
from locant.recipes.qrnca.located import Located
from locant.recipes.qrnca.plan import Plan
from locant.recipes.rows import Row, as_row
from locant.selections.clusters import Cluster, common_neurons, inverse_cluster_attribution
from locant.selections.random_sets import is_matched

Groups = Mapping[str, str]


def cluster_rows(clusters: Sequence[Cluster], groups: Groups, letter: str) -> Iterator[Row]:
    """Every neuron of every cluster, with its attribution and what inverse cluster attribution makes of it.

    Args:
        letter: whose clusters they are: 'right', 'wrong 1', ...
    """
    for one, weights in zip(clusters, inverse_cluster_attribution(clusters), strict=True):
        for (layer, neuron), score, naica, count in zip(
            one.units.tolist(), one.scores.tolist(), weights.tolist(), one.counts.tolist(), strict=True
        ):
            yield {
                "question": one.uid,
                "group": groups[one.uid],
                "letter": letter,
                "layer": layer,
                "neuron": neuron,
                "score": score,
                "ica": naica / score if score else 0.0,
                "naica": naica,
                "templates": count,
            }


def wrong_rows(place: int, right: Sequence[Cluster], wrong: Sequence[Cluster], groups: Groups) -> Iterator[Row]:
    """What each question's right letter and a wrong one share, beside that of another question of its group.

    `jaccard` and `another` are of the question's own wrong letter and of the other's: neurons of both clusters over
    those of either; None where neither has any.
    """
    known = {one.uid: _units(one) for one in wrong}
    by_group: dict[str, list[str]] = {}
    for one in right:
        by_group.setdefault(groups[one.uid], []).append(one.uid)
    for one in right:
        own, its = _units(one), by_group[groups[one.uid]]
        other = its[(its.index(one.uid) + 1) % len(its)]
        yield {
            "question": one.uid,
            "group": groups[one.uid],
            "place": place + 1,
            "right": len(own),
            "wrong": len(known[one.uid]),
            "both": len(own & known[one.uid]),
            "jaccard": _jaccard(own, known[one.uid]),
            "another": _jaccard(own, known[other]) if other != one.uid else None,
        }


def _units(one: Cluster) -> set[tuple[int, ...]]:
    return set(map(tuple, one.units.tolist()))


def _jaccard(one: set[tuple[int, ...]], other: set[tuple[int, ...]]) -> float | None:
    return len(one & other) / len(one | other) if one | other else None


def neuron_rows(part: str, sets: Sets, groups: Groups) -> Iterator[Row]:
    """The neurons of every question and method, located with a part of the templates; or those of every group.

    Args:
        groups: by question; a name that has none here is a group.
    """
    for method, draws in sets.items():
        for draw, named in enumerate(draws):
            for name, chosen in named.items():
                about: Row = {
                    "part": part,
                    "method": method,
                    "draw": draw,
                    "matched": is_matched(chosen),
                    "question": name if name in groups else None,
                    "group": groups.get(name, name),
                }
                ranked = chosen.weight.argsort(descending=True, stable=True).tolist()
                for rank, place in enumerate(ranked, start=1):
                    layer, neuron = chosen.units[place].tolist()
                    score = float(chosen.weight[place])
                    yield about | {"layer": layer, "neuron": neuron, "score": score, "rank": rank}


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


def count_rows(method: str, sets: Named, groups: Groups) -> Iterator[Row]:
    """How many neurons a question has, by group."""
    for group, found in neurons_per_question(sets, groups).items():
        about: Row = {"method": method, "group": group}
        yield about | as_row(found, "neurons")


def overlap_rows(sets: Named, groups: Groups, blocks: Blocks, plan: Plan) -> Iterator[Row]:
    """What every two groups share, beside shuffled questions and, where there are any, shuffled blocks of them.

    Where nothing can be compared, or no blocks are to be had, `why` says it.
    """
    nulls = [("questions", None, "questions"), ("blocks", blocks.of, blocks.shuffled)]
    empty = "" if any(len(one) for one in sets.values()) else "no question has any neuron"
    for measure in OVERLAPS:
        for null, of, shuffled in nulls:
            about: Row = {"measure": measure, "null": null, "shuffled": shuffled}
            if empty or (null == "blocks" and of is None):
                nothing = dict.fromkeys(("observed", "expected", "low", "high", "p"))
                yield {**about, "first": None, "second": None, **nothing, "why": empty or shuffled}
            else:
                found = overlap(sets, groups, measure, blocks=of, draws=plan.draws, seed=plan.seed)
                yield from (about | row for row in _pairs(found))


def _pairs(found: Overlap) -> Iterator[Row]:
    names = ("observed", "expected", "low", "high", "p")
    for one, first in enumerate(found.groups):
        for other, second in enumerate(found.groups):
            if one < other:
                values = {name: float(getattr(found, name)[one, other]) for name in names}
                yield {"first": first, "second": second, **values, "why": ""}


def likeness_rows(sets: Named, groups: Groups, blocks: Blocks, plan: Plan) -> Iterator[Row]:
    """The mean Jaccard index of pairs of questions of each kind; and of one group's less two groups', with a null."""
    if not any(len(one) for one in sets.values()):
        return  # the table of overlaps says so
    found = likeness(sets, groups, blocks.of, draws=plan.draws, seed=plan.seed)
    shuffled = blocks.shuffled if blocks.of is not None else "questions"
    nothing: Row = dict.fromkeys(("expected", "low", "high", "p"))
    for (block, group), one in found.kinds.items():
        kind = f"{'same' if block else 'other'} block, {'same' if group else 'other'} group"
        yield {"kind": kind, "shuffled": shuffled, "jaccard": one.mean, **nothing, "pairs": one.pairs}
    null: Row = {"expected": found.expected, "low": found.low, "high": found.high, "p": found.p}
    yield {"kind": "gap", "shuffled": shuffled, "jaccard": found.gap, **null, "pairs": None}


def layer_rows(sets: Named, groups: Groups) -> Iterator[Row]:
    """In which layers each group's neurons are."""
    found = layer_histogram(sets, groups)
    for one, group in enumerate(found.groups):
        for layer in range(found.neurons.shape[1]):
            counts = {name: int(getattr(found, name)[one, layer]) for name in ("neurons", "occurrences")}
            yield {"group": group, "layer": layer, **counts}


def region_rows(sets: Named, groups: Groups) -> Iterator[Row]:
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
