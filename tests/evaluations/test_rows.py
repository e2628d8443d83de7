"""Rows beside one reading of a prompt give what asking the prompt anew for each of them gives."""

from __future__ import annotations

import pytest
import torch

import locant
from families import tiny
from locant.errors import BadQuery
from locant.evaluations import rows as rows_
from locant.evaluations.rows import letters_by_row
from locant.evaluations.sets import Touched, letters_by_set
from locant.models import LanguageModel, Run, record
from locant.types import Provenance, Selection

FOUR = ("w30", "w41", "w52", "w63")


def chosen(lm: LanguageModel, seed: int, count: int = 12) -> Selection:
    numbers = torch.Generator().manual_seed(seed)
    codes = torch.randperm(lm.layers * lm.neurons, generator=numbers)[:count].sort().values
    units = torch.stack([codes // lm.neurons, codes % lm.neurons], dim=1)
    return Selection((), units, torch.ones(count), (lm.layers, lm.neurons), Provenance("by hand"))


def asked(lm: LanguageModel) -> list[Touched]:
    """Sets of several sizes on prompts of several lengths, the prompts' rows mixed."""
    queries = [locant.query(" ".join(f"w{5 * at + word}" for word in range(2 + at)), "w9") for at in range(3)]
    return [
        Touched(queries[number % 3], chosen(lm, number, (0, 1, 12, 40)[number % 4]), number % 5 == 0)
        for number in range(12)
    ]


@pytest.mark.parametrize("by", [0.0, 2.0])
def test_rows_are_answered_as_if_each_were_asked_alone(lm: LanguageModel, by: float) -> None:
    rows = asked(lm)
    found = letters_by_row(lm, rows, by, FOUR)
    torch.testing.assert_close(found, letters_by_set(lm, rows, by, FOUR), rtol=2e-4, atol=1e-7)
    assert not torch.allclose(found, letters_by_set(lm, rows, 1.0, FOUR), rtol=1e-2)


def test_rows_may_rest_at_other_values_than_zero(lm: LanguageModel) -> None:
    rows = asked(lm)
    rest = torch.randn(lm.layers, lm.neurons, generator=torch.Generator().manual_seed(3))
    found = letters_by_row(lm, rows, 0.0, FOUR, rest=rest)
    torch.testing.assert_close(found, letters_by_set(lm, rows, 0.0, FOUR, rest=rest), rtol=2e-4, atol=1e-7)


def test_a_prompt_is_read_once_however_many_rows_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, read = tiny("llama"), []

    def counted(*given: object) -> Run:
        read.append(given)
        return record(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rows_, "record", counted)
    monkeypatch.setattr(rows_, "AT_ONCE", 2)
    rows = asked(lm)
    found = letters_by_row(lm, rows, 0.0, FOUR)
    assert len(read) == 3
    torch.testing.assert_close(found, letters_by_set(lm, rows, 0.0, FOUR), rtol=2e-4, atol=1e-7)


def test_no_rows_have_no_letters_and_letters_of_two_tokens_are_refused() -> None:
    lm = tiny("llama")
    assert letters_by_row(lm, [], 0.0, FOUR).shape == (0, 4)
    with pytest.raises(BadQuery, match="the letter 'w8 w9' is 2 tokens after this prompt"):
        letters_by_row(lm, asked(lm), 0.0, ("w7", "w8 w9"))
