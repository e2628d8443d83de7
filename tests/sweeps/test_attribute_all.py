"""Runs on disk: the same bytes however often they were stopped, and never two runs in one folder."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import locant
from families import tiny
from locant.errors import BadFile, BadQuery, UnknownName
from locant.sweeps import attribute_all

UNIT = 3
QUERIES = tuple(
    locant.query(f"w{n} w{n + 1} w{n + 2}", f"w{n + 40}", uid=f"q{n}", relation="r", subject=f"s{n}", template="t")
    for n in range(8)
)


class Stop(Exception):
    """Raised in the middle of a run."""


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locant.sweeps.attribute.UNIT", UNIT)


def run(folder: Path, **more: object) -> Path:
    settings = {"method": "dai", "k": 5, "settings": {"steps": 4}, "queries": QUERIES, **more}
    return attribute_all(tiny("llama"), settings.pop("queries"), folder, **settings)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stop(queries: int) -> None:
    raise Stop


# What a run holds


def test_a_run_has_a_manifest_its_units_and_two_tables(tmp_path: Path) -> None:
    done: list[int] = []
    folder = run(tmp_path / "run", done=done.append)
    files = list(contents(folder))
    assert done == [3, 3, 2]
    assert [name for name in files if not name.startswith("units/")] == [
        "manifest.json",
        "tables/neurons.parquet",
        "tables/queries.parquet",
    ]
    assert len([name for name in files if name.startswith("units/")]) == 3
    manifest = json.loads((folder / "manifest.json").read_text())
    expected = {
        "recipe": "attribute",
        "method": "dai",
        "model": "LlamaForCausalLM",
        "dtype": "float32",
        "top": 5,
        "queries": 8,
        "status": "complete",
        "package": locant.__version__,
    }
    assert {name: manifest[name] for name in expected} == expected
    assert manifest["settings"]["steps"] == 4
    assert manifest["settings"]["rule"] == "gauss-legendre"


@pytest.mark.parametrize("method", ["dai", "exact", "activation"])
def test_the_table_has_the_top_neurons_of_each_query_in_their_order(tmp_path: Path, method: str) -> None:
    settings = {"steps": 4} if method == "dai" else {}
    folder = run(tmp_path, method=method, settings=settings)
    rows = pl.read_parquet(folder / "tables" / "neurons.parquet")
    found = locant.attribute(tiny("llama"), QUERIES, method, **settings)
    assert rows["query"].to_list() == [query.uid for query in QUERIES for _ in range(5)]
    assert rows["rank"].to_list() == [1, 2, 3, 4, 5] * len(QUERIES)
    for one, (_, mine) in zip(found, rows.group_by("query", maintain_order=True), strict=True):
        ranked = one.scores.flatten().sort(descending=True)
        layers, neurons = ranked.indices[:5] // 48, ranked.indices[:5] % 48
        assert (mine["layer"].to_list(), mine["neuron"].to_list()) == (layers.tolist(), neurons.tolist())
        assert mine["score"].to_list() == pytest.approx(ranked.values[:5].tolist(), rel=1e-4)
        held = one.activations[0][layers, neurons].tolist()
        assert mine["activation"].to_list() == pytest.approx(held, rel=1e-4)


def test_the_table_of_queries_has_each_once_with_what_was_asked(tmp_path: Path) -> None:
    rows = pl.read_parquet(run(tmp_path) / "tables" / "queries.parquet").to_dicts()
    found = locant.attribute(tiny("llama"), QUERIES, steps=4)
    for index, (row, query) in enumerate(zip(rows, QUERIES, strict=True)):
        texts = ("prompt", "answer", "relation", "language", "template")
        assert {name: row[name] for name in texts} == {name: getattr(query, name) for name in texts}
        assert (row["query"], row["fact"]) == (query.uid, query.fact.uid)
        assert row["answer_prob"] == pytest.approx(float(found.answer_prob[index]), rel=1e-4)
        worst = float(found.completeness_error[index].max())
        assert row["completeness_error"] == pytest.approx(worst, rel=0.05, abs=1e-7)


def test_a_method_that_promises_no_completeness_has_none_in_the_table(tmp_path: Path) -> None:
    rows = pl.read_parquet(run(tmp_path, method="activation", settings={}) / "tables" / "queries.parquet")
    assert rows["completeness_error"].null_count() == len(rows) == len(QUERIES)


def test_dense_grids_are_the_scores_that_attribute_gives(tmp_path: Path) -> None:
    folder = run(tmp_path, dense=True)
    found = locant.attribute(tiny("llama"), QUERIES, steps=4).scores
    seen = []
    for place in sorted((folder / "units").glob("*.safetensors")):
        with safe_open(place, "pt") as file:
            uids = file.metadata()["queries"].split("\n")
        at = [int(uid[1:]) for uid in uids]
        scores = load_file(place)["scores"]
        assert scores.shape == (len(uids), 3, 48)
        assert torch.allclose(scores, found[at], atol=1e-8)
        assert pl.read_parquet(place.with_suffix(".parquet"))["query"].unique(maintain_order=True).to_list() == uids
        seen += at
    assert sorted(seen) == list(range(len(QUERIES)))


def test_more_neurons_than_there_are_gives_all_there_are(tmp_path: Path) -> None:
    rows = pl.read_parquet(run(tmp_path, k=1000, queries=QUERIES[:1]) / "tables" / "neurons.parquet")
    assert len(rows) == len(rows.select("layer", "neuron").unique()) == 3 * 48


# Stopping and resuming


@pytest.mark.parametrize("dense", [False, True])
def test_a_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path, dense: bool) -> None:
    whole = contents(run(tmp_path / "whole", dense=dense))
    with pytest.raises(Stop):
        run(tmp_path / "stopped", dense=dense, done=stop)
    begun = contents(tmp_path / "stopped")
    assert json.loads(begun.pop("manifest.json"))["status"] == "running"
    assert begun.items() < whole.items() and len(begun) == (2 if dense else 1)
    assert contents(run(tmp_path / "stopped", dense=dense)) == whole


def test_only_what_is_missing_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(run(tmp_path))
    lost = sorted((tmp_path / "units").iterdir())[1]
    (uid, *_) = pl.read_parquet(lost)["query"].to_list()
    lost.unlink()
    computed: list[str] = []

    def counting(lm: object, unit: tuple[locant.Query, ...], *args: object, **settings: object) -> object:
        computed.extend(query.uid for query in unit)
        return locant.attribute(lm, unit, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("locant.sweeps.attribute.attribute", counting)
    assert contents(run(tmp_path)) == whole
    assert uid in computed and len(computed) <= UNIT


def test_a_file_that_breaks_off_while_it_is_written_is_not_taken_for_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(run(tmp_path / "whole"))

    def half(self: pl.DataFrame, place: Path) -> None:
        place.write_bytes(b"PAR1 and no more")
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", half)
        with pytest.raises(Stop):
            run(tmp_path / "broken")
    assert list(contents(tmp_path / "broken")) == ["manifest.json"]
    assert contents(run(tmp_path / "broken")) == whole


# What is refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "exact", "settings": {}}, 'method "dai", this one has "exact"'),
        ({"settings": {"steps": 5}}, "steps 4, this one has 5"),
        ({"k": 6}, "top 5, this one has 6"),
        ({"dense": True}, "dense false, this one has true"),
        ({"queries": QUERIES[:4]}, "queries 8, this one has 4"),
        ({"queries": QUERIES[::-1]}, "data "),
    ],
)
def test_a_folder_of_another_run_is_refused_by_the_first_difference(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    before = contents(run(tmp_path))
    with pytest.raises(BadFile) as caught:
        run(tmp_path, **changed)
    assert str(caught.value).startswith(f"{str(tmp_path)!r} holds a run with {said}")
    assert str(caught.value).endswith("; name another folder with --out")
    assert contents(tmp_path) == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadFile, match="is not empty and holds no run; name another with --out"):
        run(tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadFile, match="is a file, not a folder to write to"):
        run(tmp_path / "thesis.txt")
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_a_manifest_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("not json")
    with pytest.raises(BadFile, match="is not a run's manifest"):
        run(tmp_path)
    assert contents(tmp_path) == {"manifest.json": b"not json"}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"queries": (*QUERIES, locant.query("w1", "zebra"))}, BadQuery),
        ({"queries": ()}, UnknownName),
        ({"k": 0}, UnknownName),
        ({"method": "magic"}, UnknownName),
        ({"settings": {"layers": 3}}, UnknownName),
        ({"settings": {"rule": "simpson"}}, UnknownName),
        ({"settings": {"steps": 0}}, UnknownName),
    ],
)
def test_what_cannot_be_done_leaves_no_folder(
    tmp_path: Path, changed: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(tmp_path / "run", **changed)
    assert list(tmp_path.iterdir()) == []
