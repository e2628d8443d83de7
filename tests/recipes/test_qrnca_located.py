"""QRNCA's attribution: of each part of the templates, of wrong letters, and as the released code has it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

from families import tiny
from locant.attributions import attribute
from locant.errors import UnknownName
from locant.models import LanguageModel
from locant.queries.choice import ChoiceQuestion
from locant.recipes.qrnca import Plan
from locant.recipes.qrnca.located import locate, wrong_letters
from locant.recipes.qrnca.plan import KNOWLEDGE
from word_questions import PLAN, asked

# Attribution


def units_in(rows: pl.DataFrame, what: str, part: str = "all templates") -> set[tuple[int, int]]:
    some = rows.filter((pl.col("what") == what) & (pl.col("part") == part) & pl.col("layer").is_not_null())
    return set(some.select("layer", "neuron").iter_rows())


def plainly(lm: LanguageModel, one: ChoiceQuestion, answers: list[str]) -> torch.Tensor:
    queries = [replace(prompt.query, answer=letter) for prompt, letter in zip(one.prompts, answers, strict=True)]
    return torch.cat([attribute(lm, [query], "dai").scores for query in queries])


def test_contrast_and_wrong_letters_are_attributed_and_the_baseline_is_not_of_them() -> None:
    lm, one = tiny("llama"), asked("a", "f")
    contrast = replace(PLAN, contrast=True, wrong=True)
    plain, both = (locate(lm, [one], plan) for plan in (PLAN, contrast))
    once = asked("a", "f", templates=1)
    known, beside = (units_in(locate(lm, [once], plan), KNOWLEDGE) for plan in (PLAN, contrast))
    assert known == beside and known
    letters = wrong_letters(one)
    right = plainly(lm, one, [prompt.query.answer for prompt in one.prompts]).sum(dim=0)
    wrong = [plainly(lm, one, [own[place] for own in letters]).sum(dim=0) for place in range(2)]
    for credit_, what in (
        (right - (wrong[0] + wrong[1]) / 2, "cluster"),
        (wrong[0], "wrong 1"),
        (wrong[1], "wrong 2"),
    ):
        expected = set(map(tuple, (credit_ > 0.2 * credit_.max()).nonzero().tolist()))
        assert expected and units_in(both, what) == expected, what
    assert units_in(plain, "cluster") == set(map(tuple, (right > 0.2 * right.max()).nonzero().tolist()))
    assert not units_in(plain, "wrong 1")


def test_a_template_that_is_left_out_has_no_part_in_what_is_located_without_it() -> None:
    lm, one = tiny("llama"), asked("a", "f")
    rows = locate(lm, [one], PLAN)
    for place in range(3):
        other = replace(one.prompts[place], query=asked("b", "other").prompts[place].query)
        prompts = tuple(other if at == place else prompt for at, prompt in enumerate(one.prompts))
        changed = locate(lm, [replace(one, prompts=prompts)], PLAN)
        part = f"without template {place + 1}"
        assert units_in(rows, "cluster", part) == units_in(changed, "cluster", part)
        assert units_in(rows, "activation", part) == units_in(changed, "activation", part)
        assert units_in(rows, "cluster") != units_in(changed, "cluster")


# Settings


def test_released_attributes_and_rounds_as_that_code_unless_told_otherwise() -> None:
    assert dict(Plan().settings) == {} and Plan().decimals is None
    released = Plan(mode="released")
    assert dict(released.settings) == {"rule": "inclusive", "steps": 16} and released.decimals == 6
    other = Plan(mode="released", settings={"steps": 40}, decimals=9)
    assert dict(other.settings) == {"rule": "inclusive", "steps": 40} and other.decimals == 9
    assert Plan(**other.plain()) == other  # type: ignore[arg-type]
    lm, one = tiny("llama"), asked("a", "f")
    scores = torch.cat(
        [attribute(lm, [part.query], "dai", rule="inclusive", steps=16).scores for part in one.prompts]
    )
    kept = scores > 0.2 * scores.amax(dim=(1, 2), keepdim=True)
    found = locate(lm, [one], released)
    assert units_in(found, "cluster") == set(map(tuple, kept.any(dim=0).nonzero().tolist()))
    credit_ = torch.where(kept, scores.double().round(decimals=6), 0).sum(dim=0)
    rows = found.filter(
        (pl.col("what") == "cluster") & (pl.col("part") == "all templates") & pl.col("layer").is_not_null()
    )
    for layer, neuron, score in rows.select("layer", "neuron", "score").iter_rows():
        assert score == pytest.approx(float(credit_[layer, neuron] / credit_.sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"mode": "mine"}, "no mode 'mine'"),
        ({"share": 1.0}, "share is at least 0 and less than 1"),
        ({"common": -0.1}, "common is at least 0"),
        ({"top": 0}, "there must be 1 neuron or more"),
        ({"decimals": 6}, "the mode 'released' alone rounds"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(UnknownName, match=why):
        Plan(**wrong)  # type: ignore[arg-type]
