"""Circuits are what brute force chooses, and hold nothing that leads nowhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from families import tiny
from locant.errors import LocantError, UnknownName
from locant.models import graph_of
from locant.models.branches import branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.sent import record_sent
from locant.models.sites import lay_out_each
from locant.selections.circuits import Circuit, choose, choose_each, in_order, without_dead_ends
from scored_graphs import BY_HAND, GRAPHS, keeping, plainly_alive, scored, thinned


@pytest.fixture(params=sorted(GRAPHS))
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]


def strength(by: str, score: float) -> float:
    return abs(score) if by == "absolute" else score


def plainly_ordered(graph: Graph, values: torch.Tensor, rule: str, by: str) -> list[tuple[int, int]]:
    """One edge after another: always the strongest of those that may be taken, looked for among all."""
    left = [(sender, receiver) for sender, receiver in graph.edges.nonzero().tolist()]
    nodes, taken = {"output"}, []
    while left:
        feeds = {at: {graph.senders[one] for one in graph.feeds[at].nonzero()[:, 0].tolist()} for _, at in left}
        open_ = [one for one in left if rule == "top" or (feeds[one[1]] or {"output"}) & nodes]
        if not open_:
            break
        best = max(open_, key=lambda one: strength(by, float(values[one])))
        taken.append(best)
        left.remove(best)
        nodes.add(graph.senders[best[0]])
    return taken


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("by", ["absolute", "signed"])
@pytest.mark.parametrize("rule", ["top", "greedy"])
def test_edges_are_taken_in_the_order_of_brute_force(graph: Graph, rule: str, by: str, rounded: bool) -> None:
    scores = scored(graph, rounded=rounded)
    found = [tuple(one) for one in in_order(scores, rule=rule, by=by).tolist()]
    assert found == plainly_ordered(graph, scores.values, rule, by)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.8])
def test_dead_ends_are_what_no_way_from_the_input_to_the_output_goes_through(graph: Graph, share: float) -> None:
    for seed in range(5):
        circuit = thinned(graph, share, seed)
        assert set(without_dead_ends(circuit).edges) == plainly_alive(circuit)


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_a_head_is_reached_and_reaches_by_any_of_its_parts(part: str) -> None:
    circuit = keeping(GRAPHS["split"], f"input->a1.h0.{part}", "a1.h0->output", "a1.h1->output", "input->a0.h0.q")
    assert set(without_dead_ends(circuit).edges) == {f"input->a1.h0.{part}", "a1.h0->output"}


def test_a_shared_key_leads_to_every_head_that_shares_it() -> None:
    graph = GRAPHS["shared keys"]
    circuit = keeping(graph, "input->a1.h0.k", "a1.h1->output", "a1.h2->output")
    alive = without_dead_ends(circuit)
    assert set(alive.edges) == {"input->a1.h0.k", "a1.h1->output"}
    assert alive.nodes == ("input", "a1.h1", "output")
    assert keeping(graph, "input->a1.h0.k").nodes == ("input", "a1.h0", "a1.h1")


def test_a_key_leads_from_its_span_to_later_ones_and_not_back() -> None:
    graph = GRAPHS["spans"]
    onwards = ["input@before->a1.h0.k@before", "a1.h1@last->output"]
    assert set(without_dead_ends(keeping(graph, *onwards)).edges) == set(onwards)
    back = keeping(graph, "input@last->a0.h0.k@last", "a0.h0@before->a1.h0.v@before", "a1.h0@last->output")
    assert not without_dead_ends(back).edges
    query = keeping(graph, "input@before->a1.h0.q@before", "a1.h0@last->output")
    assert not without_dead_ends(query).edges


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_dead_ends_change_nothing_that_a_circuit_says(family: str) -> None:
    lm = tiny(family)
    graph = graph_of(lm)
    clean, other = (lay_out_each([(tokens, (6,))]) for tokens in ((1, 2, 3, 4, 5), (21, 2, 33, 4, 5)))
    run = CircuitRun(lm, graph, clean, record_sent(lm, branches_of(lm, graph), other))
    circuits = [thinned(graph, share, seed) for seed, share in enumerate((0.4, 0.3, 0.3))]
    alive = [without_dead_ends(one) for one in circuits]
    assert all(0 < len(one) < len(circuit) for one, circuit in zip(alive, circuits, strict=True))
    found = run.logits(torch.stack([one.keep for one in [*circuits, *alive]]))
    assert float((found[:, :3] - found[:, 3:]).abs().max()) < 1e-5
    assert float((found[:, 0] - found[:, 1]).abs().max()) > 1e-3


@pytest.mark.parametrize(("rule", "by"), [("top", "absolute"), ("greedy", "signed")])
def test_a_circuit_has_as_many_edges_as_fit_once_dead_ends_are_gone(graph: Graph, rule: str, by: str) -> None:
    scores = scored(graph, seed=3)
    order = [graph.edge_name(*one) for one in in_order(scores, rule=rule, by=by).tolist()]
    alive = [plainly_alive(keeping(graph, *order[:taken])) for taken in range(len(order) + 1)]
    for size in (0, 1, 2, 5, 11, 20, len(order) - 1, len(order), 10**6):
        circuit = choose(scores, size, rule=rule, by=by)
        assert set(circuit.edges) == max((one for one in alive if len(one) <= size), key=len)
        assert len(circuit) <= size


def test_circuits_of_several_sizes_are_those_of_each_and_lie_in_one_another() -> None:
    scores = scored(GRAPHS["shared keys"])
    sizes = (3, 10, 40, 100)
    found = choose_each(scores, sizes)
    for size, one in zip(sizes, found, strict=True):
        assert torch.equal(one.keep, choose(scores, size).keep) and one.made_by == choose(scores, size).made_by
    assert all(not (one.keep & ~larger.keep).any() for one, larger in pairwise(found))


def test_signed_choices_leave_what_harms_to_the_end() -> None:
    graph = GRAPHS["split"]
    values = graph.edges.double()
    values[:, graph.output] = torch.tensor([3.0, 1, 1, -9, 2, 1, 1])
    scores = type(scored(graph))(graph, values, (), BY_HAND)
    assert "m0->output" in choose(scores, 40, by="absolute").edges
    assert choose(scores, int(graph.edges.sum()) - 1, by="signed").complement().edges == ("m0->output",)
    assert graph.edge_name(*in_order(scores, by="absolute")[0].tolist()) == "m0->output"


def test_a_complement_has_all_other_edges() -> None:
    circuit = thinned(GRAPHS["merged"], 0.3)
    rest = circuit.complement()
    assert set(rest.edges) | set(circuit.edges) == set(keeping(circuit.graph, *rest.edges, *circuit.edges).edges)
    assert len(rest) + len(circuit) == int(circuit.graph.edges.sum()) and not set(rest.edges) & set(circuit.edges)
    assert rest.made_by.parents == (circuit.made_by.digest(),) and rest.made_by != circuit.made_by
    assert torch.equal(rest.complement().keep, circuit.keep)


def test_a_circuit_says_what_it_was_chosen_by() -> None:
    scores = scored(GRAPHS["split"])
    circuit = choose(scores, 10)
    assert isinstance(circuit, Circuit) and torch.equal(circuit.scores, scores.values)
    assert circuit.made_by.settings == {"size": 10, "rule": "greedy", "by": "absolute"}
    assert circuit.made_by.parents == (scores.made_by.digest(),)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rule": "best"}, "no rule 'best' for circuits; there are top, greedy"),
        ({"by": "size"}, "not chosen by 'size' scores; there are absolute, signed"),
        ({"size": -1}, "0 edges or more, not -1"),
    ],
)
def test_choices_that_make_no_sense_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        choose(scored(GRAPHS["split"]), **{"size": 5} | wrong)  # type: ignore[arg-type]


def test_scores_that_are_no_numbers_are_refused() -> None:
    scores = scored(GRAPHS["split"])
    scores.values[0, 0] = float("nan")
    with pytest.raises(LocantError, match="not finite"):
        choose(scores, 5)
