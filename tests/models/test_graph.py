"""A graph has the nodes and edges that the papers count."""

from __future__ import annotations

import pytest
import torch

from locant.errors import UnknownName
from locant.models.graph import Graph
from locant.models.reached import reached


@pytest.mark.parametrize(
    ("layers", "heads", "split", "merged"),
    [(12, 12, 32_491, 11_611), (24, 16, 231_877, 80_965), (36, 20, 810_703, 280_063)],
)
def test_gpt2_has_the_edges_the_paper_counts(layers: int, heads: int, split: int, merged: int) -> None:
    assert int(Graph.of_sizes(layers, heads).edges.sum()) == split
    assert int(Graph.of_sizes(layers, heads, split=False).edges.sum()) == merged


def test_tinyllama_has_the_edges_the_paper_counts_once_its_keys_and_values_are_expanded() -> None:
    assert int(Graph.of_sizes(22, 32, 4, expanded=True).edges.sum()) == 742_996
    assert int(Graph.of_sizes(22, 32, 4, split=False).edges.sum()) == 253_716
    # 48 - 8 = 56 fewer receivers a layer, of 1 + 33 l senders each
    fewer = 56 * sum(1 + 33 * layer for layer in range(22))
    assert int(Graph.of_sizes(22, 32, 4).edges.sum()) == 742_996 - fewer


def test_nodes_are_counted_as_in_the_paper() -> None:
    assert [Graph.of_sizes(*sizes).nodes for sizes in ((12, 12), (24, 16), (36, 20), (22, 32, 4))] == [
        158,
        410,
        758,
        728,
    ]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_every_edge_goes_forward_and_names_say_where(split: bool, parallel: bool) -> None:
    graph = Graph.of_sizes(3, 4, 2, split=split, parallel=parallel)
    for sender, name in enumerate(graph.senders):
        for receiver, reader in enumerate(graph.receivers):
            assert bool(graph.edges[sender, receiver]) == _precedes(name, reader, parallel), (name, reader)


def _precedes(sender: str, receiver: str, parallel: bool) -> bool:
    """Whether a sender is computed before a receiver reads, from their names alone."""
    if sender == "input" or receiver == "output":
        return True
    first, second = (int(name[1:].split(".")[0]) for name in (sender, receiver))
    own = sender[0] == "a" and receiver[0] == "m" and not parallel
    return first < second or (first == second and own)


@pytest.mark.parametrize("split", [False, True])
def test_indices_and_names_agree(split: bool) -> None:
    graph = Graph.of_sizes(3, 4, 2, split=split)
    assert len(set(graph.senders)) == len(graph.senders) and len(set(graph.receivers)) == len(graph.receivers)
    assert graph.senders[graph.head_sender(2, 3)] == "a2.h3"
    assert graph.senders[graph.mlp_sender(1)] == "m1"
    assert graph.receivers[graph.mlp_receiver(1)] == "m1"
    assert graph.receivers[graph.output] == "output"
    for part in graph.parts:
        names = graph.receivers[graph.part_receivers(1, part)]
        ending = f".{part}" if split else ""
        assert names == tuple(f"a1.h{head}{ending}" for head in range(graph.readers(part)))
    assert graph.receiver_layers[graph.receiver("m2")] == 2 and graph.receiver_layers[-1] == 3


def test_a_shared_key_feeds_every_head_of_its_group_and_a_query_its_own() -> None:
    graph = Graph.of_sizes(2, 6, 2)
    fed = {
        name: [graph.senders[at] for at in row.nonzero()[:, 0]]
        for name, row in zip(graph.receivers, graph.feeds, strict=True)
    }
    assert fed["a1.h1.k"] == fed["a1.h1.v"] == ["a1.h3", "a1.h4", "a1.h5"]
    assert fed["a1.h4.q"] == ["a1.h4"]
    assert fed["m0"] == ["m0"] and fed["output"] == []


def test_a_mask_is_made_from_names_of_edges_and_refuses_what_is_no_edge() -> None:
    graph = Graph.of_sizes(2, 2)
    kept = graph.keeping(["input->m0", "a0.h1->a1.h0.v"])
    assert [graph.edge_name(*map(int, at)) for at in kept.nonzero()] == ["input->m0", "a0.h1->a1.h0.v"]
    assert torch.equal(kept & graph.edges, kept)
    for wrong in ("m1->a0.h0.q", "m0", "m7->output", "m0->a1.h0"):
        with pytest.raises(UnknownName):
            graph.keeping([wrong])


def test_heads_that_cannot_share_keys_evenly_are_refused() -> None:
    with pytest.raises(UnknownName, match="4 heads and 3 key/value heads"):
        Graph.of_sizes(2, 4, 3)


def test_a_change_reaches_nodes_along_kept_edges_that_are_read() -> None:
    graph = Graph.of_sizes(layers=3, heads=2)
    kept = graph.keeping(["input->a0.h0.v", "a0.h0->m1", "m1->a2.h1.q", "a2.h1->output", "m0->m2"])
    everyone = torch.ones(len(graph.senders), dtype=torch.bool)
    cut = graph.keeping(["input->a0.h0.v"])
    nothing = (False, False)
    assert reached(graph, cut, kept, everyone) == [(True, False), (False, True), (True, False)]
    assert reached(graph, cut & False, kept, everyone) == [nothing] * 3
    assert reached(graph, graph.keeping(["m0->output"]), kept, everyone) == [nothing] * 3
    unread = everyone.clone()
    unread[graph.sender("m1")] = False
    assert reached(graph, cut, kept, unread) == [(True, False), nothing, nothing]


SPANS = ("before", "subject", "last")


@pytest.mark.parametrize("split", [False, True])
def test_with_spans_every_edge_is_there_at_each_and_those_to_the_output_at_the_last(split: bool) -> None:
    plain = Graph.of_sizes(3, 4, 2, split=split)
    graph = Graph.of_sizes(3, 4, 2, split=split, spans=SPANS)
    count, output = int(plain.edges.sum()), int(plain.edges[:, plain.output].sum())
    assert int(graph.edges.sum()) == 3 * (count - output) + output
    names = {graph.edge_name(*map(int, at)) for at in graph.edges.nonzero()}
    for at in plain.edges.nonzero():
        sender, receiver = plain.edge_name(*map(int, at)).split("->")
        spans = ["last"] if receiver == "output" else SPANS
        for span in spans:
            assert f"{sender}@{span}->{receiver}" + ("" if receiver == "output" else f"@{span}") in names
    assert graph.plain == plain and torch.equal(graph.joined([plain.edges] * 3), graph.edges)
    assert torch.equal(graph.of_span(graph.edges, len(SPANS) - 1), plain.edges)
    for at in range(len(SPANS) - 1):
        assert torch.equal(graph.of_span(graph.edges, at)[:, :-1], plain.edges[:, :-1])


def test_keys_and_values_feed_their_head_from_their_span_on_and_all_else_at_its_own() -> None:
    graph = Graph.of_sizes(2, 4, 2, spans=SPANS)
    fed = {
        name: [graph.senders[at] for at in row.nonzero()[:, 0]]
        for name, row in zip(graph.receivers, graph.feeds, strict=True)
    }
    assert fed["a1.h1.k@subject"] == fed["a1.h1.v@subject"]
    assert fed["a1.h1.k@subject"] == ["a1.h2@subject", "a1.h3@subject", "a1.h2@last", "a1.h3@last"]
    assert fed["a1.h2.q@subject"] == ["a1.h2@subject"] and fed["m0@before"] == ["m0@before"]
    assert fed["a0.h0.k@last"] == ["a0.h0@last", "a0.h1@last"] and fed["output"] == []
    merged = Graph.of_sizes(2, 2, split=False, spans=SPANS)
    assert merged.feeds[merged.receiver("a0.h1@before")].nonzero()[:, 0].tolist() == [
        merged.sender(f"a0.h1@{span}") for span in SPANS
    ]


def test_names_say_what_nodes_are_and_what_receivers_read() -> None:
    graph = Graph.of_sizes(3, 4, 2, spans=SPANS)
    assert graph.node("a2.h3@subject") == ("head", 2, 3, "subject") and graph.node("m1@last") == (
        "mlp",
        1,
        None,
        "last",
    )
    assert graph.node("input@before") == ("input", -1, None, "before") and graph.node("output") == (
        "output",
        3,
        None,
        "",
    )
    assert graph.plain.node("a0.h3") == ("head", 0, 3, "")
    said = [
        graph.read_as(graph.receiver(name)) for name in ("a1.h2.q@last", "a1.h1.k@subject", "m2@before", "output")
    ]
    assert said == ["q", "k", "m", "output"]
    assert Graph.of_sizes(2, 2, split=False).read_as(0) == "h"
    assert {graph.senders[at]: layer for at, layer in graph.head_layers.items()} == {
        name: graph.node(name).layer for name in graph.senders if name.startswith("a")
    }
    assert all(
        graph.receiver_layers[at] == int(name[1]) for at, name in enumerate(graph.receivers) if name != "output"
    )


def test_a_change_at_a_key_reaches_its_head_at_later_spans_alone() -> None:
    graph = Graph.of_sizes(3, 2, spans=SPANS)
    everyone = torch.ones(len(graph.senders), dtype=torch.bool)
    names = ["input@subject->a0.h0.k@subject", "a0.h0@last->m1@last", "a0.h0@before->m2@before", "m1@last->output"]
    kept = graph.keeping(names)
    assert reached(graph, graph.keeping(names[:1]), kept, everyone) == [(True, False), (False, True), (False, False)]
