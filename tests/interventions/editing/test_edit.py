"""What holds for every edit, whatever its method: undone exactly, saved whole, refused clearly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import locant
from families import tiny
from locant.errors import BadFile, BadQuery, LocantError, UnknownName
from locant.interventions.editing import METHODS, apply_weights, edit, prepare
from locant.interventions.editing.editor import Editor, Rewrite
from locant.interventions.editing.memit import least
from locant.models import LanguageModel
from locant.types import EditRequest


def request(subject: str = "w5 w6", new: str = "w11", old: str = "w9") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old=old)


def weights(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in lm.model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_subject_is_found_at_its_last_token() -> None:
    lm = tiny("llama")
    tokens = lm.tokens(request().asked).prompt
    assert lm.text_of([tokens[lm.subject_position(request().query)]]) == "w6"


def test_a_subject_that_stands_twice_is_found_where_it_stands_last() -> None:
    lm = tiny("llama")
    asked = locant.edit_request("w3 w5 w4 w5 w7", "w5", "w11")
    tokens = lm.tokens(asked.asked).prompt
    assert lm.subject_position(asked.query) == len(tokens) - 2


def test_a_subject_of_the_almanac_is_found_within_its_words(almanac_lm: LanguageModel) -> None:
    asked = locant.edit_request("The capital of Burkina Faso is", "Burkina Faso", "Rome")
    tokens = almanac_lm.tokens(asked.asked).prompt
    rest = almanac_lm.tokenizer.decode(list(tokens[almanac_lm.subject_position(asked.query) + 1 :]))
    assert rest.strip() == "is"


@pytest.mark.parametrize("subject", ["", "w12"])
def test_a_request_without_its_subject_in_the_prompt_is_refused(subject: str) -> None:
    with pytest.raises(BadQuery, match="subject"):
        tiny("llama").subject_position(locant.edit_request("w3 w5 w7", subject, "w11").query)


@pytest.mark.parametrize("method", METHODS)
def test_leaving_an_edit_restores_every_byte(method: str) -> None:
    lm = tiny("llama")
    before = weights(lm)
    with edit(lm, [request()], method):
        assert not same(before, weights(lm))
    assert same(before, weights(lm))


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_within_an_edit_restores_every_byte(method: str) -> None:
    lm = tiny("llama")
    before = weights(lm)
    with pytest.raises(ZeroDivisionError), edit(lm, [request()], method):
        raise ZeroDivisionError
    assert same(before, weights(lm))


@pytest.mark.parametrize("method", METHODS)
def test_an_edit_that_fails_midway_restores_every_byte(method: str) -> None:
    lm = tiny("llama")
    before = weights(lm)
    unknown = locant.edit_request("w3 w5 w7", "w5", "no-such-word", old="w9")
    with pytest.raises(BadQuery), edit(lm, [request()], method) as edited:
        edited.add([unknown])
    assert same(before, weights(lm))


@pytest.mark.parametrize("method", METHODS)
def test_two_edits_in_one_process_share_no_state(method: str) -> None:
    lm = tiny("llama")
    with edit(lm, [request("w5 w6")], method):
        first = weights(lm)
    with edit(lm, [request("w20", "w21", "w22")], method):
        pass
    with edit(lm, [request("w5 w6")], method):
        assert same(first, weights(lm))


@pytest.mark.parametrize("method", METHODS)
def test_an_editor_that_is_used_again_remembers_nothing(method: str) -> None:
    lm = tiny("llama")
    editor = prepare(lm, method, {})
    with edit(lm, [request("w5 w6")], editor):
        first = weights(lm)
    with edit(lm, [request("w20", "w21", "w22")], editor):
        pass
    with edit(lm, [request("w5 w6")], editor):
        assert same(first, weights(lm))


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_edit_is_put_back_byte_by_byte(method: str, tmp_path: Path) -> None:
    lm = tiny("llama")
    before = weights(lm)
    with edit(lm, [request()], method) as edited:
        after, made_by = weights(lm), edited.made_by
        edited.save_weights(tmp_path / "edit.safetensors")
    with apply_weights(lm, tmp_path / "edit.safetensors") as found:
        assert same(after, weights(lm)) and found == made_by
    assert same(before, weights(lm))


def test_a_saved_edit_is_refused_by_another_model(tmp_path: Path) -> None:
    with edit(tiny("llama"), [request()], "kn") as edited:
        edited.save_weights(tmp_path / "edit.safetensors")
    with pytest.raises(LocantError, match="was made for"), apply_weights(tiny("gpt2"), tmp_path / "edit.safetensors"):
        pass


def test_a_file_that_is_no_saved_edit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("not tensors")
    with pytest.raises(BadFile, match="no saved edit"), apply_weights(tiny("llama"), tmp_path / "x.safetensors"):
        pass


def test_an_edited_model_is_saved_with_what_was_edited(almanac_lm: LanguageModel, tmp_path: Path) -> None:
    asked = locant.edit_request("The capital of France is", "France", "Rome", old="Paris")
    with edit(almanac_lm, [asked], "kn") as edited:
        said = almanac_lm.generate("The capital of France is", 5)
        edited.save_model(tmp_path / "model")
    record = json.loads((tmp_path / "model" / "edit.json").read_text())
    assert locant.load(str(tmp_path / "model")).generate("The capital of France is", 5) == said
    assert record["requests"][0]["new"] == "Rome" and record["made_by"]["method"] == "kn"


def test_an_edited_model_is_not_written_over_what_is_there(almanac_lm: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with edit(almanac_lm, [], "kn") as edited, pytest.raises(BadFile, match="not empty"):
        edited.save_model(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"kn"}))
def test_what_the_model_says_already_is_left_as_it_is(method: str, almanac_lm: LanguageModel) -> None:
    before = weights(almanac_lm)
    paris = locant.edit_request("The capital of France is", "France", "Paris", old="Rome", uid="Paris")
    with edit(almanac_lm, [paris], method) as edited:
        assert same(before, weights(almanac_lm))
        assert edited.notes[0]["steps"] == 0 and 0 < float(edited.notes[0]["loss"]) < 0.01  # type: ignore[arg-type]
    if method == "ft_m":  # of several, only those are left
        other = locant.edit_request("The capital of Peru is", "Peru", "Rome", old="Lima", uid="Peru")
        with edit(almanac_lm, [other, paris], method) as edited:
            assert [note["uid"] for note in edited.notes] == ["Peru", "Paris"]
            assert edited.notes[0]["steps"] != 0 == edited.notes[1]["steps"]


def failing_at(subject: str, editor: Editor) -> Editor:
    """The same editor, and those that come after it, but for a subject that they fail at."""

    def rewrite(requests: Sequence[EditRequest]) -> Rewrite:
        if any(one.subject == subject for one in requests):
            raise LocantError("no more")
        found = editor.rewrite(requests)
        return replace(found, then=failing_at(subject, found.then) if found.then else None)

    return replace(editor, rewrite=rewrite)


@pytest.mark.parametrize("method", METHODS)
def test_what_fails_at_its_second_request_leaves_all_as_before_the_call(method: str) -> None:
    lm = tiny("llama")
    editor = prepare(lm, method, {})
    with edit(lm, [request("w5"), request("w6")], editor, batch=1):
        expected = weights(lm)
    with edit(lm, [request("w5")], failing_at("w8", editor)) as edited:
        before, notes = weights(lm), list(edited.notes)
        with pytest.raises(LocantError, match="no more"):
            edited.add([request("w20", "w21"), request("w8")], batch=1)
        assert same(before, weights(lm)) and edited.notes == notes
        assert [one.subject for one in edited.requests] == ["w5"]
        # Nor does the method remember the first of them
        edited.add([request("w6")])
        assert same(expected, weights(lm))


def test_what_fails_at_its_second_layer_leaves_the_first_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, done = tiny("llama"), []

    def once(*given: object) -> torch.Tensor:
        if done:
            raise LocantError("no more")
        done.append(given)
        return least(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("locant.interventions.editing.memit.least", once)
    with edit(lm, [], "memit", layers=(0, 1)) as edited:
        before = weights(lm)
        with pytest.raises(LocantError, match="no more"):
            edited.add([request()])
        assert done and same(before, weights(lm)) and not edited.requests


def test_no_facts_together_are_no_batch() -> None:
    with pytest.raises(UnknownName, match="not 0"), edit(tiny("llama"), [request()], "kn", batch=0):
        pass


def test_an_unknown_method_and_an_unknown_setting_are_named() -> None:
    with pytest.raises(UnknownName, match="kn"), edit(tiny("llama"), [], "knn"):
        pass
    with pytest.raises(UnknownName, match="share"), edit(tiny("llama"), [], "kn", shore=1):
        pass


def test_what_was_edited_is_told_in_order() -> None:
    with edit(tiny("llama"), [request("w5")], "kn") as edited:
        edited.add([request("w6"), request("w8")])
        assert [one.subject for one in edited.requests] == ["w5", "w6", "w8"]
        assert [note["uid"] for note in edited.notes] == [one.uid for one in edited.requests]
