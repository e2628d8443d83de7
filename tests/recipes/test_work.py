"""What every recipe's run is made of: a manifest that names it, and units that are computed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from families import tiny
from locant.errors import UnknownName
from locant.models.weights import fingerprint
from locant.recipes.plans import refuse_less, refuse_other, refuse_whole
from locant.recipes.work import Data, Work, in_batches, manifest_of, say_nothing
from locant.sweeps import RunFolder
from locant.sweeps.units import Unit

DATA = Data("facts.jsonl", {"limit": 2}, {"languages": ["en"], "facts": 2}, "all of it")


@dataclass(frozen=True)
class Plan:
    size: int = 1
    share: float = 0.5


def work(folder: Path) -> Work:
    lm = tiny("gpt2")
    return Work(lm, RunFolder(folder), manifest_of("some", lm, DATA, {"size": 1}), say_nothing)


def test_a_manifest_has_the_model_and_the_data_with_their_hashes_in_this_order() -> None:
    lm = tiny("gpt2")
    made_by = lm.provenance("some", {})
    assert list(manifest_of("some", lm, DATA, {"size": 1}).items()) == [
        ("recipe", "some"), ("model", lm.name), ("revision", lm.revision), ("dtype", "float32"),
        ("package", made_by.package), ("weights", fingerprint(lm.model)), ("source", "facts.jsonl"),
        ("drawn", {"limit": 2}), ("languages", ["en"]), ("facts", 2), ("data", "07630777646b9ad0ad59"),
        ("settings", {"size": 1}),
    ]  # fmt: skip


def test_other_data_and_other_weights_make_another_manifest() -> None:
    lm, wider = tiny("gpt2"), tiny("bloom")
    manifest = manifest_of("some", lm, DATA, {})
    assert manifest_of("some", lm, replace(DATA, text="all of it."), {})["data"] != manifest["data"]
    assert manifest_of("some", wider, DATA, {})["weights"] != manifest["weights"]
    assert manifest_of("some", lm, replace(DATA, drawn=None), {})["drawn"] == {}


def test_a_unit_is_named_by_its_table_and_its_work_and_computed_once(tmp_path: Path) -> None:
    computed: list[int] = []

    def compute(number: int) -> pl.DataFrame:
        computed.append(number)
        return pl.DataFrame({"number": [number]})

    said: list[tuple[str, int]] = []

    def say(what: str, units: int):
        said.append((what, units))
        return lambda done: None

    own = replace(work(tmp_path), say=say)
    units = [Unit([number], partial(compute, number)) for number in (3, 1)]
    for _ in range(2):
        assert own._fill("numbers", units, "counting")["number"].to_list() == [3, 1]
    assert computed == [3, 1] and said == [("counting", 2)] * 2
    assert own._fill("others", units[:1], "counting")["number"].to_list() == [3]
    assert computed == [3, 1, 3]


def test_rows_of_which_late_ones_have_more_to_say_are_saved_whole_and_none_as_an_empty_table(tmp_path: Path) -> None:
    own = work(tmp_path)
    own._save("rows", [{"why": None}] * 200 + [{"why": "too long"}])
    own._save("table", pl.DataFrame({"one": [1]}))
    own._save("none", [])
    saved = {name: pl.read_parquet(tmp_path / "tables" / f"{name}.parquet") for name in ("rows", "table", "none")}
    assert saved["rows"]["why"].to_list()[-1] == "too long" and len(saved["rows"]) == 201
    assert saved["table"]["one"].to_list() == [1]
    assert saved["none"].shape == (0, 0)


def test_batches_keep_the_order_and_the_last_may_be_short() -> None:
    assert in_batches("abcde", 2) == ["ab", "cd", "e"]
    assert in_batches([], 2) == []


def test_settings_are_refused_by_name_with_what_they_may_be() -> None:
    with pytest.raises(UnknownName, match="no rule 'best'; there are top, share"):
        refuse_other("rule", "best", ("top", "share"))
    with pytest.raises(UnknownName, match="size is 2 or more, not 1"):
        refuse_less(2, Plan(), "size")
    for share in (-0.1, 1.0):
        with pytest.raises(UnknownName, match=f"share is at least 0 and less than 1, not {share}"):
            refuse_whole(Plan(share=share), "share")
    refuse_other("rule", "top", ("top", "share"))
    refuse_less(1, Plan(), "size")
    refuse_whole(Plan(share=0.0), "share")
