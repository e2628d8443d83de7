"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from locant.errors import BadFile
from locant.files import write_text, write_whole


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
