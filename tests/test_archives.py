"""Archives are got whole, as they were published, and into their place; or not at all, with one sentence."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from locant.archives import (
    ARCHIVES,
    Archive,
    Copy,
    Part,
    Source,
    find_archive,
    find_copy,
    get_archive,
    notice,
    tree_id,
)
from locant.errors import BadFile, LocantError, UnknownName
from locant.queries import read_pararel
from locant.recipes.data import read_data
from locant.recipes.parallel import read_parallel

PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
FILES = {"en.tsv": b"Prompt\tAns\n", "deep/fr.tsv": "où\n".encode() * 5000, "deep.tsv": b"", "a/b/c": b"\r\n\0"}
OTHERS = {"README.md": b"not wanted", "1_easy/README.md": b"nor this", "1_easy/DATA17/x": b"nor this"}
WANTED = "1_easy/DATA"

Members = list[tarfile.TarInfo | tuple[str, bytes]]


# Archives and a server for them, made by hand


def plain_tree(files: dict[str, bytes], executable: tuple[str, ...] = ()) -> str:
    """What git says of files by their paths, restated: a folder sorts as if its name ended with a slash."""

    def written(below: dict[str, bytes], start: str) -> bytes:
        entries = {}
        for name in {path.split("/")[0] for path in below}:
            if name in below:
                mode = b"100755" if start + name in executable else b"100644"
                blob = hashlib.sha1(b"blob " + str(len(below[name])).encode() + b"\0" + below[name])
                entries[name.encode()] = mode + b" " + name.encode() + b"\0" + blob.digest()
            else:
                inner = {
                    path.split("/", 1)[1]: content for path, content in below.items() if path.startswith(f"{name}/")
                }
                entry = b"40000 " + name.encode() + b"\0" + written(inner, f"{start}{name}/")
                entries[name.encode() + b"/"] = entry
        content = b"".join(entries[key] for key in sorted(entries))
        return hashlib.sha1(b"tree " + str(len(content)).encode() + b"\0" + content).digest()

    return written(files, "").hex()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o664) -> tarfile.TarInfo:
    """An empty member of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def tar(members: Members) -> bytes:
    """A .tar.gz as GitHub makes them, with the commit in a header of its own."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c0ffee"}) as to:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                to.addfile(member)
                continue
            info = entry(member[0])
            info.size = len(member[1])
            to.addfile(info, io.BytesIO(member[1]))
    return made.getvalue()


def repository(files: dict[str, bytes] = FILES, top: str = "data-c0ffee") -> Members:
    """A repository that has the files in its folder of data, and others elsewhere."""
    wanted = {f"{WANTED}/{path}": content for path, content in files.items()}
    folders = [entry(f"{top}/", tarfile.DIRTYPE, mode=0o775), entry(f"{top}/1_easy/", tarfile.DIRTYPE, mode=0o775)]
    return [*folders, *((f"{top}/{path}", content) for path, content in {**OTHERS, **wanted}.items())]


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as to:
        for path, content in files.items():
            to.writestr(path, content)
    return made.getvalue()


ZIP = zipped({f"data1.1/{path}": content for path, content in FILES.items()} | {"__MACOSX/data1.1/x": b"not wanted"})
BY_TREE = Archive(
    name="small",
    what="a few files",
    licence="CC BY-NC 4.0",
    terms="no commercial use",
    cite="Nobody 2020",
    option="--data small:FOLDER",
    source=Source("https://nowhere.invalid/tar", "https://nowhere.invalid", (Part(WANTED, plain_tree(FILES)),)),
)
BY_SUM = replace(
    BY_TREE,
    source=Source(
        url="https://nowhere.invalid/data1.1.zip",
        page="https://nowhere.invalid",
        parts=(Part("", None),),
        top="data1.1",
        size=len(ZIP),
        sha256=hashlib.sha256(ZIP).hexdigest(),
    ),
)


class Server(ThreadingHTTPServer):
    """Answers each path by a function of its own; remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()

    def at(self, path: str, answer: bytes | Callable[[BaseHTTPRequestHandler], None]) -> str:
        """The address of an answer."""
        self.answers[path] = whole(answer) if isinstance(answer, bytes) else answer
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answers[self.path](self)

    def log_message(self, format: str, *args: object) -> None:
        pass


def headers(handler: BaseHTTPRequestHandler, **said: str) -> None:
    handler.send_response(200)
    for name, value in said.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def whole(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers(handler, Content_Length=str(len(content)))
        handler.wfile.write(content)

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine alone."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.closing.set()
        made.shutdown()
        thread.join()


def get(archive: Archive, folder: Path, source: Path | str | None) -> Copy:
    return get_archive(archive, folder, accept_licence=True, source=source)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Archive, folder: Path, source: Path | str | None, error: type[LocantError] = BadFile) -> str:
    """The one sentence a failure is told in; nothing is left of it, nor of the folders above."""
    before = sorted(folder.parents[1].rglob("*"))
    with pytest.raises(error) as caught:
        get(archive, folder, source)
    assert "\n" not in str(caught.value)
    assert sorted(folder.parents[1].rglob("*")) == before
    return str(caught.value)


# What a folder's id is


def git(folder: Path, *words: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    told = {**clean, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    ran = subprocess.run(["git", *words], cwd=folder, env=told, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
@pytest.mark.parametrize("seed", range(3))
def test_a_folders_id_is_the_one_git_gives_it(tmp_path: Path, seed: int) -> None:
    numbers = random.Random(seed)
    names = ["a", "a.b", "a-b", "a0", "Z", "é", "日本", "with space", "ab", "a_", ".hidden"]
    data = tmp_path / "data"
    for path in {"/".join(numbers.choices(names, k=numbers.randint(1, 3))) for _ in range(60)}:
        place = data / path
        if any(parent.is_file() for parent in place.parents) or place.is_dir():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(numbers.randbytes(numbers.choice((0, 1, 1000))))
        place.chmod(numbers.choice((0o644, 0o600, 0o755, 0o700)))
    (data / "nothing" / "inside").mkdir(parents=True)
    (data / "link").symlink_to("nowhere/é")
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "attributes").write_text("* -text\n")
    git(tmp_path, "-c", "core.fileMode=true", "add", "--all", "data")
    git(tmp_path, "write-tree")
    assert len(git(tmp_path, "ls-files").splitlines()) > 20
    assert tree_id(data) == git(tmp_path, "write-tree", "--prefix=data/")


def test_the_id_of_an_empty_folder_and_of_one_file_are_those_git_is_known_for(tmp_path: Path) -> None:
    assert tree_id(tmp_path) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    (tmp_path / "hello").write_text("hello\n")  # the blob ce013625030ba8dba906f756967f9e9ca394464a
    blob = bytes.fromhex("ce013625030ba8dba906f756967f9e9ca394464a")
    assert tree_id(tmp_path) == hashlib.sha1(b"tree 33\x00100644 hello\0" + blob).hexdigest()


def test_only_names_at_the_top_can_be_left_aside_and_modes_altogether(tmp_path: Path) -> None:
    for path, content in {"x": b"1", "LICENSE": b"2", "in/LICENSE": b"3"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "x").chmod(0o755)
    assert tree_id(tmp_path, ["LICENSE"]) == plain_tree({"x": b"1", "in/LICENSE": b"3"}, executable=("x",))
    assert tree_id(tmp_path, ["LICENSE"], modes=False) == plain_tree({"x": b"1", "in/LICENSE": b"3"})


@pytest.mark.parametrize(
    ("name", "number", "place"),
    [
        ("bmlama17", 0, "bmlama17"),
        ("paraphrases6", 0, "paraphrases6"),
        ("mpararel", 0, "mpararel"),
        ("pararel", 0, "pararel/patterns"),
        ("pararel", 1, "pararel/facts"),
    ],
)
def test_the_published_files_have_the_ids_that_are_asked_for(name: str, number: int, place: str) -> None:
    if not (PUBLISHED / place).is_dir():
        pytest.skip(f"no data in {PUBLISHED / place}")
    assert tree_id(PUBLISHED / place, ["LICENSE"], modes=False) == ARCHIVES[name].source.parts[number].tree


# What is told of archives


@pytest.mark.parametrize("name", ["mlama", "mpararel", "paraphrases6", "bmlama17", "pararel"])
def test_an_archive_is_pinned_and_its_notice_says_source_commit_licence_and_paper(name: str) -> None:
    archive = find_archive(name)
    source = archive.source
    pinned = source.sha256 is not None or all(part.tree is not None for part in source.parts)
    assert pinned and (source.sha256 is None) == (source.size is None)
    hexadecimal = [source.commit or "0" * 40, *(part.tree or "0" * 40 for part in source.parts)]
    assert all(len(one) == 40 and int(one, 16) >= 0 for one in hexadecimal)
    assert source.commit in source.url and source.commit in source.page
    lines = notice(archive).split("\n")
    for said in (source.url, source.commit, source.sha256 or "", archive.licence, archive.remark, archive.cite):
        assert any(said in line for line in lines)
    assert "arXiv:" in archive.cite


@pytest.mark.parametrize("name", ["mlama", "mpararel", "paraphrases6", "bmlama17", "pararel"])
def test_an_archives_option_is_one_that_data_are_read_by(tmp_path: Path, name: str) -> None:
    word, _, source = find_archive(name).option.replace("FOLDER", str(tmp_path)).partition(" ")
    assert word == "--data" and str(tmp_path) in source
    with pytest.raises(BadFile):  # the folder is empty; a source that is not known is an UnknownName
        read_data(source, "causal") if name == "pararel" else read_parallel(source, "causal", ["en", "fr"])


def test_none_of_the_archives_is_free_to_use_without_a_word() -> None:
    assert {name: one.terms for name, one in ARCHIVES.items()} == {
        "mlama": "no commercial use",
        "mpararel": "no licence stated",
        "paraphrases6": "no commercial use",
        "bmlama17": "no commercial use",
        "pararel": "no commercial use",
    }


def test_an_archive_that_is_not_there_is_told_which_are() -> None:
    with pytest.raises(
        UnknownName,
        match=r"^no archive 'lama' \(did you mean 'mlama'\?\); there are mlama, mpararel, paraphrases6, bm",
    ):
        find_archive("lama")


def test_importing_archives_reaches_no_network_and_waits_for_no_torch() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*words, **more): raise SystemExit('reached out')\n"
        "class Closed(socket.socket):\n    connect = sendto = refuse\n"
        "socket.socket, socket.create_connection, socket.getaddrinfo = Closed, refuse, refuse\n"
        "import locant.archives\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is got


def test_the_wanted_folder_of_a_repository_is_put_in_its_place_with_a_notice(server: Server, tmp_path: Path) -> None:
    content = tar(repository())
    came: list[tuple[int, int | None]] = []
    copy = get_archive(
        BY_TREE,
        tmp_path / "new" / "small",
        accept_licence=True,
        source=server.at("/tar", content),
        done=lambda count, total: came.append((count, total)),
    )
    assert copy == Copy(tmp_path / "new" / "small", len(FILES), sum(map(len, FILES.values())), new=True)
    found = files_in(copy.folder)
    assert found.pop("NOTICE.txt").decode() == notice(BY_TREE) + "\n"
    assert found == FILES
    assert [path.name for path in copy.folder.parent.iterdir()] == ["small"]
    assert sum(count for count, _ in came) == len(content) and {total for _, total in came} == {len(content)}


def test_a_zip_with_a_checksum_is_unpacked_without_its_top_folder(server: Server, tmp_path: Path) -> None:
    copy = get(BY_SUM, tmp_path / "small", server.at("/zip", ZIP))
    found = files_in(copy.folder)
    said = found.pop("NOTICE.txt").decode()
    assert said == notice(BY_SUM) + f"\nGit tree of the files: {plain_tree(FILES)}\n"
    assert found == FILES
    assert (copy.files, copy.bytes) == (len(FILES), sum(map(len, FILES.values())))


def test_an_archives_own_licence_comes_with_the_copy_and_is_no_change_of_it(tmp_path: Path) -> None:
    content = zipped({"data1.1/LICENSE": b"theirs", "data1.1/en.tsv": b"Prompt"})
    (tmp_path / "zip").write_bytes(content)
    source = replace(BY_SUM.source, sha256=hashlib.sha256(content).hexdigest())
    copy = get(replace(BY_SUM, source=source), tmp_path / "small", tmp_path / "zip")
    assert (copy.folder / "LICENSE").read_bytes() == b"theirs"
    assert find_copy(replace(BY_SUM, source=source), copy.folder) == replace(copy, new=False)
    assert (copy.files, copy.bytes) == (1, 6)


def test_an_archive_without_a_length_is_received_to_its_end(server: Server, tmp_path: Path) -> None:
    content = tar(repository())

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers(handler)
        handler.wfile.write(content)

    totals: set[int | None] = set()
    source = server.at("/tar", answer)
    done = lambda count, total: totals.add(total)  # noqa: E731
    get_archive(BY_TREE, tmp_path / "small", accept_licence=True, source=source, done=done)
    assert totals == {None}
    assert find_copy(BY_TREE, tmp_path / "small") is not None


def test_a_file_got_by_hand_is_taken_and_left_where_it_is(tmp_path: Path) -> None:
    by_hand = {
        "a.tar.gz": (BY_TREE, tar(repository())),
        "a.zip": (BY_TREE, zipped({f"top/{WANTED}/{path}": content for path, content in FILES.items()})),
        "b.zip": (BY_SUM, ZIP),
    }
    for name, (archive, content) in by_hand.items():
        (tmp_path / name).write_bytes(content)
        copy = get(archive, tmp_path / "copies" / name, tmp_path / name)
        assert files_in(copy.folder).items() > FILES.items()
        assert (tmp_path / name).read_bytes() == content


def test_pararels_folders_stay_where_its_reader_looks_for_them(tmp_path: Path) -> None:
    places = [part.place for part in ARCHIVES["pararel"].source.parts]
    rows = (b'{"pattern": "[X] is in [Y]"}\n', b'{"sub_label": "Oslo", "obj_label": "Norway", "uuid": "u"}\n')
    parts = tuple(Part(place, plain_tree({"P17.jsonl": row}), place) for place, row in zip(places, rows, strict=True))
    members: Members = [(f"top/{place}/P17.jsonl", row) for place, row in zip(places, rows, strict=True)]
    (tmp_path / "tar").write_bytes(tar([*members, ("top/data/README.md", b"not wanted")]))
    copy = get(replace(BY_TREE, source=replace(BY_TREE.source, parts=parts)), tmp_path / "copy", tmp_path / "tar")
    assert [query.prompt for query in read_pararel(copy.folder)] == ["Oslo is in"]
    assert set(files_in(copy.folder)) == {*(f"{place}/P17.jsonl" for place in places), "NOTICE.txt"}
    assert copy.files == 2


@pytest.mark.parametrize("packed", ["tar", "zip"])
def test_a_file_that_can_be_executed_still_can(tmp_path: Path, packed: str) -> None:
    name = f"top/{WANTED}/run"
    if packed == "tar":
        content = tar([entry(name, mode=0o775)])
    else:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as to:
            to.writestr(info, b"")
        content = made.getvalue()
    (tmp_path / "file").write_bytes(content)
    part = Part(WANTED, plain_tree({"run": b""}, executable=("run",)))
    copy = get(replace(BY_TREE, source=replace(BY_TREE.source, parts=(part,))), tmp_path / "copy", tmp_path / "file")
    assert (copy.folder / "run").stat().st_mode & 0o100


# What is left alone


@pytest.mark.parametrize("archive", [BY_TREE, BY_SUM], ids=["tree", "sum"])
def test_a_whole_copy_is_left_alone_and_nothing_is_asked(server: Server, tmp_path: Path, archive: Archive) -> None:
    source = server.at("/it", tar(repository()) if archive is BY_TREE else ZIP)
    first = get(archive, tmp_path / "small", source)
    (first.folder / "LICENSE").write_text("put there by hand")
    for path in first.folder.rglob("*"):
        path.chmod(0o755)  # as on a disk that keeps no modes
    again = get_archive(archive, tmp_path / "small", source=source)
    assert again == replace(first, new=False) == find_copy(archive, tmp_path / "small")
    assert server.asked == ["/it"]
    assert (first.folder / "LICENSE").is_file()


def test_a_folder_that_is_not_there_or_is_empty_holds_no_copy_and_is_filled(tmp_path: Path) -> None:
    assert find_copy(BY_TREE, tmp_path / "none") is None
    (tmp_path / "small").mkdir()
    assert find_copy(BY_TREE, tmp_path / "small") is None
    (tmp_path / "tar").write_bytes(tar(repository()))
    assert get(BY_TREE, tmp_path / "small", tmp_path / "tar").new
    assert files_in(tmp_path / "small").items() > FILES.items()


@pytest.mark.parametrize("archive", [BY_TREE, BY_SUM], ids=["tree", "sum"])
@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_a_copy_that_was_changed_is_refused_and_kept(tmp_path: Path, archive: Archive, change: str) -> None:
    (tmp_path / "file").write_bytes(tar(repository()) if archive is BY_TREE else ZIP)
    copy = get(archive, tmp_path / "small", tmp_path / "file")
    if change == "removed":
        (copy.folder / "deep.tsv").unlink()
    else:
        (copy.folder / ("en.tsv" if change == "edited" else "mine.tsv")).write_text("mine")
    said = refusal(archive, copy.folder, tmp_path / "file")
    assert said.startswith(f"{str(copy.folder)!r} holds something else than small as published; move it away, or")
    assert said.endswith("--out")


def test_a_copy_whose_checksum_nothing_vouches_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zip").write_bytes(ZIP)
    copy = get(BY_SUM, tmp_path / "small", tmp_path / "zip")
    other = replace(BY_SUM, source=replace(BY_SUM.source, sha256="0" * 64))
    assert "holds something else" in refusal(other, copy.folder, tmp_path / "zip")
    (copy.folder / "NOTICE.txt").unlink()
    assert "holds something else" in refusal(BY_SUM, copy.folder, tmp_path / "zip")


def test_a_file_in_a_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "tar").write_bytes(tar(repository()))
    assert "is a file, not a folder" in refusal(BY_TREE, tmp_path / "taken", tmp_path / "tar")
    assert "cannot write" in refusal(BY_TREE, tmp_path / "taken" / "small", tmp_path / "tar")


# What is refused


def test_a_licence_that_was_not_accepted_keeps_everything_as_it_was(server: Server, tmp_path: Path) -> None:
    source = server.at("/tar", tar(repository()))
    unstated = replace(BY_TREE, licence="none stated", terms="no licence stated")
    for archive, said in ((BY_TREE, "CC BY-NC 4.0 (no commercial use)"), (unstated, "none stated")):
        with pytest.raises(UnknownName) as caught:
            get_archive(archive, tmp_path / "new" / "small", source=source)
        assert str(caught.value) == (
            f"the licence of small is {said}; see https://nowhere.invalid, and add --accept-licence if that suits you"
        )
    assert server.asked == [] and list(tmp_path.iterdir()) == []
    free = replace(BY_TREE, licence="MIT", terms="free use")
    assert get_archive(free, tmp_path / "new" / "small", source=source).new


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/tar"


def failing(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: handler.send_error(status)


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, Content_Length="1000")
    handler.wfile.write(b"x" * 600)


def cut_short_in_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    headers(handler, Transfer_Encoding="chunked", Connection="close")
    handler.wfile.write(b"400\r\n" + b"x" * 600)


def too_long(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, Content_Length="200001")


def far_too_long(handler: BaseHTTPRequestHandler) -> None:
    headers(handler)
    for _ in range(100):
        handler.wfile.write(b"x" * 10_000)


def silent(handler: BaseHTTPRequestHandler) -> None:
    assert isinstance(handler.server, Server)
    handler.server.closing.wait(20)


def silent_midway(handler: BaseHTTPRequestHandler) -> None:
    headers(handler, Content_Length="1000")
    handler.wfile.write(b"x" * 600)
    silent(handler)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (failing(404), "the server answers 404 Not Found"),
        (failing(503), "the server answers 503 Service Unavailable"),
        (None, "Connection refused"),
        (silent, "no answer for 0.2 seconds"),
        (silent_midway, "no answer for 0.2 seconds"),
        (cut_short, "it was cut short after 600 of 1000 bytes"),
        (cut_short_in_chunks, "it was cut short"),
        (too_long, "it has 200001 bytes, and no more than 200000 were expected"),
        (far_too_long, "it has more than the 200000 bytes that were expected at most"),
    ],
)
def test_what_cannot_be_received_is_told_with_its_address_and_what_to_do(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None] | None,
    said: str,
) -> None:
    monkeypatch.setattr("locant.archives.receive.TIMEOUT", 0.2)
    monkeypatch.setattr("locant.archives.table.LARGEST_UNKNOWN", 200_000)
    source = server.at("/it", answer) if answer else closed_port()
    assert refusal(BY_TREE, tmp_path / "new" / "small", source) == (
        f"cannot get {source}: {said}; try again later, or download it by hand and give the file with --from FILE"
    )


def test_of_a_promised_size_half_as_much_again_is_read_at_most(server: Server, tmp_path: Path) -> None:
    received: list[int] = []
    with pytest.raises(BadFile, match=f"more than the {len(ZIP) * 3 // 2} bytes"):
        get_archive(
            BY_SUM,
            tmp_path / "small",
            accept_licence=True,
            source=server.at("/it", far_too_long),
            done=lambda count, total: received.append(count),
        )
    assert sum(received) <= len(ZIP) * 3 // 2
    assert ARCHIVES["mlama"].source.limit == 61_158_430 and ARCHIVES["pararel"].source.limit == 400_000_000


def test_an_address_that_is_not_of_the_web_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(tar(repository()))
    source = (tmp_path / "tar").as_uri()
    assert refusal(BY_TREE, tmp_path / "small", source, UnknownName).startswith(
        f"{source!r} is no address of the web"
    )


def test_a_download_that_is_stopped_leaves_nothing(server: Server, tmp_path: Path) -> None:
    def stop(count: int, total: int | None) -> None:
        assert [path.name[:7] for path in (tmp_path / "new").iterdir()] == [".small."]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_archive(
            BY_TREE,
            tmp_path / "new" / "small",
            accept_licence=True,
            source=server.at("/tar", tar(repository())),
            done=stop,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by_hand", [True, False])
def test_other_bytes_than_those_published_are_refused(server: Server, tmp_path: Path, by_hand: bool) -> None:
    changed = {**FILES, "en.tsv": b"Prompt\tAns!\n"}
    other = {
        BY_TREE: tar(repository(changed)),
        BY_SUM: zipped({f"data1.1/{path}": content for path, content in FILES.items()}),
    }
    expected = {
        BY_TREE: f"the git tree of 1_easy/DATA is {plain_tree(changed)}, not {plain_tree(FILES)}",
        BY_SUM: f"its SHA-256 is {hashlib.sha256(other[BY_SUM]).hexdigest()}, not {BY_SUM.source.sha256}",
    }
    for archive, content in other.items():
        (tmp_path / "file").write_bytes(content)
        source = tmp_path / "file" if by_hand else server.at("/it", content)
        said = refusal(archive, tmp_path / "new" / "small", source)
        assert said.endswith(f" is not small as published at {archive.source.url}: {expected[archive]}")


def test_a_file_that_the_repository_has_not_is_refused_even_a_licence(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(tar(repository({**FILES, "LICENSE": b"all is allowed"})))
    assert "is not small as published" in refusal(BY_TREE, tmp_path / "small", tmp_path / "tar")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>please sign in</html>", "is not an archive that can be read whole"),
        (b"", "is not an archive that can be read whole"),
        (tar(repository())[:-40], "is not an archive that can be read whole"),
        (zipped({f"t/{WANTED}/{path}": content for path, content in FILES.items()})[:-30], "is not an archive that"),
        (tar([("top/README.md", b"")]), "has no folder '1_easy/DATA'"),
        (tar([("top/1_easy/DATA", b"a file")]), "has no folder '1_easy/DATA'"),
        (tar([(f"{WANTED}/en.tsv", b"no top folder")]), "has no folder '1_easy/DATA'"),
    ],
)
def test_what_is_no_archive_of_it_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(content)
    told = refusal(BY_TREE, tmp_path / "new" / "small", tmp_path / "file")
    assert told.startswith(f"{str(tmp_path / 'file')!r} {said}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    none = tmp_path / "tar"
    assert (
        refusal(BY_TREE, tmp_path / "new" / "small", none) == f"cannot read {str(none)!r}: No such file or directory"
    )
    assert refusal(BY_TREE, tmp_path / "new" / "small", tmp_path) == f"cannot read {str(tmp_path)!r}: Is a directory"


def hostile(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    return tar([*repository(), *members])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (hostile(("/tmp/evil", b"x")), "it holds '/tmp/evil'"),
        (hostile((f"top/{WANTED}/../../../../evil", b"x")), f"it holds 'top/{WANTED}/../../../../evil'"),
        (hostile(("../evil", b"x")), "it holds '../evil'"),
        (hostile((f"top/{WANTED}/..\\evil", b"x")), f"it holds {f'top/{WANTED}/..' + chr(92) + 'evil'!r}"),
        (hostile((f"top/{WANTED}/C:evil", b"x")), f"it holds 'top/{WANTED}/C:evil'"),
        (zipped({f"top/{WANTED}/../../../../evil": b"x"}), f"it holds 'top/{WANTED}/../../../../evil'"),
        (hostile(entry(f"top/{WANTED}/l", tarfile.SYMTYPE, "/etc")), f"'top/{WANTED}/l' is neither a file nor a fol"),
        (hostile(entry(f"top/{WANTED}/l", tarfile.LNKTYPE, f"top/{WANTED}/en.tsv")), f"'top/{WANTED}/l' is neither"),
        (hostile(entry(f"top/{WANTED}/pipe", tarfile.FIFOTYPE)), f"'top/{WANTED}/pipe' is neither"),
        (hostile((f"top/{WANTED}/en.tsv", b"x")), f"it holds 'top/{WANTED}/en.tsv' twice"),
        (hostile((f"other/{WANTED}/en.tsv", b"x")), f"it holds 'other/{WANTED}/en.tsv' twice"),
        (hostile((f"top/{WANTED}/en.tsv/x", b"x")), f"it holds 'top/{WANTED}/en.tsv/x' twice"),
        (hostile((f"top/{WANTED}/en.tsv/x/y", b"x")), f"it holds 'top/{WANTED}/en.tsv/x/y' twice"),
        (hostile((f"top/{WANTED}/deep", b"x")), f"it holds 'top/{WANTED}/deep' twice"),
    ],
)
def test_what_is_not_safe_is_not_unpacked(tmp_path: Path, content: bytes, said: str) -> None:
    place = tmp_path / "a" / "b" / "c" / "d"
    place.mkdir(parents=True)
    (place / "file").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    told = refusal(BY_TREE, place / "new" / "small", place / "file")
    assert told.startswith(f"{str(place / 'file')!r} is not safe to unpack: {said}")
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil").exists()


def test_a_link_in_a_zip_is_not_made(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(f"top/{WANTED}/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "file", "w") as to:
        to.writestr(info, "/etc")
    assert "is neither a file nor a folder" in refusal(BY_TREE, tmp_path / "new" / "small", tmp_path / "file")


def test_an_encrypted_zip_is_told_to_be_one(tmp_path: Path) -> None:
    content = bytearray(zipped({f"top/{WANTED}/x": b"x"}))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags] |= 1
    (tmp_path / "file").write_bytes(content)
    assert refusal(BY_TREE, tmp_path / "new" / "small", tmp_path / "file").endswith("(it is encrypted)")


def test_links_in_folders_that_are_not_wanted_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(hostile(entry("top/latest", tarfile.SYMTYPE, "/etc")))
    assert get(BY_TREE, tmp_path / "small", tmp_path / "file").files == len(FILES)


def test_an_archive_that_swells_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(hostile(("top/not/wanted", b"\0" * 1_000_000)))
    monkeypatch.setattr("locant.archives.unpack.LARGEST_UNPACKED", 1_000_000)
    said = refusal(BY_TREE, tmp_path / "new" / "small", tmp_path / "file")
    assert said.endswith("what it holds has more than 1000000 bytes")
    monkeypatch.setattr("locant.archives.unpack.LARGEST_UNPACKED", 1_100_000)
    assert get(BY_TREE, tmp_path / "small", tmp_path / "file").new
