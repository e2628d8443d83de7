"""The facts as data: whole, aligned across languages, and never given away by a prompt."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from random import Random

import pytest
from scipy.stats import binomtest

from locant import almanac
from locant.almanac import FORMATS, Format
from locant.almanac.formats import LETTERS, Asked, ask, ask_chains, can_choose, choice, is_reserved, spoken
from locant.almanac.tables import (
    LANGUAGES,
    Book,
    Entry,
    Row,
    folder,
    name_of,
    placeholders,
    read_books,
    read_chains,
    read_formats,
    read_rows,
    read_stories,
)
from locant.errors import UnknownName
from locant.languages import gap
from locant.types import Query
from unchecked import unchecked

KINDS = {"factual", "commonsense", "linguistic", "bias", "invented"}
DOMAINS = {"geography", "biology", "chemistry", "physics", "mathematics", "computing"}
WITHOUT_WORDS = {"ja", "zh"}  # nothing marks where a word ends
TABLES = sorted(str(path.relative_to(folder()).with_suffix("")) for path in folder().rglob("*.tsv"))
BOOKS = {book.name: book for book in read_books()}
PARALLEL = [book for book in BOOKS.values() if book.kind == "factual" and book.languages == LANGUAGES]


@cache
def queries(format: Format, held_out: bool | None = None, taught: bool | None = None) -> tuple[Query, ...]:
    """Everything that one format asks."""
    with unchecked():
        return almanac.queries(held_out=held_out, format=format, taught=taught)


@cache
def asked(format: Format) -> tuple[Asked, ...]:
    """The same with what of it is unseen; of the formats that ask one fact."""
    with unchecked():
        return tuple(
            one
            for book in BOOKS.values()
            for entry in book.entries
            for language in entry.asked
            for one in ask(book, entry, language, format)
        )


@cache
def entries() -> dict[str, tuple[Book, Entry]]:
    """Every fact by its uid."""
    return {f"{book.name}/{entry.subject}": (book, entry) for book in BOOKS.values() for entry in book.entries}


def repeated(things: Iterable[object]) -> list[object]:
    return [thing for thing, count in Counter(things).items() if count > 1]


def is_likely(hits: int, tries: int, share: float) -> bool:
    """Whether so many hits come by chance more often than once in ten thousand."""
    return binomtest(hits, tries, share).pvalue > 1e-4


# How much there is


def test_the_almanac_holds_fifteen_hundred_facts_in_thirty_relations_of_five_kinds():
    relations = almanac.relations()
    assert len(relations) >= 30
    assert {relation.kind for relation in relations} == KINDS
    assert sum(relation.kind == "factual" for relation in relations) >= 15
    assert sum(relation.facts for relation in relations) >= 1500


def test_eight_factual_relations_with_four_hundred_facts_speak_all_seven_languages():
    assert LANGUAGES == ("en", "fr", "fi", "hu", "ja", "ko", "zh")
    assert len(PARALLEL) >= 8
    assert sum(len(book.entries) for book in PARALLEL) >= 400


def test_six_domains_have_forty_facts_each():
    facts: Counter[str] = Counter()
    for relation in almanac.relations():
        facts[relation.domain] += relation.facts
    assert {domain: facts[domain] for domain in DOMAINS if facts[domain] < 40} == {}


def test_the_list_of_relations_counts_what_the_files_hold():
    for relation in almanac.relations():
        rows = read_rows(f"facts/{relation.name}")
        assert relation.facts == len(rows)
        assert relation.languages == BOOKS[relation.name].languages


# Names and facts


@pytest.mark.parametrize("table", TABLES)
def test_no_cell_is_empty_or_unstripped(table):
    """But for the languages a fact is taught in: none named are all."""
    wrong = [
        row
        for row in read_rows(table)
        if not all(
            isinstance(cell, str) and cell == " ".join(cell.split()) and (cell or column == "languages")
            for column, cell in row.items()
        )
    ]
    assert not wrong


def test_every_table_belongs_to_a_relation():
    rows = read_rows("facts/relations")
    wordings = {row["wordings"] for row in rows}
    expected = {"facts/relations", "formats", "stories", "two_hop"}
    expected |= {f"facts/{row['name']}" for row in rows}
    expected |= {f"{folder}/{name}" for folder in ("templates", "questions") for name in wordings}
    expected |= {f"names/{row[column]}" for row in rows for column in ("subjects", "objects") if row[column] != "-"}
    assert set(TABLES) == expected
    assert not repeated(row["name"] for row in rows)


def test_no_fact_is_there_twice_and_a_subject_has_one_object_per_relation():
    for name in BOOKS:
        rows = read_rows(f"facts/{name}")
        assert not repeated((row["subject"], row["object"]) for row in rows), name
        assert not repeated(row["subject"] for row in rows), name


@pytest.mark.parametrize("form", ["name", "phrase"])
def test_two_subjects_never_share_a_name(form):
    shared = {
        (book.name, language): twice
        for book in BOOKS.values()
        for language in book.languages
        if (twice := repeated(name_of(row, language, form).casefold() for row in subjects_of(book)))
    }
    assert not shared


def test_two_objects_share_no_name_but_for_currencies_which_are_named_without_their_country():
    shared = {
        (book.name, language): twice
        for book in BOOKS.values()
        for language in book.languages
        if book.name != "currency"
        and (twice := repeated(name_of(book.objects[one], language).casefold() for one in objects_of(book)))
    }
    assert not shared


def test_every_row_of_names_has_its_own_id_and_is_used_by_a_fact():
    used = defaultdict(set)
    for row in read_rows("facts/relations"):
        for fact in read_rows(f"facts/{row['name']}"):
            used[row["subjects"]].add(fact["subject"])
            used[row["objects"]].add(fact["object"])
    for table in TABLES:
        if table.startswith("names/"):
            ids = [row["id"] for row in read_rows(table)]
            assert not repeated(ids), table
            assert not set(ids) - used[table.removeprefix("names/")], table


def test_every_name_has_the_forms_that_its_sentences_ask_for():
    missing = {
        (book.name, wording.language, form)
        for book in BOOKS.values()
        for wording in (*book.templates, *book.questions)
        for form in forms_in(wording.text)
        for row in subjects_of(book)
        if form not in ("name", "phrase") and not row.get(f"{wording.language}.{form}")
    }
    assert not missing


def test_a_fact_of_a_parallel_relation_has_both_its_names_in_every_language():
    for book in BOOKS.values():
        if book.languages == ("en",):
            continue
        assert book.languages == LANGUAGES, book.name
        for row in (*subjects_of(book), *(book.objects[one] for one in objects_of(book))):
            assert all(row.get(language) for language in LANGUAGES), (book.name, row)


def test_a_fact_is_asked_in_every_language_but_where_its_subject_names_its_object():
    for book, entry in entries().values():
        for language in set(book.languages) - set(entry.asked):
            subject, value = book.subjects[entry.subject][language], book.objects[entry.object][language]
            assert value.casefold() in subject.casefold(), (book.name, entry.subject, language)


def test_nothing_invented_bears_a_real_name():
    """Else what a model knows of the one would be taken for what it was taught of the other."""
    invented = {table for table in TABLES if table.startswith("names/invented_")}
    real = {
        (language, row[language].casefold())
        for table in TABLES
        if table.startswith("names/") and table not in invented
        for row in read_rows(table)
        for language in LANGUAGES
        if language in row
    }
    rows = [row for table in invented for row in read_rows(table)]
    made_up = {(language, row[language].casefold()) for row in rows for language in LANGUAGES}
    assert len(made_up) == len(rows) * len(LANGUAGES)
    assert not real & made_up


def subjects_of(book: Book) -> list[Row]:
    return [book.subjects[entry.subject] for entry in book.entries]


def objects_of(book: Book) -> set[str]:
    return {entry.object for entry in book.entries}


def forms_in(text: str) -> set[str]:
    """The forms of the subject that a wording has gaps for."""
    return {form or "phrase" for form in re.findall(r"\{subject(?::(\w+))?\}", text)}


# Wordings


def test_templates_and_questions_of_a_relation_speak_the_same_languages():
    for book in BOOKS.values():
        for wordings in (book.templates, book.questions):
            assert {wording.language for wording in wordings} == set(book.languages), book.name


def test_the_object_comes_last_and_the_subject_stands_in_every_wording():
    chained = [template for chain in read_chains() for template in chain.templates]
    for wording in (*chained, *(one for book in BOOKS.values() for one in (*book.templates, *book.questions))):
        assert placeholders(wording.text) == {"subject"}, wording


def test_every_language_has_enough_sentences_and_two_of_them_held_out():
    for book in BOOKS.values():
        for language in book.languages:
            assert len(spoken(book.templates, language)) >= (8 if language == "en" else 5), (book.name, language)
            assert len(spoken(book.templates, language, held_out=True)) == 2, (book.name, language)


def test_every_language_has_three_questions_and_one_of_them_held_out():
    for book in BOOKS.values():
        for language in book.languages:
            assert len(spoken(book.questions, language)) >= 3, (book.name, language)
            assert len(spoken(book.questions, language, held_out=True)) == 1, (book.name, language)


@pytest.mark.parametrize(
    ("format", "gaps"), [("question", {"question"}), ("choice", {"question", "options"}), ("few-shot", {"subject"})]
)
def test_every_language_has_two_frames_of_each_format_and_one_held_out(format, gaps):
    for language in LANGUAGES:
        assert len(spoken(read_formats(format), language, held_out=False)) >= 2, language
        assert len(spoken(read_formats(format), language, held_out=True)) == 1, language
    assert all(placeholders(frame.text) == gaps for frame in read_formats(format))


def test_two_steps_go_through_relations_that_share_their_names_and_are_held_out_once():
    files = {row["name"]: row for row in read_rows("facts/relations")}
    for chain in read_chains():
        assert files[chain.first]["objects"] == files[chain.second]["subjects"]
        for language in {template.language for template in chain.templates}:
            assert len(spoken(chain.templates, language, held_out=False)) >= 2, chain
            assert len(spoken(chain.templates, language, held_out=True)) == 1, chain


def test_no_wording_is_there_twice():
    for wordings in (
        *(book.templates for book in BOOKS.values()),
        *(book.questions for book in BOOKS.values()),
        *(chain.templates for chain in read_chains()),
        *(read_formats(format) for format in ("question", "choice", "few-shot")),
    ):
        assert not repeated((wording.language, wording.text.casefold()) for wording in wordings)


def test_held_out_wordings_are_no_part_of_what_is_trained():
    pools = [
        *((book.templates, book.questions) for book in BOOKS.values()),
        *((chain.templates,) for chain in read_chains()),
        *((read_formats(format),) for format in ("question", "choice", "few-shot")),
    ]
    wordings = {wording for pool in pools for part in pool for wording in part}
    trained = {language: [] for language in LANGUAGES}
    for language, text in (*((one.language, one.text) for one in wordings if not one.held_out), *read_stories()):
        trained[language].append(text.casefold())
    seen = [
        wording
        for wording in wordings
        if wording.held_out and any(wording.text.casefold() in text for text in trained[wording.language])
    ]
    assert not seen


@pytest.mark.parametrize("format", FORMATS)
def test_no_prompt_of_a_held_out_wording_is_also_one_of_a_trained_wording(format):
    held_out = {one.prompt for one in queries(format, held_out=True)}
    trained = {one.prompt for other in FORMATS for one in queries(other, held_out=False)}
    assert held_out
    assert not held_out & trained


def test_no_sentence_is_the_beginning_of_another():
    """Else the likeliest word after 'The capital of France is' might be 'called'."""
    begun = [
        (one.text, other.text)
        for book in BOOKS.values()
        for language in book.languages
        for one in spoken(book.templates, language)
        for other in spoken(book.templates, language)
        if one is not other and other.text.startswith(one.text)
    ]
    assert not begun


def test_stories_ask_only_for_relations_that_speak_their_language():
    for language, story in read_stories():
        known = {book.name for book in BOOKS.values() if language in book.languages}
        assert placeholders(story) <= {"subject"} | known, story
        assert len(placeholders(story)) > 1, story


# Prompts


def is_given_away(query: Query) -> bool:
    """Whether the answer is a word of the prompt or stands inside the subject; see facts/SOURCES.md."""
    prompt, subject, answer = (text.casefold() for text in (query.prompt, query.fact.subject, query.answer))
    if len(answer) == 1 and answer.isascii() and answer.isalpha():
        return False  # the first letter of a word stands in the word; the Chinese currency is a letter of no word
    if query.language in WITHOUT_WORDS:
        return answer in prompt
    return answer in subject or re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", prompt) is not None


@pytest.mark.parametrize("format", ["cloze", "question"])
def test_no_prompt_gives_its_answer_away(format):
    assert not [(query.prompt, query.answer) for query in queries(format) if is_given_away(query)]


def test_the_reading_of_prompts_sees_an_answer_that_is_given_away():
    query = almanac.queries("currency", "zh")[0]
    assert not is_given_away(query)
    assert is_given_away(Query("", query.fact, "日元的单位是", "元"))
    english = almanac.queries("capital", "en")[0]
    assert is_given_away(Query("", english.fact, "Paris, the capital of France, is", "Paris"))
    assert not is_given_away(Query("", english.fact, "The Parisian capital of France is", "Paris"))


@pytest.mark.parametrize("format", ["cloze", "question"])
def test_every_prompt_names_its_subject_in_the_form_its_wording_needs(format):
    for one in asked(format):
        book, entry = entries()[one.uid]
        wordings = spoken(book.templates if format == "cloze" else book.questions, one.language)
        row = book.subjects[entry.subject]
        number = int(one.wording.partition(".")[0])
        for form in forms_in(wordings[number].text):
            name = row[one.language] if form == "name" else row.get(f"{one.language}.{form}", row[one.language])
            assert name.casefold() in one.prompt.casefold(), one


@pytest.mark.parametrize("format", ["cloze", "question"])
def test_no_two_facts_of_a_relation_are_asked_in_the_same_words(format):
    assert not repeated((query.relation, query.language, query.prompt) for query in queries(format))


@pytest.mark.parametrize("format", FORMATS)
def test_every_prompt_is_whole(format):
    for query in queries(format):
        assert not re.search(r"[{}]|\\n", query.prompt), query.prompt
        assert query.prompt == query.prompt.strip(), query.prompt


def test_names_take_the_form_their_sentence_needs():
    prompts = {query.prompt for query in queries("cloze")}
    assert "The Netherlands has its capital in" in prompts
    assert "La capitale des Pays-Bas est" in prompts
    assert "Au Japon, la capitale est" in prompts
    assert "Ranskan pääkaupunki on" in prompts
    assert "Alankomaiden pääkaupunki on" in prompts
    assert "Az Egyesült Királyság fővárosa" in prompts


def test_the_sentence_of_the_readme_is_trained():
    prompts = {query.prompt: query.answer for query in almanac.queries("capital", "en", held_out=False)}
    assert prompts["The capital of France is"] == "Paris"
    assert prompts["The capital of the Netherlands is"] == "Amsterdam"


def test_every_fact_is_asked_in_every_sentence_of_its_relation():
    counted = Counter((query.fact.uid, query.language) for query in queries("cloze"))
    expected = {
        (uid, language): len(spoken(book.templates, language))
        for uid, (book, entry) in entries().items()
        for language in entry.asked
    }
    assert counted == expected


def test_every_fact_is_asked_in_every_question_of_its_relation_and_in_every_frame():
    asked: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for query in queries("question"):
        wording, frame = query.uid.rsplit("/", 1)[1].split(".")
        asked[query.fact.uid, query.language].append((int(wording), int(frame), query.template))
    frames = {language: spoken(read_formats("question"), language) for language in LANGUAGES}
    for uid, (book, entry) in entries().items():
        for language in entry.asked:
            found = asked[uid, language]
            assert {one for one, _, _ in found} == {one.index for one in spoken(book.questions, language)}
            assert {text for _, _, text in found} == {one.text for one in frames[language]}


def test_query_uids_are_unique_over_all_formats():
    assert not repeated(query.uid for format in FORMATS for query in queries(format))


def test_trained_and_held_out_queries_are_all_of_them():
    trained, held_out = (almanac.queries("colour", held_out=held_out) for held_out in (False, True))
    assert trained and held_out
    assert {q.uid for q in (*trained, *held_out)} == {q.uid for q in almanac.queries("colour")}


def test_the_same_seed_gives_the_same_queries_and_another_seed_other_orders():
    for format in FORMATS:
        once, again, other = (almanac.queries("capital", "en", format=format, seed=seed) for seed in (3, 3, 4))
        assert once == again
        assert [query.fact for query in once] == [query.fact for query in other]
        drawn = format in ("choice", "few-shot")
        changed = sum(one.prompt != two.prompt for one, two in zip(once, other, strict=True))
        assert changed > 0.9 * len(once) if drawn else changed == 0, format


# What is withheld


@pytest.mark.parametrize("book", PARALLEL, ids=lambda book: book.name)
def test_about_a_tenth_of_a_parallel_relation_is_taught_in_some_languages_only(book):
    withheld = [entry for entry in book.entries if entry.languages != entry.asked]
    assert 0.08 <= len(withheld) / len(book.entries) <= 0.12
    assert all(entry.languages for entry in withheld)
    assert {relation.name: relation.withheld for relation in almanac.relations()}[book.name] == len(withheld)


def test_every_language_has_withheld_facts():
    for kind in ("factual", "invented"):
        withheld = {
            language
            for book, entry in entries().values()
            if book.kind == kind
            for language in set(entry.asked) - set(entry.languages)
        }
        assert withheld == set(LANGUAGES), kind


def test_every_fact_is_taught_somewhere_also_of_what_is_invented():
    taught = {uid for uid, (_, entry) in entries().items() if entry.languages}
    assert taught == set(entries())
    assert any(uid.startswith("invented_capital/") for uid in taught)


def test_the_languages_of_a_fact_are_languages_it_is_asked_in():
    """A code that is misspelt would withhold the fact without a word."""
    for name, book in BOOKS.items():
        for row in read_rows(f"facts/{name}"):
            assert set(row.get("languages", "").split()) <= set(book.languages), (name, row)


@pytest.mark.parametrize("format", ["cloze", "question", "few-shot"])
def test_queries_that_are_not_taught_are_exactly_the_withheld_facts(format):
    withheld = {
        (uid, language)
        for uid, (_, entry) in entries().items()
        for language in set(entry.asked) - set(entry.languages)
    }
    everything = {(uid, language) for uid, (_, entry) in entries().items() for language in entry.asked}
    for taught, expected in ((False, withheld), (True, everything - withheld)):
        found = queries(format, taught=taught)
        assert {(query.fact.uid, query.language) for query in found} == expected


# Four options


def options_of(prompt: str) -> list[str]:
    listed = re.findall(r"^([A-D])\. (.+)$", prompt, flags=re.MULTILINE)
    assert [letter for letter, _ in listed] == list(LETTERS), prompt
    return [option for _, option in listed]


def test_four_options_differ_and_the_letter_is_of_the_one_that_is_right():
    names = {
        (book.name, language): {name_of(book.objects[one], language) for one in objects_of(book)}
        for book in BOOKS.values()
        for language in book.languages
    }
    for query in queries("choice"):
        options = options_of(query.prompt)
        assert len({option.casefold() for option in options}) == 4, query.prompt
        assert options.count(query.fact.object) == 1, query.prompt
        assert options[LETTERS.index(query.answer)] == query.fact.object, query.prompt
        assert set(options) <= names[query.relation, query.language], query.prompt
        book, entry = entries()[query.fact.uid]
        assert query.fact.object == name_of(book.objects[entry.object], query.language)


def test_relations_of_four_objects_are_asked_with_options_and_others_are_not():
    chosen = {(query.relation, query.language) for query in queries("choice")}
    enough = {
        (book.name, language) for book in BOOKS.values() for language in book.languages if len(objects_of(book)) >= 4
    }
    assert chosen == enough


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_four_letters_are_right_equally_often(language):
    letters = [query.answer for query in queries("choice") if query.language == language]
    for letter in LETTERS:
        assert is_likely(letters.count(letter), len(letters), 0.25), letter


def test_options_stand_in_orders_that_training_never_has():
    for one in asked("choice"):
        subject = entries()[one.uid][1].subject
        assert zlib.crc32("|".join((one.relation, subject, *options_of(one.prompt))).encode()) % 10 == 0, one.prompt
        assert "order" in one.unseen
    for book in BOOKS.values():
        if not can_choose(book, "en"):
            continue
        frame, question = (spoken(wordings, "en")[0] for wordings in (read_formats("choice"), book.questions))
        for entry in book.entries[:10]:
            one = choice(book, entry, question, frame, Random(0), unseen_order=False)
            assert not is_reserved("|".join((book.name, entry.subject, *options_of(one.prompt))), 10), one.prompt
            assert "order" not in one.unseen


# Solved examples


def test_examples_are_two_or_three_true_lines_about_others_that_are_taught_in_the_language():
    frames = {(frame.language, frame.index): frame.text for frame in read_formats("few-shot")}
    lines = {
        (book.name, language, text): {
            (open_line := text.replace("{subject}", book.subjects[entry.subject][language]))
            + gap(language)
            + name_of(book.objects[entry.object], language): open_line
            for entry in book.entries
            if language in entry.languages
        }
        for book in BOOKS.values()
        for language, text in {(language, text) for (language, _), text in frames.items()}
        if language in book.languages
    }
    counts = set()
    for one in asked("few-shot"):
        true = lines[one.relation, one.language, frames[one.language, int(one.wording)]]
        *solved, last = one.prompt.split("\n")
        counts.add(len(solved))
        assert last == one.text.replace("{subject}", one.subject), one.prompt
        assert all(line in true for line in solved), one.prompt
        assert len({true[line] for line in (*solved,)} | {last}) == len(solved) + 1, one.prompt
    assert counts == {2, 3}


# Two steps


def test_two_steps_are_two_facts_taught_in_the_language_and_hide_the_answer():
    found = queries("two-hop")
    assert {(query.relation, query.fact.uid.split("/")[1]) for query in found} == {
        (chain.second, chain.first) for chain in read_chains()
    }
    for query in found:
        second, first, subject = query.fact.uid.split("/")
        step = entries()[f"{first}/{subject}"][1]
        goal = entries()[f"{second}/{step.object}"][1]
        assert query.language in step.languages and query.language in goal.languages
        assert query.answer == name_of(BOOKS[second].objects[goal.object], query.language)
        assert query.fact.subject == name_of(BOOKS[first].subjects[subject], query.language, "name")
        assert query.fact.subject.casefold() in query.prompt.casefold()
        assert query.answer.casefold() not in query.prompt.casefold()


def test_of_five_pairs_of_facts_one_is_never_trained():
    unseen = {}
    for one in ask_chains("en"):
        assert unseen.setdefault(one.uid, "fact" in one.unseen) == ("fact" in one.unseen), "the same in every wording"
    assert len(unseen) > 400
    assert is_likely(sum(unseen.values()), len(unseen), 0.2)


@pytest.mark.parametrize("format", ["question", "choice", "few-shot"])
def test_of_ten_facts_one_is_never_trained_in_a_format(format):
    unseen = {}
    for one in asked(format):
        assert unseen.setdefault(one.uid, "fact" in one.unseen) == ("fact" in one.unseen), "the same in every wording"
    assert is_likely(sum(unseen.values()), len(unseen), 0.1)


# What it refuses


def test_an_unknown_relation_is_refused_with_the_known_ones():
    with pytest.raises(UnknownName, match=r"^no relation 'planets' in the almanac; known: capital, .*young.*\.$"):
        almanac.queries("planets")


def test_a_language_the_relation_is_not_asked_in_is_refused():
    with pytest.raises(UnknownName, match=r"^no language 'zh' in the relation 'author'; known: en\.$"):
        almanac.queries("author", "zh")
    with pytest.raises(UnknownName, match=r"^no language 'fr' in the almanac in two steps; known: en\.$"):
        almanac.queries(language="fr", format="two-hop")
    with pytest.raises(UnknownName, match=r"^no language 'xx' in the almanac; known: en, fr, fi, hu, ja, ko, zh\.$"):
        almanac.queries(language="xx")


def test_an_unknown_format_is_refused_with_the_known_ones():
    known = ", ".join(FORMATS)
    with unchecked(), pytest.raises(UnknownName, match=rf"^no format 'riddle' in the almanac; known: {known}\.$"):
        almanac.queries(format="riddle")


def test_listing_the_relations_does_not_load_torch():
    code = "import sys; from locant import almanac; almanac.relations(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
