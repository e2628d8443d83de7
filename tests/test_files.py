"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from locant.errors import BadFile
from locant.files import cache_folder, write_text, write_whole


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_beside_it(tmp_path: Path) -> None:
    place = write_text(tmp_path / "deep" / "page.html", "first")

    def half(beside: Path) -> None:
        beside.write_text("half a pa")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_whole(place, half)
    assert place.read_text() == "first"
    assert list(place.parent.iterdir()) == [place]


def test_a_place_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(BadFile, match=r"cannot write .*taken/page\.html"):
        write_text(tmp_path / "taken" / "page.html", "text")
    assert (tmp_path / "taken").read_text() == "a file"


def test_what_is_kept_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOCANT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "locant"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared" / "locant"
    monkeypatch.setenv("LOCANT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
