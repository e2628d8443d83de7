"""The id that git gives to a folder: equal ids, equal files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

FILE, EXECUTABLE, LINK, FOLDER = b"100644", b"100755", b"120000", b"40000"
CHUNK = 1 << 20


def tree_id(folder: Path, without: Collection[str] = (), *, modes: bool = True) -> str:
    """The git tree id of a folder: 40 hexadecimal digits.

    Args:
        without: names at the top of the folder that do not count.
        modes: whether a file may be an executable one; a disk that keeps no modes shows all or none as such.

    Source: git's object format, gitformat-pack(5) and git-write-tree(1); SHA-1 repositories.
    """
    return _tree(folder, without, modes)[1].hex()


def _tree(folder: Path, without: Collection[str], modes: bool) -> tuple[int, bytes]:
    """How many entries a folder has, and its id."""
    entries: list[tuple[bytes, bytes]] = []
    for path in folder.iterdir():
        if path.name in without:
            continue
        name = os.fsencode(path.name)
        if path.is_dir() and not path.is_symlink():
            count, digest = _tree(path, (), modes)
            # git keeps no empty folders, and sorts a folder as if its name ended with a slash
            if count:
                entries.append((name + b"/", FOLDER + b" " + name + b"\0" + digest))
            continue
        mode, digest = _blob(path, modes)
        entries.append((name, mode + b" " + name + b"\0" + digest))
    content = b"".join(entry for _, entry in sorted(entries))
    return len(entries), _sha1(b"tree %d\0" % len(content) + content)


def _blob(path: Path, modes: bool) -> tuple[bytes, bytes]:
    """The mode and the id of a file; a link's content is where it leads."""
    if path.is_symlink():
        leads = os.fsencode(path.readlink())
        return LINK, _sha1(b"blob %d\0" % len(leads) + leads)
    about = path.stat()
    digest = hashlib.sha1(b"blob %d\0" % about.st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return EXECUTABLE if modes and about.st_mode & 0o100 else FILE, digest.digest()


def _sha1(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()
