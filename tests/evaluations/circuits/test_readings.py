"""What is read of circuits is what running each by itself on each query gives, sorted by hand."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import locant
from families import tiny, tokenizer
from locant.attributions.edges import METRICS, Pair, ablation_of, lay_out_pairs
from locant.errors import LocantError, UnknownName
from locant.evaluations.circuits import hit, read_circuits
from locant.models import LanguageModel, graph_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from scored_graphs import thinned


def asked(prompt: str, answer: str, relation: str = "of") -> locant.Query:
    return locant.query(prompt, answer, uid=f"{prompt}/{answer}", relation=relation)


LONG = Pair(asked("w1 w2 w3 w4 w9", "w25 w26"), asked("w1 w2 w13 w14 w9", "w15"))
PAIRS = (
    LONG,
    Pair(asked("w1 w2 w3", "w5"), asked("w1 w7 w3", "w8")),
    Pair(asked("w4 w2 w3", "w7", relation="by"), asked("w1 w2 w3", "w5")),
    LONG,
)


def keeps(graph: Graph) -> Tensor:
    """The empty circuit, another and the whole."""
    return torch.stack([torch.zeros_like(graph.edges), thinned(graph, 0.6).keep, graph.edges])


def alone(lm: LanguageModel, graph: Graph, pair: Pair, rows: Tensor, ablation: str) -> list[Tensor]:
    """Logits after one query, of each circuit by itself."""
    sites = lay_out_pairs(lm, [pair])
    ablated = ablation_of(ablation, lm, graph, PAIRS)(sites)
    run = CircuitRun(lm, graph, sites.clean, ablated)
    return [run.logits(keep) for keep in rows]


def rank(logits: list[float], token: int, among: Sequence[int]) -> int:
    """The place in the middle of all where it may stand, were they sorted."""
    order = sorted(-logits[one] for one in among)
    return (bisect_left(order, -logits[token]) + bisect_right(order, -logits[token]) - 1) // 2


@pytest.mark.parametrize(("ablation", "memory"), [("counterfactual", 40_000), ("zero", 1 << 30), ("mean", 1 << 30)])
def test_readings_are_those_of_each_circuit_and_query_alone(ablation: str, memory: int) -> None:
    lm = tiny("llama")
    graph = graph_of(lm)
    rows = keeps(graph)
    others = [asked("w1 w2", answer, relation) for answer, relation in (("w30", "of"), ("w5", "of"), ("w31", "by"))]
    labels = [asked("w1 w2", f"w{number}") for number in (40, 41, 42, 43)]
    found = read_circuits(
        lm,
        graph,
        PAIRS,
        rows,
        ablation=ablation,
        metrics=tuple(METRICS),
        candidates=[*(pair.query for pair in PAIRS), *others],
        labels=labels,
        memory=memory,
    )
    assert found.queries == tuple(pair.query for pair in PAIRS)
    among = {"of": [25, 5, 30], "by": [7, 31]}
    for at, pair in enumerate(PAIRS):
        measures = {name: make(lm, lay_out_pairs(lm, [pair])) for name, make in METRICS.items()}
        for row, logits in enumerate(alone(lm, graph, pair, rows, ablation)):
            for name, measure in measures.items():
                expected = float(measure(logits)[0, 0])
                assert float(found.metrics[name][at, row]) == pytest.approx(expected, abs=1e-4)
            first = logits[0, 0].tolist()
            answer = lm.tokens(pair.query).answers[0][0]
            assert int(found.rank[at, row]) == rank(first, answer, range(97))
            assert first[int(found.said[at, row])] == max(first)
            assert bool(found.correct[at, row]) == (rank(first, answer, range(97)) == 0)
            assert found.label_rank is not None and found.candidate_rank is not None
            assert int(found.label_rank[at, row]) == rank(first, 40 + at, range(97))
            assert int(found.candidate_rank[at, row]) == rank(first, answer, among[pair.query.relation])
    assert found.rank.unique().numel() > 3


def test_the_whole_circuit_ranks_answers_as_the_model_does_from_zero() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    short = PAIRS[1]
    expected = int(locant.evaluations.answer_rank(lm, [short.query])[0]) - 1
    found = read_circuits(lm, graph, [short], graph.edges[None])
    assert int(found.rank[0, 0]) == expected
    assert found.candidate_rank is None and found.label_rank is None
    assert set(found.metrics) == {"logit_difference", "log_probability"}


def test_half_of_the_tokens_as_likely_as_the_answer_stand_before_it() -> None:
    model = copy.deepcopy(tiny("llama").model)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[5] = head[8] = head[9]
    lm = locant.load(model, tokenizer=tokenizer())
    graph = graph_of(lm)
    found = read_circuits(lm, graph, [PAIRS[1]], keeps(graph), labels=[asked("w1", "w9")])
    assert found.label_rank is not None and torch.equal(found.rank, found.label_rank)
    assert torch.allclose(found.metrics["logit_difference"], torch.zeros(1, 3, dtype=torch.float64))
    # Without biases nothing kept is nothing said
    nothing = read_circuits(lm, graph, [PAIRS[1]], keeps(graph)[:1], ablation="zero")
    assert nothing.rank.tolist() == [[48]]


def test_hits_are_ranks_below_k_over_queries() -> None:
    ranks = torch.tensor([[0, 9, 10], [10, 9, 3], [11, 9, 96], [2, 9, 96]])
    assert hit(ranks).tolist() == [0.5, 1.0, 0.25]
    assert hit(ranks, 1).tolist() == [0.25, 0.0, 0.0]


@torch.no_grad()
def test_validation_labels_give_a_model_that_knows_everything_nothing() -> None:
    lm = tiny("gpt2")
    prompts = [f"w{at} w2 w3" for at in range(4, 40)]
    logits = {one: lm.model(torch.tensor([[int(word[1:]) for word in one.split()]])).logits[0, -1] for one in prompts}
    # Of what the model says first, each word once
    said = {int(own[:90].argmax()): prompt for prompt, own in logits.items()}
    known = [asked(prompt, f"w{word}") for word, prompt in said.items()]
    labels = [*known[1:], known[0]]
    pairs = [Pair(query, other) for query, other in zip(known, labels, strict=True)]
    graph = graph_of(lm)
    found = read_circuits(lm, graph, pairs, graph.edges[None], labels=labels)
    assert len(known) > 2 and found.label_rank is not None
    for at, (query, label) in enumerate(zip(known, labels, strict=True)):
        own = logits[query.prompt]
        for ranks, word in ((found.rank, query.answer), (found.label_rank, label.answer)):
            assert int(ranks[at, 0]) == int((own > own[int(word[1:])]).sum())
    first = int(found.rank.max()) + 1
    assert hit(found.rank, first).tolist() == [1.0] and hit(found.label_rank, first).item() < 0.5


def test_labels_that_are_too_few_and_names_that_do_not_exist_are_refused() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    with pytest.raises(LocantError, match="4 queries are looked up by 1 labels"):
        read_circuits(lm, graph, PAIRS, graph.edges[None], labels=[LONG.query])
    with pytest.raises(UnknownName, match="no metric 'loss'"):
        read_circuits(lm, graph, PAIRS, graph.edges[None], metrics=["loss"])
    with pytest.raises(UnknownName, match="no ablation 'noise'"):
        read_circuits(lm, graph, PAIRS, graph.edges[None], ablation="noise")
