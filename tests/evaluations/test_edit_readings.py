"""What is read of edit cases, against plain passes in a loop, and texts that are constructed to differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl
import pytest
import torch

import locant
import plain
from families import MASKED, tiny
from locant.errors import UnknownName
from locant.evaluations.edit_readings import ASKED, Scope, comparisons, gather_readings, read_cases, writer
from locant.evaluations.editing import perplexity
from locant.evaluations.generation import continue_greedily, fluency, inverse_frequencies, reference_score
from locant.models import LanguageModel
from locant.models.sample import sample
from locant.queries.edit_cases import EditCase
from locant.types import Fact, Query


def query(uid: str, prompt: str, answer: str, old: str = "") -> Query:
    return Query(uid, Fact(uid, "w5", "r", old or answer), prompt, answer)


def case(uid: str = "one", new: str = "w11 w12", old: str = "w9") -> EditCase:
    request = locant.edit_request("w3 w5 w7", "w5", new, old=old, relation="r", uid=uid)
    return EditCase(
        request,
        paraphrases=(
            Query(f"{uid}/p0", request.query.fact, "w5 w8", old),
            Query(f"{uid}/p1", request.query.fact, "w30 w31 w5 w32 w33", old),
        ),
        neighbours=(query(f"{uid}/n0", "w3 w6 w7", "w9"), query(f"{uid}/n1", "w40 w41 w7", "w20 w21")),
        attributes=(query(f"{uid}/a0", "w3 w60 w7", new),),
        portability=(query(f"{uid}/f0", "w50 w51", "w52", old="w53 w54"),),
        unrelated=(query(f"{uid}/u0", "w70 w71 w72 w73", "w74"),),
        generation=("w5 w1", "w5 w2"),
        references=("w11 w12 w13",),
    )


def by_hand(family: str, lm: LanguageModel, asked: Query) -> tuple[float, float, list[int], list[int]]:
    """Of the answer: log-probability, mean NLL, the model's choices and its own tokens; one plain pass each."""
    total, choices, tokens = 0.0, [], []
    for inputs, position, token in plain.read(family, lm, asked):
        with torch.no_grad():
            logs = lm.model(**inputs).logits[0, position].double().log_softmax(-1)
        total += float(logs[token])
        choices.append(int(logs.argmax()))
        tokens.append(token)
    return total, -total / len(tokens), choices, tokens


EXPECTED = {
    # asked, prompt: target, foil
    ("request", "w3 w5 w7"): ("w11 w12", "w9"),
    ("paraphrase", "w5 w8"): ("w11 w12", "w9"),
    ("paraphrase", "w30 w31 w5 w32 w33"): ("w11 w12", "w9"),
    ("neighbour", "w3 w6 w7"): ("w9", "w11 w12"),
    ("neighbour", "w40 w41 w7"): ("w20 w21", "w11 w12"),
    ("attribute", "w3 w60 w7"): ("w11 w12", "w9"),
    ("portability", "w50 w51"): ("w52", "w53 w54"),
    ("unrelated", "w70 w71 w72 w73"): ("w74", None),
}


def test_every_query_is_read_as_a_plain_loop_reads_it(family: str, lm: LanguageModel) -> None:
    scope = Scope((*ASKED, "attribute"), ())
    rows = read_cases(lm, [case()], scope).queries.to_dicts()
    prompts = [(one.asked, one.target.prompt) for one in comparisons(case(), scope.asked)]
    assert sorted(prompts) == sorted(EXPECTED) and len(rows) == len(prompts)
    for row, (asked, prompt) in zip(rows, prompts, strict=True):
        target, foil = EXPECTED[asked, prompt]
        assert (row["asked"], row["target"], row["foil"]) == (asked, target, foil)
        total, nll, choices, tokens = by_hand(family, lm, locant.query(prompt, target))
        assert row["target_log_probability"] == pytest.approx(total, abs=1e-4)
        assert row["target_nll"] == pytest.approx(nll, abs=1e-4)
        assert row["choices"] == choices
        assert row["agreement"] == sum(a == b for a, b in zip(choices, tokens, strict=True)) / len(tokens)
        assert row["first"] == (choices == tokens)
        if foil is None:
            assert row["foil_nll"] is None and row["foil_log_probability"] is None
        else:
            total, nll, *_ = by_hand(family, lm, locant.query(prompt, foil))
            assert row["foil_log_probability"] == pytest.approx(total, abs=1e-4)
            assert row["foil_nll"] == pytest.approx(nll, abs=1e-4)


def test_what_is_written_is_the_models_own_greedy_text(family: str, lm: LanguageModel) -> None:
    rows = read_cases(lm, [case()]).queries
    for row in rows.to_dicts():
        if family in MASKED or row["asked"] not in ("request", "paraphrase", "portability"):
            assert row["text"] is None and row["begins"] is None
        else:
            prompt = next(one.target.prompt for one in comparisons(case()) if one.target.uid == row["query"])
            # Two tokens of the longest answer, and some more
            assert row["text"] == continue_greedily(lm, [prompt], 6)[0]
            assert row["begins"] == (row["text"].split()[: len(row["target"].split())] == row["target"].split())


def test_a_text_that_begins_with_the_target_is_found(almanac_lm: LanguageModel) -> None:
    request = locant.edit_request("The capital of France is", "France", "Paris", old="Rome")
    rows = read_cases(almanac_lm, [EditCase(request), EditCase(replace(request, new="Berlin"))]).queries
    assert rows["begins"].to_list() == [True, False]
    assert rows["first"].to_list() == [True, False]


def test_half_of_a_text_can_be_right_that_is_never_written() -> None:
    lm = tiny("llama")
    prompt = "w3 w5 w8"
    said = lm.generate(prompt, 1).strip()
    others = (f"w{number}" for number in range(90) if f"w{number}" != said)
    wrong, then = next((one, two) for one in others if (two := lm.generate(f"{prompt} {one}", 1).strip()))
    request = locant.edit_request(prompt, "w5", f"{wrong} {then}", old="w9")
    (row,) = read_cases(lm, [EditCase(request)]).queries.to_dicts()
    assert (row["agreement"], row["first"], row["begins"]) == (0.5, False, False)
    right = locant.edit_request(prompt, "w5", said, old="w9")
    (row,) = read_cases(lm, [EditCase(right)]).queries.to_dicts()
    assert (row["agreement"], row["first"], row["begins"]) == (1.0, True, True)


def test_a_case_without_old_objects_has_no_foils_for_its_own_queries() -> None:
    rows = read_cases(tiny("llama"), [case(old="")]).queries
    by_asked = {row["asked"]: row["foil"] for row in rows.to_dicts()}
    assert by_asked["request"] is by_asked["paraphrase"] is None
    assert by_asked["neighbour"] == "w11 w12"


def test_several_requests_are_each_read_with_their_own_new_object() -> None:
    second = locant.edit_request("w3 w15 w7", "w15", "w16", old="w17", relation="r", uid="second")
    both = replace(
        case(), more=(second,), paraphrases=(Query("p", second.query.fact, "w15 w8", "w17"), *case().paraphrases)
    )
    found = [(one.asked, one.target.prompt, one.target.answer, one.foil) for one in comparisons(both, ASKED[:2])]
    assert found == [
        ("request", "w3 w5 w7", "w11 w12", "w9"),
        ("request", "w3 w15 w7", "w16", "w17"),
        ("paraphrase", "w15 w8", "w16", "w17"),
        ("paraphrase", "w5 w8", "w11 w12", "w9"),
        ("paraphrase", "w30 w31 w5 w32 w33", "w11 w12", "w9"),
    ]


def test_only_what_is_asked_for_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    read = read_cases(lm, [case(), case("two")], Scope(("request",), ()))
    assert read.queries["asked"].to_list() == ["request"] * 2 and read.queries["text"].null_count() == 2
    assert read.texts.is_empty()
    with pytest.raises(
        UnknownName, match=r"no queries 'neighbor' of a case \(did you mean 'neighbour'\?\); there are"
    ):
        read_cases(lm, [case()], Scope(("neighbor",)))


def test_many_cases_are_read_as_each_alone() -> None:
    lm = tiny("llama")
    cases = [case(), case("two", new="w61"), case("three", old="")]
    together = read_cases(lm, cases).queries
    apart = gather_readings([read_cases(lm, [one]) for one in cases]).queries
    # Texts are as long as the longest answer at hand asks for
    assert together.drop(*floats_of(together), "text").equals(apart.drop(*floats_of(apart), "text"))
    for name in floats_of(together):
        for one, other in zip(together[name], apart[name], strict=True):
            assert (one is None) == (other is None) and (one is None or one == pytest.approx(other, abs=1e-4))


def floats_of(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind == pl.Float64]


def test_texts_are_measured_as_their_own_functions_do() -> None:
    lm = tiny("llama")
    asked: list[str] = []

    def generate(prompts: Sequence[str]) -> list[str]:
        asked.extend(prompts)
        return [f" w11 w{number} w12 w11" for number in range(len(prompts))]

    cases = [case(), replace(case("two"), references=()), replace(case("three"), generation=())]
    scope = Scope(("request",), (), texts=("w1 w2 w3 w4",), writer=writer(generate, cases))
    values = {(row["case"], row["metric"]): row["value"] for row in read_cases(lm, cases, scope).texts.to_dicts()}
    assert asked == ["w5 w1", "w5 w2"] * 2
    texts = ["w5 w1 w11 w0 w12 w11", "w5 w2 w11 w1 w12 w11"]
    weights = inverse_frequencies(["w11 w12 w13"] * 2)
    assert values.keys() == {("", "perplexity"), ("one", "fluency"), ("one", "consistency"), ("two", "fluency")}
    assert values["", "perplexity"] == perplexity(lm, scope.texts)
    assert values["one", "fluency"] == fluency(texts)
    assert values["one", "consistency"] == pytest.approx(reference_score(" ".join(texts), "w11 w12 w13", weights))
    assert 0 < values["one", "consistency"] < 1


def test_what_is_drawn_for_a_case_does_not_hang_on_the_cases_beside_it() -> None:
    lm, cases = tiny("llama"), [case(), case("two")]
    generate = partial(sample, lm, length=8, seed=3)
    scope = Scope(("request",), (), writer=writer(generate, cases))
    together = read_cases(lm, cases, scope).texts
    alone = pl.concat([read_cases(lm, [one], scope).texts for one in cases])
    assert together.equals(alone)


def test_the_perplexity_after_one_case_is_that_cases() -> None:
    read = read_cases(tiny("llama"), [case("two")], Scope(("request",), (), texts=("w1 w2 w3",)))
    assert read.texts["case"].to_list() == ["two"]


def test_a_prompt_is_run_once_for_both_of_its_answers_and_once_for_the_distribution_of_what_is_spared() -> None:
    lm, sequences = tiny("llama"), []
    handle = lm.model.get_input_embeddings().register_forward_hook(
        lambda module, args, out: sequences.extend(args[0].tolist())
    )
    one = replace(case(new="w11"), portability=(query("f", "w50 w51", "w52", old="w53"),))
    one = replace(one, neighbours=one.neighbours[:1])
    asked = list(comparisons(one))
    try:
        read_cases(lm, [one], Scope(written=()))
    finally:
        handle.remove()
    assert len(sequences) == len(asked) + 2 == 8


def test_nothing_cannot_be_gathered() -> None:
    with pytest.raises(UnknownName, match="no readings"):
        gather_readings([])
