"""What every head attends to, what it adds to the logits, and what is lost without it: one number per query and head.

    measures = head_measures(lm, graph, swapped_pairs(lm, queries))
    measures["answer_lift"].mean(dim=0)                  # [layer head], in logits

The paper tells roles of heads by eye, from attention and the logit lens of single prompts. These are measures of the
same, over the queries of a relation.

Source of what is looked at: Yao et al. 2024, arXiv:2405.17969, section 4; the measures are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.attributions.edges import Pair, PairSites, lay_out_pairs
from locant.attributions.edges.ablations import Ablation, ablation_of
from locant.errors import LocantError
from locant.evaluations.circuits.lens import lens_of
from locant.evaluations.circuits.patterns import answer_patterns, masses
from locant.evaluations.circuits.written import first_sites, written
from locant.models import LanguageModel
from locant.models.circuit_run import MEMORY, CircuitRun
from locant.models.graph import Graph
from locant.types import Provenance, Query, Setting

MEASURES: dict[str, str] = {
    "subject_mass": "attention to the subject's tokens, but the prompt's first",
    "relation_mass": "attention to the prompt's other tokens, but the first",
    "first_mass": "attention to the first token",
    "answer_lift": "logits added to the answer, above those added to the relation's other answers",
    "subject_lift": "logits added to the subject's tokens, above those added to the relation's other subjects'",
    "relation_lift": "logits added to the relation's other answers, above those added to random tokens",
    "answer_swapped": "log-probability of the answer with the head as of another subject, minus with its own (nats)",
    "others_swapped": "the same of the probability of the relation's other answers",
    "elsewhere_swapped": "the same of the probability of everything else",
    "answer_removed": "log-probability of the answer without the head, minus with it (nats)",
    "others_removed": "the same of the probability of the relation's other answers",
    "elsewhere_removed": "the same of the probability of everything else",
}
"""What is measured of a head. Answers stand for their first tokens."""

AT_ONCE = 32
"""Pairs in one batch."""

RANDOM = 256
"""Random tokens that the relation's answers are held against."""


@dataclass(frozen=True)
class HeadMeasures:
    """Measures of all heads on the queries of a relation.

    Attributes:
        values: by the names in `MEASURES`; `subject_mass` is NaN where the subject is the first token alone.
        whole: of the three lifts those of the whole model, which nodes' sum to.
        answers: ids that the relation's answers begin with.
    """

    pairs: tuple[Pair, ...]
    values: Mapping[str, Float[Tensor, "query layer head"]]
    whole: Mapping[str, Float[Tensor, " query"]]
    answers: tuple[int, ...]
    made_by: Provenance

    def __getitem__(self, measure: str) -> Float[Tensor, "query layer head"]:
        return self.values[measure]


@dataclass(frozen=True)
class _Tokens:
    """Which tokens the lifts of each query compare.

    Attributes:
        ids: all of them.
        contrasts: of each lift the weights of tokens: 1 in all above, -1 in all below.
        answer: the id of each query's answer; `others`: which ids are the relation's other answers.
    """

    ids: Int[Tensor, " token"]
    contrasts: Float[Tensor, "lift query token"]
    answer: Int[Tensor, " query"]
    others: Bool[Tensor, "query token"]


LIFTS = ("answer_lift", "subject_lift", "relation_lift")
CHANGES = ("answer", "others", "elsewhere")


@torch.no_grad()
def head_measures(
    lm: LanguageModel,
    graph: Graph,
    pairs: Sequence[Pair],
    *,
    known: Sequence[Query] = (),
    removal: str = "zero",
    background: Sequence[Pair] = (),
    seed: int = 0,
    memory: int = MEMORY,
) -> HeadMeasures:
    """Measure every head on the queries of one relation.

    Heads are ablated by cutting all their edges, in two ways. Swapped, a head writes what it writes in the
    counterfactual, which asks the same of another subject: what it says of the relation stays. Removed, that goes
    too.

    Args:
        known: more queries of the relation, whose answers are counted among its other answers.
        removal: how heads are removed: a name in `ABLATIONS`, of `zero`, `mean` and `overall_mean`.
        background: pairs that means are over, of other relations; a mean over the relation's own says the relation.
        seed: of the random tokens.
        memory: bytes that rows may take at once.

    Raises:
        BadQuery: a query cannot be asked of this model, or names no subject that its prompt holds.
        LocantError: the queries are of several relations, or have but one answer or one subject; or the graph has
            spans.
    """
    graph.refuse_spans("roles of heads are not measured")
    relations = sorted({query.relation for query in [*known, *(pair.query for pair in pairs)]})
    if len(relations) != 1:
        raise LocantError(f"roles are measured in one relation at a time, not in {len(relations)}: {relations}")
    tokens = _tokens(lm, pairs, known, seed)
    found = masses(lm, answer_patterns(lm, [pair.query for pair in pairs]))
    values = {"subject_mass": found.subject, "relation_mass": found.relation, "first_mass": found.first}
    lifts, whole = _lifts(lm, graph, pairs, tokens)
    values |= dict(zip(LIFTS, lifts, strict=True))
    for name, ablation in (("swapped", "counterfactual"), ("removed", removal)):
        ablate = ablation_of(ablation, lm, graph, background or pairs)
        changes = _changes(lm, graph, pairs, tokens, ablate, memory)
        values |= {f"{what}_{name}": change for what, change in zip(CHANGES, changes, strict=True)}
    answers = tuple(tokens.ids[tokens.others.any(dim=0)].tolist())
    settings: dict[str, Setting] = {"relation": relations[0], "removal": removal}
    settings |= {"queries": len(pairs), "known": len(known), "background": len(background)}
    made_by = lm.provenance("head_measures", settings, seed)
    return HeadMeasures(tuple(pairs), values, dict(zip(LIFTS, whole, strict=True)), answers, made_by)


def _tokens(lm: LanguageModel, pairs: Sequence[Pair], known: Sequence[Query], seed: int) -> _Tokens:
    own = [lm.tokens(pair.query) for pair in pairs]
    places = [lm.subject_positions(pair.query) for pair in pairs]
    subjects = [{one.prompt[at] for at in place} for one, place in zip(own, places, strict=True)]
    # Any of a query's answers is right; only those of others are wrong
    right = [{answer[0] for answer in one.answers} for one in own]
    answers = {one.answers[0][0] for one in (*own, *map(lm.tokens, known))}
    named = set[int]().union(*subjects)
    if not all(answers - mine for mine in right) or not all(named - mine for mine in subjects):
        raise LocantError(f"{len(pairs)} queries with one answer or one subject cannot tell heads' roles: give more")
    taken = answers.union(lm.tokenizer.all_special_ids, *right)
    drawn = torch.randperm(len(lm.tokenizer), generator=torch.Generator().manual_seed(seed)).tolist()
    random = [one for one in drawn if one not in taken][:RANDOM]
    ids = sorted(answers.union(named, random, *right))
    answer = [{one.answers[0][0]} for one in own]
    contrasts = [
        _contrast(ids, answer, [answers - mine for mine in right]),
        _contrast(ids, subjects, [named - mine for mine in subjects]),
        _contrast(ids, [answers - mine for mine in right], [set(random)] * len(pairs)),
    ]
    return _Tokens(
        torch.tensor(ids),
        torch.stack(contrasts),
        torch.tensor([one.answers[0][0] for one in own]),
        torch.stack([_members(ids, answers - mine) for mine in right]) > 0,
    )


def _contrast(
    ids: Sequence[int], above: Sequence[set[int]], below: Sequence[set[int]]
) -> Float[Tensor, "query token"]:
    """The mean over some tokens minus that over others."""
    both = [[_members(ids, each) for each in side] for side in (above, below)]
    high, low = (torch.stack(side) for side in both)
    return high / high.sum(dim=1, keepdim=True) - low / low.sum(dim=1, keepdim=True)


def _members(ids: Sequence[int], wanted: set[int]) -> Float[Tensor, " token"]:
    return torch.tensor([float(one in wanted) for one in ids])


def _lifts(
    lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], tokens: _Tokens
) -> tuple[Float[Tensor, "lift query layer head"], Float[Tensor, "lift query"]]:
    """What heads add to some tokens' logits above others', and the whole model's own."""
    lifts = torch.zeros(len(LIFTS), len(pairs), graph.layers, graph.heads)
    whole = torch.zeros(len(LIFTS), len(pairs))
    for batch in torch.arange(len(pairs)).split(AT_ONCE):
        sent = written(lm, graph, first_sites(lm, [pairs[at].query for at in batch.tolist()]))
        lens, contrasts = lens_of(lm, sent.output), tokens.contrasts[:, batch]
        for layer in range(graph.layers):
            # All tokens' logits of one head at a time: there are many tokens
            logits = torch.stack([_of(tokens.ids, lens.scaled(head)) for head in sent.heads(layer)])
            lifts[:, batch, layer] = torch.einsum("hqt,lqt->lqh", logits.cpu(), contrasts)
        logits = _of(tokens.ids, lens.finish(lens.scaled(sent.output)))
        whole[:, batch] = torch.einsum("qt,lqt->lq", logits.cpu(), contrasts)
    return lifts, whole


def _changes(
    lm: LanguageModel, graph: Graph, pairs: Sequence[Pair], tokens: _Tokens, ablate: Ablation, memory: int
) -> Float[Tensor, "change query layer head"]:
    """What cutting all edges of a head changes."""
    changes = torch.zeros(len(CHANGES), len(pairs), graph.layers, graph.heads)
    # Neighbours in length share a batch, so that little of it is padding
    order = torch.tensor(sorted(range(len(pairs)), key=lambda index: lm.tokens(pairs[index].query).length))
    for batch in order.split(AT_ONCE):
        sites = lay_out_pairs(lm, [pairs[at] for at in batch.tolist()])
        run = CircuitRun(lm, graph, sites.clean, ablate(sites), memory)
        base = run.passed(graph.edges)
        own = _shares(run.logits(graph.edges, base), sites, tokens, batch)
        for layer in range(graph.layers):
            cut = graph.edges.repeat(graph.heads, 1, 1)
            for head in range(graph.heads):
                cut[head, graph.head_sender(layer, head)] = False
            found = [_shares(run.logits(some, base), sites, tokens, batch) for some in cut.split(run.rows)]
            changes[:, batch, layer] = torch.cat(found, dim=2) - own
    return changes


def _shares(
    logits: Float[Tensor, "site row vocab"], sites: PairSites, tokens: _Tokens, batch: Int[Tensor, " query"]
) -> Float[Tensor, "change query row"]:
    """The answer's log-probability, and the probabilities of the relation's other answers and of all else."""
    logs = logits[sites.first.to(logits.device)].log_softmax(dim=-1)
    own = tokens.answer[batch].to(logs.device)[:, None, None].expand(-1, logs.shape[1], 1)
    answer = logs.gather(2, own)[..., 0].cpu()
    others = torch.einsum("qrt,qt->qr", _of(tokens.ids, logs).exp().cpu(), tokens.others[batch].to(logs.dtype))
    return torch.stack([answer, others, 1 - answer.exp() - others])


def _of(ids: Int[Tensor, " token"], values: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row token"]:
    return values[..., ids.to(values.device)]
