"""The covariance of keys: a plain mean over tokens, read once and kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

from families import tiny
from locant.errors import BadFile, LocantError, UnknownName
from locant.interventions.editing import covariance as module
from locant.interventions.editing import prepare
from locant.interventions.editing.background import read_ahead
from locant.interventions.editing.covariance import Covariance, accumulate, key_covariances, solver
from locant.interventions.editing.texts import name_of_texts, read_running_text, windows_of
from locant.models import LanguageModel
from locant.models.rewriting import held, rewriting

TEXTS = ("w1 w2 w3 w4 w5", "w9 w8 w7", "w20 w21 w22 w23 w24 w25 w26 w27", "w30")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCANT_CACHE", str(tmp_path / "cache"))


def keys_of(lm: LanguageModel, layer: int, ids: tuple[int, ...]) -> Tensor:
    """The down-projection's inputs, of a window run alone."""
    seen: list[Tensor] = []
    handle = lm.downs[layer].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        lm.model(torch.tensor([ids]))
    handle.remove()
    return seen[0].reshape(len(ids), -1).double()


def plain(lm: LanguageModel, layer: int, windows: list[tuple[int, ...]]) -> Tensor:
    products = [torch.outer(key, key) for ids in windows for key in keys_of(lm, layer, ids)]
    return sum(products) / len(products)


@pytest.mark.parametrize("at_once", [1, 9, 8192])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_the_covariance_is_the_mean_over_tokens_in_any_batches(family: str, at_once: int) -> None:
    lm = tiny(family)
    windows = windows_of(lm, TEXTS, 100, 0)
    found = accumulate(lm, [0, 2], windows, at_once)
    for layer, one in found.items():
        torch.testing.assert_close(one.matrix.double(), plain(lm, layer, windows), rtol=1e-5, atol=1e-6)
        assert one.tokens == sum(map(len, windows))


def test_texts_are_cut_at_the_context_and_at_the_budget() -> None:
    lm = tiny("llama")
    long = " ".join(f"w{number % 90}" for number in range(100))
    assert [len(one) for one in windows_of(lm, [long, "w1 w2"], 1000, 0)] == [64, 36, 2]
    assert [len(one) for one in windows_of(lm, [long, "w1 w2"], 70, 0)] == [64, 6]


def test_texts_of_its_own_are_as_many_as_asked_for_and_the_same_for_a_seed() -> None:
    lm = tiny("llama")
    windows = windows_of(lm, None, 150, 3)
    assert 100 < sum(map(len, windows)) <= 150
    assert windows == windows_of(lm, None, 150, 3) != windows_of(lm, None, 150, 4)


def test_what_was_kept_is_read_again_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    first = key_covariances(lm, [0, 1], TEXTS, 50, 0)
    monkeypatch.setattr(module, "accumulate", None)
    again = key_covariances(lm, [1, 0], TEXTS, 50, 0)
    assert all(torch.equal(first[layer].matrix, again[layer].matrix) for layer in (0, 1))
    assert again[0].tokens == first[0].tokens


def test_another_layer_text_budget_model_or_weight_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    key_covariances(lm, [0], TEXTS, 50, 0)
    name = next(iter(dict(lm.model.named_parameters())))
    read: list[object] = []
    monkeypatch.setattr(module, "accumulate", lambda *args: read.append(args) or accumulate(*args))
    key_covariances(lm, [1], TEXTS, 50, 0)
    key_covariances(lm, [0], TEXTS[1:], 50, 0)
    key_covariances(lm, [0], TEXTS, 10, 0)
    key_covariances(lm, [0], None, 50, 0)
    key_covariances(tiny("mistral"), [0], TEXTS, 50, 0)
    key_covariances(tiny("llama", torch.float64), [0], TEXTS, 50, 0)
    with rewriting(lm.model) as weights:
        weights.write({name: held(lm.model, [name])[name] + 1})
        key_covariances(lm, [0], TEXTS, 50, 0)
    assert len(read) == 7
    key_covariances(lm, [0], TEXTS, 50, 0)
    assert len(read) == 7


@pytest.mark.parametrize("damage", [b"", b"nothing of the kind", None])
def test_a_damaged_file_is_read_anew(damage: bytes | None, tmp_path: Path) -> None:
    lm = tiny("llama")
    first = key_covariances(lm, [0], TEXTS, 50, 0)[0]
    (file,) = (tmp_path / "cache" / "covariance").iterdir()
    file.write_bytes(file.read_bytes()[:-7] if damage is None else damage)
    assert torch.equal(key_covariances(lm, [0], TEXTS, 50, 0)[0].matrix, first.matrix)


def test_fewer_tokens_than_neurons_are_refused_without_a_ridge() -> None:
    matrix = torch.diag(torch.tensor([1.0, 2.0, 0.0, 4.0]))
    with pytest.raises(LocantError, match="3 tokens"):
        solver(Covariance(matrix, 3), 0.0)
    with pytest.raises(LocantError, match="ridge"):
        solver(Covariance(matrix, 100), 0.0)
    with pytest.raises(UnknownName, match="ridge"):
        solver(Covariance(matrix, 3), -1.0)
    solved = solver(Covariance(matrix, 3), 0.5)(torch.ones(4, 1))
    torch.testing.assert_close((matrix.double() + 0.5 * 7 / 4 * torch.eye(4)) @ solved, torch.ones(4, 1).double())


def test_a_covariance_needs_tokens() -> None:
    with pytest.raises(UnknownName, match="0"):
        key_covariances(tiny("llama"), [0], TEXTS, 0, 0)


def test_text_is_read_from_lists_lines_and_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["one", " ", "two"]))
    (tmp_path / "b.jsonl").write_text('"one"\n\n{"text": "two"}\n')
    (tmp_path / "c.txt").write_text("one\n\n\ntwo\n")
    pl.DataFrame({"id": [1, 2, 3], "text": ["one", None, "two"]}).write_parquet(tmp_path / "d.parquet")
    lm = tiny("llama")
    for name in ("a.json", "b.jsonl", "c.txt", "d.parquet"):
        assert read_running_text(lm, tmp_path / name, 100) == ("one", "two")
    assert read_running_text(lm, str(tmp_path / "c.txt"), 100) == read_running_text(lm, ["one", "two"], 100)


def test_no_more_of_a_text_is_read_than_the_budget_needs(tmp_path: Path) -> None:
    lm, read = tiny("llama"), []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield "w1 w2 w3"

    each = len(lm.tokenizer("w1 w2 w3")["input_ids"])
    assert read_running_text(lm, endless(), 2 * each + 1) == ("w1 w2 w3",) * 3 and len(read) == 3
    # What is not read has no part in what the statistics are kept under
    settings = [
        prepare(lm, "rome", {"texts": texts, "tokens": 2 * each, "contexts": ()}).settings["texts"]
        for texts in (endless(), ["w1 w2 w3"] * 2, ["w1 w2 w3"] * 2 + ["w9"], ["w1 w2 w3", "w9"])
    ]
    assert settings[0] == settings[1] == settings[2] != settings[3]
    (tmp_path / "a.jsonl").write_text('"w1 w2 w3"\nno json')
    assert read_running_text(lm, tmp_path / "a.jsonl", 1) == ("w1 w2 w3",)
    pl.DataFrame({"text": ["w1 w2 w3"] * 3000}).write_parquet(tmp_path / "b.parquet")
    assert len(read_running_text(lm, tmp_path / "b.parquet", 10**9)) == 3000


def test_what_holds_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "one"}')
    (tmp_path / "b.json").write_text("no json")
    (tmp_path / "c.txt").write_text("\n \n\n")
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "e.parquet").write_bytes(b"no table")
    pl.DataFrame({"words": ["one"]}).write_parquet(tmp_path / "f.parquet")
    names = ("a.json", "b.json", "c.txt", "d.txt", "e.parquet", "f.parquet", "missing.txt", "missing.parquet")
    for name in names:
        with pytest.raises(BadFile, match=name):
            read_running_text(tiny("llama"), tmp_path / name, 100)
    with pytest.raises(BadFile, match="no text"):
        read_running_text(tiny("llama"), [], 100)


def test_sources_of_text_have_names_of_their_own() -> None:
    assert len({name_of_texts(one) for one in (None, ["a"], ["a", "b"], ["ab"])}) == 4


def test_layers_read_ahead_are_read_at_once_and_found_by_one_layers_editor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny("llama")
    passes: list[tuple[int, ...]] = []

    def counted(lm: LanguageModel, layers: Sequence[int], *rest: object) -> dict[int, Covariance]:
        passes.append(tuple(layers))
        return accumulate(lm, layers, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("locant.interventions.editing.covariance.accumulate", counted)
    read_ahead(lm, range(lm.layers), None, 300, 0)
    for layer in range(lm.layers):
        prepare(lm, "rome", {"layer": layer, "tokens": 300})
    assert passes == [tuple(range(lm.layers))]
    monkeypatch.setattr("locant.interventions.editing.covariance.MEMORY", 1)
    read_ahead(lm, range(lm.layers), None, 200, 0)
    assert passes[1:] == [(layer,) for layer in range(lm.layers)]


def test_the_first_keys_mean_is_kept_with_how_many_there_are() -> None:
    lm, windows = tiny("llama"), [(5, 6, 7), (8, 9), (11,)]
    found = accumulate(lm, [1], windows)[1]
    mean = torch.stack([keys_of(lm, 1, one)[0] for one in windows]).double().mean(dim=0)
    assert found.firsts == 3 and found.first is not None
    torch.testing.assert_close(found.first.double(), mean, rtol=1e-5, atol=1e-6)
    kept = [key_covariances(lm, [1], TEXTS, 50, 0)[1] for _ in range(2)]
    assert torch.equal(kept[0].first, kept[1].first) and kept[0].firsts == kept[1].firsts == len(TEXTS)  # type: ignore[arg-type]
