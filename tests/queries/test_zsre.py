"""zsRE in MEND's form, edited to the right answer or to a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locant.errors import BadFile, UnknownName
from locant.queries.zsre import read_zsre
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "zsre" / "zsre_mend_train-1k.json"

RECORD = {
    "subject": "Louvre",
    "src": "In which city is the Louvre?",
    "pred": "Lyon",
    "rephrase": "Which city holds the Louvre?",
    "alt": "Rome",
    "answers": ["Paris", "City of Paris"],
    "loc": "nq question: who wrote emma",
    "loc_ans": "Jane Austen",
    "cond": "Paris >> Rome || In which city is the Louvre?",
}


def write(folder: Path, *records: object) -> Path:
    path = folder / "zsre.json"
    path.write_text(json.dumps(records))
    return path


def test_a_record_is_edited_to_its_right_answer_with_no_old_one(tmp_path: Path) -> None:
    (case,) = read_zsre(write(tmp_path, RECORD)).cases
    assert (case.uid, case.request.new, case.request.query.answer) == ("zsre/0", "Paris", "")
    assert case.request.query.prompt == "In which city is the Louvre?"
    assert [(one.prompt, one.answer) for one in case.paraphrases] == [("Which city holds the Louvre?", "")]
    assert [(one.prompt, one.answer) for one in case.neighbours] == [("nq question: who wrote emma?", "Jane Austen")]
    assert case.neighbours[0].fact.uid != case.request.query.fact.uid


def test_a_question_mark_that_is_there_is_not_put_twice(tmp_path: Path) -> None:
    (case,) = read_zsre(write(tmp_path, RECORD | {"loc": "nq question: who wrote emma?"})).cases
    assert case.neighbours[0].prompt == "nq question: who wrote emma?"


def test_a_record_can_be_edited_to_its_wrong_answer(tmp_path: Path) -> None:
    (case,) = read_zsre(write(tmp_path, RECORD), target="alt").cases
    assert (case.request.query.answer, case.request.new) == ("Paris", "Rome")
    assert case.paraphrases[0].answer == "Paris"


def test_what_cannot_be_edited_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        RECORD | {"alt": "City of Paris"},
        RECORD | {"alt": ""},
        RECORD | {"answers": []},
        RECORD | {"subject": "Prado"},
        RECORD,
    )
    alt, right = read_zsre(path, target="alt"), read_zsre(path)
    assert [one.uid for one in alt.cases] == ["zsre/2", "zsre/4"]
    assert alt.left_out == {
        "the new object is a right one": 1,
        "there is no new object": 1,
        "the subject is not in the prompt": 1,
    }
    assert [one.uid for one in right.cases] == ["zsre/0", "zsre/1", "zsre/4"]


def test_another_target_and_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no target 'pred' in zsRE; there are answers, alt"):
        read_zsre(write(tmp_path, RECORD), target="pred")
    with pytest.raises(BadFile, match="entry 2: its 'loc_ans' is not a text"):
        read_zsre(write(tmp_path, RECORD, RECORD | {"loc_ans": None}))


def test_all_of_the_published_records_are_read() -> None:
    if not PUBLISHED.is_file():
        pytest.skip(f"no zsRE in {PUBLISHED}")
    with unchecked():
        right, wrong = read_zsre(PUBLISHED), read_zsre(PUBLISHED, target="alt")
    assert len(right.cases) == 1_000 and not right.left_out
    assert len(wrong.cases) == 977
    assert wrong.left_out == {"the new object is a right one": 21, "there is no new object": 2}
    assert all(one.neighbours[0].prompt.startswith("nq question: ") for one in right.cases)
