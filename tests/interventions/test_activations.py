"""Interventions do what plain hooks do by hand, at answers and everywhere, alone, nested and inside others' work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
import torch
from torch import Tensor

import locant
import plain
from families import MASKED, SEQ2SEQ, WORDS, tiny, tokenizer
from locant.attributions import quadrature
from locant.errors import UnknownName
from locant.models import LanguageModel, hooks
from locant.types import Provenance, Selection

ASKED = (WORDS.short, WORDS.long, WORDS.double)
CAUSAL = ["bloom", "gemma2", "gpt2", "gpt_neo", "gptj", "llama", "mistral", "opt", "opt post-norm", "phi3"]


def neurons(lm: LanguageModel, every: int = 3) -> Selection:
    """Every third neuron of every layer."""
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(layer, lm.neurons, every)]
    return Selection((), torch.tensor(units), torch.ones(len(units)), (lm.layers, lm.neurons), Provenance("by hand"))


def nothing(lm: LanguageModel) -> Selection:
    none = torch.zeros(0, 2, dtype=torch.int64)
    return Selection((), none, torch.zeros(0), (lm.layers, lm.neurons), Provenance("by hand"))


@contextmanager
def by_hand(lm: LanguageModel, chosen: Selection, factor: float, where: slice) -> Iterator[None]:
    """Multiply neurons with hooks of this test's own, at some positions of one sequence."""

    def hook(units: Tensor) -> Callable[..., tuple[Tensor]]:
        def change(module: torch.nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            values = inputs[0].clone()
            rows = values.view(-1, values.shape[-1])  # OPT gives them so already
            rows[where, units] *= factor
            return (values,)

        return change

    with ExitStack() as stack:
        for layer, units in chosen.by_layer().items():
            stack.callback(lm.downs[layer].register_forward_pre_hook(hook(units)).remove)
        yield


def touched(family: str, query: locant.Query, position: int, positions: str) -> slice:
    """The positions at which answers are read, as far as the token read at `position` can see."""
    if positions == "all":
        return slice(None)
    if family in MASKED:  # each token is read in a sequence of its own
        return slice(position, position + 1)
    return slice(0 if family in SEQ2SEQ else len(query.prompt.split()) - 1, None)


def log_probability_by_hand(
    family: str, lm: LanguageModel, query: locant.Query, chosen: Selection, factor: float, positions: str
) -> float:
    """Of the whole answer, one plain pass per token."""
    total = 0.0
    for inputs, position, token in plain.read(family, lm, query):
        where = touched(family, query, position, positions)
        with torch.no_grad(), by_hand(lm, chosen, factor, where):
            total += float(plain.probability(lm, inputs, position, token).double().log())
    return total


# Against hooks by hand


@pytest.mark.parametrize("positions", ["answer", "all"])
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_scaling_equals_scaling_by_hand(family: str, lm: LanguageModel, factor: float, positions: str) -> None:
    chosen = neurons(lm)
    untouched = locant.answer_log_probability(lm, ASKED)
    with locant.scale(lm, chosen, factor, positions):
        found = locant.answer_log_probability(lm, ASKED)
    expected = [log_probability_by_hand(family, lm, query, chosen, factor, positions) for query in ASKED]
    assert found.tolist() == pytest.approx(expected, abs=2e-5)
    assert ((found - untouched).abs() > 1e-4).all()


@pytest.mark.parametrize("name", ["llama", "bert", "opt", "t5"])
def test_suppressing_is_scaling_by_nothing_and_enhancing_by_two(name: str) -> None:
    lm = tiny(name)
    chosen = neurons(lm)

    def under(changed: AbstractContextManager[None]) -> list[float]:
        with changed:
            return locant.answer_log_probability(lm, ASKED).tolist()

    assert under(locant.suppress(lm, chosen)) == under(locant.scale(lm, chosen, 0.0))
    assert under(locant.suppress(lm, chosen)) == under(locant.set_to(lm, chosen, 0.0))
    assert under(locant.enhance(lm, chosen)) == under(locant.scale(lm, chosen, 2.0))
    assert under(locant.enhance(lm, chosen, by=5.0)) == under(locant.scale(lm, chosen, 5.0))


def seen_under(lm: LanguageModel, layer: int, changed: AbstractContextManager[None]) -> tuple[Tensor, Tensor]:
    """What a layer's down-projection is given for a batch, and where in it answers are read."""
    sites = lm.sites([(lm.tokens(query), lm.tokens(query).answers[0]) for query in ASKED])
    seen: dict[int, Tensor] = {}
    with changed, hooks.watching_inputs([lm.downs[layer]], seen.__setitem__):
        lm.site_logits(sites)
    return seen[0].view(*sites.mask.shape, -1), sites.answer_positions


@pytest.mark.parametrize("positions", ["answer", "all"])
def test_only_the_chosen_neurons_change_and_only_where_they_should(
    family: str, lm: LanguageModel, positions: str
) -> None:
    chosen = neurons(lm)
    first = chosen.by_layer()[0]
    rest = [neuron for neuron in range(lm.neurons) if neuron not in first.tolist()]
    before, answers = seen_under(lm, 0, locant.suppress(lm, nothing(lm)))
    where = answers if positions == "answer" else torch.ones_like(answers)
    for changed, expected in (
        (locant.enhance(lm, chosen, positions=positions), 2 * before),
        (locant.set_to(lm, chosen, 0.7, positions), torch.full_like(before, 0.7)),
        (locant.suppress(lm, chosen, positions), torch.zeros_like(before)),
    ):
        after, _ = seen_under(lm, 0, changed)
        assert torch.equal(after[where][:, first], expected[where][:, first])
        assert torch.equal(after[~where], before[~where])
        assert torch.equal(after[where][:, rest], before[where][:, rest])


def test_every_position_at_which_a_token_of_the_answer_is_read_is_touched() -> None:
    lm = tiny("llama")
    three = locant.query("w1 w2 w3", "w4 w5 w6")
    sites = lm.sites([(lm.tokens(three), lm.tokens(three).answers[0])])
    assert sites.answer_positions.tolist() == [[False, False, True, True, True]]


# What changes nothing


@pytest.mark.parametrize("positions", ["answer", "all"])
def test_scaling_by_one_and_an_empty_selection_change_no_bit(family: str, lm: LanguageModel, positions: str) -> None:
    before = locant.answer_log_probability(lm, ASKED)
    for changed in (
        locant.scale(lm, neurons(lm), 1.0, positions),
        locant.suppress(lm, nothing(lm), positions),
    ):
        with changed:
            assert torch.equal(locant.answer_log_probability(lm, ASKED), before)
    assert torch.equal(locant.answer_log_probability(lm, ASKED), before)


def test_a_selection_of_a_model_of_another_size_is_refused() -> None:
    lm = tiny("llama")
    other = Selection((), torch.tensor([[0, 0]]), torch.ones(1), (4, 48), Provenance("by hand"))
    with pytest.raises(UnknownName) as caught, locant.suppress(lm, other):
        pytest.fail("nothing may run under it")
    assert str(caught.value) == ("the selection is of a model with (layers, neurons) (4, 48), this one has (3, 48)")


# One inside another


@pytest.mark.parametrize("name", ["llama", "bert", "opt", "t5"])
@pytest.mark.parametrize("positions", ["answer", "all"])
def test_interventions_nest_and_come_off_one_by_one(name: str, positions: str) -> None:
    lm = tiny(name)
    chosen = neurons(lm)

    def now() -> list[float]:
        return locant.answer_log_probability(lm, ASKED).tolist()

    def alone(changed: AbstractContextManager[None]) -> list[float]:
        with changed:
            return now()

    doubled = alone(locant.scale(lm, chosen, 2.0, positions))
    octupled = alone(locant.scale(lm, chosen, 8.0, positions))
    silenced = alone(locant.suppress(lm, chosen, positions))
    untouched = now()
    assert len({tuple(each) for each in (doubled, octupled, silenced, untouched)}) == 4
    with locant.scale(lm, chosen, 2.0, positions):
        assert now() == doubled
        with locant.scale(lm, chosen, 4.0, positions):
            assert now() == octupled
        with locant.set_to(lm, chosen, 0.0, positions):
            assert now() == silenced
        assert now() == doubled
    assert now() == untouched


# Text


def speaking(name: str) -> LanguageModel:
    """A tiny model that never stops by itself; its tokenizer knows '?', which `generate` wants to be an answer."""
    words = tokenizer()
    words.add_tokens("?")
    model = copy.deepcopy(tiny(name).model)
    model.generation_config.eos_token_id = None
    return locant.load(model, tokenizer=words)


def greedy_by_hand(
    lm: LanguageModel, prompt: list[int], steps: int, chosen: Selection, factor: float, positions: str
) -> str:
    """Token after token without a cache: what was changed when a token was new stays changed."""
    ids = list(prompt)
    with torch.no_grad(), by_hand(lm, chosen, factor, slice(0 if positions == "all" else len(prompt) - 1, None)):
        for _ in range(steps):
            ids.append(int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return str(lm.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))


@pytest.mark.parametrize("positions", ["answer", "all"])
@pytest.mark.parametrize("name", CAUSAL)
def test_text_of_a_changed_model_equals_text_of_a_loop_with_hooks_by_hand(name: str, positions: str) -> None:
    lm = speaking(name)
    chosen = neurons(lm, every=1)
    differs = False
    for factor in (0.0, -3.0):
        for prompt in ([1, 2, 3], [40, 41, 42, 43, 44, 45, 46]):
            text = " ".join(f"w{word}" for word in prompt)
            with locant.scale(lm, chosen, factor, positions):
                found = lm.generate(text, max_new_tokens=8)
            assert found == greedy_by_hand(lm, prompt, 8, chosen, factor, positions)
            differs |= found != lm.generate(text, max_new_tokens=8)
    assert differs


def test_a_masked_model_is_not_asked_to_guess_where_it_answers() -> None:
    lm = tiny("bert")
    ids = torch.tensor([[1, 2, 92, 94]])
    with (
        locant.suppress(lm, neurons(lm)),
        pytest.raises(locant.LocantError, match="intervene with positions='all'"),
    ):
        lm.model(input_ids=ids)
    with locant.suppress(lm, neurons(lm), "all"):
        assert lm.model(input_ids=ids).logits.shape == (1, 4, 97)


# Attribution of a changed model


@pytest.mark.parametrize("positions", ["answer", "all"])
@pytest.mark.parametrize("name", ["llama", "bert", "gpt_neo", "opt", "gemma2"])
@pytest.mark.parametrize("method", ["dai", "exact"])
def test_attribution_inside_an_intervention_equals_plain_code_with_the_same_hooks(
    name: str, positions: str, method: str
) -> None:
    lm = tiny(name, torch.float64)
    query = WORDS.long
    chosen = neurons(lm, every=5)
    (nodes,) = quadrature("midpoint", 2)
    units = [(layer, neuron) for layer in range(lm.layers) for neuron in range(layer + 2, lm.neurons, 9)]
    ((_, position, _),) = plain.read(name, lm, query)
    hand = by_hand(lm, chosen, -1.5, touched(name, query, position, positions))
    settings = {"rule": "midpoint", "steps": 2} if method == "dai" else {}
    with plain.DoubleThroughout():
        untouched = locant.attribute(lm, [query], method, **settings).scores[0]  # type: ignore[arg-type]
        with locant.scale(lm, chosen, -1.5, positions):
            found = locant.attribute(lm, [query], method, **settings).scores[0]  # type: ignore[arg-type]
        with hand:
            if method == "dai":
                expected = plain.integrated_gradients(name, lm, query, nodes.points, nodes.weights)
            else:
                at = torch.tensor(units).T
                found, untouched = found[at[0], at[1]], untouched[at[0], at[1]]
                expected = plain.ablations(name, lm, query, units, None)
    assert float((found - expected).abs().max()) < 1e-10 * float(expected.abs().max())
    assert float((found - untouched).abs().max()) > 1e-3 * float(expected.abs().max())
