"""Query-relevant neurons: what one question draws on and most others do not.

    clusters = [cluster(of_its_templates) for of_its_templates in attributions]
    chosen = query_neurons(clusters)

A question is one fact, asked in several templates. Its cluster holds the neurons with high scores; inverse cluster
attribution (ICA) weighs each by how few clusters share it, and what many clusters share is common: not the
question's own. Both depend on which questions are in the pool, so that a neuron's standing is relative to it.

Clusters are sparse, and whatever is done to them is vectorised over all of them: some hundred neurons of each of
thousands of questions are a few megabytes.

Source: Chen et al. 2024, arXiv:2406.10868; `released` is github.com/tigerchen52/qrneuron, dd8142d.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from locant.errors import UnknownName, nearest
from locant.selections.templates import Templates, values_of
from locant.types import Provenance, Query, Selection, Setting

MODES = ("paper", "released")


@dataclass(frozen=True)
class Cluster:
    """The neurons with high scores for one question (or, merged, for a group of questions); sorted and unique.

    Attributes:
        uid: of the question: its fact's; or the name of the group.
        scores: neuron attribution (na): each unit's share of the question's credit.
        counts: in how many templates the unit's score passed that template's own threshold.
        grid: (layers, neurons per layer) of the model.
        queries: the templates, where they are known.
    """

    uid: str
    units: Int[Tensor, "unit 2"]
    scores: Float[Tensor, " unit"]
    counts: Int[Tensor, " unit"]
    grid: tuple[int, int]
    made_by: Provenance
    queries: tuple[Query, ...] = ()

    def __len__(self) -> int:
        return len(self.units)


def cluster(
    templates: Templates, mode: str = "paper", *, uid: str = "", share: float = 0.2, decimals: int | None = None
) -> Cluster:
    """The neurons whose score is above a share of the highest, with their shares of the question's credit.

    Where no score is above 0, no neuron is above a share of the highest: the cluster is empty, and still counts
    as one of the pool. Where the scores of all neurons add up to 0 or less (credit and blame of a question can
    cancel out), a share of that sum would turn the ranking round: the scores are shares of the cluster's own sum
    there. Where even that is 0, which only rounding can make it, they are all 0.

    Args:
        templates: scores of one question.
        mode: 'paper' sums the templates' scores, and divides by the sum over all neurons of the model;
            'released' keeps of each template what is above a share of its own highest, sums over the templates
            that kept a neuron, and divides by the sum over the cluster.
        uid: name of the question; the fact's, if not given.
        decimals: round the scores of a template to so many ('released' alone; that code's 6 leave small scores
            one digit or none).

    Raises:
        UnknownName: no such mode, the templates are of several questions, a score is not finite, or a setting
            makes no sense.
    """
    if mode not in MODES:
        raise UnknownName(f"no mode {mode!r}{nearest(mode, MODES)}; there are {', '.join(MODES)}")
    if not 0 <= share < 1:
        raise UnknownName(f"a share is at least 0 and less than 1, not {share}")
    if decimals is not None and mode != "released":
        raise UnknownName(f"the mode 'released' alone rounds its scores, and this is {mode!r}")
    scores, question = values_of(templates, "scores")
    passed = scores > share * scores.amax(dim=(1, 2), keepdim=True)
    if mode == "paper":
        credit = scores.sum(dim=0)
        chosen = credit > share * credit.max()
    else:
        rounded = scores if decimals is None else scores.round(decimals=decimals)
        credit = torch.where(passed, rounded, 0).sum(dim=0)
        chosen = passed.any(dim=0)
    name = uid or question.uid
    settings: dict[str, Setting] = {"question": name, "share": share, "decimals": decimals}
    return Cluster(
        uid=name,
        units=chosen.nonzero(),
        scores=_shares(credit[chosen], credit.sum()),
        counts=passed.sum(dim=0)[chosen],
        grid=question.grid,
        made_by=Provenance(f"cluster:{mode}", settings, parents=(question.digest,)),
        queries=question.queries,
    )


def _shares(kept: Float[Tensor, " unit"], total: Float[Tensor, ""]) -> Float[Tensor, " unit"]:
    """Parts of the total or, where that is no positive number, of what is kept."""
    whole = total if total > 0 else kept.sum()
    return kept / whole if whole > 0 else torch.zeros_like(kept)


def inverse_cluster_attribution(clusters: Sequence[Cluster]) -> list[Float[Tensor, " unit"]]:
    """Of each cluster, naica = na * ica: its scores, weighed by how few clusters share the neuron.

        ica = ln(|C| / (n + 1)), of |C| clusters of which n hold the neuron

    It is 0 or less for a neuron that all clusters hold, or all but one. Of one or two clusters that is every
    neuron: the formula has nothing to compare, and would drop them all. There ica is 1, so that naica is na.

    Raises:
        UnknownName: there are no clusters, or they are of models of several sizes.

    Source: Chen et al. 2024, arXiv:2406.10868, inverse cluster attribution; the exception is ours.
    """
    grid = _same_grid(clusters)
    if len(clusters) < 3:
        return [one.scores for one in clusters]
    _, place, held = _codes(clusters, grid).unique(return_inverse=True, return_counts=True)
    ica = (len(clusters) / (held.double() + 1)).log()
    naica = torch.cat([one.scores for one in clusters]) * ica[place]
    return list(naica.split([len(one) for one in clusters]))


def common_neurons(clusters: Sequence[Cluster], share: float = 0.3) -> Selection:
    """The neurons in more than a share of the clusters, and in two of them at least; each weighs their number.

    The released code asks for more than the share rounded down, which for whole numbers is the same. Of three
    clusters or fewer, one is more than 0.3 of them: without the condition of two, which is ours, all would be
    common.

    Raises:
        UnknownName: there are no clusters, they are of models of several sizes, or the share makes no sense.

    Source: Chen et al. 2024, arXiv:2406.10868, common neurons.
    """
    if not 0 <= share < 1:
        raise UnknownName(f"a share is at least 0 and less than 1, not {share}")
    grid = _same_grid(clusters)
    codes, held = _codes(clusters, grid).unique(return_counts=True)
    # 0.29 * 100 is a little less than 29, which is not more than that share of 100
    common = (held.double() > share * len(clusters) + 1e-9) & (held >= 2)
    made_by = Provenance("common_neurons", {"share": share, "clusters": len(clusters)}, parents=(_pool(clusters),))
    queries = tuple(query for one in _in_order(clusters) for query in one.queries)
    return Selection(queries, _units(codes[common], grid), held[common].double(), grid, made_by)


def query_neurons(
    clusters: Sequence[Cluster],
    top: int = 20,
    share: float = 0.3,
    *,
    use_ica: bool = True,
    remove_common: bool = True,
) -> dict[str, Selection]:
    """By question, its query-relevant neurons: the `top` highest naica above 0, less the common ones.

    Common neurons are removed last, so that `top` is an upper bound; a question may be left with none. Equal
    values are taken in the order of the neurons, and nothing depends on the order of the clusters. The weight of
    a neuron is its naica.

    The two flags make the paper's ablations.

    Args:
        share: of the clusters, above which a neuron is common.
        use_ica: if not, na alone decides, and is the weight.
        remove_common: if not, common neurons stay.

    Raises:
        UnknownName: two clusters have one uid, or as for `common_neurons`.

    Source: Chen et al. 2024, arXiv:2406.10868, QR neurons. The released code compares names with pairs of
    numbers, and removes none.
    """
    if top < 1:
        raise UnknownName(f"cannot take the top {top}: take 1 or more")
    _refuse_namesakes(clusters)
    common = common_neurons(clusters, share)
    weights = inverse_cluster_attribution(clusters) if use_ica else [one.scores for one in clusters]
    refused = _code(common.units, common.grid) if remove_common else torch.zeros(0, dtype=torch.int64)
    settings: dict[str, Setting] = {"top": top, "share": share, "ica": use_ica, "common removed": remove_common}
    pool = _pool(clusters)
    found = {}
    for one, weight in zip(clusters, weights, strict=True):
        strongest = weight.argsort(descending=True, stable=True)[:top]
        kept = strongest[weight[strongest] > 0].sort().values
        kept = kept[~torch.isin(_code(one.units[kept], one.grid), refused)]
        made_by = Provenance("query_neurons", settings, parents=(one.made_by.digest(), pool))
        found[one.uid] = Selection(one.queries, one.units[kept], weight[kept], one.grid, made_by)
    return found


def merge_by_group(clusters: Sequence[Cluster], groups: Mapping[str, str]) -> tuple[Cluster, ...]:
    """One cluster for each group of questions (a domain, a language): every neuron of any, its scores added up.

    `query_neurons` of these are a group's neurons. Of few groups, a neuron is common soon: of six, in two.

    Args:
        groups: by the question's uid, its group.

    Returns:
        In the order in which the groups first appear.

    Raises:
        UnknownName: a question has no group, two have one uid, or as for `common_neurons`.
    """
    _refuse_namesakes(clusters)
    _same_grid(clusters)
    members: dict[str, list[Cluster]] = {}
    for one in clusters:
        if one.uid not in groups:
            raise UnknownName(f"the question {one.uid!r} has no group")
        members.setdefault(groups[one.uid], []).append(one)
    # Sums in another order would differ in their last digits
    return tuple(_merged(group, _in_order(own)) for group, own in members.items())


def _merged(group: str, members: Sequence[Cluster]) -> Cluster:
    grid = members[0].grid
    codes, place = _codes(members, grid).unique(return_inverse=True)
    scores = torch.cat([one.scores for one in members])
    counts = torch.cat([one.counts for one in members])
    return Cluster(
        uid=group,
        units=_units(codes, grid),
        scores=torch.zeros(len(codes), dtype=scores.dtype).index_add(0, place, scores),
        counts=torch.zeros(len(codes), dtype=counts.dtype).index_add(0, place, counts),
        grid=grid,
        made_by=Provenance(
            "merge_by_group", {"group": group}, parents=tuple(one.made_by.digest() for one in members)
        ),
        queries=tuple(query for one in members for query in one.queries),
    )


# Neurons as numbers


def _code(units: Int[Tensor, "unit 2"], grid: tuple[int, int]) -> Int[Tensor, " unit"]:
    return units[:, 0] * grid[1] + units[:, 1]


def _units(codes: Int[Tensor, " unit"], grid: tuple[int, int]) -> Int[Tensor, "unit 2"]:
    return torch.stack([codes // grid[1], codes % grid[1]], dim=1)


def _codes(clusters: Sequence[Cluster], grid: tuple[int, int]) -> Int[Tensor, " unit"]:
    """The units of all clusters, one after the other."""
    return _code(torch.cat([one.units for one in clusters]), grid)


# Many clusters


def _in_order(clusters: Sequence[Cluster]) -> list[Cluster]:
    return sorted(clusters, key=lambda one: one.uid)


def _pool(clusters: Sequence[Cluster]) -> str:
    """A digest of the clusters, in whatever order they come."""
    return Provenance("pool", parents=tuple(sorted(one.made_by.digest() for one in clusters))).digest()


def _same_grid(clusters: Sequence[Cluster]) -> tuple[int, int]:
    grids = sorted({one.grid for one in clusters})
    if len(grids) != 1:
        found = " and ".join(map(str, grids)) or "none"
        raise UnknownName(f"clusters to compare are of one model's (layers, neurons); these are {found}")
    return grids[0]


def _refuse_namesakes(clusters: Sequence[Cluster]) -> None:
    times = Counter(one.uid for one in clusters)
    double = [name for name in times if times[name] > 1]
    if double:
        raise UnknownName(f"{times[double[0]]} clusters are of the question {double[0]!r}: a question has one")
