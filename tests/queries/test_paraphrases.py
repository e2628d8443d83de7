"""Paraphrases without a blank are asked only where it can be told that it stood at the end."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from locant.errors import BadFile, LocantError, UnknownName
from locant.queries.parallel import gather_parallel
from locant.queries.paraphrases import read_paraphrases, sift_paraphrases
from locant.types import Fact, Query
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "paraphrases6"

Record = dict[str, object]

ENGLISH = ["Bo plays .", "Bo, a player of ,", "Bo, who plays", "Bo: a  player."]
FINNISH = ["Bo soittaa :tä.", "Bo, soitin: .", "Bo soittaa"]


def record(sentences: list[str], answer: str = "jazz", relation: str = "P136") -> Record:
    return {"sentences": sentences, "relation_name": relation, "obj_label": answer}


def write(folder: Path, language: str, records: object) -> None:
    (folder / f"{language}.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "en", {"u1": record(ENGLISH), "u2": record([], "Oslo", "P17")})
    write(tmp_path, "fi", {"u1": record(FINNISH), "u2": record([], "Oslo", "P17")})
    return tmp_path


def refusal(folder: Path, error: type[LocantError] = BadFile, languages: tuple[str, ...] | None = None) -> str:
    with pytest.raises(error) as caught:
        read_paraphrases(folder, languages)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sentences_whose_blank_was_at_the_end_are_asked_up_to_it(folder: Path) -> None:
    assert [(one.uid, one.prompt, one.template) for one in read_paraphrases(folder)] == [
        ("P136/u1/en/0", "Bo plays", "object-final"),
        ("P136/u1/en/1", "Bo, a player of", "object-final"),
        ("P136/u1/en/2", "Bo, who plays", "object-final"),
        ("P136/u1/fi/1", "Bo, soitin:", "object-final"),
    ]


def test_others_are_returned_only_when_asked_for_and_their_uid_says_so(folder: Path) -> None:
    every = read_paraphrases(folder, damaged=True)
    lost = [one for one in every if one not in read_paraphrases(folder)]
    assert [(one.uid, one.prompt) for one in lost] == [
        ("P136/u1/en/3/damaged", "Bo: a  player."),
        ("P136/u1/fi/0/damaged", "Bo soittaa :tä."),
        ("P136/u1/fi/2/damaged", "Bo soittaa"),
    ]
    assert {one.template for one in lost} == {"blank deleted mid-sentence"}
    assert len(every) == 7


def test_what_is_left_out_is_counted(folder: Path) -> None:
    found = sift_paraphrases(folder)
    assert found.queries == read_paraphrases(folder)
    assert found.dropped == {"facts without a sentence": 1, "blank deleted mid-sentence": 3}


@pytest.mark.parametrize(
    ("sentence", "language", "prompt"),
    [
        ("La capitale de X, .", "fr", "La capitale de X,"),
        ("Xのレーベル: 。", "ja", "Xのレーベル:"),
        ("Xはで生まれた。", "ja", None),
        ("X는 를 연주합니다.", "ko", None),
        ("X kiadója .", "hu", "X kiadója"),
        ("X -t játszik.", "hu", None),
        ("X kiadója ", "hu", "X kiadója"),
        ("X plays  music.", "en", None),
    ],
)
def test_a_blank_at_the_end_leaves_a_space_before_what_closes_the_sentence(
    tmp_path: Path, sentence: str, language: str, prompt: str | None
) -> None:
    write(tmp_path, language, {"u": record([sentence])})
    assert [one.prompt for one in read_paraphrases(tmp_path)] == ([] if prompt is None else [prompt])


def test_a_query_names_its_fact_and_its_language(folder: Path) -> None:
    fact = Fact("P136/u1", "", "P136", "jazz", "fi")
    expected = Query("P136/u1/fi/1", fact, "Bo, soitin:", "jazz", (), "object-final")
    assert read_paraphrases(str(folder), ["fi"]) == (expected,)
    assert [one.language for one in read_paraphrases(folder, ["fi", "en"])] == ["fi", "en", "en", "en"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sentences": "Bo"}, "fi.json, record 'u1': its 'sentences' are not a list of texts with something in them"),
        ({"sentences": ["Bo", " "]}, "fi.json, record 'u1': its 'sentences' are not a list of texts"),
        ({"obj_label": " "}, "fi.json, record 'u1': its 'obj_label' is not a text with something in it"),
        ({"relation_name": 136}, "fi.json, record 'u1': its 'relation_name' is not a text with something in it"),
        ({"relation_name": "P1"}, "fi.json, record 'u1': its relation is 'P1', but 'P136' elsewhere"),
    ],
)
def test_a_record_of_another_form_is_named(folder: Path, changed: Record, said: str) -> None:
    write(folder, "fi", {"u1": record(FINNISH) | changed})
    assert refusal(folder).startswith(said)


def test_files_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "fi.json").write_text('{\n"u1" 7}')
    assert refusal(folder) == "fi.json, line 2: not JSON (Expecting ':' delimiter)"
    write(folder, "fi", [])
    assert refusal(folder) == "fi.json: not an object of records, each under its uuid"
    write(folder, "fi", {"u1": 7})
    assert refusal(folder) == "fi.json, record 'u1': not an object with sentences, relation_name and obj_label"
    (folder / "fi.json").write_bytes(b'{"\xff": 1}')
    assert refusal(folder) == "fi.json: not UTF-8 text"
    assert refusal(folder / "none").startswith("no folder")
    (folder / "empty").mkdir()
    assert refusal(folder / "empty").endswith("there is no file *.json in it")
    assert refusal(folder, UnknownName, ("en", "hu")) == "no language 'hu'; known: en, fi."
    assert "each once" in refusal(folder, UnknownName, ("en", "en"))


# The published files


@cache
def published() -> tuple[Query, ...]:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no paraphrases in {PUBLISHED}")
    with unchecked():
        return read_paraphrases(PUBLISHED, damaged=True)


def test_the_published_paraphrases_are_read_whole() -> None:
    queries = published()
    counts = {"en": 41_076, "fr": 34_440, "fi": 29_594, "hu": 26_569, "ja": 30_119, "ko": 30_903}
    assert Counter(one.language for one in queries) == counts
    assert len(queries) == sum(counts.values()) == 192_701
    assert len({one.uid for one in queries}) == len(queries)
    with unchecked():
        facts = gather_parallel(queries, list(counts), least=2)
    assert len(facts) == len({one.fact.uid for one in queries}) == 6_631
    assert len({one.relation for one in facts}) == 32
    assert max(len(asked) for one in facts for asked in one.queries.values()) == 17


def test_the_published_blanks_are_at_the_end_in_few_languages_alone() -> None:
    final = Counter(one.language for one in published() if one.template == "object-final")
    assert final == {"en": 41_076, "fr": 34_440, "fi": 8_523, "hu": 3_848, "ja": 119, "ko": 119}
    asked = [one for one in published() if one.template == "object-final"]
    assert all(one.prompt == one.prompt.rstrip() and not one.prompt.endswith((".", "。")) for one in asked)


def test_published_facts_have_the_uids_of_mlama() -> None:
    folder = PUBLISHED.parent / "mlama" / "en"
    if not folder.is_dir():
        pytest.skip(f"no mLAMA in {folder}")
    answers = {one.fact.uid: one.answer for one in published() if one.language == "en"}
    for path in folder.glob("P*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            assert answers.pop(f"{path.stem}/{row['uuid']}", row["obj_label"]) == row["obj_label"]
    assert not answers
