"""What every method promises, beside the laws of the engine: settings, provenance, order, alternatives."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

import locant
import plain
from families import WORDS, tiny
from locant.attributions import METHODS, settings_of
from locant.errors import UnknownName
from locant.models import LanguageModel


def captured(family: str, lm: LanguageModel, query: locant.Query, hook: str) -> Tensor:
    """The neurons where the answer is read [layer neuron], seen by hooks of this test's own; gates for 'pre'."""
    ((inputs, position, _),) = plain.read(family, lm, query)
    grid = [plain.neurons_at(lm, layer, inputs, position, hook)[: lm.neurons] for layer in range(lm.layers)]
    return torch.stack(grid)


# Names and settings


def test_a_method_that_does_not_exist_is_told_which_do() -> None:
    with pytest.raises(UnknownName, match=r"^no method 'magic'; there are dai, exact, .*, random$"):
        locant.attribute(tiny("gpt2"), [WORDS.short], "magic")


@pytest.mark.parametrize(
    ("method", "setting", "said"),
    [
        ("dai", "layers", "dai has no setting 'layers'; it has rule, steps, hook, target, tolerance, baseline"),
        ("exact", "steps", "exact has no setting 'steps'; it has hook, target, baseline"),
        ("random", "rule", "random has no setting 'rule'; it has seed"),
        # What the engine passes by position is not a setting
        ("dai", "rows", "dai has no setting 'rows'; it has rule, steps, hook, target, tolerance, baseline"),
    ],
)
def test_a_setting_that_does_not_exist_is_told_which_do(method: str, setting: str, said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        locant.attribute(tiny("gpt2"), [WORDS.short], method, **{setting: 1})
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("rule", "simpson", "no rule 'simpson'; there are "),
        ("steps", 0, "a rule needs at least 1 step, not 0"),
        ("hook", "middle", "no hook 'middle'; neurons are read 'post' or 'pre' the activation function"),
        ("target", "rank", "no target 'rank'; there are probability, log_probability"),
    ],
)
def test_a_value_that_does_not_exist_is_told_which_do(setting: str, value: str | int, said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        locant.attribute(tiny("gpt2"), [WORDS.short], **{setting: value})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("method", ["dai", "exact"])
@pytest.mark.parametrize("hook", ["post", "pre"])
@pytest.mark.parametrize("shape", [(3, 47), (2, 48), (48, 3), (1, 48)])
def test_a_baseline_of_another_shape_is_refused(method: str, hook: str, shape: tuple[int, int]) -> None:
    with pytest.raises(UnknownName) as caught:
        locant.attribute(tiny("gpt2"), [WORDS.short], method, hook=hook, baseline=torch.zeros(shape))
    assert str(caught.value) == f"the baseline's shape is {shape}, but the neurons' is (3, 48)"


def test_there_must_be_something_to_attribute() -> None:
    with pytest.raises(UnknownName, match="there are no queries to attribute"):
        locant.attribute(tiny("gpt2"), [])


# What is measured


@pytest.mark.parametrize("hook", ["post", "pre"])
def test_the_activation_method_scores_the_size_of_what_the_model_holds(
    family: str, lm: LanguageModel, hook: str
) -> None:
    held = captured(family, lm, WORDS.long, hook)
    found = locant.attribute(lm, [WORDS.long], "activation", hook=hook)
    assert torch.allclose(found.scores[0], held.abs(), atol=1e-5)
    lengths = [lm.value_vectors(layer).norm(dim=1) for layer in range(lm.layers)]
    weighed = locant.attribute(lm, [WORDS.long], "activation", hook=hook, value_norm=True)
    assert torch.allclose(weighed.scores[0], held.abs() * torch.stack(lengths), atol=1e-5)
    assert torch.allclose(found.activations[0], captured(family, lm, WORDS.long, "post"), atol=1e-5)
    assert found.completeness_error is None


def test_an_answer_of_several_tokens_has_the_mean_activation_over_where_they_are_read() -> None:
    lm = tiny("llama")
    first, second = locant.query("w20 w21", "w25"), locant.query("w20 w21 w25", "w26")
    both = locant.query("w20 w21", "w25 w26")
    found = locant.attribute(lm, [first, second, both])
    assert torch.allclose(found.activations[2], found.activations[:2].mean(dim=0), atol=1e-6)
    assert torch.allclose(found.scores[2], found.scores[:2].mean(dim=0), atol=1e-8)
    assert float(found.answer_prob[2]) == pytest.approx(float(found.answer_prob[:2].prod()), rel=1e-5)


def test_random_scores_are_uniform_seeded_and_the_same_for_every_query() -> None:
    lm = tiny("gpt2")
    found = locant.attribute(lm, WORDS.all, "random", seed=3).scores
    assert torch.equal(found, locant.attribute(lm, WORDS.all[::-1], "random", seed=3).scores)
    assert torch.equal(found[0], found[1])
    other = locant.attribute(lm, [WORDS.short], "random", seed=4).scores[0]
    assert float((found[0] == other).float().mean()) < 0.01
    both = torch.cat([found[0], other]).flatten()
    assert 0 <= float(both.min()) < 0.05 and 0.95 < float(both.max()) < 1
    # Of 288 uniform numbers, a tenth is expected in each tenth, give or take 5
    assert ((torch.histc(both, 10, 0, 1) - 28.8).abs() < 5 * 5.1).all()


@pytest.mark.parametrize("method", ["dai", "exact"])
def test_the_likelier_of_two_answers_is_the_one_that_is_scored(family: str, lm: LanguageModel, method: str) -> None:
    texts = ["w4", "w30", "w31 w32"]
    alone = [locant.query("w1 w2 w3", text) for text in texts]
    likelier = int(locant.answer_probability(lm, alone).argmax())
    expected = locant.attribute(lm, [alone[likelier]], method)
    for answer, *others in permutations(texts):
        asked = locant.query("w1 w2 w3", answer, alternatives=tuple(others))
        found = locant.attribute(lm, [asked], method)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.answer_prob, expected.answer_prob)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_queries_is_the_order_of_their_scores(method: str) -> None:
    lm = tiny("llama")
    first = locant.attribute(lm, WORDS.all, method)
    for order in permutations(range(3)):
        again = locant.attribute(lm, [WORDS.all[index] for index in order], method)
        assert again.queries == tuple(WORDS.all[index] for index in order)
        assert torch.allclose(again.scores, first.scores[list(order)], atol=1e-7)
        assert torch.allclose(again.answer_prob, first.answer_prob[list(order)], atol=1e-7)


def test_progress_is_told_until_every_query_is_done() -> None:
    told: list[int] = []
    locant.attribute(tiny("llama"), WORDS.all, memory=1, done=told.append)
    assert len(told) == 3 and sum(told) == 3


# How it was made


@pytest.mark.parametrize("method", METHODS)
def test_provenance_has_every_setting_with_its_value(method: str) -> None:
    made_by = locant.attribute(tiny("gpt2"), [WORDS.short], method).made_by
    assert made_by.method == method
    assert made_by.settings == {name: one.default for name, one in settings_of(method).items()}
    assert (made_by.dtype, made_by.model) == ("float32", "GPT2LMHeadModel")


def test_equal_recipes_have_equal_digests_and_others_do_not() -> None:
    lm = tiny("gpt2")
    zero, one = torch.zeros(lm.layers, lm.neurons), torch.ones(lm.layers, lm.neurons)
    settings: list[dict[str, object]] = [
        {},
        {"steps": 4},
        {"rule": "midpoint", "steps": 4},
        {"target": "log_probability"},
        {"baseline": zero},
        {"baseline": one},
    ]

    def digests() -> list[str]:
        found = [locant.attribute(lm, [WORDS.short], **each) for each in settings]  # type: ignore[arg-type]
        return [each.made_by.digest() for each in found]

    assert len(set(digests())) == len(settings)
    assert digests() == digests()


def test_a_baseline_of_zeros_is_what_is_taken_when_none_is_given() -> None:
    lm = tiny("llama")
    zero = torch.zeros(lm.layers, lm.neurons)
    for method in ("dai", "exact"):
        for hook in ("post", "pre"):
            given = locant.attribute(lm, WORDS.all, method, hook=hook, baseline=zero).scores
            assert torch.equal(given, locant.attribute(lm, WORDS.all, method, hook=hook).scores)


@pytest.mark.parametrize("method", ["dai", "exact"])
@pytest.mark.parametrize("hook", ["post", "pre"])
def test_neurons_that_are_at_the_baseline_have_no_score(method: str, hook: str) -> None:
    lm = tiny("llama")
    baseline = captured("llama", lm, WORDS.short, hook)
    found = locant.attribute(lm, [WORDS.short], method, hook=hook, baseline=baseline).scores
    size = locant.attribute(lm, [WORDS.short], method, hook=hook).scores.abs().max()
    assert float(found.abs().max()) < 1e-3 * float(size)


def test_an_attribution_can_be_taken_apart_and_walked_through() -> None:
    found = locant.attribute(tiny("llama"), WORDS.all)
    assert [one.queries for one in found] == [(query,) for query in WORDS.all]
    assert torch.equal(torch.cat([one.scores for one in found]), found.scores)
    assert torch.equal(found[-1].completeness_error, found.completeness_error[2:])
    with pytest.raises(IndexError):
        found[3]
