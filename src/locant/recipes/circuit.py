"""One prompt: the circuit that says its answer, what that is worth, and what its parts do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from locant import almanac
from locant.attributions.edges import ABLATIONS, METHODS, METRICS, UNITS, Pair, needs_other, swapped_pairs
from locant.errors import BadQuery, LocantError, UnknownName
from locant.evaluations.circuits import (
    CircuitReadings,
    answer_patterns,
    first_sites,
    head_measures,
    head_roles,
    masses,
    read_circuits,
    read_nodes,
    read_stream,
    subject_ids,
    written,
)
from locant.models import LanguageModel
from locant.models.graph import Graph
from locant.models.graph_of import graph_of
from locant.models.sites import Sites
from locant.models.spans import SPANS, spans_of
from locant.recipes.ask import own_answers
from locant.recipes.plans import refuse_other
from locant.recipes.traced import (
    HeadPattern,
    LayerCurve,
    NodeReading,
    Standing,
    Standings,
    Traced,
    Worth,
)
from locant.selections.circuits import RULES, STRENGTHS, Circuit, choose, random_circuit
from locant.types import Query, Setting

SHARE, MOST = 0.05, 300
"""Of the graph's edges a circuit has this share, but not more than can be looked at."""
DRAWS = 20
"""Random circuits beside the one found."""
PEERS = 24
"""Subjects in whose place a prompt is read to tell heads' roles."""
PATTERNS = 8
"""Heads whose attention is shown: those that send most."""
WORDS = 5
"""Tokens that each node is shown to write."""


def trace_circuit(
    lm: LanguageModel,
    query: Query,
    other: Query | None = None,
    *,
    method: str = "eap_ig",
    metric: str = "logit_difference",
    ablation: str = "counterfactual",
    edges: int | None = None,
    rule: str = "greedy",
    by: str = "absolute",
    split: bool = True,
    spans: bool = False,
    seed: int = 0,
    settings: Mapping[str, Setting] | None = None,
    command: str = "",
) -> Traced:
    """Find the circuit of one query's answer, run it and its controls, and read its nodes.

    Roles of heads are told from the same prompt about other subjects, where the almanac knows the query's subject.

    Args:
        other: the counterfactual: in as many tokens, with another answer. None looks for one (`counterfactual_to`),
            if ablation or metric is by one.
        method: that scores edges; `settings` are its own.
        edges: that the circuit has at most; None for `SHARE` of the graph's, and not more than `MOST`.
        rule, by: as for `choose`.
        split: queries, keys and values of a head are receivers of their own.
        spans: positions are told apart by where the subject stands (`locant.models.spans`).
        command: that asked for this, for the page.

    Raises:
        BadQuery: there is no counterfactual, or the two differ in length or say the same; or there are to be spans
            and the prompt does not hold its subject.
        LocantError: the model has no graph.
        UnknownName: no such method, metric, ablation, rule or strength.
    """
    refuse_unknown(method, metric, ablation, rule, by)
    if spans and not _named(query):
        raise BadQuery(f"spans are told by where the subject stands in {query.prompt!r}: say what the subject is")
    graph = graph_of(lm, split=split, spans=SPANS if spans else ())
    pair = _pair(lm, query, other, needs_other(metric, ablation))
    scores = METHODS[method](lm, graph, [pair], metric=metric, ablation=ablation, **(settings or {}))
    size = edges or min(MOST, round(SHARE * int(graph.edges.sum())))
    circuit = choose(scores, size, rule=rule, by=by)
    recipe: dict[str, Setting] = {
        **scores.made_by.settings,
        "method": method,
        "edges": size,
        "choose": rule,
        "by": by,
    }
    if pair.other is not query:
        recipe |= {"other": pair.other.prompt, "other_answer": pair.other.answer}
    made_by = lm.provenance("circuit", {**recipe, "random_circuits": DRAWS}, seed, (circuit.made_by.digest(),))
    worth, standings = _worth(lm, pair, circuit, metric, ablation, seed)
    return Traced(
        query=query,
        counterfactual=pair.other if ablation == "counterfactual" else None,
        model=lm.name,
        circuit=circuit,
        faithfulness=worth,
        standings=standings,
        made_by=made_by,
        top_answers=tuple(lm.top_answers(query.prompt, 8, query.language)),
        curve=_curve(lm, graph, query),
        tokens=tuple(lm.text_of([token]) for token in lm.tokens(query).prompt),
        patterns=_patterns(lm, query, circuit),
        readings=_readings(lm, query, circuit, seed),
        command=command,
    )


def refuse_unknown(method: str, metric: str, ablation: str, rule: str, by: str) -> None:
    """Refuse names that `trace_circuit` does not know, for which no model is needed.

    Raises:
        UnknownName: there is no such method, metric, ablation, rule or strength.
    """
    refuse_other("method for edges", method, METHODS)
    refuse_other("metric", metric, METRICS)
    refuse_other("ablation", ablation, ABLATIONS)
    if ablation in ("mean", "overall_mean"):
        raise UnknownName(f"the {ablation} of one prompt is the prompt itself: ablate by 'counterfactual' or 'zero'")
    refuse_other("rule for circuits", rule, RULES)
    refuse_other("strength of edges", by, STRENGTHS)


def _pair(lm: LanguageModel, query: Query, other: Query | None, needed: bool) -> Pair:
    """The query with its counterfactual, or with itself where none is needed or given."""
    if other is None and not needed:
        return Pair(query, query)
    pair = Pair(query, other or counterfactual_to(lm, query))
    _refuse_unlike(lm, pair)
    return pair


def counterfactual_to(lm: LanguageModel, query: Query) -> Query:
    """The same prompt about another subject of the almanac, in as many tokens, with the model's own answer.

    Raises:
        BadQuery: the fact has no subject, the almanac does not know it, or no other subject fits.
    """
    own = lm.tokens(query)
    for one in own_answers(lm, _about_others(lm, query)):
        if lm.tokens(one).answers[0][0] != own.answers[0][0]:
            return one
    raise BadQuery(
        f"no counterfactual was found for {query.prompt!r}: give one, the same prompt about another subject, in as "
        "many tokens, with another answer; or ablate by 'zero' with the metric 'log_probability', which need none"
    )


def _about_others(lm: LanguageModel, query: Query) -> list[Query]:
    """The prompt about other subjects that the almanac knows in the same relations, in as many tokens."""
    subject, language = query.fact.subject, query.language
    if not subject or subject not in query.prompt or language not in almanac.LANGUAGES:
        return []
    facts = {one.fact.uid: one.fact for one in almanac.queries(language=language)}.values()
    relations = dict.fromkeys(one.relation for one in facts if one.subject == subject)
    # Of several relations the one asked for first: its subjects are most alike
    order = sorted(relations, key=lambda name: name != query.relation)
    names = dict.fromkeys(one.subject for name in order for one in facts if one.relation == name)
    length = len(lm.tokens(query).prompt)
    found = []
    for name in names:
        asked = replace(
            query,
            uid=f"{query.uid}/{name}",
            fact=replace(query.fact, uid=f"{query.fact.uid}/{name}", subject=name, object=""),
            prompt=query.prompt.replace(subject, name),
            alternatives=(),
        )
        if name != subject and len(lm.tokens(asked).prompt) == length:
            found.append(asked)
    return found


def _refuse_unlike(lm: LanguageModel, pair: Pair) -> None:
    mine, its = lm.tokens(pair.query), lm.tokens(pair.other)
    if len(mine.prompt) != len(its.prompt):
        raise BadQuery(
            f"the counterfactual {pair.other.prompt!r} has {len(its.prompt)} tokens and {pair.query.prompt!r} has "
            f"{len(mine.prompt)}: both need as many"
        )
    if mine.answers[0][0] == its.answers[0][0]:
        raise BadQuery(
            f"{pair.query.answer!r} and {pair.other.answer!r}, the answer to the counterfactual, begin with the same "
            "token: give one with another answer"
        )


def _worth(
    lm: LanguageModel, pair: Pair, circuit: Circuit, metric: str, ablation: str, seed: int
) -> tuple[Worth, Standings]:
    """What the circuit keeps, beside all edges, none, all others, and random circuits."""
    graph = circuit.graph
    random = [random_circuit(circuit, draw).keep for draw in range(seed * DRAWS, (seed + 1) * DRAWS)]
    keeps = [graph.edges, circuit.keep, circuit.complement().keep, torch.zeros_like(graph.edges), *random]
    metrics = tuple(dict.fromkeys([metric, "log_probability"]))
    found = read_circuits(lm, graph, [pair], torch.stack(keeps), ablation=ablation, metrics=metrics)
    model, own, complement, empty, *others = _standings(found)
    values = found.metrics[metric][0].tolist()
    worth = Worth(metric, UNITS[metric], values[0], values[1], values[3])
    return worth, Standings(model, own, complement, empty, tuple(others))


def _standings(found: CircuitReadings) -> list[Standing]:
    probabilities = found.metrics["log_probability"][0].exp().tolist()
    return [Standing(p, rank + 1) for p, rank in zip(probabilities, found.rank[0].tolist(), strict=True)]


def _named(query: Query) -> bool:
    """Whether it is known where the subject stands."""
    return bool(query.fact.subject) and query.fact.subject in query.prompt


def _curve(lm: LanguageModel, graph: Graph, query: Query) -> LayerCurve:
    """How the answer's first token, and the subject's that stands highest, come up by layer."""
    answer = torch.tensor([[lm.tokens(query).answers[0][0]]])
    named = _named(query)
    tokens = torch.cat([answer, subject_ids(lm, [query])], dim=1) if named else answer
    found = read_stream(lm, written(lm, graph, first_sites(lm, [query])), tokens)

    def standings(ranks: torch.Tensor, probabilities: torch.Tensor) -> tuple[Standing, ...]:
        return tuple(Standing(p, rank + 1) for p, rank in zip(probabilities.tolist(), ranks.tolist(), strict=True))

    rank, probability = found.rank[0], found.probability[0]
    own = standings(rank[:, 0], probability[:, 0])
    if not named:
        return LayerCurve(found.points, own)
    return LayerCurve(found.points, own, standings(rank[:, 1:].amin(dim=1), probability[:, 1:].amax(dim=1)))


def _patterns(lm: LanguageModel, query: Query, circuit: Circuit) -> tuple[HeadPattern, ...]:
    """Where the heads of the circuit look, of those where the answer is predicted, whose edges score highest."""
    graph, sent = circuit.graph, (circuit.scores.abs() * circuit.keep).sum(dim=1)
    there = [name for name in circuit.heads if _is_at_answer(graph, name)]
    weights = answer_patterns(lm, [query]).weights[0]
    return tuple(
        HeadPattern(name, tuple(weights[_place(graph, name)].tolist()))
        for name in sorted(there, key=lambda name: -float(sent[graph.sender(name)]))[:PATTERNS]
    )


def _readings(lm: LanguageModel, query: Query, circuit: Circuit, seed: int) -> tuple[NodeReading, ...]:
    """What each node of the circuit writes at the end of its span, and where its heads look."""
    graph, heads = circuit.graph, set(circuit.heads)
    ends, sites = _ends(lm, query, graph)
    answer = torch.tensor([[lm.tokens(query).answers[0][0]]] * len(ends))
    read = read_nodes(lm, written(lm, graph, sites), answer, k=WORDS)
    looks = masses(lm, answer_patterns(lm, [query])) if _named(query) else None
    roles = _roles(lm, query, graph.plain, seed)
    found = []
    for node in (one for one in circuit.nodes if one != "output"):
        own, _, span = node.partition("@")
        at = (ends.index(span), graph.plain.sender(own)) if span in ends else None
        place = _place(graph, node) if node in heads and _is_at_answer(graph, node) else None
        role, confirmed = roles.get(place, ("", False)) if place else ("", False)
        found.append(
            NodeReading(
                node,
                role=role,
                confirmed=confirmed,
                subject=_told(looks.subject[0][place]) if looks and place else None,
                relation=float(looks.relation[0][place]) if looks and place else None,
                tokens=tuple(lm.text_of([token]) for token in read.top[at].tolist()) if at else (),
                rank=int(read.rank[at][0]) + 1 if at else None,
            )
        )
    return tuple(found)


def _ends(lm: LanguageModel, query: Query, graph: Graph) -> tuple[list[str], Sites]:
    """The spans that hold a token, each with its last; without spans, where the answer is predicted."""
    sites = first_sites(lm, [query])
    if not graph.spans:
        return [""], sites
    own = spans_of(lm, [query], graph.spans)[0, : int(sites.position) + 1]
    ends = {span: int((own == at).nonzero()[-1]) for at, span in enumerate(graph.spans) if bool((own == at).any())}
    position = torch.tensor(list(ends.values()), device=lm.device)
    nothing = torch.zeros_like(position)
    return list(ends), replace(sites, sequence=nothing, position=position, target=nothing, query=nothing)


def _told(mass: torch.Tensor) -> float | None:
    """Attention, where it can be told from what is left at the first token."""
    return float(mass) if mass.isfinite() else None


def _roles(lm: LanguageModel, query: Query, graph: Graph, seed: int) -> dict[tuple[int, int], tuple[str, bool]]:
    """Roles of heads and whether they are confirmed, told on this prompt about other subjects where there are any."""
    alike = own_answers(lm, _about_others(lm, query)[:PEERS])
    try:
        found = head_roles(head_measures(lm, graph, swapped_pairs(lm, [query, *alike]), seed=seed), seed=seed)
    except LocantError:
        return {}
    return {
        (layer, head): (role, bool(found.confirmed[layer, head]))
        for layer, row in enumerate(found.roles)
        for head, role in enumerate(row)
        if role != "none"
    }


def _is_at_answer(graph: Graph, node: str) -> bool:
    """Whether a node is where the answer is predicted: at the last span, or of all positions."""
    return graph.node(node).span == (graph.spans or ("",))[-1]


def _place(graph: Graph, name: str) -> tuple[int, int]:
    """The layer and the number of a head, by its name."""
    node = graph.node(name)
    assert node.head is not None
    return node.layer, node.head
