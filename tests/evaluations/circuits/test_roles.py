"""Heads with a role by construction are told it, and others are not."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
import transformers as hf
from torch import Tensor

import locant
from families import tokenizer
from locant.attributions.edges import swapped_pairs
from locant.evaluations.circuits.heads import LIFTS, MEASURES, HeadMeasures, head_measures
from locant.evaluations.circuits.roles import HeadRoles, above_layer, estimates, head_roles
from locant.models import LanguageModel, graph_of
from locant.types import Interval, Provenance

# What the planted model's stream holds: what kind of token, who is meant, what to answer
SUBJECT, RELATION, ANY = 0, 1, 2
WHO, WHAT = slice(8, 24), slice(24, 40)
FIRST_SUBJECT, FIRST_ANSWER = 10, 40
QUERIES = [
    locant.query(f"w88 w70 w{10 + at} w71", f"w{40 + at}", uid=f"{at}", subject=f"w{10 + at}", relation="of")
    for at in range(8)
]


@torch.no_grad()
def planted() -> tuple[LanguageModel, Tensor, Tensor]:
    """A model of one layer whose 4 heads write next to nothing, with the weights they read and write by."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "n_embd": 64, "n_layer": 1, "n_head": 4, "n_positions": 16}
    config = hf.GPT2Config(**sizes, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None)
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    tokens = torch.randn(97, 64) * 0.02
    tokens[:, ANY] = 1
    tokens[70:72, RELATION] = 1
    tokens[FIRST_SUBJECT : FIRST_SUBJECT + 16, SUBJECT] = 1
    tokens[FIRST_SUBJECT : FIRST_SUBJECT + 16, WHO] = torch.eye(16)
    said = torch.zeros(97, 64)
    said[FIRST_SUBJECT : FIRST_SUBJECT + 16, WHO] = torch.eye(16)
    said[FIRST_ANSWER : FIRST_ANSWER + 16, WHAT] = torch.eye(16)
    said[60:70, ANY] = 1
    model.transformer.wte.weight.copy_(tokens)
    model.transformer.wpe.weight.zero_()
    model.lm_head.weight.copy_(3 * said)
    attention = model.transformer.h[0].attn
    reads, writes = attention.c_attn.weight.view(64, 3, 4, 16), attention.c_proj.weight.mul_(0.01).view(4, 16, 64)
    return locant.load(model, tokenizer=tokenizer()), reads, writes


@torch.no_grad()
def plant_mover(reads: Tensor, writes: Tensor, head: int, into: slice) -> None:
    """It looks at the subject, and writes who it is, or the answer that belongs to it."""
    reads[ANY, 0, head, 0] = reads[SUBJECT, 1, head, 0] = 3
    reads[WHO, 2, head] = torch.eye(16)
    writes[head, :, into] = torch.eye(16) / 5


@torch.no_grad()
def plant_relation(reads: Tensor, writes: Tensor, head: int) -> None:
    """It looks at the relation's tokens, and writes all answers alike, which function words would else be above."""
    reads[ANY, 0, head, 0] = reads[RELATION, 1, head, 0] = 3
    reads[RELATION, 2, head, 0] = 1
    writes[head, 0, 24:32] = 0.3


def told(lm: LanguageModel) -> HeadRoles:
    return head_roles(head_measures(lm, graph_of(lm), swapped_pairs(lm, QUERIES)))


def test_a_head_that_copies_the_subject_is_a_mover() -> None:
    lm, reads, writes = planted()
    plant_mover(reads, writes, 1, into=WHO)
    roles = told(lm)
    assert roles.roles == (("none", "mover", "none", "none"),)
    assert roles.named("mover") == ((0, 1),)
    # It says who is asked about, and the answer is none the likelier
    assert roles.named("mover", confirmed=True) == ()


def test_a_head_that_says_the_subjects_answer_and_one_that_says_all_answers_are_told_and_confirmed() -> None:
    lm, reads, writes = planted()
    plant_mover(reads, writes, 3, into=WHAT)
    plant_relation(reads, writes, 2)
    roles = told(lm)
    assert roles.roles == (("none", "none", "relation", "mover"),)
    assert roles.named("mover", confirmed=True) == ((0, 3),)
    assert roles.named("relation", confirmed=True) == ((0, 2),)
    assert roles.estimates["answer_lift"].n == 8


def test_a_model_without_such_heads_has_no_roles() -> None:
    lm, _, _ = planted()
    assert told(lm).roles == (("none",) * 4,)


def made(**means: float) -> HeadMeasures:
    """Four queries of two facts; the second head has these measures, the others nothing."""
    values = {name: torch.zeros(4, 1, 3) for name in MEASURES}
    for name, mean in means.items():
        values[name][:, 0, 1] = mean * torch.tensor([0.9, 0.9, 1.1, 1.1])
    pairs = swapped_pairs(planted()[0], [replace(query, fact=replace(query.fact, uid=fact)) for query, fact in FACTS])
    return HeadMeasures(tuple(pairs), values, dict.fromkeys(LIFTS, torch.zeros(4)), (), Provenance("made"))


FACTS = list(zip(QUERIES[:4], "aabb", strict=True))
MOVER = {"subject_mass": 0.6, "answer_lift": 1.0}
SAYS_RELATION = {"relation_mass": 0.6, "relation_lift": 1.0}


@pytest.mark.parametrize(
    ("means", "role"),
    [
        (MOVER, "mover"),
        (MOVER | {"subject_mass": 0.29}, "none"),
        (MOVER | {"answer_lift": 0.04}, "none"),
        (MOVER | {"answer_lift": 0.0, "subject_lift": 0.06}, "mover"),
        (MOVER | {"relation_mass": 0.31}, "mixture"),
        (SAYS_RELATION, "relation"),
        (SAYS_RELATION | {"relation_mass": 0.29}, "none"),
        (SAYS_RELATION | {"subject_mass": 0.6}, "relation"),
        (SAYS_RELATION | MOVER, "mixture"),
    ],
)
def test_rules(means: dict[str, float], role: str) -> None:
    roles = head_roles(made(**means))
    assert roles.roles == (("none", role, "none"),)
    assert not roles.confirmed.any()


def test_two_heads_of_a_layer_may_have_one_role() -> None:
    measures = made(**MOVER)
    measures.values["subject_mass"][:, 0, 2], measures.values["answer_lift"][:, 0, 2] = 0.6, 9.0
    four = {name: torch.cat([each, each[:, :, :1]], dim=2) for name, each in measures.values.items()}
    assert head_roles(replace(measures, values=four)).roles == (("none", "mover", "mover", "none"),)


def test_what_the_rest_of_the_layer_says_as_well_is_nobodys_role() -> None:
    measures = made(**MOVER)
    measures.values["answer_lift"][:] = 1.0
    assert head_roles(measures).roles == (("none",) * 3,)


@pytest.mark.parametrize(
    ("means", "confirmed"),
    [
        (MOVER | {"answer_swapped": -1.0, "others_removed": 0.3, "elsewhere_removed": 0.1}, True),
        (MOVER | {"answer_swapped": -1.0, "others_removed": 0.1, "elsewhere_removed": 0.3}, False),
        (MOVER | {"answer_swapped": -1.0, "others_removed": 0.005, "elsewhere_removed": 0.001}, False),
        (MOVER | {"answer_swapped": 1.0, "others_removed": 0.3, "elsewhere_removed": 0.1}, False),
        # That another subject's answer gains is no more than that the head carries a subject
        (MOVER | {"answer_swapped": -1.0, "others_swapped": 0.3, "elsewhere_swapped": 0.1}, False),
        (SAYS_RELATION | {"elsewhere_removed": 0.3, "others_removed": 0.1}, True),
        (SAYS_RELATION | {"elsewhere_removed": 0.1, "others_removed": 0.3}, False),
        (SAYS_RELATION | {"elsewhere_removed": 0.005, "others_removed": 0.001}, False),
    ],
)
def test_a_role_is_confirmed_by_where_the_probability_goes(means: dict[str, float], confirmed: bool) -> None:
    assert head_roles(made(**means)).confirmed.tolist() == [[False, confirmed, False]]


def test_prompts_that_begin_with_a_subject_of_one_token_tell_nothing_of_who_sees_it() -> None:
    measures = made(**MOVER)
    measures.values["subject_mass"][:2] = torch.nan
    found = head_roles(measures)
    assert found.roles == (("none", "mover", "none"),)
    seen = found.estimates["subject_mass"]
    assert (float(seen.mean[0, 1]), seen.n, found.estimates["answer_lift"].n) == (pytest.approx(0.66), 1, 2)
    measures.values["subject_mass"][:] = torch.nan
    found = head_roles(measures)
    assert found.roles == (("none",) * 3,)
    assert found.estimates["subject_mass"].mean.isnan().all() and found.estimates["subject_mass"].n == 0


def test_by_chance_roles_would_be_confirmed_as_often_as_when_shuffled_within_their_layers() -> None:
    effects = {"answer_swapped": -1.0, "others_removed": 0.3, "elsewhere_removed": 0.1}
    measures = made(**MOVER, **effects)
    four = {name: torch.cat([each, each[:, :, :1]], dim=2) for name, each in measures.values.items()}
    for name, value in (effects | MOVER).items():
        four[name][:, 0, 2] = value * (name in effects)  # it does what a mover does, and has no role
        four[name][:, 0, 3] = value * (name in MOVER)  # it has the role alone
    found = head_roles(replace(measures, values=four))
    assert found.roles == (("none", "mover", "none", "mover"),)
    assert found.confirmed.tolist() == [[False, True, False, False]]
    orders = list(permutations(["none", "mover", "none", "mover"]))
    does = [False, True, True, False]
    confirmed = [sum(role == "mover" and did for role, did in zip(order, does, strict=True)) for order in orders]
    assert float(found.by_chance.sum()) == pytest.approx(sum(confirmed) / len(orders)) == 1.0
    assert found.by_chance.tolist() == [[0, 0.5, 0, 0.5]]


def test_excess_is_over_the_median_of_the_other_heads_of_the_layer() -> None:
    values = torch.tensor([[[1.0, 2.0, 6.0, 30.0], [0.0, 1.0, 0.0, 1.0]]])
    assert above_layer(values).tolist() == [[[-5.0, -4.0, 4.0, 28.0], [-1.0, 1.0, -1.0, 1.0]]]
    with pytest.raises(locant.LocantError, match="one head each"):
        above_layer(torch.zeros(1, 2, 1))


def test_intervals_are_over_facts_and_those_of_the_evaluations() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(9, 2, 2, generator=generator)
    facts = [str(at // 2) for at in range(9)]
    found = estimates(values, facts)
    assert found.n == 5
    for layer in range(2):
        for head in range(2):
            one: Interval = locant.evaluations.interval(values[:, layer, head], facts)
            assert found.mean[layer, head].item() == pytest.approx(one.mean, abs=1e-6)
            assert found.low[layer, head].item() == pytest.approx(one.low, abs=0.1)
            assert found.high[layer, head].item() == pytest.approx(one.high, abs=0.1)
    single = estimates(values[:1], ["0"])
    assert single.n == 1 and torch.equal(single.low, single.high)
