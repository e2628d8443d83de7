"""BMLAMA's rows are the same facts in every language."""

from __future__ import annotations

from pathlib import Path

import pytest

from locant.errors import BadFile, LocantError, UnknownName
from locant.queries.bmlama import read_bmlama
from locant.queries.parallel import gather_parallel
from locant.types import Fact, Query
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "bmlama17"
HEADER = "Prompt\tAns\tCandidate Ans\tSubject\r\n"
ENGLISH = [
    ("Charles was born in <mask>.", "Madrid", "Rome, Madrid", "Charles"),
    ("<mask> is where Texans live, says Anna.", "Paris, Texas", "Oslo, Paris, Texas, Rome", "Anna"),
    ("The language of Texas is <mask>.", "English", "English, Latin", "Texas"),
]
JAPANESE = [
    ("カルロスは<mask>に生まれました。", "マドリード", "ローマ, マドリード", "カルロス"),
    ("<mask>にアンナ。", "パリ", "オスロ, パリ, ローマ", "アンナ"),
    ("テキサスの言語は<mask>。", "英語", "英語, ラテン語", "テキサス"),
]


def write(folder: Path, language: str, rows: list[tuple[str, ...]], header: str = HEADER) -> Path:
    path = folder / f"{language}.tsv"
    text = header + "".join("\t".join(row) + "\r\n" for row in rows)
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "en", ENGLISH)
    write(tmp_path, "ja", JAPANESE, "Prompt\tAns\tCandidate\tAns\tSubject\r\n")  # as the published Chinese
    return tmp_path


def refusal(
    folder: Path, languages: list[str], error: type[LocantError] = BadFile, form: str = "object-final"
) -> str:
    with pytest.raises(error) as caught:
        read_bmlama(folder, languages, form=form)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masked_models_are_asked_every_row(folder: Path) -> None:
    found = read_bmlama(folder, ["ja", "en"], "masked")
    assert [(one.uid, one.prompt, one.answer) for one in found] == [
        ("bmlama/1/ja/0", "カルロスは[MASK]に生まれました。", "マドリード"),
        ("bmlama/2/ja/0", "[MASK]にアンナ。", "パリ"),
        ("bmlama/3/ja/0", "テキサスの言語は[MASK]。", "英語"),
        ("bmlama/1/en/0", "Charles was born in [MASK].", "Madrid"),
        ("bmlama/2/en/0", "[MASK] is where Texans live, says Anna.", "Paris, Texas"),
        ("bmlama/3/en/0", "The language of Texas is [MASK].", "English"),
    ]


def test_other_models_are_asked_what_ends_with_the_object_or_all_with_a_blank(folder: Path) -> None:
    final = read_bmlama(folder, ["en", "ja"])
    assert [(one.uid, one.prompt) for one in final] == [
        ("bmlama/1/en/0", "Charles was born in"),
        ("bmlama/3/en/0", "The language of Texas is"),
        ("bmlama/3/ja/0", "テキサスの言語は"),
    ]
    blank = read_bmlama(folder, ["en", "ja"], form="blank")
    assert len(blank) == 6
    assert blank[1].prompt == "Fill in the blank.\n____ is where Texans live, says Anna.\nAnswer:"


def test_a_query_has_the_rows_uid_and_the_english_wording_for_its_relation(folder: Path) -> None:
    fact = Fact("bmlama/1", "カルロス", "[X] was born in [Y].", "マドリード", "ja")
    template = "[X]は[Y]に生まれました。"
    expected = Query("bmlama/1/ja/0", fact, "カルロスは[MASK]に生まれました。", "マドリード", (), template)
    assert read_bmlama(folder, ["ja"], "masked")[0] == expected
    (folder / "en.tsv").unlink()
    assert {one.relation for one in read_bmlama(folder, ["ja"], "masked")} == {""}


def test_rows_of_several_languages_are_one_fact(folder: Path) -> None:
    facts = gather_parallel(read_bmlama(folder, ["en", "ja"], "masked"), ["en", "ja"])
    assert [one.answers["ja"] for one in facts] == ["マドリード", "パリ", "英語"]


def test_quoted_cells_are_unquoted(tmp_path: Path) -> None:
    row = ('"William ""El Jove"" viu a <mask>."', "Roma", "Oslo, Roma", '"William ""El Jove"""')
    write(tmp_path, "ca", [row])
    (one,) = read_bmlama(tmp_path, ["ca"])
    assert (one.prompt, one.fact.subject) == ('William "El Jove" viu a', 'William "El Jove"')


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("Bo is <mask>.", "Rome", "Oslo, Romeo", "Bo"), "the answer 'Rome' is none of its candidates 'Oslo, Romeo'"),
        (("Bo is.", "Rome", "Rome", "Bo"), "the prompt 'Bo is.' needs its subject 'Bo', and <mask> once"),
        (("Bo <mask> <mask>.", "Rome", "Rome", "Bo"), "needs its subject 'Bo', and <mask> once"),
        (("Al is <mask>.", "Rome", "Rome", "mask"), "needs its subject 'mask', and <mask> once"),
        (("Bo [Y] <mask>.", "Rome", "Rome", "Bo"), "needs its subject 'Bo', and <mask> once"),
        (("Bo is <mask>.", "Rome", "Rome"), "not four cells, Prompt, Ans, Candidate Ans and Subject"),
        (("Bo is <mask>.", " ", "Rome", "Bo"), "with something in each"),
        (('"Bo is <mask>.', "Rome", "Rome", "Bo"), "not a row of cells parted by tabs"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: tuple[str, ...], said: str) -> None:
    write(tmp_path, "en", [*ENGLISH[:2], row])
    found = refusal(tmp_path, ["en"])
    assert found.startswith("en.tsv, line 4: ") and said in found


def test_a_line_after_a_cell_of_two_lines_is_counted_as_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, "en", [('"Bo\nis <mask>."', "Rome", "Rome", "Bo"), ("bad",)])
    assert refusal(tmp_path, ["en"]).startswith("en.tsv, line 4: not four cells")


def test_files_that_are_not_parallel_or_of_another_form_are_refused(folder: Path, tmp_path: Path) -> None:
    write(folder, "fr", ENGLISH[:2])
    assert refusal(folder, ["fr"]) == "en.tsv has 3 rows and fr.tsv 2: they are not parallel"
    write(folder, "fr", ENGLISH, "Prompt\tAnswer\n")
    assert refusal(folder, ["fr"]) == "fr.tsv, line 1: its columns are not Prompt, Ans, Candidate Ans, Subject"
    (folder / "fr.tsv").write_bytes(b"\xff")
    assert refusal(folder, ["fr"]) == "fr.tsv: not UTF-8 text"
    assert refusal(folder / "none", ["fr"]).startswith("no folder")
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", ["fr"]).endswith("there is no file *.tsv in it")


def test_what_cannot_be_asked_is_refused(folder: Path) -> None:
    assert refusal(folder, ["de"], UnknownName) == "no language 'de'; known: en, ja."
    assert refusal(folder, ["en"], UnknownName, "cloze") == "no form 'cloze'; there are object-final, blank"
    write(folder, "ja", [JAPANESE[0]] * 3)
    assert refusal(folder, ["ja"]) == "ja.tsv: there is nothing to ask a causal model in the form 'object-final'"


def test_the_published_rows_are_the_same_facts_in_all_languages() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no BMLAMA in {PUBLISHED}")
    languages = sorted(path.stem for path in PUBLISHED.glob("*.tsv"))
    with unchecked():
        queries = read_bmlama(PUBLISHED, languages, "masked")
        facts = gather_parallel(queries, languages)
    assert (len(languages), len(facts), len(queries)) == (17, 6792, 17 * 6792)
    assert len({one.uid for one in queries}) == len(queries)
    assert len({one.relation for one in facts}) == 38
    assert all(one.prompt.count("[MASK]") == 1 for one in queries)
    assert (facts[0].answers["en"], facts[0].answers["ja"], facts[0].answers["zh"]) == (
        "Madrid",
        "マドリード",
        "马德里",
    )


@pytest.mark.parametrize(("language", "final"), [("en", 5487), ("fr", 5709), ("hu", 1804), ("zh", 1418)])
def test_the_published_rows_that_end_with_the_object_are_counted(language: str, final: int) -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no BMLAMA in {PUBLISHED}")
    with unchecked():
        assert len(read_bmlama(PUBLISHED, [language])) == final
