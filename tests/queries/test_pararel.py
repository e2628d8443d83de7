"""ParaRel is read as published: its patterns, its facts, and only what suits the model is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import families
from locant.errors import BadFile, LocantError, UnknownName
from locant.queries import Kind, read_pararel, resolve
from locant.types import Fact, Query
from unchecked import unchecked

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "pararel"
PLAIN = ("patterns", "facts")
REPOSITORY = ("data/pattern_data/graphs_json", "data/trex_lms_vocab")
CAPITALS = [
    "The capital of [X] is [Y] .",
    "[Y] is the capital of [X].",
    "[X]'s capital, [Y].",
    "In [X] they govern from the [Y] city.",
    "The capital of [X] is [Y],",
    "[X]: [Y]",
]
STATES = [("France", "Paris", "u1"), ("Kuwait", "Kuwait City", "u2")]

Facts = list[tuple[str, str, str]]


def write(
    root: Path, relation: str, patterns: list[str], facts: Facts, layout: tuple[str, str] = PLAIN
) -> tuple[Path, Path]:
    """One relation's two files."""
    rows = (
        [{"pattern": pattern, "lemma": "left aside"} for pattern in patterns],
        [dict(zip(("sub_label", "obj_label", "uuid"), fact, strict=True)) for fact in facts],
    )
    paths = root / layout[0] / f"{relation}.jsonl", root / layout[1] / f"{relation}.jsonl"
    for path, some in zip(paths, rows, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ParaRel with one relation."""
    write(tmp_path, "P36", CAPITALS, STATES)
    return tmp_path


def refusal(folder: Path, error: type[LocantError] = BadFile, relations: tuple[str, ...] | None = None) -> str:
    """The one sentence a folder is refused with."""
    with pytest.raises(error) as caught:
        read_pararel(folder, relations)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is asked


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_model_that_answers_at_the_end_is_asked_what_ends_with_the_object(folder: Path, kind: Kind) -> None:
    assert [(query.uid, query.prompt, query.answer) for query in read_pararel(folder, kind=kind)] == [
        ("P36/u1/0", "The capital of France is", "Paris"),
        ("P36/u1/2", "France's capital,", "Paris"),
        ("P36/u1/5", "France:", "Paris"),
        ("P36/u2/0", "The capital of Kuwait is", "Kuwait City"),
        ("P36/u2/2", "Kuwait's capital,", "Kuwait City"),
        ("P36/u2/5", "Kuwait:", "Kuwait City"),
    ]


def test_a_masked_model_is_asked_every_pattern_with_a_mask_for_the_object(folder: Path) -> None:
    assert [(query.uid, query.prompt) for query in read_pararel(folder, kind="masked")][:6] == [
        ("P36/u1/0", "The capital of France is [MASK] ."),
        ("P36/u1/1", "[MASK] is the capital of France."),
        ("P36/u1/2", "France's capital, [MASK]."),
        ("P36/u1/3", "In France they govern from the [MASK] city."),
        ("P36/u1/4", "The capital of France is [MASK],"),
        ("P36/u1/5", "France: [MASK]"),
    ]


def test_a_query_names_its_fact_its_relation_and_its_pattern(folder: Path) -> None:
    fact = Fact("P36/u2", "Kuwait", "P36", "Kuwait City", "en")
    prompt = "The capital of Kuwait is"
    query = Query("P36/u2/0", fact, prompt, "Kuwait City", (), "The capital of [X] is [Y] .")
    assert read_pararel(folder)[3] == query


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq"])
def test_each_kind_of_model_finds_its_answer_in_what_it_is_asked(tmp_path: Path, kind: Kind) -> None:
    write(tmp_path, "P1", ["w1 [X] w2 [Y] .", "w3 [Y] w4 [X] ."], [("w10 w11", "w12", "u")])
    found = [resolve(query, families.tokenizer(), kind, 64) for query in read_pararel(tmp_path, kind=kind)]
    assert [tokens.answers for tokens in found] == [((12,),)] * (2 if kind == "masked" else 1)
    assert [tokens.prompt for tokens in found] == [(1, 10, 11, 2), (3,)][: len(found)]
    assert [tokens.suffix for tokens in found] == ([(94,), (4, 10, 11, 94)] if kind == "masked" else [()])


def test_both_layouts_give_the_same_queries(tmp_path: Path) -> None:
    for place, layout in (("plain", PLAIN), ("repository", REPOSITORY)):
        write(tmp_path / place, "P36", CAPITALS, STATES, layout)
    assert read_pararel(tmp_path / "plain") == read_pararel(str(tmp_path / "repository"))


def test_repeated_facts_are_dropped_and_other_objects_are_other_facts(tmp_path: Path) -> None:
    facts = [("Aragon", "Latin", "u1"), ("Aragon", "Catalan", "u2"), ("Aragon", "Latin", "u3")]
    write(tmp_path, "P37", ["[X] speaks [Y]."], facts)
    assert [(query.fact.uid, query.answer, query.alternatives) for query in read_pararel(tmp_path)] == [
        ("P37/u1", "Latin", ()),
        ("P37/u2", "Catalan", ()),
    ]


def test_a_subject_that_looks_like_a_place_to_fill_is_only_a_subject(tmp_path: Path) -> None:
    write(tmp_path, "P1", ["[X], or [X], is [Y]."], [("[Y]\u2028", "a letter", "u")])
    assert [query.prompt for query in read_pararel(tmp_path)] == ["[Y]\u2028, or [Y]\u2028, is"]


def test_relations_come_by_number_and_only_those_that_are_asked_for(tmp_path: Path) -> None:
    for relation in ("P101", "P17", "P1001"):
        write(tmp_path, relation, ["[X] [Y]"], STATES[:1])
    (tmp_path / "facts" / "P9.jsonl").write_text("never opened: it has no patterns")
    assert [query.relation for query in read_pararel(tmp_path)] == ["P17", "P101", "P1001"]
    assert [query.relation for query in read_pararel(tmp_path, ["P1001", "P17"])] == ["P17", "P1001"]


# What is refused


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"pattern": "The capital is [Y]."}', "the pattern 'The capital is [Y].' needs [X], and [Y] once"),
        ('{"pattern": "The capital of [X]."}', "the pattern 'The capital of [X].' needs [X], and [Y] once"),
        ('{"pattern": "[X] [Y] [Y]"}', "the pattern '[X] [Y] [Y]' needs [X], and [Y] once"),
        ('{"pattern": "[X] [Y]"', "not JSON (Expecting ',' delimiter, character 22)"),
        ('["[X] [Y]"]', "not an object with pattern"),
        ('{"lemma": "capital"}', "its 'pattern' is not a text with something in it"),
        ('{"pattern": 7}', "its 'pattern' is not a text with something in it"),
    ],
)
@pytest.mark.parametrize("layout", [PLAIN, REPOSITORY], ids=["plain", "repository"])
def test_a_bad_pattern_is_named_by_file_and_line(
    tmp_path: Path, line: str, said: str, layout: tuple[str, str]
) -> None:
    patterns, _ = write(tmp_path, "P36", CAPITALS[:1], STATES, layout)
    patterns.write_text(patterns.read_text() + "\n" + line + "\n")
    assert refusal(tmp_path) == f"{patterns.parent.name}/P36.jsonl, line 3: {said}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Paris", "not JSON (Expecting value, character 1)"),
        ("7", "not an object with sub_label, obj_label, uuid"),
        ('{"sub_label": "Italy", "uuid": "u3"}', "its 'obj_label' is not a text with something in it"),
        (
            '{"sub_label": " ", "obj_label": "Rome", "uuid": "u3"}',
            "its 'sub_label' is not a text with something in it",
        ),
        ('{"sub_label": "Italy", "obj_label": "Rome"}', "its 'uuid' is not a text with something in it"),
        (
            '{"sub_label": "Italy", "obj_label": "Rome", "uuid": "u1"}',
            "the uuid 'u1' is that of another fact, of 'France'",
        ),
    ],
)
def test_a_bad_fact_is_named_by_file_and_line(folder: Path, line: str, said: str) -> None:
    path = folder / "facts" / "P36.jsonl"
    path.write_text(path.read_text() + line + "\n")
    assert refusal(folder) == f"facts/P36.jsonl, line 3: {said}"


def test_a_file_that_is_not_text_is_named(folder: Path) -> None:
    (folder / "facts" / "P36.jsonl").write_bytes(b'{"sub_label": "\xff"}')
    assert refusal(folder) == "facts/P36.jsonl: not UTF-8 text"


def test_a_folder_that_is_not_there_or_holds_no_pararel_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"no folder {str(tmp_path / 'none')!r}"
    (tmp_path / "patterns").mkdir()
    assert refusal(tmp_path) == (
        f"{str(tmp_path)!r} holds no ParaRel: it has not patterns/ and facts/, "
        "or data/pattern_data/graphs_json/ and data/trex_lms_vocab/"
    )
    (tmp_path / "facts").mkdir()
    assert refusal(tmp_path).endswith("no relation has a file P*.jsonl both in patterns/ and in facts/")


def test_an_unknown_relation_is_told_which_are_known(folder: Path) -> None:
    write(folder, "P19", ["[X] was born in [Y]"], [])
    (folder / "facts" / "P31.jsonl").write_text("")  # facts alone, as published
    for name in ("P31", "P999"):
        said = refusal(folder, UnknownName, ("P36", name))
        assert said == f"no relation '{name}' with patterns and facts in ParaRel; known: P19, P36."


def test_nothing_to_ask_is_refused_and_not_returned(tmp_path: Path) -> None:
    write(tmp_path, "P36", CAPITALS[1:2], STATES)
    assert refusal(tmp_path) == (
        f"{str(tmp_path)!r}: there is nothing to ask a causal model about P36: "
        "no facts, or no pattern that ends with [Y]"
    )
    assert len(read_pararel(tmp_path, kind="masked")) == len(STATES)


# The published files


@pytest.mark.parametrize(
    ("relation", "wordings", "patterns"), [("P36", 8, 14), ("P19", 7, 13), ("P176", 10, 12), ("P1412", 2, 8)]
)
def test_the_published_relations_are_read_whole(relation: str, wordings: int, patterns: int) -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no ParaRel in {PUBLISHED}")
    with unchecked():
        causal, masked = (read_pararel(PUBLISHED, [relation], kind) for kind in ("causal", "masked"))
    lines = (PUBLISHED / "facts" / f"{relation}.jsonl").read_text(encoding="utf-8").splitlines()
    different = {(row["sub_label"], row["obj_label"]) for row in map(json.loads, lines)}
    for queries, count in ((causal, wordings), (masked, patterns)):
        assert len(queries) == count * len(different)
        assert {(query.fact.subject, query.answer) for query in queries} == different
        assert len({query.uid for query in queries}) == len(queries)
    assert all(query.prompt == query.prompt.rstrip() and "[" not in query.prompt for query in causal)
    assert all(query.prompt.count("[MASK]") == 1 for query in masked)


def test_all_of_the_published_data_is_read() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip(f"no ParaRel in {PUBLISHED}")
    with unchecked():
        queries = read_pararel(PUBLISHED)
    assert len({query.relation for query in queries}) == 39
    assert len({query.uid for query in queries}) == len(queries)
    assert refusal(PUBLISHED, UnknownName, ("P31",)).startswith("no relation 'P31' with patterns and facts")
