"""Running text to read a model's statistics in: a file, a list, or what the model itself makes up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl
from polars.exceptions import PolarsError

from locant.errors import BadFile
from locant.models import LanguageModel
from locant.models.sample import sample_tokens
from locant.types import digest_of

Texts: TypeAlias = str | Path | Iterable[str] | None
"""A file's name, texts (of a data set as it is streamed, say), or None for the model's own."""

WINDOW = 1024
"""Tokens that are read together at most."""

ROWS = 1024
"""Rows of a Parquet file that are read together."""

OWN = 32
"""Tokens of a text that the model makes up: small models repeat themselves in longer ones."""


def read_running_text(lm: LanguageModel, source: str | Path | Iterable[str], budget: int) -> tuple[str, ...]:
    """The first texts of a source, no more than a budget of tokens needs; what comes after them is not read.

    Args:
        source: texts, or a file: JSON lines (strings, or objects with `text`), a Parquet file with a column `text`,
            paragraphs, all read piece by piece; or a JSON list of strings.
        budget: tokens in all.

    Raises:
        BadFile: the file cannot be read as what its name says, or there is no text.
    """
    texts = _read(Path(source)) if isinstance(source, str | Path) else source
    found: list[str] = []
    for text in (one.strip() for one in texts if isinstance(one, str) and one.strip()):
        found.append(text)
        budget -= len(lm.tokenizer(text, verbose=False)["input_ids"])
        if budget <= 0:
            break
    if not found:
        place = f" in {str(source)!r}" if isinstance(source, str | Path) else ""
        raise BadFile(f"there is no text{place}")
    return tuple(found)


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


def _read(path: Path) -> Iterator[object]:
    """What a file holds, as far as it is asked for."""
    try:
        if path.suffix == ".parquet":
            yield from _column(path)
        elif path.suffix == ".json":
            yield from _list(path)
        else:
            with path.open(encoding="utf-8-sig") as lines:
                yield from _lines(lines) if path.suffix == ".jsonl" else _paragraphs(lines)
    except OSError as error:
        raise BadFile(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, PolarsError) as error:  # neither UTF-8 nor JSON, or no Parquet
        raise BadFile(f"{str(path)!r}: {error}") from error


def _list(path: Path) -> list[object]:
    found = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(found, list):
        raise BadFile(f"{str(path)!r} holds no list of texts")
    return found


def _column(path: Path) -> Iterator[object]:
    whole = pl.scan_parquet(path)
    if "text" not in (names := whole.collect_schema().names()):
        raise BadFile(f"{str(path)!r} has no column 'text'; its columns are {', '.join(names)}")
    for start in itertools.count(step=ROWS):
        part = whole.slice(start, ROWS).select("text").collect()["text"]
        yield from part
        if len(part) < ROWS:
            return


def _lines(lines: Iterable[str]) -> Iterator[object]:
    for line in lines:
        if line.strip():
            found = json.loads(line)
            yield found.get("text") if isinstance(found, dict) else found


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Lines that no empty one parts, together."""
    for is_text, some in itertools.groupby(lines, key=lambda line: line != "\n"):
        if is_text:
            yield "".join(some)
