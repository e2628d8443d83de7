"""Automatic circuit discovery decides as one pass per edge does, in a fraction of the passes."""

from __future__ import annotations

from dataclasses import replace

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
    longest = max(len(lm.tokens(pair.query).prompt) for pair in pairs)
    unit = len(pairs) * (longest if chosen.by_position else 1)
    return plain_acdc(graph, lambda keep: float(metric(run.logits(keep)).sum() / unit), threshold, chosen)


def as_released(lm: LanguageModel, graph: Graph, pairs: list[Pair], threshold: float) -> torch.Tensor:
    """With each answer's first token alone, and its loss a mean over the tokens of padded prompts."""
    runs = []
    for pair in pairs:
        batch = lay_out_pairs(lm, [pair])
        nothing = ablation_of("zero", lm, graph, pairs)(batch)
        runs.append((CircuitRun(lm, graph, batch.clean, nothing), lm.tokens(pair.query).answers[0][0]))
    length = max(len(pair.query.prompt.split()) for pair in pairs)

    def measure(keep: torch.Tensor) -> float:
        losses = [-float(run.logits(keep)[0, 0].log_softmax(dim=0)[first]) for run, first in runs]
        return -sum(loss / length for loss in losses) / len(losses)

    return plain_acdc(graph, measure, threshold, CUT_RULES["released"])


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


def test_the_released_rule_asks_for_the_first_token_of_an_answer_and_divides_by_the_prompts_length() -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        graph = graph_of(lm, split=False)
        pairs = [
            Pair(replace(one.query, answer=f"{one.query.answer} {more}"), one.other)
            for one, more in zip(likely_pairs(lm), ("w50 w51 w52", "w60", "w70 w71"), strict=True)
        ]
        found = acdc(lm, graph, pairs, threshold=0.005, rule="released")
        whole = acdc(lm, graph, pairs, threshold=0.005, rule="released", metric="log_probability")
        expected = as_released(lm, graph, pairs, 0.005)
    assert found.made_by.settings["metric"] == "first_log_probability"
    assert bool((found.keep == expected).all()) and 0 < int(found.keep.sum()) < int(graph.edges.sum())
    assert bool((found.keep != whole.keep).any())
