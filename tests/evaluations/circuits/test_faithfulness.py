"""Faithfulness is what its formula gives by hand, and finds circuits that hold what the almanac knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import locant
from families import tiny
from locant import almanac
from locant.attributions.edges import eap, eap_ig, swapped_pairs
from locant.errors import UnknownName
from locant.evaluations.circuits import SHARES, CircuitReadings, Faithfulness, faithfulness, judge, read_circuits
from locant.models import LanguageModel, graph_of
from locant.selections.circuits import choose, random_circuit
from scored_graphs import GRAPHS, scored


def asked(prompt: str, answer: str) -> locant.Query:
    return locant.query(prompt, answer, uid=prompt, relation="of")


def made(values: Tensor, shares: tuple[float, ...], facts: list[str] | None = None) -> Faithfulness:
    """From the metric of queries: with nothing kept, in circuits of these shares, with everything kept."""
    names = facts or [f"f{at}" for at in range(len(values))]
    queries = tuple(locant.query("a", "b", uid=f"{name}.{at}", fact=name) for at, name in enumerate(names))
    ranks = torch.zeros(values.shape, dtype=torch.int64)
    readings = CircuitReadings(queries, {"m": values}, ranks, ranks, None, None)
    circuit = choose(scored(GRAPHS["split"]), 5)
    return Faithfulness(shares, (circuit,) * len(shares), readings, "m", "zero")


def plain_f(values: list[list[float]]) -> list[float]:
    means = [sum(column) / len(column) for column in zip(*values, strict=True)]
    return [(mean - means[0]) / (means[-1] - means[0]) for mean in means[1:-1]]


def plain_area(shares: tuple[float, ...], f: list[float]) -> float:
    return sum((shares[at + 1] - shares[at]) * (f[at] + f[at + 1]) / 2 for at in range(len(f) - 1))


def test_f_and_its_areas_are_those_of_the_formula() -> None:
    shares = (0.1, 0.4, 1.0)
    values = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[:, -1] += 5
    found = made(values, shares)
    f = plain_f(values.tolist())
    assert [one.mean for one in found.curve.kept] == pytest.approx(f)
    assert found.curve.cpr.mean == pytest.approx(plain_area(shares, f))
    assert found.curve.cmd.mean == pytest.approx(plain_area(shares, [abs(1 - one) for one in f]))
    assert {one.n for one in (*found.curve.kept, found.curve.cpr, found.curve.cmd)} == {6}


def test_too_much_counts_for_the_performance_and_against_the_match() -> None:
    values = torch.tensor([[0.0, 2.0, 2.0, 1.0]], dtype=torch.float64)
    found = made(values, (0.5, 1.0))
    assert found.curve.cpr.mean == pytest.approx(1.0) and found.curve.cmd.mean == pytest.approx(0.5)


def test_intervals_are_those_of_facts_drawn_anew() -> None:
    values = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values[:, 1:] += torch.tensor([1.0, 2.0, 3.0])
    facts = [f"f{at // 2}" for at in range(12)]
    found = made(values, (0.5, 1.0), facts)
    by_fact = values.reshape(6, 2, 4).mean(dim=1)
    numbers = np.random.default_rng(7)
    drawn = [plain_f(by_fact[numbers.integers(6, size=6)].tolist()) for _ in range(4000)]
    for at, one in enumerate(found.curve.kept):
        assert one.n == 6 and one.mean == pytest.approx(plain_f(by_fact.tolist())[at])
        low, high = np.quantile([f[at] for f in drawn], [0.025, 0.975])
        assert (one.low, one.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
        assert one.low < one.mean < one.high
    low, high = np.quantile([plain_area((0.5, 1.0), f) for f in drawn], [0.025, 0.975])
    assert (found.curve.cpr.low, found.curve.cpr.high) == (
        pytest.approx(low, abs=0.03),
        pytest.approx(high, abs=0.03),
    )


def test_a_single_fact_and_a_metric_without_differences_have_no_interval() -> None:
    one = made(torch.tensor([[0.0, 1.0, 2.0, 4.0]], dtype=torch.float64), (0.5, 1.0))
    assert one.curve.kept[1] == locant.types.Interval(0.5, 0.5, 0.5, 1)
    flat = made(torch.ones(3, 4, dtype=torch.float64), (0.5, 1.0))
    assert np.isnan(flat.curve.cmd.mean) and np.isnan(flat.curve.cmd.low)


def test_circuits_are_those_of_the_shares_and_judged_on_the_pairs_given() -> None:
    lm = tiny("llama")
    graph = graph_of(lm)
    chosen_on, judged_on = (
        swapped_pairs(lm, [asked(f"w1 w{number} w3", f"w{number + 40}") for number in numbers])
        for numbers in ((2, 3), (4, 5, 6))
    )
    scores = eap(lm, graph, chosen_on)
    found = faithfulness(lm, scores, judged_on, shares=(0.1, 0.5, 1.0), metric="kl", rule="top", by="signed")
    total = int(graph.edges.sum())
    circuits = [choose(scores, round(share * total), rule="top", by="signed") for share in (0.1, 0.5, 1.0)]
    assert [one.edges for one in found.circuits] == [one.edges for one in circuits]
    rows = torch.stack([torch.zeros_like(graph.edges), *(one.keep for one in circuits), graph.edges])
    expected = read_circuits(lm, graph, judged_on, rows, metrics=["kl"])
    assert torch.allclose(found.values, expected.metrics["kl"], atol=1e-6)
    assert torch.equal(found.readings.rank, expected.rank)
    assert found.curve.kept[2].mean == pytest.approx(1, abs=1e-5)
    # Divergences are of the model, which nothing is nearer to than itself
    assert float(found.values.max()) < 1e-6 and found.curve.kept[0].mean < 1


def test_shares_are_those_of_the_benchmark_and_others_must_ascend() -> None:
    assert SHARES == (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    lm = tiny("gpt2")
    circuit = choose(scored(graph_of(lm)), 5)
    pairs = swapped_pairs(lm, [asked("w1 w2", "w3"), asked("w4 w2", "w5")])
    for shares in ((0.5, 0.5), (0.5,), (0.0, 1.0), (0.5, 1.5)):
        with pytest.raises(UnknownName, match="2 circuits cannot be judged at the shares"):
            judge(lm, [circuit, circuit], pairs, shares)
    with pytest.raises(UnknownName, match="0 circuits"):
        judge(lm, [], pairs, ())


def test_a_circuit_of_the_almanac_keeps_held_out_facts_and_random_ones_like_it_do_not(
    almanac_lm: LanguageModel,
) -> None:
    graph = graph_of(almanac_lm)
    queries = [one for one in almanac.queries("antonym", "en") if one.template == "The opposite of {subject} is"]
    chosen_on, judged_on = (swapped_pairs(almanac_lm, some) for some in (queries[:8], queries[16:20]))
    circuit = choose(eap_ig(almanac_lm, graph, chosen_on), 76)
    circuits = [circuit, circuit.complement(), *(random_circuit(circuit, seed) for seed in range(2))]
    rows = torch.stack([torch.zeros_like(graph.edges), *(one.keep for one in circuits), graph.edges])
    values = read_circuits(almanac_lm, graph, judged_on, rows).metrics["logit_difference"]
    kept, cut, *random = plain_f(values.tolist())
    assert kept > 0.8 and cut < 0.1 and max(random) < kept - 0.2
