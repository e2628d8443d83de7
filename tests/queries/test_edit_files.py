"""One's own edits in a table: every column, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from locant.errors import BadFile
from locant.queries.edit_files import read_edits

HEAD = "subject,prompt,old,new,paraphrases,neighbours,portability,generation,references,relation,language,uid"
ROW = (
    "France,The capital of {} is,Paris,Rome,{}'s capital is | {} is governed from,"
    "The capital of Spain is => Madrid|a => b => c,Gauls live in => Lazio,{} is known for,Rome was built.|It stands.,"
    "capital,en,mine"
)


def write(folder: Path, *lines: str, name: str = "edits.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadFile) as caught:
        read_edits(path)
    return str(caught.value)


def test_every_column_is_read(tmp_path: Path) -> None:
    (case,) = read_edits(write(tmp_path, HEAD, ROW)).cases
    query = case.request.query
    assert (query.prompt, query.answer, case.request.new) == ("The capital of France is", "Paris", "Rome")
    assert (case.uid, case.relation, query.language) == ("mine", "capital", "en")
    assert [one.prompt for one in case.paraphrases] == ["France's capital is", "France is governed from"]
    assert all(one.fact == query.fact and one.answer == "Paris" for one in case.paraphrases)
    assert [(one.prompt, one.answer) for one in case.neighbours] == [
        ("The capital of Spain is", "Madrid"),
        ("a => b", "c"),
    ]
    assert [(one.prompt, one.answer, one.fact.object) for one in case.portability] == [("Gauls live in", "Lazio", "")]
    assert case.generation == ("France is known for",)
    assert case.references == ("Rome was built.", "It stands.")


@pytest.mark.parametrize(("name", "separator"), [("edits.csv", ","), ("edits.tsv", "\t"), ("EDITS.TSV", "\t")])
def test_three_columns_are_enough(tmp_path: Path, name: str, separator: str) -> None:
    rows = (("subject", "prompt", "new"), ("France", "The capital of France is", "Rome"))
    (case,) = read_edits(write(tmp_path, *(separator.join(row) for row in rows), name=name)).cases
    assert (case.request.query.answer, case.request.new, case.uid) == ("", "Rome", f"{name[:5]}/2")
    assert not (case.paraphrases or case.neighbours or case.portability or case.generation)


def test_a_cell_in_quotes_may_hold_commas_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "subject,prompt,new", 'France,"In Europe,\nFrance has its seat in",Rome', "x,x is,y")
    first, second = read_edits(path).cases
    assert first.request.query.prompt == "In Europe,\nFrance has its seat in"
    assert (first.uid, second.uid) == ("edits/3", "edits/4")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("subject,prompt", "a,a is"), ", line 1: there is no column 'new'; its columns are subject, prompt"),
        (("subject,prompt,new,olds", "a,a is,b,c"), ", line 1: the column 'olds' is not known; there are subject"),
        (("subject,prompt,new", "a,a is,b", "a,,b"), ", line 3, column 'prompt': there is nothing in it"),
        (("subject,prompt,new", "a,a is,b", "a,a is"), ", line 3, column 'new': there is nothing in it"),
        (("subject,prompt,new", "a,b is,c"), ", line 2, column 'prompt': the subject is not in the prompt"),
        (("subject,prompt,new,old", "a,a is,c,c"), ", line 2, column 'new': the new object is the old one"),
        (("subject,prompt,new", "a,a is,b,c"), ", line 2: it has more cells than there are columns"),
        (
            ("subject,prompt,new,neighbours", "a,a is,b,d is e"),
            ", line 2, column 'neighbours': 'd is e' is not 'prompt => answer'",
        ),
        (
            ("subject,prompt,new,portability", "a,a is,b,d is =>"),
            ", line 2, column 'portability': 'd is =>' is not 'prompt => answer'",
        ),
        (("subject,prompt,new,uid", "a,a is,b,x", "c,c is,d,x"), ": two edits share the uid 'x'"),
        (("subject,prompt,new", 'a,a is,"b'), ", line 2: unexpected end of data"),
        (("subject,prompt,new",), ": there are no edits in it"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    assert refusal(write(tmp_path, *lines)).startswith(f"edits.csv{said}")


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").startswith("no file ")
    assert (
        refusal(write(tmp_path, HEAD, name="edits.txt"))
        == "edits.txt: edits are read from .csv, .tsv files, not .txt"
    )
    (tmp_path / "edits.csv").write_bytes(b"subject,prompt,new\n\xff,a,b\n")
    assert refusal(tmp_path / "edits.csv") == "edits.csv: not UTF-8 text"
