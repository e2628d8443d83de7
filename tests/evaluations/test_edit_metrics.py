"""Metrics of edits against plain loops over readings, and tables against means and resamples by hand."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch

import locant
from families import tiny
from locant import almanac
from locant.errors import UnknownName
from locant.evaluations.edit_metrics import edit_rows, edit_table, harmonic_score
from locant.evaluations.edit_readings import EditReadings, Scope, gather_readings, likely_in, read_cases
from locant.models import LanguageModel
from locant.queries.edit_cases import EditCase
from locant.queries.edited_facts import edit_cases_of_facts
from locant.types import Query
from unchecked import unchecked

FIELDS = {
    "case": "one", "relation": "r", "asked": "request", "query": "q", "target": "new", "foil": "old",
    "target_log_probability": -1.0, "foil_log_probability": -2.0, "target_nll": 1.0, "foil_nll": 2.0,
    "first": True, "agreement": 1.0, "choices": [1], "text": "new", "begins": True,
}  # fmt: skip


def readings(*rows: dict[str, object], texts: list[tuple[str, str, float]] | None = None) -> EditReadings:
    """Made-up readings: what is not said is as in `FIELDS`."""
    schema = read_cases(tiny("llama"), []).queries.schema
    frame = pl.DataFrame([FIELDS | row for row in rows], schema=schema)
    return EditReadings(
        frame, pl.DataFrame(texts or [], schema=["case", "metric", "value"], orient="row").cast(TEXTS)
    )


TEXTS = {"case": pl.String, "metric": pl.String, "value": pl.Float64}


def values(rows: pl.DataFrame, when: str = "after") -> dict[tuple[str, str, str], float]:
    return {(row["case"], row["asked"], row["metric"]): row[when] for row in rows.to_dicts()}


def test_every_metric_is_the_mean_over_a_cases_queries() -> None:
    old = readings({}, {"query": "p"})
    new = readings(
        {"target_nll": 0.5, "foil_nll": 3.0, "target_log_probability": -2.5, "foil_log_probability": -3.0},
        {
            "query": "p", "target_nll": 2.0, "foil_nll": 1.0, "target_log_probability": -2.0,
            "foil_log_probability": -4.0, "first": False, "agreement": 0.25, "begins": False,
        },
    )  # fmt: skip
    found = values(edit_rows(old, new))
    expected = {
        "score": 0.5,
        "score_total": 1.0,
        "magnitude": (math.exp(-0.5) - math.exp(-3) + math.exp(-2) - math.exp(-1)) / 2,
        "probability": (math.exp(-2.5) + math.exp(-2)) / 2,
        "first": 0.5,
        "tokens": 0.625,
        "written": 0.5,
    }
    assert found == {("one", "request", name): pytest.approx(value) for name, value in expected.items()}
    assert values(edit_rows(old, new), "before")["one", "request", "score"] == 1


def test_mean_nll_and_total_probability_can_disagree_and_both_are_told() -> None:
    # A target of four tokens at 0.5 each, a foil of one at 0.3
    row = {"target_nll": math.log(2), "target_log_probability": -4 * math.log(2), "foil_nll": -math.log(0.3)}
    found = values(edit_rows(readings({}), readings(row | {"foil_log_probability": math.log(0.3)})))
    assert found["one", "request", "score"] == 1 and found["one", "request", "score_total"] == 0


def test_what_must_be_spared_is_compared_with_what_was_said_before() -> None:
    about = [{"asked": "neighbour", "query": name} for name in "abc"] + [{"asked": "unrelated", "query": "u"}]
    before = readings(*(one | {"choices": [1, 2, 3]} for one in about))
    after = readings(
        *(one | {"choices": own} for one, own in zip(about, ([1, 2, 3], [1, 9, 9], [9, 2, 3], [1, 2]), strict=True))
    )
    found = values(edit_rows(before, after))
    assert found["one", "neighbour", "kept"] == pytest.approx(2 / 3)
    assert found["one", "neighbour", "kept_tokens"] == pytest.approx((1 + 1 / 3 + 2 / 3) / 3)
    assert found["one", "unrelated", "kept"] == 1
    assert found["one", "unrelated", "kept_tokens"] == pytest.approx(2 / 3)
    assert ("one", "request", "kept") not in found


def test_metrics_that_nothing_is_read_for_have_no_row() -> None:
    bare = {"foil": None, "foil_nll": None, "foil_log_probability": None, "text": None, "begins": None}
    assert {metric for _, _, metric in values(edit_rows(readings(bare), readings(bare)))} == {
        "probability", "first", "tokens"
    }  # fmt: skip


def test_texts_stand_beside_what_they_were_before() -> None:
    before = readings({}, {"case": "two"}, texts=[("", "perplexity", 20.0), ("one", "fluency", 600.0)])
    after = readings({}, {"case": "two"}, texts=[("one", "perplexity", 21.0), ("two", "perplexity", 30.0),
                                                 ("one", "fluency", 500.0)])  # fmt: skip
    rows = edit_rows(before, after).filter(pl.col("asked") == "texts")
    found = [(row["case"], row["metric"], row["before"], row["after"]) for row in rows.to_dicts()]
    assert sorted(found) == [
        ("one", "fluency", 600.0, 500.0),
        ("one", "perplexity", 20.0, 21.0),
        ("two", "perplexity", 20.0, 30.0),
    ]
    assert rows["relation"].unique().to_list() == ["r"]


def test_an_edit_that_was_not_read_before_is_refused() -> None:
    with pytest.raises(UnknownName, match="query 'p' was read after the edit and not before"):
        edit_rows(readings({}), readings({}, {"query": "p"}))


def test_cases_that_were_not_edited_have_no_rows() -> None:
    rows = edit_rows(readings({}, {"case": "two"}), readings({"case": "two"}))
    assert rows["case"].unique().to_list() == ["two"]


# Tables


def scores(**each: list[float | None]) -> pl.DataFrame:
    rows = [
        (str(number), "r", asked, "score", None if value is None else 0.0, value)
        for asked, own in each.items()
        for number, value in enumerate(own)
    ]
    texts, numbers = ("case", "relation", "asked", "metric"), ("before", "after")
    schema = dict.fromkeys(texts, pl.String) | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_harmonic_score_is_that_of_the_mean_scores() -> None:
    rows = scores(request=[1, 1, 1, 0], paraphrase=[1, 0.5, 0, 0.5], neighbour=[0.2, 0.4, 0.6, 0.8])
    found = harmonic_score(rows)
    assert found.mean == pytest.approx(3 / (1 / 0.75 + 1 / 0.5 + 1 / 0.5))
    assert found.n == 4 and found.low < found.mean < found.high
    assert harmonic_score(rows, "before").mean == 0


def test_the_harmonic_interval_resamples_cases_as_wholes() -> None:
    # In every case two of three scores are mirrored: apart, they would vary much more than together
    whole = [0.3, 0.7] * 10
    mirrored = [1 - value for value in whole]
    rows = scores(request=whole, paraphrase=mirrored, neighbour=[0.5] * 20)
    found = harmonic_score(rows)
    numbers = torch.Generator().manual_seed(0)
    drawn = [torch.randint(20, (20,), generator=numbers) for _ in range(3000)]
    first, second = torch.tensor(whole), torch.tensor(mirrored)
    joint = torch.tensor([3 / float(1 / first[at].mean() + 1 / second[at].mean() + 2) for at in drawn])
    assert found.low == pytest.approx(float(joint.quantile(0.025)), abs=0.01)
    assert found.high == pytest.approx(float(joint.quantile(0.975)), abs=0.002)
    assert found.high <= 0.5 + 1e-12


def test_the_harmonic_score_is_of_the_cases_that_have_all_three() -> None:
    rows = scores(request=[1, 0.5], paraphrase=[1, None], neighbour=[0.5, 1])
    found = harmonic_score(rows)
    assert found.mean == found.low == found.high == pytest.approx(3 / (1 + 1 + 2)) and found.n == 1
    for bare in (
        scores(request=[1, None], paraphrase=[None, 1], neighbour=[1, 1]),
        scores(request=[1], neighbour=[1]),
    ):
        with pytest.raises(UnknownName, match="the harmonic score needs a case with the scores of request, paraph"):
            harmonic_score(bare)
        assert "harmonic" not in edit_table(bare)["metric"]


def test_a_table_has_a_mean_and_an_interval_over_cases_for_each_metric() -> None:
    table = edit_table(scores(request=[1, 1, 0, 0], paraphrase=[1, 1, 1, 1], neighbour=[0, 1, 1, None]))
    rows = {(row["asked"], row["metric"]): row for row in table.to_dicts()}
    assert list(rows) == [("request", "score"), ("paraphrase", "score"), ("neighbour", "score"), ("all", "harmonic")]
    request, sure = rows["request", "score"], rows["paraphrase", "score"]
    assert (request["n"], request["after"], request["before"]) == (4, 0.5, 0.0)
    assert request["after_low"] < 0.5 < request["after_high"]
    assert (sure["after_low"], sure["after"], sure["after_high"]) == (1, 1, 1)
    assert (rows["neighbour", "score"]["after"], rows["neighbour", "score"]["n"]) == (pytest.approx(2 / 3), 3)
    with pytest.raises(UnknownName, match="needs rows"):
        edit_table(scores())


def test_a_metric_that_is_only_known_after_has_no_interval_before() -> None:
    rows = scores(request=[1, 0]).with_columns(pl.lit(None, pl.Float64).alias("before"))
    (row,) = edit_table(rows).to_dicts()
    assert row["before"] is None and row["before_low"] is None and row["after"] == 0.5


# A real edit


def test_an_edit_of_the_almanac_wins_its_request_and_nothing_does_without_one(almanac_lm: LanguageModel) -> None:
    def fits(query: locant.Query, new: str) -> bool:
        first = [almanac_lm.tokens(one).answers[0][0] for one in (query, locant.query(query.prompt, new))]
        return first[0] != first[1]

    with unchecked():
        cases = edit_cases_of_facts(almanac.queries("capital", "en"), fits=fits).cases[:4]
        before = read_cases(almanac_lm, cases)
        again = edit_rows(before, read_cases(almanac_lm, cases))
        parts = []
        for one in cases:
            with locant.edit(almanac_lm, one.requests, "kn"):
                parts.append(read_cases(almanac_lm, [one]))
        rows = edit_rows(before, gather_readings(parts))
    unedited = again.filter(pl.col("before").is_not_null())
    assert unedited["before"].to_list() == unedited["after"].to_list()
    assert again.filter(pl.col("metric") == "kept")["after"].unique().to_list() == [1.0]
    means = {(row["asked"], row["metric"]): row for row in edit_table(rows).to_dicts()}
    assert means["request", "score"]["before"] == 0 and means["request", "score"]["after"] == 1
    assert means["request", "probability"]["after"] > means["request", "probability"]["before"]
    assert means["neighbour", "score"]["before"] == 1 and means["neighbour", "kept"]["after"] <= 1


def test_chosen_metrics_of_chosen_cases_make_a_curve(almanac_lm: LanguageModel) -> None:
    scope = Scope(("request",), ())
    cases = edit_cases_of_facts(almanac.queries("capital", "en")).cases[:3]
    before = read_cases(almanac_lm, cases, scope)
    rows = edit_rows(before, read_cases(almanac_lm, cases[1:], scope))
    assert set(rows["asked"]) == {"request"} and set(rows["case"]) == {one.uid for one in cases[1:]}
    assert "written" not in set(rows["metric"])


def test_divergence_is_of_the_first_tokens_distributions_before_and_after() -> None:
    lm = tiny("llama")
    one = EditCase(
        locant.edit_request("w3 w5 w7", "w5", "w11", old="w9", uid="one"),
        unrelated=(locant.query("w3 w6 w7", "w12 w13"), locant.query("w40 w41", "w14")),
        neighbours=(locant.query("w3 w8 w7", "w12"),),
    )

    def all_of(query: Query) -> torch.Tensor:
        with torch.no_grad():
            return lm.model(torch.tensor([lm.tokens(query).prompt])).logits[0, -1].double().log_softmax(dim=-1)

    before, plain = read_cases(lm, [one], Scope(written=())), [all_of(query) for query in one.unrelated]
    with locant.edit(lm, one.requests, "ft_m", steps=20, rate=1e-2):
        after = read_cases(lm, [one], Scope(written=(), likely=likely_in(before)))
        expected = [
            (old.exp() * (old - all_of(query))).sum() for old, query in zip(plain, one.unrelated, strict=True)
        ]
    rows = edit_rows(before, after).filter(pl.col("metric") == "kl")
    assert rows["asked"].to_list() == ["neighbour", "unrelated"] and rows["before"].null_count() == 2
    # A vocabulary of 97 words: what is not among 64 of them counts as one
    whole, found = float(sum(expected)) / 2, rows["after"].to_list()[1]
    assert 0.7 * whole < found <= whole and whole > 0.01
    still = edit_rows(before, read_cases(lm, [one], Scope(written=(), likely=likely_in(before))))
    assert still.filter(pl.col("metric") == "kl")["after"].to_list() == pytest.approx([0, 0], abs=1e-5)
