"""Automatic circuit discovery decides as one pass per edge does, in a fraction of the passes."""

from __future__ import annotations

import pytest
import torch

import locant
import plain
from families import tiny
from locant.attributions.edges import CUT_RULES, Pair, acdc, lay_out_pairs, metric_of
from locant.attributions.edges.ablations import ablation_of
from locant.models import LanguageModel
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from plain_circuits import plain_acdc

pytestmark = pytest.mark.slow  # a pass per edge


PROMPTS = (("w1 w2 w3", "w1 w7 w3"), ("w11 w12 w3", "w21 w2 w3"), ("w1 w2 w3 w9", "w1 w2 w33 w4"))


def likely_pairs(lm: LanguageModel) -> list[Pair]:
    """Pairs of prompts with what the model itself says, so that there is something to lose."""

    def asked(prompt: str) -> locant.Query:
        said = next(word for word, _ in lm.top_answers(prompt, 9) if word.startswith("w"))
        return locant.query(prompt, said, uid=prompt)

    return [Pair(asked(mine), asked(its)) for mine, its in PROMPTS]


def plainly(lm: LanguageModel, graph: Graph, pairs: list[Pair], threshold: float, rule: str) -> torch.Tensor:
    chosen, batch = CUT_RULES[rule], lay_out_pairs(lm, pairs)
    run = CircuitRun(lm, graph, batch.clean, ablation_of(chosen.ablation, lm, graph, pairs)(batch))
    metric = metric_of(chosen.metric)(lm, batch)
    unit = len(pairs) * (batch.clean.tokens.shape[1] if chosen.by_position else 1)
    return plain_acdc(graph, lambda keep: float(metric(run.logits(keep)).sum() / unit), threshold, chosen)


@pytest.mark.parametrize("rule", CUT_RULES)
@pytest.mark.parametrize(
    ("family", "split", "threshold"), [("gpt2", True, 0.01), ("llama", True, 0.01), ("gpt_neox", False, 0.01)]
)
def test_the_edges_left_are_those_of_one_pass_per_edge(family: str, split: bool, threshold: float, rule: str) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm, split=split), likely_pairs(lm)
        found = acdc(lm, graph, pairs, threshold=threshold, rule=rule)
        expected = plainly(lm, graph, pairs, threshold, rule)
    print(family, split, rule, int(found.keep.sum()), int(graph.edges.sum()), int(found.tested.sum()), found.rows)
    assert bool((found.keep == expected).all())
    assert 0 < int(found.keep.sum()) < int(graph.edges.sum())
