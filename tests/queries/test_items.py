"""Items: a question and its answer make one, from two texts or a row of a file; what does not is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from locant.errors import BadFile, BadQuery, LocantError
from locant.queries import Item, item, read_items, read_mmlu


def refusal(call: Callable[[], object], error: type[LocantError]) -> str:
    """The one sentence a call is refused with."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("question", "answer", "wrong"), [(" ", "a", ()), ("q", "", ()), ("q", "a", ("b", " "))])
def test_an_empty_text_makes_no_item(question: str, answer: str, wrong: tuple[str, ...]) -> None:
    assert refusal(lambda: item(question, answer, wrong=wrong), BadQuery).endswith("with nothing in it")


def test_an_answer_that_is_also_a_wrong_option_makes_no_item() -> None:
    said = refusal(lambda: item("q", "a", wrong=("b", "a ")), BadQuery)
    assert said == "the item 'q' has the answer 'a' twice among its options"
    assert item("Which genotype?", "AA", wrong=("aa", "Aa")).wrong == ("aa", "Aa"), "case may be all the difference"


def test_an_items_uid_comes_from_its_texts_and_starts_with_its_group() -> None:
    texts = [("q", "a", ()), ("q", "b", ()), ("r", "a", ()), ("q", "a", ("b",)), ("q", "a", ("b", "c"))]
    uids = {item(question, answer, group="g", wrong=wrong).uid for question, answer, wrong in texts}
    assert len(uids | {item("q", "a", group="g", language="fr").uid}) == 6
    assert all(uid.startswith("g/") for uid in uids)
    assert item("q", "a", language="fr").group == "fr"
    assert item("q", "a", uid="mine").uid == "mine"


# Files

ROWS: list[dict[str, object]] = [
    {"question": "What is the capital of Norway?", "answer": "Oslo", "group": "cities", "note": "left aside"},
    {"question": 'Which is "7"?', "answer": "007", "options": ["7", "007", "0,7"], "uid": "bond"},
    {"question": "法国的首都是哪里？\u2028", "answer": "巴黎", "language": "zh"},
]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Rows in the format of the file's ending."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path
    columns = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, columns)
        table.writeheader()
        table.writerows(
            {name: "|".join(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows
        )
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_both_formats_give_the_items_that_were_written(tmp_path: Path, ending: str) -> None:
    assert read_items(write(tmp_path / f"facts{ending}", ROWS)) == (
        item("What is the capital of Norway?", "Oslo", group="cities"),
        item('Which is "7"?', "007", wrong=("7", "0,7"), uid="bond"),
        item("法国的首都是哪里？", "巴黎", language="zh"),
    )


HEADER = "question,choice0,choice1,choice2,choice3,answer\n"
PLACE = {".jsonl": "line 2", ".csv": "row 2"}


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "answer": " "}, "its 'answer' is not a text with something in it"),
        ({"question": None, "answer": "a"}, "its 'question' is not a text with something in it"),
        (
            {"question": "q", "answer": "a", "options": ["b", "c"]},
            "its answer 'a' is none of its options 'b', 'c'",
        ),
        ({"question": "q", "answer": "a", "options": ["a", ""]}, "the item 'q' ('a') has a question, answer or"),
        ({"question": "q", "answer": "a", "options": ["a", "b", "a"]}, "the item 'q' has the answer 'a' twice"),
        ({"question": "q", "answer": "a", "options": ["a"]}, "it has one option only, which leaves no choice"),
    ],
)
def test_a_row_that_makes_no_item_is_named_by_its_place(
    tmp_path: Path, ending: str, row: dict[str, object], said: str
) -> None:
    path = write(tmp_path / f"facts{ending}", [ROWS[0], row])
    assert refusal(lambda: read_items(path), BadFile).startswith(f"facts{ending}, {PLACE[ending]}: {said}")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"question": "q"}\n', "a.jsonl, line 1: there is no 'answer'; it has question"),
        ("a.jsonl", '\n{"question": "q"\n', "a.jsonl, line 2: not JSON (Expecting ',' delimiter, character 17)"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: not an object with question and answer"),
        ("a.jsonl", '{"question": "q", "answer": 7}', "a.jsonl, line 1: its 'answer' is not a text with something"),
        ("a.jsonl", '{"question": "q", "answer": "a", "options": [1]}', "a.jsonl, line 1: its 'options' are not a"),
        ("a.jsonl", " \n", "a.jsonl: there are no questions in it"),
        ("a.csv", "question,object\nq,a\n", "a.csv, row 1: there is no 'answer'; it has question, object"),
        ("a.csv", "question,answer\n", "a.csv: there are no questions in it"),
        ("a.csv", "", "a.csv: cannot be read ("),
        ("a.txt", "q", "a.txt: questions are read from .jsonl, .csv files, not .txt"),
        ("a", "q", "a: questions are read from .jsonl, .csv files, not this"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    assert refusal(lambda: read_items(tmp_path / name), BadFile).startswith(said)


@pytest.mark.parametrize("read", [read_items, read_mmlu])
def test_a_missing_file_and_text_that_is_not_utf8_are_named(
    tmp_path: Path, read: Callable[[Path], tuple[Item, ...]]
) -> None:
    assert refusal(lambda: read(tmp_path / "none.csv"), BadFile) == f"no file {str(tmp_path / 'none.csv')!r}"
    for ending in (".jsonl", ".csv"):
        path = tmp_path / f"a{ending}"
        text = {".jsonl": '{"question": "Köln?", "answer": "a"}', ".csv": f"{HEADER}Köln?,a,b,c,d,0\n"}[ending]
        path.write_bytes(text.encode("latin-1"))
        assert "utf-8" in refusal(lambda path=path: read(path), BadFile).lower()


def test_a_subject_of_mmlu_is_read_with_its_options_and_its_right_one(tmp_path: Path) -> None:
    path = tmp_path / "high_school_biology_test.csv"
    path.write_text(HEADER + '"Which, then?",a,b,"c, d",007,3\nOr?,a,b,c,d,0\n')
    assert read_mmlu(path) == (
        item("Which, then?", "007", group="high_school_biology", wrong=("a", "b", "c, d")),
        item("Or?", "a", group="high_school_biology", wrong=("b", "c", "d")),
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("q,a,b,c,d,4", "its answer is '4', not the number of a choice, 0 to 3"),
        ("q,a,b,c,d,B", "its answer is 'B', not the number of a choice, 0 to 3"),
        ("q,a,b,c,d,", "its 'answer' is not a text with something in it"),
        ("q,a,,c,d,0", "its 'choice1' is not a text with something in it"),
        ("q,a,b,c,a,0", "the item 'q' has the answer 'a' twice among its options"),
    ],
)
def test_a_bad_row_of_mmlu_is_named_by_its_number(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "law_dev.csv").write_text(f"{HEADER}q,a,b,c,d,1\n{row}\n")
    assert refusal(lambda: read_mmlu(tmp_path / "law_dev.csv"), BadFile) == f"law_dev.csv, row 2: {said}"


def test_a_table_that_is_not_mmlus_is_told_its_columns(tmp_path: Path) -> None:
    (tmp_path / "law.csv").write_text("question,A,B,C,D,answer\nq,a,b,c,d,1\n")
    said = refusal(lambda: read_mmlu(tmp_path / "law.csv"), BadFile)
    assert said == "law.csv, row 1: there is no 'choice0'; it has question, A, B, C, D, answer"
