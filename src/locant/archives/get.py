"""A copy of an archive: received, checked, unpacked beside its place, checked again, and only then put there."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from locant.archives.notice import NOTICE, notice
from locant.archives.receive import Done, receive
from locant.archives.table import Archive, Part
from locant.archives.trees import tree_id
from locant.archives.unpack import unpack
from locant.errors import BadFile, UnknownName
from locant.files import refuse_file

BESIDE = (NOTICE, "LICENSE")
"""Files at the top of a copy that are not part of the data."""


@dataclass(frozen=True)
class Copy:
    """An archive's data on disk, whole and unchanged.

    Attributes:
        files: how many there are; the notice is not counted.
        new: it was not there before.
    """

    folder: Path
    files: int
    bytes: int
    new: bool


def find_copy(archive: Archive, folder: Path) -> Copy | None:
    """The copy that a folder holds; None if there is no such folder, or nothing in it.

    Raises:
        BadFile: the folder holds something else, or data that were changed; or it is a file.
    """
    refuse_file(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not _is_whole(archive, folder):
        raise BadFile(
            f"{str(folder)!r} holds something else than {archive.name} as published; "
            "move it away, or choose another folder with --out"
        )
    return _count(archive, folder, new=False)


def refuse_unaccepted(archive: Archive, accept_licence: bool) -> None:
    """Refuse an archive that is not free to use, unless its licence was accepted.

    Raises:
        UnknownName: it was not.
    """
    if archive.terms != "free use" and not accept_licence:
        raise UnknownName(
            f"the licence of {archive.name} is {archive.permission}; "
            f"see {archive.source.page}, and add --accept-licence if that suits you"
        )


def get_archive(
    archive: Archive,
    folder: Path,
    *,
    accept_licence: bool = False,
    source: Path | str | None = None,
    done: Done = lambda count, total: None,
) -> Copy:
    """Put a checked copy of an archive's data into a folder, with a notice; a copy that is there is left alone.

    Whatever goes wrong, nothing is left behind: neither the folder, nor those above it that had to be made.

    Args:
        accept_licence: required where the use is not free.
        source: of the archive's bytes: a file on disk, or another address; None for where it is published.
        done: told of the bytes that come over the network.

    Raises:
        UnknownName: the licence was not accepted.
        BadFile: the archive cannot be had, is not what was published, or cannot be written.
    """
    copy = find_copy(archive, folder)
    if copy is not None:
        return copy
    refuse_unaccepted(archive, accept_licence)
    if isinstance(source, Path):
        _refuse_unreadable(source)
    with _room(folder) as room:
        data = room / "data"
        if isinstance(source, Path):
            file = source
        else:
            file = room / Path(archive.source.url).name
            receive(source or archive.source.url, file, archive.source.limit, done)
        _unpack_checked(archive, file, data)
        if folder.exists():
            folder.rmdir()
        data.replace(folder)
    return _count(archive, folder, new=True)


def _refuse_unreadable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise BadFile(f"cannot read {str(file)!r}: {error.strerror or error}") from error


def _unpack_checked(archive: Archive, file: Path, data: Path) -> None:
    """Fill `data` from an archive, with a notice, and compare everything with what was published."""
    expected = archive.source.sha256
    if expected is not None:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != expected:
            raise BadFile(_not_published(archive, file, f"its SHA-256 is {found}, not {expected}"))
    unpack(file, archive.source, data)
    lines = [notice(archive)]
    for part in archive.source.parts:
        if part.tree is None:
            lines.append(_written(tree_id(data / part.place, BESIDE)))
        elif not _has_tree(data / part.place, part.tree, without=()):
            said = f"the git tree of {part.path} is {tree_id(data / part.place)}, not {part.tree}"
            raise BadFile(_not_published(archive, file, said))
    (data / NOTICE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _not_published(archive: Archive, file: Path, said: str) -> str:
    return f"{file.name!r} is not {archive.name} as published at {archive.source.url}: {said}"


def _is_whole(archive: Archive, folder: Path) -> bool:
    """Whether the data of every part are as published; of an archive with a checksum, as its notice says."""
    return all(_is_published(archive, folder, part) for part in archive.source.parts)


def _is_published(archive: Archive, folder: Path, part: Part) -> bool:
    if not (folder / part.place).is_dir():
        return False
    if part.tree is not None:
        return _has_tree(folder / part.place, part.tree)
    said = folder / NOTICE
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines() if said.is_file() else []
    trees = [line.removeprefix(_written("")) for line in lines if line.startswith(_written(""))]
    same = f"SHA-256: {archive.source.sha256}" in lines
    return same and any(_has_tree(folder / part.place, tree) for tree in trees)


def _written(tree: str) -> str:
    """A notice's line on what lies beside it."""
    return f"Git tree of the files: {tree}"


def _has_tree(folder: Path, tree: str, without: tuple[str, ...] = BESIDE) -> bool:
    # Disks without modes, such as Windows' own, show every file as executable, or none
    return any(tree_id(folder, without, modes=modes) == tree for modes in (True, False))


def _count(archive: Archive, folder: Path, *, new: bool) -> Copy:
    files = [
        path
        for part in archive.source.parts
        for path in (folder / part.place).rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in BESIDE
    ]
    return Copy(folder, len(files), sum(path.stat().st_size for path in files), new)


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is to be made, gone afterwards."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    room: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield room
    except OSError as error:
        raise BadFile(f"cannot write {str(folder)!r}: {error.strerror or error}") from error
    finally:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):  # one that has something in it stays
                parent.rmdir()
