"""Scores of edges obey the laws that hold whatever the model, on every family that has a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import Tensor

import locant
import plain
from families import tiny
from locant.attributions.edges import (
    ABLATIONS,
    METHODS,
    EdgeScores,
    eap,
    eap_ig,
    eap_ig_activations,
    exact,
    lay_out_pairs,
    metric_of,
    relp,
    swapped_pairs,
)
from locant.attributions.edges import ablations as ablations_module
from locant.attributions.edges.pairs import Pair, PairSites
from locant.models import LanguageModel, hooks
from locant.models.branches import branches_of
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.sent import Sent, record_sent
from plain_circuits import SERVED, plain_circuit

pytestmark = pytest.mark.slow  # every family, every edge


@pytest.fixture(params=sorted(SERVED))
def served(request: pytest.FixtureRequest) -> str:
    """The name of an architecture that has a graph."""
    return str(request.param)


def asked(prompt: str, answer: str) -> locant.Query:
    return locant.query(prompt, answer, uid=prompt, relation="of")


QUERIES = (
    asked("w1 w2 w3", "w5"),
    asked("w1 w7 w3", "w8"),
    asked("w1 w2 w3 w4 w9", "w25 w26"),
    asked("w1 w2 w13 w14 w9", "w15"),
)


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest score."""
    return float((found - expected).abs().max() / expected.abs().max())


@contextmanager
def nearby(step: float) -> Iterator[str]:
    """An ablation by which every sender writes a little else than in the clean prompt: a random little."""

    def make(lm: LanguageModel, graph: Graph, pairs: list[Pair]) -> ablations_module.Ablation:
        def ablate(batch: PairSites) -> Sent:
            clean = record_sent(lm, branches_of(lm, graph), batch.clean)
            generator = torch.Generator().manual_seed(1)

            def moved(value: Tensor) -> Tensor:
                return value + step * torch.randn(value.shape, generator=generator, dtype=value.dtype)

            return Sent(moved(clean.input), list(map(moved, clean.heads)), list(map(moved, clean.mlps)))

        return ablate

    ABLATIONS["nearby"] = make
    try:
        yield "nearby"
    finally:
        del ABLATIONS["nearby"]


@pytest.mark.parametrize("split", [True, False])
def test_where_senders_hardly_change_every_method_says_what_cutting_each_edge_does(served: str, split: bool) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout(), nearby(1e-6) as ablation:
        graph, pairs = graph_of(lm, split=split), swapped_pairs(lm, QUERIES[2:])
        expected = exact(lm, graph, pairs, ablation=ablation).values
        assert gap(eap(lm, graph, pairs, ablation=ablation).values, expected) < 1e-4
        for along in (eap_ig, eap_ig_activations):
            assert gap(along(lm, graph, pairs, ablation=ablation, steps=2).values, expected) < 1e-4
    assert bool((expected[~graph.edges] == 0).all()) and bool((expected[graph.edges] != 0).any(dim=0))


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_exact_scores_are_the_answers_loss_in_the_plain_circuit_without_the_edge(family: str) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES[:2])
        found = exact(lm, graph, pairs, metric="log_probability")
        for edge in ("input->a0.h1.q", "a0.h1->m1", "m0->a2.h1.k", "a1.h3->output"):
            losses = []
            for pair in pairs:
                mine, its = lm.tokens(pair.query), lm.tokens(pair.other)
                both = [
                    plain_circuit(family, lm, graph, list(mine.prompt), list(its.prompt), keep)
                    for keep in (graph.edges, graph.edges & ~graph.keeping([edge]))
                ]
                whole, cut = (float(one.log_softmax(-1)[mine.answers[0][0]]) for one in both)
                losses.append(whole - cut)
            assert found[edge] == pytest.approx(sum(losses) / 2, abs=1e-10)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("metric", ["log_probability", "logit_difference"])
def test_one_step_is_edge_attribution_patching(metric: str, ablation: str) -> None:
    lm = tiny("llama")
    graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
    plain_eap = eap(lm, graph, pairs, metric=metric, ablation=ablation).values
    for along in (eap_ig, eap_ig_activations):
        one = along(lm, graph, pairs, steps=1, metric=metric, ablation=ablation).values
        assert gap(one, plain_eap) < 1e-5
        more = along(lm, graph, pairs, steps=4, metric=metric, ablation=ablation).values
        assert gap(more, plain_eap) > 1e-3


def test_edges_out_of_a_path_add_up_to_what_ablating_all_its_senders_loses(served: str) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES[2:])
        found = eap_ig_activations(lm, graph, pairs, steps=24, rule="gauss-legendre").values
        batch, branches = lay_out_pairs(lm, pairs), branches_of(lm, graph)
        run = CircuitRun(lm, graph, batch.clean, record_sent(lm, branches, batch.other))
        paths = [slice(0, 1)]
        for layer in range(graph.layers):
            heads, mlp = graph.head_sender(layer, 0), graph.mlp_sender(layer)
            paths += [slice(heads, mlp), slice(mlp, mlp + 1)]
        keep = graph.edges.repeat(1 + len(paths), 1, 1)
        for row, path in enumerate(paths):
            keep[row + 1, path] = False
        whole, *cut = run.measure(keep, metric_of("logit_difference")(lm, batch)).mean(dim=0)
    sums = torch.stack([found[path].sum() for path in paths])
    # OPT's ReLU has kinks, at which no quadrature is good
    assert gap(sums, whole - torch.stack(cut)) < (0.1 if served == "opt" else 2e-3)


def test_the_released_paths_give_their_own_nodes_inputs_nothing() -> None:
    lm = tiny("gpt2", torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
        found = eap_ig_activations(lm, graph, pairs, steps=1, released=True).values
        expected = eap(lm, graph, pairs).values
        own = eap_ig_activations(lm, graph, pairs, steps=3).values
        assert gap(eap_ig_activations(lm, graph, pairs, steps=3, released=True).values, own) > 1e-3
    # At the clean end of seven paths, the last layer's MLP is on one
    assert gap(found[:, graph.output], expected[:, graph.output]) < 1e-10
    last = graph.receiver("m2")
    assert gap(found[:, last], expected[:, last] * 6 / 7) < 1e-10


@contextmanager
def without_biases(lm: LanguageModel) -> Iterator[None]:
    own = {name: value.clone() for name, value in lm.model.named_parameters() if name.endswith("bias")}
    with torch.no_grad():
        for name in own:
            lm.model.get_parameter(name).zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in own.items():
                lm.model.get_parameter(name).copy_(value)


def test_relevance_is_kept_from_the_answer_down_to_the_input(served: str) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout(), without_biases(lm):
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
        found = relp(lm, graph, pairs, ablation="zero").values
        batch = lay_out_pairs(lm, pairs)
        answers = metric_of("logit_difference")(lm, batch)(lm.site_logits(batch.clean)[:, None])
    assert float(found[:, graph.output].sum()) == pytest.approx(float(answers.mean()), abs=1e-8)
    for receiver in range(graph.output):
        fed = graph.feeds[receiver]
        if ".q" not in graph.receivers[receiver] and ".k" not in graph.receivers[receiver]:
            assert float(found[:, receiver].sum()) == pytest.approx(float(found[fed].sum()), abs=1e-8)
    assert float(found[0].sum()) == pytest.approx(float(answers.mean()), abs=1e-8)


def node_gradients(lm: LanguageModel, graph: Graph, pairs: list[Pair]) -> dict[str, float]:
    """Of some nodes, (what it writes - what it writes in the counterfactual) * the answer's gradient by it."""
    batch, branches = lay_out_pairs(lm, pairs), branches_of(lm, graph)
    clean, other = (record_sent(lm, branches, sites) for sites in (batch.clean, batch.other))
    change = clean.minus(other)
    nodes: dict[str, Tensor] = {}

    def note(name: str) -> hooks.ChangeInput:
        def keep(value: Tensor) -> Tensor:
            nodes[name] = value.detach().requires_grad_() if name == "input" else value.view_as(value)
            return nodes[name]

        return keep

    with ExitStack() as stack, torch.enable_grad():
        stack.enter_context(hooks.at_rest(lm.model))
        stack.enter_context(hooks.changing_inputs({lm.blocks[0]: note("input")}))
        for layer, branch in enumerate(branches):
            stack.enter_context(hooks.changing_inputs({branch.output: note(f"a{layer}")}))
            stack.enter_context(hooks.changing_outputs({branch.down: note(f"m{layer}")}))
        logits = lm.model(**lm.inputs(batch.clean)).logits
        at = (batch.clean.sequence, batch.clean.position)
        chosen = logits[at].log_softmax(-1)[torch.arange(len(batch.clean)), batch.clean.target]
        slopes = dict(zip(nodes, torch.autograd.grad(chosen.sum(), list(nodes.values())), strict=True))
    found = {"input": float((slopes["input"] * change.input[:, 0]).sum())}
    for layer, branch in enumerate(branches):
        heads = (slopes[f"a{layer}"] * change.heads[layer][:, 0]).unflatten(-1, (4, -1)).sum(dim=(0, 1, 3))
        found |= {f"a{layer}.h{head}": float(one) for head, one in enumerate(heads)}
        mlp = change.mlps[layer][:, 0] / branch.scale
        found[f"m{layer}"] = float((slopes[f"m{layer}"].reshape(mlp.shape) * mlp).sum())
    return {name: value / len(pairs) for name, value in found.items()}


def test_edges_out_of_a_node_add_up_to_the_nodes_own_gradient(served: str) -> None:
    lm = tiny(served, torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
        found = eap(lm, graph, pairs, metric="log_probability").values.sum(dim=1)
        # What a prompt of another length needs, each by itself
        apart = [node_gradients(lm, graph, [pair]) for pair in pairs]
    expected = torch.tensor([sum(one[name] for one in apart) / len(pairs) for name in graph.senders])
    assert gap(found, expected.double()) < 1e-6


@pytest.mark.parametrize("method", ["eap", "eap_ig_activations"])
@pytest.mark.parametrize("family", ["llama", "phi3", "qwen3"])
def test_scores_of_shared_keys_and_of_merged_heads_are_sums_of_those_they_are_made_of(
    family: str, method: str
) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        pairs = swapped_pairs(lm, QUERIES)
        shared, apart, merged = (graph_of(lm, **kind) for kind in ({}, {"expanded": True}, {"split": False}))
        few, many, whole = (METHODS[method](lm, graph, pairs).values for graph in (shared, apart, merged))
    for receiver, name in enumerate(shared.receivers):
        node, _, part = name.rpartition(".")
        names = [f"{node[:-1]}{2 * int(node[-1]) + at}.{part}" for at in range(2)] if part in ("k", "v") else [name]
        expected = sum(many[:, apart.receiver(one)] for one in names)
        assert float((few[:, receiver] - expected).abs().max()) < 1e-10, name
    for receiver, name in enumerate(merged.receivers):
        names = [f"{name}.{part}" for part in "qkv"] if name.startswith("a") else [name]
        expected = sum(many[:, apart.receiver(one)] for one in names)
        assert float((whole[:, receiver] - expected).abs().max()) < 1e-10, name


@pytest.mark.parametrize("method", METHODS)
def test_order_and_batches_change_nothing(method: str) -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
        expected = METHODS[method](lm, graph, pairs).values
        assert gap(METHODS[method](lm, graph, pairs[::-1]).values, expected) < 1e-10
        assert gap(METHODS[method](lm, graph, pairs, memory=200_000).values, expected) < 1e-10
        each = sum(METHODS[method](lm, graph, [pair]).values for pair in pairs)
        assert gap(each / len(pairs), expected) < 1e-10


def test_a_circuits_divergence_has_no_slope_at_the_model_itself_but_has_on_the_way_to_it() -> None:
    lm = tiny("gpt2", torch.float64)
    with plain.DoubleThroughout():
        graph, pairs = graph_of(lm), swapped_pairs(lm, QUERIES)
        assert float(eap(lm, graph, pairs, metric="kl").values.abs().max()) < 1e-12
        scores = eap_ig(lm, graph, pairs, metric="kl", steps=4).values
        measured = exact(lm, graph, pairs, metric="kl").values
    assert float(measured.min()) > -1e-12
    both = torch.stack([scores[graph.edges], measured[graph.edges]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.5


def test_half_precision_models_are_scored_in_float64_and_rank_edges_alike() -> None:
    graph = graph_of(tiny("llama"))
    fine, coarse = (
        eap(lm, graph, swapped_pairs(lm, QUERIES)) for lm in (tiny("llama"), tiny("llama", torch.bfloat16))
    )
    assert coarse.values.dtype == torch.float64
    best = [set(one.values.flatten().abs().topk(20).indices.tolist()) for one in (fine, coarse)]
    assert len(best[0] & best[1]) >= 16
    assert isinstance(coarse, EdgeScores) and coarse.made_by.dtype == "bfloat16"
