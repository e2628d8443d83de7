"""Speed and memory of edge scores, against one plain pass forwards and backwards over the same batch.

    make bench-circuits

A model of GPT-2-small's shape with random weights, 100 pairs of prompts of 16 tokens, two threads; times are medians,
all in one run. The plain pass is the model's own, with logits at every position and no gradients by weights. Exact
patching by the plain loop is one forward pass per edge, timed on a sample; so is automatic circuit discovery, whose
thresholds are shares of the whole divergence.

How methods rank edges, beside exact patching, is measured on the embedded model and its facts; so is what is gained
by telling positions apart by spans. There a circuit's size is the edges that it keeps, each as often as its span has
positions, so that with and without spans sizes are of the same whole. Positions before the subject are not counted:
there the counterfactual is the same prompt, and no edge does anything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor

import locant
from locant import almanac
from locant.attributions.edges import (
    CUT_RULES,
    METHODS,
    EdgeScores,
    Pair,
    ablation_of,
    acdc,
    eap,
    eap_ig,
    lay_out_pairs,
    metric_of,
    swapped_pairs,
)
from locant.evaluations.circuits import SHARES, Faithfulness, judge
from locant.models import LanguageModel
from locant.models.circuit_run import CircuitRun
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.sites import Sites
from locant.models.spans import SPANS, spans_of
from locant.selections.circuits import Circuit, choose_each
from locant.types import Interval
from neurons import gpt2_small, peak_mib, timed

LENGTH = 16
STEPS = 5
SAMPLE = 32
PASSES = 8
TABLES = ("scores", "exact", "discovery", "agreement", "spans")
HALF = 48
SIZES = 120
STRONGEST = (0.01, 0.05)
RELATIONS = ("capital", "antonym", "colour", "occupation_gender")
PAIRS = 12


def some_pairs(lm: LanguageModel, count: int) -> list[Pair]:
    """Pairs of random prompts of one length."""
    ids = torch.randint(0, 50257, (count, 2, LENGTH + 1), generator=torch.Generator().manual_seed(0)).tolist()

    def asked(words: list[int]) -> locant.Query:
        return locant.query(" ".join(f"w{word}" for word in words[:-1]), f"w{words[-1]}")

    return [Pair(asked(mine), asked(its)) for mine, its in ids]


def plain_pass(lm: LanguageModel, sites: Sites) -> Callable[[], None]:
    """One pass forwards and backwards of the whole batch, down to the embeddings."""

    def run() -> None:
        inputs = lm.model.get_input_embeddings()(sites.tokens).detach().requires_grad_()
        logits = lm.model(inputs_embeds=inputs).logits
        answers = logits[sites.sequence, sites.position].log_softmax(-1)
        answers[torch.arange(len(sites)), sites.target].sum().backward()

    return run


def edge_rows(lm: LanguageModel, graph: Graph, pairs: list[Pair]) -> list[list[str]]:
    sites = lay_out_pairs(lm, pairs).clean
    work: dict[str, Callable[[], object]] = {
        "plain forward and backward": plain_pass(lm, sites),
        "eap": lambda: eap(lm, graph, pairs),
        f"eap_ig, {STEPS} steps": lambda: eap_ig(lm, graph, pairs, steps=STEPS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(3):
        # In turns, so that whatever else the machine does falls on all alike
        for name, one in work.items():
            seconds[name].append(timed(one, 1, warm=False))
    memory = {name: peak_mib(one) for name, one in work.items()}
    first = next(iter(work))
    return [
        [
            name,
            f"{median(seconds[name]):.1f} s",
            f"{median(seconds[name]) / median(seconds[first]):.2f}x",
            f"{memory[name]:.0f} MiB",
            f"{memory[name] / memory[first]:.2f}x",
        ]
        for name in work
    ]


def exact_row(lm: LanguageModel, graph: Graph, pairs: list[Pair]) -> list[str]:
    """Edges cut one at a time, each by a pass of its own from the first layer, and together."""
    batch = lay_out_pairs(lm, pairs)
    run = CircuitRun(lm, graph, batch.clean, ablation_of("counterfactual", lm, graph, pairs)(batch))
    metric = metric_of("logit_difference")(lm, batch)
    cut = graph.edges.nonzero()
    some = cut[torch.randperm(len(cut), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
    # In the order in which edges are computed, as methods take them
    some = some[some[:, 1].sort().indices]
    keep = graph.edges.repeat(len(some), 1, 1)
    keep[torch.arange(len(some)), some[:, 0], some[:, 1]] = False
    base = run.passed(graph.edges)
    found: list[torch.Tensor] = []
    alone = timed(lambda: found.extend(run.measure(one[None], metric) for one in keep), 1, warm=False)
    layers = torch.tensor(graph.receiver_layers)[some[:, 1]]

    def together() -> None:
        for layer in layers.unique():
            run.measure(keep[layers == layer], metric, base)

    fast = timed(together, 3)
    gap = torch.cat(found, dim=1) - run.measure(keep, metric, base)
    return [
        f"{alone / len(some) * 1000:.0f} ms",
        f"{fast / len(some) * 1000:.1f} ms",
        f"{alone / fast:.1f}x",
        f"{float(gap.abs().max()):.0e}",
    ]


def discovery_row(lm: LanguageModel, graph: Graph, pairs: list[Pair], share: float) -> list[str]:
    """A circuit found, and what finding it by a pass per test would take."""
    batch, rule = lay_out_pairs(lm, pairs), CUT_RULES["corrected"]
    run = CircuitRun(lm, graph, batch.clean, ablation_of(rule.ablation, lm, graph, pairs)(batch))
    metric = metric_of(rule.metric)(lm, batch)
    threshold = -share * float(run.measure(torch.zeros_like(graph.edges)[None], metric).mean())
    start = time.perf_counter()
    found = acdc(lm, graph, pairs, threshold=threshold)
    fast = time.perf_counter() - start
    tests = int(found.tested.sum())
    # From the whole graph to what is left of it, as the loop's passes are
    stages = torch.linspace(0, graph.output, PASSES).long().tolist()
    circuits = [torch.cat([graph.edges[:, :at], found.keep[:, at:]], dim=1) for at in stages]
    alone = timed(lambda: [metric(run.logits(keep)) for keep in circuits], 1) / PASSES
    return [
        f"{share:.0%}",
        f"{int(found.keep.sum()):,}",
        f"{tests:,}",
        f"{found.rows:,}",
        f"{fast:.1f} s",
        f"{alone * 1000:.0f} ms",
        f"{alone * tests / fast:.1f}x",
    ]


def agreement_rows() -> Iterator[list[str]]:
    """Rank correlations of every method with exact patching, with and without edges into queries and keys."""
    lm = locant.load("almanac")
    graph = graph_of(lm)
    through_values = graph.edges.clone()
    for receiver, name in enumerate(graph.receivers):
        through_values[:, receiver] &= not name.endswith((".q", ".k"))
    for relation in RELATIONS:
        queries = [one for one in almanac.queries(held_out=False) if (one.relation, one.language) == (relation, "en")]
        first = {query.fact.uid: query for query in reversed(queries)}
        pairs = swapped_pairs(lm, list(first.values()))[:PAIRS]
        scores = {name: method(lm, graph, pairs).values for name, method in METHODS.items()}
        measured = scores.pop("exact")
        for which, mask in (("all", graph.edges), ("not q, k", through_values)):
            ranks = [float(spearmanr(values[mask], measured[mask])[0]) for values in scores.values()]
            yield [relation, str(len(pairs)), which, *(f"{one:.3f}" for one in ranks)]


def halves(lm: LanguageModel, relation: str) -> list[list[Pair]]:
    """Pairs of every other fact of a relation, and of the rest, in all wordings that hold the subject as it is."""
    queries = [one for one in almanac.queries(relation, "en") if one.fact.subject in one.prompt]
    facts = list(dict.fromkeys(one.fact.uid for one in queries))
    random = torch.Generator().manual_seed(0)
    found = []
    for half in (set(facts[::2]), set(facts[1::2])):
        pairs = swapped_pairs(lm, [one for one in queries if one.fact.uid in half])
        found.append([pairs[at] for at in torch.randperm(len(pairs), generator=random)[:HALF].tolist()])
    return found


def positions_of_edges(lm: LanguageModel, graph: Graph, pairs: list[Pair]) -> Float[Tensor, "sender receiver"]:
    """At how many positions of a prompt, from the subject on, each edge counts; on average."""
    own = [spans_of(lm, [pair.query])[0, : len(lm.tokens(pair.query).prompt)] for pair in pairs]
    tokens = torch.stack([one.bincount(minlength=len(SPANS)) for one in own]).double().mean(dim=0)
    tokens[SPANS.index("before")] = 0
    spans = list(tokens) if graph.spans else [tokens.sum()]
    counts = graph.joined([graph.plain.edges * count for count in spans])
    counts[:, graph.output] = graph.edges[:, graph.output].double()
    return counts


def of_sizes(scores: EdgeScores, counts: Float[Tensor, "sender receiver"]) -> list[Circuit]:
    """The largest circuits of some shares of edges times positions."""
    sizes = np.unique(np.geomspace(1, int(scores.graph.edges.sum()), SIZES).round().astype(int)).tolist()
    made = choose_each(scores, sizes)
    shares = [float(counts[one.keep].sum() / counts.sum()) for one in made]
    return [max((one for one, own in zip(made, shares, strict=True) if own <= share), key=len) for share in SHARES]


def span_rows() -> Iterator[list[str]]:
    """Circuits with and without spans, of as many edges times positions, on facts that found none."""
    lm = locant.load("almanac")
    graph = graph_of(lm, spans=SPANS)
    for relation in RELATIONS:
        own, others = halves(lm, relation)
        found: dict[str, tuple[EdgeScores, Faithfulness]] = {}
        for name, kind in (("with", graph), ("without", graph.plain)):
            scores = eap_ig(lm, kind, own)
            circuits = of_sizes(scores, positions_of_edges(lm, kind, others))
            found[name] = scores, judge(lm, circuits, others, SHARES)
        about = _positions_ignored(graph, found["with"][0], found["without"][0], eap_ig(lm, graph.plain, others))
        for name, (_, judged) in found.items():
            kept = dict(zip(SHARES, judged.curve.kept, strict=True))
            shown = [_shown(kept[share]) for share in (0.005, 0.01, 0.02, 0.05)]
            yield [relation, str(judged.curve.cmd.n), name, *shown, _shown(judged.curve.cmd, 3), *about]


def _positions_ignored(graph: Graph, by_span: EdgeScores, own: EdgeScores, others: EdgeScores) -> list[str]:
    """What part of the strongest edges is not among the strongest where scores of spans do not cancel each other, and
    not among the strongest of other facts; and the part of the strongest edges' scores that is at one span."""
    each = torch.stack([graph.of_span(by_span.values, at).abs() for at in range(len(SPANS))])
    found = []
    for share in STRONGEST:
        changed = (
            _changed(graph.plain, own.values.abs(), one, share) for one in (each.sum(dim=0), others.values.abs())
        )
        found.append(" / ".join(f"{one:.0%}" for one in changed))
    strongest = own.values.abs().flatten().topk(round(STRONGEST[0] * int(graph.plain.edges.sum()))).indices
    sums = each.flatten(1)[:, strongest]
    return [*found, f"{float((sums.amax(dim=0) / sums.sum(dim=0)).mean()):.0%}"]


def _changed(
    graph: Graph, one: Float[Tensor, "sender receiver"], other: Float[Tensor, "sender receiver"], share: float
) -> float:
    """The part of the strongest edges by one measure that are not among the strongest by the other."""
    count = round(share * int(graph.edges.sum()))
    own, its = (set(values.flatten().topk(count).indices.tolist()) for values in (one, other))
    return 1 - len(own & its) / count


def _shown(value: Interval, digits: int = 2) -> str:
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of edge scores.")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--only", choices=TABLES, help="one of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    lm = gpt2_small()
    lm.model.requires_grad_(False)
    graph = graph_of(lm)
    pairs = some_pairs(lm, arguments.pairs)
    console = Console(width=150)
    asked = [arguments.only] if arguments.only else TABLES
    console.print(f"GPT-2-small shape, random weights, float32, 2 threads; {graph}")
    if "scores" in asked:
        table = Table("", "time", "of plain", "peak", "of plain")
        table.title = f"{len(pairs)} pairs of {LENGTH} tokens"
        for row in edge_rows(lm, graph, pairs):
            table.add_row(*row)
        console.print(table)
    if "exact" in asked:
        table = Table("a pass per edge", "together", "ratio", "gap")
        table.title = f"Cutting an edge (from {SAMPLE}), 1 pair of {LENGTH} tokens"
        table.add_row(*exact_row(lm, graph, pairs[:1]))
        console.print(table)
    if "discovery" in asked:
        table = Table("threshold", "edges left", "tested", "circuits run", "time", "a pass", "ratio")
        table.title = f"Automatic circuit discovery, 1 pair of {LENGTH} tokens; a pass per test is estimated"
        for share in (0.03, 0.01):
            table.add_row(*discovery_row(lm, graph, pairs[:1], share))
        console.print(table)
    if "agreement" in asked:
        names = [name for name in METHODS if name != "exact"]
        table = Table("relation", "pairs", "edges", *names, title="Spearman with exact patching, almanac")
        for row in agreement_rows():
            table.add_row(*row)
        console.print(table)
    if "spans" in asked:
        names = [f"kept at {share:.1%}" for share in (0.005, 0.01, 0.02, 0.05)]
        changed = [f"of {share:.0%} changed" for share in STRONGEST]
        table = Table("relation", "facts", "spans", *names, "CMD", *changed, "at one span", title="Spans, almanac")
        for row in span_rows():
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
