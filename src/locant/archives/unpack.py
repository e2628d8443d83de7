"""Wanted folders out of a .zip or .tar.gz that may be anyone's: nothing lands outside, and no link is made."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from locant.archives.table import Source
from locant.errors import BadFile

LARGEST_UNPACKED = 2_000_000_000
"""Bytes that the files of an archive may have in all, wanted or not."""
UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)
"""What the standard library raises at damaged, truncated and unheard-of archives."""


@dataclass(frozen=True)
class _Entry:
    """A file, a folder or something else in an archive."""

    name: str
    kind: Literal["file", "folder", "other"]
    size: int
    executable: bool
    open: Callable[[], IO[bytes] | None]


def unpack(file: Path, source: Source, folder: Path) -> None:
    """Write the parts of an archive that are kept to a new folder.

    Raises:
        BadFile: the file is no archive that can be read whole, has not the parts, or holds what is not safe: a
            name that leads elsewhere, a link or a device among the parts, the same name twice, too many bytes.
        OSError: the folder cannot be written to.
    """
    folder.mkdir()
    total = 0
    try:
        for entry in _entries(file):
            total += entry.size
            if total > LARGEST_UNPACKED:
                raise BadFile(f"{str(file)!r}: what it holds has more than {LARGEST_UNPACKED} bytes")
            place = _place(_names(entry, file), source)
            if place is not None:
                _write(entry, folder / place, file)
    except UNREADABLE as error:
        # tarfile goes on with a line for each kind of compression that it tried
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise BadFile(f"{str(file)!r} is not an archive that can be read whole ({reason})") from error
    for part in source.parts:
        at = folder / part.place
        if not at.is_dir() or not any(at.iterdir()):
            raise BadFile(f"{str(file)!r} has no folder {part.path or source.top!r}")


def _entries(file: Path) -> Iterator[_Entry]:
    """What an archive holds, in its order."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            yield from (_of_zip(packed, info) for info in packed.infolist())
    else:
        with tarfile.open(file) as packed:
            yield from (_of_tar(packed, info) for info in packed)


def _of_zip(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    if info.flag_bits & 1:
        raise zipfile.BadZipFile("it is encrypted")
    mode = info.external_attr >> 16
    plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
    kind: Literal["file", "folder", "other"] = "folder" if info.is_dir() else "file" if plain else "other"
    return _Entry(info.filename, kind, info.file_size, bool(mode & 0o100), lambda: packed.open(info))


def _of_tar(packed: tarfile.TarFile, info: tarfile.TarInfo) -> _Entry:
    kind: Literal["file", "folder", "other"] = "folder" if info.isdir() else "file" if info.isfile() else "other"
    return _Entry(info.name, kind, info.size, bool(info.mode & 0o100), lambda: packed.extractfile(info))


def _names(entry: _Entry, file: Path) -> tuple[str, ...]:
    """The steps of an entry's path; a name that could lead elsewhere, on any system, spoils the archive."""
    names = entry.name.split("/")
    if entry.name.startswith("/") or ".." in names or any(sign in entry.name for sign in "\\:\0"):
        raise BadFile(f"{str(file)!r} is not safe to unpack: it holds {entry.name!r}")
    return tuple(name for name in names if name not in ("", "."))


def _place(names: tuple[str, ...], source: Source) -> PurePosixPath | None:
    """Where an entry goes, below the folder of the copy; None if it is in no part."""
    if not names or source.top not in (None, names[0]):
        return None
    below = names[1:]
    for part in source.parts:
        path = PurePosixPath(part.path).parts
        if below[: len(path)] == path and len(below) > len(path):
            return PurePosixPath(part.place, *below[len(path) :])
    return None


def _write(entry: _Entry, place: Path, file: Path) -> None:
    if entry.kind == "other":
        raise BadFile(f"{str(file)!r} is not safe to unpack: {entry.name!r} is neither a file nor a folder")
    try:
        if entry.kind == "folder":
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        content = entry.open()
        assert content is not None  # tarfile gives None for what is no file
        with content, place.open("xb") as to:
            shutil.copyfileobj(content, to)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise BadFile(f"{str(file)!r} is not safe to unpack: it holds {entry.name!r} twice") from None
    if entry.executable:
        place.chmod(place.stat().st_mode | 0o111)
