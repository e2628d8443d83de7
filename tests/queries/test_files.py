"""Every format gives the same queries, and every defect is named with its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import locant
from locant import almanac
from locant.errors import BadFile

Row = dict[str, object]

ROWS: list[Row] = [
    {
        "prompt": 'The capital of "France", it is said, is',
        "answer": "Paris",
        "subject": "France",
        "relation": "capital",
        "language": "en",
        "template": "The capital of [X] is",
        "alternatives": ["Lutetia", "la Ville Lumière"],
    },
    {"prompt": "法国的首都是", "answer": "巴黎", "language": "zh", "uid": "two", "fact": "capital/France"},
    # An answer that looks like a number is a text, and so are characters that end a line elsewhere
    {"prompt": "The agent's number,\u2028\x85 as we know, is", "answer": "007", "note": "left aside"},
]
ENDINGS = [".json", ".jsonl", ".csv", ".parquet"]


def write(path: Path, rows: list[Row]) -> Path:
    """Rows in the format of the file's ending."""
    ending = path.suffix.lower()
    if ending == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif ending == ".parquet":
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    else:
        flat = [{**row, "alternatives": "|".join(row.get("alternatives", ()))} for row in rows]  # type: ignore[arg-type]
        pl.DataFrame(flat, infer_schema_length=None).write_csv(path)
    return path


def refusal(path: Path) -> str:
    """What a file is refused with; it names the file."""
    with pytest.raises(BadFile) as caught:
        locant.read_queries(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("ending", [*ENDINGS, ".JSONL"])
def test_every_format_gives_the_queries_that_were_written(tmp_path: Path, ending: str) -> None:
    texts = ("prompt", "answer", "subject", "relation", "language", "template", "uid", "fact")
    expected = tuple(
        locant.query(
            **{name: str(row[name]) for name in texts if name in row},
            alternatives=tuple(row.get("alternatives", ())),  # type: ignore[arg-type]
        )
        for row in ROWS
    )
    assert locant.read_queries(write(tmp_path / f"facts{ending}", ROWS)) == expected


QUERIES = (
    locant.query("The capital of France is", "Paris", subject="France", relation="capital", template="{subject} is"),
    locant.query('Which letter?\nA. "Oslo", it is said\n\tB. Rome\nAnswer:', "A", object="Oslo", uid="two", fact="f"),
    locant.query("法国的首都是", "巴黎", language="zh", alternatives=("巴黎市", "la Ville Lumière, dit-on")),
    locant.query(" The agent's number,\u2028\x85 as we know, is ", "007", subject="null", relation="1e3"),
)


@pytest.mark.parametrize("ending", [*ENDINGS, ".CSV"])
@pytest.mark.parametrize("queries", [QUERIES, QUERIES[:1]], ids=["alternatives", "none"])
def test_queries_that_are_written_are_read_as_the_same(
    tmp_path: Path, ending: str, queries: tuple[locant.Query, ...]
) -> None:
    path = tmp_path / "new" / f"facts{ending}"
    assert locant.write_queries(path, queries) == path
    assert locant.read_queries(path) == queries
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_the_almanac_asks_can_be_written_and_read(tmp_path: Path, ending: str) -> None:
    asked = [
        one
        for relation, format in (
            ("capital", "cloze"),
            ("young", "question"),
            ("author", "choice"),
            ("square", "few-shot"),
        )
        for one in almanac.queries(relation, format=format)
    ]
    assert list(locant.read_queries(locant.write_queries(tmp_path / f"facts{ending}", asked))) == asked


@pytest.mark.parametrize(
    ("name", "queries", "said"),
    [
        ("facts.txt", QUERIES, "facts.txt: queries are written to .jsonl, .json, .csv, .parquet files, not .txt"),
        ("facts", QUERIES, "facts: queries are written to .jsonl, .json, .csv, .parquet files, not this"),
        ("facts.json", (), "facts.json: there are no queries to write to it"),
        ("facts.json", QUERIES[1:2] * 2, "facts.json: two queries share the uid 'two' (prompt 'Which letter?"),
        (
            "facts.csv",
            (locant.query("p", "a", alternatives=("b|c",), uid="one"),),
            "facts.csv: the query 'one' has an alternative with '|' in it",
        ),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, name: str, queries: tuple[locant.Query, ...], said: str
) -> None:
    with pytest.raises(BadFile) as caught:
        locant.write_queries(tmp_path / name, queries)
    assert str(caught.value).startswith(said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"facts{ending}"
    path.mkdir()
    with pytest.raises(BadFile, match="cannot write"):
        locant.write_queries(path, QUERIES)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv"])
def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"facts{ending}", ROWS)
    plain = locant.read_queries(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert locant.read_queries(path) == plain


def test_blank_lines_are_passed_over_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text('\n{"prompt": "a", "answer": "b"}\n\n{"prompt": "c"}\n')
    assert refusal(path) == "facts.jsonl, line 4: there is no 'answer'; it has prompt"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.jsonl") == f"no file {str(tmp_path / 'none.jsonl')!r}"
    assert refusal(tmp_path) == f"no file {str(tmp_path)!r}"


@pytest.mark.parametrize(("name", "said"), [("facts.txt", ".txt"), ("facts", "this")])
def test_an_unknown_ending_is_told_which_are_known(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_text("{}")
    assert refusal(tmp_path / name) == (
        f"{name}: queries are read from .jsonl, .json, .csv, .parquet files, not {said}"
    )


PLACE = {".json": "entry 2", ".jsonl": "line 2", ".csv": "row 2", ".parquet": "row 2"}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("column", ["prompt", "answer"])
@pytest.mark.parametrize("cell", ["", "  ", None])
def test_an_empty_cell_is_named_by_its_place(tmp_path: Path, ending: str, column: str, cell: str | None) -> None:
    path = write(tmp_path / f"facts{ending}", [ROWS[0], {**ROWS[1], column: cell}])
    assert refusal(path) == f"facts{ending}, {PLACE[ending]}: its {column!r} is not a text with something in it"


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet"])
def test_an_answer_that_is_a_number_is_refused_and_not_guessed_at(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"facts{ending}", [{"prompt": "a", "answer": 7}])
    assert refusal(path).endswith("1: its 'answer' is not a text with something in it")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_without_a_needed_column_is_told_its_columns(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"facts{ending}", [{"prompt": "a", "object": "b"}])
    assert refusal(path).startswith(f"facts{ending}: there is no column 'answer'; its columns are prompt, object")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "a", "answer": "b"}\n{"prompt": "a"\n', "a.jsonl, line 2: not JSON (Expecting ','"),
        ("a.jsonl", '["a", "b"]\n', "a.jsonl, line 1: not an object with prompt and answer"),
        ("a.jsonl", "{}\n", "a.jsonl, line 1: there is no 'prompt'; it has nothing"),
        ("a.json", '[\n{"prompt": "a", "answer": "b"},\n{"prompt" "a"}]', "a.json, line 3: not JSON (Expecting ':'"),
        ("a.json", '{"prompt": "a", "answer": "b"}', "a.json: not a list of objects with prompt and answer"),
        ("a.json", "[1]", "a.json: not a list of objects with prompt and answer"),
        ("a.parquet", "prompt,answer\n", "a.parquet: cannot be read ("),
        ("a.csv", "prompt,answer\na,b,c,d\n", "a.csv: cannot be read ("),
        ("a.csv", "", "a.csv: cannot be read ("),
        ("a.csv", "prompt,answer\n", "a.csv: there are no queries in it"),
        ("a.json", "[]", "a.json: there are no queries in it"),
        ("a.jsonl", "\n \n", "a.jsonl: there are no queries in it"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    assert refusal(tmp_path / name).startswith(said)


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv"])
def test_text_that_is_not_utf8_is_said_to_be_so(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"facts{ending}", [{"prompt": "Die Stadt heißt", "answer": "Köln"}])
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    assert "utf-8" in refusal(path).lower()


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_rows_of_one_uid_are_refused_by_it(tmp_path: Path, ending: str) -> None:
    rows: list[Row] = [{"prompt": f"p{index}", "answer": "a", "uid": uid} for index, uid in enumerate("xyx")]
    assert refusal(write(tmp_path / f"facts{ending}", rows)) == (
        f"facts{ending}: two queries share the uid 'x' (prompt 'p2'); give each its own, or drop the repeated row"
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_that_is_there_twice_is_refused(tmp_path: Path, ending: str) -> None:
    uid = locant.query("a", "b").uid
    path = write(tmp_path / f"facts{ending}", [{"prompt": "a", "answer": "b"}] * 2)
    assert f"two queries share the uid {uid!r}" in refusal(path)


@pytest.mark.parametrize("wrong", [7, [1, 2], {"a": "b"}])
def test_alternatives_that_are_not_texts_are_refused(tmp_path: Path, wrong: object) -> None:
    path = write(tmp_path / "facts.jsonl", [{"prompt": "a", "answer": "b", "alternatives": wrong}])
    assert refusal(path) == "facts.jsonl, line 1: its 'alternatives' are not a list of texts"


def test_an_identifier_that_is_a_number_is_read_as_its_digits(tmp_path: Path) -> None:
    (one,) = locant.read_queries(write(tmp_path / "facts.jsonl", [{"prompt": "a", "answer": "b", "uid": 0}]))
    assert one.uid == "0"
