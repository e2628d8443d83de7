"""What the lens reads of nodes adds up to what the model says, on every kind of norm and block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import locant
from families import WORDS, tiny
from locant.evaluations.circuits.lens import lens_of, read_nodes, read_stream, subject_ids
from locant.evaluations.circuits.written import Written, first_sites, written, written_in
from locant.models import LanguageModel, graph_of, hooks
from locant.models.branches import branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.sent import zero_sent

# LayerNorm, RMSNorm, Gemma's 1 + gain; parallel blocks; shared keys; scaled logits and branches; biased unembeddings
KINDS = ["gpt2", "gptj", "gpt_neox", "bloom", "llama", "gemma", "granite", "phi", "opt"]
TOKENS = torch.tensor([[4, 5], [14, 6], [25, 7]])


def of(lm: LanguageModel) -> Written:
    return written(lm, graph_of(lm), first_sites(lm, WORDS.all))


def said(lm: LanguageModel) -> Tensor:
    """The model's logits after each prompt."""
    rows = [lm.model(torch.tensor([lm.tokens(query).prompt])).logits[0, -1] for query in WORDS.all]
    return torch.stack(rows).detach()


def close(found: Tensor, expected: Tensor, relative: float = 1e-5) -> bool:
    return float((found - expected).abs().max()) < relative * float(expected.abs().max())


@pytest.mark.parametrize("family", KINDS)
def test_what_nodes_add_sums_to_the_logits(family: str) -> None:
    lm = tiny(family)
    sent = of(lm)
    lens = lens_of(lm, sent.output)
    nodes = torch.cat([lens.scaled(each) for each in sent.nodes()])
    assert len(nodes) == len(sent.graph.senders)
    biases = lens.scaled(sent.biases().expand_as(sent.output))
    assert close(lens.finish(nodes.sum(dim=0) + biases), said(lm))


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("reading", ["scaled", "normed"])
def test_the_last_of_the_stream_is_what_the_model_says(family: str, reading: str) -> None:
    lm = tiny(family)
    found = read_stream(lm, of(lm), TOKENS, reading=reading, k=3)
    logits = said(lm)
    assert found.points == ("input", "after a0", "after m0", "after a1", "after m1", "after a2", "after m2")
    assert close(found.logits[:, -1], logits.gather(1, TOKENS))
    expected = logits.softmax(dim=-1).gather(1, TOKENS)
    assert close(found.probability[:, -1], expected, 1e-4)
    order = logits.argsort(dim=1, descending=True)
    for query in range(3):
        assert found.rank[query, -1].tolist() == [order[query].tolist().index(one) for one in TOKENS[query].tolist()]
        words = [one for one in order[query].tolist() if one < len(lm.tokenizer)]
        assert found.top[query, -1].tolist() == words[:3]


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_the_stream_is_what_the_blocks_hand_on(family: str) -> None:
    lm = tiny(family)
    sent, seen = of(lm), {}
    sites = first_sites(lm, WORDS.all)
    with hooks.watching_outputs(lm.blocks, seen.__setitem__):
        lm.site_logits(sites)
    stream = sent.stream()
    for layer in range(3):
        assert close(stream[2 * layer + 2][0], seen[layer][sites.sequence, sites.position].detach())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_node_alone_is_read_by_a_norm_of_its_own(family: str) -> None:
    lm = tiny(family)
    sent = of(lm)
    found = read_nodes(lm, sent, TOKENS, reading="normed", memory=1)
    own = torch.cat(list(sent.nodes()))
    for place, vector in enumerate(own):
        assert close(found.logits[:, place], lm.readout(vector).detach().gather(1, TOKENS))
    # However little it writes: the size is its own
    assert close(lens_of(lm, sent.output).normed(own[1] * 64), lm.readout(own[1]).detach(), 1e-2)


def test_a_head_is_read_by_the_name_it_has_in_the_graph() -> None:
    lm = tiny("llama")
    sent = of(lm)
    found = read_nodes(lm, sent, TOKENS)
    lens = lens_of(lm, sent.output)
    place = found.points.index("a1.h2")
    assert close(found.logits[:, place], lens.scaled(sent.heads(1)[2]).gather(1, TOKENS))
    assert found.rank.shape == (3, len(sent.graph.senders), 2) and found.top.shape[2] == 10


def test_capped_logits_are_those_of_what_is_added_before_the_cap() -> None:
    lm = tiny("gemma2")
    sites = first_sites(lm, WORDS.all)
    seen: dict[int, Tensor] = {}
    with hooks.watching_outputs(lm.blocks[-1:], seen.__setitem__):
        logits = lm.site_logits(sites)
    stream = seen[0][sites.sequence, sites.position].detach()
    lens = lens_of(lm, stream * 1)
    halves = lens.scaled(torch.stack([stream * 0.25, stream * 0.75]))
    assert close(lens.finish(halves.sum(dim=0)), logits)


def test_half_precision_models_are_read_as_the_fine_model() -> None:
    fine, coarse = (tiny("llama", dtype) for dtype in (torch.float32, torch.bfloat16))
    found, expected = (read_nodes(lm, of(lm), TOKENS).logits for lm in (coarse, fine))
    assert found.dtype == torch.float32
    assert close(found, expected, 0.05)


def circuit(lm: LanguageModel, graph: Graph) -> tuple[CircuitRun, Tensor]:
    generator = torch.Generator().manual_seed(0)
    keep = (torch.rand(graph.edges.shape, generator=generator) < 0.6) & graph.edges
    return CircuitRun(lm, graph, first_sites(lm, WORDS.all), zero_sent(lm, branches_of(lm, graph))), keep


@pytest.mark.parametrize("family", ["gpt2", "llama", "gptj"])
def test_inside_a_circuit_the_nodes_it_reads_out_add_up_to_its_logits(family: str) -> None:
    lm = tiny(family)
    graph = graph_of(lm)
    run, keep = circuit(lm, graph)
    sent = written_in(run, keep)
    lens = lens_of(lm, sent.output)
    kept = keep[:, graph.output]
    assert 0 < int(kept.sum()) < len(kept)
    # Zeros in place of the others
    nodes = torch.cat([lens.scaled(each) for each in sent.nodes()])[kept].sum(dim=0)
    found = lens.finish(nodes + lens.scaled(sent.biases().expand_as(sent.output)))
    assert close(found, run.logits(keep)[:, 0])


def test_the_circuit_of_all_edges_is_read_as_the_model() -> None:
    lm = tiny("qwen2")
    run, _ = circuit(lm, graph_of(lm))
    inside, whole = read_nodes(lm, written_in(run, run.graph.edges), TOKENS), read_nodes(lm, of(lm), TOKENS)
    assert close(inside.logits, whole.logits)


def test_subjects_of_several_tokens_repeat_their_last() -> None:
    lm = tiny("gpt2")
    queries = [
        locant.query("w1 w2 w3", "w9", subject="w2 w3", uid="two"),
        locant.query("w1 w4", "w8", subject="w4", uid="one"),
    ]
    assert subject_ids(lm, queries).tolist() == [[2, 3], [4, 4]]


def test_what_cannot_be_read_is_refused() -> None:
    lm = tiny("opt post-norm")
    with pytest.raises(locant.LocantError, match=r"it is read out by model\.decoder\.project_out, unembedding, not"):
        lens_of(lm, torch.zeros(1, 32))
    with pytest.raises(locant.LocantError, match="no reading 'tuned'; there are scaled, normed"):
        read_nodes(tiny("gpt2"), of(tiny("gpt2")), TOKENS, reading="tuned")
