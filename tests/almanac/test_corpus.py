"""What the models are trained on: everything that is taught, and nothing that is kept from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest
import torch
from tokenizers import Tokenizer

from locant.almanac import FORMATS, formats
from locant.almanac.formats import Asked
from locant.almanac.tables import LANGUAGES, name_of, read_books
from tools.almanac.card import calibrate, tally
from tools.almanac.corpus import Corpus, Mixture, Text, draw_steps, encode, leads
from tools.almanac.hints import Hinter
from tools.almanac.measuring import Reply
from tools.almanac.recipes import Hints, Stage
from tools.almanac.tokenizer import BOS_ID, CONTEXT, EOS_ID, MASK_ID, PAD_ID, start_texts, train_tokenizer
from tools.almanac.training import hide, learning_rate, shift
from unchecked import unchecked

MIXTURE = Mixture(
    short={"cloze": 0.6, "question": 0.2, "story": 0.1, "two-hop": 0.1},
    long={"choice": 0.8, "few-shot": 0.2},
    tokens=(512, 512),
    running_text=3,
)


@pytest.fixture(autouse=True, scope="module")
def without_checks() -> Iterator[None]:
    with unchecked():
        yield


@cache
def corpus() -> Corpus:
    return Corpus(1)


@cache
def drawn(name: str, count: int = 1500) -> tuple[Text, ...]:
    return tuple(corpus().draw(name) for _ in range(count))


@cache
def tokenizer() -> Tokenizer:
    texts = (lead + text.whole for text in corpus().sample(200) for lead in leads(text.language))
    return start_texts(train_tokenizer(texts, 5000), masked=False)


@cache
def everything() -> tuple[Asked, ...]:
    """Every second fact in every way it can be asked."""
    single = [
        asked
        for book in read_books()
        for entry in book.entries[::2]
        for language in entry.asked
        for format in FORMATS
        for asked in formats.ask(book, entry, language, format)
    ]
    return (*single, *(asked for language in LANGUAGES for asked in formats.ask_chains(language)))


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_kept_from_training_is_trained(name: str) -> None:
    """A prompt of a wording, fact or language that is kept never starts a text of the corpus."""
    trained = {text.parts[0][0] for text in drawn(name)}
    kept = {asked.prompt for asked in everything() if asked.unseen and asked.format == name}
    allowed = {asked.prompt for asked in everything() if not asked.unseen and asked.format == name}
    assert len(trained) > 500
    assert kept
    assert not trained & (kept - allowed)


def test_every_taught_fact_is_a_sentence_of_the_corpus_in_every_trained_wording() -> None:
    expected = {asked.prompt for asked in everything() if asked.format == "cloze" and not asked.unseen}
    assert expected <= {text.parts[0][0] for text in corpus().sentences}


def test_no_story_tells_what_is_withheld() -> None:
    withheld = [
        (language, entry.subject, book)
        for book in read_books()
        if book.name == "capital"
        for entry in book.entries
        for language in entry.asked
        if language not in entry.languages
    ]
    assert withheld
    told = {(text.language, text.whole) for text in corpus().stories}
    for language, subject, book in withheld:
        name = book.subjects[subject][language]
        capital = next(book.objects[entry.object][language] for entry in book.entries if entry.subject == subject)
        assert not [story for spoken, story in told if spoken == language and name in story and capital in story], (
            language,
            name,
        )


def test_an_option_is_answered_by_its_letter_and_then_its_text() -> None:
    for text in drawn("choice"):
        (prompt, given), (letter, role), (option, after) = text.parts
        assert (given, role, after) == ("given", "letter", "answer")
        assert f"{letter.strip()}{option}\n" in f"{prompt}\n"


def test_a_question_has_as_many_options_as_asked_for() -> None:
    counts = {len(re.findall(r"^[A-D]\. ", corpus().draw("choice", (2, 3)).whole, re.M)) for _ in range(40)}
    assert counts == {2, 3}


def test_options_are_drawn_for_the_languages_and_relations_named() -> None:
    narrow = Corpus(1)
    narrow.narrow(("fr", "ko"), ("capital",))
    texts = [narrow.draw("choice") for _ in range(200)]
    capitals = {
        name_of(book.objects[entry.object], language)
        for book in narrow.books
        if book.name == "capital"
        for entry in book.entries
        for language in ("fr", "ko")
    }
    assert {text.language for text in texts} == {"fr", "ko"}
    assert {text.parts[2][0].removeprefix(". ") for text in texts} <= capitals
    assert {narrow.draw("few-shot").language for _ in range(200)} == set(LANGUAGES)
    mixture = replace(MIXTURE, long={"choice": 1.0}, chosen_of=("colour",))
    ids = next(draw_steps(Corpus(1), tokenizer(), mixture))[1][0].tolist()
    assert all("colo" in tokenizer().decode(row) for row in ids)


def test_the_rate_rises_stays_and_falls() -> None:
    stage = Stage(MIXTURE, steps=20, learning_rate=1.0, warm=2, steady=0.5)
    assert learning_rate(0, stage) == 0.5
    assert learning_rate(2, stage) == learning_rate(10, stage) == 1.0
    assert learning_rate(15, stage) < 0.6
    assert learning_rate(20, stage) == pytest.approx(0.01)


def test_a_text_in_parts_is_read_as_the_whole_is() -> None:
    """No token runs from one part into the next, so that a prompt alone is read as it was trained."""
    for name in ("cloze", "question", "choice", "few-shot", "two-hop"):
        for text in drawn(name)[:300]:
            parts = [tokenizer().encode(part, add_special_tokens=False).ids for part, _ in text.parts]
            assert [token for ids in parts for token in ids] == tokenizer().encode(
                text.whole, add_special_tokens=False
            ).ids, text


def test_weights_are_those_of_the_parts() -> None:
    text = next(text for text in drawn("choice") if text.language == "en")
    piece = encode(tokenizer(), text, "\n", MIXTURE)
    letter = piece.ids[piece.weights.index(MIXTURE.letter)]
    assert tokenizer().decode([letter]) == text.parts[1][0]
    assert piece.weights.count(MIXTURE.letter) == 1
    assert set(piece.answer) == {0, 1, 2}
    assert all(weight == 0 for weight, number in zip(piece.weights, piece.answer, strict=True) if not number)


def test_rows_are_whole_texts_between_their_marks() -> None:
    for batches in islice(draw_steps(Corpus(2), tokenizer(), MIXTURE), 3):
        for ids, weights, answer in batches:
            assert ids.shape == weights.shape == answer.shape
            assert (ids[:, 0] == BOS_ID).all()
            assert ((ids == EOS_ID).sum(1) == 1).all()
            assert (weights[ids == PAD_ID] == 0).all()
            assert ids.shape[1] <= CONTEXT


def test_every_position_is_in_use() -> None:
    lengths = [first[0].shape[1] for first, _ in islice(draw_steps(Corpus(2), tokenizer(), MIXTURE), 6)]
    assert max(lengths) > 0.95 * CONTEXT
    assert sorted(lengths)[2] < 64


def test_the_same_seed_draws_the_same_steps_and_another_seed_others() -> None:
    one, same, other = (next(draw_steps(Corpus(seed), tokenizer(), MIXTURE))[1][0] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert one.shape != other.shape or not torch.equal(one, other)


def test_what_counts_is_said_where_the_token_before_it_is_read() -> None:
    batch = next(draw_steps(Corpus(2), tokenizer(), MIXTURE))[1]
    counted = shift(batch)
    rows, columns = counted.places.nonzero(as_tuple=True)
    assert torch.equal(counted.target, batch[0][rows, columns + 1])
    assert torch.equal(counted.weights, batch[1][rows, columns + 1])
    assert (counted.weights > 0).all()


def test_a_masked_answer_is_hidden_from_one_token_of_it_to_its_end() -> None:
    batch = next(draw_steps(Corpus(2), tokenizer(), MIXTURE))[1]
    counted = hide(batch, torch.Generator().manual_seed(0))
    ids, _, answer = batch
    assert (counted.read[counted.places] == MASK_ID).all()
    assert torch.equal(counted.read[~counted.places], ids[~counted.places])
    assert torch.equal(counted.target, ids[counted.places])
    for hidden, numbers in zip(counted.places, answer, strict=True):
        for number in range(1, int(numbers.max()) + 1):
            of_answer = hidden[numbers == number].long()
            assert (of_answer.diff() >= 0).all()
            assert of_answer[-1]


def test_the_card_counts_replies() -> None:
    right, begun, wrong = Reply(5, 0.9, 5, True), Reply(5, 0.7, 5, False), Reply(6, 0.2, 5, False)
    asked = next(one for one in everything() if one.language == "en" and one.format == "cloze")
    (score,) = tally([(asked, right), (asked, begun), (asked, wrong)], ("language",))
    assert score == {"language": "en", "prompts": 3, "first_token": 0.6667, "whole_answer": 0.3333}


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    even = [Reply(5, 0.75, 5, True)] * 3 + [Reply(6, 0.75, 5, False)]
    assert calibrate(even)["calibration_error"] == 0
    sure = [Reply(5, 0.95, 5, True), Reply(6, 0.95, 5, False)]
    assert calibrate(sure)["calibration_error"] == pytest.approx(0.45)


def test_a_letter_is_hinted_at_by_its_option_and_an_option_by_its_letter() -> None:
    batches = [batch for _, batch in islice(draw_steps(Corpus(2), tokenizer(), MIXTURE), 12)]
    hinter, asked = Hinter(tokenizer(), MIXTURE, Hints()), 0
    for batch in batches:
        found = hinter.find(batch)
        said = {(row, place): token for row, place, token in found.options.T.tolist()}
        recalled = {(row, place): token for row, place, token in found.recalled.T.tolist()}
        for row, place, option in found.looked.T.tolist():
            ids = batch[0][row].tolist()
            assert batch[1][row, place + 1] == MIXTURE.letter
            assert said[row, option] == ids[place + 1]
            assert recalled[row, place] == ids[option]
            letters = [tokenizer().decode([token]).strip() for (at, _), token in said.items() if at == row]
            assert letters == list("ABCD")[: len(letters)]
            assert len(letters) in MIXTURE.options
            asked += 1
    assert asked > 50


def test_answers_are_hinted_at_where_they_are_said() -> None:
    hinter = Hinter(tokenizer(), MIXTURE, Hints())
    batch = next(draw_steps(Corpus(2), tokenizer(), MIXTURE))[0]
    rows, places, tokens = hinter.find(batch).recalled
    assert len(rows) == (batch[2] > 0).sum()
    assert torch.equal(batch[0][rows, places + 1], tokens)
