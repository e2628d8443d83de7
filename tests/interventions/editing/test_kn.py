"""Knowledge neurons edited: the formula by loops, neurons from anywhere, and none where none are located."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import locant
from families import tiny
from locant import almanac
from locant.errors import BadQuery, LocantError, UnknownName
from locant.interventions.editing import edit, prepare
from locant.models import LanguageModel
from locant.selections import select
from locant.selections.across_languages import language_agnostic
from locant.selections.clusters import cluster, query_neurons
from locant.selections.lape import ActivationRates, lape
from locant.selections.share import consistency_aware
from locant.types import EditRequest, Provenance, Selection


def request(new: str = "w11", old: str = "w9", subject: str = "w5 w6") -> EditRequest:
    return locant.edit_request(f"w3 {subject} w7", subject, new, old=old)


def by_hand(lm: LanguageModel, units: list[list[int]]) -> Selection:
    grid = (lm.layers, lm.neurons)
    return Selection(
        (), torch.tensor(units, dtype=torch.int64).reshape(-1, 2), torch.ones(len(units)), grid, Provenance("by hand")
    )


def rows(lm: LanguageModel) -> torch.Tensor:
    """All value vectors [layer neuron hidden], in float64."""
    return torch.stack([lm.value_vectors(layer).detach().double().clone() for layer in range(lm.layers)])


def changed(lm: LanguageModel, before: torch.Tensor) -> list[list[int]]:
    """The neurons whose vectors are not what they were."""
    found: list[list[int]] = (rows(lm) != before).any(dim=-1).nonzero().tolist()
    return found


# The formula


def stepped(
    values: torch.Tensor,
    table: torch.Tensor,
    old: list[int],
    new: list[int],
    lambdas: tuple[float, float],
    scaled: bool,
) -> list[float]:
    """v - lambda1 E(old) + lambda2 E(new), number by number."""
    away, towards = (
        [sum(float(table[token, at]) for token in ids) for at in range(len(values))] for ids in (old, new)
    )
    by = []
    for row in (away, towards):
        lengths = [math.sqrt(sum(x * x for x in one)) for one in (values.tolist(), row)]
        by.append(lengths[0] / lengths[1] if scaled else 1.0)
    return [
        float(v) - lambdas[0] * by[0] * o + lambdas[1] * by[1] * n
        for v, o, n in zip(values, away, towards, strict=True)
    ]


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("tokens", ["first", "all"])
@pytest.mark.parametrize("which", ["input", "output"])
def test_an_update_is_the_formula(family: str, lm: LanguageModel, which: str, tokens: str, scaled: bool) -> None:
    if family == "opt post-norm":
        pytest.skip("its embeddings are narrower than its residual stream")
    table = lm.model.get_input_embeddings() if which == "input" else lm.model.get_output_embeddings()
    units, before = [[0, 3], [0, 17], [2, 5]], rows(lm)
    settings = {"embeddings": which, "tokens": tokens, "scaled": scaled, "lambda1": 0.5, "lambda2": 3.0}
    with edit(lm, [request("w11 w12", "w9 w10")], "kn", target=by_hand(lm, units), signs=False, **settings) as edited:
        after = rows(lm)
        assert changed(lm, before) == units
    old, new = ([9], [11]) if tokens == "first" else ([9, 10], [11, 12])
    for layer, neuron in units:
        expected = stepped(before[layer, neuron], table.weight, old, new, (0.5, 3.0), scaled)  # type: ignore[arg-type]
        assert after[layer, neuron].tolist() == pytest.approx(expected, abs=1e-5)
    assert edited.notes == [{"uid": edited.requests[0].uid, "neurons": 3}]


def test_neurons_that_are_active_below_zero_are_stepped_the_other_way() -> None:
    lm = tiny("llama")
    units = [[1, neuron] for neuron in range(12)]
    before, steps = rows(lm), []
    for signs in (False, True):
        with edit(lm, [request()], "kn", target=by_hand(lm, units), signs=signs):
            steps.append((rows(lm) - before)[1, :12])
    signs_of = locant.attribute(lm, [request().query], "activation").activations[0, 1, :12].sign().double()
    assert set(signs_of.tolist()) == {-1.0, 1.0}
    assert torch.allclose(steps[1], signs_of[:, None] * steps[0], atol=1e-6)


def test_what_the_model_says_can_be_moved_away_from() -> None:
    lm = tiny("llama")
    ((said, _),) = lm.top_answers(request().query.prompt, 1)
    found = []
    for old, away in (("w9", "said"), (said, "old"), ("w9", "old")):
        with edit(lm, [request(old=old)], "kn", target=by_hand(lm, [[1, 1]]), away=away, signs=False):
            found.append(rows(lm))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_erased_neurons_write_nothing() -> None:
    lm = tiny("gpt2")
    units, before = [[0, 3], [2, 5]], rows(lm)
    with edit(lm, [request()], "kn", operation="erase", target=by_hand(lm, units)):
        assert changed(lm, before) == units
        assert not rows(lm)[[0, 2], [3, 5]].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_half_precision_is_rounded_once_at_the_end(family: str, dtype: torch.dtype) -> None:
    lm = tiny(family, dtype)
    before = rows(lm)
    with edit(lm, [request()], "kn", target=by_hand(lm, [[1, 1]]), signs=False):
        after = rows(lm)
    table = lm.model.get_output_embeddings().weight.detach().double()  # type: ignore[operator, union-attr]
    expected = stepped(before[1, 1], table, [9], [11], (0.5, 0.5), scaled=True)
    assert after[1, 1].tolist() == pytest.approx(expected, rel=torch.finfo(dtype).eps, abs=1e-4)
    assert torch.equal(rows(lm), before)


# Whose neurons


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_a_facts_neurons_are_located_with_its_old_object(family: str) -> None:
    lm, asked = tiny(family), request()
    before = rows(lm)
    located = locant.attribute(lm, [asked.query], "dai")
    with edit(lm, [asked], "kn") as edited:
        assert changed(lm, before) == select(located, "share", share=0.2).units.tolist()
    assert edited.notes[0]["neurons"] == len(select(located, "share", share=0.2)) > 0
    coarse = locant.attribute(lm, [asked.query], "dai", rule="inclusive", steps=3)
    with edit(lm, [asked], "kn", share=0.4, rule="inclusive", points=3):
        assert changed(lm, before) == select(coarse, "share", share=0.4).units.tolist()


def selections(lm: LanguageModel) -> dict[str, Selection]:
    """Neurons by every kind of rule."""
    wordings = [locant.query(f"w{first} w5 w6 w7", "w9", fact="one") for first in (1, 2, 3)]
    others = [locant.query(f"w{first} w30 w31", "w40", fact="two") for first in (1, 2, 3)]
    values, rest = (locant.attribute(lm, asked, "dai") for asked in (wordings, others))
    pool = select(values, "top", k=30)
    rates = torch.rand(2, lm.layers, lm.neurons, generator=torch.Generator().manual_seed(0))
    known = ActivationRates(("en", "de"), rates, (1000, 1000), Provenance("by hand"))
    return {
        "dai": select(values, "share", share=0.2),
        "consistency-aware": consistency_aware(values.scores, pool, size=7),
        "query-relevant": query_neurons([cluster(values), cluster(rest)], remove_common=False)["one"],
        "language-agnostic": language_agnostic(values.scores.mean(dim=0), wordings, size=9),
        "language-specific": lape(known)["de"],
    }


@pytest.mark.parametrize(
    "rule", ["dai", "consistency-aware", "query-relevant", "language-agnostic", "language-specific"]
)
def test_neurons_can_be_those_of_any_selection(rule: str) -> None:
    lm = tiny("llama")
    before, chosen = rows(lm), selections(lm)[rule]
    with edit(lm, [request()], "kn", target=chosen) as edited:
        assert changed(lm, before) == chosen.units.tolist() and len(chosen) > 0
    assert edited.settings["target"] == chosen.made_by.digest()


def test_each_request_has_its_own_neurons() -> None:
    lm = tiny("llama")
    before, asked = rows(lm), [request(), request(subject="w20")]
    target = {asked[0].uid: by_hand(lm, [[0, 1]]), asked[1].uid: by_hand(lm, [[1, 2], [2, 3]])}
    with edit(lm, asked, "kn", target=target) as edited:
        assert changed(lm, before) == [[0, 1], [1, 2], [2, 3]]
    assert [note["neurons"] for note in edited.notes] == [1, 2]
    with (
        pytest.raises(LocantError, match="no neurons were given for"),
        edit(lm, [request(new="w13")], "kn", target=target),
    ):
        pytest.fail("nothing may run under it")


@pytest.mark.parametrize("method", ["kn", "neuron_tuning"])
def test_without_neurons_nothing_is_changed(method: str) -> None:
    lm = tiny("llama")
    before = rows(lm)
    with edit(lm, [request()], method, target=by_hand(lm, [])) as edited:
        assert torch.equal(rows(lm), before)
        assert edited.notes == [{"uid": edited.requests[0].uid, "neurons": 0}]


# Refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"operation": "enhance"}, "no operation 'enhance'; there are update, erase"),
        ({"embeddings": "side"}, "no embeddings 'side'; there are input, output"),
        ({"away": "far"}, "no away 'far'"),
        ({"tokens": "last"}, "no tokens 'last'"),
    ],
)
def test_settings_without_such_a_value_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        prepare(tiny("llama"), "kn", settings)


def test_what_cannot_be_located_or_moved_is_refused() -> None:
    lm = tiny("llama")
    one = by_hand(lm, [[0, 1]])
    for asked, settings, said in (
        (request(old=""), {}, "neurons of a known object are located"),
        (request(old=""), {"target": one}, "no old object to move away from"),
        (request("w9 w12"), {}, "begin with the same token, 'w9'"),
    ):
        with pytest.raises(BadQuery, match=said), edit(lm, [asked], "kn", **settings):
            pytest.fail("nothing may run under it")
    with edit(lm, [request("w9 w12")], "kn", target=one, tokens="all"):
        pass
    with (
        pytest.raises(UnknownName, match="activation has no setting 'steps'"),
        edit(lm, [request()], "kn", localizer="activation", points=3),
    ):
        pytest.fail("nothing may run under it")


# On the embedded model, which knows facts


def test_the_new_object_is_said_in_most_facts(almanac_lm: LanguageModel) -> None:
    lm, said = almanac_lm, 0
    for relation in ("capital", "continent", "colour", "instrument", "official_language"):
        known = [one for one in almanac.queries(relation, "en", False) if len(lm.tokens(one).answers[0]) == 1]
        new = next(one.answer for one in known if lm.tokens(one).answers != lm.tokens(known[0]).answers)
        with edit(lm, [EditRequest(replace(known[0]), new)], "kn"):
            said += lm.generate(known[0].prompt, 5).strip().startswith(new)
    assert said >= 4
