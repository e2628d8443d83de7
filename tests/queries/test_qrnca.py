"""QRNCA's published files are read whole, prompts verbatim, and no letter points at a wrong answer."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import transformers as hf

from locant.errors import BadFile
from locant.languages import gap
from locant.queries import ChoicePrompt, ChoiceQuestion, read_qrnca, resolve
from locant.types import Fact, Query
from unchecked import unchecked

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILES = {"subject_qa": 552, "language_qa": 600, "domain_sample_multi_choice_qa": 18}

Record = dict[str, object]

CAPITALS: Record = {
    "sentences": [
        "Say the letter.\nThe question:\nThe capital of Peru is:\n A. Lima\n B. Rome \n\nResponse:",
        "Say one letter.\nWhat is asked:\nThe capital of Peru is:\n A. Rome\n B. Lima\n\nResponse:",
    ],
    "obj_label": ["A", "B"],
    "relation_name": "geography",
}
LANGUAGES: Record = {
    "sentences": [
        "Une lettre. Voici la question :Oslo se trouve : en [Y].\n A. Norvège\n B. Italie\n\nRéponse :",
        "Une lettre.\nLa question est :\nOslo se trouve : en [Y].\n A. Pérou\n B. Norvège\n\nRéponse :",
    ],
    "obj_label": ["A", "B"],
    "relation_name": "fr",
    "ori_label": "Norvège",
    "relation": "P17",
}


def write(folder: Path, *records: Record) -> Path:
    path = folder / "published.json"
    path.write_text(json.dumps({f"u{number}": record for number, record in enumerate(records)}), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """The one sentence a file is refused with."""
    with pytest.raises(BadFile) as caught:
        read_qrnca(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is read


def test_a_record_becomes_a_question_with_a_prompt_per_sentence(tmp_path: Path) -> None:
    first, second = (str(text) for text in CAPITALS["sentences"])  # type: ignore[attr-defined]
    fact = Fact("u0", relation="geography", object="Lima")
    assert read_qrnca(write(tmp_path, CAPITALS)) == (
        ChoiceQuestion(
            "u0",
            "geography",
            "The capital of Peru is:",
            "Lima",
            (
                ChoicePrompt(Query("u0/1", fact, first, "A", template="1"), ("A", "B"), ("Lima", "Rome")),
                ChoicePrompt(Query("u0/2", fact, second, "B", template="2"), ("A", "B"), ("Rome", "Lima")),
            ),
        ),
    )


def test_a_record_of_a_language_is_asked_in_it_and_names_its_relation(tmp_path: Path) -> None:
    _, one = read_qrnca(write(tmp_path, CAPITALS, LANGUAGES))
    assert (one.uid, one.group, one.question, one.answer) == ("u1", "fr", "Oslo se trouve : en [Y].", "Norvège")
    assert {part.query.fact for part in one.prompts} == {Fact("u1", relation="P17", object="Norvège", language="fr")}
    assert [part.options[part.right] for part in one.prompts] == ["Norvège", "Norvège"]


# What is refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"obj_label": ["A", "A"]}, "record 'u1', sentence 2: its letter A is 'Rome', not 'Lima'"),
        ({"obj_label": ["A", "C"]}, "record 'u1', sentence 2: 'C' is none of its letters A, B"),
        ({"obj_label": ["A", ""]}, "record 'u1': its 'obj_label' is not a list of texts"),
        ({"obj_label": ["A"]}, "record 'u1': it has 2 sentences, but 1 letters in 'obj_label'"),
        ({"obj_label": "AB"}, "record 'u1': its 'obj_label' is not a list of texts"),
        ({"sentences": []}, "record 'u1': its 'sentences' is not a list of texts"),
        ({"sentences": ["Which?", "Which?"]}, "record 'u1': there are no options, such as 'A. Paris', in the prompt"),
        ({"ori_label": "Rome"}, "record 'u1', sentence 1: its letter A is 'Lima', not 'Rome'"),
        ({"ori_label": None}, "record 'u1': its 'ori_label' is not a text with something in it"),
        ({"relation": 17}, "record 'u1': its 'relation' is not a text with something in it"),
        ({"relation_name": " "}, "record 'u1': its 'relation_name' is not a text with something in it"),
    ],
)
def test_a_record_that_is_not_as_published_is_named(tmp_path: Path, changed: Record, said: str) -> None:
    assert refusal(write(tmp_path, LANGUAGES, CAPITALS | changed)).startswith(f"published.json, {said}")


@pytest.mark.parametrize("name", ["sentences", "obj_label", "relation_name"])
def test_a_record_that_lacks_a_part_is_named(tmp_path: Path, name: str) -> None:
    record = {key: value for key, value in CAPITALS.items() if key != name}
    assert refusal(write(tmp_path, record)).startswith(f"published.json, record 'u0': its {name!r} is not a ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "published.json: not an object of records, each under its uid"),
        ("{}", "published.json: not an object of records, each under its uid"),
        ('{"u0": 7}', "published.json, record 'u0': not an object with sentences, obj_label and relation_name"),
        ('{\n"u0" 7}', "published.json, line 2: not JSON (Expecting ':' delimiter)"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "published.json").write_text(text)
    assert refusal(tmp_path / "published.json") == said


def test_a_missing_file_and_text_that_is_not_utf8_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == f"no file {str(tmp_path / 'none.json')!r}"
    (tmp_path / "a.json").write_bytes(b'{"\xff": 1}')
    assert refusal(tmp_path / "a.json") == "a.json: not UTF-8 text"


# The published files


@cache
def published(name: str) -> tuple[dict[str, Record], tuple[ChoiceQuestion, ...]]:
    """A published file's records, and what is read of them."""
    path = SHARED / "qrnca" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no files of QRNCA in {path.parent}")
    with unchecked():
        return json.loads(path.read_text(encoding="utf-8")), read_qrnca(path)


@pytest.mark.parametrize(("name", "count"), FILES.items())
def test_the_published_files_are_read_whole_and_verbatim(name: str, count: int) -> None:
    records, questions = published(name)
    assert len(questions) == count
    assert [one.uid for one in questions] == list(records)
    for one in questions:
        record = records[one.uid]
        assert [part.query.prompt for part in one.prompts] == record["sentences"]
        assert [part.query.answer for part in one.prompts] == record["obj_label"]
        assert one.group == record["relation_name"]


@pytest.mark.parametrize("name", FILES)
def test_no_published_letter_points_at_another_text_than_the_answer(name: str) -> None:
    records, questions = published(name)
    for one in questions:
        for part in one.prompts:
            (text,) = re.findall(rf"^ {part.query.answer}\. (.*)$", part.query.prompt, re.MULTILINE)
            assert text.strip() == part.options[part.right] == one.answer
            assert part.letters == ("A", "B", "C", "D")
        assert records[one.uid].get("ori_label", one.answer) == one.answer


def test_the_published_groups_have_the_sizes_of_the_paper() -> None:
    for name, sizes in (("subject_qa", {100: 5, 52: 1}), ("language_qa", {100: 6})):
        counts = Counter(one.group for one in published(name)[1])
        assert Counter(counts.values()) == sizes
    languages = {(one.group, part.query.language) for one in published("language_qa")[1] for part in one.prompts}
    assert languages == {(name, name) for name in ("ar", "en", "fr", "ja", "ru", "zh")}


@cache
def mmlu() -> dict[str, set[tuple[str, ...]]]:
    """Of each question of MMLU, its right answer and its sorted choices, however often it is asked."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for path in (SHARED / "mmlu").glob("*_test.csv"):
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                choices = [row[f"choice{number}"].strip() for number in range(4)]
                known = (choices[int(row["answer"])], *sorted(choices))
                found.setdefault(row["question"].strip(), set()).add(known)
    return found


@pytest.mark.parametrize("name", ["subject_qa", "domain_sample_multi_choice_qa"])
def test_the_published_domains_have_the_questions_options_and_answers_of_mmlu(name: str) -> None:
    if not mmlu():
        pytest.skip(f"no MMLU in {SHARED / 'mmlu'}")
    for one in published(name)[1]:
        for part in one.prompts:
            assert (one.answer, *sorted(part.options)) in mmlu()[one.question], one.uid


def test_the_published_questions_of_languages_are_one_sentence_with_a_gap() -> None:
    for one in published("language_qa")[1]:
        assert one.question.count("[Y]") == 1
        assert not re.search(r"[\n:：]", one.question), one.question
        assert all(one.question in part.query.prompt for part in one.prompts)


@pytest.mark.parametrize("name", ["subject_qa", "language_qa"])
def test_a_llama_says_the_letter_with_the_space_its_language_has(name: str) -> None:
    folder = SHARED / "tokenizers" / "llama"
    if not folder.is_dir():
        pytest.skip(f"no tokenizer files in {folder}")
    llama = hf.LlamaTokenizerFast.from_pretrained(folder, add_bos_token=True)
    for one in published(name)[1][::60]:
        for part in one.prompts:
            (tokens,) = resolve(part.query, llama, "causal", 4096).answers
            space = gap(part.query.language).replace(" ", "▁")
            assert llama.convert_ids_to_tokens(list(tokens)) == [space + part.query.answer]
