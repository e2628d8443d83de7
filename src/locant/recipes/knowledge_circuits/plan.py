"""What a run of knowledge circuits does: every choice the paper leaves open, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from inspect import Parameter, signature

from locant.attributions.edges import ABLATIONS, METHODS, METRICS
from locant.errors import UnknownName
from locant.evaluations.circuits import SHARES
from locant.recipes.plans import refuse_less, refuse_other
from locant.selections.circuits import RULES, STRENGTHS
from locant.types import Setting

COMPARED = tuple(name for name in METHODS if name != "exact")
"""Approximate scores that are held against cutting every edge."""
OF_THE_PLAN = ("metric", "ablation")
"""Settings of every method that are the plan's own."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        method: that scores edges; a name in `METHODS`.
        settings: of the method, where they are not its defaults; metric and ablation have names of their own here.
        metric: what the scores are of, and what faithfulness is judged by.
        ablation: what stands in where edges are cut; where a circuit is of one query, `alone` has it.
        split: queries, keys and values of a head are receivers of their own.
        rule, by: how a circuit is chosen, as in `choose`.
        share: of the graph's edges that a relation's circuit has at most.
        shares: those at which faithfulness is judged; `share` is among them.
        k: of Hit@k.
        random_circuits: layer-matched ones beside each circuit of each share.
        exact: validation pairs of each relation on which approximate scores are held against cutting every edge; 0
            for none.
        edits: facts whose circuits are found before and after an edit.
        hallucinations, demonstrations, hops: facts of each of these experiments; 0 for none.
        seed: of every random choice.

    Source: Yao et al. 2024, arXiv:2405.17969; method, metric, ablation and shares are chosen here.
    """

    method: str = "eap_ig"
    settings: Mapping[str, Setting] = field(default_factory=dict)
    metric: str = "logit_difference"
    ablation: str = "counterfactual"
    split: bool = True
    rule: str = "greedy"
    by: str = "absolute"
    share: float = 0.05
    shares: tuple[float, ...] = SHARES
    k: int = 10
    random_circuits: int = 5
    exact: int = 4
    edits: int = 8
    hallucinations: int = 40
    demonstrations: int = 24
    hops: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_other("method for edges", self.method, METHODS)
        refuse_other("metric", self.metric, METRICS)
        refuse_other("ablation", self.ablation, ABLATIONS)
        refuse_other("rule for circuits", self.rule, RULES)
        refuse_other("strength of edges", self.by, STRENGTHS)
        for share in (self.share, *self.shares):
            if not 0 < share <= 1:
                raise UnknownName(f"share is more than 0 and at most 1, not {share}")
        own = signature(METHODS[self.method]).parameters.values()
        known = [one.name for one in own if one.kind is Parameter.KEYWORD_ONLY and one.name not in OF_THE_PLAN]
        for name in self.settings:
            refuse_other(f"setting of {self.method!r}", name, known)
        refuse_less(1, self, "k", "random_circuits")
        refuse_less(0, self, "exact", "edits", "hallucinations", "demonstrations", "hops")

    @property
    def alone(self) -> Plan:
        """For circuits of one query, which a mean over queries would be itself: counterfactuals stand in for it."""
        return replace(self, ablation="counterfactual") if self.ablation in ("mean", "overall_mean") else self

    def sizes(self, edges: int) -> dict[float, int]:
        """By share, ascending, how many edges of so many a circuit may have."""
        return {share: round(share * edges) for share in sorted({*self.shares, self.share})}

    def plain(self) -> dict[str, object]:
        """As a manifest holds it."""
        return asdict(self) | {"shares": list(self.shares), "settings": dict(self.settings)}
