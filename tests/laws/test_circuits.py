"""Circuits compute what plain code computes, and obey the laws that hold whatever the circuit, on every family."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import locant
import plain
from families import tiny, tokenizer
from locant.models import LanguageModel, hooks
from locant.models.branches import branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.sent import Sent, mean_sent, record_sent, zero_sent
from locant.models.sites import Sites, lay_out_each
from plain_circuits import SERVED, plain_circuit

pytestmark = pytest.mark.slow  # every family, every kernel

CLEAN = ((1, 2, 3, 4, 5), (7, 8, 9, 10))
OTHER = ((21, 2, 33, 4, 5), (7, 28, 9, 40))


@pytest.fixture(params=sorted(SERVED))
def served(request: pytest.FixtureRequest) -> str:
    """The name of an architecture that has a graph."""
    return str(request.param)


def sites(prompts: tuple[tuple[int, ...], ...] = CLEAN) -> Sites:
    """Prompts laid out; the second has an answer of two tokens."""
    return lay_out_each(list(zip(prompts, ((6,), (11, 12)), strict=True)))


def counterfactual(lm: LanguageModel, graph: Graph) -> CircuitRun:
    return CircuitRun(lm, graph, sites(), record_sent(lm, branches_of(lm, graph), sites(OTHER)))


def circuits(graph: Graph, share: float, count: int = 1, seed: int = 0) -> Tensor:
    """Random circuits that keep this share of the edges."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand((count, *graph.edges.shape), generator=generator) < share) & graph.edges


def gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


@pytest.mark.parametrize("split", [True, False])
def test_the_full_circuit_is_the_model_and_the_empty_one_the_counterfactual(served: str, split: bool) -> None:
    lm = tiny(served)
    graph = graph_of(lm, split=split)
    run = counterfactual(lm, graph)
    assert gap(run.logits(graph.edges)[:, 0], lm.site_logits(sites())) < 1e-5
    assert gap(run.logits(torch.zeros_like(graph.edges))[:, 0], lm.site_logits(sites(OTHER))) < 1e-5


def test_the_empty_circuit_of_zeros_reads_biases_of_the_output_projections_alone(served: str) -> None:
    lm = tiny(served, torch.float64)
    graph = graph_of(lm)
    branches = branches_of(lm, graph)
    run = CircuitRun(lm, graph, sites(), zero_sent(lm, branches))
    with torch.no_grad():
        biases = [branch.output(torch.zeros(1, 32, dtype=torch.float64)) * branch.scale for branch in branches]
        expected = lm.readout(sum(biases))
    found = run.logits(torch.zeros_like(graph.edges))[:, 0]
    assert gap(found, expected.expand_as(found)) < 1e-10


@pytest.mark.parametrize(("split", "share"), [(True, 0.3), (True, 0.7), (False, 0.5)])
def test_any_circuit_equals_running_every_head_by_itself(served: str, split: bool, share: float) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout():
        graph = graph_of(lm, split=split)
        (keep,) = circuits(graph, share)
        found = counterfactual(lm, graph).logits(keep)[0, 0]
        expected = plain_circuit(served, lm, graph, list(CLEAN[0]), list(OTHER[0]), keep)
        assert gap(found, expected) < 1e-10
        if split and share > 0.5:
            return
        zeros = CircuitRun(lm, graph, sites(), zero_sent(lm, branches_of(lm, graph)))
        expected = plain_circuit(served, lm, graph, list(CLEAN[0]), None, keep)
        assert gap(zeros.logits(keep)[0, 0], expected) < 1e-10


def test_rows_say_what_each_says_alone_wherever_they_start(served: str) -> None:
    lm = tiny(served)
    graph = graph_of(lm)
    run = counterfactual(lm, graph)
    keep = circuits(graph, 0.55, count=4)
    # From the second layer's MLP on, each row is a circuit of its own
    keep[:, :, : graph.receiver("m1")] = keep[0, :, : graph.receiver("m1")]
    alone = torch.cat([run.logits(one) for one in keep], dim=1)
    assert gap(run.logits(keep), alone) < 1e-5
    assert gap(run.logits(keep, run.passed(keep[0])), alone) < 1e-5
    assert gap(run.logits(keep[1:2], run.passed(keep[0])), alone[:, 1:2]) < 1e-5


def test_starting_from_another_circuit_runs_only_the_layers_where_they_differ() -> None:
    lm = tiny("llama")
    graph = graph_of(lm)
    run = counterfactual(lm, graph)
    base = run.passed(graph.edges)
    ran: list[int] = []
    for cut, expected in (("a0.h0->m0", [0, 1, 2]), ("m0->a2.h1.k", [2]), ("m2->output", []), ("input->m1", [1, 2])):
        ran.clear()
        with hooks.watching_inputs(lm.blocks, lambda layer, stream: ran.append(layer)):
            run.logits(graph.edges & ~graph.keeping([cut]), base)
        assert ran == expected, cut


@pytest.mark.parametrize("expanded", [False, True])
def test_rows_near_a_sparse_circuit_say_what_each_says_alone(served: str, expanded: bool) -> None:
    lm = tiny(served)
    if expanded and lm.config.model_type == "stablelm":
        pytest.skip("its keys have norms of their own")
    graph = graph_of(lm, expanded=expanded)
    run = counterfactual(lm, graph)
    (sparse,) = circuits(graph, 0.15)
    whole = run.passed(graph.edges)
    base = run.passed(sparse, whole)
    for sender, receiver in graph.edges.nonzero()[::7].tolist():
        row = sparse.clone()
        row[sender, receiver] ^= True
        assert gap(run.logits(row, base), run.logits(row)) < 1e-5, graph.edge_name(sender, receiver)
    both = torch.stack([row, sparse])
    assert gap(run.logits(both, base), run.logits(both)) < 1e-5


def test_only_what_reads_something_else_runs_again() -> None:
    lm = tiny("llama")
    graph = graph_of(lm)
    run = counterfactual(lm, graph)
    kept = graph.keeping(["input->a0.h0.v", "a0.h0->output", "a0.h0->m1", "m1->output", "input->m0", "m0->m2"])
    base = run.passed(kept)
    ran: list[str] = []
    # Of the first block: its MLP is nobody's who is read; the third's own is read by nobody
    names = ["m0", "m1", "m2"]
    with hooks.watching_outputs(lm.downs, lambda layer, _: ran.append(names[layer])):
        run.logits(kept & ~graph.keeping(["input->a0.h0.v"]), base)
        assert ran == ["m1"]
        ran.clear()
        run.logits(kept & ~graph.keeping(["input->m0"]), base)
        assert ran == ["m0"]


def test_cutting_all_that_a_node_reads_is_patching_the_node(served: str) -> None:
    lm = tiny(served)
    graph = graph_of(lm)
    run = counterfactual(lm, graph)
    branches = branches_of(lm, graph)
    other = record_sent(lm, branches, sites(OTHER))

    def mlp(written: Tensor) -> Tensor:
        return (other.mlps[1] / branches[1].scale).reshape(written.shape)

    keep = graph.edges.clone()
    keep[:, graph.receiver("m1")] = False
    with hooks.changing_outputs({branches[1].down: mlp}):
        patched = lm.site_logits(sites())
    assert gap(patched, lm.site_logits(sites())) > 1e-3
    assert gap(run.logits(keep)[:, 0], patched) < 1e-5

    # The first key/value head, and every query that looks through it
    fed = graph.feeds[graph.receiver("a1.h0.k")]
    keep = graph.edges.clone()
    keep[:, (graph.feeds.int() @ fed.int()).bool()] = False
    count = int(fed.sum()) * 8

    def heads(results: Tensor) -> Tensor:
        return torch.cat([other.heads[1][:, 0, :, :count], results[..., count:]], dim=-1)

    with hooks.changing_inputs({branches[1].output: heads}):
        patched = lm.site_logits(sites())
    assert gap(patched, lm.site_logits(sites())) > 1e-3
    assert gap(run.logits(keep)[:, 0], patched) < 1e-5


def repeated(family: str) -> LanguageModel:
    """The same model, every head of which has a key and a value of its own."""
    model = copy.deepcopy(tiny(family).model)
    config = copy.deepcopy(model.config)
    config.num_key_value_heads = 4
    whole = type(model)(config)
    weights = model.state_dict()
    for name, weight in weights.items():
        if ".k_proj." in name or ".v_proj." in name:
            weights[name] = weight.unflatten(0, (2, 8)).repeat_interleave(2, dim=0).flatten(0, 1)
        if ".qkv_proj." in name:
            query, *shared = weight.split([32, 16, 16])
            shared = [one.unflatten(0, (2, 8)).repeat_interleave(2, dim=0).flatten(0, 1) for one in shared]
            weights[name] = torch.cat([query, *shared])
    whole.load_state_dict(weights)
    return locant.load(whole.eval(), tokenizer=tokenizer())


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "phi3", "stablelm", "mistral", "granite", "gemma"])
def test_shared_keys_give_what_the_same_keys_repeated_give(family: str) -> None:
    grouped, whole = tiny(family), repeated(family)
    few, many = graph_of(grouped), graph_of(whole)
    assert few.groups == 2 and many.groups == 4
    (keep,) = circuits(few, 0.5)
    wide = torch.zeros_like(many.edges)
    for receiver, name in enumerate(few.receivers):
        node, _, part = name.rpartition(".")
        group = int(node[-1]) if part in ("k", "v") else 0
        same = [f"{node[:-1]}{2 * group + at}.{part}" for at in range(2)] if part in ("k", "v") else [name]
        for one in same:
            wide[:, many.receiver(one)] = keep[:, receiver]
    found = counterfactual(grouped, few).logits(keep)
    assert gap(found, counterfactual(whole, many).logits(wide)) < 1e-5
    # Given keys of their own, heads that share them can read apart
    (apart,) = circuits(many, 0.5)
    expanded = counterfactual(grouped, graph_of(grouped, expanded=True)).logits(apart)
    assert gap(expanded, counterfactual(whole, many).logits(apart)) < 1e-5
    assert gap(expanded, found) > 1e-3


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "flex_attention"])
def test_every_attention_kernel_runs_the_same_circuit(kernel: str) -> None:
    graph = graph_of(tiny("mistral", kernel="eager"))
    (keep,) = circuits(graph, 0.5)
    expected = counterfactual(tiny("mistral", kernel="eager"), graph).logits(keep)
    assert gap(counterfactual(tiny("mistral", kernel=kernel), graph).logits(keep), expected) < 1e-5


def test_a_small_memory_budget_changes_nothing_but_the_time() -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        graph = graph_of(lm)
        keep = circuits(graph, 0.5, count=5)
        ablated = record_sent(lm, branches_of(lm, graph), sites(OTHER))
        tight = CircuitRun(lm, graph, sites(), ablated, memory=1)
        assert tight.rows == 1
        assert gap(tight.logits(keep), CircuitRun(lm, graph, sites(), ablated).logits(keep)) < 1e-10


def test_means_are_over_real_positions_and_stand_for_every_prompt() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    branches = branches_of(lm, graph)
    clean = record_sent(lm, branches, sites())
    by_position, overall = (mean_sent(lm, branches, [sites()], by_position=one) for one in (True, False))
    both, long = clean.input[:, 0, :3], clean.input[0, 0, 3:]
    assert gap(by_position.input[0, 0, :3], both.mean(dim=0)) < 1e-6
    # The second prompt, with the first token of its answer, is as long as the first
    assert sites().mask.all()
    assert gap(by_position.input[0, 0, 3:], (long + clean.input[1, 0, 3:]) / 2) < 1e-6
    assert gap(overall.mlps[1][0, 0, 0], clean.mlps[1].mean(dim=(0, 1, 2))) < 1e-6
    shorter = lay_out_each([((1, 2), (3,)), ((4, 5, 6, 7), (8,))])
    two, four = record_sent(lm, branches, shorter).mlps[2][:, 0]
    found = mean_sent(lm, branches, [shorter]).mlps[2][0, 0]
    assert gap(found[3], four[3]) < 1e-6 and gap(found[1], (two[1] + four[1]) / 2) < 1e-6
    # In batches of one, of different lengths, the same
    apart = mean_sent(lm, branches, [lay_out_each([((1, 2), (3,))]), lay_out_each([((4, 5, 6, 7), (8,))])])
    assert gap(apart.mlps[2][0, 0], found) < 1e-6
    overall = mean_sent(lm, branches, [shorter], by_position=False).mlps[2][0, 0, 0]
    assert gap(overall, torch.cat([two[:2], four]).mean(dim=0)) < 1e-6
    run = CircuitRun(lm, graph, sites(), by_position)
    assert gap(run.logits(graph.edges)[:, 0], lm.site_logits(sites())) < 1e-5
    # All prompts are the same when everything is ablated
    empty = run.logits(torch.zeros_like(graph.edges))[:, 0]
    assert gap(empty[0], empty[2]) < 1e-5


def test_means_known_for_short_prompts_serve_longer_ones() -> None:
    short = Sent(torch.tensor([1.0, 3.0]).view(1, 1, 2, 1), [], [])
    assert short.to_length(4).input.flatten().tolist() == [1, 3, 2, 2]
    assert short.to_length(1).input.flatten().tolist() == [1]


def test_a_pair_that_does_not_match_is_refused() -> None:
    lm = tiny("gpt2")
    graph = graph_of(lm)
    three = lay_out_each([((1, 2), (3,))] * 3)
    with pytest.raises(locant.LocantError, match="2 prompts are ablated by what 3 others write"):
        CircuitRun(lm, graph, sites(), record_sent(lm, branches_of(lm, graph), three))


def test_half_precision_models_run_the_circuits_of_the_fine_model() -> None:
    graph = graph_of(tiny("llama"))
    (keep,) = circuits(graph, 0.5)
    fine = counterfactual(tiny("llama"), graph).logits(keep)
    coarse = counterfactual(tiny("llama", torch.bfloat16), graph_of(tiny("llama", torch.bfloat16))).logits(keep)
    assert coarse.dtype == torch.float32
    assert gap(coarse, fine) < 0.05 * float(fine.abs().max())
