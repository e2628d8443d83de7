"""Where positions are told apart by spans, scores and circuits are those of the plain graph, position by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
import plain
from families import tiny
from locant.attributions.edges import METHODS, Pair, PairSites, acdc, exact, lay_out_pairs
from locant.errors import BadQuery, LocantError, UnknownName
from locant.evaluations.circuits import head_measures, written_in
from locant.models import LanguageModel
from locant.models.branches import branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.sent import record_sent, zero_sent
from locant.models.spans import SPANS, spans_of
from plain_circuits import SERVED, plain_circuit

FAMILIES = ("gpt2", "llama", "gpt_neox")
"""Absolute positions; rotary ones with shared keys; parallel."""


def asked(prompt: str, answer: str, subject: str) -> locant.Query:
    return locant.query(prompt, answer, subject=subject, relation="of", uid=prompt)


PAIRS = (
    # An answer of two tokens; nothing before the subject; nothing but the prompt's last token is the subject's
    Pair(asked("w1 w2 w3 w4 w9", "w25 w26", "w2 w3"), asked("w1 w12 w13 w4 w9", "w15", "w12 w13")),
    Pair(asked("w7 w8 w3", "w5", "w7"), asked("w6 w8 w3", "w8", "w6")),
    Pair(asked("w1 w2 w3", "w5", "w3"), asked("w1 w2 w7", "w8", "w7")),
)
WHERE = ("before", "subject", "subject", "after", "last")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def run_on(lm: LanguageModel, graph: Graph, pairs: tuple[Pair, ...] = PAIRS) -> tuple[CircuitRun, PairSites]:
    sites = lay_out_pairs(lm, pairs, graph.spans)
    return CircuitRun(lm, graph, sites.clean, record_sent(lm, branches_of(lm, graph), sites.other)), sites


def circuits(graph: Graph, share: float, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand((count, *graph.edges.shape), generator=generator) < share) & graph.edges


def test_every_position_is_in_one_span_and_answers_are_in_the_last() -> None:
    lm = tiny("gpt2")
    found = spans_of(lm, [pair.query for pair in PAIRS])
    named = [[SPANS[at] for at in row] for row in found.tolist()]
    assert named[0] == [*WHERE, "last"]
    assert named[1] == ["subject", "after", *["last"] * 4]
    assert named[2] == ["before", "before", *["last"] * 4]


@pytest.mark.parametrize("method", ["eap", "eap_ig_activations", "relp"])
def test_scores_add_up_over_spans_to_those_of_all_positions(family: str, method: str) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        graph = graph_of(lm, spans=SPANS)
        settings = {"steps": 2} if "ig" in method else {}
        found = METHODS[method](lm, graph, PAIRS, **settings)
        whole = METHODS[method](lm, graph.plain, PAIRS, **settings)
    each = torch.stack([graph.of_span(found.values, at) for at in range(4)])
    assert gap(each.sum(dim=0), whole.values) < 1e-6
    # Before the subject the counterfactual is the same prompt
    assert each.abs().amax(dim=(1, 2)).gt(0).tolist() == [False, True, True, True]
    assert bool((found.values[~graph.edges] == 0).all())
    assert found.made_by.digest() != whole.made_by.digest()


@pytest.mark.slow
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("method", [name for name in METHODS if name != "exact"])
@pytest.mark.parametrize("served", sorted(SERVED))
def test_scores_add_up_over_spans_on_every_family(served: str, method: str, split: bool) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout():
        graph = graph_of(lm, split=split, spans=SPANS)
        values, whole = (METHODS[method](lm, one, PAIRS, memory=200_000).values for one in (graph, graph.plain))
    assert gap(sum(graph.of_span(values, at) for at in range(4)), whole) < 1e-6


def test_the_same_edges_at_all_spans_are_the_plain_circuit(family: str) -> None:
    lm = tiny(family)
    graph = graph_of(lm, spans=SPANS)
    keep = circuits(graph.plain, 0.4, count=3)
    alike = torch.stack([graph.joined([one] * 4) for one in keep])
    expected = run_on(lm, graph.plain)[0].logits(keep)
    assert gap(run_on(lm, graph)[0].logits(alike), expected) < 1e-5
    own = (written_in(run_on(lm, one)[0], mask).output for one, mask in ((graph, alike[0]), (graph.plain, keep[0])))
    assert gap(*own) < 1e-5


def test_all_edges_are_the_model_and_none_the_counterfactual(family: str) -> None:
    lm = tiny(family)
    graph = graph_of(lm, spans=SPANS)
    run, sites = run_on(lm, graph)
    assert gap(run.logits(graph.edges)[:, 0], lm.site_logits(sites.clean)) < 1e-5
    assert gap(run.logits(torch.zeros_like(graph.edges))[:, 0], lm.site_logits(sites.other)) < 1e-5


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_any_circuit_equals_running_every_head_and_every_position_by_itself(family: str, share: float) -> None:
    _equals_plainly(family, share, split=True)


@pytest.mark.slow
@pytest.mark.parametrize("served", sorted(SERVED))
def test_any_merged_circuit_equals_running_every_head_and_every_position_by_itself(served: str) -> None:
    _equals_plainly(served, 0.5, split=False)


def _equals_plainly(family: str, share: float, *, split: bool) -> None:
    lm, pair = tiny(family, torch.float64), PAIRS[0]
    clean, other = (list(lm.tokens(one).prompt) for one in (pair.query, pair.other))
    with plain.DoubleThroughout():
        graph = graph_of(lm, split=split, spans=SPANS)
        (keep,) = circuits(graph, share)
        run, sites = run_on(lm, graph)
        expected = plain_circuit(family, lm, graph, clean, other, keep, WHERE)
        assert float((run.logits(keep)[0, 0] - expected).abs().max()) < 1e-10
        zeros = CircuitRun(lm, graph, sites.clean, zero_sent(lm, branches_of(lm, graph)))
        expected = plain_circuit(family, lm, graph, clean, None, keep, WHERE)
        assert float((zeros.logits(keep)[0, 0] - expected).abs().max()) < 1e-10


@pytest.mark.slow
def test_exact_scores_are_what_a_patch_at_the_spans_own_positions_loses(family: str) -> None:
    lm, pair = tiny(family, torch.float64), PAIRS[0]
    clean, other = (list(lm.tokens(one).prompt) for one in (pair.query, pair.other))
    answer = lm.tokens(pair.query).answers[0][0]
    foil = lm.tokens(pair.other).answers[0][0]
    with plain.DoubleThroughout():
        graph = graph_of(lm, spans=SPANS)
        found = exact(lm, graph, [pair])
        edges = (
            "m0@subject->a1.h1.k@subject",
            "input@subject->m0@subject",
            "a0.h1@last->a2.h1.q@last",
            "m1@last->output",
        )
        for edge in edges:
            both = [
                plain_circuit(family, lm, graph, clean, other, keep, WHERE)
                for keep in (graph.edges, graph.edges & ~graph.keeping([edge]))
            ]
            whole, cut = (float(one[answer] - one[foil]) for one in both)
            assert found[edge] == pytest.approx(whole - cut, abs=1e-10) and found[edge] != 0, edge
    # The counterfactual is the same before the subject, where nothing can be lost
    assert float(graph.of_span(found.values, 0).abs().max()) < 1e-10


def test_rows_near_a_sparse_circuit_say_what_each_says_alone(family: str) -> None:
    lm = tiny(family)
    graph = graph_of(lm, spans=SPANS)
    run, _ = run_on(lm, graph)
    (sparse,) = circuits(graph, 0.15)
    base = run.passed(sparse, run.passed(graph.edges))
    rows = sparse.repeat(12, 1, 1)
    edges = graph.edges.nonzero()
    for row, (sender, receiver) in zip(rows, edges[:: len(edges) // 12 + 1].tolist(), strict=False):
        row[sender, receiver] ^= True
        assert gap(run.logits(row, base), run.logits(row)) < 1e-5, graph.edge_name(sender, receiver)
    assert gap(run.logits(rows, base), run.logits(rows)) < 1e-5


def test_what_does_not_know_spans_refuses_in_one_sentence() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm, spans=SPANS)
    with pytest.raises(LocantError, match="automatic circuit discovery does not search where positions are told"):
        acdc(lm, graph, PAIRS)
    with pytest.raises(LocantError, match="roles of heads are not measured where positions are told apart"):
        head_measures(lm, graph, PAIRS)
    with pytest.raises(BadQuery, match="names no subject: spans are told by where the subject stands"):
        lay_out_pairs(lm, [Pair(asked("w1 w2", "w3", ""), asked("w1 w4", "w5", ""))], SPANS)
    with pytest.raises(BadQuery, match="'w8' is not in its prompt 'w1 w2': spans"):
        lay_out_pairs(lm, [Pair(asked("w1 w2", "w3", "w8"), asked("w1 w4", "w5", ""))], SPANS)
    with pytest.raises(UnknownName, match="no spans subject, last; there are before, subject, after, last"):
        lay_out_pairs(lm, PAIRS, ("subject", "last"))
    sites = lay_out_pairs(lm, PAIRS)
    with pytest.raises(LocantError, match="lay prompts out with its spans"):
        CircuitRun(lm, graph, sites.clean, record_sent(lm, branches_of(lm, graph), sites.other))
