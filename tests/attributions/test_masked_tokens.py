"""Paths that begin where a token is replaced: `sig` and `amig`, against loops over layers, tokens and points."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

import locant
import plain
from families import MASKED, SEQ2SEQ, WORDS, tiny
from locant import almanac
from locant.attributions.amig import per_layer
from locant.attributions.masked_tokens import replaceable
from locant.errors import BadQuery, LocantError, UnknownName
from locant.models import LanguageModel

SOME_FAMILIES = ["gpt2", "llama", "opt", "phi3", "bert", "t5 gated"]
EOS, PAD, MASK, STOP = 93, 91, 92, 94

METHODS: list[tuple[str, dict[str, str]]] = [
    ("sig", {}),
    ("amig", {"mode": "corrected"}),
    ("amig", {"mode": "code"}),
    ("amig", {"mode": "paper"}),
]

Reading = tuple[dict[str, Tensor], int, int]


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest score."""
    return float((found - expected).abs().max() / expected.abs().max())


# The plain versions


class Plain:
    """One answer token of a query, and one layer's neurons where it is read, with hooks of this test's own."""

    def __init__(self, family: str, lm: LanguageModel, reading: Reading, words: list[int], hook: str) -> None:
        self.family, self.lm, self.hook, self.words = family, lm, hook, words
        self.inputs, self.position, self.token = reading

    def activations(self, layer: int) -> Tensor:
        return plain.neurons_at(self.lm, layer, self.inputs, self.position, self.hook)

    def baselines(self, layer: int) -> list[Tensor]:
        """Of each word, the neurons when it is replaced."""
        found = []
        for word in self.words:
            ids = self.inputs["input_ids"].clone()
            ids[0, word] = MASK if self.family in MASKED else EOS
            changed = {**self.inputs, "input_ids": ids}
            found.append(plain.neurons_at(self.lm, layer, changed, self.position, self.hook)[: self.lm.neurons])
        return found

    def moved(self, layer: int, to: Tensor) -> Tensor:
        """P(answer) with the layer's neurons at these values; a gate's other half stays."""
        whole = torch.cat([to, self.activations(layer)[self.lm.neurons :]])
        place = plain.place(self.lm, layer, self.hook)
        with plain.at_position(place, self.position, lambda old: whole[None], self.hook == "pre"):
            return plain.probability(self.lm, self.inputs, self.position, self.token)

    def slope(self, layer: int, at: Tensor) -> Tensor:
        leaf = at.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(self.moved(layer, leaf), leaf)
        return found

    def values(self, layer: int) -> Tensor:
        return self.activations(layer)[: self.lm.neurons]


def words_of(family: str, query: locant.Query) -> list[int]:
    """Where the words of a prompt stand; masked models read a full stop after the answer too."""
    words, answer = len(query.prompt.split()), len(query.answer.split())
    return [*range(words), *([words + answer] if family in MASKED else [])]


def readings(family: str, lm: LanguageModel, query: locant.Query, hook: str) -> list[Plain]:
    return [Plain(family, lm, one, words_of(family, query), hook) for one in plain.read(family, lm, query)]


def amig_as_released(one: Plain, steps: int) -> Tensor:
    layers = []
    for layer in range(one.lm.layers):
        w, total = one.values(layer), torch.zeros(one.lm.neurons, dtype=torch.float64)
        for t in range(steps):
            points = [b + t / steps * (w - b) for b in one.baselines(layer)]
            total += one.slope(layer, torch.stack(points).mean(dim=0))
        layers.append(w * total / steps)
    return torch.stack(layers)


def amig_as_printed(one: Plain, steps: int) -> Tensor:
    layers = []
    for layer in range(one.lm.layers):
        w, attr = one.values(layer), torch.zeros(one.lm.neurons, dtype=torch.float64)
        for b in one.baselines(layer):
            for k in range(1, steps + 1):
                attr += w / steps * one.slope(layer, b + k / steps * (w - b))
        layers.append(attr / attr.sum())
    return torch.stack(layers)


def amig_corrected(one: Plain, steps: int) -> Tensor:
    layers = []
    for layer in range(one.lm.layers):
        w, b = one.values(layer), torch.stack(one.baselines(layer)).mean(dim=0)
        layers.append((w - b) * average_slope(one, layer, b, w, steps))
    return torch.stack(layers)


def sequential(one: Plain, steps: int) -> Tensor:
    layers = []
    for layer in range(one.lm.layers):
        w = one.values(layer)
        each = [(w - b) * average_slope(one, layer, b, w, steps) for b in one.baselines(layer)]
        layers.append(torch.stack(each).mean(dim=0))
    return torch.stack(layers)


def average_slope(one: Plain, layer: int, start: Tensor, end: Tensor, steps: int) -> Tensor:
    points, weights = np.polynomial.legendre.leggauss(steps)
    slopes = [
        w / 2 * one.slope(layer, start + (x + 1) / 2 * (end - start)) for x, w in zip(points, weights, strict=True)
    ]
    return torch.stack(slopes).sum(dim=0)


PLAIN = {
    ("sig", None): sequential,
    ("amig", "corrected"): amig_corrected,
    ("amig", "code"): amig_as_released,
    ("amig", "paper"): amig_as_printed,
}


# Definitions


@pytest.mark.parametrize(("method", "settings"), METHODS)
@pytest.mark.parametrize("hook", ["post", "pre"])
@pytest.mark.parametrize("family", SOME_FAMILIES)
def test_scores_equal_the_loop_over_layers_tokens_and_points(
    family: str, hook: str, method: str, settings: dict[str, str]
) -> None:
    lm = tiny(family, torch.float64)
    compute = PLAIN[method, settings.get("mode")]
    with plain.DoubleThroughout():
        found = locant.attribute(lm, [WORDS.double], method, steps=3, hook=hook, **settings).scores[0]
        each = [compute(one, 3) for one in readings(family, lm, WORDS.double, hook)]
    assert gap(found, torch.stack(each).mean(dim=0)) < 1e-10


def test_the_released_code_and_the_print_take_ten_steps_of_their_own_rules() -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        (one,) = readings("llama", lm, WORDS.short, "post")
        for mode, compute in (("code", amig_as_released), ("paper", amig_as_printed)):
            found = locant.attribute(lm, [WORDS.short], "amig", mode=mode).scores[0]
            assert gap(found, compute(one, 10)) < 1e-10


@pytest.mark.parametrize("hook", ["post", "pre"])
@pytest.mark.parametrize("family", SOME_FAMILIES)
def test_a_layers_scores_add_up_to_what_the_baselines_lose(family: str, hook: str) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        sig = locant.attribute(lm, [WORDS.long], "sig", steps=40, hook=hook)
        amig = locant.attribute(lm, [WORDS.long], "amig", steps=40, hook=hook)
        (one,) = readings(family, lm, WORDS.long, hook)
        with torch.no_grad():
            for layer in range(lm.layers):
                baselines = one.baselines(layer)
                each = [float(one.moved(layer, baseline)) for baseline in baselines]
                whole = float(one.moved(layer, one.values(layer)))
                middle = float(one.moved(layer, torch.stack(baselines).mean(dim=0)))
                for found, explained in ((sig, whole - sum(each) / len(each)), (amig, whole - middle)):
                    total = float(found.scores[0, layer].sum())
                    assert total == pytest.approx(explained, abs=2e-4)
                    assert float(found.completeness_error[0, layer]) == pytest.approx(
                        abs(total - explained), abs=1e-12
                    )


@pytest.mark.parametrize("mode", ["code", "paper"])
def test_modes_that_promise_no_sum_report_no_error(mode: str) -> None:
    assert locant.attribute(tiny("gpt2"), [WORDS.short], "amig", mode=mode).completeness_error is None


@pytest.mark.parametrize("hook", ["post", "pre"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_with_a_prompt_of_one_token_both_are_dai_from_that_baseline(family: str, hook: str) -> None:
    lm, query = tiny(family, torch.float64), locant.query("w5", "w6")
    with plain.DoubleThroughout():
        (one,) = readings(family, lm, query, hook)
        baseline = torch.stack([one.baselines(layer)[0] for layer in range(lm.layers)])
        dai = locant.attribute(lm, [query], steps=4, hook=hook, baseline=baseline)
        for method in ("sig", "amig"):
            found = locant.attribute(lm, [query], method, steps=4, hook=hook)
            assert gap(found.scores, dai.scores) < 1e-10
            assert torch.allclose(found.completeness_error, dai.completeness_error, atol=1e-14)


def test_the_joint_log_probability_is_explained_by_the_sum_over_its_tokens() -> None:
    lm = tiny("gpt2", torch.float64)
    with plain.DoubleThroughout(), torch.no_grad():
        found = locant.attribute(lm, [WORDS.double], "sig", target="log_probability", steps=40).scores[0]
        for layer in range(lm.layers):
            explained = 0.0
            for one in readings("gpt2", lm, WORDS.double, "post"):
                each = [one.moved(layer, baseline).log() for baseline in one.baselines(layer)]
                explained += float(one.moved(layer, one.values(layer)).log() - torch.stack(each).mean())
            assert float(found[layer].sum()) == pytest.approx(explained, abs=1e-6)


# Batches


@pytest.mark.parametrize(("method", "settings"), METHODS)
@pytest.mark.parametrize("family", ["gpt2", "opt", "bert", "t5"])
def test_a_query_scores_the_same_alone_and_beside_longer_and_shorter_ones(
    family: str, method: str, settings: dict[str, str]
) -> None:
    lm = tiny(family, torch.float64)
    with plain.DoubleThroughout():
        together = locant.attribute(lm, WORDS.all, method, steps=3, **settings)
        tight = locant.attribute(lm, WORDS.all, method, steps=3, memory=1, **settings)
        for index, query in enumerate(WORDS.all):
            alone = locant.attribute(lm, [query], method, steps=3, **settings)
            assert gap(together.scores[index], alone.scores[0]) < 1e-10
            if alone.completeness_error is not None:
                assert torch.allclose(together.completeness_error[index], alone.completeness_error[0], atol=1e-13)
    assert gap(tight.scores, together.scores) < 1e-10


@pytest.mark.parametrize(("method", "settings"), METHODS)
@pytest.mark.parametrize("family", ["llama", "roberta"])
def test_queries_that_are_read_in_one_sequence_keep_their_own_prompts(
    family: str, method: str, settings: dict[str, str]
) -> None:
    lm = tiny(family, torch.float64)
    queries = [locant.query("w20 w21", "w25 w26"), locant.query("w20 w21 w25", "w26")]
    sites = lm.sites([(lm.tokens(query), lm.tokens(query).answers[0]) for query in queries])
    assert int(sites.sequence.bincount().max()) > 1
    with plain.DoubleThroughout():
        together = locant.attribute(lm, queries, method, steps=3, **settings).scores
        for index, query in enumerate(queries):
            assert gap(together[index], locant.attribute(lm, [query], method, steps=3, **settings).scores[0]) < 1e-10


@pytest.mark.parametrize("method", ["sig", "amig"])
def test_neurons_that_are_silenced_already_have_no_score(method: str) -> None:
    lm = tiny("llama", torch.float64)
    with plain.DoubleThroughout():
        units = locant.select(locant.attribute(lm, [WORDS.short], method), k=9)
        layer, neuron = units.units.T
        with locant.suppress(lm, units):
            left = locant.attribute(lm, [WORDS.short], method).scores[0]
    assert (left[layer, neuron] == 0).all()
    assert int((left == 0).sum()) == 9


# Which tokens are replaced, and with what


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_special_tokens_are_replaced_by_the_released_code_alone(family: str) -> None:
    lm = tiny(family, torch.float64)
    ids = [EOS, PAD, 5, 90, 7]  # an unknown word is a word
    query = locant.query("</s> <pad> w5 zebra w7", "w14")
    after = [MASK, STOP] if family in MASKED else []
    inputs = {"input_ids": torch.tensor([[*ids, *after]])}
    if family in SEQ2SEQ:
        inputs["decoder_input_ids"] = torch.tensor([[PAD]])
    reading = (inputs, {"llama": 4, "bert": 5, "t5": 0}[family], 14)
    more = [6] if after else []
    # The blank that a decoder fills is the token it begins with, which here is the padding's
    everything = [0, 2, 3, 4] if family in SEQ2SEQ else [0, 1, 2, 3, 4, *more]
    with plain.DoubleThroughout():
        for mode, words, compute in (
            ("code", everything, amig_as_released),
            ("paper", [2, 3, 4, *more], amig_as_printed),
            ("corrected", [2, 3, 4, *more], amig_corrected),
        ):
            found = locant.attribute(lm, [query], "amig", mode=mode, steps=2).scores[0]
            assert gap(found, compute(Plain(family, lm, reading, words, "post"), 2)) < 1e-10


def positions(lm: LanguageModel, queries: list[locant.Query], special: bool = False) -> list[list[int]]:
    sites = lm.sites([(lm.tokens(query), lm.tokens(query).answers[0]) for query in queries])
    return [row.nonzero()[:, 0].tolist() for row in replaceable(lm, sites, special)]


def test_the_answer_its_masks_and_the_padding_stay() -> None:
    queries = [locant.query("w1 [MASK] w2 w3", "w8 w9 w10"), locant.query("w4 w5", "w6")]
    assert positions(tiny("bert"), queries) == [[0, 4, 5]] * 3 + [[0, 1, 3]]
    queries = [locant.query("w1 w2", "w8 w9 w10"), locant.query("w4 w5 w6 w7", "w6")]
    assert positions(tiny("gpt2"), queries) == [[0, 1]] * 3 + [[0, 1, 2, 3]]
    assert positions(tiny("t5"), queries) == [[0, 1]] * 3 + [[0, 1, 2, 3]]


def test_the_blank_that_a_decoder_fills_stays() -> None:
    words = {f"w{number}": number for number in range(90)}
    special = {"<unk>": 90, "<pad>": 91, "</s>": 93, "<extra_id_0>": 94}
    raw = Tokenizer(models.WordLevel(words | special, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )
    lm = locant.load(tiny("t5").model, tokenizer=tokenizer)
    query = locant.query("w1 [MASK] w2 </s>", "w8")
    assert lm.tokens(query).prompt == (1, 94, 2, 93)
    assert positions(lm, [query]) == [[0, 2]]
    assert positions(lm, [query], special=True) == [[0, 2, 3]]


def test_a_prompt_without_a_word_is_refused() -> None:
    lm = tiny("bert")
    said = r"^there is no word to replace in '</s> <mask>': ask with more words, or by another method$"
    for method in ("sig", "amig"):
        with pytest.raises(BadQuery, match=said):
            locant.attribute(lm, [WORDS.short, locant.query("</s> [MASK]", "w1")], method)
    assert locant.attribute(lm, [locant.query("</s> [MASK]", "w1")], "amig", mode="code").scores.isfinite().all()
    with pytest.raises(BadQuery, match="there is no word to replace in '<mask>'"):
        locant.attribute(lm, [locant.query("[MASK]", "w1")], "amig", mode="code")


def with_tokens(**special: str) -> LanguageModel:
    """A causal model whose tokenizer has these special tokens."""
    words = {f"w{number}": number for number in range(91)} | {"<e>": 91, "<b>": 92, "<p>": 93}
    raw = Tokenizer(models.WordLevel(words, unk_token="w90"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return locant.load(tiny("gpt2").model, tokenizer=hf.PreTrainedTokenizerFast(tokenizer_object=raw, **special))


def test_words_are_replaced_by_the_end_token_or_else_the_beginning_or_else_the_padding() -> None:
    special = {"eos_token": "<e>", "bos_token": "<b>", "pad_token": "<p>"}
    query, last = locant.query("w5", "w6"), {"<e>": 91, "<b>": 92, "<p>": 93}
    while special:
        lm = with_tokens(**special)
        token = last[next(iter(special.values()))]
        baseline = torch.stack(
            [plain.neurons_at(lm, layer, {"input_ids": torch.tensor([[token]])}, 0, "post") for layer in range(3)]
        )
        expected = locant.attribute(lm, [query], baseline=baseline).scores
        assert gap(locant.attribute(lm, [query], "sig").scores, expected) < 1e-4
        del special[next(iter(special))]
    for method in ("sig", "amig"):
        with pytest.raises(LocantError, match=r"^this tokenizer has no end-of-sequence, .*: set its eos_token"):
            locant.attribute(with_tokens(), [query], method)


# Settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "printed"}, "no mode 'printed'; there are code, paper, corrected"),
        ({"rule": "simpson"}, "no rule 'simpson'; there are "),
        ({"hook": "middle"}, "no hook 'middle'; neurons are read 'post' or 'pre' the activation function"),
        ({"hook": "middle", "mode": "paper"}, "no hook 'middle'; neurons are read 'post' or 'pre' the "),
        ({"target": "rank"}, "no target 'rank'; there are probability, log_probability"),
    ],
)
def test_a_value_that_does_not_exist_is_told_which_do(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        locant.attribute(tiny("gpt2"), [WORDS.short], "amig", **settings)
    assert str(caught.value).startswith(said)


def test_a_layer_that_cannot_be_normalised_has_no_score() -> None:
    own = tiny("gpt2")
    lm = locant.load(copy.deepcopy(own.model), tokenizer=own.tokenizer)
    with torch.no_grad():
        lm.downs[1].weight.zero_()
    found = locant.attribute(lm, WORDS.all, "amig", mode="paper").scores
    assert (found[:, 1] == 0).all()
    assert torch.allclose(found[:, [0, 2]].sum(dim=-1), torch.ones(3, 2), atol=1e-3)


def test_credits_that_cancel_are_not_blown_up() -> None:
    credit = torch.tensor([[[3.0, -3.0 + 1e-7, 0.0], [3.0, -1.0, 2.0], [-3.0, 1.0, 0.0]]])
    assert torch.equal(per_layer(credit)[0, 0], torch.zeros(3))
    assert torch.allclose(per_layer(credit)[0, 1:], torch.tensor([[0.75, -0.25, 0.5], [1.5, -0.5, 0.0]]))


# On the model that knows facts


def facts_of_every_relation() -> list[locant.Query]:
    """One wording each of some facts, spread over the relations."""
    wordings = {query.fact.uid: query for query in almanac.queries(language="en", held_out=False)}
    by_relation = sorted(wordings.values(), key=lambda query: (query.relation, query.fact.uid))
    return by_relation[5 :: len(by_relation) // 12][:12]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "settings"), METHODS[:3])
def test_silencing_what_was_located_hurts_its_fact_more_than_random_neurons_of_its_layers(
    almanac_lm: LanguageModel, method: str, settings: dict[str, str]
) -> None:
    facts = facts_of_every_relation()
    more = []
    for query, found in zip(facts, locant.attribute(almanac_lm, facts, method, **settings), strict=True):
        located = locant.select(found, "top", k=20)
        own, *control = (
            lost(almanac_lm, units, query)
            for units in (located, *(locant.random_set(located, seed) for seed in range(4)))
        )
        more.append(own - sum(control) / len(control))
    difference = locant.interval(torch.tensor(more), [query.uid for query in facts])
    assert difference.n == len(facts) == 12
    assert difference.low > 0
    assert sum(each > 0 for each in more) >= 10


def lost(lm: LanguageModel, units: locant.Selection, query: locant.Query) -> float:
    """How much log-probability an answer loses when neurons are silenced."""
    before = locant.answer_log_probability(lm, [query])
    with locant.suppress(lm, units):
        return float(before - locant.answer_log_probability(lm, [query]))


@pytest.mark.parametrize("method", ["sig", "amig"])
def test_completeness_is_within_the_tolerance_on_a_model_that_knows_facts(
    almanac_lm: LanguageModel, method: str
) -> None:
    found = locant.attribute(almanac_lm, facts_of_every_relation()[:3], method, tolerance=0.02)
    allowed = 0.02 * torch.maximum(found.scores.sum(dim=-1).abs(), found.answer_prob[:, None])
    # Of each path it is; their mean may be a little more than the tolerance of the mean
    assert (found.completeness_error < 1.5 * allowed).all()
