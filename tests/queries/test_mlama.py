"""mLAMA's facts are asked in several languages, with the blank where the pattern has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path

import pytest

import families
from locant.errors import BadFile, LocantError, UnknownName
from locant.queries import Kind, resolve
from locant.queries.mlama import blank_frame, ends_with_object, frame, read_mlama
from locant.queries.parallel import gather_parallel
from locant.types import Fact, Query
from unchecked import unchecked

SHARED = Path(__file__).parents[3] / "shared" / "data"
FRAMED = ["en", "fr", "fi", "hu", "ja", "ko", "zh", "de", "es", "it", "nl", "pt", "ru", "tr", "vi", "ar", "uk"]

TEMPLATES = {
    "en": {"P36": "The capital of [X] is [Y] .", "P17": "[X] is in [Y] .", "P9": "[X] [Y]"},
    "fr": {"P36": "[Y] est la capitale de [X].", "P17": "[X] est en [Y]."},
    "zh": {"P36": "[X]的首都为[Y]。", "P17": "[X]位于[Y]中。"},
}
FACTS = {
    "en": {"P36": [("France", "Paris", "u1"), ("Peru", "Lima", "u2")], "P17": [("Oslo", "Norway", "u3")]},
    "fr": {"P36": [("France", "Paris", "u1")], "P17": [("Oslo", "Norvège", "u3")]},
    "zh": {"P36": [("秘鲁", "利马", "u2")], "P17": [("奥斯陆", "挪威", "u3")]},
}
PATTERNS = {
    "en": {"P36": [("[X], whose capital is [Y]", False), ("[Y] is [X]'s capital", False)]},
    "fr": {"P36": [("[X] a pour capitale [Y]", False), ("La capitale, [X] : [Y]", True), ("[Y], [X]", True)]},
    "zh-hans": {"P36": [("[X]，首都[Y]", True)]},
}


def lines(path: Path, rows: list[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small mLAMA."""
    root = tmp_path / "mlama"
    for language, templates in TEMPLATES.items():
        rows = [{"relation": relation, "template": text} for relation, text in templates.items()]
        lines(root / language / "templates.jsonl", rows)
        for relation, facts in FACTS[language].items():
            names = ("sub_label", "obj_label", "uuid")
            lines(root / language / f"{relation}.jsonl", [dict(zip(names, fact, strict=True)) for fact in facts])
    return root


@pytest.fixture
def patterns(tmp_path: Path) -> Path:
    """A small mParaRel."""
    root = tmp_path / "mpararel"
    for language, relations in PATTERNS.items():
        for relation, some in relations.items():
            rows = [{"pattern": text, "checked-by-human": checked} for text, checked in some]
            lines(root / language / f"{relation}.jsonl", rows)
    return root


def asked(queries: tuple[Query, ...]) -> list[tuple[str, str, str]]:
    return [(one.uid, one.prompt, one.answer) for one in queries]


# What is asked


def test_masked_models_are_asked_every_template_with_a_mask_for_the_object(folder: Path) -> None:
    assert asked(read_mlama(folder, ["fr", "zh", "en"], kind="masked")) == [
        ("P17/u3/fr/0", "Oslo est en [MASK].", "Norvège"),
        ("P36/u1/fr/0", "[MASK] est la capitale de France.", "Paris"),
        ("P17/u3/zh/0", "奥斯陆位于[MASK]中。", "挪威"),
        ("P36/u2/zh/0", "秘鲁的首都为[MASK]。", "利马"),
        ("P17/u3/en/0", "Oslo is in [MASK] .", "Norway"),
        ("P36/u1/en/0", "The capital of France is [MASK] .", "Paris"),
        ("P36/u2/en/0", "The capital of Peru is [MASK] .", "Lima"),
    ]


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_other_models_are_asked_what_ends_with_the_object(folder: Path, kind: Kind) -> None:
    assert asked(read_mlama(folder, ["en", "fr", "zh"], relations=["P36", "P17"], kind=kind)) == [
        ("P17/u3/en/0", "Oslo is in", "Norway"),
        ("P36/u1/en/0", "The capital of France is", "Paris"),
        ("P36/u2/en/0", "The capital of Peru is", "Lima"),
        ("P17/u3/fr/0", "Oslo est en", "Norvège"),
        ("P36/u2/zh/0", "秘鲁的首都为", "利马"),
    ]


def test_the_blank_form_asks_every_pattern_with_the_answer_at_the_end(folder: Path) -> None:
    assert asked(read_mlama(folder, ["fr", "zh"], form="blank", relations=["P36"])) == [
        ("P36/u1/fr/0", "Complète la phrase.\n____ est la capitale de France.\nRéponse :", "Paris"),
        ("P36/u2/zh/0", "请在下面的句子中填空。\n秘鲁的首都为____。\n答案：", "利马"),
    ]
    first = read_mlama(folder, ["en"], form="blank")[0]
    assert first.prompt == "Fill in the blank.\nOslo is in ____.\nAnswer:"


def test_a_query_names_its_fact_in_its_language_and_its_template(folder: Path) -> None:
    fact = Fact("P17/u3", "Oslo", "P17", "Norvège", "fr")
    expected = Query("P17/u3/fr/0", fact, "Oslo est en", "Norvège", (), "[X] est en [Y].")
    assert read_mlama(str(folder), ["fr"]) == (expected,)


def test_facts_of_several_languages_share_their_uid(folder: Path) -> None:
    facts = gather_parallel(read_mlama(folder, ["en", "fr", "zh"], kind="masked"))
    assert {one.uid: one.answers for one in facts} == {
        "P17/u3": {"en": "Norway", "fr": "Norvège", "zh": "挪威"},
        "P36/u1": {"en": "Paris", "fr": "Paris"},
        "P36/u2": {"en": "Lima", "zh": "利马"},
    }


def test_mpararel_asks_its_many_patterns_instead(folder: Path, patterns: Path) -> None:
    found = read_mlama(folder, ["en", "fr", "zh"], patterns=patterns)
    assert asked(found) == [
        ("P36/u1/en/0", "France, whose capital is", "Paris"),
        ("P36/u2/en/0", "Peru, whose capital is", "Lima"),
        ("P36/u1/fr/0", "France a pour capitale", "Paris"),
        ("P36/u1/fr/1", "La capitale, France :", "Paris"),
        ("P36/u2/zh/0", "秘鲁，首都", "利马"),
    ]
    assert found[3].template == "La capitale, [X] : [Y]"
    blank = read_mlama(folder, ["fr"], patterns=patterns, form="blank")
    assert [one.prompt.split("\n")[1] for one in blank] == [
        "France a pour capitale ____.",
        "La capitale, France : ____.",
        "____, France.",
    ]


def test_only_reviewed_patterns_are_asked_and_keep_their_place(folder: Path, patterns: Path) -> None:
    found = read_mlama(folder, ["fr", "en"], patterns=patterns, kind="masked", reviewed_only=True)
    assert [one.uid for one in found] == [
        "P36/u1/fr/1",
        "P36/u1/fr/2",
        *(f"P36/{uuid}/en/{number}" for uuid, number in product(("u1", "u2"), (0, 1))),
    ]


def test_patterns_that_are_the_same_up_to_the_object_are_asked_once(folder: Path, patterns: Path) -> None:
    rows: list[Mapping[str, object]] = [{"pattern": text} for text in ("[X]: [Y]", "[X]: [Y].", "[X] is [Y]")]
    lines(patterns / "en" / "P36.jsonl", rows)
    causal = read_mlama(folder, ["en"], patterns=patterns)
    assert [one.uid for one in causal] == ["P36/u1/en/0", "P36/u1/en/2", "P36/u2/en/0", "P36/u2/en/2"]
    assert len(read_mlama(folder, ["en"], patterns=patterns, kind="masked")) == 6


@pytest.mark.parametrize(
    ("pattern", "language", "expected"),
    [
        ("[X] נולד ב[Y]", "he", None),
        ("[X] נולד ב- [Y] .", "he", "[X] נולד ב-"),
        ("[X]的首都[Y]。", "zh", "[X]的首都"),
        ("[X] on [Y]:ssa.", "fi", None),
        ("[X] ([Y])", "en", None),
    ],
)
def test_an_object_glued_to_the_word_before_it_is_not_cut_off(
    pattern: str, language: str, expected: str | None
) -> None:
    assert frame(pattern, language, "causal", "object-final") == expected


def test_a_wording_ends_with_its_object_if_only_punctuation_follows() -> None:
    assert [ends_with_object(text) for text in ("[X] is [Y] .", "[X]は[Y]です。", "[Y] [X]", "[X] [Y]")] == [
        True,
        False,
        False,
        True,
    ]


def test_a_subject_that_looks_like_a_place_to_fill_is_only_a_subject(folder: Path) -> None:
    lines(folder / "fr" / "P17.jsonl", [{"sub_label": "{sentence} [Y]", "obj_label": "o", "uuid": "u"}])
    (one,) = read_mlama(folder, ["fr"], form="blank", relations=["P17"])
    assert one.prompt == "Complète la phrase.\n{sentence} [Y] est en ____.\nRéponse :"


@pytest.mark.parametrize("language", FRAMED)
def test_every_frame_puts_one_sentence_before_a_cue(language: str) -> None:
    text = blank_frame(language)
    instruction, sentence, cue = text.split("\n")
    assert sentence == "{sentence}"
    assert instruction.endswith((".", "!", "。")) and cue.endswith((":", "："))
    assert cue.endswith("：") == (language in ("ja", "zh"))


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq"])
def test_each_kind_of_model_finds_its_answer_in_what_it_is_asked(tmp_path: Path, kind: Kind) -> None:
    lines(tmp_path / "en" / "templates.jsonl", [{"relation": "P1", "template": "w1 [X] w2 [Y] ."}])
    lines(tmp_path / "en" / "P1.jsonl", [{"sub_label": "w10 w11", "obj_label": "w12", "uuid": "u"}])
    (one,) = read_mlama(tmp_path, ["en"], kind=kind)
    tokens = resolve(one, families.tokenizer(), kind, 64)
    assert (tokens.prompt, tokens.answers) == ((1, 10, 11, 2), ((12,),))
    assert tokens.suffix == ((94,) if kind == "masked" else ())


# What is refused


def refusal(error: type[LocantError], folder: Path, languages: list[str], **settings: object) -> str:
    with pytest.raises(error) as caught:
        read_mlama(folder, languages, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("languages", "settings", "said"),
    [
        (["en", "tlh"], {}, "no language 'tlh'; known: en, fr, zh."),
        (["en", "en"], {}, "each once, not en, en"),
        ([], {}, "each once, not none"),
        (["en"], {"form": "cloze"}, "no form 'cloze'; there are object-final, blank"),
        (["fr"], {"relations": ["P17", "P99"]}, "no relation 'P99' with facts and patterns in fr; known: P17, P36."),
        (["en"], {"reviewed_only": True}, "mLAMA's own templates do not say what was reviewed"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    folder: Path, languages: list[str], settings: dict[str, object], said: str
) -> None:
    assert said in refusal(UnknownName, folder, languages, **settings)


def test_a_language_without_a_frame_is_told_those_there_are(folder: Path) -> None:
    (folder / "zh").rename(folder / "he")
    assert refusal(UnknownName, folder, ["en", "he"], form="blank") == (
        f"no frame for a blank in 'he'; known: {', '.join(FRAMED)}."
    )
    assert read_mlama(folder, ["he"], form="blank", kind="masked")


def test_a_language_that_mpararel_lacks_is_refused(folder: Path, patterns: Path) -> None:
    for path in (patterns / "fr").iterdir():
        path.unlink()
    (patterns / "fr").rmdir()
    said = refusal(UnknownName, folder, ["fr"], patterns=patterns)
    assert said == "no language 'fr' in mParaRel; known: en, zh-hans."


def test_a_language_with_nothing_to_ask_is_refused(folder: Path) -> None:
    said = refusal(BadFile, folder, ["en", "fr"], relations=["P36"])
    assert said.endswith("there is nothing to ask a causal model in 'fr' in the form 'object-final'")


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("P17.jsonl", "Oslo", "fr/P17.jsonl, line 2: not JSON (Expecting value, character 1)"),
        ("P17.jsonl", '{"sub_label": "x", "uuid": "u"}', "fr/P17.jsonl, line 2: its 'obj_label' is not a text"),
        ("P17.jsonl", "[]", "fr/P17.jsonl, line 2: not an object with sub_label, obj_label, uuid"),
        (
            "P17.jsonl",
            '{"sub_label": "x", "obj_label": "y", "uuid": "u3"}',
            "fr/P17.jsonl, line 2: the uuid 'u3' is that of another fact",
        ),
        (
            "templates.jsonl",
            '{"relation": "P1", "template": "[X] ."}',
            "fr/templates.jsonl, line 3: the pattern '[X] .' needs [X], and [Y] once",
        ),
        ("templates.jsonl", '{"relation": "P1"}', "fr/templates.jsonl, line 3: its 'template' is not a text"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(folder: Path, file: str, line: str, said: str) -> None:
    path = folder / "fr" / file
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    assert refusal(BadFile, folder, ["fr"]).startswith(said)


def test_a_pattern_that_does_not_say_whether_it_was_reviewed_is_named(folder: Path, patterns: Path) -> None:
    lines(patterns / "fr" / "P36.jsonl", [{"pattern": "[X] [Y]", "checked-by-human": "yes"}])
    assert read_mlama(folder, ["fr"], patterns=patterns)
    said = refusal(BadFile, folder, ["fr"], patterns=patterns, reviewed_only=True)
    assert said == "fr/P36.jsonl, line 1: its 'checked-by-human' is not true or false"


def test_a_file_that_is_not_text_and_folders_that_are_not_there_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "en" / "P17.jsonl").write_bytes(b'{"sub_label": "\xff"}')
    assert refusal(BadFile, folder, ["en"]) == "en/P17.jsonl: not UTF-8 text"
    assert refusal(BadFile, tmp_path / "none", ["en"]).startswith("no folder")
    assert refusal(BadFile, folder, ["fr"], patterns=tmp_path / "none").startswith("no folder")
    (tmp_path / "empty").mkdir()
    assert refusal(BadFile, tmp_path / "empty", ["en"]).endswith("no folder in it has templates.jsonl")


# The published files


def published() -> tuple[Path, Path]:
    for name in ("mlama", "mpararel"):
        if not (SHARED / name).is_dir():
            pytest.skip(f"no {name} in {SHARED}")
    return SHARED / "mlama", SHARED / "mpararel"


@cache
def rows(path: Path) -> tuple[dict[str, str], ...]:
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip())


@pytest.mark.parametrize("relation", ["P36", "P190"])
def test_the_published_lines_of_a_fact_have_one_uuid_in_all_languages(relation: str) -> None:
    mlama, _ = published()
    uuids: dict[str, set[str]] = {}
    numbers: dict[str, set[str]] = {}
    for path in mlama.glob(f"*/{relation}.jsonl"):
        for row in rows(path):
            uuids.setdefault(row["lineid"], set()).add(row["uuid"])
            numbers.setdefault(row["uuid"], set()).add(row["lineid"])
    assert len(uuids) == len(numbers) > 300
    assert {len(same) for same in (*uuids.values(), *numbers.values())} == {1}


@pytest.mark.parametrize(
    ("language", "ending"), [("en", 38), ("fr", 42), ("hu", 11), ("zh", 12), ("ja", 0), ("ko", 0)]
)
def test_few_published_templates_of_some_languages_end_with_the_object(language: str, ending: int) -> None:
    mlama, _ = published()
    templates = [row for row in rows(mlama / language / "templates.jsonl") if row["relation"].startswith("P")]
    assert len(templates) == 46
    assert sum(ends_with_object(row["template"]) for row in templates) == ending
    if not ending:
        with pytest.raises(BadFile, match="nothing to ask a causal model"), unchecked():
            read_mlama(mlama, [language])


def test_a_published_relation_is_read_whole_in_every_language_and_form() -> None:
    mlama, _ = published()
    languages = sorted(path.name for path in mlama.iterdir() if path.is_dir())
    counts = {language: len(rows(mlama / language / "P36.jsonl")) for language in languages}
    with unchecked():
        masked = read_mlama(mlama, languages, relations=["P36"], kind="masked")
        framed = read_mlama(mlama, [one for one in languages if one in FRAMED], relations=["P36"], form="blank")
    found = gather_parallel(masked)
    assert {name: sum(name in one.queries for one in found) for name in languages} == counts
    assert len({one.uid for one in masked}) == len(masked) == sum(counts.values())
    assert all(one.prompt.count("[MASK]") == 1 and one.fact.subject in one.prompt for one in masked)
    assert len(framed) == sum(counts[name] for name in languages if name in FRAMED)
    assert all(one.prompt.count("____") == 1 and "[" not in one.prompt for one in framed)


def test_published_patterns_multiply_the_wordings_of_a_fact() -> None:
    mlama, mpararel = published()
    with unchecked():
        every = read_mlama(mlama, ["fr", "ja", "zh"], relations=["P36"], patterns=mpararel, kind="masked")
        checked = read_mlama(
            mlama, ["fr", "zh"], relations=["P36"], patterns=mpararel, kind="masked", reviewed_only=True
        )
    for language, name in (("fr", "fr"), ("ja", "ja"), ("zh", "zh-hans")):
        patterns = rows(mpararel / name / "P36.jsonl")
        facts = len(rows(mlama / language / "P36.jsonl"))
        assert sum(one.language == language for one in every) == facts * len({row["pattern"] for row in patterns})
        if language != "ja":
            reviewed = {row["pattern"] for row in patterns if row["checked-by-human"]}
            assert sum(one.language == language for one in checked) == facts * len(reviewed)
