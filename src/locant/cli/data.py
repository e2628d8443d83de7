"""The commands that list the public archives and get checked copies of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from locant.cli.shared import DebugOption, JsonOption, err, out, plain, print_json

if TYPE_CHECKING:
    from locant.archives import Archive, Copy

data_app = typer.Typer(help="Public archives of facts and templates, and copies of them.", no_args_is_help=True)


@data_app.command("list")
def list_archives(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The archives: how large, under which licence, and by which option a copy is read."""
    from locant.archives import ARCHIVES

    if as_json:
        print_json([_summary(one) for one in ARCHIVES.values()])
        return
    for one in ARCHIVES.values():
        head = f"[bold]{plain(one.name)}[/]  {_size(one)}, licence: {plain(one.licence)}"
        out.print(f"{head}\n  {plain(one.what)}\n  {plain(one.option)}", soft_wrap=True)


@data_app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="Of the archive: see 'locant data list'.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder of the copy (data/NAME).")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence, and your use suits it.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--from", help="The archive, got by hand; it is checked all the same.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """A copy of an archive, checked against what was published; one that is there is left alone."""
    from locant.archives import find_archive, find_copy, get_archive, notice
    from locant.archives.get import refuse_unaccepted

    archive = find_archive(name)
    folder = out_folder or Path("data") / name
    copy = find_copy(archive, folder)
    if copy is None:
        refuse_unaccepted(archive, accept_licence)
        err.print(notice(archive), markup=False, soft_wrap=True)
        with receiving(name) as done:
            copy = get_archive(archive, folder, accept_licence=accept_licence, source=file, done=done)
    _print_copy(archive, copy, as_json)


@contextmanager
def receiving(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A line of progress in bytes."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda count, total: progress.update(task, advance=count, total=total)


def _print_copy(archive: Archive, copy: Copy, as_json: bool) -> None:
    option = archive.option.replace("FOLDER", str(copy.folder))
    if as_json:
        found = {"folder": str(copy.folder), "files": copy.files, "bytes": copy.bytes, "new": copy.new}
        print_json({**_summary(archive), **found, "option": option})
        return
    told = "" if copy.new else "already there, whole and unchanged: "
    sentence = f"{told}{copy.files} files, {_bytes(copy.bytes)}, in {copy.folder}; read them with {option}"
    out.print(sentence, soft_wrap=True, markup=False)


def _summary(archive: Archive) -> dict[str, str | int | bool | None]:
    source = archive.source
    return {
        "name": archive.name,
        "what": archive.what,
        "download_bytes": source.size,
        "data_bytes": archive.data_bytes,
        "licence": archive.licence,
        "terms": archive.terms,
        "remark": archive.remark,
        "cite": archive.cite,
        "source": source.url,
        "page": source.page,
        "commit": source.commit or None,
        "option": archive.option,
    }


def _size(archive: Archive) -> str:
    """Of the data, or else of the archive that they come in."""
    if archive.data_bytes is not None:
        return _bytes(archive.data_bytes)
    return "" if archive.source.size is None else f"{_bytes(archive.source.size)} packed"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
