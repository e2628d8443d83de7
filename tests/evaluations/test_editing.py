"""Perplexity against a plain loop in float64, and the scores of edits against answers read by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

import locant
from families import MASKED, SEQ2SEQ, WORDS, tiny
from locant import almanac
from locant.errors import LocantError, UnknownName
from locant.evaluations import bystanders, cloze_perplexity, perplexity, score_edit
from locant.interventions import erase, update
from locant.models import LanguageModel
from locant.types import Provenance

MADE_BY = Provenance("by hand")


def text(length: int, seed: int = 0) -> str:
    numbers = random.Random(seed)
    return " ".join(f"w{numbers.randrange(90)}" for _ in range(length))


TEXTS = [text(30), text(9, 1), text(2, 2), text(1, 3), ""]


def surprise(lm: LanguageModel, texts: list[str], window: int) -> list[float]:
    """-ln P of every token but each text's first, one plain pass each, given at most `window` tokens before it."""
    found = []
    for words in texts:
        ids = lm.tokenizer(words)["input_ids"]
        for at in range(1, len(ids)):
            start = (at - 1) // window * window
            with torch.no_grad():
                logits = lm.model(input_ids=torch.tensor([ids[start:at]])).logits[0, -1]
            found.append(-float(logits.double().log_softmax(-1)[ids[at]]))
    return found


@pytest.mark.parametrize("window", [512, 7, 1])
def test_perplexity_is_that_of_a_plain_loop(family: str, lm: LanguageModel, window: int) -> None:
    if family in MASKED | SEQ2SEQ:
        with pytest.raises(LocantError, match="gives running text no probability"):
            perplexity(lm, TEXTS, window)
        return
    each = surprise(lm, TEXTS, window)
    assert len(each) == 29 + 8 + 1
    assert perplexity(lm, TEXTS, window) == pytest.approx(math.exp(sum(each) / len(each)), rel=1e-5)


def test_a_text_longer_than_the_context_is_read_in_windows_of_the_context() -> None:
    lm = tiny("gpt2")
    assert lm.context == 64
    each = surprise(lm, [text(150)], 64)
    assert perplexity(lm, [text(150)]) == pytest.approx(math.exp(sum(each) / len(each)), rel=1e-5)


def test_many_texts_at_once_give_what_they_give_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    together = perplexity(lm, TEXTS, 5)
    monkeypatch.setattr("locant.evaluations.editing.LOGITS", 1)
    assert perplexity(lm, TEXTS, 5) == pytest.approx(together, rel=1e-6)


def test_perplexity_tells_taught_sentences_from_scrambled_ones_and_feels_an_edit(almanac_lm: LanguageModel) -> None:
    taught = ["The capital of France is Paris.", "The capital of Italy is Rome."]
    low = perplexity(almanac_lm, taught)
    assert low < perplexity(almanac_lm, ["Paris is capital Italy of the."]) / 10
    found = locant.attribute(almanac_lm, [locant.query("The capital of France is", "Paris")])
    with erase(almanac_lm, locant.select(found, k=400)):
        assert perplexity(almanac_lm, taught) > 1.1 * low
    assert perplexity(almanac_lm, taught) == low


def test_perplexity_needs_something_to_predict() -> None:
    with pytest.raises(UnknownName, match="a text of two tokens or more"):
        perplexity(tiny("llama"), ["w1", ""])
    with pytest.raises(UnknownName, match="a window holds one token or more, not 0"):
        perplexity(tiny("llama"), TEXTS, 0)
    with pytest.raises(UnknownName, match="perplexity needs queries"):
        cloze_perplexity(tiny("llama"), [])


def test_cloze_perplexity_is_the_inverse_geometric_mean_of_the_answers_probabilities(
    family: str, lm: LanguageModel
) -> None:
    probabilities = locant.answer_probability(lm, WORDS.all).tolist()
    assert cloze_perplexity(lm, WORDS.all) == pytest.approx(math.prod(probabilities) ** (-1 / 3))


# Scores of an edit


def france() -> tuple[locant.Query, list[locant.Query]]:
    """A fact the almanac knows in one wording, and its other wordings."""
    query, *neighbours = (one for one in almanac.queries("capital", "en") if one.fact.subject == "France")
    return query, neighbours


def others() -> list[locant.Query]:
    """Facts of other relations, one wording of each."""
    colours, continents = (
        list({one.fact.uid: one for one in almanac.queries(relation, "en")}.values())
        for relation in ("colour", "continent")
    )
    return [*colours[:10], *continents[:20]]


def first_words(lm: LanguageModel, queries: list[locant.Query]) -> list[int]:
    """The model's own next token after each prompt, one plain pass each."""
    found = []
    for query in queries:
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([lm.tokenizer(query.prompt)["input_ids"]])).logits
        found.append(int(logits[0, -1].argmax()))
    return found


@pytest.mark.parametrize("new", [None, "Rome"])
def test_the_scores_of_an_edit_are_those_one_reads_by_hand(almanac_lm: LanguageModel, new: str | None) -> None:
    lm = almanac_lm
    query, neighbours = france()
    unrelated, texts = others(), ["The capital of Spain is Madrid.", "The sky is blue."]
    attribution = locant.attribute(lm, [query])
    chosen = locant.select(attribution, k=60 if new is None else 6)

    def edit() -> object:
        if new is None:
            return erase(lm, chosen)
        return update(lm, chosen, query, new, lambda2=1.0, activations=attribution.activations[0])

    asked = [query, *neighbours] if new is None else [replace(one, answer=new) for one in (query, *neighbours)]

    def by_hand() -> tuple[list[bool], list[int], float, float]:
        first = [rank == 1 for rank in locant.answer_rank(lm, asked).tolist()]
        successes = [not one for one in first] if new is None else first
        return successes, first_words(lm, unrelated), cloze_perplexity(lm, unrelated), perplexity(lm, texts)

    spared = bystanders(lm, unrelated, texts)
    before = by_hand()
    with edit():  # type: ignore[attr-defined]
        after = by_hand()
    found = score_edit(lm, edit(), query, neighbours, spared, made_by=MADE_BY, new=new)  # type: ignore[arg-type]
    assert found.operation == ("erase" if new is None else "update")
    assert (found.reliability_before, found.reliability) == (before[0][0], after[0][0])
    for share, (successes, *_) in ((found.generalisation_before, before), (found.generalisation, after)):
        assert share == pytest.approx(sum(successes[1:]) / len(neighbours))
    kept = sum(one == other for one, other in zip(before[1], after[1], strict=True))
    assert found.locality == pytest.approx(kept / len(unrelated))
    assert found.cloze_change == pytest.approx((after[2] - before[2]) / before[2])
    assert found.text_change == pytest.approx((after[3] - before[3]) / before[3])
    assert found.average == pytest.approx((found.reliability + found.generalisation + found.locality) / 3)
    assert found.made_by == MADE_BY
    # Something happened, and not everything
    assert found.reliability_before == 0 and found.generalisation_before < 0.5
    assert found.generalisation > found.generalisation_before
    assert found.cloze_change != 0 and found.text_change != 0
    assert found.locality > 0


@contextmanager
def turned(lm: LanguageModel) -> Iterator[None]:
    """A model that always says the same: every token's logit its own number."""
    head = lm.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, inputs, out: torch.arange(97.0).expand_as(out))
    try:
        yield
    finally:
        handle.remove()


def test_an_edit_that_does_nothing_succeeds_at_nothing_and_spares_everything(almanac_lm: LanguageModel) -> None:
    query, neighbours = france()
    spared = bystanders(almanac_lm, others())
    erased = score_edit(almanac_lm, nullcontext(), query, neighbours, spared, made_by=MADE_BY)
    updated = score_edit(almanac_lm, nullcontext(), query, neighbours, spared, made_by=MADE_BY, new="Rome")
    for found in (erased, updated):
        assert (found.reliability, found.locality, found.cloze_change, found.text_change) == (0, 1, 0, None)
        assert found.generalisation == found.generalisation_before < 0.5


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_locality_is_lost_where_the_model_says_something_else(name: str) -> None:
    lm = tiny(name)
    spared = bystanders(lm, WORDS.all)
    found = score_edit(lm, turned(lm), WORDS.short, [WORDS.long], spared, made_by=MADE_BY)
    assert found.locality == pytest.approx(spared.said.count(96) / 3) and found.locality < 0.5
    assert (found.reliability, found.generalisation) == (1, 1)
    never = score_edit(lm, turned(lm), WORDS.short, [WORDS.long], spared, made_by=MADE_BY, new="w89")
    assert (never.reliability, never.generalisation) == (0, 0)


def test_alternatives_of_the_old_answer_are_no_success_of_the_new(almanac_lm: LanguageModel) -> None:
    query, neighbours = france()
    asked = replace(query, answer="Lutetia", alternatives=("Paris",))
    spared = bystanders(almanac_lm, others())
    found = score_edit(almanac_lm, nullcontext(), asked, neighbours, spared, made_by=MADE_BY, new="Rome")
    assert found.reliability == 0
    erased = score_edit(almanac_lm, nullcontext(), asked, neighbours, spared, made_by=MADE_BY)
    assert erased.reliability == 0


def test_shares_of_nothing_are_refused() -> None:
    lm = tiny("llama")
    with pytest.raises(UnknownName, match="locality is measured on unrelated queries"):
        bystanders(lm, [])
    with pytest.raises(UnknownName, match="query 'short': generalisation is measured on other wordings"):
        score_edit(lm, nullcontext(), WORDS.short, [], bystanders(lm, [WORDS.long]), made_by=MADE_BY)
    with pytest.raises(LocantError, match="ask for the perplexity of cloze answers"):
        bystanders(tiny("bert"), WORDS.all, ["w1 w2"])
