"""A file over HTTP: streamed, counted, and never more of it than was said."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from locant import __version__
from locant.errors import BadFile, UnknownName

TIMEOUT = 60.0
"""Seconds without a byte after which a server is given up."""
CHUNK = 1 << 16

Done: TypeAlias = Callable[[int, int | None], object]
"""Told how many bytes came since the last time, and of how many in all (None where the server does not say)."""


def receive(url: str, file: Path, limit: int, done: Done) -> None:
    """Write what an address sends to a file.

    Args:
        limit: bytes that are read at most.

    Raises:
        UnknownName: not an address of the web.
        BadFile: no network, no answer, an error of the server, or fewer or more bytes than there should be. The
            sentence names the address and what to do; the file may hold a part.
    """
    if not url.startswith(("http://", "https://")):
        raise UnknownName(f"{url!r} is no address of the web; it begins with http:// or https://")
    request = Request(url, headers={"User-Agent": f"locant/{__version__}"})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer, file.open("wb") as to:
            wrong = _copy(answer, to, limit, done)
    except (OSError, HTTPException) as error:
        wrong = _why(error)
    if wrong:
        raise BadFile(
            f"cannot get {url}: {wrong}; try again later, or download it by hand and give the file with --from FILE"
        )


def _copy(answer: HTTPResponse, to: IO[bytes], limit: int, done: Done) -> str:
    """What is wrong with the bytes that came, if anything."""
    said = answer.headers.get("Content-Length", "")
    total = int(said) if said.isdecimal() else None
    if total is not None and total > limit:
        return f"it has {total} bytes, and no more than {limit} were expected"
    received = 0
    while chunk := answer.read(CHUNK):
        received += len(chunk)
        if received > limit:
            return f"it has more than the {limit} bytes that were expected at most"
        to.write(chunk)
        done(len(chunk), total)
    if total is not None and received < total:
        return f"it was cut short after {received} of {total} bytes"
    return ""


def _why(error: OSError | HTTPException) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, HTTPError):
        error.close()
        return f"the server answers {error.code} {error.reason}"
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT:g} seconds"
    if isinstance(reason, IncompleteRead):
        return "it was cut short"
    told = reason.strerror if isinstance(reason, OSError) else None
    return told or str(reason) or type(reason).__name__
