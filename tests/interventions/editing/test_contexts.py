"""Requests after beginnings of texts: the position moves with the prompt."""

from __future__ import annotations

import pytest

import locant
from families import tiny
from locant.errors import BadQuery, UnknownName
from locant.interventions.editing.contexts import ask, memit_prefixes, rome_prefixes
from locant.interventions.editing.reading import weights_of
from locant.models import LanguageModel

FRANCE = locant.edit_request("The capital of France is", "France", "Rome")


def said_at(lm: LanguageModel, tokens: tuple[int, ...], position: int) -> str:
    return lm.text_of(tokens[: position + 1])


def test_keys_are_read_at_the_subject_after_every_prefix(almanac_lm: LanguageModel) -> None:
    asked = ask(almanac_lm, FRANCE, ("In the morning", "France is large"), "{} is a", "subject")
    read = [said_at(almanac_lm, one.tokens.prompt, one.position) for one in (*asked.contexts, asked.essence)]
    assert [one.removeprefix("<s>").strip() for one in read] == [
        "The capital of France",
        "In the morning. The capital of France",
        "France is large. The capital of France",
        "France",
    ]


def test_keys_are_read_at_the_end_where_that_is_asked_for(almanac_lm: LanguageModel) -> None:
    asked = ask(almanac_lm, FRANCE, ("In the morning",), "{} is a", "last")
    assert all(one.position == len(one.tokens.prompt) - 1 for one in (*asked.contexts, asked.essence))


@pytest.mark.parametrize("wording", ["{}, whose language is Iranian Persian", "Iran and {}, the Iranian Iran"])
def test_a_subject_is_where_the_wording_has_it(wording: str, almanac_lm: LanguageModel) -> None:
    request = locant.edit_request(wording, "Iran", "Rome")
    before = wording.partition("{}")[0] + "Iran"
    asked = ask(almanac_lm, request, ("Iran is here",), "{} is an Iran of", "subject")
    read = [said_at(almanac_lm, one.tokens.prompt, one.position) for one in (*asked.contexts, asked.essence)]
    assert [one.removeprefix("<s>").strip() for one in read] == [before, f"Iran is here. {before}", "Iran"]


@pytest.mark.parametrize(
    ("prompt", "language", "before"),
    [
        ("In Iran, people speak Iranian Persian and", "en", "In Iran"),
        ("Iran or Iran is", "en", "Iran or Iran"),
        ("Irans is", "en", "Iran"),
    ],
)
def test_a_subject_whose_place_is_not_said_is_the_last_whole_word(
    prompt: str, language: str, before: str, almanac_lm: LanguageModel
) -> None:
    asked = locant.query(prompt, "Rome", subject="Iran", language=language)
    spans = almanac_lm.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
    first, last = spans[almanac_lm.subject_position(asked)]
    assert first < len(before) <= last


def test_where_words_are_not_parted_the_last_letters_are_the_subject(almanac_lm: LanguageModel) -> None:
    asked = locant.query("中国的首都在中国北方", "Rome", subject="中国", language="zh")
    spans = almanac_lm.tokenizer(asked.prompt, return_offsets_mapping=True)["offset_mapping"]
    assert spans[almanac_lm.subject_position(asked)][1] >= 8


def test_every_context_is_answered_by_the_new_object(almanac_lm: LanguageModel) -> None:
    asked = ask(almanac_lm, FRANCE, ("In the morning",), "{} is a", "subject")
    assert {almanac_lm.text_of(one.tokens.answers[0]) for one in asked.contexts} == {"Rome"}


def test_languages_without_spaces_are_joined_without_them(almanac_lm: LanguageModel) -> None:
    one = locant.edit_request("法国的首都是", "法国", "罗马", language="zh")
    asked = ask(almanac_lm, one, ("大家都知道",), "{}是", "subject")
    assert almanac_lm.text_of(asked.contexts[1].tokens.prompt).endswith("大家都知道。法国的首都是")


def test_contexts_that_are_too_long_are_left_out() -> None:
    lm = tiny("llama")
    one = locant.edit_request("w3 w5 w7", "w5", "w11")
    long = " ".join(["w1"] * 62)
    assert len(ask(lm, one, ("w1", long), "{} w1", "subject").contexts) == 2
    with pytest.raises(BadQuery):
        ask(lm, locant.edit_request(f"{long} w5 w7", "w5", "w11"), ("w1",), "{} w1", "subject")


def test_prefixes_are_as_many_as_published_and_the_same_for_a_seed(almanac_lm: LanguageModel) -> None:
    drawn = rome_prefixes(almanac_lm, 0)
    assert len(drawn) == 20 and drawn == rome_prefixes(almanac_lm, 0) != rome_prefixes(almanac_lm, 1)
    lengths = [len(almanac_lm.tokenizer(one, add_special_tokens=False)["input_ids"]) for one in drawn]
    assert max(lengths[:10]) <= 6 < max(lengths)
    assert [one.split()[0] for one in memit_prefixes(almanac_lm, 0)] == ["The", "Therefore", "Because", "I", "You"]


def test_the_bare_prompt_weighs_as_much_as_all_prefixes_together() -> None:
    assert weights_of(6, 0.5).tolist() == pytest.approx([0.5] + [0.1] * 5)
    assert weights_of(4, None).tolist() == pytest.approx([0.25] * 4)
    assert weights_of(3, 1.0).tolist() == [1, 0, 0]
    assert weights_of(1, 0.5).tolist() == [1]


def test_an_essence_without_its_subject_is_refused(almanac_lm: LanguageModel) -> None:
    with pytest.raises(UnknownName, match="subject"):
        ask(almanac_lm, FRANCE, (), "it is a", "subject")
