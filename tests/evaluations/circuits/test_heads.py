"""Measures of heads are those of loops over single prompts and single heads, with hooks of their own."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

import locant
from families import tiny
from locant.attributions.edges import Pair, swapped_pairs
from locant.evaluations.circuits.heads import MEASURES, HeadMeasures, head_measures
from locant.models import LanguageModel, graph_of

FINAL = {"gpt2": ("transformer.ln_f", "attn.c_proj"), "llama": ("model.norm", "self_attn.o_proj")}


def asked(subject: str, answer: str, relation: str = "of") -> locant.Query:
    prompt = f"w80 w81 {subject} w82"
    return locant.query(prompt, answer, uid=prompt, subject=subject, relation=relation)


# Two subjects share a token; two have the same answer
QUERIES = [asked("w1 w2", "w30"), asked("w3 w2", "w31 w9"), asked("w5 w6", "w30"), asked("w7 w8", "w32")]
KNOWN = [asked("w10 w11", "w33")]
ANSWERS, RIGHT = [30, 31, 32, 33], [30, 31, 30, 32]
SUBJECTS = [{1, 2}, {3, 2}, {5, 6}, {7, 8}]


@cache
def measured(family: str, removal: str = "zero") -> HeadMeasures:
    lm = tiny(family)
    background = [Pair(KNOWN[0], KNOWN[0])]
    pairs = swapped_pairs(lm, QUERIES)
    return head_measures(lm, graph_of(lm), pairs, known=KNOWN, removal=removal, background=background)


class Plain:
    """A model of 3 layers of 4 heads, 8 wide each, asked one prompt at a time."""

    def __init__(self, family: str) -> None:
        self.lm = tiny(family, kernel="eager")
        name, output = FINAL[family]
        self.norm = self.lm.model.get_submodule(name)
        self.outputs = [block.get_submodule(output) for block in self.lm.blocks]

    def heads(self, query: locant.Query) -> list[Tensor]:
        seen: list[Tensor] = []
        hooks = [one.register_forward_pre_hook(lambda _, args: seen.append(args[0][0])) for one in self.outputs]
        self.logits(query)
        for hook in hooks:
            hook.remove()
        return seen

    def logits(self, query: locant.Query) -> Tensor:
        prompt = torch.tensor([self.lm.tokens(query).prompt])
        return self.lm.model(prompt).logits[0, -1]

    def without(self, query: locant.Query, layer: int, head: int, instead: Tensor) -> Tensor:
        """Logits where a head gives this at every position."""

        def put(module: object, args: tuple[Tensor]) -> tuple[Tensor]:
            changed = args[0].clone()
            changed[0, :, 8 * head : 8 * head + 8] = instead
            return (changed,)

        hook = self.outputs[layer].register_forward_pre_hook(put)
        logits = self.logits(query)
        hook.remove()
        return logits

    def added(self, query: locant.Query, layer: int, head: int) -> Tensor:
        """The logits a head adds at the end: its vector by the norm's gain, over the size of the whole stream."""
        alone = torch.zeros(1, 32)
        alone[:, 8 * head : 8 * head + 8] = self.heads(query)[layer][-1, 8 * head : 8 * head + 8]
        vector = (self.outputs[layer](alone) - self.outputs[layer](torch.zeros(1, 32)))[0]
        stream: list[Tensor] = []
        hook = self.norm.register_forward_pre_hook(lambda _, args: stream.append(args[0][0, -1]))
        self.logits(query)
        hook.remove()
        if hasattr(self.norm, "bias"):
            size = (stream[0].var(unbiased=False) + self.norm.eps).sqrt()
            vector = vector - vector.mean()
        else:
            size = (stream[0].square().mean() + self.norm.variance_epsilon).sqrt()
        return self.lm.model.get_output_embeddings().weight @ (vector / size * self.norm.weight)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_lifts_are_differences_of_means_of_the_logits_a_head_adds(family: str) -> None:
    found, plain = measured(family), Plain(family)
    for index, query in enumerate(QUERIES):
        others = [one for one in ANSWERS if one != RIGHT[index]]
        mine = sorted(SUBJECTS[index])
        theirs = sorted(set().union(*SUBJECTS) - SUBJECTS[index])
        for layer, head in ((0, 1), (1, 3), (2, 0)):
            logits = plain.added(query, layer, head)
            answer = logits[RIGHT[index]] - logits[others].mean()
            subject = logits[mine].mean() - logits[theirs].mean()
            torch.testing.assert_close(found["answer_lift"][index, layer, head], answer, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found["subject_lift"][index, layer, head], subject, atol=1e-5, rtol=1e-4)
            # Fewer tokens are left than would be drawn, so that all are: those of no answer, and not special
            rest = [one for one in range(95) if one not in (*ANSWERS, 90, 91, 92, 93)]
            relation = logits[others].mean() - logits[rest].mean()
            torch.testing.assert_close(found["relation_lift"][index, layer, head], relation, atol=1e-5, rtol=1e-4)
        whole = plain.logits(query)
        expected = whole[RIGHT[index]] - whole[others].mean()
        torch.testing.assert_close(found.whole["answer_lift"][index], expected, atol=1e-5, rtol=1e-4)


def shares(logits: Tensor, index: int) -> Tensor:
    each = logits.softmax(dim=-1)
    others = sum(each[one] for one in ANSWERS if one != RIGHT[index])
    return torch.stack([each[RIGHT[index]].log(), others, 1 - each[RIGHT[index]] - others])


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "name", "removal"),
    [
        ("gpt2", "swapped", "zero"),
        ("llama", "swapped", "zero"),
        ("gpt2", "removed", "zero"),
        ("llama", "removed", "zero"),
        ("llama", "removed", "overall_mean"),
    ],
)
def test_changes_are_those_of_the_head_replaced_in_a_pass_of_its_own(family: str, name: str, removal: str) -> None:
    found, plain = measured(family, removal), Plain(family)
    means = [each.mean(dim=0) for each in plain.heads(KNOWN[0])]
    for index, pair in enumerate(found.pairs):
        theirs = plain.heads(pair.other)
        own = shares(plain.logits(pair.query), index)
        for layer, head in ((0, 0), (0, 1), (1, 3), (2, 2)):
            instead = theirs[layer] if name == "swapped" else means[layer] * (removal == "overall_mean")
            changed = plain.without(pair.query, layer, head, instead[..., 8 * head : 8 * head + 8])
            names = [f"{what}_{name}" for what in ("answer", "others", "elsewhere")]
            changes = torch.stack([found[one][index, layer, head] for one in names])
            torch.testing.assert_close(changes, shares(changed, index) - own, atol=1e-5, rtol=1e-3)


def test_every_measure_is_there_for_every_head() -> None:
    found = measured("llama")
    assert list(found.values) == list(MEASURES)
    assert all(values.shape == (4, 3, 4) for values in found.values.values())
    masses = found["subject_mass"] + found["relation_mass"] + found["first_mass"]
    torch.testing.assert_close(masses, torch.ones_like(masses))
    assert found.answers == (30, 31, 32, 33)


def refused(lm: LanguageModel, queries: list[locant.Query], match: str) -> None:
    pairs = [Pair(query, query) for query in queries]
    with pytest.raises(locant.LocantError, match=match):
        head_measures(lm, graph_of(lm), pairs)


def test_queries_that_cannot_tell_a_role_are_refused() -> None:
    lm = tiny("llama")
    refused(lm, [QUERIES[0], asked("w3 w4", "w31", "by")], r"one relation at a time, not in 2: \['by', 'of'\]")
    refused(lm, [QUERIES[0], QUERIES[2]], "2 queries with one answer or one subject")
    refused(lm, [QUERIES[0], asked("w1 w2", "w31")], "2 queries with one answer or one subject")
