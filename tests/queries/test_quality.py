"""Filters drop what they say and count it; the datasheet reports the known defects of the published sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from locant.errors import BadQuery, UnknownName
from locant.queries.datasheet import datasheet
from locant.queries.mlama import read_mlama
from locant.queries.parallel import gather_parallel
from locant.queries.paraphrases import read_paraphrases, sift_paraphrases
from locant.queries.quality import (
    FAMILIES,
    drop_ambiguous,
    drop_duplicates,
    drop_leaked,
    is_object_final,
    shared_answers,
    similar,
    stands_in,
)
from locant.types import Fact, Query
from unchecked import unchecked

SHARED = Path(__file__).parents[3] / "shared" / "data"


def ask(
    uid: str,
    subject: str,
    answer: str,
    language: str = "en",
    *,
    prompt: str = "",
    relation: str = "P36",
    number: int = 0,
    template: str = "",
) -> Query:
    fact = Fact(uid, subject, relation, answer, language)
    text = prompt or f"The capital of {subject} is"
    return Query(f"{uid}/{language}/{number}", fact, text, answer, template=template)


# Filters


def test_of_exact_duplicates_the_first_is_kept() -> None:
    one = ask("a", "France", "Paris")
    others = [
        replace(one, uid="x", fact=replace(one.fact, uid="b")),  # another fact, said the same
        replace(one, uid="y", answer="Lyon"),
        replace(one, uid="z", fact=replace(one.fact, language="fr")),
        replace(one, uid="w", prompt=one.prompt + " "),
        one,
    ]
    found = drop_duplicates([one, *others])
    assert [query.uid for query in found.queries] == ["a/en/0", "y", "z", "w"]
    assert found.dropped == {"exact duplicates": 2}


def test_queries_that_say_their_answer_are_dropped_by_where_they_say_it() -> None:
    queries = [
        ask("a", "Kuwait city", "Kuwait City"),
        ask("b", "Peru", "Lima", prompt="Peru's lima is"),
        ask("c", "Peru", "Lima", prompt="Peru's limas are"),
        ask("d", "University of Rome", "Rome", prompt="It stands in"),
    ]
    found = drop_leaked(queries)
    assert [query.fact.uid for query in found.queries] == ["c"]
    assert found.dropped == {"answer in subject": 2, "answer in prompt": 1}


@pytest.mark.parametrize(
    ("answer", "text", "language", "expected"),
    [
        ("Iran", "Iranian Airways", "en", False),
        ("iran", "Bank of IRAN, founded", "en", True),
        ("C", "Compiler", "en", False),
        ("France", "France's capital", "en", True),
        ("Straße", "STRASSE", "de", True),
        ("Helsinki", "Helsinkiin muutti", "fi", True),
        ("sinki", "Helsinki", "fi", False),
        ("東京", "東京都", "ja", True),
        ("한국", "한국의 수도", "ko", True),
        ("한국", "대한국민", "ko", False),
        ("istanbul", "İSTANBUL", "tr", True),
        ("ırmak", "IRMAK", "tr", True),
        ("ﾊﾟﾘ", "パリ市", "ja", True),
        ("a.b", "axb", "en", False),
        (" ", "a text", "en", False),
    ],
)
def test_an_answer_is_found_in_a_text_as_its_language_writes_words(
    answer: str, text: str, language: str, expected: bool
) -> None:
    assert stands_in(answer, text, language) is expected


def test_labels_that_another_language_tells_apart_are_ambiguous() -> None:
    queries = [
        ask("a", "Lancaster County", "Lincoln"),
        ask("a", "comté de Lancaster", "Lincoln (Nebraska)", "fr"),
        ask("b", "Lincolnshire", "Lincoln"),
        ask("b", "Lincolnshire", "Lincoln", "fr"),
        ask("c", "Georgia", "Tbilisi"),
        ask("c", "Géorgie (pays)", "Tbilissi", "fr"),
        ask("d", "Georgia", "Atlanta"),
        ask("d", "Géorgie (État)", "Atlanta", "fr"),
        ask("e", "Lincolnshire", "Lincoln", "fr", relation="P1"),
    ]
    found = drop_ambiguous(queries)
    dropped = [query.uid for query in queries if query not in found.queries]
    assert dropped == ["a/en/0", "b/en/0", "c/en/0", "d/en/0"]
    assert found.dropped == {"ambiguous subject": 2, "ambiguous object": 2}


def test_labels_that_no_language_tells_apart_pass_and_so_does_a_subject_that_is_not_told() -> None:
    queries = [
        ask("a", "", "French"),
        ask("b", "", "English"),
        ask("a", "", "français", "fr"),
        ask("b", "", "anglais", "fr"),
        ask("c", "Peru", "Spanish"),
        ask("d", "Peru", "Quechua"),
        ask("c", "Pérou", "espagnol", "fr"),
    ]
    assert drop_ambiguous(queries).queries == tuple(queries)


def test_the_ambiguity_of_a_label_is_that_of_a_plain_comparison_of_all_facts() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = []
    for fact in range(36):
        thing = int(torch.randint(18, (), generator=generator))
        for language, merged in (("en", 3), ("fr", 4), ("fi", 2)):
            if torch.rand((), generator=generator) < 0.8:
                label = f"{language}{thing // merged if thing < 8 else thing}"
                queries.append(ask(str(fact), label, "o", language))
    labels: dict[str, dict[str, str]] = {}
    for query in queries:
        labels.setdefault(query.fact.uid, {})[query.language] = query.fact.subject
    expected = [
        query
        for query in queries
        if not any(
            own.get(query.language) == query.fact.subject
            and other.get(query.language) == query.fact.subject
            and any(own[name] != other[name] for name in own.keys() & other.keys())
            for own in labels.values()
            for other in labels.values()
        )
    ]
    found = drop_ambiguous(queries)
    assert list(found.queries) == expected
    assert 0 < found.dropped["ambiguous subject"] == len(queries) - len(expected)


VECTORS = {"a": [1.0, 0.0], "b": [2.0, 0.2], "c": [0.0, 3.0], "d": [-1.0, 0.0], "zero": [0.0, 0.0]}


def embed(texts: Sequence[str]) -> Tensor:
    return torch.tensor([VECTORS[text] for text in texts])


def worded(prompts: str, uid: str = "f", language: str = "en") -> list[Query]:
    return [
        ask(uid, "s", "o", language, prompt=prompt, number=number) for number, prompt in enumerate(prompts.split())
    ]


def test_paraphrases_too_far_from_the_others_of_their_fact_and_language_are_dropped() -> None:
    queries = [*worded("a b c"), *worded("c", language="fr"), *worded("d", "other"), *worded("a d", "pair")]
    expected = []
    for query in queries:
        others = [
            one
            for one in queries
            if one is not query and one.fact.uid == query.fact.uid and one.language == query.language
        ]
        cosines = [
            float(torch.cosine_similarity(*(embed([one.prompt])[0] for one in (query, other)), dim=0))
            for other in others
        ]
        if not cosines or sum(cosines) / len(cosines) >= 0.3:
            expected.append(query)
    found = similar(queries, embed, 0.3)
    assert list(found.queries) == expected
    assert [query.prompt for query in expected] == ["a", "b", "c", "d"]
    assert found.dropped == {"unlike the others": 3}


def test_each_different_prompt_is_embedded_once_and_equal_ones_are_alike() -> None:
    asked: list[str] = []

    def counted(texts: Sequence[str]) -> Tensor:
        asked.extend(texts)
        return embed(texts)

    found = similar(worded("b b a b"), counted, 0.9)
    assert asked == ["b", "a"]
    assert len(similar(worded("b b b"), embed, 1.0).queries) == 3
    assert len(found.queries) == 4
    assert similar((), counted, 0.5).queries == () and asked == ["b", "a"]


def test_an_embedding_that_does_not_fit_is_refused() -> None:
    for bad in (torch.zeros(3), torch.zeros(1, 2), torch.full((3, 2), torch.nan)):
        with pytest.raises(UnknownName, match="not a finite vector for each of 3 texts"):
            similar(worded("a b c"), lambda _, bad=bad: bad, 0.5)
    with pytest.raises(UnknownName, match="from -1 to 1, not 2"):
        similar(worded("a b"), embed, 2.0)


# Measures


@pytest.mark.parametrize(
    ("prompt", "template", "expected"),
    [
        ("X is", "[X] is [Y].", True),
        ("Fill in.\n____ is X.\nAnswer:", "[Y] is [X].", False),
        ("X is", "", True),
        ("X is [MASK] .", "", True),
        ("[MASK] is X.", "", False),
        ("X is", "object-final", True),
        ("X in city", "blank deleted mid-sentence", False),
    ],
)
def test_whether_a_wording_ends_with_its_object_is_told_by_template_or_mask(
    prompt: str, template: str, expected: bool
) -> None:
    assert is_object_final(ask("a", "s", "o", prompt=prompt, template=template)) is expected


def test_languages_that_share_an_answer_string_are_paired() -> None:
    said = {"en": "Madrid", "fr": "Madrid", "fi": "madrid", "hu": "Madrid", "ja": "マドリード"}
    (fact,) = gather_parallel([ask("a", "s", answer, language) for language, answer in said.items()])
    assert shared_answers(fact) == {("en", "fr"), ("en", "hu"), ("fr", "hu")}


# The datasheet


def row(sheet: pl.DataFrame, part: str, name: str) -> dict[str, object]:
    """The one row of this name, without what has nothing to count."""
    (found,) = sheet.filter((pl.col("part") == part) & (pl.col("name") == name)).to_dicts()
    return {key: value for key, value in found.items() if value is not None and key not in ("part", "name")}


SMALL = [
    *(ask("a", "France", "Paris", number=number, template="[X]: [Y]") for number in range(3)),
    ask("a", "France", "Paris", "fr", template="[Y], [X]"),
    ask("b", "Kuwait City", "Kuwait", template="[X] [Y]"),
    ask("b", "Koweït", "Koweït ville", "fr", template="[X] [Y]"),
    ask("c", "Oslo", "Norway", relation="P17", template="[X] [Y]"),
    ask("c", "Oslo", "Norvège", "fr", relation="P17", template="[Y] [X]"),
    ask("c", "オスロ", "ノルウェー", "ja", relation="P17", template="[X]は[Y]です"),
]


def test_the_datasheet_counts_a_small_set_as_one_does_by_hand() -> None:
    sheet = datasheet(SMALL)
    assert row(sheet, "all", "all") == {
        "facts": 3,
        "queries": 9,
        "queries_per_fact": pytest.approx(9 / 7),
        "fewest": 1,
        "most": 3,
        "object_final": pytest.approx(6 / 9),
        "answer_inside": pytest.approx(1 / 7),
        "same_answer": pytest.approx(1 / 4),
        "equal_counts": pytest.approx(5 / 7),
    }
    assert row(sheet, "before", "all") == row(sheet, "all", "all")
    assert row(sheet, "language", "fr") == {
        "facts": 3,
        "queries": 3,
        "queries_per_fact": 1.0,
        "fewest": 1,
        "most": 1,
        "object_final": pytest.approx(1 / 3),
        "answer_inside": 0.0,
        "same_answer": pytest.approx(1 / 3),
    }
    assert "same_answer" not in row(sheet, "language", "en")
    assert row(sheet, "language", "en")["answer_inside"] == pytest.approx(1 / 3)
    assert row(sheet, "family", "Indo-European")["queries"] == 8
    assert row(sheet, "family", "Japonic")["queries"] == 1
    assert row(sheet, "relation", "P17")["equal_counts"] == 1.0
    assert row(sheet, "relation", "P36")["equal_counts"] == pytest.approx(1 / 2)
    assert row(sheet, "language/relation", "en/P36")["most"] == 3
    assert row(sheet, "pair", "en-fr") == {"facts": 3, "same_answer": pytest.approx(1 / 3)}
    assert row(sheet, "pair", "fr-ja") == {"facts": 1, "same_answer": 0.0}


def test_the_datasheet_says_what_each_filter_dropped_and_counts_what_is_left() -> None:
    once = drop_duplicates(SMALL)
    fair = drop_leaked(once.queries)
    sheet = datasheet(SMALL, [once, fair])
    dropped = sheet.filter(pl.col("part") == "dropped").select("name", "dropped").rows()
    assert dropped == [("exact duplicates", 2), ("answer in subject", 1), ("answer in prompt", 0)]
    assert row(sheet, "before", "all")["queries"] == 9
    assert row(sheet, "all", "all")["queries"] == len(fair.queries) == 6
    assert row(sheet, "relation", "P36")["equal_counts"] == 1.0


def test_nothing_left_is_counted_too_but_nothing_at_all_is_refused() -> None:
    leaked = SMALL[4:5]
    sheet = datasheet(leaked, [drop_leaked(leaked)])
    assert row(sheet, "all", "all") == {"facts": 0, "queries": 0}
    assert set(sheet.get_column("part")) == {"before", "dropped", "all"}
    with pytest.raises(BadQuery, match="no queries"):
        datasheet(())


def test_an_unknown_languages_family_is_said_to_be_unknown() -> None:
    assert row(datasheet([ask("a", "s", "o", "tlh")]), "family", "unknown")["queries"] == 1


def test_every_published_language_has_a_family() -> None:
    found = [path.name for name in ("mlama", "mpararel") for path in (SHARED / name).glob("*") if path.is_dir()]
    if not found:
        pytest.skip(f"no mlama in {SHARED}")
    assert not set(found) - FAMILIES.keys()
    assert (FAMILIES["fi"], FAMILIES["hu"], FAMILIES["fr"]) == ("Uralic", "Uralic", "Indo-European")


# The published files


@cache
def published() -> tuple[tuple[Query, ...], pl.DataFrame]:
    """The paraphrases and their datasheet."""
    folder = SHARED / "paraphrases6"
    if not folder.is_dir():
        pytest.skip(f"no paraphrases in {folder}")
    with unchecked():
        queries = read_paraphrases(folder, damaged=True)
        return queries, datasheet(queries)


def test_the_datasheet_of_the_paraphrases_tells_their_size_and_their_lost_blanks() -> None:
    _, sheet = published()
    everything = row(sheet, "all", "all")
    assert (everything["facts"], everything["queries"]) == (6_631, 192_701)
    assert (everything["fewest"], everything["most"]) == (2, 17)
    assert everything["queries_per_fact"] == pytest.approx(192_701 / 6_631 / 6)
    # Of sentences; of templates, which the files do not name: fi 33 %, hu 13 %, ja and ko 0.6 %
    shares = {"en": 1.0, "fr": 1.0, "fi": 0.288, "hu": 0.145, "ja": 0.0040, "ko": 0.0039}
    for language, share in shares.items():
        assert row(sheet, "language", language)["object_final"] == pytest.approx(share, abs=5e-4)


def test_the_datasheet_of_the_paraphrases_tells_their_unequal_counts() -> None:
    queries, sheet = published()
    relations = sheet.filter(pl.col("part") == "relation")
    assert relations.height == 32
    equal = set(relations.filter(pl.col("equal_counts") == 1).get_column("name"))
    assert len(equal) == 10
    counts = Counter((one.relation, one.fact.uid, one.language) for one in queries)
    numbers: dict[str, set[int]] = {}
    for (relation, _, _), count in counts.items():
        numbers.setdefault(relation, set()).add(count)  # each fact of a relation has the same wordings here
    assert equal == {relation for relation, found in numbers.items() if len(found) == 1}


def test_the_datasheet_of_the_paraphrases_tells_their_shared_and_given_answers() -> None:
    queries, sheet = published()
    answers: dict[str, dict[str, str]] = {}
    for one in queries:
        answers.setdefault(one.language, {})[one.fact.uid] = one.answer
    pairs = {"en-fr": 0.408, "en-fi": 0.371, "en-hu": 0.310, "ja-ko": 0.021, "en-ja": 0.030}
    for pair, share in pairs.items():
        one, other = pair.split("-")
        plain = sum(answers[other][uid] == answer for uid, answer in answers[one].items()) / len(answers[one])
        assert row(sheet, "pair", pair)["same_answer"] == pytest.approx(plain)
        assert plain == pytest.approx(share, abs=5e-4)
    assert row(sheet, "language", "hu")["same_answer"] == row(sheet, "pair", "en-hu")["same_answer"]
    assert row(sheet, "language", "en")["answer_inside"] == pytest.approx(0.108, abs=5e-4)


def test_the_datasheet_of_the_paraphrases_tells_their_empty_facts() -> None:
    queries = [one for one in published()[0] if one.language == "ja"]
    with unchecked():
        sheet = datasheet(queries, [sift_paraphrases(SHARED / "paraphrases6", ["ja"])])
    assert row(sheet, "dropped", "facts without a sentence") == {"dropped": 3_460}
    assert row(sheet, "dropped", "blank deleted mid-sentence") == {"dropped": 30_000}
    assert row(sheet, "all", "all")["queries"] == 119


def test_published_labels_are_few_that_name_two_things() -> None:
    folder = SHARED / "mlama"
    if not folder.is_dir():
        pytest.skip(f"no mLAMA in {folder}")
    with unchecked():
        queries = read_mlama(folder, ["en", "fr", "nl"], relations=["P36", "P1376"], kind="masked")
        found = drop_ambiguous(queries)
    dropped = set(queries) - set(found.queries)
    assert len(dropped) == sum(found.dropped.values()) > 0
    assert len(dropped) < 0.1 * len(queries)
