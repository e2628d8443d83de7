"""Running text to read a model's statistics in: a file, a list, or what the model itself makes up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from locant.errors import BadFile
from locant.models import LanguageModel
from locant.models.sample import sample_tokens
from locant.types import digest_of

Texts: TypeAlias = str | Path | Sequence[str] | None
"""A file's name, texts, or None for the model's own."""

WINDOW = 1024
"""Tokens that are read together at most."""

OWN = 32
"""Tokens of a text that the model makes up: small models repeat themselves in longer ones."""


def read_running_text(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """The texts of a source: a JSON list of strings, JSON lines (strings, or objects with `text`), or paragraphs.

    Raises:
        BadFile: the file cannot be read as what its name says, or there is no text.
    """
    texts = _read(Path(source)) if isinstance(source, str | Path) else list(source)
    found = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not found:
        place = f" in {str(source)!r}" if isinstance(source, str | Path) else ""
        raise BadFile(f"there is no text{place}")
    return found


def name_of_texts(texts: Sequence[str] | None) -> str:
    """What tells one source of text from another, as a setting."""
    if texts is None:
        return "own"
    return digest_of(json.dumps(list(texts)))


def windows_of(lm: LanguageModel, texts: Sequence[str] | None, budget: int, seed: int) -> list[tuple[int, ...]]:
    """The first tokens of some texts, in pieces that are read together.

    Args:
        texts: None for what the model makes up.
        budget: tokens in all, at most.
        seed: of what is made up.
    """
    found = []
    for window in _windows(lm, texts, budget, seed):
        found.append(window[:budget])
        budget -= len(window)
        if budget <= 0:
            break
    return found


def _windows(lm: LanguageModel, texts: Sequence[str] | None, budget: int, seed: int) -> Iterator[tuple[int, ...]]:
    if texts is None:
        length = min(OWN, lm.context) - 1
        many = -(-budget // (length + 1))
        yield from (whole for _, whole in sample_tokens(lm, [""] * many, length, seed=seed))
        return
    size = min(WINDOW, lm.context)
    for text in texts:
        ids = tuple(lm.tokenizer(text)["input_ids"])
        yield from (ids[first : first + size] for first in range(0, len(ids), size))


def _read(path: Path) -> Sequence[object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in text.splitlines() if line.strip()]
            return [line.get("text") if isinstance(line, dict) else line for line in lines]
        found = json.loads(text) if path.suffix == ".json" else text.split("\n\n")
    except OSError as error:
        raise BadFile(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise BadFile(f"{str(path)!r}: {error}") from error
    if not isinstance(found, list):
        raise BadFile(f"{str(path)!r} holds no list of texts")
    return found
