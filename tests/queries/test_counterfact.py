"""CounterFact in both published forms: what is asked, answered and left out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from locant.errors import BadFile
from locant.queries.counterfact import read_counterfact
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "counterfact"

FULL = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "The capital of {} is",
        "relation_id": "P36",
        "target_new": {"str": "Rome", "id": "Q220"},
        "target_true": {"str": "Paris", "id": "Q90"},
        "subject": "France",
    },
    "paraphrase_prompts": ["He left. France is governed from"],
    "neighborhood_prompts": ["The Louvre is in", "Notre-Dame is in "],
    "attribute_prompts": ["The Colosseum is in"],
    "generation_prompts": ["France's capital is known for", "France's capital is known for"],
}
SHORT = {
    "case_id": 8,
    "prompt": "The capital of France is",
    "subject": "France",
    "target_new": "Rome",
    "ground_truth": "Paris",
    "rephrase_prompt": "France is governed from",
    "locality_prompt": "The Louvre is in",
    "locality_ground_truth": "Paris",
}


def write(folder: Path, *records: object) -> Path:
    path = folder / "counterfact.json"
    path.write_text(json.dumps(records))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadFile) as caught:
        read_counterfact(path)
    return str(caught.value)


def test_the_full_form_is_read_with_all_it_asks(tmp_path: Path) -> None:
    (case,) = read_counterfact(write(tmp_path, FULL)).cases
    query = case.request.query
    assert (query.prompt, query.answer, case.request.new) == ("The capital of France is", "Paris", "Rome")
    assert (case.uid, case.relation, case.request.subject) == ("counterfact/7", "P36", "France")
    assert [(one.prompt, one.answer) for one in case.paraphrases] == [("He left. France is governed from", "Paris")]
    assert query.subject_at == len("The capital of ") and case.paraphrases[0].fact == query.fact
    assert [(one.prompt, one.answer) for one in case.neighbours] == [
        ("The Louvre is in", "Paris"),
        ("Notre-Dame is in", "Paris"),
    ]
    assert all(one.fact.uid != query.fact.uid and not one.fact.subject for one in case.neighbours)
    assert [(one.prompt, one.answer) for one in case.attributes] == [("The Colosseum is in", "Rome")]
    assert case.generation == ("France's capital is known for",) * 2


def test_texts_about_the_new_object_are_read_from_beside_the_file(tmp_path: Path) -> None:
    assert read_counterfact(write(tmp_path, FULL)).cases[0].references == ()
    samples = [{"name": "Milan", "text": "Milan is in Italy."}, {"name": "Bari", "text": "Bari too."}]
    snippets = [
        {"relation_id": "P36", "target_id": "Q220", "samples": samples},
        {"relation_id": "P36", "target_id": "Q90", "samples": samples[:1]},
        {"relation_id": "P17", "target_id": "Q220", "samples": []},
    ]
    (tmp_path / "attribute_snippets.json").write_text(json.dumps(snippets))
    assert read_counterfact(tmp_path / "counterfact.json").cases[0].references == ("Milan is in Italy.", "Bari too.")


def test_the_short_form_asks_the_same_of_one_prompt_each(tmp_path: Path) -> None:
    (case,) = read_counterfact(write(tmp_path, SHORT)).cases
    assert (case.uid, case.request.query.answer, case.request.new) == ("counterfact/8", "Paris", "Rome")
    assert [(one.prompt, one.answer) for one in case.paraphrases] == [("France is governed from", "Paris")]
    assert [(one.prompt, one.answer) for one in case.neighbours] == [("The Louvre is in", "Paris")]
    assert case.new_of(case.paraphrases[0]) == "Rome"


def test_records_that_cannot_be_edited_are_left_out_and_counted(tmp_path: Path) -> None:
    read = read_counterfact(
        write(
            tmp_path,
            SHORT | {"subject": "Gaul"},
            SHORT | {"subject": " "},
            SHORT | {"target_new": "Paris"},
            SHORT | {"target_new": ""},
            SHORT,
        )
    )
    assert [case.uid for case in read.cases] == ["counterfact/8"]
    assert read.left_out == {
        "the subject is not in the prompt": 2,
        "the new object is the old one": 1,
        "there is no new object": 1,
    }


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({name: value for name, value in SHORT.items() if name != "prompt"}, "its 'prompt' is not a text"),
        (SHORT | {"target_new": 7}, "its 'target_new' is not a text"),
        (FULL | {"requested_rewrite": "Rome"}, "its 'requested_rewrite' is not an object"),
        (FULL | {"neighborhood_prompts": "in"}, "its 'neighborhood_prompts' is not a list of texts"),
        ("Rome", "not an object"),
    ],
)
def test_a_record_of_another_form_is_named_by_its_place(tmp_path: Path, record: object, said: str) -> None:
    assert refusal(write(tmp_path, SHORT, record)) == f"counterfact.json, entry 2: {said}"


def test_a_part_within_a_record_is_named_too(tmp_path: Path) -> None:
    rewrite = {name: value for name, value in FULL["requested_rewrite"].items() if name != "target_new"}  # type: ignore[attr-defined]
    said = refusal(write(tmp_path, FULL | {"requested_rewrite": rewrite}))
    assert said == "counterfact.json, entry 1, requested_rewrite: its 'target_new' is not an object"


def test_a_file_that_is_no_list_of_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "counterfact.json"
    assert refusal(path) == f"no file {str(path)!r}"
    for text, said in (
        ("[", "line 1: not JSON (Expecting value)"),
        ("{}", "not a list of objects with something in it"),
        ("[]", "not a list of objects with something in it"),
    ):
        path.write_text(text)
        assert refusal(path).removeprefix("counterfact.json").lstrip(":, ") == said
    path.write_bytes(b"\xff")
    assert refusal(path) == "counterfact.json: not UTF-8 text"


def test_all_of_the_published_records_are_read() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no CounterFact in {PUBLISHED}")
    with unchecked():
        full = read_counterfact(PUBLISHED / "counterfact_500.json")
        parts = [read_counterfact(PUBLISHED / f"counterfact-{part}.json") for part in ("edit", "train", "val")]
    assert len(full.cases) == 500 and not full.left_out
    assert Counter((len(one.paraphrases), len(one.neighbours), len(one.attributes)) for one in full.cases) == {
        (2, 10, 10): 500
    }
    assert all(len(one.generation) == 10 for one in full.cases)
    assert [len(part.cases) for part in parts] == [10_000, 10_000, 1_919]
    assert len({one.uid for part in parts for one in part.cases}) == 21_919
    short = {one.uid: one.request for part in parts for one in part.cases}
    same = [one for one in full.cases if short[one.uid].query.prompt == one.request.query.prompt]
    assert len(same) > 490 and all(short[one.uid].new == one.request.new for one in same)
