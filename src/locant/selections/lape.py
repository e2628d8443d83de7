"""Language neurons: those that are active on the text of few languages, found by activation alone.

    rates = activation_rates(lm, text_of(queries))
    of_french = lape(rates)["fr"]

A reference for neurons of facts: it asks which language is read, and never what is answered.

Source: Tang et al. 2024, arXiv:2402.16438, language activation probability entropy (LAPE);
github.com/RUCAIBox/Language-Specific-Neurons.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from locant.errors import LocantError, UnknownName
from locant.languages import gap, stop
from locant.models import LanguageModel
from locant.models.engine import read_neurons
from locant.models.sites import Sites
from locant.queries.tokens import MASK
from locant.types import Provenance, Query, Selection, Setting

WINDOW = 512
"""Tokens that are read together: longer texts are read in pieces of this many, or of the model's context."""

AT_ONCE = 2048
"""Tokens of one pass, padding included."""


@dataclass(frozen=True)
class ActivationRates:
    """How often each neuron is active on the text of each language.

    Attributes:
        rates: share of a language's tokens, 0 to 1.
        tokens: of each language, how many were counted.
    """

    languages: tuple[str, ...]
    rates: Float[Tensor, "language layer neuron"]
    tokens: tuple[int, ...]
    made_by: Provenance


@dataclass(frozen=True)
class _Window:
    """A piece of a text, and which of its tokens count."""

    ids: tuple[int, ...]
    counted: tuple[bool, ...]


def text_of(queries: Sequence[Query]) -> dict[str, tuple[str, ...]]:
    """Queries as the sentences they are part of, by language: where there is no corpus, they are one.

    A prompt that ends where its answer begins is given the answer and a full stop; a prompt that holds [MASK] has
    the answer in its place, and a full stop if nothing follows.
    """
    found: dict[str, list[str]] = {}
    for query in queries:
        language = query.language
        answer = query.answer.strip()
        if MASK in query.prompt:
            text = query.prompt.replace(MASK, answer).rstrip()
            text += stop(language) if query.prompt.rstrip().endswith(MASK) else ""
        else:
            text = query.prompt.rstrip() + gap(language) + answer + stop(language)
        found.setdefault(language, []).append(text)
    return {language: tuple(texts) for language, texts in found.items()}


@torch.no_grad()
def activation_rates(
    lm: LanguageModel, texts: Mapping[str, Sequence[str]], *, tokens: int | None = None
) -> ActivationRates:
    """The share of a language's tokens at which each neuron is active, i.e. its activation is above 0.

    In gated layers it is the gate that tells: the activation function's output, before it is multiplied with up,
    which turns signs round. Special tokens that the tokenizer adds are read, but not counted.

    Args:
        texts: of each language.
        tokens: count at most as many of each language, the first; None for all. Languages need not have as many.

    Raises:
        UnknownName: there are no texts, those of a language have no tokens, or the number of tokens makes no sense.
        LocantError: the model has an encoder, which reads text elsewhere than in the neurons that are recorded.

    Source: Tang et al. 2024, arXiv:2402.16438, language activation probability.
    """
    if lm.architecture.kind == "seq2seq":
        raise LocantError(
            f"a {lm.model.config.model_type} reads text in its encoder; rates are of models without one"
        )
    if tokens is not None and tokens < 1:
        raise UnknownName(f"cannot count {tokens} tokens of a language; count 1 or more")
    if not texts:
        raise UnknownName("there are no texts to count tokens of")
    counts, totals = [], []
    for language, own in texts.items():
        if isinstance(own, str):
            raise UnknownName(f"the texts of {language!r} are one text: give a list of texts")
        windows = list(_windows(lm, own, tokens))
        total = sum(sum(window.counted) for window in windows)
        if total == 0:
            raise UnknownName(f"the texts of {language!r} have no tokens")
        counts.append(_count_active(lm, windows) / total)
        totals.append(total)
    said = hashlib.sha256(repr([(language, tuple(own)) for language, own in texts.items()]).encode()).hexdigest()
    made_by = lm.provenance("activation_rates", {"tokens": tokens, "texts": said[:16]})
    return ActivationRates(tuple(texts), torch.stack(counts), tuple(totals), made_by)


def lape(rates: ActivationRates, *, share: float = 0.01, percentile: float = 0.95) -> dict[str, Selection]:
    """The neurons that are often active on few languages, by the languages they are active on.

    A neuron's rates over languages, divided by their sum, are a distribution; those of low entropy favour few
    languages. Neurons with no rate above the percentile of all rates are discarded. Of the others those with the
    lowest entropies are language-specific, as many as are `share` of all neurons if so many are left, and belong to
    every language for which their rate is above that percentile.

    Returns:
        One set for each language, which may be empty; a neuron can be in several. The weight of a unit is by how
        much its entropy is below that of equal rates, ln(languages), in nats: the higher the more specific. Of equal
        ones the first are taken.

    Raises:
        UnknownName: rates are of fewer than two languages, a number makes no sense, or the share is of no neuron.

    Source: Tang et al. 2024, arXiv:2402.16438; thresholds as in the released code, which takes
    both filters from one percentile, that of the rates of all neurons and languages together.
    """
    if len(rates.languages) < 2:
        raise UnknownName(f"language neurons are those of some languages among several; there are {rates.languages}")
    if not 0 < share <= 1:
        raise UnknownName(f"a share is more than 0 and at most 1, not {share}")
    if not 0 < percentile < 1:
        raise UnknownName(f"a percentile is between 0 and 1, not {percentile}")
    by_neuron = rates.rates.double().flatten(start_dim=1)
    most = round(share * by_neuron.shape[1])
    if most == 0:
        raise UnknownName(f"a share of {share} of {by_neuron.shape[1]} neurons is none: take more")
    often = by_neuron > _percentile(by_neuron, percentile)
    below = math.log(len(rates.languages)) - _entropy(by_neuron)
    ranked = below.masked_fill(~often.any(dim=0), -torch.inf).argsort(descending=True, stable=True)
    specific = torch.zeros_like(often[0])
    specific[ranked[:most]] = True
    grid = (rates.rates.shape[1], rates.rates.shape[2])
    found = {}
    for language, own in zip(rates.languages, often, strict=True):
        settings: dict[str, Setting] = {"language": language, "share": share, "percentile": percentile}
        made_by = Provenance("lape", settings, parents=(rates.made_by.digest(),))
        chosen = specific & own
        found[language] = Selection((), chosen.reshape(grid).nonzero(), below[chosen], grid, made_by)
    return found


def _percentile(rates: Float[Tensor, "language neuron"], percentile: float) -> float:
    """As the released code takes it: the k-th smallest of n, k being percentile * n rounded."""
    place = max(1, round(rates.numel() * percentile))
    return float(rates.flatten().kthvalue(place).values)


def _entropy(rates: Float[Tensor, "language neuron"]) -> Float[Tensor, " neuron"]:
    """In nats, of each neuron's rates divided by their sum; of a neuron that is never active that of equal rates."""
    shares = rates / rates.sum(dim=0)
    shares = torch.where(shares.isnan(), 1 / len(rates), shares)
    return torch.special.entr(shares).sum(dim=0)


def _windows(lm: LanguageModel, texts: Sequence[str], tokens: int | None) -> Iterator[_Window]:
    """Texts in pieces that the model can read, until as many tokens are counted."""
    longest = min(WINDOW, lm.context)
    left = math.inf if tokens is None else tokens
    for text in texts:
        encoded = lm.tokenizer(text, return_special_tokens_mask=True, verbose=False)
        ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
        for start in range(0, len(ids), longest):
            if left <= 0:
                return
            counted = []
            for mark in special[start : start + longest]:
                counted.append(not mark and left > 0)
                left -= counted[-1]
            yield _Window(tuple(ids[start : start + longest]), tuple(counted))


def _count_active(lm: LanguageModel, windows: Sequence[_Window]) -> Float[Tensor, "layer neuron"]:
    """At how many of the counted tokens each neuron is active."""
    total = torch.zeros(lm.layers, lm.neurons, dtype=torch.float64)
    gated = lm.architecture.up is not None
    functions = lm.parts(lm.architecture.activation)
    for batch in _batches(windows):
        sites = _sites(batch)
        if len(sites) == 0:
            continue
        for layer, values in enumerate(read_neurons(lm, sites.to(lm.device), gates=gated)):
            active = (functions[layer](values) if gated else values) > 0
            total[layer] += active.sum(dim=0).cpu()
    return total


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of like length together, so that little is padded."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: -len(window.ids)):
        if batch and len(batch[0].ids) * (len(batch) + 1) > AT_ONCE:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _sites(windows: Sequence[_Window]) -> Sites:
    """Windows as one batch, read at every token that counts."""
    length = max(len(window.ids) for window in windows)
    ids: Int[Tensor, "sequence position"] = torch.zeros(len(windows), length, dtype=torch.int64)
    real: Bool[Tensor, "sequence position"] = torch.zeros_like(ids, dtype=torch.bool)
    counted = torch.zeros_like(real)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
        real[row, : len(window.ids)] = True
        counted[row, : len(window.ids)] = torch.tensor(window.counted)
    sequence, position = counted.nonzero(as_tuple=True)
    return Sites(ids, real, sequence, position, ids[sequence, position], sequence)
