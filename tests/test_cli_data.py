"""The commands on archives: what they print, and that a mistake is one sentence that leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from commands import Command, Ran
from locant.archives import ARCHIVES, Archive, Part, Source, notice


def packed() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as to:
        to.writestr("top1/en/P17.jsonl", "{}\n" * 100_000)
        to.writestr("top1/en/templates.jsonl", "{}\n")
    return made.getvalue()


CONTENT = packed()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/top1.zip":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """An archive in the table that a server on this machine sends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/top1.zip"
        checksum = hashlib.sha256(CONTENT).hexdigest()
        archive = Archive(
            name="small",
            what="a few files",
            licence="CC BY-NC [sic]",
            terms="no commercial use",
            cite="Nobody 2020",
            option="--data small:FOLDER",
            source=Source(url, url, (Part("", None),), top="top1", size=len(CONTENT), sha256=checksum),
        )
        monkeypatch.setitem(ARCHIVES, "small", archive)
        yield archive
        server.shutdown()
        thread.join()


def files(here: Path) -> list[str]:
    return sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())


def refused(ran: Ran, here: Path, *left: str) -> str:
    """The one sentence of a failure; nothing on stdout, nothing written beside what was there."""
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("locant: ") and ran.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == list(left)
    return ran.err.removeprefix("locant: ").rstrip("\n")


GET = ("data", "get", "small")
COPY = [f"data/small/{name}" for name in ("NOTICE.txt", "en/P17.jsonl", "en/templates.jsonl")]


def test_the_archives_are_listed_with_size_licence_and_the_option_that_reads_them(locant_: Command) -> None:
    ran = locant_("data", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[:6] == [
        "mlama  40.8 MB packed, licence: CC BY-NC-SA 4.0",
        "  mLAMA 1.1: facts and templates in 53 languages",
        "  --data mlama:FOLDER",
        "mpararel  1.4 MB, licence: none stated",
        "  mParaRel: reviewed templates in 46 languages (kept of a repository of about 94 MB)",
        "  --data mlama:data/mlama,FOLDER",
    ]
    for one in ARCHIVES.values():
        assert f"\n  {one.what}\n  {one.option}\n" in ran.out
        assert one.licence in ran.out


def test_the_archives_are_listed_as_json(locant_: Command) -> None:
    ran = locant_("data", "list", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = {one["name"]: one for one in json.loads(ran.out)}
    assert list(found) == list(ARCHIVES)
    assert found["mlama"]["download_bytes"] == 40_772_287 and found["mlama"]["data_bytes"] is None
    assert found["bmlama17"]["data_bytes"] == 23_822_935 and found["bmlama17"]["download_bytes"] is None
    assert found["bmlama17"]["commit"] in found["bmlama17"]["source"]
    assert found["mpararel"]["terms"] == "no licence stated"
    assert found["pararel"]["option"] == "--data pararel:FOLDER"
    assert {"what", "licence", "remark", "cite", "page"} < set(found["mlama"])


def test_a_copy_is_got_into_a_folder_of_its_name_after_its_notice(
    locant_: Command, tmp_path: Path, small: Archive
) -> None:
    ran = locant_(*GET, "--accept-licence")
    assert (ran.code, ran.err) == (0, notice(small) + "\n")
    assert "Licence: CC BY-NC [sic] (no commercial use)." in ran.err
    assert ran.out == "2 files, 0.3 MB, in data/small; read them with --data small:data/small\n"
    assert files(tmp_path) == COPY
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["small"]
    again = locant_(*GET)
    said = (
        "already there, whole and unchanged: 2 files, 0.3 MB, in data/small; read them with --data small:data/small\n"
    )
    assert again == Ran(0, said, "")


def test_a_copy_is_told_as_json(locant_: Command, tmp_path: Path, small: Archive) -> None:
    for new in (True, False):
        ran = locant_(*GET, "--accept-licence", "--json", "--out", "else/where")
        assert ran.code == 0 and ran.err == (notice(small) + "\n" if new else "")
        found = json.loads(ran.out)
        assert (found["name"], found["folder"], found["option"]) == (
            "small", "else/where", "--data small:else/where",
        )  # fmt: skip
        assert (found["files"], found["bytes"], found["new"]) == (2, 300_003, new)
        assert found["download_bytes"] == len(CONTENT)
    assert files(tmp_path) == [name.replace("data/small", "else/where") for name in COPY]


def test_a_file_got_by_hand_needs_no_network(locant_: Command, tmp_path: Path, small: Archive) -> None:
    ARCHIVES["small"] = replace(small, source=replace(small.source, url="http://127.0.0.1:1/none"))
    (tmp_path / "by-hand.zip").write_bytes(CONTENT)
    ran = locant_(*GET, "--accept-licence", "--from", "by-hand.zip")
    assert ran.code == 0 and ran.out.startswith("2 files, ")
    assert files(tmp_path) == ["by-hand.zip", *COPY]


def test_a_licence_must_be_accepted_before_anything_is_asked(
    locant_: Command, tmp_path: Path, small: Archive
) -> None:
    said = refused(locant_(*GET), tmp_path)
    assert said == (
        f"the licence of small is CC BY-NC [sic] (no commercial use); see {small.source.page}, "
        "and add --accept-licence if that suits you"
    )
    for name in ("mlama", "mpararel", "paraphrases6", "bmlama17", "pararel"):
        assert refused(locant_("data", "get", name), tmp_path).startswith(f"the licence of {name} is ")


def test_an_unknown_archive_is_told_which_there_are(locant_: Command, tmp_path: Path) -> None:
    said = refused(locant_("data", "get", "lama", "--accept-licence"), tmp_path)
    assert said.startswith("no archive 'lama' (did you mean 'mlama'?); there are mlama, mpararel, ")


def test_a_download_that_fails_says_so_after_the_notice_and_leaves_nothing(
    locant_: Command, tmp_path: Path, small: Archive
) -> None:
    gone = replace(small, source=replace(small.source, url=small.source.url.replace("top1", "gone")))
    ARCHIVES["small"] = gone
    ran = locant_(*GET, "--accept-licence")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"{notice(gone)}\nlocant: cannot get {gone.source.url}: the server answers 404 Not Found; "
        "try again later, or download it by hand and give the file with --from FILE\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_got_by_hand_are_refused(locant_: Command, tmp_path: Path, small: Archive) -> None:
    (tmp_path / "mine.zip").write_bytes(CONTENT + b"\0")
    ran = locant_(*GET, "--accept-licence", "--from", "mine.zip")
    assert ran.code == 1 and "locant: 'mine.zip' is not small as published at " in ran.err
    assert files(tmp_path) == ["mine.zip"] and not (tmp_path / "data").exists()


def test_a_folder_that_holds_something_else_is_refused_and_kept(
    locant_: Command, tmp_path: Path, small: Archive
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    said = refused(locant_(*GET, "--accept-licence", "--out", "mine"), tmp_path, "mine")
    assert said.startswith("'mine' holds something else than small as published; move it away")
    assert files(tmp_path) == ["mine/notes.txt"]


def test_the_archives_are_listed_without_torch() -> None:
    code = (
        "import atexit, sys; sys.argv = ['locant', 'data', 'list']; from locant.cli import main; "
        "atexit.register(lambda: print('torch' in sys.modules or 'transformers' in sys.modules)); main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("\nFalse\n")
