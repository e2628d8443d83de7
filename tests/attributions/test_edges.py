"""Pairs, metrics and ablations of edge methods; and nothing stays on a model that they touched."""

from __future__ import annotations

import pytest
import torch

import locant
from families import tiny
from locant.attributions.edges import (
    CUT_RULES,
    METHODS,
    METRICS,
    Pair,
    acdc,
    eap_ig_activations,
    lay_out_pairs,
    relp,
    swapped_pairs,
)
from locant.attributions.edges.pairs import batches
from locant.errors import LocantError, UnknownName
from locant.models import LanguageModel, graph_of, hooks


def asked(prompt: str, answer: str, subject: str = "", relation: str = "of", template: str = "") -> locant.Query:
    name = f"{prompt}/{answer}"
    return locant.query(prompt, answer, uid=name, subject=subject, relation=relation, template=template)


def swaps(queries: list[locant.Query]) -> list[tuple[str, str]]:
    return [(pair.query.prompt, pair.other.prompt) for pair in swapped_pairs(tiny("gpt2"), queries)]


def test_a_partner_is_the_next_query_of_the_same_kind_with_another_answer() -> None:
    queries = [
        asked("w1 w2", "w9"),
        asked("w3 w2", "w9"),
        asked("w4 w2", "w8"),
        asked("w5 w2 w2", "w7"),
        asked("w6 w2", "w6", relation="by"),
        asked("w7 w2", "w5", template="other"),
    ]
    assert swaps(queries) == [("w1 w2", "w4 w2"), ("w3 w2", "w4 w2"), ("w4 w2", "w1 w2")]


def test_partners_have_their_subjects_in_the_same_place() -> None:
    first, second = asked("w1 w2 w3", "w9", subject="w1"), asked("w1 w2 w4", "w8", subject="w4")
    with pytest.raises(LocantError, match="none of 2 queries has a counterfactual"):
        swaps([first, second])
    third = asked("w5 w2 w3", "w7", subject="w5")
    assert swaps([first, second, third]) == [("w1 w2 w3", "w5 w2 w3"), ("w5 w2 w3", "w1 w2 w3")]


def test_a_pair_of_two_lengths_is_refused_by_name() -> None:
    pair = Pair(asked("w1 w2", "w3"), asked("w1 w2 w4", "w5"))
    with pytest.raises(LocantError, match="'w1 w2/w3' has 2 tokens and its counterfactual 'w1 w2 w4/w5' 3"):
        lay_out_pairs(tiny("gpt2"), [pair])


def test_both_sides_of_a_pair_are_read_with_the_clean_answer_and_twins_stay_apart() -> None:
    twin = Pair(asked("w1 w2", "w3 w4"), asked("w5 w2", "w6"))
    batch = lay_out_pairs(tiny("gpt2"), [twin, Pair(twin.query, asked("w7 w2", "w8 w9")), twin])
    assert batch.clean.tokens.tolist() == [[1, 2, 3]] * 3
    assert batch.other.tokens.tolist() == [[5, 2, 3], [7, 2, 3], [5, 2, 3]]
    assert batch.clean.target.tolist() == [3, 4] * 3 and batch.clean.position.tolist() == [1, 2] * 3
    assert batch.first.tolist() == [0, 2, 4] and batch.foil.tolist() == [6, 8, 6]


def test_metrics_are_what_they_are_called() -> None:
    lm = tiny("gpt2")
    pairs = [Pair(asked("w1 w2", "w3 w4"), asked("w5 w2", "w6")), Pair(asked("w7 w2", "w8"), asked("w5 w2", "w6"))]
    batch = lay_out_pairs(lm, pairs)
    own = lm.site_logits(batch.clean)
    logits = torch.stack([own, torch.randn(own.shape, generator=torch.Generator().manual_seed(0))], dim=1)
    logs = logits.log_softmax(dim=-1)
    measured = {name: make(lm, batch)(logits) for name, make in METRICS.items()}
    expected = torch.stack([logs[0, :, 3] + logs[1, :, 4], logs[2, :, 8]])
    assert torch.allclose(measured["log_probability"], expected, atol=1e-5)
    expected = torch.stack([logs[0, :, 3], logs[2, :, 8]])
    assert torch.allclose(measured["first_log_probability"], expected, atol=1e-5)
    expected = torch.stack([logits[0, :, 3] - logits[0, :, 6], logits[2, :, 8] - logits[2, :, 6]])
    assert torch.allclose(measured["logit_difference"], expected, atol=1e-5)
    apart = (logs[:, 0].exp() * (logs[:, 0] - logs[:, 1])).sum(dim=-1)
    assert torch.allclose(measured["kl"][:, 1], -torch.stack([apart[0] + apart[1], apart[2]]), atol=1e-5)
    assert float(measured["kl"][:, 0].abs().max()) < 1e-6


def test_batches_hold_every_pair_once_within_the_budget() -> None:
    lm = tiny("gpt2")
    pairs = [
        Pair(asked(f"w{at} " * length, "w3"), asked("w9 " * length, "w6"))
        for at, length in enumerate([5, 2, 7, 2, 5, 3])
    ]
    made = list(batches(lm, pairs, 100, lambda lm: 5, copies=2))
    assert sorted(pair.query.uid for batch in made for pair in batch) == sorted(pair.query.uid for pair in pairs)
    for batch in made:
        longest = max(len(lm.tokens(pair.query).prompt) for pair in batch)
        assert len(batch) == 1 or len(batch) * longest * 10 <= 100
    assert len(made) == 3


@pytest.mark.parametrize("wrong", [{"metric": "loss"}, {"ablation": "noise"}])
def test_names_that_do_not_exist_are_refused(wrong: dict[str, str]) -> None:
    lm = tiny("gpt2")
    pairs = swapped_pairs(lm, [asked("w1 w2", "w3"), asked("w4 w2", "w5")])
    for method in (*METHODS.values(), acdc):
        with pytest.raises(UnknownName, match=f"no {next(iter(wrong))} '{next(iter(wrong.values()))}'; there are"):
            method(lm, graph_of(lm), pairs, **wrong)


def left_on(lm: LanguageModel) -> list[object]:
    """Whatever a method could leave on a model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    hooked = [name for name, module in lm.model.named_modules() if any(getattr(module, kind) for kind in kinds)]
    sizes = [getattr(module, "num_key_value_groups", None) for module in lm.model.modules()]
    wants = [one.requires_grad for one in lm.model.parameters()]
    grads = [name for name, one in lm.model.named_parameters() if one.grad is not None]
    return [hooked, sizes, wants, grads, lm.model.config._attn_implementation, lm._answering]


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("method", [*METHODS.values(), acdc])
def test_nothing_stays_on_the_model_even_when_a_pass_fails(
    method: object, expanded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny("llama")
    before = left_on(lm)
    graph = graph_of(lm, expanded=expanded)
    pairs = swapped_pairs(lm, [asked("w1 w2", "w3"), asked("w4 w2", "w5")])
    method(lm, graph, pairs)
    assert left_on(lm) == before

    def fail(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("in the middle")

    monkeypatch.setitem(METRICS, "failing", lambda lm, pairs: fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        method(lm, graph, pairs, metric="failing")
    assert left_on(lm) == before
    with pytest.raises(RuntimeError), hooks.a_key_for_every_head(lm.blocks, 4):
        assert left_on(lm) != before
        raise RuntimeError
    assert left_on(lm) == before


def two_pairs(lm: LanguageModel) -> list[Pair]:
    return swapped_pairs(lm, [asked("w1 w2", "w3"), asked("w4 w2", "w5")])


def test_a_rule_that_does_not_exist_is_refused() -> None:
    lm = tiny("gpt2")
    with pytest.raises(UnknownName, match="no rule 'loose'; there are corrected, released, published"):
        acdc(lm, graph_of(lm), two_pairs(lm), rule="loose")


def test_a_circuit_found_is_smaller_the_more_may_be_lost_and_has_no_edges_into_what_nobody_reads() -> None:
    lm = tiny("llama")
    graph, pairs = graph_of(lm), two_pairs(lm)
    found = [acdc(lm, graph, pairs, threshold=threshold) for threshold in (1e-9, 0.01, 1e9)]
    sizes = [int(one.keep.sum()) for one in found]
    assert sizes[0] > sizes[1] > sizes[2] == 0
    for one in found:
        unread = ~(graph.feeds.int() @ one.keep.any(dim=1).int()).bool()
        assert not one.keep[:, : graph.output][:, unread[: graph.output]].any()
    middle = found[1]
    # What was tested was kept if it lost, or gained, as much as that
    assert bool(((middle.values.abs() >= 0.01) == middle.keep)[middle.tested].all())
    assert not middle.values[~middle.tested].any()
    assert middle.rows >= int(middle.tested.sum()) and middle.made_by.settings["metric"] == "kl"


@pytest.mark.slow
@pytest.mark.parametrize("rule", CUT_RULES)
def test_a_small_memory_budget_finds_the_same_circuit(rule: str) -> None:
    lm = tiny("gpt2", torch.float64)
    graph, pairs = graph_of(lm, split=False), two_pairs(lm)
    few, many = (acdc(lm, graph, pairs, threshold=0.005, rule=rule, memory=memory) for memory in (1, 1 << 30))
    assert bool((few.keep == many.keep).all()) and few.rows == many.rows


def test_released_positions_divide_what_is_lost() -> None:
    lm = tiny("gpt2", torch.float64)
    graph, pairs = graph_of(lm), two_pairs(lm)
    values = acdc(lm, graph, pairs, threshold=-1e9, rule="released").values
    # Nothing is cut: every edge is tested in the full graph
    lost = METHODS["exact"](lm, graph, pairs, metric="log_probability", ablation="zero").values
    assert torch.allclose(values, lost / 2, atol=1e-6)


def test_relevance_goes_through_values_and_not_through_queries_and_keys() -> None:
    lm = tiny("qwen3")
    graph = graph_of(lm)
    scores = relp(lm, graph, two_pairs(lm)).values
    for layer in range(graph.layers):
        assert not scores[:, graph.part_receivers(layer, "q")].any()
        assert not scores[:, graph.part_receivers(layer, "k")].any()
        assert scores[:, graph.part_receivers(layer, "v")].any()


def test_paths_of_activations_are_recorded_with_their_settings() -> None:
    lm = tiny("gpt2")
    found = eap_ig_activations(lm, graph_of(lm), two_pairs(lm), steps=2, released=True)
    assert found.made_by.method == "eap_ig_activations"
    assert (found.made_by.settings["steps"], found.made_by.settings["released"]) == (2, True)
