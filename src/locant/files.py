"""Files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from locant.errors import BadFile


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then rename it; folders are made as needed.

    Raises:
        BadFile: the place cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(path)
    except OSError as error:
        raise BadFile(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        _remove(beside)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8."""
    return write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def cache_folder() -> Path:
    """Where what takes long to compute is kept: $LOCANT_CACHE, $XDG_CACHE_HOME/locant or ~/.cache/locant."""
    own, shared = os.environ.get("LOCANT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    return (Path(shared) if shared else Path.home() / ".cache") / "locant"


def refuse_file(path: Path) -> None:
    """Refuse a file where a folder is to be.

    Raises:
        BadFile: there is one.
    """
    if path.exists() and not path.is_dir():
        raise BadFile(f"{str(path)!r} is a file, not a folder to write to")


def _remove(path: Path) -> None:
    # The folder itself may be what could not be made
    if path.parent.is_dir():
        path.unlink(missing_ok=True)
