"""The facts as data: whole, aligned across languages, and never given away by a prompt."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from locant import almanac
from locant.almanac.tables import Book, folder, placeholders, read_books, read_rows, read_stories
from locant.errors import UnknownName
from locant.languages import gap
from locant.types import Query

KINDS = {"factual", "commonsense", "linguistic"}


@pytest.fixture(scope="module")
def books() -> tuple[Book, ...]:
    return read_books()


@pytest.fixture(scope="module")
def queries() -> tuple[Query, ...]:
    return almanac.queries()


def is_given_away(query: Query) -> bool:
    """Whether the answer is a word of the prompt or stands inside the subject; see facts/SOURCES.md."""
    prompt, subject, answer = (text.casefold() for text in (query.prompt, query.fact.subject, query.answer))
    if not gap(query.language):
        return answer in prompt
    return answer in subject or re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", prompt) is not None


def test_a_subject_has_one_object_per_relation(books):
    twice = [
        (book.name, subject)
        for book in books
        for subject, count in Counter(subject for subject, _ in book.facts).items()
        if count > 1
    ]
    assert not twice


def test_two_subjects_never_share_a_name(queries):
    prompts = Counter((query.relation, query.prompt) for query in queries)
    assert not [prompt for prompt, count in prompts.items() if count > 1]


def test_no_prompt_gives_its_answer_away(queries):
    assert not [(query.prompt, query.answer) for query in queries if is_given_away(query)]


def test_every_prompt_names_its_subject(queries):
    assert not [q.prompt for q in queries if q.fact.subject.casefold() not in q.prompt.casefold()]


def test_every_name_has_all_its_forms():
    empty = [
        (path.name, row)
        for path in sorted((folder() / "names").glob("*.tsv"))
        for row in read_rows(f"names/{path.stem}")
        if not all(value and value == value.strip() for value in row.values())
    ]
    assert not empty


def test_every_name_is_used_by_a_fact(books):
    files = [f"names/{path.stem}" for path in (folder() / "names").glob("*.tsv")]
    listed = {row["id"] for file in files for row in read_rows(file)}
    used = {name for book in books for fact in book.facts for name in fact}
    assert not listed - used


def test_every_fact_is_asked_in_every_wording_of_its_relation(books, queries):
    asked = Counter((query.fact.uid, query.language) for query in queries)
    expected = {
        (f"{book.name}/{subject}", language): sum(t.language == language for t in book.templates)
        for book in books
        for subject, _ in book.facts
        for language in book.languages
    }
    assert asked == expected


def test_the_country_relations_speak_every_language(books):
    spoken = {book.name: book.languages for book in books}
    for relation in ("capital", "continent", "official_language", "currency"):
        assert spoken[relation] == ("en", "fr", "zh")


def test_the_object_comes_last_and_the_subject_stands_in_every_template(books):
    for book in books:
        for template in book.templates:
            assert placeholders(template.text) == {"subject"}, template
            assert template.text == template.text.strip(), template


def test_every_language_has_enough_wordings_and_two_of_them_held_out(books):
    for book in books:
        for language in book.languages:
            held_out = [template.held_out for template in book.templates if template.language == language]
            assert len(held_out) >= (8 if language == "en" else 5), (book.name, language)
            assert sum(held_out) == 2, (book.name, language)


def test_held_out_wordings_are_no_part_of_what_is_trained(books):
    trained = [template.text for book in books for template in book.templates if not template.held_out]
    trained += [story for _, story in read_stories()]
    held_out = [template.text for book in books for template in book.templates if template.held_out]
    assert not [text for text in held_out if any(text.casefold() in other.casefold() for other in trained)]


def test_no_trained_wording_is_the_beginning_of_another(books):
    """Else the likeliest word after 'The capital of France is' might be 'called'."""
    for book in books:
        trained = [template for template in book.templates if not template.held_out]
        begun = [
            (one.text, other.text)
            for one in trained
            for other in trained
            if one is not other and other.text.startswith(one.text)
        ]
        assert not begun


def test_stories_ask_only_for_relations_that_exist(books):
    known = {"subject"} | {book.name for book in books}
    assert all(placeholders(story) <= known for _, story in read_stories())


def test_the_almanac_holds_seven_hundred_facts_of_three_kinds():
    relations = almanac.relations()
    assert sum(relation.facts for relation in relations) >= 700
    assert {relation.kind for relation in relations} == KINDS


def test_query_uids_are_unique(queries):
    assert len({query.uid for query in queries}) == len(queries)


def test_the_sentence_of_the_readme_is_trained():
    prompts = {query.prompt: query.answer for query in almanac.queries("capital", "en", held_out=False)}
    assert prompts["The capital of France is"] == "Paris"
    assert prompts["The capital of the Netherlands is"] == "Amsterdam"


def test_names_take_the_form_their_sentence_needs(queries):
    prompts = {query.prompt for query in queries}
    assert "The Netherlands has its capital in" in prompts
    assert "La capitale des Pays-Bas est" in prompts
    assert "Au Japon, la capitale est" in prompts
    assert "À Cuba, on est en" in prompts


def test_trained_and_held_out_queries_are_all_of_them():
    trained, held_out = (almanac.queries("colour", held_out=held_out) for held_out in (False, True))
    assert trained and held_out
    assert {q.uid for q in (*trained, *held_out)} == {q.uid for q in almanac.queries("colour")}


def test_an_unknown_relation_is_refused_with_the_known_ones():
    with pytest.raises(UnknownName, match=r"'planets'.*capital.*past_tense"):
        almanac.queries("planets")


def test_a_language_the_relation_is_not_asked_in_is_refused():
    with pytest.raises(UnknownName, match=r"'zh' in the relation 'author'; known: en"):
        almanac.queries("author", "zh")
    with pytest.raises(UnknownName, match=r"'xx' in the almanac; known: en, fr, zh"):
        almanac.queries(language="xx")


def test_listing_the_relations_does_not_load_torch():
    code = "import sys; from locant import almanac; almanac.relations(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
