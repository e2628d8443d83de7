"""What QRNCA asks: questions by group, drawn by fact, and none that a stage of the run could not ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import locant
from families import tiny
from locant.errors import BadQuery, UnknownName
from locant.evaluations.letters import letter_probabilities
from locant.queries.choice import ChoicePrompt, ChoiceQuestion
from locant.recipes import choices
from locant.recipes.choices import read_choices, select_choices
from locant.recipes.qrnca.asked import refuse_unfit, with_options

TWO = ("geography", "biology")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UnknownName) as caught:
        call()
    return str(caught.value)


def test_the_almanac_s_questions_are_grouped_by_domain_or_by_language() -> None:
    domains = {one.group for one in read_choices("almanac")}
    assert {"geography", "biology", "chemistry"} <= domains
    languages = {one.group for one in read_choices("almanac:languages")}
    assert languages == {"en", "fr", "fi", "hu", "ja", "ko", "zh"}
    assert refusal(lambda: read_choices("almanac:planets")).startswith("no questions 'almanac:planets'")
    assert refusal(lambda: read_choices("nowhere")).startswith("no data 'nowhere'; there is almanac")


def test_the_almanac_draws_other_wrong_options_for_every_template() -> None:
    some = read_choices("almanac")[:40]
    assert all(len({frozenset(part.options) for part in one.prompts}) > 1 for one in some)


def test_a_limit_draws_as_many_of_each_group_and_more_of_a_larger_limit() -> None:
    lm = locant.load("almanac")
    few, more = (select_choices(lm, "almanac", groups=TWO, limit=count) for count in (3, 6))
    assert [sum(one.group == group for one in few) for group in TWO] == [3, 3]
    assert {one.uid for one in few} < {one.uid for one in more}
    said = refusal(lambda: select_choices(lm, "almanac", groups=("astrology",)))
    assert said.startswith("no group 'astrology' in almanac; known: ")


def test_languages_are_asked_the_same_facts() -> None:
    found = select_choices(locant.load("almanac"), "almanac:languages", groups=("en", "zh", "ja"), limit=5)
    facts = {group: {one.fact for one in found if one.group == group} for group in ("en", "zh", "ja")}
    assert len(facts["en"]) == 5 and len(facts["en"] & facts["zh"] & facts["ja"]) >= 4


def test_known_questions_are_those_whose_letter_wins_in_most_prompts() -> None:
    lm = locant.load("almanac")
    known = select_choices(lm, "almanac", groups=TWO, limit=8, known_only=True)
    every = select_choices(lm, "almanac", groups=TWO, limit=8)
    right = {}
    for one in {*known, *every}:
        found = letter_probabilities(lm, [prompt.query for prompt in one.prompts])
        right[one.uid] = sum(
            int(own.argmax()) == prompt.right for own, prompt in zip(found, one.prompts, strict=True)
        )
    assert all(right[one.uid] >= 2 for one in known)
    assert any(right[one.uid] < 2 for one in every)


def test_where_words_have_no_space_between_them_an_option_follows_the_prompt_at_once() -> None:
    for language, between in (("ja", ""), ("zh", ""), ("en", " ")):
        one = next(one for one in read_choices("almanac:languages") if one.group == language)
        prompt = one.prompts[0]
        asked = with_options(prompt)
        assert [query.prompt for query in asked] == [
            f"{prompt.query.prompt}{between}{letter}. {option}"
            for letter, option in zip(prompt.letters, prompt.options, strict=True)
        ]
        assert len({query.uid for query in asked}) == 4


# Questions that do not fit the model


def worded(words: int, *, letters: tuple[str, ...] = ("w1", "w2"), options: tuple[str, ...] = ()) -> ChoiceQuestion:
    """A question of so many words, of which a tiny model reads 64."""
    query = locant.query(" ".join(["w9"] * words), letters[0], uid="long", fact="f")
    return ChoiceQuestion("long", "g", "", "", (ChoicePrompt(query, letters, options),))


def test_a_question_whose_options_do_not_fit_after_it_is_refused_before_anything_is_asked() -> None:
    lm = tiny("llama")
    refuse_unfit(lm, worded(60))
    refuse_unfit(lm, worded(40, options=("w3", "w4")))
    with pytest.raises(BadQuery, match="long"):
        refuse_unfit(lm, worded(64))
    letters_fit = worded(60, options=("w3 w4 w5 w6 w7", "w8"))
    letter_probabilities(lm, [letters_fit.prompts[0].query], ("w1", "w2"))
    with pytest.raises(BadQuery, match="long/w1"):
        refuse_unfit(lm, letters_fit)


def test_every_letter_is_looked_at_and_not_the_right_one_alone() -> None:
    lm = tiny("llama")
    for letters, said in (
        (("w1", "w2 w3"), "2 tokens"),
        (("w1", "w1"), "the same token"),
        (("w1", "zebra"), "zebra"),
    ):
        with pytest.raises(BadQuery, match=said):
            refuse_unfit(lm, worded(5, letters=letters))
    other = worded(5)
    strange = replace(other.prompts[0], letters=("w5", "w6"))
    with pytest.raises(BadQuery, match="its answer 'w1' is none of its letters w5, w6"):
        refuse_unfit(lm, replace(other, prompts=(strange,)))


def test_a_question_that_cannot_be_asked_is_passed_over_and_not_the_end_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny("llama")
    fits = [replace(worded(8 + number), uid=f"q{number}") for number in range(3)]
    given = (worded(64), *fits, replace(worded(6, letters=("w1", "w2 w3")), uid="letters"))
    monkeypatch.setattr(choices, "read_choices", lambda *_, **__: given)
    found = select_choices(lm, "mine", limit=5)
    assert {one.uid for one in found} == {"q0", "q1", "q2"}
    knows = {one.uid for one in found if choices._knows(lm, one)}
    if knows:
        assert {one.uid for one in select_choices(lm, "mine", known_only=True)} == knows
    else:
        assert "that the model answers" in refusal(lambda: select_choices(lm, "mine", known_only=True))


# What a source cannot do


def published(folder: Path) -> str:
    prompts = [f"Choose. {template}:\nWhich?\n A. Oslo\n B. Rome\n\nAnswer:" for template in range(3)]
    record = {"sentences": prompts, "obj_label": ["A", "A", "A"], "relation_name": "cities"}
    (folder / "subject_qa.json").write_text(json.dumps({"one": record, "two": record}))
    return f"qrnca:{folder / 'subject_qa.json'}"


def test_published_questions_are_cut_to_the_templates_and_never_resampled(tmp_path: Path) -> None:
    source = published(tmp_path)
    assert [len(one.prompts) for one in read_choices(source)] == [3, 3]
    whole, cut = read_choices(source), read_choices(source, templates=2)
    assert [one.prompts for one in cut] == [one.prompts[:2] for one in whole]
    assert refusal(lambda: read_choices(source, templates=4)) == ("the published question 'one' has 3 prompts, not 4")
    assert refusal(lambda: read_choices(source, resample=True)) == (
        "published prompts are asked as they are: no other wrong options can be drawn"
    )


def test_wrong_options_are_resampled_where_they_are_drawn_and_only_there(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("question,answer,group,options\nq?,a,g,a|b|c\nr?,c,g,a|b|c\n")
    assert "has wrong options of its own" in refusal(lambda: read_choices(str(own), resample=True))
    mmlu = tmp_path / "law_test.csv"
    mmlu.write_text("question,choice0,choice1,choice2,choice3,answer\nq?,a,b,c,d,0\n")
    assert "has wrong options of its own" in refusal(lambda: read_choices(f"mmlu:{mmlu}", resample=True))
    assert len(read_choices(f"mmlu:{mmlu}")) == 1
    drawn = tmp_path / "drawn.csv"
    names = ["oak", "elm", "yew", "ash", "fir", "birch", "larch", "maple"]
    drawn.write_text("question,answer,group\n" + "".join(f"{name}?,{name},trees\n" for name in names))
    same, other = (read_choices(str(drawn), resample=resample) for resample in (False, True))
    assert all(len({frozenset(part.options) for part in one.prompts}) == 1 for one in same)
    assert any(len({frozenset(part.options) for part in one.prompts}) > 1 for one in other)
