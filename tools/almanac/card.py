"""Measure the shipped models and write their cards: card.json beside the weights, and the page of the documentation.

    python -m tools.almanac.card             # every shipped model, and docs/almanac-card.md
    python -m tools.almanac.card almanac     # one of them

The same figures are in the card that tools/almanac/build.py writes when it has trained a model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from locant import almanac
from locant.almanac import formats
from locant.almanac.formats import Asked
from locant.almanac.tables import LANGUAGES, Book, read_books
from tools.almanac.measuring import Reply, reply_all
from tools.almanac.page import write_page
from tools.almanac.shapes import SHAPES, Shape, write_json

Score = dict[str, object]


def measure(name: str, place: Path) -> dict[str, object]:
    """Ask the model in `place` everything, and say what it answers."""
    shape = SHAPES[name]
    model, tokenizer = load(shape, place)
    asked = list(ask_everything())
    replies = list(zip(asked, reply_all(model, shape, tokenizer, asked), strict=True))
    cloze = [(one, reply) for one, reply in replies if one.format == "cloze"]
    known = [(one, reply) for one, reply in cloze if one.unseen == {"wording"}]
    weights = place / "model.safetensors"
    books = read_books()
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": tokenizer.get_vocab_size(),
        "megabytes": round(weights.stat().st_size / 1e6, 2),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "facts": sum(len(book.entries) for book in books),
        "relations": {book.name: len(book.entries) for book in books},
        "by_language": tally(replies, ("format", "unseen", "language")),
        "by_relation": tally(known, ("language", "relation")),
        "trained_by_relation": tally([pair for pair in cloze if not pair[0].unseen], ("language", "relation")),
        "withheld_by_relation": tally(
            [pair for pair in cloze if pair[0].unseen == {"language"}], ("language", "relation")
        ),
        "calibration": {
            "known facts, held-out wordings": calibrate([reply for _, reply in known]),
            "facts not taught in the language": calibrate(
                [reply for one, reply in cloze if one.unseen == {"language"}]
            ),
        },
        "swapped": swap(model, shape, tokenizer, [one for one, _ in known], books),
    }


def load(shape: Shape, place: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """The shipped files, as transformers reads them, computed in float32."""
    kind = AutoModelForMaskedLM if shape.masked else AutoModelForCausalLM
    model = kind.from_pretrained(place, local_files_only=True, dtype=torch.float32)
    return model.eval(), Tokenizer.from_file(str(place / "tokenizer.json"))


def ask_everything() -> Iterable[Asked]:
    """Every fact in every format and wording; options and examples are drawn once."""
    for book in read_books():
        for entry in book.entries:
            for language in entry.asked:
                for format in formats.FORMATS:
                    yield from formats.ask(book, entry, language, format)
    for language in LANGUAGES:
        yield from formats.ask_chains(language)


def tally(replies: Sequence[tuple[Asked, Reply]], by: tuple[str, ...]) -> list[Score]:
    """Shares answered, for each combination of what is asked."""
    groups: dict[tuple[str, ...], list[Reply]] = {}
    for one, reply in replies:
        key = tuple(" ".join(sorted(one.unseen)) if name == "unseen" else str(getattr(one, name)) for name in by)
        groups.setdefault(key, []).append(reply)
    return [
        {
            **dict(zip(by, key, strict=True)),
            "prompts": len(group),
            "first_token": round(sum(reply.first for reply in group) / len(group), 4),
            "whole_answer": round(sum(reply.whole for reply in group) / len(group), 4),
        }
        for key, group in groups.items()
    ]


def calibrate(replies: Sequence[Reply], bins: int = 10) -> dict[str, float]:
    """How sure the model is of its first choice, how often that is right, and the expected calibration error.

    Source: Guo et al. 2017, arXiv:1706.04599, equal-width bins.
    """
    groups: dict[int, list[Reply]] = {}
    for reply in replies:
        groups.setdefault(min(int(reply.confidence * bins), bins - 1), []).append(reply)
    gaps = (abs(sum(one.confidence for one in group) - sum(one.first for one in group)) for group in groups.values())
    return {
        "prompts": len(replies),
        "confidence": round(sum(one.confidence for one in replies) / len(replies), 4),
        "first_token": round(sum(one.first for one in replies) / len(replies), 4),
        "calibration_error": round(sum(gaps) / len(replies), 4),
    }


def swap(
    model: PreTrainedModel, shape: Shape, tokenizer: Tokenizer, asked: Sequence[Asked], books: Sequence[Book]
) -> list[Score]:
    """Put another subject into each held-out sentence and ask for the old answer, relation by relation.

    The base rate is the share of the relation's commonest object: what a model would get right that hears no subject.
    """
    rows = []
    by_name = {book.name: book for book in books}
    for name in dict.fromkeys(one.relation for one in asked):
        own = [one for one in asked if one.relation == name]
        swapped = [other for one in own if (other := _with_another_subject(one, by_name[name], own)) is not None]
        replies = reply_all(model, shape, tokenizer, swapped)
        objects = Counter(entry.object for entry in by_name[name].entries)
        rows.append(
            {
                "relation": name,
                "prompts": len(swapped),
                "old_answer": round(sum(reply.whole for reply in replies) / len(swapped), 4),
                "base_rate": round(max(objects.values()) / objects.total(), 4),
            }
        )
    return rows


def _with_another_subject(one: Asked, book: Book, own: Sequence[Asked]) -> Asked | None:
    """The same wording about the next subject that has another object; the answer asked for is the old one."""
    same = [other for other in own if (other.language, other.wording) == (one.language, one.wording)]
    at = next(index for index, other in enumerate(same) if other.uid == one.uid)
    for other in (*same[at + 1 :], *same[:at]):
        if other.object != one.object:
            return replace(one, prompt=other.prompt, subject=other.subject)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(almanac.MODELS), metavar="MODEL")
    for name in parser.parse_args().names:
        print(f"measuring {name}", file=sys.stderr)
        write_card(name, almanac.model_folder(name))
    write_page(Path("docs/almanac-card.md"), {name: almanac.card(name) for name in almanac.MODELS})


def write_card(name: str, place: Path) -> None:
    """Measure a model and put the figures into its card, beside what its training wrote there."""
    path = place / "card.json"
    trained = json.loads(path.read_text(encoding="utf-8"))["training"]
    write_json(path, {"name": name, "training": trained, **measure(name, place)})


if __name__ == "__main__":
    main()
