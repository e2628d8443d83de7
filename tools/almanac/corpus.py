"""What the models read: every fact in every trained wording and format, and stories, in rows of tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor

from locant.almanac import formats
from locant.almanac.formats import Asked, Format
from locant.almanac.tables import (
    LANGUAGES,
    Book,
    fill,
    placeholders,
    read_books,
    read_formats,
    read_stories,
)
from locant.languages import gap, stop
from tools.almanac.tokenizer import BOS_ID, CONTEXT, EOS_ID, PAD_ID

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]  # token ids, weights in the loss, answer number; each "row token"


@dataclass(frozen=True)
class Mixture:
    """How often each format is drawn, and what counts how much in the loss.

    Attributes:
        short, long: chances of the formats in a step's batch of sentences, and in its batch of longer texts.
        tokens: of the two batches, with padding.
        running_text: every so many steps, the sentences are running text of full length.
        words: weight of a sentence's own words. What is given in other formats counts nothing.
        answer: weight of an answer's tokens: what a sentence is about cannot be guessed, its answer can.
        letter: weight of the letter of an option.
        options: how many options a question has is drawn from these.
        chosen_in, chosen_of: languages and relations that options are drawn for; of none, for all.
    """

    short: dict[str, float]
    long: dict[str, float]
    tokens: tuple[int, int] = (1536, 3072)
    running_text: int = 12
    words: float = 0.3
    answer: float = 3.0
    letter: float = 10.0
    options: tuple[int, ...] = (2, 3, 4, 4)
    chosen_in: tuple[str, ...] = ()
    chosen_of: tuple[str, ...] = ()


Role = Literal["words", "given", "answer", "letter"]


@dataclass(frozen=True)
class Text:
    """A text in parts: words of its own, what is given and cannot be guessed, answers and their letters."""

    language: str
    parts: tuple[tuple[str, Role], ...]

    @property
    def whole(self) -> str:
        return "".join(part for part, _ in self.parts)


@dataclass(frozen=True)
class Piece:
    """A text as tokens, what each counts in the loss, and the number of the answer it belongs to, else 0."""

    ids: list[int]
    weights: list[float]
    answer: list[int]


class Corpus:
    """Draws texts of every format, each over all that may be trained."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.books = read_books()
        self.taught = [
            (book, entry, language) for book in self.books for entry in book.entries for language in entry.languages
        ]
        self.sentences = [
            _text(asked)
            for book, entry, language in self.taught
            for asked in formats.ask(book, entry, language, "cloze")
            if not asked.unseen
        ]
        self.stories = write_stories(self.books)
        chains = [
            _text(asked) for language in LANGUAGES for asked in formats.ask_chains(language) if not asked.unseen
        ]
        self._plain: dict[str, Callable[[], Text]] = {
            "cloze": _cycle(self.sentences, self.random),
            "story": _cycle(self.stories, self.random),
            "two-hop": _cycle(chains, self.random),
            "question": self._question,
            "few-shot": self._few_shot,
        }
        drawn: tuple[Format, ...] = ("question", "choice", "few-shot")
        self._open = {
            name: [
                (book, entry, language)
                for book, entry, language in self.taught
                if not formats.is_kept(book, entry, name) and (name != "choice" or formats.can_choose(book, language))
            ]
            for name in drawn
        }

    def draw(self, name: str, options: Sequence[int] = (4,)) -> Text:
        """A text of one format; options are for multiple choice."""
        count = self.random.choice(options)
        return self._choice(count) if name == "choice" else self._plain[name]()

    def narrow(self, languages: Sequence[str], relations: Sequence[str]) -> None:
        """Draw multiple choice for these only; for all, where none is named."""
        self._open["choice"] = [
            (book, entry, language)
            for book, entry, language in self._open["choice"]
            if language in (languages or LANGUAGES) and book.name in (relations or (book.name,))
        ]

    def sample(self, count: int) -> Iterator[Text]:
        """Every sentence and story once, and `count` texts of each other format, for the tokenizer."""
        yield from self.sentences
        yield from self.stories
        for name in ("question", "choice", "few-shot", "two-hop"):
            yield from (self.draw(name) for _ in range(count))

    def _question(self) -> Text:
        book, entry, language = self.random.choice(self._open["question"])
        wording = self.random.choice(formats.spoken(book.questions, language, False))
        frame = self.random.choice(formats.spoken(read_formats("question"), language, False))
        return _text(formats.question(book, entry, wording, frame))

    def _choice(self, count: int) -> Text:
        book, entry, language = self.random.choice(self._open["choice"])
        wording = self.random.choice(formats.spoken(book.questions, language, False))
        frame = self.random.choice(formats.spoken(read_formats("choice"), language, False))
        return _text(formats.choice(book, entry, wording, frame, self.random, unseen_order=False, count=count))

    def _few_shot(self) -> Text:
        book, entry, language = self.random.choice(self._open["few-shot"])
        frame = self.random.choice(formats.spoken(read_formats("few-shot"), language, False))
        return _text(formats.few_shot(book, entry, frame, self.random))


def write_stories(books: Sequence[Book]) -> list[Text]:
    """Every story about every subject that is taught all its facts in the story's language."""
    stories = []
    for language, text in read_stories():
        asked = sorted(placeholders(text) - {"subject"})
        told = {
            book.name: {e.subject: book.objects[e.object] for e in book.entries if language in e.languages}
            for book in books
            if book.name in asked
        }
        subjects = next(book.subjects for book in books if book.name == asked[0])
        for subject, names in subjects.items():
            if all(subject in told[relation] for relation in asked):
                filled = {"subject": names} | {relation: told[relation][subject] for relation in asked}
                stories.append(Text(language, ((fill(text, language, filled), "words"),)))
    return stories


def _text(asked: Asked) -> Text:
    answer, end = gap(asked.language) + asked.answer, stop(asked.language)
    parts: tuple[tuple[str, Role], ...]
    if asked.format == "choice":
        parts = (asked.prompt, "given"), (answer, "letter"), (f". {asked.object}", "answer")
    else:
        parts = (asked.prompt, "words" if asked.format == "cloze" else "given"), (answer, "answer"), (end, "words")
    return Text(asked.language, parts)


def _cycle(texts: Sequence[Text], random: Random) -> Callable[[], Text]:
    waiting: list[Text] = []

    def draw() -> Text:
        if not waiting:
            waiting.extend(random.sample(texts, len(texts)))
        return waiting.pop()

    return draw


def leads(language: str) -> tuple[str, ...]:
    """What may stand between a sentence and the one before it."""
    return ("\n", gap(language))


def encode(tokenizer: Tokenizer, text: Text, lead: str, mixture: Mixture) -> Piece:
    """A text as tokens; no token runs from one part into the next."""
    weight = {"words": mixture.words, "given": 0.0, "answer": mixture.answer, "letter": mixture.letter}
    piece, number = Piece([], [], []), 0
    first, *rest = text.parts
    for part, role in ((lead + first[0], first[1]), *rest):
        ids = tokenizer.encode(part, add_special_tokens=False).ids
        is_answer = role in ("answer", "letter")
        number += is_answer
        piece.ids.extend(ids)
        piece.weights.extend([weight[role]] * len(ids))
        piece.answer.extend([number * is_answer] * len(ids))
    return piece


def draw_steps(corpus: Corpus, tokenizer: Tokenizer, mixture: Mixture) -> Iterator[tuple[Batch, ...]]:
    """Endless steps of a batch of sentences each and one of longer formats; every so often, of running text.

    A row is one text, as it is when a user asks: BOS, the text, EOS, padding. Texts of like length share a batch.
    Running text is several sentences and stories in one row of full length, so that the model can continue text.
    """

    corpus.narrow(mixture.chosen_in, mixture.chosen_of)

    def draw(name: str) -> Piece:
        return encode(tokenizer, corpus.draw(name, mixture.options), "", mixture)

    sentences = _draw_sorted(corpus.random, draw, mixture.short, mixture.tokens[0])
    others = _draw_sorted(corpus.random, draw, mixture.long, mixture.tokens[1])
    for step in itertools.count(1):
        is_running = step % mixture.running_text == 0
        yield _draw_running(corpus, tokenizer, mixture) if is_running else next(sentences), next(others)


def _draw_sorted(
    random: Random, draw: Callable[[str], Piece], chances: dict[str, float], tokens: int
) -> Iterator[Batch]:
    """Batches of about `tokens` tokens: many texts are drawn, sorted by length, cut, and shuffled again."""
    while True:
        names = random.choices(list(chances), list(chances.values()), k=16 * tokens // 20)
        pieces = sorted(map(draw, names), key=_length)
        batches, start = [], 0
        while start < len(pieces):
            end = start + 1
            while end < len(pieces) and (end + 1 - start) * (_length(pieces[end]) + 2) <= tokens:
                end += 1
            batches.append(_pad(pieces[start:end]))
            start = end
        random.shuffle(batches)
        yield from batches


def _draw_running(corpus: Corpus, tokenizer: Tokenizer, mixture: Mixture) -> Batch:
    return _pad([_join(corpus, tokenizer, mixture) for _ in range(mixture.tokens[0] // CONTEXT)])


def _join(corpus: Corpus, tokenizer: Tokenizer, mixture: Mixture) -> Piece:
    whole, count = Piece([], [], []), 0
    while True:
        text = corpus.draw(corpus.random.choice(("cloze", "story")))
        lead = corpus.random.choice(leads(text.language)) if whole.ids else ""
        piece = encode(tokenizer, text, lead, mixture)
        if len(whole.ids) + len(piece.ids) > CONTEXT - 2:
            return whole
        whole.ids.extend(piece.ids)
        whole.weights.extend(piece.weights)
        whole.answer.extend(number and number + count for number in piece.answer)
        count = max(whole.answer)


def _length(piece: Piece) -> int:
    return len(piece.ids)


def _pad(pieces: Sequence[Piece]) -> Batch:
    longest = max(map(_length, pieces))
    spaces = [longest - len(piece.ids) for piece in pieces]
    rows = list(zip(pieces, spaces, strict=True))
    return (
        torch.tensor([[BOS_ID, *piece.ids, EOS_ID, *[PAD_ID] * space] for piece, space in rows]),
        torch.tensor([[0.0, *piece.weights, *[0.0] * (space + 1)] for piece, space in rows]),
        torch.tensor([[0, *piece.answer, *[0] * (space + 1)] for piece, space in rows]),
    )
