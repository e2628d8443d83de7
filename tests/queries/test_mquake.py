"""MQuAKE: several facts edited together, and what follows from all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locant.errors import BadFile
from locant.queries.mquake import read_mquake
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "mquake" / "MQuAKE-hard.json"


def rewrite(subject: str, old: str, new: str) -> dict[str, object]:
    return {
        "prompt": "{} lies in",
        "relation_id": "P17",
        "target_new": {"str": new, "id": "Q1"},
        "target_true": {"str": old, "id": "Q2"},
        "subject": subject,
        "question": f"Where does {subject} lie?",
    }


RECORD = {
    "case_id": 3,
    "requested_rewrite": [rewrite("Louvre", "Paris", "Rome"), rewrite("Rome", "Italy", "Spain")],
    "questions": ["In which country does the Louvre lie?", "The Louvre's country?"],
    "answer": "France",
    "new_answer": "Spain",
    "new_answer_alias": ["Kingdom of Spain", "Spain"],
}


def write(folder: Path, *records: object) -> Path:
    path = folder / "mquake.json"
    path.write_text(json.dumps(records))
    return path


def test_the_rewrites_of_a_record_are_one_case_edited_together(tmp_path: Path) -> None:
    (case,) = read_mquake(write(tmp_path, RECORD)).cases
    assert [(one.query.prompt, one.query.answer, one.new) for one in case.requests] == [
        ("Louvre lies in", "Paris", "Rome"),
        ("Rome lies in", "Italy", "Spain"),
    ]
    assert case.uid == "mquake/3" and len({one.uid for one in case.requests}) == 2


def test_a_question_of_each_step_is_answered_by_its_own_new_object(tmp_path: Path) -> None:
    (case,) = read_mquake(write(tmp_path, RECORD)).cases
    assert [(one.prompt, one.answer, case.new_of(one)) for one in case.paraphrases] == [
        ("Where does Louvre lie?", "Paris", "Rome"),
        ("Where does Rome lie?", "Italy", "Spain"),
    ]


def test_what_follows_has_the_new_answer_and_remembers_the_old_one(tmp_path: Path) -> None:
    (case,) = read_mquake(write(tmp_path, RECORD)).cases
    assert [one.prompt for one in case.portability] == RECORD["questions"]
    for one in case.portability:
        assert (one.answer, one.alternatives, one.fact.object) == ("Spain", ("Kingdom of Spain",), "France")


def test_one_rewrite_that_cannot_be_made_leaves_the_record_out(tmp_path: Path) -> None:
    wrong = RECORD | {"requested_rewrite": [rewrite("Louvre", "Paris", "Rome"), rewrite("Rome", "Italy", "Italy")]}
    read = read_mquake(write(tmp_path, wrong, RECORD))
    assert len(read.cases) == 1 and read.left_out == {"the new object is the old one": 1}


def test_a_record_without_rewrites_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="entry 1: its 'requested_rewrite' is not a list with something in it"):
        read_mquake(write(tmp_path, RECORD | {"requested_rewrite": []}))


def test_all_of_the_published_records_are_read() -> None:
    if not PUBLISHED.is_file():
        pytest.skip(f"no MQuAKE in {PUBLISHED}")
    with unchecked():
        read = read_mquake(PUBLISHED)
    assert len(read.cases) == 429 and not read.left_out
    assert {len(one.requests) for one in read.cases} == {4}
    assert {len(one.portability) for one in read.cases} == {3}
    assert len({request.uid for one in read.cases for request in one.requests}) == 4 * 429
