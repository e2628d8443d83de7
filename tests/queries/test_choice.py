"""Multiple choice: the right letter points at the answer, wrong options are fair, and every language asks alike."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

import pytest
import transformers as hf
from scipy.stats import binomtest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from locant import almanac
from locant.errors import BadQuery, LocantError, UnknownName
from locant.languages import gap
from locant.queries import (
    ChoicePrompt,
    ChoiceQuestion,
    choice_languages,
    choose,
    gather_choices,
    item,
    put_in_chat,
    query,
    read_mmlu,
    resolve,
)
from locant.queries.choice import find_options
from locant.queries.items import LETTERS
from locant.types import Query
from unchecked import unchecked

SHARED = Path(__file__).parents[3] / "shared" / "data"
CAPITALS = {"Norway": "Oslo", "France": "Paris", "Italy": "Rome", "Peru": "Lima", "Latvia": "Riga", "Cuba": "Havana"}
ROCKS = {"Which rock floats?": "pumice", "Which rock is glass?": "obsidian", "Which rock writes?": "chalk"}
ITEMS = (
    *(item(f"What is the capital of {land}?", city, group="cities") for land, city in CAPITALS.items()),
    *(item(question, rock, group="rocks") for question, rock in ROCKS.items()),
    item("Which rock is a statue's?", "marble", group="rocks"),
    *(
        item(f"Capitale : {land} ?", f"{city}-sur-Mer", group="cities", language="fr")
        for land, city in CAPITALS.items()
    ),
)
PLACES = {(one.group, one.language) for one in ITEMS}


def refusal(call: Callable[[], object], error: type[LocantError]) -> str:
    """The one sentence a call is refused with."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pointed(prompt: ChoicePrompt) -> str:
    """The text that the right letter stands before in the prompt itself."""
    (text,) = re.findall(rf"^{prompt.query.answer}\. (.*)$", prompt.query.prompt, re.MULTILINE)
    return str(text)


def is_likely(count: int, total: int, share: float) -> bool:
    return binomtest(count, total, share).pvalue > 1e-4


# Options and their order


@pytest.mark.parametrize("seed", range(5))
def test_every_order_is_a_permutation_of_the_same_options_and_the_letter_points_at_the_answer(seed: int) -> None:
    for one, asked in zip(ITEMS, choose(ITEMS, seed=seed), strict=True):
        assert (asked.uid, asked.group, asked.question, asked.answer) == (
            one.uid,
            one.group,
            one.question,
            one.answer,
        )
        assert len({tuple(sorted(part.options)) for part in asked.prompts}) == 1
        for part in asked.prompts:
            assert len(set(part.options)) == 4
            assert part.letters == ("A", "B", "C", "D")
            assert part.options[part.right] == pointed(part) == one.answer
            assert part.query.answer == part.letters[part.right]


@pytest.mark.parametrize("resample", [False, True])
def test_wrong_options_are_answers_of_the_same_group_and_language_and_none_is_the_answer(resample: bool) -> None:
    answers = {place: {one.answer for one in ITEMS if (one.group, one.language) == place} for place in PLACES}
    for one, asked in zip(ITEMS, choose(ITEMS, resample=resample), strict=True):
        for part in asked.prompts:
            assert set(part.options) <= answers[one.group, one.language]
            assert part.options.count(one.answer) == 1


def test_resampling_gives_templates_other_options_of_which_the_right_one_is_always_there() -> None:
    cities = [one for one in choose(ITEMS, resample=True) if one.group == "cities"]
    assert any(len({frozenset(part.options) for part in one.prompts}) == 3 for one in cities)
    for one in choose(ITEMS):
        assert len({frozenset(part.options) for part in one.prompts}) == 1, "without it, all have the same"


@pytest.mark.parametrize("resample", [False, True])
def test_the_same_seed_gives_the_same_prompts_whatever_the_order_of_items(resample: bool) -> None:
    before = {one.uid: one for one in choose(ITEMS, seed=7, resample=resample)}
    for number in range(5):
        mixed = Random(number).sample(ITEMS, len(ITEMS))
        assert {one.uid: one for one in choose(mixed, seed=7, resample=resample)} == before
        assert [one.uid for one in choose(mixed, seed=7)] == [one.uid for one in mixed]


@pytest.mark.parametrize("resample", [False, True])
def test_a_template_asks_the_same_whether_or_not_others_are_asked(resample: bool) -> None:
    whole = choose(ITEMS, seed=1, resample=resample)
    alone = choose(ITEMS, seed=1, resample=resample, templates=(3,))
    assert [one.prompts[2:] for one in whole] == [one.prompts for one in alone]


def test_seeds_and_templates_give_orders_of_their_own() -> None:
    orders = {part.options for seed in range(30) for part in choose(ITEMS[:6], seed=seed)[0].prompts}
    assert len(orders) > 60
    assert any(len({part.options for part in one.prompts}) == 3 for one in choose(ITEMS))


def test_every_letter_is_right_equally_often_in_every_template() -> None:
    with unchecked():
        asked = choose([item(f"{number}?", f"[{number}]") for number in range(400)], seed=5)
    for template in range(3):
        counts = Counter(one.prompts[template].query.answer for one in asked)
        assert all(is_likely(counts[letter], 400, 0.25) for letter in "ABCD"), counts


def test_a_spelling_a_part_or_a_whole_of_the_answer_is_never_beside_it() -> None:
    answers = ["New York", "new  york", "York", "New York City", "Leeds", "Hull", "Bath"]
    items = [item(f"Question {number}?", answer, group="g") for number, answer in enumerate(answers)]
    for seed in range(20):
        asked = choose(items, seed=seed, resample=True)
        for part in asked[0].prompts:
            assert set(part.options) == {"New York", "Leeds", "Hull", "Bath"}
        for part in asked[4].prompts:
            assert len({" ".join(text.casefold().split()) for text in part.options}) == 4


def test_two_answers_to_one_question_never_stand_beside_each_other() -> None:
    noble = [item("Which gas is noble?", gas, group="g") for gas in ("neon", "argon")]
    others = [item(f"What is {gas}?", gas, group="g") for gas in ("oxygen", "nitrogen", "chlorine")]
    for seed in range(10):
        for one in choose([*noble, *others], seed=seed)[:2]:
            assert len({"neon", "argon"} & set(one.prompts[0].options)) == 1


def test_an_item_with_options_keeps_them_all_in_another_order() -> None:
    wrong = ("a rock", "a plant", "a plant cell", "all of these")
    one = item("What is a cat?", "an animal", group="g", wrong=wrong)
    (asked,) = choose([one], options=3)
    for part in asked.prompts:
        assert sorted(part.options) == sorted([*wrong, "an animal"])
        assert part.letters == ("A", "B", "C", "D", "E")
        assert pointed(part) == "an animal"


@pytest.mark.parametrize("options", [2, 3, 6])
def test_as_many_options_are_drawn_as_are_asked_for(options: int) -> None:
    for one in choose(ITEMS[:6], options=options):
        assert all(len(set(part.options)) == len(part.letters) == options for part in one.prompts)


def test_a_question_that_looks_like_a_template_is_asked_as_it_stands() -> None:
    one = item("Is {options} or {question} right?", "{options}", wrong=("{question}",))
    (asked,) = choose([one])
    assert all("\nIs {options} or {question} right?\nA. {" in part.query.prompt for part in asked.prompts)


def test_prompts_of_a_question_share_its_fact_and_have_names_of_their_own() -> None:
    for one, asked in zip(ITEMS, choose(ITEMS), strict=True):
        assert {part.query.fact.uid for part in asked.prompts} == {one.uid}
        assert {part.query.fact.object for part in asked.prompts} == {one.answer}
        assert [part.query.template for part in asked.prompts] == ["1", "2", "3"]
        assert [part.query.uid for part in asked.prompts] == [f"{one.uid}/{number}" for number in (1, 2, 3)]
        assert {part.query.language for part in asked.prompts} == {one.language}


# Languages


@cache
def in_language(language: str) -> tuple[ChoiceQuestion, ...]:
    return choose([item(f"{land}?", city, group="cities", language=language) for land, city in CAPITALS.items()])


def test_the_languages_of_the_paper_and_of_the_almanac_are_spoken() -> None:
    assert {"en", "fr", "fi", "hu", "ja", "ko", "zh", "ru", "ar"} == set(choice_languages())
    assert set(almanac.LANGUAGES) < set(choice_languages())


@pytest.mark.parametrize("language", choice_languages())
def test_a_prompt_is_instruction_header_question_options_blank_line_and_cue(language: str) -> None:
    for asked in in_language(language):
        for part in asked.prompts:
            instruction, header, question, *options, blank, cue = part.query.prompt.split("\n")
            assert question == asked.question
            assert options == [f"{letter}. {text}" for letter, text in zip("ABCD", part.options, strict=True)]
            assert blank == ""
            assert header[-1] in ":："
            assert cue[-1] in ":："
            assert instruction[-1] in ".!。"
            assert part.query.prompt == part.query.prompt.strip()


@pytest.mark.parametrize("language", choice_languages())
def test_templates_of_a_language_differ_in_every_part(language: str) -> None:
    lines = [part.query.prompt.split("\n") for part in in_language(language)[0].prompts]
    for place in (0, 1, -1):
        assert len({some[place] for some in lines}) == 3
    others = {
        part.query.prompt.split("\n")[0]
        for other in set(choice_languages()) - {language}
        for part in in_language(other)[0].prompts
    }
    assert others.isdisjoint(some[0] for some in lines)


def said_beside_options(prompt: str) -> list[str]:
    """Letters standing alone outside the lines of options; a small one, as an English article, is none."""
    rest = re.sub(r"^[A-Z]\. .*$", "", prompt, flags=re.MULTILINE)
    return re.findall(r"(?<!\w)[A-Z](?!\w)", rest)


@pytest.mark.parametrize("language", choice_languages())
def test_no_letter_is_named_outside_the_options(language: str) -> None:
    assert said_beside_options("A helyes válasz, (C):\nB. Paris") == ["A", "C"]
    for asked in in_language(language):
        assert not any(said_beside_options(part.query.prompt) for part in asked.prompts)


@pytest.mark.parametrize("language", choice_languages())
def test_no_template_holds_white_space_that_is_doubled_or_out_of_place(language: str) -> None:
    for part in in_language(language)[0].prompts:
        assert not re.search(r"  | \n|\n |\t|\n\n\n", part.query.prompt)
        assert (" :" in part.query.prompt) == (language == "fr")


@cache
def real(name: str) -> hf.PreTrainedTokenizerBase:
    """A published tokenizer, or the almanac's."""
    if name == "almanac":
        return hf.AutoTokenizer.from_pretrained(almanac.model_folder())
    folder = SHARED / "tokenizers" / name
    if not folder.is_dir():
        pytest.skip(f"no tokenizer files in {folder}")
    if name == "llama":
        return hf.LlamaTokenizerFast.from_pretrained(folder, add_bos_token=True)
    return hf.GPT2TokenizerFast.from_pretrained(folder)


@pytest.mark.parametrize("language", choice_languages())
@pytest.mark.parametrize("name", ["almanac", "gpt2", "llama"])
def test_after_every_cue_each_letter_is_one_token_that_says_only_the_letter(name: str, language: str) -> None:
    if name == "almanac" and language not in almanac.LANGUAGES:
        pytest.skip(f"the almanac does not speak {language}")
    for part in in_language(language)[0].prompts:
        tokens = {}
        for letter in part.letters:
            asked = query(part.query.prompt, letter, language=language)
            ((tokens[letter],),) = resolve(asked, real(name), "causal", 2048).answers
        assert {real(name).decode([token]).strip() for token in tokens.values()} == set(part.letters)
        said = str(real(name).convert_ids_to_tokens(tokens["A"]))
        assert re.sub("[▁Ġ]", " ", said) == f"{gap(language)}A"


# What cannot be asked


def test_a_group_of_few_answers_is_named_with_their_number() -> None:
    few = [item(f"{number}?", answer, group="trees") for number, answer in enumerate(["oak", "Oak", "elm", "yew"])]
    assert refusal(lambda: choose([*ITEMS, *few]), BadQuery) == (
        "the group 'trees' (en) has 3 different answers, too few for 4 options; "
        "add questions to it, or give each its own options"
    )
    assert len(choose(few, options=3)) == 4


def test_an_answer_that_holds_the_others_is_named_with_its_item() -> None:
    trees = ["oak", "elm", "yew", "oak and elm"]
    items = [item(f"{number}?", answer, group="trees", uid=answer) for number, answer in enumerate(trees)]
    assert refusal(lambda: choose(items), BadQuery) == (
        "item 'oak': of the group 'trees' (en) only 2 answers can stand beside 'oak', and 4 options need 3; "
        "the others hold it, stand in it, or answer the same question"
    )


def test_two_items_of_one_uid_are_refused() -> None:
    said = refusal(lambda: choose([*ITEMS, item("Again?", "Bern", group="cities", uid=ITEMS[2].uid)]), BadQuery)
    assert said == f"two items share the uid {ITEMS[2].uid!r}; give each its own, or drop the repeated one"
    assert refusal(lambda: choose([*ITEMS, ITEMS[0]]), BadQuery).startswith("two items share the uid 'cities/")


def test_settings_that_do_not_fit_are_refused_with_those_that_do() -> None:
    known = ", ".join(choice_languages())
    german = item("Hauptstadt?", "Berlin", language="de", wrong=("Bonn",))
    assert refusal(lambda: choose([german]), UnknownName) == f"no templates in 'de'; known: {known}."
    for templates, said in (
        ((1, 4), "no template 4 in 'en'; known: 1, 2, 3."),
        ((), "a question is asked in at least one template and once in each, not in ()"),
        ((2, 2), "a question is asked in at least one template and once in each, not in (2, 2)"),
    ):
        assert refusal(lambda templates=templates: choose(ITEMS, templates=templates), UnknownName) == said
    for options in (1, 27):
        said = refusal(lambda options=options: choose(ITEMS, options=options), UnknownName)
        assert said == f"{options} options cannot be lettered; there are 2 to 26"


def test_more_options_than_letters_make_no_item() -> None:
    said = refusal(lambda: item("q", "a", wrong=[str(number) for number in range(26)]), BadQuery)
    assert said == "the item 'q' has 27 options, more than there are letters"
    (asked,) = choose([item("q", "a", wrong=[str(number) for number in range(25)])])
    assert asked.prompts[0].letters == tuple(LETTERS)


# Prompts that are choices already


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("Which?\nA. Oslo\nB. Rome\nAnswer:", ("Oslo", "Rome")),
        ("Which?\n A. Oslo \n B. A. Rome\n\n\nAnswer:", ("Oslo", "A. Rome")),
        ("A. Oslo\nB. Rome", ("Oslo", "Rome")),
        ("A. This one\nB. or that\nis asked:\nA. Oslo\nB. Rome\nC. Riga\nA:", ("Oslo", "Rome", "Riga")),
        ("C. elegans is\nA. a worm\nB. a plant\nC. a fly\nA. x", ("a worm", "a plant", "a fly")),
        ("Which?\nA. Oslo\nA. Rome\nB. Riga\nD. Lima", ("Rome", "Riga")),
    ],
)
def test_options_are_the_last_lines_lettered_from_a_on(prompt: str, options: tuple[str, ...]) -> None:
    assert find_options(prompt) == options


@pytest.mark.parametrize("prompt", ["", "Which?", "A. Oslo", "B. Oslo\nC. Rome", "A. Oslo\n\nB. Rome", "A.Oslo\nB."])
def test_a_prompt_without_options_is_refused(prompt: str) -> None:
    assert refusal(lambda: find_options(prompt), BadQuery) == (
        f"there are no options, such as 'A. Paris', in the prompt {prompt!r}"
    )


@cache
def from_almanac(relation: str) -> tuple[ChoiceQuestion, ...]:
    with unchecked():
        return gather_choices(almanac.queries(relation, format="choice"), lambda one: one.language)


@cache
def asked_by_almanac(relation: str, format: Literal["cloze", "choice"]) -> tuple[Query, ...]:
    with unchecked():
        return almanac.queries(relation, format=format, held_out=False)


@pytest.mark.parametrize("relation", ["company_country", "atomic_number", "author", "first_letter"])
def test_the_almanacs_letters_point_at_its_objects(relation: str) -> None:
    objects = {(one.fact.uid, one.language): one.answer for one in asked_by_almanac(relation, "cloze")}
    questions = from_almanac(relation)
    assert {one.uid for one in questions} == {f"{uid}/{language}" for uid, language in objects}
    for one in questions:
        for part in one.prompts:
            expected = objects[part.query.fact.uid, part.query.language]
            assert pointed(part) == part.options[part.right] == one.answer == expected
            assert len(set(part.options)) == len(part.letters) == 4


def test_the_almanac_is_asked_verbatim_in_the_same_three_frames_for_every_fact() -> None:
    known = {one.uid: one for one in asked_by_almanac("company_country", "choice")}
    for one in from_almanac("company_country"):
        assert all(known[part.query.uid] == part.query for part in one.prompts)
        assert one.group == one.prompts[0].query.language
    frames = {
        (one.group, tuple(part.query.template for part in one.prompts)) for one in from_almanac("company_country")
    }
    assert len(frames) == len(almanac.LANGUAGES)


def test_a_question_has_the_words_of_its_first_prompt() -> None:
    for one in from_almanac("company_country"):
        assert one.question in one.prompts[0].query.prompt.split("\n")
        assert one.question[-1] in "?？", one.question


def test_the_almanac_can_be_grouped_by_domain() -> None:
    domains = {relation.name: relation.domain for relation in almanac.relations()}
    with unchecked():
        queries = [one for name in ("founder", "author") for one in almanac.queries(name, format="choice")]
        questions = gather_choices(queries, lambda one: domains[one.relation], templates=6)
    assert {one.uid.partition("/")[0]: one.group for one in questions} == {"founder": "business", "author": "arts"}
    assert {len(one.prompts) for one in questions} == {6}


def test_a_letter_that_does_not_point_at_the_facts_object_is_refused() -> None:
    prompt = "Which?\nA. Oslo\nB. Rome\nAnswer:"
    for letter, said in (("A", "'A' is the letter of 'Oslo'"), ("C", "'C' is no letter of its options")):
        wrong = query(prompt, letter, object="Rome", uid="one")
        assert refusal(lambda wrong=wrong: gather_choices([wrong], lambda _: "g", 1), BadQuery) == (
            f"query 'one': its answer is 'Rome', but {said}"
        )


def test_a_fact_in_fewer_prompts_than_templates_is_refused() -> None:
    asked = [query(f"Which {n}?\nA. Oslo\nB. Rome\nA:", "B", object="Rome", fact="f", uid=str(n)) for n in range(2)]
    assert refusal(lambda: gather_choices(asked, lambda _: "g"), BadQuery) == (
        "question 'f/en' is asked in 2 prompts, so not in 3 templates"
    )
    (one,) = gather_choices(asked, lambda _: "g", 2)
    assert (one.question, len(one.prompts)) == ("", 2)


# Chat models

CHAT = (
    "{{ bos_token }}{% for m in messages %}<user>\n{{ m['content'] }} <end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>BREAK{% endif %}"
)


def talking(end: str = "", adds_first: bool = True) -> hf.PreTrainedTokenizerFast:
    """A tokenizer of the cities' words, line breaks and letters, with a chat template."""
    special = ["<unk>", "<s>", "<user>", "<end>", "<assistant>"]
    words = sorted(
        {word for part in in_language("en")[0].prompts for word in re.findall(r"\w+|[^\w\s]", part.query.prompt)}
    )
    raw = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate([*special, *words])}, unk_token="<unk>")
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_first:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", additional_special_tokens=special[2:]
    )
    tokenizer.chat_template = CHAT.replace("BREAK", end)
    return tokenizer


@pytest.mark.parametrize("end", ["", "\n", " "])
@pytest.mark.parametrize("adds_first", [True, False])
def test_in_a_chat_the_cue_begins_the_reply_and_the_letter_follows_it(end: str, adds_first: bool) -> None:
    tokenizer = talking(end, adds_first)
    for plain, asked in zip(in_language("en"), put_in_chat(in_language("en"), tokenizer), strict=True):
        for before, after in zip(plain.prompts, asked.prompts, strict=True):
            body, _, cue = before.query.prompt.rpartition("\n")
            first = "" if adds_first else "<s>"
            assert after.query.prompt == f"{first}<user>\n{body.rstrip()} <end>\n<assistant>{end or ' '}{cue}"
            tokens = resolve(after.query, tokenizer, "causal", 512)
            assert tokens.prompt.count(1) == 1
            assert tokens.answers == ((tokenizer.convert_tokens_to_ids(after.query.answer),),)
            assert (after.letters, after.options, after.query.uid) == (
                before.letters,
                before.options,
                before.query.uid,
            )
        assert (asked.uid, asked.question, asked.answer) == (plain.uid, plain.question, plain.answer)


def test_in_a_chat_the_letter_may_follow_the_assistants_header() -> None:
    tokenizer = talking()
    plain = in_language("en")
    for before, after in zip(plain, put_in_chat(plain, tokenizer, cue_in_reply=False), strict=True):
        for part, wrapped in zip(before.prompts, after.prompts, strict=True):
            assert wrapped.query.prompt == f"<user>\n{part.query.prompt} <end>\n<assistant>"
            tokens = resolve(wrapped.query, tokenizer, "causal", 512)
            assert tokens.prompt[-1] == tokenizer.convert_tokens_to_ids("<assistant>")
            assert tokens.answers == ((tokenizer.convert_tokens_to_ids(part.query.answer),),)


def test_a_header_that_ends_with_a_line_break_is_not_cut_short() -> None:
    said = refusal(lambda: put_in_chat(in_language("en"), talking("\n"), cue_in_reply=False), UnknownName)
    assert said == (
        "what this chat template puts before a reply ends with a line break or space, and no query's prompt can; "
        "let the cue begin the reply (cue_in_reply=True)"
    )


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    tokenizer = talking()
    tokenizer.chat_template = None
    said = refusal(lambda: put_in_chat(in_language("en"), tokenizer), UnknownName)
    assert said == "this tokenizer has no chat template; ask its model the plain prompts"


# Published questions

MMLU = {
    "biology": 310,
    "chemistry": 203,
    "computer_science": 100,
    "geography": 198,
    "mathematics": 270,
    "physics": 151,
}


@pytest.mark.parametrize("subject", MMLU)
def test_the_published_subjects_are_read_whole_and_asked(subject: str) -> None:
    path = SHARED / "mmlu" / f"high_school_{subject}_test.csv"
    if not path.is_file():
        pytest.skip(f"no MMLU in {path.parent}")
    with unchecked():
        items = read_mmlu(path)
        asked = choose(items, seed=0)
    assert len(items) == MMLU[subject] == len({one.uid for one in items})
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row, one in zip(rows, asked, strict=True):
        choices = [row[f"choice{number}"].strip() for number in range(4)]
        for part in one.prompts:
            assert sorted(part.options) == sorted(choices)
            assert part.options[LETTERS.index(part.query.answer)] == choices[int(row["answer"])]
            assert row["question"].strip() in part.query.prompt
